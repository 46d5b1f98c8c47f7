"""An answer as it comes: its lane, what waits while a model reads, and what goes to the client."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from extproc.core import events as ev
from extproc.core.answer import AnswerStep
from extproc.core.refusals import ANSWER_UNREAD
from extproc.domain.ports import ends_in_trailers

if TYPE_CHECKING:
    from extproc.core.answer import AnswerLane
    from extproc.core.replies import AnswerReplies
    from extproc.domain.effects import Answer
    from extproc.domain.errors import FailureKind
    from extproc.domain.limits import Limits
    from extproc.domain.ports import CodecSession


class Answering:
    """The answer of one stream, from its head on."""

    def __init__(
        self, *, lane: AnswerLane, session: CodecSession, replies: AnswerReplies, limits: Limits
    ) -> None:
        self._lane = lane
        self._session = session
        self._replies = replies
        self._backlog = Backlog(limits)

    def take(self, event: ev.ResponseBody | ev.ResponseTrailers) -> AnswerStep:
        """Read what came, or keep it behind a text that has ended and is not read to its end.

        Raises:
            PeerError: the upstream's bytes cannot be vouched for.
        """
        if self._lane.pended is not None:
            return AnswerStep() if self._backlog.add(event) else AnswerStep(refusal=ANSWER_UNREAD)
        if isinstance(event, ev.ResponseBody):
            # Nearly every event.
            return self._lane.feed(event.chunk, eof=event.end_stream, at_us=event.at_us)
        return self._read(event, event.at_us)

    def take_kept(self, at_us: int) -> AnswerStep | None:
        """Read the next of what was kept; None where nothing was, or it still waits. Raises as ``take``."""
        if self._lane.pended is not None or not self._backlog:
            return None
        return self._read(self._backlog.take(), at_us)

    def _read(self, event: ev.ResponseBody | ev.ResponseTrailers, at_us: int) -> AnswerStep:
        if isinstance(event, ev.ResponseBody):
            return self._lane.feed(event.chunk, eof=event.end_stream, at_us=at_us)
        if ends_in_trailers(self._session):
            self._session.read_response_trailers(event.trailers)
        self._replies.trailers = tuple(event.trailers)
        return self._lane.feed(b"", eof=True, at_us=at_us)

    def answered(self, effect_id: int, answer: Answer | FailureKind, *, at_us: int) -> AnswerStep | None:
        """Take a model's answer; None where nobody here asked. Raises as ``take``."""
        return self._lane.answered(effect_id, answer, at_us=at_us)

    def let_go(self, *, at_us: int) -> AnswerStep:
        """Let go of what has waited for models as long as it may. Raises as ``take``."""
        return self._lane.let_go(at_us=at_us)

    def drop(self) -> None:
        """The answer is cut, or all of it has gone out: forget all that is held."""
        self._backlog.clear()
        self._lane.drop()


class Backlog:
    """What came of an answer while a text that has ended is not read to its end."""

    __slots__ = ("_bytes", "_events", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._events: deque[ev.ResponseBody | ev.ResponseTrailers] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, event: ev.ResponseBody | ev.ResponseTrailers) -> bool:
        """Keep an event; False where it is one too many."""
        self._events.append(event)
        self._bytes += _size_bytes(event)
        few = len(self._events) <= self._limits.answer_waiting_chunks_max
        return few and self._bytes <= self._limits.answer_waiting_bytes_max

    def take(self) -> ev.ResponseBody | ev.ResponseTrailers:
        """The first that was kept."""
        event = self._events.popleft()
        self._bytes -= _size_bytes(event)
        return event

    def clear(self) -> None:
        """Forget them."""
        self._events.clear()
        self._bytes = 0


def _size_bytes(event: ev.ResponseBody | ev.ResponseTrailers) -> int:
    return len(event.chunk) if isinstance(event, ev.ResponseBody) else 0
