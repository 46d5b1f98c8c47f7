"""Spans that a model finds, joined to those of the rules: ``release = min(rules, model)``.

What goes out is what replacing the union of both on the whole text would have given, however the text is
cut and whenever the model answers. A caller puts the questions to a model and brings back the answers;
where a deadline passes before, it may let go of what the rules clear, which alone depends on time and is
counted.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Finding
from extproc.redaction.engine import Scan
from extproc.redaction.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from extproc.domain.effects import ModelSpan
    from extproc.domain.reading import Window


class Rules(Protocol):
    """The rules of a channel, which tell how far they have decided."""

    def feed(self, text: str, *, eof: bool = False) -> Scan:
        """Take more text; with ``eof`` everything is decided."""

    @property
    def decided_chars(self) -> int:
        """Code points from the beginning of which it is known whether they are of a finding."""

    def drop(self) -> None:
        """Forget what is held."""


class _Found(NamedTuple):
    """A finding of either source, with what takes its place. Ordered as they are merged.

    A model may take one place for two things: ``entity_type`` orders them.
    """

    start: int
    negated_end: int
    by_model: bool
    entity_type: str
    finding: Finding
    replacement: str


_ORDER: Final = itemgetter(0, 1, 2, 3)


class ModelledScanner:
    """Reads one channel with rules and a model.

    Args:
        rules: The channel's rules.
        detector: What findings of the model name.
        entity_types: Those of the model's that count.
        replacement: What takes the place of a value, by entity type.
    """

    __slots__ = (
        *("_answers", "_base", "_detector", "_ended", "_entity_types", "_found", "_kept", "_let_go_to"),
        *("_model_safe", "_open", "_replacement", "_rules", "_unread_to", "_windows", "unread_chars"),
    )

    def __init__(
        self,
        rules: Rules,
        *,
        detector: str,
        entity_types: frozenset[str],
        replacement: Callable[[str, str], str],
    ) -> None:
        self._rules = rules
        self._detector = detector
        self._entity_types = entity_types
        self._replacement = replacement
        self._windows = Windows()
        # What no answer has decided yet, in order; and whether the model has read it, where an answer came
        # before those of earlier windows.
        self._open: dict[int, Window] = {}
        self._answers: dict[int, bool] = {}
        self._kept = ""
        self._base = 0
        self._model_safe = 0
        self._let_go_to = 0
        self._unread_to = 0
        self._found: list[_Found] = []
        self._ended = False
        # Code points that the model has not read: they went out, or are the rules' alone now.
        self.unread_chars = 0

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text or for the model."""
        return len(self._kept)

    @property
    def released_chars(self) -> int:
        """Code points from the beginning that are not held any more."""
        return self._base

    @property
    def waits(self) -> bool:
        """Whether an answer may yet let something go."""
        return bool(self._open)

    @property
    def done(self) -> bool:
        """Whether the end has come and nothing is held: no answer is waited for."""
        return self._ended and not self._kept

    def asks(self, number: int) -> bool:
        """Whether an answer about a window is still of use."""
        return number in self._open and number not in self._answers

    def feed(self, text: str, *, eof: bool = False) -> tuple[Scan, tuple[Window, ...]]:
        """Take more text; give what may go out, and the windows that the model must be asked about."""
        self._kept += text
        scan = self._rules.feed(text, eof=eof)
        if scan.findings:
            self._note(zip(scan.findings, scan.replacements, strict=True), by_model=False)
        self._ended = eof
        released = self._release()
        if len(self._kept) > LIMITS.held_chars_max:
            # Whoever asks drops what is too much to hold: it is not worth cutting.
            return released, ()
        asked = tuple(self._windows.feed(text, eof=eof))
        self._open |= {window.number: window for window in asked}
        return released, asked

    def answer(self, number: int, spans: Sequence[ModelSpan] | None) -> Scan:
        """Take the model's answer about a window; give what may go out now.

        None is no answer: what the window decides is left to the rules, and counted as unread.
        """
        if self.asks(number):
            self._answers[number] = spans is not None
            # At once: where text goes out at a deadline, what is known of it by then counts.
            self._note(self._decided(self._open[number], spans or ()), by_model=True)
        while self._open and (first := next(iter(self._open))) in self._answers:
            window, read = self._open.pop(first), self._answers.pop(first)
            self._model_safe = window.decides_to
            if not read:
                self._count_unread(max(window.decides_from, self._base), window.decides_to)
        return self._release()

    def let_go(self, up_to: int) -> Scan:
        """The deadline of all before ``up_to`` has passed: what of it the rules clear goes out, or will."""
        self._let_go_to = max(self._let_go_to, up_to)
        scan = self._release()
        # Nothing that could still be read is decided by these.
        for number, window in tuple(self._open.items()):
            if window.decides_to > self._base:
                break
            del self._open[number]
            self._answers.pop(number, None)
        return scan

    def drop(self) -> None:
        """Forget what is held; an undecided tail never goes out."""
        self._rules.drop()
        self._kept = ""
        self._found.clear()
        self._open.clear()
        self._answers.clear()

    def _count_unread(self, start: int, end: int) -> None:
        """Count what no model reads, once; windows whose answers came before earlier ones' are read."""
        start = max(start, self._unread_to)
        if start >= end:
            return
        windows = [self._open[number] for number, read in self._answers.items() if read]
        known = sum(max(min(one.decides_to, end) - max(one.decides_from, start), 0) for one in windows)
        self.unread_chars += end - start - known
        self._unread_to = end

    def _note(self, found: Iterable[tuple[Finding, str]], *, by_model: bool) -> None:
        self._found += [
            _Found(one.start, -one.end, by_model, one.entity_type, one, replacement)
            for one, replacement in found
        ]
        self._found.sort(key=_ORDER)

    def _decided(self, window: Window, spans: Sequence[ModelSpan]) -> Iterator[tuple[Finding, str]]:
        """What of a window's spans it decides, and what takes their places."""
        for span in spans:
            begin = window.start + span.start
            start, end = max(begin, self._base), window.start + min(span.end, len(window.text))
            # What begins elsewhere is another window's; what has gone out cannot be taken back.
            decided = window.decides_from <= begin < window.decides_to and start < end
            if decided and span.entity_type in self._entity_types:
                value = window.text[start - window.start : end - window.start]
                finding = Finding(
                    entity_type=span.entity_type,
                    start=start,
                    end=end,
                    score=span.score,
                    detector=self._detector,
                )
                yield finding, self._replacement(span.entity_type, value)

    def _release(self) -> Scan:
        """Let go of what both have decided, and of no part of a value whose end is not known."""
        safe = min(self._rules.decided_chars, max(self._model_safe, self._let_go_to))
        before = self._base
        out: list[str] = []
        findings: list[Finding] = []
        replacements: list[str] = []
        while self._found and self._found[0].start < safe:
            end, count = _joined(self._found)
            if end > safe:
                # Another one may begin within, and is not known.
                safe = self._found[0].start
                break
            group, self._found = self._found[:count], self._found[count:]
            out += (self._kept[: group[0].start - self._base], group[0].replacement)
            findings += [one.finding for one in group]
            replacements += [one.replacement for one in group]
            self._forget(end)
        if safe > self._base:
            out.append(self._kept[: safe - self._base])
            self._forget(safe)
        if self._base > self._model_safe:
            self._count_unread(max(before, self._model_safe), self._base)
        return Scan("".join(out), tuple(findings), tuple(replacements))

    def _forget(self, end: int) -> None:
        self._kept = self._kept[end - self._base :]
        self._base = end


def _joined(found: list[_Found]) -> tuple[int, int]:
    """Where those end that overlap the first, one after the other; and how many they are."""
    end, count = -found[0].negated_end, 1
    while count < len(found) and found[count].start < end:
        end = max(end, -found[count].negated_end)
        count += 1
    return end, count
