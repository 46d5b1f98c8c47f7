"""What one rule alone costs: refuses the ones whose memory or states would not be bounded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from extproc.domain.limits import LIMITS
from extproc.redaction import charset as cs
from extproc.redaction import pattern, positions
from extproc.redaction.rules import Boundary, RuleError

if TYPE_CHECKING:
    from extproc.redaction.charset import CharSet
    from extproc.redaction.pattern import Node
    from extproc.redaction.positions import Positions
    from extproc.redaction.rules import Rule


@dataclass(frozen=True, slots=True)
class Shape:
    """A rule's body, read and measured.

    Args:
        node: The parsed body.
        positions: The body written out.
        naming_positions: How many of these are of the naming part; they come first.
        chars_max: The longest match in code points; None = without end.
        hold_chars: The most code points that the rule can keep undecided.
        states: Of the rule's own deterministic automaton.
    """

    node: Node
    positions: Positions
    naming_positions: int
    chars_max: int | None
    hold_chars: int
    states: int


# A policy file's own rules are compiled together with the shipped ones, which are as they were.
@lru_cache(maxsize=1024)
def shape(rule: Rule) -> Shape:
    """Read and measure a rule. Raises RuleError for one that cannot run in bounded memory."""
    try:
        value = pattern.parse(rule.body, ignore_case=rule.ignore_case)
    except pattern.PatternError as error:
        raise RuleError(rule.name, str(error)) from None
    try:
        naming = pattern.parse(rule.naming, ignore_case=rule.ignore_case)
    except pattern.PatternError as error:
        raise RuleError(rule.name, f"{error}, in its naming part") from None
    if pattern.nullable(value):
        raise RuleError(rule.name, "matches the empty string")
    if rule.naming and pattern.nullable(naming):
        raise RuleError(rule.name, "has a naming part that matches the empty string")
    node = pattern.joined(naming, value) if rule.naming else value
    if pattern.positions(node) > LIMITS.rule_positions_max:
        raise RuleError(rule.name, f"more than {LIMITS.rule_positions_max} positions")
    longest = pattern.chars_max(node)
    if longest is None and rule.validator is not None:
        raise RuleError(rule.name, "a validated body must have a longest match")
    if longest is None and rule.right is not Boundary.NONE:
        raise RuleError(rule.name, "an unbounded body must end in no boundary")
    decided_late = rule.validator is not None or rule.right is not Boundary.NONE
    if decided_late and (longest is None or longest > LIMITS.rule_hold_chars_max):
        raise RuleError(rule.name, f"must accept or die within {LIMITS.rule_hold_chars_max} chars")
    written = positions.build(node)
    moves = _determinise(rule.name, written)
    hold = longest if decided_late else _longest_undecided(moves, written.last)
    if hold is None or hold > LIMITS.rule_hold_chars_max:
        raise RuleError(rule.name, f"must accept or die within {LIMITS.rule_hold_chars_max} chars")
    return Shape(node, written, pattern.positions(naming), longest, hold, len(moves))


_Moves = dict[frozenset[int], set[frozenset[int]]]


def _determinise(name: str, written: Positions) -> _Moves:
    """Every state of the anchored automaton and where it can go; the start is the empty set."""
    ids = {chars: number for number, chars in enumerate(dict.fromkeys(written.chars))}
    takes = [ids[chars] for chars in written.chars]
    classes = _signatures(tuple(ids))
    start: frozenset[int] = frozenset()
    moves: _Moves = {}
    waiting = [start]
    steps = 0
    while waiting:
        state = waiting.pop()
        if state in moves:
            continue
        steps += sum(len(written.follow[position]) for position in state)
        if steps > LIMITS.rule_steps_max:
            raise RuleError(name, f"explodes: more than {LIMITS.rule_steps_max} steps")
        if len(moves) >= LIMITS.rule_states_max:
            raise RuleError(name, f"explodes: more than {LIMITS.rule_states_max} states")
        targets = {after for position in state for after in written.follow[position]}
        if state is start:
            targets = set(written.first)
        by_taken: dict[int, set[int]] = {}
        for target in targets:
            by_taken.setdefault(takes[target], set()).add(target)
        reached = {
            frozenset().union(*(by_taken[taken] for taken in taken_here))
            for taken_here in {signature.intersection(by_taken) for signature in classes}
            if taken_here
        }
        moves[state] = reached
        waiting.extend(reached)
    return moves


def _signatures(sets: tuple[CharSet, ...]) -> set[frozenset[int]]:
    """Which of the sets a code point can be in, at the same time."""
    cuts = {low for chars in sets for low, _ in chars}
    return {
        frozenset(number for number, chars in enumerate(sets) if cs.contains(chars, cut))
        for cut in cuts | {high + 1 for chars in sets for _, high in chars}
    }


def _longest_undecided(moves: _Moves, last: frozenset[int]) -> int | None:
    """The longest walk from the start or an accepting state over others; None = a loop of others."""
    depth: dict[frozenset[int], int] = {}
    open_states: set[frozenset[int]] = set()

    def undecided(state: frozenset[int]) -> list[frozenset[int]]:
        return [after for after in moves[state] if not after & last]

    stack = [(state, False) for state in moves]
    while stack:
        state, done = stack.pop()
        if done:
            open_states.discard(state)
            depth[state] = 1 + max((depth[after] for after in undecided(state)), default=0)
        elif state not in depth:
            if state in open_states:
                return None
            open_states.add(state)
            stack.append((state, True))
            stack.extend((after, False) for after in undecided(state) if after not in depth)
    return max(depth.values())
