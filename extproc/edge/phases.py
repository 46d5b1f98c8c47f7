"""Which reply Envoy has opened. The last check before a reply is written, independent of the core.

Envoy forgives some replies that come out of turn by letting the rest through unjudged (an early trailers
reply does), and takes a clean end of the call as leave to go on without us. So whatever this table does
not know to be in turn is a bug here, and the servicer aborts the stream. Each rule was seen on a real
Envoy: tests/golden/reply_matrix.txt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from extproc.core import commands as cmd
from extproc.domain.verdict import Lane

if TYPE_CHECKING:
    from extproc.pb.extproc_wire_pb2 import ProcessingRequest


class IllegalReply(Exception):  # noqa: N818 - names the thing, as IllegalReply reads in a log.
    """A reply that is not in turn: a bug of the service, and the stream must be aborted.

    Its text is from a closed list.
    """


@dataclass(slots=True)
class _LanePhase:
    """What Envoy has opened in one lane, and what has been replied in it."""

    head_open: bool = False
    body_open: bool = False
    trailers_open: bool = False
    # Envoy has said that nothing more follows; what it says nevertheless is ignored.
    ended: bool = False
    head_replied: bool = False
    # The last byte or the trailers have been let go on.
    closed: bool = False


class PhaseTable:
    """The phases of one stream: ``opened`` for each message read, ``check`` for each reply written."""

    __slots__ = ("_over", "_request", "_response")

    def __init__(self) -> None:
        self._request = _LanePhase()
        self._response = _LanePhase()
        self._over = False

    @property
    def may_end_cleanly(self) -> bool:
        """Whether a clean end of the call can let nothing through: all is refused, or all is replied."""
        return self._over or (self._request.closed and self._response.closed)

    # --- what Envoy opens -------------------------------------------------------------------

    def opened(self, message: ProcessingRequest) -> None:
        """Note what a message opens. Nothing opens after its lane's end (envoy#46237)."""
        match message.WhichOneof("request"):
            case "response_body":
                _open_body(self._response, end_stream=message.response_body.end_of_stream)
            case "request_body":
                _open_body(self._request, end_stream=message.request_body.end_of_stream)
            case "request_headers":
                _open_head(self._request, end_stream=message.request_headers.end_of_stream)
            case "response_headers":
                _open_head(self._response, end_stream=message.response_headers.end_of_stream)
            case "request_trailers":
                _open_trailers(self._request)
            case "response_trailers":
                _open_trailers(self._response)
            case _:
                return

    # --- what may be replied ----------------------------------------------------------------

    def check(self, command: cmd.Command) -> None:
        """Note a reply that is about to be written. Whatever is no reply passes.

        Raises:
            IllegalReply: it is out of turn; it must not be written.
        """
        match command:
            case cmd.ReplyBody():
                self._check_body(command)
            case cmd.ReplyHeaders():
                self._check_head(command.lane)
            case cmd.ReplyTrailers():
                self._check_trailers(command.lane)
            case cmd.Refuse():
                self._check_refusal()
            case (
                cmd.Abort()
                | cmd.Annotate()
                | cmd.RunEffect()
                | cmd.Enter()
                | cmd.SetDeadline()
                | cmd.ClearDeadline()
                | cmd.Emit()
                | cmd.ReportBug()
                | cmd.ReportUnread()
            ):
                return
            case _:
                assert_never(command)

    def _check_head(self, lane: Lane) -> None:
        phase = self._writable(lane)
        _require(phase.head_open, "a head that Envoy has not sent")
        _require(not phase.head_replied, "a second head")
        if lane is Lane.RESPONSE:
            _require(self._request.head_replied, "an answer's head before the request's")
        phase.head_replied = True
        # A head without a body is all of its lane.
        phase.closed = phase.ended and not phase.body_open and not phase.trailers_open

    def _check_body(self, command: cmd.ReplyBody) -> None:
        phase = self._writable(command.lane)
        _require(phase.head_replied, "a body before its head")
        _require(phase.body_open, "a body that Envoy has not sent")
        if command.end_stream:
            if command.lane is Lane.REQUEST:
                # An answer may be cut short, even of its trailers; a request goes on whole or not at all.
                _require(phase.ended, "an end of the request before Envoy's")
                _require(not phase.trailers_open, "an end of the request where trailers follow")
            phase.closed = True

    def _check_trailers(self, lane: Lane) -> None:
        phase = self._writable(lane)
        _require(phase.head_replied, "trailers before their head")
        _require(phase.trailers_open, "trailers that Envoy has not sent")
        phase.closed = True

    def _check_refusal(self) -> None:
        _require(not self._over, "a reply after a refusal")
        # Envoy's own answer to a request that it will not route has a head without a request's.
        _require(self._request.head_open or self._response.head_open, "a refusal before any head")
        _require(not self._response.head_replied, "a refusal after the answer's head went out")
        self._over = True

    def _writable(self, lane: Lane) -> _LanePhase:
        """The lane's phase, where it can still take a reply."""
        _require(not self._over, "a reply after a refusal")
        phase = self._request if lane is Lane.REQUEST else self._response
        _require(not phase.closed, "a reply after its lane's end")
        return phase


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as the assertion that it is.
    if not holds:
        raise IllegalReply(otherwise)


def _open_head(phase: _LanePhase, *, end_stream: bool) -> None:
    phase.head_open = True
    phase.ended = phase.ended or end_stream


def _open_body(phase: _LanePhase, *, end_stream: bool) -> None:
    if not phase.ended:
        phase.body_open = True
        phase.ended = end_stream


def _open_trailers(phase: _LanePhase) -> None:
    if not phase.ended:
        phase.trailers_open = phase.ended = True
