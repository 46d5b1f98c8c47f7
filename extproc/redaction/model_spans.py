"""Spans that a model finds, joined to those of the rules: ``release = min(rules, model)``.

What goes out is what replacing the union of both on the whole text would have given, however the text is
cut and whenever the model answers. A caller puts the questions to a model and brings back the answers;
where a deadline passes before, it may let go of what the rules clear, which alone depends on time and is
counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from extproc.domain.verdict import Finding
from extproc.redaction.engine import Scan
from extproc.redaction.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.redaction.engine import RuleScanner
    from extproc.redaction.windows import Window


class ModelSpan(NamedTuple):
    """What a model found in a window's text, in code points of it, half-open."""

    entity_type: str
    start: int
    end: int
    score: float


@dataclass(slots=True)
class LetGo:
    """What went out unseen by the model because a deadline passed: how often, and how many code points."""

    times: int = 0
    chars: int = 0


class _Found(NamedTuple):
    """A finding of either source, with what takes its place. Ordered as they are merged."""

    start: int
    negated_end: int
    by_model: bool
    finding: Finding
    replacement: str


class ModelledScanner:
    """Reads one channel with rules and a model.

    Args:
        rules: The channel's rules.
        model: The model's name for findings.
    """

    __slots__ = (
        *("_answers", "_base", "_ended", "_found", "_kept", "_let_go_to", "_model", "_model_safe"),
        *("_open", "_rules", "_windows", "let_go"),
    )

    def __init__(self, rules: RuleScanner, *, model: str) -> None:
        self._rules = rules
        self._model = model
        self._windows = Windows()
        # Asked and unanswered, in order; and answers that came before those of earlier windows.
        self._open: dict[int, Window] = {}
        self._answers: dict[int, Sequence[ModelSpan]] = {}
        self._kept = ""
        self._base = 0
        self._model_safe = 0
        self._let_go_to = 0
        self._found: list[_Found] = []
        self._ended = False
        self.let_go = LetGo()

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text or for the model."""
        return len(self._kept)

    @property
    def done(self) -> bool:
        """Whether the end has come and nothing is held: no answer is waited for."""
        return self._ended and not self._kept

    def feed(self, text: str, *, eof: bool = False) -> tuple[Scan, tuple[Window, ...]]:
        """Take more text; give what may go out, and the windows that the model must be asked about."""
        self._kept += text
        scan = self._rules.feed(text, eof=eof)
        for finding, replacement in zip(scan.findings, scan.replacements, strict=True):
            self._found.append(_Found(finding.start, -finding.end, False, finding, replacement))
        self._ended = eof
        asked = tuple(self._windows.feed(text, eof=eof))
        self._open |= {window.number: window for window in asked}
        return self._release(), asked

    def answer(self, number: int, spans: Sequence[ModelSpan]) -> Scan:
        """Take the model's answer about a window; give what may go out now."""
        self._answers[number] = spans
        while self._open and (first := next(iter(self._open))) in self._answers:
            self._take(self._open.pop(first), self._answers.pop(first))
        return self._release()

    def let_go_of_what_rules_clear(self) -> Scan:
        """The deadline of the oldest held character has passed: what the rules clear goes out."""
        cleared = self._rules.decided_chars
        if cleared <= max(self._model_safe, self._base):
            return Scan("", ())
        self._let_go_to = cleared
        before = self._base
        scan = self._release()
        if self._base > before:
            self.let_go.times += 1
            self.let_go.chars += self._base - max(before, min(self._model_safe, self._base))
        return scan

    def drop(self) -> None:
        """Forget what is held; an undecided tail never goes out."""
        self._rules.drop()
        self._kept = ""
        self._found.clear()
        self._open.clear()
        self._answers.clear()

    def _take(self, window: Window, spans: Sequence[ModelSpan]) -> None:
        self._model_safe = window.decides_to
        for span in spans:
            start, end = window.start + span.start, window.start + min(span.end, len(window.text))
            # What begins elsewhere is another window's; what has gone out cannot be taken back.
            if window.decides_from <= start < window.decides_to and max(start, self._base) < end:
                start = max(start, self._base)
                finding = Finding(
                    entity_type=span.entity_type,
                    start=start,
                    end=end,
                    score=span.score,
                    detector=self._model,
                )
                self._found.append(_Found(start, -end, True, finding, f"[{span.entity_type}]"))

    def _release(self) -> Scan:
        """Let go of what both have decided, and of no part of a value whose end is not known."""
        safe = min(self._rules.decided_chars, max(self._model_safe, self._let_go_to))
        self._found.sort()
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
