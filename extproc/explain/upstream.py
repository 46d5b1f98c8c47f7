"""What a model server would say, in the protocol in which it was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypeAlias

from extproc.explain.endpoints import framed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from extproc.domain.ports import RequestMessage

# What a token has of English: whether a refusal still finds the answer's head unsent depends on it.
_PIECE_CHARS: Final = 4
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_GRPC: Final = "application/grpc"
_EVENT_BEGINS: Final = (b"data:", b"event:", b":")

Said: TypeAlias = "tuple[str, list[bytes]]"


def _triton_answer(text: str, path: str, message: RequestMessage) -> Said:
    frame = {"model_name": message.params.model, "model_version": "1"}
    if path.endswith("/generate_stream"):
        return _EVENTS, [_event({**frame, "text_output": piece}) for piece in _pieces(text)]
    return _JSON, [json.dumps({**frame, "text_output": text}).encode()]


def _openai_answer(text: str, _path: str, message: RequestMessage) -> Said:
    frame: Mapping[str, object] = {"id": "chatcmpl-0", "created": 0, "model": message.params.model}
    if message.params.stream:
        choices = [
            *({"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in _pieces(text)),
            {"index": 0, "delta": {}, "finish_reason": "stop"},
        ]
        events = [_event({**frame, "object": "chat.completion.chunk", "choices": [one]}) for one in choices]
        return _EVENTS, [*events, b"data: [DONE]\n\n"]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return _JSON, [json.dumps({**frame, "object": "chat.completion", "choices": [choice]}).encode()]


def _completion(text: str, _path: str, message: RequestMessage) -> Said:
    frame = {"id": "cmpl-0", "object": "text_completion", "created": 0, "model": message.params.model}

    def choice(piece: str, finish_reason: str | None) -> Mapping[str, object]:
        one = {"index": 0, "text": piece, "finish_reason": finish_reason}
        return {**frame, "choices": [one]}

    if message.params.stream:
        events = [_event(choice(piece, None)) for piece in _pieces(text)]
        return _EVENTS, [*events, _event(choice("", "stop")), b"data: [DONE]\n\n"]
    return _JSON, [json.dumps(choice(text, "stop")).encode()]


def _infer_answer(text: str, _path: str, message: RequestMessage) -> Said:
    output = {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": [text]}
    document = {"model_name": message.params.model, "model_version": "1", "outputs": [output]}
    return _JSON, [json.dumps(document).encode()]


def _anthropic_answer(text: str, _path: str, message: RequestMessage) -> Said:
    counts = {"input_tokens": 1, "output_tokens": 1}
    frame: Mapping[str, object] = {
        "id": "msg_0",
        "type": "message",
        "role": "assistant",
        "model": message.params.model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": counts,
    }
    if not message.params.stream:
        content = [{"type": "text", "text": text}]
        return _JSON, [json.dumps({**frame, "content": content, "stop_reason": "end_turn"}).encode()]
    block = {"type": "text", "text": ""}
    documents: list[Mapping[str, object]] = [
        {"type": "message_start", "message": {**frame, "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in _pieces(text)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": counts,
        },
        {"type": "message_stop"},
    ]
    return _EVENTS, [f"event: {one['type']}\n".encode() + _event(one) for one in documents]


def as_sent(body: bytes, *, grpc: bool) -> Said:
    """A server's own bytes, with the content type that they look like."""
    if grpc:
        return _GRPC, [framed(body)]
    return _EVENTS if body.startswith(_EVENT_BEGINS) else _JSON, [body]


def _pieces(text: str) -> Iterable[str]:
    return (text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS))


def _event(document: Mapping[str, object]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


# By the codec's name: content type and chunks of an answer with this text, by path and request.
ANSWERS: Final[Mapping[str, Callable[[str, str, RequestMessage], Said]]] = {
    "triton_generate": _triton_answer,
    "openai_chat": _openai_answer,
    "openai_completions": _completion,
    "kserve_infer": _infer_answer,
    "anthropic_messages": _anthropic_answer,
}
