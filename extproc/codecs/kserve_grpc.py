"""KServe v2's inference by gRPC, as Triton has it: ModelInfer, and ModelStreamInfer with many requests.

On a stream requests and responses interleave, and the client ends its side only after the answers. Each
request is an exchange of its own. One that is refused goes on as a decoy for a model that does not exist:
Triton answers it in band, and that answer becomes the refusal, so that its neighbours are not disturbed and
the call ends as Triton ends it. A refusal within an answer is the same message in place of what else would
come. A unary call holds its answer until its trailers are there, so that a refusal is a status.

Reading and editing requests: ``_kgrpc_request`` and ``_kgrpc_edits``; answers: ``_kgrpc_answer``. Unknown
fields are refused in both lanes. Messages go on uncompressed, whatever they came as.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _grpc_http as grpc
from extproc.codecs import _triton_http as http
from extproc.codecs._kgrpc_answer import DROPPED, AnswerReader, Asked
from extproc.codecs._kgrpc_edits import decoy, write_infer
from extproc.codecs._kgrpc_request import InferRequest, client_id_of, read_infer
from extproc.codecs._kserve_plan import plan_edits
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage
from extproc.domain.segment import Operation, Params
from extproc.domain.verdict import Reason, Refusal
from extproc.wire.grpc_frames import FrameReader, framed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.head import RequestHead, ResponseHead
    from extproc.domain.ports import (
        Codec,
        CodecSession,
        RequestEdits,
        ResponseFrame,
        WireRefusal,
    )
    from extproc.domain.segment import Channel

_UNARY: Final = f"{grpc.SERVICE}ModelInfer"
_STREAM: Final = f"{grpc.SERVICE}ModelStreamInfer"


class InferSession:
    """One call. What unary calls and streams share."""

    streamed: bool

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        self.limits = limits
        self.request_id = http.request_id_of(head)
        self.requests: dict[int, InferRequest] = {}
        self.frames_in = FrameReader(
            encoding=grpc.check_request_head(head),
            bytes_max=limits.body_bytes_max,
            reason=Reason.BODY_INVALID,
            status=400,
        )
        self.frames_out = FrameReader(
            encoding="identity",
            bytes_max=limits.answer_bytes_max,
            reason=Reason.UPSTREAM_UNREADABLE,
            status=502,
        )
        self.answers = AnswerReader(streamed=self.streamed, limits=limits)
        self.status: grpc.Status | None = None
        self._told = ""
        self._head_edits = HeaderEdits()
        self._ends_in_head = False

    def message(self, key: int, payload: bytes) -> RequestMessage:
        """What a payload asks."""
        request = read_infer(payload, streamed=self.streamed, limits=self.limits)
        self.requests[key] = request
        return RequestMessage(
            key=key,
            operation=Operation.TEXT_COMPLETION,
            params=request.params,
            segments=request.inputs.segments,
            inspectable_bytes=len(payload),
            unscanned=request.inputs.unscanned,
        )

    def forwarded(self, key: int, edits: RequestEdits, *, sent_id: str | None) -> bytes:
        """A request as it goes on."""
        request = self.requests.pop(key)
        listed = request.outputs or None
        plan = plan_edits(request.inputs, edits, outputs=listed)
        client_id = request.client_id
        unary_id = client_id if plan.request_id is None else plan.request_id
        self.answers.ask(
            Asked(
                key=key,
                model=request.model,
                client_id=client_id if sent_id is not None else unary_id,
                sent_id=unary_id if sent_id is None else sent_id,
                hidden=plan.hidden | (DROPPED if edits.answer_watched else frozenset()),
                wants_final=request.wants_empty_final,
            )
        )
        return framed(write_infer(request, plan, sent_id=sent_id))

    def request_head_edits(self) -> HeaderEdits:
        """What never reaches Triton."""
        return grpc.request_head_edits()

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        """Take the answer's head, which of a call that failed at once is all of it."""
        grpc.check_answer_head(head)
        self._head_edits = grpc.answer_head_edits(head)
        if "grpc-status" in head.headers:
            self._ends_in_head = True
            self.status = grpc.status_of(head.headers)
        return self._head_edits

    def read_response_trailers(self, trailers: Mapping[str, tuple[str, ...]]) -> None:
        """Take the trailers; the end of the answer is read after them."""
        if self.status is not None:
            raise http.unreadable("it ends twice")
        self.status = grpc.status_of(trailers)

    def response_head_edits(self) -> HeaderEdits:
        """What changes on the head, once all of the answer is there, or its first message is."""
        if not self._ends_in_head or self.status is None:
            return self._head_edits
        judged = grpc.trailer_edits(self.status, self._told)
        return HeaderEdits(remove=self._head_edits.remove, set=judged.set)

    def response_trailer_edits(self) -> HeaderEdits:
        """What changes on trailers, or on a head that has them."""
        if self.status is None:
            raise AssertionError("trailers are written before they were read")
        return grpc.trailer_edits(self.status, self._told)

    def take_answer(self, chunk: bytes, *, eof: bool) -> tuple[list[bytes], bool]:
        """The messages that a chunk completes, and whether the call has failed."""
        if chunk and self.status is not None:
            raise http.unreadable("it goes on after its end")
        payloads = self.frames_out.feed(chunk)
        if not eof:
            return payloads, False
        self.frames_out.end()
        if self.status is None:
            raise http.unreadable("it ends without a status")
        return payloads, self.status.code != grpc.GRPC_OK

    def failures(self) -> list[ResponseFrame]:
        """The frames of a call that failed: one for each open request, the first with the call's message."""
        if self.status is None:
            return []
        self._told = grpc.judged_message(self.status)
        asked = self.answers.open_requests
        if not asked:
            # No exchange is left whose scanners could read it.
            self._told = http.WITHHELD
        return [self.answers.fail(one, "" if at else self._told) for at, one in enumerate(asked)]

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        if self.status is not None and frame.error and texts:
            self._told = texts[0]
        return self.answers.write(frame, texts)

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:
        """A message of this service's own for text that was held when its channel ended."""
        return self.answers.write_tail(key, channel, text)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal as a gRPC status."""
        return grpc.wire_refusal(refusal, self.request_id)

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - cutting is left.
        """None: nothing can be said of a whole call before its trailers, which are not this service's."""
        return None


class UnarySession(InferSession):
    """One ModelInfer."""

    streamed = False

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._received = 0
        self._response: bytes | None = None

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        """The one message, once nothing can follow it."""
        payloads = self.frames_in.feed(chunk)
        self._received += len(payloads)
        if self._received > 1:
            raise PeerError(Reason.BODY_INVALID, "a unary call has exactly one message")
        for payload in payloads:
            self._first = payload
        if not eof:
            return ()
        self.frames_in.end()
        if not self._received:
            raise PeerError(Reason.BODY_INVALID, "a unary call has exactly one message")
        return (self.message(0, self._first),)

    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        """The message with edits spliced in; without any, the client's own bytes."""
        return self.forwarded(key, edits, sent_id=None)

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """One final frame when the call is at its end."""
        payloads, failed = self.take_answer(chunk, eof=eof)
        for payload in payloads:
            if self._response is not None:
                raise http.unreadable("a unary call has two responses")
            self._response = payload
        if not eof:
            return ()
        if failed:
            return tuple(self.failures())
        if self._response is None:
            raise http.unreadable("it has no response")
        return tuple(self.answers.read((self._response,)))

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - one request per call.
        """None: there is only one request."""
        return None


class StreamSession(InferSession):
    """One ModelStreamInfer."""

    streamed = True

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._received = 0
        # Ids of those that have no request that could be read.
        self._unread: dict[int, str] = {}

    @property
    def pending_bytes(self) -> int:
        """Bytes of a request that is not whole yet."""
        return self.frames_in.pending_bytes

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        """The requests that a chunk completes; one that cannot be accepted is refused alone."""
        messages = []
        for payload in self.frames_in.feed(chunk):
            key = self._received
            self._received += 1
            try:
                messages.append(self.message(key, payload))
            except PeerError as error:
                messages.append(self._refused(key, payload, error))
        if eof:
            self.frames_in.end()
        return tuple(messages)

    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        """The message with edits spliced in, under an id of this service's own."""
        return self.forwarded(key, edits, sent_id=self._sent_id(key))

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """One frame per message."""
        payloads, failed = self.take_answer(chunk, eof=eof)
        frames = self.answers.read(payloads)
        return (*frames, *self.failures()) if failed else tuple(frames)

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:
        """A request that Triton answers with an error, which becomes the refusal."""
        request = self.requests.pop(key, None)
        sent_id = self._sent_id(key)
        self.answers.ask(
            Asked(
                key=key,
                model=request.model if request is not None else "",
                client_id=request.client_id if request is not None else self._unread.pop(key, ""),
                sent_id=sent_id,
                refused=http.message_of(refusal, self.request_id),
            )
        )
        return framed(decoy(sent_id))

    def end_one(self, key: int, refusal: Refusal) -> bytes:
        """The refusal of one exchange in place of what else it would be answered."""
        return self.answers.refusal(key, http.message_of(refusal, self.request_id))

    def _sent_id(self, key: int) -> str:
        """Unique over all streams: backends tell requests that run at once apart by it."""
        return f"{self.request_id}-{key}" if self.request_id else f"headgate-{key}"

    def _refused(self, key: int, payload: bytes, error: PeerError) -> RequestMessage:
        self._unread[key] = client_id_of(payload, limits=self.limits)
        return RequestMessage(
            key=key,
            operation=Operation.TEXT_COMPLETION,
            params=Params(model="", stream=True),
            segments=(),
            inspectable_bytes=len(payload),
            refused=Refusal(reason=error.reason, status=error.status, message=error.message),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KserveGrpcCodec:
    """ModelInfer and ModelStreamInfer."""

    name: str = "kserve_grpc"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is one of the two calls."""
        return head.method == "POST" and head.path in {_UNARY, _STREAM}

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for what is not gRPC, or compressed in an unknown way."""
        if head.path == _STREAM:
            return StreamSession(head, limits=self.limits)
        return UnarySession(head, limits=self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """As a gRPC status."""
        return grpc.wire_refusal(refusal, "")


CODEC: Codec = KserveGrpcCodec()
