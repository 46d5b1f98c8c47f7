"""Judges of an answer beside its rules: what each reads of a channel, and what its findings do.

In a channel every judge reads what the one before it released, the rules read what the last one released,
and what changes text reads what the rules released. So what goes out is what all of them have released.
Judges in shadow, and those that only flag, read the channel's own text and release nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from extproc.core.channels import ChannelOutput, ChannelRun, ChannelScan, Judge
from extproc.domain.judging import ChannelKind, JudgeWatch, OnAnswer, kind_of
from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from extproc.core.channels import Watch
    from extproc.domain.judging import JudgeScanner, Judging, ToolCall
    from extproc.domain.ports import BoundGuard, ExchangeView
    from extproc.domain.scanning import ScannerFactory
    from extproc.domain.segment import Channel
    from extproc.domain.verdict import Finding

_PROSE = frozenset({ChannelKind.TEXT, ChannelKind.THOUGHT})


def may_touch(guards: tuple[BoundGuard, ...], view: ExchangeView) -> bool:
    """Whether any guard of an exchange may change its answer, or delay it."""
    for bound in guards:
        if bound.mode is Mode.ENFORCE:
            watch = bound.guard.scanner(view)
            if isinstance(watch, RuleWatch) or (watch is not None and watch.touches):
                return True
    return False


def replacements_of(guards: tuple[BoundGuard, ...], view: ExchangeView) -> frozenset[str]:
    """The texts that rules which are enforced put in values' places in an answer."""
    texts: frozenset[str] = frozenset()
    for bound in guards:
        if bound.mode is Mode.ENFORCE:
            watch = bound.guard.scanner(view)
            if isinstance(watch, RuleWatch):
                texts |= watch.replacements
    return texts


class Judges:
    """The judges of one answer."""

    __slots__ = ("_judging", "_wants_json")

    def __init__(self, judging: tuple[tuple[Judge, Judging], ...], *, wants_json: bool) -> None:
        self._judging = judging
        self._wants_json = wants_json

    @classmethod
    def of(cls, guards: tuple[BoundGuard, ...], view: ExchangeView) -> Judges | None:
        """Those that the guards of an exchange want; None where none does."""
        wanted = [
            (Judge(bound.name, bound.mode, watch, bound.on_error), watch.judge.begin())
            for bound in guards
            if bound.mode is not Mode.OFF and isinstance(watch := bound.guard.scanner(view), JudgeWatch)
        ]
        wants_json = view.request is not None and view.request.answer_format is not None
        return cls(tuple(wanted), wants_json=wants_json) if wanted else None

    def calls(self, calls: Sequence[ToolCall]) -> tuple[tuple[Judge, Finding], ...]:
        """What is wrong with tool calls that begin."""
        found = [
            (_cutting(judge), finding)
            for call in calls
            for judge, judging in self._judging
            if (finding := judging.call(call)) is not None
        ]
        return tuple(found)

    @property
    def ask(self) -> bool:
        """Whether any of them asks a model."""
        return any(judge.rules.model is not None for judge, _ in self._judging)

    def readers(self, channel: Channel) -> list[tuple[Judge, JudgeScanner | None]]:
        """Who judges a channel, each with what reads it; one with a model may have no more than that."""
        opened = [(judge, judging.open(channel)) for judge, judging in self._judging]
        if self._wants_json or kind_of(channel) not in _PROSE:
            return [(_cutting(judge), scanner) for judge, scanner in opened]
        return opened

    def channel(
        self,
        channel: Channel,
        watches: tuple[Watch, ...],
        factory: ScannerFactory,
        degraded: Callable[[str], None],
    ) -> ChannelScan:
        """What reads a channel, where no model does."""
        read = [(judge, scanner) for judge, scanner in self.readers(channel) if scanner is not None]
        if read:
            return JudgedScan(watches, factory, degraded, read)
        return ChannelScan(watches, factory, degraded)


class JudgedScan(ChannelScan):
    """One channel of an answer that judges read beside the rules."""

    __slots__ = ("_before", "_behind", "_beside", "_over")

    def __init__(
        self,
        watches: tuple[Watch, ...],
        factory: ScannerFactory,
        degraded: Callable[[str], None],
        judges: Sequence[tuple[Judge, JudgeScanner]],
    ) -> None:
        super().__init__(watches, factory, degraded)
        self._before = [one for one in judges if one[0].touches and not one[0].rules.edits]
        self._behind = [one for one in judges if one[0].touches and one[0].rules.edits]
        self._beside = [one for one in judges if not one[0].touches]
        # A finding may end the answer, or a text in the middle of a run.
        self.may_block |= bool(self._before or self._behind)
        self._over = False

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text before they may go out."""
        held = sum(scanner.held_chars for _, scanner in (*self._before, *self._behind))
        return super().held_chars + held

    def feed(self, text: str, *, eof: bool) -> ChannelOutput:
        """Take more of the channel's text; with ``eof`` all of it is decided."""
        findings = self._feed_beside(text, eof=eof)
        if self._over:
            return ChannelOutput("", findings)
        ended: tuple[Judge, Finding] | None = None
        for judge, scanner in self._before:
            scan = scanner.feed(text, eof=eof)
            text = scan.released
            if scan.findings:
                # Of two, the one behind found it in what the first had released before.
                ended, eof = (judge, scan.findings[0]), False
        output = super().feed(text, eof=eof)
        released = output.released
        findings += output.findings
        for judge, scanner in self._behind:
            scan = scanner.feed(released, eof=eof)
            released = scan.released
            findings += tuple((judge, finding) for finding in scan.findings)
        if ended is not None:
            self._over = True
            self.drop()
            released += ended[0].rules.canned
            findings += (ended,)
        return ChannelOutput(released, findings)

    def feed_each(self, texts: tuple[str, ...]) -> ChannelRun:
        """The same as feeding them one by one; only where no judge touches the text."""
        run = super().feed_each(texts)
        beside = self._feed_beside("".join(texts), eof=False)
        return run._replace(findings=[*run.findings, *((0, judge, finding) for judge, finding in beside)])

    def drop(self) -> None:
        """Forget what is held; an undecided tail never goes out."""
        super().drop()
        for _, scanner in (*self._before, *self._behind):
            scanner.drop()

    def _feed_beside(self, text: str, *, eof: bool) -> tuple[tuple[Watch | Judge, Finding], ...]:
        return tuple(
            (judge, finding)
            for judge, scanner in self._beside
            for finding in scanner.feed(text, eof=eof).findings
        )


def _cutting(judge: Judge) -> Judge:
    """The judge where its words can stand in no text: what would be replaced is cut."""
    if judge.rules.on_finding is not OnAnswer.REPLACE:
        return judge
    return replace(judge, rules=replace(judge.rules, on_finding=OnAnswer.CUT, canned=""))
