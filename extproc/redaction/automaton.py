"""All rules as one anchored automaton over code points, made deterministic on demand.

A state is what is left of the rules after the text since one start. States are shared by all scanners;
which rules count is the scanner's mask. Nothing of the text stays in a state but its shape.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.domain.limits import LIMITS
from extproc.redaction import charset as cs
from extproc.redaction.prefilter import ahead, prefilter
from extproc.redaction.rules import EXCLUDED, Boundary, RuleError, is_word
from extproc.redaction.shape import shape
from extproc.redaction.transducer import READ_AS, also_read_as, is_unseen
from extproc.redaction.validators import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from extproc.redaction.charset import CharSet
    from extproc.redaction.rules import Rule
    from extproc.redaction.shape import Shape

EDGE: Final = 0
"""The class that stands for both ends of the text."""
MATCH: Final = -1
"""Stands before what begins behind a match: whatever a rule wants there, it has."""

_ASCII: Final = 128
_BYTES: Final = 256
_COMPILED_MAX: Final = 16  # rule sets alive at once: the shipped one and those of recent reloads.


class Classes(dict[str, int]):
    """Characters to classes: those of one class are in the same sets of every rule and boundary.

    Classes come into being as characters are seen. ``members``, ``word`` and ``excluded`` are by class:
    the ids of the sets that hold it or the one character that it is read as, whether it is a word
    character, and the boundaries it violates. ``inside`` is ``word`` for the outermost character of a
    match; None where its readings differ. ``spelled`` are the classes of several characters as which it is
    read, one by one; ``skipped`` says that it is read as nothing too.
    """

    def __init__(self, sets: Sequence[CharSet]) -> None:
        super().__init__()
        cuts = {low for chars in sets for low, _ in chars}
        cuts |= {high + 1 for chars in sets for _, high in chars}
        for chars in EXCLUDED.values():
            cuts |= {edge for low, high in chars for edge in (low, high + 1)}
        self.cuts = sorted(cuts | {0})
        self._in_sets = [
            frozenset(number for number, chars in enumerate(sets) if cs.contains(chars, cut))
            for cut in self.cuts
        ]
        self._violates = [
            frozenset(boundary for boundary, chars in EXCLUDED.items() if cs.contains(chars, cut))
            for cut in self.cuts
        ]
        self._ids: dict[tuple[object, ...], int] = {}
        self.members: list[frozenset[int]] = [frozenset()]
        self.word: list[bool] = [False]
        self.inside: list[bool | None] = [False]
        self.excluded: list[frozenset[Boundary]] = [frozenset()]
        self.spelled: list[tuple[int, ...]] = [()]
        self.skipped: list[bool] = [False]
        self._by_code_point = _ByCodePoint(self)
        # First, so that no other characters take the numbers that a byte has room for.
        for code in range(_ASCII):
            self.__missing__(chr(code))

    def __missing__(self, char: str) -> int:
        code = ord(char)
        read_as = READ_AS.get(code, "")
        members, word = self._in_sets[self._place(code)], is_word(char)
        skipped = is_unseen(code)
        if skipped and not read_as:
            members = frozenset()
        if len(read_as) == 1:
            members |= self._in_sets[self._place(ord(read_as))]
        inside = None if read_as and is_word(read_as[-1]) is not word else word
        spelled = tuple([self[one] for one in read_as]) if len(read_as) > 1 else ()
        key = (members, word, inside, self._violates[self._place(code)], spelled, skipped)
        number = self._ids.get(key)
        if number is None:
            number = self._ids[key] = len(self.members)
            self.members.append(members)
            self.word.append(word)
            self.inside.append(inside)
            self.excluded.append(key[3])
            self.spelled.append(spelled)
            self.skipped.append(skipped)
        if len(self) >= LIMITS.char_classes_max:
            self.clear()
        self[char] = number
        return number

    def _place(self, code_point: int) -> int:
        return bisect_right(self.cuts, code_point) - 1

    def of(self, text: str) -> Sequence[int]:
        """The classes of a text's characters, in order."""
        coded = text.translate(self._by_code_point)
        if len(self.members) <= _BYTES:
            return coded.encode("latin-1")
        return tuple(map(ord, coded))


class _ByCodePoint(dict[int, int]):
    """The same by code point, as ``str.translate`` asks for it."""

    def __init__(self, classes: Classes) -> None:
        super().__init__()
        self._classes = classes

    def __missing__(self, code_point: int) -> int:
        if len(self) >= LIMITS.char_classes_max:
            self.clear()
        number = self[code_point] = self._classes[chr(code_point)]
        return number


class Skipped(NamedTuple):
    """Where rules stood before the last characters, of which nothing is seen: they go on from there."""

    positions: frozenset[int] = frozenset()
    chars: int = 0


_NONE_SKIPPED: Final = Skipped()


class State(dict[int, "State"]):
    """What is left of the rules; maps the class of the next character to the state after it.

    Attributes:
        accepts: Rules that match up to here whatever comes next, in rule order.
        pending: Rules that match up to here if the next character allows it, in rule order.
        late: Rules that matched up to the character before, since the last one allowed it, in rule order.
        live: Bit set of the rules that can still accept, here through ``pending`` or further on.
        eventful: Whether something happens here other than that the thread lives on.
        sole: The rule, where all that happens is that this one accepts, without a validator; else -1.
        asks: Its number negated, where all that happens is that this one is late, with a validator.
    """

    __slots__ = (
        *("_automaton", "_before", "_inside", "_positions", "_skipped"),
        *("accepts", "asks", "eventful", "late", "live", "pending", "sole"),
    )

    def __init__(
        self,
        automaton: Automaton,
        positions: frozenset[int],
        late: tuple[int, ...],
        inside: bool | None,  # noqa: FBT001 - of the last character; see ``Classes``.
        skipped: Skipped,
    ) -> None:
        super().__init__()
        self.late = late
        self._automaton = automaton
        self._positions = positions
        self._inside = inside
        self._skipped = skipped
        ends = sorted({automaton.rule_of[at] for at in positions & automaton.last})
        right = [automaton.rules[rule].right for rule in ends]
        self.accepts = tuple(r for r, b in zip(ends, right, strict=True) if b is Boundary.NONE)
        self.pending = tuple(r for r, b in zip(ends, right, strict=True) if b is not Boundary.NONE)
        self._before: dict[int, tuple[int, ...]] = {}
        live = {automaton.rule_of[at] for at in positions | skipped.positions if automaton.follow[at]}
        self.live = sum(1 << rule for rule in live | set(self.pending))
        self.eventful = not self.live or bool(self.accepts) or bool(late)
        self.sole = -1
        self.asks: int | None = None
        if self.live and len(self.accepts + late) == 1:
            (only,) = self.accepts + late
            validated = automaton.rules[only].validator is not None
            if self.accepts and not validated:
                self.sole = only
            elif late and validated:
                self.asks = -only

    @property
    def stands_for(self) -> tuple[object, ...]:
        """All that decides what comes: equal in two states that were made apart."""
        skipped = (self._skipped.positions, self._skipped.chars)
        return (self._positions, self.late, self._inside, skipped)

    def before(self, following: int) -> tuple[int, ...]:
        """The pending rules that match up to here when a character of this class, or EDGE, follows."""
        found = self._before.get(following)
        if found is None:
            found = tuple(
                rule
                for rule in self.pending
                if self._automaton.bounded(
                    self._automaton.rules[rule].right, inside=self._inside, beside=following
                )
            )
            self._before[following] = found
        return found

    def __missing__(self, taken: int) -> State:
        automaton = self._automaton
        classes = automaton.classes
        standing = self._positions | self._skipped.positions
        skipped = _NONE_SKIPPED
        if classes.skipped[taken] and self._skipped.chars < LIMITS.unseen_run_chars_max:
            going_on = frozenset(at for at in standing if automaton.follow[at])
            skipped = Skipped(going_on, self._skipped.chars + 1) if going_on else _NONE_SKIPPED
        after = automaton.step(standing, taken)
        inside = classes.inside[taken]
        target = self[taken] = automaton.state(after, self.before(taken), inside, skipped)
        return target


class Automaton:
    """A rule set, ready to scan. Made by ``compile_rules``; not safe to share between threads.

    Attributes:
        rules: In order; a rule's bit in a mask is its place.
        digest: Names the rule set: equal digests find the same.
        shapes: What each rule costs.
        hold_chars_max: No scanner holds back more than this.
    """

    def __init__(self, rules: Sequence[Rule], shapes: Sequence[Shape], digest: str) -> None:
        self.rules = tuple(rules)
        self.shapes = tuple(shapes)
        self.digest = digest
        self.hold_chars_max = max((shape.hold_chars for shape in shapes), default=0)
        set_ids: dict[CharSet, int] = {}
        takes: list[int] = []
        follow: list[tuple[int, ...]] = []
        rule_of: list[int] = []
        last: set[int] = set()
        self._first: dict[Boundary, list[int]] = {}
        for number, (rule, measured) in enumerate(zip(rules, shapes, strict=True)):
            base = len(takes)
            written = measured.positions
            takes.extend(set_ids.setdefault(chars, len(set_ids)) for chars in written.chars)
            follow.extend(tuple(base + at for at in after) for after in written.follow)
            rule_of.extend([number] * len(written.chars))
            last.update(base + at for at in written.last)
            self._first.setdefault(rule.left, []).extend(base + at for at in written.first)
        self.takes = tuple(takes)
        self.follow = tuple(follow)
        self.rule_of = tuple(rule_of)
        self.last = frozenset(last)
        self.classes = Classes(tuple(set_ids))
        self._states: dict[tuple[object, ...], State] = {}
        self._starts: dict[tuple[int, int, int, int], State] = {}
        self._prefilters: dict[int, re.Pattern[str]] = {}
        self._beginnings: dict[int, re.Pattern[str]] = {}

    def mask(
        self,
        entity_types: Iterable[str] | None = None,
        packs: Iterable[str] | None = None,
    ) -> int:
        """The bit set of the rules of these entity types within these packs; None = all.

        Raises:
            KeyError: for an entity type or a pack that no rule has.
        """
        types = {rule.entity_type for rule in self.rules}
        wanted_types = types if entity_types is None else set(entity_types)
        known_packs = {rule.pack for rule in self.rules}
        wanted_packs = known_packs if packs is None else set(packs)
        for unknown in sorted((wanted_types - types) | (wanted_packs - known_packs)):
            raise KeyError(unknown)
        return sum(
            1 << number
            for number, rule in enumerate(self.rules)
            if rule.entity_type in wanted_types and rule.pack in wanted_packs
        )

    def prefilter(self, mask: int) -> re.Pattern[str]:
        """Where the masked rules could begin; see ``prefilter``."""
        found = self._prefilters.get(mask)
        if found is None:
            if len(self._prefilters) >= LIMITS.prefilters_max:
                self._prefilters.clear()
            chosen = [number for number in range(len(self.rules)) if mask >> number & 1]
            found = self._prefilters[mask] = prefilter(
                [
                    (self.rules[number].left, self.shapes[number].node, self._ahead(number))
                    for number in chosen
                ]
            )
        return found

    def beginnings(self, mask: int) -> re.Pattern[str]:
        """The characters with which the masked rules can begin in a text that is disguised."""
        found = self._beginnings.get(mask)
        if found is None:
            if len(self._beginnings) >= LIMITS.prefilters_max:
                self._beginnings.clear()
            written = [one.positions for number, one in enumerate(self.shapes) if mask >> number & 1]
            chars = cs.union(*(one.chars[at] for one in written for at in one.first))
            found = re.compile(cs.class_source(also_read_as(chars)) if chars else "(?!)")
            self._beginnings[mask] = found
        return found

    def _ahead(self, number: int) -> str:
        measured = self.shapes[number]
        needs = cs.of_chars(self.rules[number].needs)
        return ahead(measured.positions.chars, needs, measured.chars_max)

    def start(self, before: int, taken: int, mask: int = -1, beside: int | None = None) -> State:
        """The masked rules' state after a first character of class ``taken`` that follows ``before``.

        ``beside`` is the neighbour's own class, where another one counts for what it excludes.
        """
        key = (before, taken, mask, before if beside is None else beside)
        found = self._starts.get(key)
        if found is None:
            inside = self.classes.inside[taken]
            firsts = [
                position
                for boundary, positions in self._first.items()
                if self.bounded(
                    boundary, inside=inside, beside=key[3] if boundary is Boundary.WORD else before
                )
                for position in positions
                if mask >> self.rule_of[position] & 1
            ]
            found = self.state(self.taking(firsts, taken), inside=inside)
            self._starts[key] = found
        return found

    def step(self, positions: Iterable[int], taken: int) -> frozenset[int]:
        """Where the rules stand after one more character, in all its readings but as nothing."""
        return self.taking([after for here in positions for after in self.follow[here]], taken)

    def taking(self, positions: Iterable[int], taken: int) -> frozenset[int]:
        """Those of the positions that a character is taken at, and where its spelling leads from them."""
        members = self.classes.members[taken]
        taking = frozenset(position for position in positions if self.takes[position] in members)
        spelled = self.classes.spelled[taken]
        if not spelled:
            return taking
        read = self.taking(positions, spelled[0])
        for one in spelled[1:]:
            read = self.step(read, one)
        return taking | read

    def bounded(self, boundary: Boundary, *, inside: bool | None, beside: int) -> bool:
        """Whether the boundary holds between a match's outermost character and its neighbour."""
        if boundary is Boundary.NONE or beside == MATCH:
            return True
        if boundary is Boundary.WORD:
            return inside is not self.classes.word[beside]
        return boundary not in self.classes.excluded[beside]

    def state(
        self,
        positions: frozenset[int],
        late: tuple[int, ...] = (),
        inside: bool | None = None,  # noqa: FBT001 - one of three, see ``Classes``.
        skipped: Skipped = _NONE_SKIPPED,
    ) -> State:
        """The one state for these positions, and for what the last characters decided."""
        key = (positions, late, inside, skipped)
        found = self._states.get(key)
        if found is None:
            if len(self._states) >= LIMITS.automaton_states_max:
                # Scanners keep the states that they stand on; the rest is made again when needed.
                self._states.clear()
                self._starts.clear()
            found = self._states[key] = State(self, positions, late, inside, skipped)
        return found


_compiled: dict[str, Automaton] = {}


def compile_rules(rules: Sequence[Rule]) -> Automaton:
    """The automaton of a rule set; the same object for the same set. Raises RuleError."""
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise RuleError(name, "two rules have this name")
    digest = hashlib.sha256(repr([_identity(rule) for rule in rules]).encode()).hexdigest()
    found = _compiled.pop(digest, None)
    if found is None:
        found = Automaton(rules, [shape(rule) for rule in rules], digest)
        if len(_compiled) >= _COMPILED_MAX:
            del _compiled[next(iter(_compiled))]
    # The last one asked for stands last: who goes is whom nobody asked for the longest.
    _compiled[digest] = found
    return found


def _identity(rule: Rule) -> tuple[str | float | bool, ...]:
    """What a rule finds, as plain values; examples do not count."""
    validator = "" if rule.validator is None else name_of(rule.validator)
    if validator is None:
        raise RuleError(rule.name, "its validator is not in the registry")
    return (
        *(rule.name, rule.entity_type, rule.pack, rule.naming, rule.body),
        *(rule.left.value, rule.right.value),
        *(validator, rule.needs, rule.score, rule.ignore_case, rule.default),
    )
