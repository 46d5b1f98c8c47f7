"""What the routes of the demo's OpenAI front end share: a call, its two kinds of reply, its refusals.

A route is a function from a ``Call`` to a ``Whole`` or to ``Events``. It raises ``Refused`` with the
document that its own wire calls an error; ``ModelFailed`` after the first event breaks the connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from contextlib import ExitStack

    from extproc.demo.openai_tokens import Json, Triton

MAX_TOKENS_DEFAULT: Final = 16
DONE: Final = b"data: [DONE]\n\n"
_SAMPLING: Final = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")


@dataclass(frozen=True, slots=True)
class Call:
    """One POST. ``ends`` closes what was opened for it, which cancels the model."""

    body: bytes
    triton: Triton
    models: Sequence[str]
    ends: ExitStack


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is one JSON document."""

    document: Json


@dataclass(frozen=True, slots=True)
class Events:
    """An answer that streams: whole server-sent events, each with its empty line."""

    frames: Iterator[bytes]


Route = Callable[[Call], Whole | Events]


class Refused(Exception):  # noqa: N818 - an answer, not a fault of this program.
    """A request that is answered with a status and a document."""

    def __init__(self, status: HTTPStatus, document: Json) -> None:
        super().__init__(status)
        self.status = status
        self.document = document


def detail(status: HTTPStatus, what: object) -> Refused:
    """A refusal as FastAPI words it, which Triton's front end is made with."""
    return Refused(status, {"detail": what})


def read_request(call: Call, *, required: Sequence[str]) -> Json:
    """The body of a request for a model that is served.

    Raises:
        Refused: as Triton's front end refuses it.
    """
    try:
        request: Json = json.loads(call.body)
    except ValueError:
        finding = {"type": "json_invalid", "loc": ["body", 1], "msg": "JSON decode error", "input": {}}
        raise detail(HTTPStatus.UNPROCESSABLE_ENTITY, [finding]) from None
    for name in (*required, "model"):
        if name not in request:
            missing = {"type": "missing", "loc": ["body", name], "msg": "Field required", "input": request}
            raise detail(HTTPStatus.UNPROCESSABLE_ENTITY, [missing])
    if request["model"] not in call.models:
        raise detail(HTTPStatus.BAD_REQUEST, f"Unknown model: {request['model']}")
    return request


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the answer is wanted."""

    stream: bool
    include_usage: bool
    choices_count: int

    @classmethod
    def of(cls, request: Mapping[str, object]) -> Delivery:
        """What a request says of it.

        Raises:
            Refused: it speaks of a stream that it does not want.
        """
        stream = bool(request.get("stream"))
        options = request.get("stream_options")
        if options and not stream:
            what = "`stream_options` can only be used when `stream` is True"
            raise detail(HTTPStatus.BAD_REQUEST, what)
        count = request.get("n")
        return cls(
            stream=stream,
            include_usage=isinstance(options, dict) and bool(options.get("include_usage")),
            choices_count=count if isinstance(count, int) and count > 0 else 1,
        )


def parameters_of(request: Mapping[str, object]) -> Json:
    """The sampling parameters that the model is asked with."""
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or MAX_TOKENS_DEFAULT
    sampling = {
        name: request[name] for name in _SAMPLING if isinstance(request.get(name), (int, float, str))
    }
    return {"max_tokens": limit, **sampling}


def usage_of(prompt: int, completion: int) -> Json:
    """Token counts, in the order in which Triton's front end writes them."""
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }


def dump(document: Json) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def event(document: Json) -> bytes:
    """One event of an OpenAI stream."""
    return b"data: " + dump(document) + b"\n\n"
