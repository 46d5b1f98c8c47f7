"""What a model server would say, in the protocol in which it was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from extproc.explain.endpoints import FRAME_BYTES, framed
from extproc.wire.protobuf_fields import FieldReader, tagged_bytes, tagged_varint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from extproc.domain.ports import RequestMessage

# What a token has of English: whether a refusal still finds the answer's head unsent depends on it.
_PIECE_CHARS: Final = 4
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_GRPC: Final = "application/grpc"
_EVENT_BEGINS: Final = (b"data:", b"event:", b":")

_ID_FIELD: Final = 3

Said: TypeAlias = "tuple[str, list[bytes]]"


class Asked(NamedTuple):
    """What is answered: its path, the request as it was read, and its bytes as they were forwarded."""

    path: str
    message: RequestMessage
    forwarded: bytes


def _triton_answer(text: str, asked: Asked) -> Said:
    frame = {"model_name": asked.message.params.model, "model_version": "1"}
    if asked.path.endswith("/generate_stream"):
        return _EVENTS, [_event({**frame, "text_output": piece}) for piece in _pieces(text)]
    return _JSON, [json.dumps({**frame, "text_output": text}).encode()]


def _openai_answer(text: str, asked: Asked) -> Said:
    frame: Mapping[str, object] = {"id": "chatcmpl-0", "created": 0, "model": asked.message.params.model}
    if asked.message.params.stream:
        choices = [
            *({"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in _pieces(text)),
            {"index": 0, "delta": {}, "finish_reason": "stop"},
        ]
        events = [_event({**frame, "object": "chat.completion.chunk", "choices": [one]}) for one in choices]
        return _EVENTS, [*events, b"data: [DONE]\n\n"]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return _JSON, [json.dumps({**frame, "object": "chat.completion", "choices": [choice]}).encode()]


def _completion(text: str, asked: Asked) -> Said:
    frame = {"id": "cmpl-0", "object": "text_completion", "created": 0, "model": asked.message.params.model}

    def choice(piece: str, finish_reason: str | None) -> Mapping[str, object]:
        one = {"index": 0, "text": piece, "finish_reason": finish_reason}
        return {**frame, "choices": [one]}

    if asked.message.params.stream:
        events = [_event(choice(piece, None)) for piece in _pieces(text)]
        return _EVENTS, [*events, _event(choice("", "stop")), b"data: [DONE]\n\n"]
    return _JSON, [json.dumps(choice(text, "stop")).encode()]


def _infer_answer(text: str, asked: Asked) -> Said:
    output = {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": [text]}
    document = {"model_name": asked.message.params.model, "model_version": "1", "outputs": [output]}
    return _JSON, [json.dumps(document).encode()]


def _grpc_answer(text: str, asked: Asked) -> Said:
    if not asked.path.endswith("/ModelStreamInfer"):
        return _GRPC, [framed(_infer_response(text, asked))]
    pieces = list(_pieces(text)) or [""]
    finals = [False] * (len(pieces) - 1) + [True]
    responses = [
        _infer_response(piece, asked, final=final) for piece, final in zip(pieces, finals, strict=True)
    ]
    # A stream's message is an error (1) or a response (2).
    return _GRPC, [framed(tagged_bytes(2, response)) for response in responses]


def _infer_response(text: str, asked: Asked, *, final: bool | None = None) -> bytes:
    """A ModelInferResponse; ``final`` is the mark of a stream's last one."""
    said = text.encode()
    output = tagged_bytes(1, b"text_output") + tagged_bytes(2, b"BYTES") + tagged_bytes(3, b"\1")
    model = tagged_bytes(1, asked.message.params.model.encode()) + tagged_bytes(2, b"1")
    marks = b""
    if final is not None:
        mark = tagged_bytes(1, b"triton_final_response") + tagged_bytes(2, tagged_varint(1, final))
        marks = tagged_bytes(4, mark)
    # model_name, model_version, id, parameters, outputs, raw_output_contents.
    answer = model + tagged_bytes(3, _id_of(asked.forwarded)) + marks + tagged_bytes(5, output)
    return answer + tagged_bytes(6, len(said).to_bytes(4, "little") + said)


def _id_of(request: bytes) -> bytes:
    """The id (field 3) of a framed ModelInferRequest, which its answers repeat."""
    fields = FieldReader(request).loose(FRAME_BYTES, len(request)) or []
    return next((request[one.start : one.end] for one in fields if one.tag == _ID_FIELD), b"")


def _anthropic_answer(text: str, asked: Asked) -> Said:
    counts = {"input_tokens": 1, "output_tokens": 1}
    frame: Mapping[str, object] = {
        "id": "msg_0",
        "type": "message",
        "role": "assistant",
        "model": asked.message.params.model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": counts,
    }
    if not asked.message.params.stream:
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


# By the codec's name: content type and chunks of an answer with this text.
ANSWERS: Final[Mapping[str, Callable[[str, Asked], Said]]] = {
    "triton_generate": _triton_answer,
    "openai_chat": _openai_answer,
    "openai_completions": _completion,
    "kserve_infer": _infer_answer,
    "kserve_grpc": _grpc_answer,
    "anthropic_messages": _anthropic_answer,
}
