"""What is known of a match while it goes on: where its value begins, and of text that is gone what counts.

A match without end is let go of as it is read. What names its value is kept, which is bounded: a rule must
accept soon. Its value is hashed, or masked, piece by piece.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, NamedTuple

from extproc.redaction.operators import HashedValue, MaskedValue, replacement, taken_in_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.redaction.plan import Plan
    from extproc.redaction.thread import Thread


class Value(NamedTuple):
    """The value in a match.

    Args:
        start: Its first code point in the channel's original text.
        naming: The match before it, which stays.
        replacement: What takes its place.
    """

    start: int
    naming: str
    replacement: str


class _Begun(NamedTuple):
    """The value of one rule that may be the one in the end, and what takes its text, if it is needed."""

    start: int
    naming: str
    taken: HashedValue | MaskedValue | None


class Growing:
    """The oldest match of a channel. Rules that share its start are read side by side until one has it."""

    __slots__ = ("_begun", "_plan", "_taken_to")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._begun: dict[int, _Begun] = {}
        self._taken_to = 0

    @property
    def naming(self) -> str:
        """What may stay of the match's beginning."""
        return max((begun.naming for begun in self._begun.values()), key=len, default="")

    def fork(self) -> Growing:
        """Another one that has taken the same."""
        other = copy(self)
        other._part()  # noqa: SLF001 - of the same class.
        return other

    def _part(self) -> None:
        self._begun = {
            rule: one if one.taken is None else one._replace(taken=one.taken.fork())
            for rule, one in self._begun.items()
        }

    def forget(self) -> None:
        """The match is over."""
        self._begun.clear()

    def take(self, thread: Thread, buffer: str, base: int) -> bool:
        """Take a match's text up to its end so far; whether it is not needed any more."""
        wanted = (thread.state.live if thread.state is not None else 0) | 1 << thread.rule
        wanted &= self._plan.growing
        if not wanted:
            return True
        if not self._begun:
            begun = {rule: self._begin(rule, thread, buffer, base) for rule in _numbers(wanted)}
            if None in begun.values():
                # Within what it takes to accept or to die it is decided.
                return False
            self._begun = {rule: one for rule, one in begun.items() if one is not None}
            self._taken_to = thread.start
        for begun_at, _, taken in self._begun.values():
            if taken is not None:
                taken.add(buffer[max(self._taken_to, begun_at) - base : thread.end - base])
        self._taken_to = thread.end
        return True

    def value(self, thread: Thread, buffer: str, base: int) -> Value:
        """The value of a match, with ``thread.end`` for its end where its replacement depends on it.

        Takes the rest of it: where it was taken before, this may be asked once.
        """
        rule = thread.rule
        begun = self._begun.get(rule)
        taken_to = self._taken_to if begun is not None else thread.start
        if begun is None:
            # Where it is not known after all, all of it is the value.
            begun = self._begin(rule, thread, buffer, base) or _Begun(thread.start, "", None)
        text = self._plan.ready[rule]
        if text is None:
            rest = buffer[max(taken_to, begun.start) - base : thread.end - base]
            operator, entity_type = self._plan.operators[rule], self._plan.automaton.rules[rule].entity_type
            if begun.taken is None:
                text = replacement(operator, entity_type, rest)
            else:
                begun.taken.add(rest)
                text = begun.taken.replacement(entity_type)
        return Value(begun.start, begun.naming, text)

    def _begin(self, rule: int, thread: Thread, buffer: str, base: int) -> _Begun | None:
        """A rule's value in the match so far; None where the rule does not match yet."""
        plan = self._plan
        naming = plan.naming.get(rule)
        taken = None if plan.ready[rule] is not None else taken_in_pieces(plan.operators[rule])
        if naming is None:
            return _Begun(thread.start, "", taken)
        match = buffer[thread.start - base : thread.end - base]
        at = naming.value_start(match)
        return None if at is None else _Begun(thread.start + at, match[:at], taken)


def _numbers(bits: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while bits:
        least = bits & -bits
        yield least.bit_length() - 1
        bits ^= least
