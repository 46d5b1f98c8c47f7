"""What a model server would say, in the protocol in which it was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from extproc.domain.ports import RequestMessage

# What a token has of English: whether a refusal still finds the answer's head unsent depends on it.
_PIECE_CHARS: Final = 4
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"

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


def _pieces(text: str) -> Iterable[str]:
    return (text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS))


def _event(document: Mapping[str, object]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


# By the codec's name: content type and chunks of an answer with this text, by path and request.
ANSWERS: Final[Mapping[str, Callable[[str, str, RequestMessage], Said]]] = {
    "triton_generate": _triton_answer,
    "openai_chat": _openai_answer,
}
