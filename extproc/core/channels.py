"""The scanners of one output channel: one for the rules that are enforced, one for those in shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Mode, OnError
from extproc.redaction.engine import ScanOverflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from extproc.domain.judging import JudgeWatch
    from extproc.domain.ports import BoundGuard, ExchangeView
    from extproc.domain.scanning import Scanner, ScannerFactory
    from extproc.domain.verdict import Finding


@dataclass(frozen=True, slots=True)
class Watch:
    """A guard's rule watch with the guard's name and mode."""

    guard: str
    mode: Mode
    rules: RuleWatch


@dataclass(frozen=True, slots=True)
class Judge:
    """A guard's judge with the guard's name, its mode, and what holds where its model fails."""

    guard: str
    mode: Mode
    rules: JudgeWatch
    on_error: OnError = OnError.BLOCK

    @property
    def touches(self) -> bool:
        """Whether it may change a byte of the answer, or delay one."""
        return self.mode is Mode.ENFORCE and self.rules.touches


class ChannelOutput(NamedTuple):
    """What one feed gave: text that may go out, and what was found, with the watch that asked.

    A tuple, since one is made for every piece of text.
    """

    released: str
    findings: tuple[tuple[Watch | Judge, Finding], ...]


def watches_of(guards: tuple[BoundGuard, ...], view: ExchangeView) -> tuple[Watch, ...]:
    """The rules that the guards of an exchange want its answer watched by."""
    found = []
    for bound in guards:
        if bound.mode is Mode.OFF:
            continue
        rules = bound.guard.scanner(view)
        if isinstance(rules, RuleWatch):
            found.append(Watch(bound.name, bound.mode, rules))
    return tuple(found)


class ChannelRun(NamedTuple):
    """What several pieces of text gave: text that may go out after each, and findings with their piece.

    ``held_chars_max`` is the most that waited after any of them.
    """

    released: tuple[str, ...]
    findings: Sequence[tuple[int, Watch | Judge, Finding]]
    held_chars_max: int


class ChannelScan:
    """One channel of an answer. Rules in shadow run apart, so that they cannot change a byte.

    Args:
        watches: The rules.
        factory: Makes their scanners.
        degraded: Told of a guard in shadow whose rules read no more of the channel.
    """

    __slots__ = ("_degraded", "_enforced", "_shadow", "_watches", "may_block")

    def __init__(
        self, watches: tuple[Watch, ...], factory: ScannerFactory, degraded: Callable[[str], None]
    ) -> None:
        self._watches = watches
        self._degraded = degraded
        # Whether a finding may end the answer.
        self.may_block = any(watch.rules.block and watch.mode is Mode.ENFORCE for watch in watches)
        self._enforced = _scanner(watches, Mode.ENFORCE, factory)
        self._shadow = _scanner(watches, Mode.SHADOW, factory)

    @property
    def done(self) -> bool:
        """Whether all is decided once the end was fed: rules ask nobody."""
        return True

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text before they may go out."""
        return self._enforced.held_chars if self._enforced is not None else 0

    def feed(self, text: str, *, eof: bool) -> ChannelOutput:
        """Take more of the channel's text; with ``eof`` all of it is decided."""
        released = text
        findings: tuple[tuple[Watch | Judge, Finding], ...] = ()
        if self._enforced is not None:
            scan = self._enforced.feed(text, eof=eof)
            released = scan.released
            if scan.findings:
                findings = self._attribute(scan.findings, Mode.ENFORCE)
        if self._shadow is not None:
            try:
                shadowed = self._shadow.feed(text, eof=eof).findings
            except ScanOverflowError:
                shadowed = self._drop_shadow()
            if shadowed:
                findings += self._attribute(shadowed, Mode.SHADOW)
        return ChannelOutput(released, findings)

    def feed_each(self, texts: tuple[str, ...]) -> ChannelRun:
        """The same as feeding them one by one, none of them the last."""
        released = texts
        held_chars_max = 0
        findings: list[tuple[int, Watch | Judge, Finding]] = []
        if self._enforced is not None:
            scan = self._enforced.feed_each(texts)
            released, held_chars_max = tuple(scan.released), scan.held_chars_max
            findings += self._attribute_each(scan.findings, Mode.ENFORCE)
        if self._shadow is not None:
            try:
                shadowed = self._shadow.feed_each(texts).findings
            except ScanOverflowError:
                shadowed = self._drop_shadow()
            findings += self._attribute_each(shadowed, Mode.SHADOW)
        # Stable: of one piece what is enforced comes first, as in ``feed``.
        return ChannelRun(released, sorted(findings, key=_piece), held_chars_max)

    def drop(self) -> None:
        """Forget what is held; an undecided tail never goes out."""
        if self._enforced is not None:
            self._enforced.drop()

    def _drop_shadow(self) -> tuple[()]:
        """Read no more of the channel in shadow: what is enforced there would end the answer."""
        self._shadow = None
        for watch in self._watches:
            if watch.mode is Mode.SHADOW:
                self._degraded(watch.guard)
        return ()

    def _attribute(
        self, findings: tuple[Finding, ...], mode: Mode
    ) -> tuple[tuple[Watch | Judge, Finding], ...]:
        watches = [watch for watch in self._watches if watch.mode is mode]
        return tuple((watch_for(watches, finding), finding) for finding in findings)

    def _attribute_each(
        self, findings: Sequence[tuple[int, Finding]], mode: Mode
    ) -> list[tuple[int, Watch | Judge, Finding]]:
        watches = [watch for watch in self._watches if watch.mode is mode] if findings else []
        return [(piece, watch_for(watches, finding), finding) for piece, finding in findings]


def _piece(found: tuple[int, Watch | Judge, Finding]) -> int:
    return found[0]


def _scanner(watches: tuple[Watch, ...], mode: Mode, factory: ScannerFactory) -> Scanner | None:
    rules = [watch.rules for watch in watches if watch.mode is mode]
    return factory(rules) if rules else None


def watch_for(watches: list[Watch], finding: Finding) -> Watch:
    """The watch whose pack the finding's detector (``pack/rule``) belongs to."""
    pack = finding.detector.partition("/")[0]
    for watch in watches:
        if watch.rules.pack == pack:
            return watch
    raise AssertionError("a scanner reported a rule that nobody asked for")
