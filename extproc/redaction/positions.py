"""A body as a position automaton (Glushkov): one state per character of the written-out body.

It has no empty moves, and it is trimmed by construction: every position lies on a path to acceptance,
because a class is never empty. So a thread that is alive can still become a match.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from extproc.redaction import pattern

if TYPE_CHECKING:
    from extproc.redaction.charset import CharSet
    from extproc.redaction.pattern import Node


@dataclass(frozen=True, slots=True)
class Positions:
    """One body's automaton; positions count from 0.

    Args:
        chars: What each position takes.
        first: Where a match can begin.
        last: Where a match can end.
        follow: What can come after each position.
    """

    chars: tuple[CharSet, ...]
    first: frozenset[int]
    last: frozenset[int]
    follow: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Part:
    first: frozenset[int]
    last: frozenset[int]
    nullable: bool


_EMPTY = _Part(frozenset(), frozenset(), nullable=True)


class _Builder:
    def __init__(self) -> None:
        self.chars: list[CharSet] = []
        self.follow: list[set[int]] = []

    def link(self, left: _Part, right: _Part) -> None:
        for position in left.last:
            self.follow[position] |= right.first

    def then(self, left: _Part, right: _Part) -> _Part:
        self.link(left, right)
        return _Part(
            left.first | right.first if left.nullable else left.first,
            left.last | right.last if right.nullable else right.last,
            left.nullable and right.nullable,
        )

    def build(self, node: Node) -> _Part:
        match node:
            case pattern.Chars(chars):
                self.chars.append(chars)
                self.follow.append(set())
                here = frozenset([len(self.chars) - 1])
                return _Part(here, here, nullable=False)
            case pattern.Sequence(parts):
                whole = _EMPTY
                for part in parts:
                    whole = self.then(whole, self.build(part))
                return whole
            case pattern.Choice(options):
                built = [self.build(option) for option in options]
                return _Part(
                    frozenset().union(*(part.first for part in built)),
                    frozenset().union(*(part.last for part in built)),
                    any(part.nullable for part in built),
                )
            case pattern.Repeat(part, low, high):
                return self.repeat(part, low, high)
            case _:
                assert_never(node)

    def repeat(self, node: Node, low: int, high: int | None) -> _Part:
        """Copies in a row, any of which from ``low`` on may be the last: linear in size."""
        if high == 0:
            return _EMPTY
        copies = max(low, 1) if high is None else high
        first: frozenset[int] = frozenset()
        last: frozenset[int] = frozenset()
        before = _EMPTY
        optional = low == 0
        for copy in range(1, copies + 1):
            part = self.build(node)
            if copy == 1:
                first = part.first
                # As many empty copies as wanted stand in for the least number.
                low = 0 if part.nullable else low
                optional = optional or part.nullable
            self.link(before, part)
            before = part
            if copy >= low:
                last |= part.last
        if high is None:
            self.link(before, before)
        return _Part(first, last, optional)


def build(node: Node) -> Positions:
    """Write a body out. The caller has bounded ``pattern.positions``."""
    builder = _Builder()
    whole = builder.build(node)
    follow = tuple(tuple(sorted(after)) for after in builder.follow)
    return Positions(tuple(builder.chars), whole.first, whole.last, follow)
