"""Read-only calls of Triton's gRPC port: health, ready, metadata and configuration. Statistics are none.

A question names at most one model, which the schema guard must allow, and is read strictly. An answer is
held until its trailers are there; whatever in it could be text is scanned, and where something is found the
answer is withheld as a whole: its schema is Triton's own and changes with its versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _grpc_http as grpc
from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs import _triton_http as http
from extproc.codecs._grpc_call import GrpcCall
from extproc.codecs._kgrpc_request import MODEL, VERSION
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage, ResponseFrame
from extproc.domain.segment import Channel, Delta, Operation, Params
from extproc.domain.verdict import Reason
from extproc.wire.grpc_frames import framed
from extproc.wire.protobuf_fields import FieldReader, Schema, texts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec, CodecSession, RequestEdits, WireRefusal
    from extproc.domain.verdict import Refusal

ANSWER: Final = "answer.*"
"""The place of an answer's texts."""

_QUESTIONS: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        f"{grpc.SERVICE}ServerLive": wire.NO_QUESTION,
        f"{grpc.SERVICE}ServerReady": wire.NO_QUESTION,
        f"{grpc.SERVICE}ServerMetadata": wire.NO_QUESTION,
        f"{grpc.SERVICE}ModelReady": wire.MODEL_QUESTION,
        f"{grpc.SERVICE}ModelMetadata": wire.MODEL_QUESTION,
        f"{grpc.SERVICE}ModelConfig": wire.MODEL_QUESTION,
        # Triton takes the service's name for a model's.
        "/grpc.health.v1.Health/Check": wire.HEALTH_QUESTION,
    }
)
_NAME: Final = 1
_VERSION: Final = 2


class _Answer(NamedTuple):
    """A frame's token: the response, and its text as it was given to the scanners."""

    response: bytes
    text: str


class ReadOnlySession(GrpcCall):
    """One question and its answer."""

    def __init__(self, head: RequestHead, schema: Schema, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._schema = schema
        self._payload = b""

    def read_message(self, payload: bytes) -> RequestMessage:
        """Which model is asked about, if any."""
        self._payload = payload
        reader = FieldReader(payload, limits=self.limits)
        message = reader.read(self._schema)
        model = reader.text(message.one(_NAME), "name")
        named = self._schema is wire.MODEL_QUESTION
        if (model or named) and MODEL.fullmatch(model) is None:
            raise PeerError(Reason.BODY_INVALID, "name is no name of a model")
        if VERSION.fullmatch(reader.text(message.one(_VERSION), "version")) is None:
            raise PeerError(Reason.BODY_INVALID, "version is no number")
        return RequestMessage(
            key=0,
            operation=Operation.READ_ONLY,
            params=Params(model=model, stream=False),
            segments=(),
            inspectable_bytes=len(payload),
        )

    def write_request(self, key: int, edits: RequestEdits) -> bytes:  # noqa: ARG002 - nothing can be edited.
        """The client's own bytes."""
        return framed(self._payload)

    def read_answer(self, payload: bytes) -> ResponseFrame:
        """Its one frame, with all of its text in one delta."""
        try:
            text = "\n".join(texts_of(payload, limits=self.limits))
        except PeerError as error:
            raise http.unreadable(error.message) from None
        deltas = (Delta(Channel(0, ANSWER), text),) if text else ()
        return ResponseFrame(key=0, deltas=deltas, token=_Answer(payload, text), final=True)

    def failed_answer(self, message: str) -> ResponseFrame:
        """The frame of a call that failed."""
        deltas = (Delta(Channel(0, ANSWER), message),) if message else ()
        return ResponseFrame(key=0, deltas=deltas, token=None, final=True, error=True)

    def write_answer(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """The answer as it came.

        Raises:
            PeerError: a text of it must not go out (UPSTREAM_UNREADABLE, status 502).
        """
        match frame.token:
            case _Answer(response, text):
                if texts and texts != (text,):
                    raise http.unreadable("it holds what must not go out")
                return framed(response)
            case _:
                return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnlyCodec:
    """The calls above."""

    name: str = "kserve_grpc_read_only"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is one of the calls."""
        return head.method == "POST" and head.path in _QUESTIONS

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for what is not gRPC, or compressed in an unknown way."""
        return ReadOnlySession(head, _QUESTIONS[head.path], limits=self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """As a gRPC status."""
        return grpc.wire_refusal(refusal, "")


CODEC: Codec = ReadOnlyCodec()
