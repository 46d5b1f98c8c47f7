"""One channel of an answer that models read: what goes out is what every rule, judge and model released.

Stages stand in a row as without models (``judges``), each reading what the one before it released. What a
model has not read is held in its stage; an answer lets it go, through the stages behind. So what has gone
out once all is answered is the same for any cut of the text and any delay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extproc.core.channels import ChannelOutput
from extproc.core.stages import AskingStage, JudgeStage, RuleStage, ScoreStage, SpanStage
from extproc.domain.errors import FailureKind
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Mode
from extproc.redaction.engine import ScanOverflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from extproc.core.channels import Judge, Watch
    from extproc.core.stages import Moment, Passed, Stage
    from extproc.domain.effects import Answer
    from extproc.domain.judging import JudgeScanner
    from extproc.domain.reading import Window
    from extproc.domain.scanning import ScannerFactory
    from extproc.domain.verdict import Finding

    Reader = tuple[Judge, JudgeScanner | None]
    Found = list[tuple[Watch | Judge, Finding]]


class AskingScan:
    """The stages of one channel.

    Args:
        watches: The rules, of which one may have a model.
        factory: Makes their scanners.
        readers: The judges, each with what reads the channel beside its model.
        moment: When the event came that is handled.
        wants: Told of a stage that has windows to ask about.
        unread: Told of code points that a model has not read and will not, and of whose model it is.
        degraded: Told of a guard in shadow, or one that only tells, that reads no more of the channel.
    """

    may_block = True

    def __init__(  # noqa: PLR0913 - the lane names each part once.
        self,
        watches: Sequence[Watch],
        factory: ScannerFactory,
        readers: Sequence[Reader],
        *,
        moment: Moment,
        wants: Callable[[AskingScan, AskingStage], None],
        unread: Callable[[Watch | Judge, int], None],
        degraded: Callable[[str], None],
    ) -> None:
        enforced = [one for one in watches if one.mode is Mode.ENFORCE]
        shadow = [one for one in watches if one.mode is Mode.SHADOW]
        before = [one for one in readers if one[0].touches and not one[0].rules.edits]
        behind = [one for one in readers if one[0].touches and one[0].rules.edits]
        only_told = [one for one in readers if not one[0].touches]
        self._stages: list[Stage | AskingStage] = [
            *_judging(before, beside=False),
            *_ruling(enforced, factory, moment, beside=False),
            *_judging(behind, beside=False),
        ]
        # Each of these reads the channel's own text, and releases nothing.
        self._beside: list[Stage | AskingStage] = [
            *_judging(only_told, beside=True),
            *_ruling(shadow, factory, moment, beside=True),
        ]
        self._wants = wants
        self._unread = unread
        self._degraded = degraded
        self._told_unread: dict[AskingStage, int] = {}
        # Whose models read no more of the text.
        self._given_up: list[Watch | Judge] = []
        # Where the end has been passed on.
        self._ended = [False] * len(self._stages)
        # The stage that ends the text, with why; what is in the stages behind it has yet to be decided.
        self._ending: tuple[int, tuple[Judge, Finding]] | None = None
        self._over = False
        self.ended = False

    @property
    def done(self) -> bool:
        """Whether nothing more goes out: the end has come through, or what stands for the rest is said."""
        return self._over or (all(self._ended) and self.ended)

    @property
    def guard(self) -> str:
        """Whose model reads it: the first's, of those for which text waits."""
        return next((one.watch.guard for one in self._asking() if not one.beside), "")

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text or for a model."""
        return sum(stage.held_chars for stage in self._stages)

    @property
    def due_us(self) -> int | None:
        """When the character that is held longest has waited as long as it may."""
        due = [stage.due_us for stage in self._stages if isinstance(stage, AskingStage)]
        return min((one for one in due if one is not None), default=None)

    def feed(self, text: str, *, eof: bool) -> ChannelOutput:
        """Take more of the channel's text; with ``eof``, once, its end."""
        self.ended = eof
        found: Found = []
        for watch in self._given_up:
            self._unread(watch, len(text))
        for stage in tuple(self._beside):
            found += self._feed_beside(stage, text, eof=eof)
        released = "" if self._over else self._push(0, text, eof=eof, found=found)
        return self._output(released, found)

    def _feed_beside(
        self, stage: Stage | AskingStage, text: str, *, eof: bool
    ) -> tuple[tuple[Watch | Judge, Finding], ...]:
        """Feed a stage that releases nothing; what it can take no more of ends it alone."""
        try:
            findings = stage.feed(text, eof=eof).findings
        except ScanOverflowError:
            self.give_up(stage)
            return ()
        if stage.held_chars > LIMITS.held_chars_max:
            # Nobody waits for it, and it must not grow: the rest of this text it does not read.
            self.give_up(stage)
        return findings

    def answer(
        self, stage: AskingStage, windows: Sequence[Window], answer: Answer | FailureKind
    ) -> ChannelOutput:
        """Take an answer to a stage's question.

        Raises:
            UnreadError: there is none, and nothing may pass unread.
        """
        if stage.beside:
            if answer is FailureKind.DEADLINE:
                # A record that waits would wait as long for each of those whose turn has not come.
                windows = (*windows, *stage.take(None))
            return self._output("", [*stage.answer(windows, answer).findings])
        return self._go_on(stage, stage.answer(windows, answer))

    def let_go(self, at_us: int) -> ChannelOutput:
        """Let go of what has waited for a model as long as it may."""
        released = ""
        findings: Found = []
        for stage in self._stages:
            if isinstance(stage, AskingStage) and stage.due_us is not None:
                output = self._go_on(stage, stage.let_go(at_us))
                released += output.released
                findings += output.findings
        return ChannelOutput(released, tuple(findings))

    def drop(self) -> None:
        """Forget what is held; an undecided tail never goes out."""
        for stage in self._stages:
            stage.drop()

    def _go_on(self, stage: AskingStage, passed: Passed) -> ChannelOutput:
        """Take what a stage has let go of through those behind it."""
        found: Found = []
        number = self._stages.index(stage)
        text, eof = self._take(number, passed, found, eof=self._ended_before(number))
        return self._output(self._push(number + 1, text, eof=eof, found=found), found)

    def _ended_before(self, number: int) -> bool:
        return self.ended if number == 0 else self._ended[number - 1]

    def _push(self, first: int, text: str, *, eof: bool, found: Found) -> str:
        """Feed the stages from one on; gives what the last one released."""
        if self._ending is not None and first <= self._ending[0]:
            # It stands behind what ends the text.
            return ""
        for number in range(first, len(self._stages)):
            if not text and not eof:
                return ""
            passed = self._stages[number].feed(text, eof=eof)
            text, eof = self._take(number, passed, found, eof=eof)
        return text

    def _take(self, number: int, passed: Passed, found: Found, *, eof: bool) -> tuple[str, bool]:
        """What goes on to the next stage: text, and the end where it has come so far for the first time."""
        found += passed.findings
        if passed.ends is not None and (self._ending is None or self._ending[0] < number):
            # Of two, the one behind found it in what the first had released before.
            self._ending = (number, passed.ends)
        if self._ending is not None and self._ending[0] >= number:
            return (passed.released if self._ending[1] is passed.ends else ""), False
        ends = eof and self._stages[number].done and not self._ended[number]
        if ends:
            self._ended[number] = True
        return passed.released, ends

    def _output(self, released: str, found: Found) -> ChannelOutput:
        for stage in self._asking():
            if stage.pending:
                self._wants(self, stage)
            before = self._told_unread.get(stage, 0)
            if stage.unread_chars > before:
                self._told_unread[stage] = stage.unread_chars
                self._unread(stage.watch, stage.unread_chars - before)
        if self._ending is not None and not self._over:
            number, ending = self._ending
            if not any(stage.waits for stage in self._stages[number + 1 :]):
                self._over = True
                self.drop()
                released += ending[0].rules.canned
                found.append(ending)
        return ChannelOutput(released, tuple(found))

    def _asking(self) -> Iterator[AskingStage]:
        for stage in (*self._stages, *self._beside):
            if isinstance(stage, AskingStage):
                yield stage

    def give_up(self, stage: Stage | AskingStage) -> None:
        """Read no more of the text with one of the stages that only tell."""
        if isinstance(stage, AskingStage):
            self._unread(stage.watch, stage.held_chars)
            self._given_up.append(stage.watch)
        for watch in stage.watches:
            self._degraded(watch.guard)
        stage.drop()
        self._beside.remove(stage)


def _judging(readers: Sequence[Reader], *, beside: bool) -> Iterator[Stage | AskingStage]:
    for judge, scanner in readers:
        if scanner is not None:
            yield JudgeStage(judge, scanner)
        if judge.rules.model is not None:
            yield ScoreStage(judge, judge.rules.model, beside=beside)


def _ruling(
    watches: list[Watch], factory: ScannerFactory, moment: Moment, *, beside: bool
) -> Iterator[Stage | AskingStage]:
    if any(one.rules.model is not None for one in watches):
        yield SpanStage(watches, factory, moment, beside=beside)
    elif watches:
        yield RuleStage(watches, factory)
