"""A gRPC call as a codec session sees it: heads, frames, trailers. What calls of any service share.

``GrpcLane`` is both directions of any call; ``GrpcCall`` a unary one, which holds its answer until the
trailers are there, so that a refusal is a status.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from extproc.codecs import _grpc_http as grpc
from extproc.codecs import _triton_http as http
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits
from extproc.domain.verdict import Reason
from extproc.wire.grpc_frames import FrameReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.head import RequestHead, ResponseHead
    from extproc.domain.limits import Limits
    from extproc.domain.ports import RequestEdits, RequestMessage, ResponseFrame, WireRefusal
    from extproc.domain.segment import Channel
    from extproc.domain.verdict import Refusal


class GrpcLane:
    """Heads, frames and trailers of one call. ``request_id`` is Envoy's, empty where it is no UUID."""

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        self.limits = limits
        self.request_id = http.request_id_of(head)
        self.frames_in = FrameReader(
            encoding=grpc.check_request_head(head),
            bytes_max=limits.body_bytes_max,
            ratio_max=limits.decoded_ratio_max,
            reason=Reason.BODY_INVALID,
            status=400,
        )
        self._frames_out = FrameReader(
            encoding="identity",
            bytes_max=limits.answer_bytes_max,
            ratio_max=1,
            reason=Reason.UPSTREAM_UNREADABLE,
            status=502,
        )
        self._head_edits = HeaderEdits()
        self._ends_in_head = False
        self._status: grpc.Status | None = None
        # What ``grpc-message`` will say.
        self._told = ""

    def request_head_edits(self) -> HeaderEdits:
        """What never reaches Triton."""
        return grpc.request_head_edits()

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        """Take the answer's head, which of a call that failed at once is all of it."""
        grpc.check_answer_head(head)
        self._head_edits = grpc.answer_head_edits(head)
        if "grpc-status" in head.headers:
            self._ends_in_head = True
            self._status = grpc.status_of(head.headers)
        return self._head_edits

    def response_head_edits(self) -> HeaderEdits:
        """What changes on the head, which may be all of the answer."""
        if not self._ends_in_head:
            return self._head_edits
        return HeaderEdits(remove=self._head_edits.remove, set=self.response_trailer_edits().set)

    def read_response_trailers(self, trailers: Mapping[str, tuple[str, ...]]) -> None:
        """Take the trailers; the end of the answer is read after them."""
        if self._status is not None:
            raise http.unreadable("it ends twice")
        self._status = grpc.status_of(trailers)

    def response_trailer_edits(self) -> HeaderEdits:
        """What changes on trailers, or on a head that has them."""
        if self._status is None:
            raise AssertionError("trailers are written before they were read")
        return grpc.trailer_edits(self._status, self._told)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal as a gRPC status."""
        return grpc.wire_refusal(refusal, self.request_id)

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - cutting is left.
        """None: nothing can be said of a whole call before its trailers, which are the upstream's."""
        return None

    # --- for what reads the messages -------------------------------------------------------------

    def answer_messages(self, chunk: bytes, *, eof: bool) -> list[bytes]:
        """The messages that a chunk of the answer completes.

        Raises:
            PeerError: it goes on after its end, or ends without a status (UPSTREAM_UNREADABLE, 502).
        """
        if chunk and self._status is not None:
            raise http.unreadable("it goes on after its end")
        payloads = self._frames_out.feed(chunk)
        if eof:
            self._frames_out.end()
            if self._status is None:
                raise http.unreadable("it ends without a status")
        return payloads

    def failure(self) -> str | None:
        """The message of a call that failed, as it may go on once it was scanned; None where it did not.

        Until the scanners' word on it is told, it is withheld.
        """
        if self._status is None or self._status.code == grpc.GRPC_OK:
            return None
        message = grpc.judged_message(self._status)
        self._told = http.WITHHELD if message else ""
        return message

    def tell(self, message: str) -> None:
        """What the scanners made of the message."""
        self._told = message


class GrpcCall(GrpcLane, ABC):
    """A unary call; its key is always 0."""

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._requests: list[bytes] = []
        self._answers: list[bytes] = []
        self._is_read = False

    # --- what the call says ----------------------------------------------------------------------

    @abstractmethod
    def read_message(self, payload: bytes) -> RequestMessage:
        """What the request asks."""

    @abstractmethod
    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        """The request, framed, with edits spliced in; without any, the client's own bytes."""

    @abstractmethod
    def read_answer(self, payload: bytes) -> ResponseFrame:
        """The final frame of a good answer."""

    @abstractmethod
    def failed_answer(self, message: str) -> ResponseFrame:
        """The final frame of a call that failed: its delta is the message, if there is any."""

    @abstractmethod
    def write_answer(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""

    # --- a codec session -------------------------------------------------------------------------

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        """The one message, once nothing can follow it."""
        if self._is_read:
            return ()
        for payload in self.frames_in.messages(chunk):
            if self._requests:
                raise _not_one()
            self._requests.append(payload)
        if eof:
            self.frames_in.end()
        if eof and not self._requests:
            raise _not_one()
        if not eof:
            return ()
        self._is_read = True
        return (self.read_message(self._requests.pop()),)

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """One final frame when the call is at its end."""
        self._answers += self.answer_messages(chunk, eof=eof)
        if len(self._answers) > 1:
            raise http.unreadable("a unary call has two responses")
        if not eof:
            return ()
        failure = self.failure()
        if failure is not None:
            return (self.failed_answer(failure),)
        if not self._answers:
            raise http.unreadable("it has no response")
        return (self.read_answer(self._answers.pop()),)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        if frame.error and texts:
            self.tell(texts[0])
        return self.write_answer(frame, texts)

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:  # noqa: ARG002 - never legal.
        """Impossible: the only frame is final."""
        raise AssertionError("a unary answer has no tails")

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - one request per call.
        """None: there is only one request."""
        return None


def _not_one() -> PeerError:
    return PeerError(Reason.BODY_INVALID, "a unary call has exactly one message")
