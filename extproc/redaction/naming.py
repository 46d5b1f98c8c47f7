"""Where the value begins in a match of a rule that has a naming part."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from extproc.domain.limits import LIMITS

if TYPE_CHECKING:
    from extproc.redaction.automaton import Automaton

_BEGINNING: Final = -1
"""Where a rule stands before its first character."""


class Naming:
    """Reads matches of one rule once more, to part what names the value from the value.

    Of all ways to part a match the one with the longest value counts. Where matches have no end it is that
    of the shortest match, so that it is known before the end and stays. A character that stands for several
    is of the value if one of these is.

    Args:
        automaton: The rules.
        number: The rule.
    """

    __slots__ = ("_automaton", "_first", "_is_endless", "_moves", "_value_from")

    def __init__(self, automaton: Automaton, number: int) -> None:
        measured = automaton.shapes[number]
        base = bisect_left(automaton.rule_of, number)
        self._automaton = automaton
        self._first = tuple(base + at for at in measured.positions.first)
        self._value_from = base + measured.naming_positions
        self._is_endless = measured.chars_max is None
        self._moves: dict[tuple[int, int], frozenset[int]] = {}

    def value_start(self, text: str) -> int | None:
        """Code points of a match before its value; None where the rule matches no beginning of the text."""
        classes, ends = self._automaton.classes, self._automaton.last
        unbegun = len(text)
        # By position, the least start of a value that leads there.
        standing = {_BEGINNING: unbegun}
        for at, taken in enumerate(classes.of(text)):
            # A match begins and ends with what is seen.
            passes = classes.skipped[taken] and at and (self._is_endless or at < unbegun - 1)
            after = dict(standing) if passes else {}
            for here, begun in standing.items():
                for there in self._move(here, taken):
                    start = min(begun, at) if there >= self._value_from else unbegun
                    after[there] = min(start, after.get(there, unbegun))
            standing = after
            if self._is_endless and not ends.isdisjoint(standing):
                break
        return min((start for here, start in standing.items() if here in ends), default=None)

    def _move(self, here: int, taken: int) -> frozenset[int]:
        """Where the rule can stand after one more character."""
        found = self._moves.get((here, taken))
        if found is None:
            if len(self._moves) >= LIMITS.naming_moves_max:
                self._moves.clear()
            if here == _BEGINNING:
                found = self._automaton.taking(self._first, taken)
            else:
                found = self._automaton.step((here,), taken)
            self._moves[here, taken] = found
        return found
