"""KServe v2's inference by gRPC, as Triton has it: ModelInfer, and ModelStreamInfer with many requests.

On a stream requests and responses interleave, and the client ends its side only after the answers. Each
request is an exchange of its own. One that is refused goes on as a decoy with an input that no model has:
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
from extproc.codecs._grpc_call import GrpcCall, GrpcLane
from extproc.codecs._kgrpc_answer import AnswerReader
from extproc.codecs._kgrpc_edits import decoy, write_infer
from extproc.codecs._kgrpc_parts import DROPPED, Asked
from extproc.codecs._kgrpc_request import DECOY_MODEL, InferRequest, client_id_of, read_infer
from extproc.codecs._kserve_plan import plan_edits
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage
from extproc.domain.segment import Operation, Params
from extproc.domain.verdict import Reason, Refusal
from extproc.wire.grpc_frames import framed
from extproc.wire.protobuf_fields import FieldBudget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.domain.head import RequestHead
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


class UnarySession(GrpcCall):
    """One ModelInfer. The client's own id goes on with it."""

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._reader = AnswerReader(streamed=False, limits=limits)
        self._request: InferRequest | None = None
        self._asked: Asked | None = None

    def read_message(self, payload: bytes) -> RequestMessage:
        """What the request asks."""
        self._request = read_infer(payload, streamed=False, limits=self.limits)
        return _message(0, self._request)

    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        """The request with edits spliced in."""
        request = self._request
        if request is None:
            raise AssertionError("a request is written before it was read")
        plan = plan_edits(request.inputs, edits, outputs=request.outputs or None)
        own_id = request.client_id if plan.request_id is None else plan.request_id
        self._asked = Asked(
            key=key,
            model=request.model,
            client_id=own_id,
            sent_id=own_id,
            hidden=plan.hidden | _dropped(edits),
        )
        self._reader.ask(self._asked)
        return framed(write_infer(request, plan, sent_id=None))

    def read_answer(self, payload: bytes) -> ResponseFrame:
        """The frame of its one response."""
        (frame,) = self._reader.read((payload,))
        return frame

    def failed_answer(self, message: str) -> ResponseFrame:
        """The frame of a call that failed."""
        if self._asked is None:
            raise AssertionError("an answer to a request that was not written")
        return self._reader.fail(self._asked, message)

    def write_answer(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        return self._reader.write(frame, texts)


class StreamSession(GrpcLane):
    """One ModelStreamInfer."""

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._reader = AnswerReader(streamed=True, limits=limits)
        self._received = 0
        self._requests: dict[int, InferRequest] = {}
        # Of requests that are open, what each took of the budget that they share.
        self._fields: dict[int, int] = {}
        # The model of the last request that went on; see ``decoy``.
        self._running = ""
        # Client's ids of requests that could not be read.
        self._unread: dict[int, str] = {}

    @property
    def pending_bytes(self) -> int:
        """Bytes of a request that is not whole yet."""
        return self.frames_in.pending_bytes

    def read_request(self, chunk: bytes, *, eof: bool) -> Iterator[RequestMessage]:
        """The requests that a chunk completes; one that cannot be accepted is refused alone."""
        budget = None
        for payload in self.frames_in.messages(chunk):
            budget = self._budget() if budget is None else budget
            yield self._message(payload, budget)
        if eof:
            self.frames_in.end()

    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        """The request with edits spliced in, under an id of this service's own."""
        request = self._requests[key]
        plan = plan_edits(request.inputs, edits, outputs=request.outputs or None)
        sent_id = self._sent_id(key)
        asked = Asked(
            key=key,
            model=request.model,
            client_id=request.client_id,
            sent_id=sent_id,
            hidden=plan.hidden | _dropped(edits),
            wants_final=request.wants_empty_final,
        )
        written = framed(write_infer(request, plan, sent_id=sent_id))
        # Only now: what cannot be written is refused, and goes on as a decoy.
        del self._requests[key]
        self._reader.ask(asked)
        self._running = request.model
        return written

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """One frame per message; of a call that failed, one more for each open request."""
        frames = self._reader.read(self.answer_messages(chunk, eof=eof))
        failure = self.failure() if eof else None
        if failure is None:
            return tuple(frames)
        # Where no exchange is left whose scanners could read the message, it stays withheld.
        asked = self._reader.open_requests
        cut = [self._reader.fail(one, "" if at else failure) for at, one in enumerate(asked)]
        return (*frames, *cut)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        out = self._reader.write(frame, texts)
        if not out and frame.error and texts:
            self.tell(texts[0])
        return out

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:
        """A message of this service's own for text that was held when its channel ended."""
        return self._reader.write_tail(key, channel, text)

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:
        """A request that Triton answers with an error, which becomes the refusal."""
        request = self._requests.pop(key, None)
        asked = Asked(
            key=key,
            model="" if request is None else request.model,
            client_id=self._unread.pop(key, "") if request is None else request.client_id,
            sent_id=self._sent_id(key),
            refused=http.message_of(refusal, self.request_id),
        )
        self._reader.ask(asked)
        own = DECOY_MODEL
        if request is not None and refusal.reason is not Reason.MODEL_NOT_ALLOWED:
            own = request.model
        return framed(decoy(asked.sent_id, self._running or own))

    def end_one(self, key: int, refusal: Refusal) -> bytes:
        """The refusal of one exchange in place of what else it would be answered."""
        return self._reader.refusal(key, http.message_of(refusal, self.request_id))

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - all end with it.
        """The refusal as an error of every request that is open; of the stream itself where none is.

        Only whole messages go on, so that another may follow at any time.
        """
        return self._reader.refusals(http.message_of(refusal, self.request_id))

    def _budget(self) -> FieldBudget:
        """What requests that are open leave of the fields that they may have together."""
        still = self._requests.keys() | {one.key for one in self._reader.open_requests}
        self._fields = {key: fields for key, fields in self._fields.items() if key in still}
        return FieldBudget(max(0, self.limits.protobuf_fields_max - sum(self._fields.values())))

    def _message(self, payload: bytes, budget: FieldBudget) -> RequestMessage:
        key = self._received
        self._received += 1
        before = budget.left
        try:
            request = read_infer(payload, streamed=True, limits=self.limits, budget=budget)
        except PeerError as error:
            self._unread[key] = client_id_of(payload, limits=self.limits)
            return RequestMessage(
                key=key,
                operation=Operation.TEXT_COMPLETION,
                params=Params(model="", stream=True),
                segments=(),
                inspectable_bytes=len(payload),
                refused=Refusal(reason=error.reason, status=error.status, message=error.message),
            )
        self._requests[key] = request
        self._fields[key] = before - budget.left
        return _message(key, request)

    def _sent_id(self, key: int) -> str:
        """Unique over all streams: backends tell requests that run at once apart by it."""
        return f"{self.request_id or 'headgate'}-{key}"


def _message(key: int, request: InferRequest) -> RequestMessage:
    return RequestMessage(
        key=key,
        operation=Operation.TEXT_COMPLETION,
        params=request.params,
        segments=request.inputs.segments,
        inspectable_bytes=len(request.payload),
        unscanned=request.inputs.unscanned,
    )


def _dropped(edits: RequestEdits) -> frozenset[str]:
    """Outputs that a scanner could not follow."""
    return DROPPED if edits.answer_watched else frozenset()


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
