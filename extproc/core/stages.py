"""What reads a channel that models read, too: one stage behind the other, each on what the last released.

A stage of rules or of a judge decides at once. One with a model gives windows to ask about, holds what they
decide, and goes on with the answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from extproc.core.channels import watch_for
from extproc.domain.effects import Classify, FindSpans, Scores, Spans
from extproc.domain.errors import FailureKind
from extproc.domain.limits import LIMITS
from extproc.domain.reading import OnDeadline
from extproc.domain.verdict import Finding, OnError
from extproc.redaction.model_scores import ScoredScanner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.core.channels import Judge, Watch
    from extproc.domain.effects import Answer
    from extproc.domain.judging import JudgeScanner
    from extproc.domain.reading import ScoreModel, Window
    from extproc.domain.scanning import AskingScanner, Scan, Scanner, ScannerFactory

_US_PER_MS: Final = 1_000


class Passed(NamedTuple):
    """What a stage released; ``ends`` is the finding with which a judge ends the text behind that."""

    released: str
    findings: tuple[tuple[Watch | Judge, Finding], ...] = ()
    ends: tuple[Judge, Finding] | None = None


class UnreadError(Exception):
    """A model has not answered, and its guard lets nothing pass unread. Never crosses the lane."""

    def __init__(self, watch: Watch | Judge) -> None:
        super().__init__(watch.guard)
        self.watch = watch


class Moment:
    """When the event came that is handled: the edge's clock in microseconds."""

    __slots__ = ("at_us",)

    def __init__(self) -> None:
        self.at_us = 0


class Stage(Protocol):
    """One reader of a channel."""

    @property
    def watches(self) -> Sequence[Watch | Judge]:
        """Whose it is."""

    @property
    def waits(self) -> bool:
        """Whether an answer may yet let something go."""

    @property
    def done(self) -> bool:
        """Whether the end has come and nothing is held."""

    @property
    def held_chars(self) -> int:
        """Code points that are held."""

    def feed(self, text: str, *, eof: bool) -> Passed:
        """Take more text; ``eof`` at most once."""

    def drop(self) -> None:
        """Forget what is held."""


class _AtOnce:
    """A stage that asks nobody."""

    __slots__ = ("_scanner", "done")

    waits = False

    def __init__(self, scanner: Scanner | JudgeScanner) -> None:
        self._scanner = scanner
        self.done = False

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text."""
        return self._scanner.held_chars

    def drop(self) -> None:
        """Forget what is held."""
        self._scanner.drop()

    def _read(self, text: str, *, eof: bool) -> Scan:
        self.done = eof
        return self._scanner.feed(text, eof=eof)


class RuleStage(_AtOnce):
    """Rules of one mode, without a model."""

    __slots__ = ("watches",)

    def __init__(self, watches: list[Watch], factory: ScannerFactory) -> None:
        super().__init__(factory([watch.rules for watch in watches]))
        self.watches = watches

    def feed(self, text: str, *, eof: bool) -> Passed:
        """Apply the rules."""
        scan = self._read(text, eof=eof)
        return Passed(scan.released, attributed(self.watches, scan.findings))


class JudgeStage(_AtOnce):
    """A judge that delays text, changes it or ends it."""

    __slots__ = ("_judge", "watches")

    def __init__(self, judge: Judge, scanner: JudgeScanner) -> None:
        super().__init__(scanner)
        self._judge = judge
        self.watches = (judge,)

    def feed(self, text: str, *, eof: bool) -> Passed:
        """Judge it: what only changes text, or only tells, ends nothing."""
        scan = self._read(text, eof=eof)
        if scan.findings and self._judge.touches and not self._judge.rules.edits:
            return Passed(scan.released, ends=(self._judge, scan.findings[0]))
        return Passed(scan.released, tuple((self._judge, finding) for finding in scan.findings))


class AskingStage(ABC):
    """A stage with a model: whose it is, and whether it only tells, so that nothing waits for it."""

    def __init__(
        self, asked: AskingScanner, watch: Watch | Judge, *, deadline_ms: int, beside: bool
    ) -> None:
        self._asked = asked
        self._pending: deque[Window] = deque()
        self.watch = watch
        # All whose it is: rules of others are read with it.
        self.watches: Sequence[Watch | Judge] = (watch,)
        # How long an answer to one question may take.
        self.deadline_ms = deadline_ms
        self.beside = beside

    @abstractmethod
    def feed(self, text: str, *, eof: bool) -> Passed:
        """Take more text; what the model is to read waits."""

    @abstractmethod
    def question(self, texts: tuple[str, ...], tenant: str) -> Classify | FindSpans:
        """What is asked about windows' texts."""

    @abstractmethod
    def answer(self, windows: Sequence[Window], answer: Answer | FailureKind) -> Passed:
        """Take the answer about windows; raises UnreadError where nothing may pass unread."""

    @property
    def due_us(self) -> int | None:
        """When what is held longest has waited as long as it may; None where nothing goes by that."""
        return None

    def let_go(self, at_us: int) -> Passed:
        """Let go of what has waited as long as it may."""
        raise AssertionError(f"nothing was due at {at_us}")

    @property
    def pending(self) -> bool:
        """Whether there are windows that nobody was asked about."""
        return bool(self._pending)

    def take(self, most: int | None) -> tuple[Window, ...]:
        """Windows to ask about now; None is all. What was let go of, or dropped, is of no use any more."""
        taken: list[Window] = []
        while self._pending and (most is None or len(taken) < most):
            window = self._pending.popleft()
            if self._asked.asks(window.number):
                taken.append(window)
        return tuple(taken)

    @property
    def waits(self) -> bool:
        """Whether an answer may yet let something go."""
        return self._asked.waits

    @property
    def done(self) -> bool:
        """Whether the end has come and nothing is held."""
        return self._asked.done

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text or for the model."""
        return self._asked.held_chars

    @property
    def unread_chars(self) -> int:
        """Code points that the model has not read and will not."""
        return self._asked.unread_chars

    def drop(self) -> None:
        """Forget what is held."""
        self._asked.drop()
        self._pending.clear()

    def _asks(self, windows: Sequence[Window]) -> bool:
        """Whether an answer about any of them is still of use: nothing waits for one that is not."""
        return any(self._asked.asks(window.number) for window in windows)


class SpanStage(AskingStage):
    """Rules of one mode joined with the spans of the model that one of their guards names."""

    def __init__(
        self, watches: list[Watch], factory: ScannerFactory, moment: Moment, *, beside: bool
    ) -> None:
        watch, self._model = next((one, one.rules.model) for one in watches if one.rules.model is not None)
        self._scanner = factory.modelled([one.rules for one in watches])
        super().__init__(self._scanner, watch, deadline_ms=LIMITS.spans_deadline_ms, beside=beside)
        self.watches = self._watches = watches
        self._moment = moment
        self._strict = beside or self._model.on_deadline is OnDeadline.STRICT
        self._deadline_us = self._model.deadline_ms * _US_PER_MS
        # Where each piece of text ends that is held, and when it came.
        self._times: deque[tuple[int, int]] = deque()
        self._fed = 0

    def feed(self, text: str, *, eof: bool) -> Passed:
        """Apply the rules; what the model is to read waits."""
        if text and not self._strict:
            self._fed += len(text)
            self._times.append((self._fed, self._moment.at_us))
        scan, windows = self._scanner.feed(text, eof=eof)
        self._pending += windows
        return self._passed([scan])

    def question(self, texts: tuple[str, ...], tenant: str) -> FindSpans:
        """What is asked about windows' texts."""
        return FindSpans(model=self._model.name, texts=texts, tenant=tenant)

    def answer(self, windows: Sequence[Window], answer: Answer | FailureKind) -> Passed:
        """Take what the model found; without an answer, what the rules clear goes out where it may."""
        if isinstance(answer, Spans) and len(answer.spans) == len(windows):
            found = zip(windows, answer.spans, strict=True)
            return self._passed([self._scanner.answer(window.number, spans) for window, spans in found])
        if self._strict and not self.beside and self._asks(windows):
            raise UnreadError(self.watch)
        return self._passed([self._scanner.answer(window.number, None) for window in windows])

    @property
    def due_us(self) -> int | None:
        """The deadline of the oldest character that is held."""
        released = self._scanner.released_chars
        while self._times and self._times[0][0] <= released:
            self._times.popleft()
        return self._times[0][1] + self._deadline_us if self._times else None

    def let_go(self, at_us: int) -> Passed:
        """Let go of what the rules clear and has waited as long as it may."""
        up_to = 0
        while self._times and self._times[0][1] + self._deadline_us <= at_us:
            up_to = self._times.popleft()[0]
        return self._passed([self._scanner.let_go(up_to)] if up_to else [])

    def drop(self) -> None:
        """Forget what is held."""
        super().drop()
        self._times.clear()

    def _passed(self, scans: Sequence[Scan]) -> Passed:
        findings = tuple(finding for scan in scans for finding in scan.findings)
        return Passed("".join(scan.released for scan in scans), attributed(self._watches, findings))


class ScoreStage(AskingStage):
    """A model that judges a text window by window; with its first finding it is over."""

    def __init__(self, judge: Judge, model: ScoreModel, *, beside: bool) -> None:
        self._scanner = ScoredScanner(model.threshold)
        super().__init__(self._scanner, judge, deadline_ms=model.deadline_ms, beside=beside)
        self._judge = judge
        self._model = model
        self._over = False

    def feed(self, text: str, *, eof: bool) -> Passed:
        """Hold the text until it is judged."""
        if not self._over:
            self._pending += self._scanner.feed(text, eof=eof)
        return _NOTHING

    def question(self, texts: tuple[str, ...], tenant: str) -> Classify:
        """What is asked about windows' texts."""
        return Classify(head=self._model.head, texts=texts, tenant=tenant)

    def answer(self, windows: Sequence[Window], answer: Answer | FailureKind) -> Passed:
        """Take the scores; without them, what ``on_error`` says."""
        scores: Sequence[float | None] = [None] * len(windows)
        if isinstance(answer, Scores) and len(answer.scores) == len(windows):
            scores = [one.score for one in answer.scores]
        elif not self.beside and (self._judge.on_error is OnError.BLOCK or answer is FailureKind.TOO_LONG):
            # What is too long for a window is no failure: letting it pass would be a way around the model.
            if self._asks(windows):
                raise UnreadError(self.watch)
            return _NOTHING
        released = ""
        for window, score in zip(windows, scores, strict=True):
            scored = self._scanner.answer(window.number, score)
            released += scored.released
            if scored.wrong is not None:
                self._over = True
                self._pending.clear()
                return self._found(released, *scored.wrong)
        return Passed(released)

    def _found(self, released: str, start: int, end: int, score: float) -> Passed:
        finding = Finding(
            entity_type=self._model.entity_type,
            start=start,
            end=end,
            score=score,
            detector=self._model.detector,
        )
        if self.beside:
            return Passed("", ((self._judge, finding),))
        return Passed(released, ends=(self._judge, finding))


_NOTHING: Final = Passed("")


def attributed(
    watches: list[Watch], findings: Sequence[Finding]
) -> tuple[tuple[Watch | Judge, Finding], ...]:
    """Findings, each with the watch whose pack its detector names."""
    return tuple((watch_for(watches, finding), finding) for finding in findings)
