"""Anthropic's messages at the demo's front end: its events and errors are those of vLLM's server of them.

Tool calls and thoughts are what the stand-in says between marks; see ``openai_front``. The model's failure
is an error event, as vLLM makes it, and not a broken connection.
"""

from __future__ import annotations

import itertools
import json
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from extproc.demo.openai_call import Call, Events, Refused, Whole, dump
from extproc.demo.openai_tokens import Choice, ModelFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from extproc.demo.openai_tokens import Json

_REQUIRED: Final = ("model", "messages", "max_tokens")
_SAMPLING: Final = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k"}
_ENDS: Final = {"stop": "end_turn", "tool_calls": "tool_use"}


def messages(call: Call) -> Whole | Events:
    """POST /v1/messages."""
    request = _read(call)
    model = str(request["model"])
    tokens = call.triton.tokens(model, prompt_of(request), _parameters_of(request), call.ends)
    answer = _Answer(model, Choice(0, tokens), int(str(request["max_tokens"])))
    try:
        if not request.get("stream"):
            return Whole(answer.whole())
        events = answer.events()
        # A model that fails at once still gets a status.
        first = list(itertools.islice(events, 1))
    except ModelFailed as failed:
        raise _refused(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", str(failed)) from None
    return Events(map(_event, itertools.chain(first, _with_failure(events))))


def prompt_of(request: Mapping[str, object]) -> str:
    """A chat template, such as it is: a line for each text."""
    lines = [f"tools: {json.dumps(request['tools'], ensure_ascii=False)}"] if request.get("tools") else []
    if request.get("system"):
        lines.append(f"system: {_text_of(request['system'])}")
    turns = request["messages"]
    spoken = turns if isinstance(turns, list) else []
    return "\n".join([*lines, *(f"{turn['role']}: {_text_of(turn['content'])}" for turn in spoken)])


def _text_of(content: object) -> str:
    """What of a content reaches the model: texts as they are, calls and results as JSON."""
    if not isinstance(content, list):
        return str(content)
    return "".join(
        str(block["text"]) if block["type"] == "text" else f"\n{json.dumps(block, ensure_ascii=False)}\n"
        for block in content
    )


def _read(call: Call) -> Json:
    try:
        request: Json = json.loads(call.body)
    except ValueError:
        raise _refused(HTTPStatus.BAD_REQUEST, "BadRequestError", "JSON decode error") from None
    for name in _REQUIRED:
        if name not in request:
            raise _refused(HTTPStatus.BAD_REQUEST, "BadRequestError", f"{name}: Field required")
    if request["model"] not in call.models:
        what = f"The model `{request['model']}` does not exist."
        raise _refused(HTTPStatus.NOT_FOUND, "NotFoundError", what)
    return request


def _parameters_of(request: Mapping[str, object]) -> Json:
    sampling = {
        name: request[own] for own, name in _SAMPLING.items() if isinstance(request.get(own), int | float)
    }
    stops = {"stop": json.dumps(request["stop_sequences"])} if request.get("stop_sequences") else {}
    return {"max_tokens": request["max_tokens"], **sampling, **stops}


def _refused(status: HTTPStatus, kind: str, message: str) -> Refused:
    return Refused(status, _error(kind, message))


def _error(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}}


class _Answer:
    """The documents of one answer."""

    def __init__(self, model: str, choice: Choice, tokens_max: int) -> None:
        self._model = model
        self._choice = choice
        self._tokens_max = tokens_max
        self._id = f"msg_{uuid.uuid4().hex}"

    def whole(self) -> Json:
        """The one document of an answer that does not stream."""
        blocks: list[Json] = []
        pieces: list[str] = []
        for event in self._blocks(self._deltas()):
            match event["type"], event:
                case "content_block_start", {"content_block": dict(block)}:
                    blocks.append(block)
                    pieces = []
                case "content_block_delta", {"delta": dict(delta)}:
                    pieces.append(str(delta[_text_member(delta)]))
                case _:
                    _fill(blocks[-1], "".join(pieces))
        usage = {**self._usage(), "output_tokens": self._choice.completion_tokens}
        return {**self._message(blocks, usage), "stop_reason": self._stop_reason()}

    def events(self) -> Iterator[Json]:
        """The events of an answer that streams."""
        deltas = self._deltas()
        first = list(itertools.islice(deltas, 1))
        usage = {**self._usage(), "output_tokens": 0}
        yield {"type": "message_start", "message": self._message([], usage)}
        yield from self._blocks(itertools.chain(first, deltas))
        usage = {**self._usage(), "output_tokens": self._choice.completion_tokens}
        ended = {"stop_reason": self._stop_reason(), "stop_sequence": None}
        yield {"type": "message_delta", "delta": ended, "usage": usage}
        yield {"type": "message_stop"}

    def _deltas(self) -> Iterator[Json]:
        while self._choice.finish is None:
            yield from self._choice.deltas()

    def _blocks(self, deltas: Iterator[Json]) -> Iterator[Json]:
        """The events of content blocks: one for each run of text or thoughts, and for each call."""
        index, standing = -1, ""
        for delta in deltas:
            kind, block, piece = _piece_of(delta)
            if block is not None and (kind != standing or kind == "tool_use"):
                if standing:
                    yield {"type": "content_block_stop", "index": index}
                index, standing = index + 1, kind
                yield {"type": "content_block_start", "index": index, "content_block": block}
            if piece is not None:
                yield {"type": "content_block_delta", "index": index, "delta": piece}
        if standing:
            yield {"type": "content_block_stop", "index": index}

    def _message(self, content: list[Json], usage: Json) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _usage(self) -> Json:
        return {"input_tokens": self._choice.prompt_tokens}

    def _stop_reason(self) -> str:
        if self._choice.completion_tokens >= self._tokens_max:
            return "max_tokens"
        return _ENDS[self._choice.finish or "stop"]


def _piece_of(delta: Json) -> tuple[str, Json | None, Json | None]:
    """A delta of OpenAI's as the kind of its block, the block that it may begin, and its own piece."""
    match delta:
        case {"content": str(text)}:
            return "text", {"type": "text", "text": ""}, {"type": "text_delta", "text": text}
        case {"reasoning_content": str(text)}:
            block: Json = {"type": "thinking", "thinking": "", "signature": ""}
            return "thinking", block, {"type": "thinking_delta", "thinking": text}
        case {"tool_calls": [{"id": str(call_id), "function": {"name": str(name)}}]}:
            return "tool_use", {"type": "tool_use", "id": call_id, "name": name, "input": {}}, None
        case {"tool_calls": [{"function": {"arguments": str(text)}}]}:
            return "tool_use", None, {"type": "input_json_delta", "partial_json": text}
        case _:
            return "", None, None


def _text_member(delta: Mapping[str, object]) -> str:
    return next(name for name in delta if name != "type")


def _fill(block: Json, text: str) -> None:
    """A block that has ended, with its text."""
    if block["type"] != "tool_use":
        block[str(block["type"])] = text
    elif text:
        block["input"] = json.loads(text)


def _with_failure(events: Iterator[Json]) -> Iterator[Json]:
    try:
        yield from events
    except ModelFailed as failed:
        yield _error("internal_error", str(failed))


def _event(document: Json) -> bytes:
    return b"event: " + str(document["type"]).encode() + b"\ndata: " + dump(document) + b"\n\n"
