"""Joins the rules of a policy file to the shipped packs: checks them by their examples, compiles them."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from extproc.domain.limits import LIMITS
from extproc.policy.loading import RuleFault
from extproc.redaction.automaton import Automaton, compile_rules
from extproc.redaction.engine import Plan, RuleScanner, ScanOverflowError, redact
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.rules import Boundary, Rule, RuleError
from extproc.redaction.validators import VALIDATORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.policy.model import RuleEntry

_PACKS: Final = {rule.entity_type: rule.pack for rule in ALL_RULES}
_NAMES: Final = frozenset(rule.name for rule in ALL_RULES)
# Rule sets that are compiled at once: those of recent files.
_SETS_MAX: Final = 4
_WRITE: Final = (
    "write literals, classes, groups, |, ?, *, + and {m,n} that find some text; what may stand beside it "
    "`left` and `right` say"
)
# By words of what is wrong.
_INSTEAD: Final = {
    "look-around": (
        "take it out: `left` and `right` say what may stand beside it, `ignore_case: true` is for any case"
    ),
    "explodes": "write shorter or fewer repeats, or let each begin with what the one before it cannot have",
    "a validated body": "write {m,n} in place of * and +, or take the validator out",
    "an unbounded body": "write {m,n} in place of * and +, or `right: none`",
    "must accept or die": "write shorter repeats, or `right: none` and no validator where the end is open",
}
# Of a rule's own characters, those of which texts are made that could begin it at many places.
_PROBED_CHARS: Final = 12


def automaton_of(entries: tuple[RuleEntry, ...]) -> Automaton:
    """The shipped rules and a file's own, which come first where both match the same.

    The same object for the same rules: for one thread only, see ``own_automaton``.

    Raises:
        RuleError: a rule that cannot be compiled.
    """
    return _compiled(entries) if entries else default_automaton()


def own_automaton(entries: tuple[RuleEntry, ...]) -> Automaton:
    """The same rules in an automaton of the caller's own. Raises as ``automaton_of``."""
    shared = automaton_of(entries)
    return Automaton(shared.rules, shared.shapes, shared.digest)


@lru_cache(maxsize=_SETS_MAX)
def _compiled(entries: tuple[RuleEntry, ...]) -> Automaton:
    return compile_rules([*map(_rule, entries), *ALL_RULES])


def _rule(entry: RuleEntry) -> Rule:
    return Rule(
        name=entry.name,
        entity_type=entry.entity_type,
        pack=entry.pack,
        body=entry.pattern,
        naming=entry.naming,
        left=Boundary(entry.left),
        right=Boundary(entry.right),
        validator=VALIDATORS[entry.validator] if entry.validator else None,
        score=entry.score,
        ignore_case=entry.ignore_case,
        default=entry.default,
        matches=entry.matches,
        rejects=entry.rejects,
    )


def rule_faults(entries: tuple[RuleEntry, ...]) -> list[RuleFault]:
    """What is wrong with a file's own rules, each by itself."""
    faults: list[RuleFault] = []
    packs = dict(_PACKS)
    names: set[str] = set(_NAMES)
    for number, entry in enumerate(entries):
        found = list(_word_faults(number, entry, packs, names))
        faults += found or _body_faults(number, entry)
        names.add(entry.name)
        packs.setdefault(entry.entity_type, entry.pack)
    return faults


def _word_faults(
    number: int, entry: RuleEntry, packs: dict[str, str], names: set[str]
) -> Iterator[RuleFault]:
    """What one rule says that contradicts others."""
    if entry.name in names:
        what = "is the name of another rule, of this file or of a pack"
        yield RuleFault(rule=number, field=("name",), what=what, instead="give it a name of its own")
    known = sorted(set(_PACKS.values()))
    if entry.pack not in known:
        what = "is no guard that finds by rules"
        yield RuleFault(
            rule=number, field=("pack",), what=what, instead=f"write one of: {', '.join(known)}"
        )
    elif packs.get(entry.entity_type, entry.pack) != entry.pack:
        what = "is an entity type of another pack"
        instead = f"write `pack: {packs[entry.entity_type]}`, or another name"
        yield RuleFault(rule=number, field=("entity_type",), what=what, instead=instead)
    if entry.validator and entry.validator not in VALIDATORS:
        instead = f"write one of: {', '.join(VALIDATORS)}"
        yield RuleFault(rule=number, field=("validator",), what="is no check", instead=instead)


def _body_faults(number: int, entry: RuleEntry) -> list[RuleFault]:
    """A pattern that cannot run, or that does not find what it should."""
    try:
        alone = compile_rules([_rule(entry)])
    except RuleError as error:
        instead = next((told for why, told in _INSTEAD.items() if why in error.why), _WRITE)
        return [RuleFault(rule=number, field=("pattern",), what=error.why, instead=instead)]
    if _crowds(alone):
        most = LIMITS.scan_threads_max // 2
        what = f"may begin at more than {most} places of a text before one is decided"
        instead = "let it begin with characters that cannot go on in it, or make it shorter"
        return [RuleFault(rule=number, field=("pattern",), what=what, instead=instead)]
    faults = []
    for field, examples, wanted in (("matches", entry.matches, True), ("rejects", entry.rejects, False)):
        for at, text in enumerate(examples):
            if bool(redact(text, alone, mask=alone.mask()).findings) is not wanted:
                what = (
                    "holds nothing that the rule finds" if wanted else "holds something that the rule finds"
                )
                instead = "change the rule or the example"
                faults.append(RuleFault(rule=number, field=(field, at), what=what, instead=instead))
    return faults


def _crowds(alone: Automaton) -> bool:
    """Whether a rule by itself comes near the live starts that a channel may have.

    Asked of texts of its own characters, one and two at a time, and of its examples: with some room, since
    all rules share the bound and other texts might have more.
    """
    (measured,), (rule,) = alone.shapes, alone.rules
    low = [chars[0][0] for chars in dict.fromkeys(measured.positions.chars)]
    high = [chars[-1][1] for chars in dict.fromkeys(measured.positions.chars)]
    chars = [chr(code) for code in dict.fromkeys(low + high)][:_PROBED_CHARS]
    units = [one + other for one, other in itertools.product(chars, repeat=2)]
    plan = Plan(alone, mask=alone.mask(), compiled=False)
    for unit in dict.fromkeys([*units, *rule.matches]):
        scanner = RuleScanner.of(plan)
        try:
            scanner.feed((unit * LIMITS.rule_hold_chars_max)[: LIMITS.rule_hold_chars_max])
        except ScanOverflowError:
            return True
        if scanner.live_starts > LIMITS.scan_threads_max // 2:
            return True
    return False
