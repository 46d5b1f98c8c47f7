"""Streams of every wire that has them, as a hostile server could write them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Event = tuple[str, bytes]
"""A name, empty where it has none, and what it says."""


def _dumped(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _generate(tokens: Sequence[str]) -> list[Event]:
    return [("", _dumped({"model_name": "m", "model_version": "1", "text_output": one})) for one in tokens]


def _openai(
    kind: str, choice: Callable[[str], dict[str, object]]
) -> Callable[[Sequence[str]], list[Event]]:
    def events(tokens: Sequence[str]) -> list[Event]:
        root = {"id": "x", "object": kind, "created": 1, "model": "m"}
        said = [("", _dumped({**root, "choices": [{"index": 0, **choice(one)}]})) for one in tokens]
        return [*said, ("", b"[DONE]")]

    return events


def _messages(tokens: Sequence[str]) -> list[Event]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "x", "type": "message", "role": "assistant", "model": "m", "content": []}
    documents: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": one}}
            for one in tokens
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return [(str(one["type"]), _dumped(one)) for one in documents]


def _response(status: str, output: Sequence[object]) -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    root = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "error": None}
    return {**root, "status": status, "output": list(output), "usage": usage if output else None}


def _item(content: Sequence[object], status: str = "completed") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(content),
    }


def _responses(tokens: Sequence[str]) -> list[Event]:
    begun = {"type": "output_text", "text": "", "annotations": []}
    part = {**begun, "text": "".join(tokens)}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    documents: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response("in_progress", [])},
        {"type": "response.output_item.added", "output_index": 0, "item": _item([], "in_progress")},
        {"type": "response.content_part.added", **at, "part": begun},
        *({"type": "response.output_text.delta", **at, "delta": one} for one in tokens),
        {"type": "response.output_text.done", **at, "text": part["text"]},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": _item([part])},
        {"type": "response.completed", "response": _response("completed", [_item([part])])},
    ]
    numbered = [{**one, "sequence_number": at} for at, one in enumerate(documents)]
    return [(str(one["type"]), _dumped(one)) for one in numbered]


@dataclass(frozen=True)
class Streamed:
    """A wire's stream: the events that say some tokens; ``failure`` is one that says a message."""

    events: Callable[[Sequence[str]], list[Event]]
    failure: Callable[[str], Event]


STREAMS: Final = {
    "generate_stream": Streamed(_generate, lambda message: ("", _dumped({"error": message}))),
    "chat": Streamed(
        _openai("chat.completion.chunk", lambda one: {"delta": {"content": one}, "finish_reason": None}),
        lambda message: ("", _dumped({"error": {"message": message, "type": "x", "code": 500}})),
    ),
    "completions": Streamed(
        _openai("text_completion", lambda one: {"text": one, "logprobs": None, "finish_reason": None}),
        lambda message: ("", _dumped({"error": {"message": message, "type": "x", "code": 500}})),
    ),
    "messages": Streamed(
        _messages,
        lambda message: (
            "error",
            _dumped({"type": "error", "error": {"type": "api_error", "message": message}}),
        ),
    ),
    "responses": Streamed(
        _responses,
        lambda message: (
            "error",
            _dumped(
                {"type": "error", "code": "x", "message": message, "param": None, "sequence_number": 3}
            ),
        ),
    ),
}


def _choices(kind: str, choice: dict[str, object]) -> bytes:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choices = [{"index": 0, "finish_reason": "stop", **choice}]
    return _dumped(
        {"id": "x", "object": kind, "created": 1, "model": "m", "choices": choices, "usage": usage}
    )


def _infer(text: str) -> bytes:
    output = {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": [text]}
    return _dumped({"model_name": "sync_vllm", "model_version": "1", "outputs": [output]})


def _message(text: str) -> bytes:
    usage = {"input_tokens": 1, "output_tokens": 1}
    content = [{"type": "text", "text": text}]
    message = {"id": "x", "type": "message", "role": "assistant", "model": "m", "content": content}
    return _dumped({**message, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})


def _embedding(text: str) -> bytes:
    one = {"object": "embedding", "embedding": [0.25] * 8, "index": 0}
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return _dumped({"object": "list", "data": [one], "model": text, "usage": usage})


WHOLE: Final[dict[str, Callable[[str], bytes]]] = {
    "generate": lambda text: _generate((text,))[0][1],
    "infer": _infer,
    "chat": lambda text: _choices("chat.completion", {"message": {"role": "assistant", "content": text}}),
    "completions": lambda text: _choices("text_completion", {"text": text, "logprobs": None}),
    "embeddings": _embedding,
    "messages": _message,
    "responses": lambda text: _dumped(
        _response("completed", [_item([{"type": "output_text", "text": text, "annotations": []}])])
    ),
}
"""A whole answer of each wire that has one, with a text in it."""

_STRING: Final = rb'"((?:[^"\\]|\\.)*)"'
_TEXT: Final = re.compile(rb'"(?:text_output|content|text)":' + _STRING)
# Events of responses say a text again when it ends.
_DELTA: Final = re.compile(rb'"delta":' + _STRING)


def written(events: Sequence[Event], *, end: bytes = b"\n", prefix: bytes = b"data: ") -> bytes:
    """Events as most servers write them, but for their line ends and what stands before what they say."""
    return b"".join(event(one, end=end, prefix=prefix) for one in events)


def event(
    one: Event, *, end: bytes = b"\n", prefix: bytes = b"data: ", more: Sequence[bytes] = ()
) -> bytes:
    name, said = one
    named = [b"event: " + name.encode()] if name else []
    return end.join([*named, *more, prefix + said, b"", b""])


def text_in(wire: str, body: bytes) -> str:
    """The text that a lenient client puts together of a stream of a wire."""
    pattern = _DELTA if wire == "responses" else _TEXT
    return "".join(json.loads(b'"' + one + b'"') for one in pattern.findall(body))
