"""Where the value begins in a match of a rule that has a naming part."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from extproc.domain.limits import LIMITS
from extproc.redaction.transducer import first_tag

if TYPE_CHECKING:
    from extproc.redaction.automaton import Automaton

_BEGINNING: Final = -1
"""Where a rule stands before its first character."""
_UNBEGUN: Final = 1 << 30
"""The rank of a place within the naming part: behind all starts of values."""


class _State:
    """Where a rule stands, each place with the rank of the least start of a value that leads there.

    ``end`` is that of a match that ends here, ``moves`` are by what is taken: the state after it and the
    starts that are left, by rank, or None where all are; the one behind the last rank is new.
    """

    __slots__ = ("count", "end", "moves", "standing")

    def __init__(self, standing: dict[int, int], ends: frozenset[int]) -> None:
        self.standing = standing
        self.count = len(set(standing.values()) - {_UNBEGUN})
        self.end = min((rank for here, rank in standing.items() if here in ends), default=None)
        self.moves: dict[int, tuple[_State, tuple[int, ...] | None]] = {}


class Naming:
    """Reads matches of one rule once more, to part what names the value from the value.

    Of all ways to part a match the one with the longest value counts. Where matches have no end it is that
    of the shortest match, so that it is known before the end and stays. A character that stands for several
    is of the value if one of these is; so is all from the first tag on, since what tags spell within a name
    would be taken out elsewhere. States are made on demand, as those of the automaton.

    Args:
        automaton: The rules.
        number: The rule.
    """

    __slots__ = (
        "_automaton",
        "_beginning",
        "_first",
        "_is_endless",
        "_moves_count",
        "_states",
        "_value_from",
    )

    def __init__(self, automaton: Automaton, number: int) -> None:
        measured = automaton.shapes[number]
        base = bisect_left(automaton.rule_of, number)
        self._automaton = automaton
        self._first = tuple(base + at for at in measured.positions.first)
        self._value_from = base + measured.naming_positions
        self._is_endless = measured.chars_max is None
        self._forget()

    def _forget(self) -> None:
        self._moves_count = 0
        self._states: dict[frozenset[tuple[int, int]], _State] = {}
        self._beginning = _State({_BEGINNING: _UNBEGUN}, self._automaton.last)

    def value_start(self, text: str) -> int | None:
        """Code points of a match before its value; None where the rule matches no beginning of the text."""
        classes = self._automaton.classes
        skipped, last = classes.skipped, len(text) - 1
        state = self._beginning
        starts: list[int] = []
        for at, taken in enumerate(classes.of(text)):
            # A match begins and ends with what is seen.
            passes = skipped[taken] and at and (self._is_endless or at < last)
            key = 2 * taken + 1 if passes else 2 * taken
            move = state.moves.get(key)
            if move is None:
                move = self._move(state, key)
            state, left = move
            if left is not None:
                starts.append(at)
                starts = [starts[rank] for rank in left]
            if self._is_endless and state.end is not None:
                break
        return None if state.end is None else first_tag(text, starts[state.end])

    def _move(self, state: _State, key: int) -> tuple[_State, tuple[int, ...] | None]:
        """The move from a state by a character's class, which is read as nothing too in odd keys."""
        taken, passes = divmod(key, 2)
        after = dict(state.standing) if passes else {}
        for here, rank in state.standing.items():
            if here == _BEGINNING:
                reached = self._automaton.taking(self._first, taken)
            else:
                reached = self._automaton.step((here,), taken)
            for there in reached:
                begun = min(rank, state.count) if there >= self._value_from else _UNBEGUN
                after[there] = min(begun, after.get(there, _UNBEGUN))
        left = tuple(sorted(set(after.values()) - {_UNBEGUN}))
        ranks = {rank: number for number, rank in enumerate(left)}
        standing = {there: ranks.get(rank, _UNBEGUN) for there, rank in after.items()}
        if self._moves_count >= LIMITS.naming_moves_max:
            self._forget()
        name = frozenset(standing.items())
        target = self._states.get(name)
        if target is None:
            target = self._states[name] = _State(standing, self._automaton.last)
        same = left == tuple(range(state.count))
        state.moves[key] = move = target, None if same else left
        self._moves_count += 1
        return move
