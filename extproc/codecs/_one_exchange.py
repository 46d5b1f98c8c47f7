"""The session of a wire with one JSON request per stream and one answer to it: what such codecs share.

A codec says how a body is read and written, what reads its answer, and what its errors look like.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from extproc.codecs import _triton_http as http
from extproc.domain.errors import PeerError
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody

if TYPE_CHECKING:
    from extproc.domain.head import HeaderEdits, RequestHead, ResponseHead
    from extproc.domain.limits import Limits
    from extproc.domain.ports import RequestEdits, RequestMessage, ResponseFrame
    from extproc.domain.segment import Channel
    from extproc.domain.verdict import Refusal

_EVENT_STREAM: Final = "text/event-stream"


class AnswerReader(Protocol):
    """Reads one answer; the methods are those of ``CodecSession`` without a key."""

    @property
    def streamed(self) -> bool:
        """Whether the answer comes as events."""

    def read(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """The frames that a chunk completes."""

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""

    def write_tail(self, channel: Channel, text: str) -> bytes:
        """A frame of this service's own for text that was held when its channel ended."""


class OneExchange(ABC):
    """One request and its answer; its key is always 0.

    ``request_id`` is Envoy's, empty where it is no UUID.
    """

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        self.limits = limits
        self.request_id = http.request_id_of(head)
        self._body = BoundedBody(bytes_max=limits.body_bytes_max, reason=Reason.BODY_TOO_LARGE, status=413)
        self._is_read = False
        self._answer: AnswerReader | None = None

    # --- what the wire says ----------------------------------------------------------------------

    @abstractmethod
    def read_body(self, body: bytes) -> RequestMessage:
        """The message of a whole body, which is not empty. Asked once."""

    @abstractmethod
    def write_body(self, edits: RequestEdits) -> bytes:
        """The body that was read, with edits spliced in; without any, the client's own bytes."""

    @abstractmethod
    def answer_reader(self, *, status: int, streamed: bool) -> AnswerReader:
        """What reads the answer to the request that was read."""

    @abstractmethod
    def refusal_document(self, refusal: Refusal) -> bytes:
        """A refusal as the wire's error document."""

    def refusal_frame(self, refusal: Refusal) -> bytes:
        """A refusal within a stream of events."""
        return b"data: " + self.refusal_document(refusal) + b"\n\n"

    # --- a codec session -------------------------------------------------------------------------

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        """The one message, when the body is whole; whatever comes after that is ignored."""
        if self._is_read:
            return ()
        self._body.feed(chunk)
        if not eof:
            return ()
        body = self._body.take()
        if not body:
            raise PeerError(Reason.BODY_INVALID, "the request has no body")
        message = self.read_body(body)
        self._is_read = True
        return (message,)

    def write_request(self, key: int, edits: RequestEdits) -> bytes:  # noqa: ARG002 - the key is always 0.
        """The body with edits spliced in."""
        if not self._is_read:
            raise AssertionError("a request is written before it was read")
        return self.write_body(edits)

    def request_head_edits(self) -> HeaderEdits:
        """What never reaches the server."""
        return http.request_head_edits()

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        """Take the answer's status and kind: events, or one JSON body."""
        http.check_answer_head(head)
        kind = (head.header("content-type") or "").partition(";")[0].strip().lower()
        streamed = kind == _EVENT_STREAM
        self._answer = self.answer_reader(status=head.status, streamed=streamed)
        return http.answer_head_edits(head, streamed=streamed)

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """One frame per event; of a JSON answer one final frame at its end."""
        # No method is asked for it where it is there: this is done for each of many events.
        return (self._answer or self._need_answer()).read(chunk, eof=eof)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        return (self._answer or self._need_answer()).write(frame, texts)

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:  # noqa: ARG002 - the key is always 0.
        """A frame for text that was held when its channel ended."""
        return self._need_answer().write_tail(channel, text)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal with a real status."""
        return WireRefusal(
            status=refusal.status,
            headers=(("content-type", http.JSON_TYPE), *refusal.headers),
            body=self.refusal_document(refusal),
        )

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - the key is always 0.
        """The refusal as an event; None within a JSON answer, which cannot be mended."""
        return self.refusal_frame(refusal) if self._answer is not None and self._answer.streamed else None

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - one request per stream.
        """None: there is only one request."""
        return None

    def _need_answer(self) -> AnswerReader:
        if self._answer is None:
            raise AssertionError("an answer's body before its head")
        return self._answer
