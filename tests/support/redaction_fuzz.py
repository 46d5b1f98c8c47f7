"""Random documents, cut at random: the engine with its kernel, the engine alone and the oracle must agree.

All of them see through escapes, where there are any.

A batch is a pure function of its seed and number, so that a difference is found again by naming both. The
engine alone over the whole text is what all else is held against; the oracle, which is slow, reads a share.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import redaction_oracle as oracle
from redaction_toys import ALPHABET, CHECKED_ALPHABET, checked_rules, toy_rules

from extproc.redaction.automaton import Automaton, compile_rules
from extproc.redaction.engine import Plan, RuleScanner, Scan
from extproc.redaction.escaped import EscapedScanner
from extproc.redaction.operators import REDACT, Hash, Mask, Operator, replacement
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.rules import Rule

ORACLE_EVERY = {"shipped": 2_000, "toys": 4}
"""One document in so many is read by the oracle too, by where its rules come from."""
TOYS_SHARE = 0.4  # of the documents: those under small random rules.
SAME_RULES = 250  # documents in a row under the same shipped rules: changing costs more than reading.
SPLIT_AGAIN_EVERY = 4  # documents whose split the engine alone reads too, event by event.
MANY_EVENTS = 12

_TOYS_PER_SET = 50  # documents under one set of random rules: compiling costs more than reading.
_NEEDED_SHARE = 0.3  # of their rules, whose values are hashed or masked.
_ESCAPED_SHARE = 0.2  # of the documents under them.
_CHECKED_SHARE = 0.4  # of these, with rules that ask for a check digit
_MASKS, _MASKED_RULES = 5, 24
_SMALL = ALPHABET + "\U0001d7d8\ud800\u200b\uff41\u2488"
_BESIDE = "".join(
    [
        *(" .,;:-_/=@+%&#\"'()[]{}<>|\\\n\t\0"),
        *("019aZ" * 3),
        *("éßжñ漢ー\u0301\u200b\u00a0"),
        *("\u200b\u2060\uff11\uff20\u0430\ufb01"),
        *("\U0001f600\U0001d7d8\U0001f1e9\U00020000\U0010ffff"),
        *("\ud83d\ude00\udfff"),
    ]
)
_JSON = [
    *("", " ", ": ", "\\n", "\\\\n", "\\t", '\\"', '\\\\\\"', '\\\\"', "\\'", "\\/", "\\", "\\u", "\\u00"),
    *(
        "\\ud83d",
        "\\ud83d\\",
        "\\ud83d\\ude00",
        "\\udc00",
        "\\u0031",
        "\\u0041",
        "\\u0020",
        "\\x",
        "1",
        "a",
    ),
]
_EXAMPLES = [text for rule in ALL_RULES for text in (*rule.matches, *rule.rejects) if text]
_CHECKED = [text for rule in ALL_RULES if rule.validator for text in rule.matches]
_BOUNDED = [text for rule in ALL_RULES if rule.right.value != "none" for text in rule.matches]
_LONG = [text for text in _EXAMPLES if len(text) > MANY_EVENTS]


# --- documents ------------------------------------------------------------------------------------


def _boundaries(chance: random.Random) -> str:
    """A value with something directly beside it that may forbid it."""
    return chance.choice(_BESIDE) + chance.choice(_BOUNDED) + "".join(chance.choices(_BESIDE, k=2))


def _astral(chance: random.Random) -> str:
    """Characters beyond the basic plane, and halves of them, around and within a value."""
    text = chance.choice(_EXAMPLES)
    at = chance.randint(0, len(text))
    return "".join(
        [*chance.choices(_BESIDE[-8:], k=2), text[:at], chance.choice(["", "", *_BESIDE[-8:]]), text[at:]]
    ) + chance.choice(_BESIDE)


def _near(chance: random.Random) -> str:
    """A value with one character changed, dropped, doubled or moved."""
    text = chance.choice(_EXAMPLES)
    at = chance.randrange(len(text))
    match chance.randint(0, 4):
        case 0:
            changed = text[:at] + chance.choice(_BESIDE) + text[at + 1 :]
        case 1:
            changed = text[:at] + text[at + 1 :]
        case 2:
            changed = text[:at] + text[at] + text[at:]
        case 3:
            changed = text[at:] + text[:at]
        case _:
            changed = text[:at]
    return chance.choice(["", " ", "1", "x"]) + changed + chance.choice(["", " ", "1", "x"])


def _checked(chance: random.Random) -> str:
    """A value with a check digit, some of its digits changed, more digits about it."""
    chars = [
        chance.choice("0123456789") if char.isdigit() and chance.random() < 0.08 else char
        for char in chance.choice(_CHECKED)
    ]
    for _ in range(chance.randint(0, 2)):
        chars.insert(chance.randint(0, len(chars)), chance.choice("0123456789 -."))
    return "".join(chars) + chance.choice(["", "0", " 4", "-7", " ", "."])


def _spliced(chance: random.Random) -> str:
    """The beginning of one value and the end of another."""
    first, second = chance.choice(_EXAMPLES), chance.choice(_EXAMPLES)
    return (
        first[: chance.randint(0, len(first))]
        + chance.choice(["", "", " ", "-", "@", ":"])
        + second[chance.randint(0, len(second)) :]
    )


def _in_prose(chance: random.Random) -> str:
    """Two values among words."""
    words = ["the", "card", "is", "token:", "to", "mail", "call", "key", "=", "and", "漢字"]
    before, between = chance.choices(words, k=3), chance.choices(words, k=2)
    values = chance.choices(_EXAMPLES, k=2)
    return " ".join([*before, values[0], *between, values[1], chance.choice(words)])


def _long(chance: random.Random) -> str:
    return chance.choice(["", "x ", "1"]) + chance.choice(_LONG) + chance.choice(["", " ", "1", "."])


def _escaped(chance: random.Random) -> str:
    """Values written as JSON within JSON, some of their characters as escapes, of several levels."""
    pieces = [chance.choice(_JSON)]
    for text in chance.choices(_EXAMPLES, k=chance.randint(1, 2)):
        share = chance.choice([0, 0.1, 0.5])
        pieces += [_escape(chance, char) if chance.random() < share else char for char in text]
        pieces.append(chance.choice(_JSON))
    return "".join(pieces)


def _escape(chance: random.Random, char: str) -> str:
    run = "\\" * chance.choice([1, 1, 1, 2, 3, 4, 8, 16, 17])
    if char in '\n\t"/' and chance.random() < 0.5:
        return run + {"\n": "n", "\t": "t"}.get(char, char)
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join([f"{run}u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)])


FAMILIES: dict[str, Callable[[random.Random], str]] = {
    "boundaries": _boundaries,
    "astral": _astral,
    "near misses": _near,
    "check digits": _checked,
    "splices": _spliced,
    "prose": _in_prose,
    "many events": _long,
    "escapes": _escaped,
}


def _cut(chance: random.Random, text: str, *, small: bool) -> tuple[str, ...]:
    """The text cut anywhere: into pieces of one to three characters, at a few places, or not at all."""
    if not small and chance.random() < 0.5:
        places = sorted(chance.randint(0, len(text)) for _ in range(chance.randint(0, 4)))
        ends = [0, *places, len(text)]
        return tuple(text[ends[at] : ends[at + 1]] for at in range(len(ends) - 1))
    pieces = []
    at = 0
    most = chance.choice([1, 2, 3])
    while at < len(text):
        length = 1 + int(chance.random() * most)
        pieces.append(text[at : at + length])
        at += length
    return tuple(pieces)


# --- rules ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arena:
    """A rule set under a mask, read with and without the kernel."""

    name: str
    rules: tuple[Rule, ...]
    quick: Plan
    plain: Plan


def arena(
    automaton: Automaton,
    mask: int,
    name: str,
    default_operator: Operator = REDACT,
    operators: Mapping[str, Operator] | None = None,
) -> Arena:
    """The masked rules of an automaton."""
    return Arena(
        name,
        tuple(rule for number, rule in enumerate(automaton.rules) if mask >> number & 1),
        Plan(automaton, mask=mask, operators=operators, default_operator=default_operator),
        Plan(automaton, mask=mask, operators=operators, default_operator=default_operator, compiled=False),
    )


@cache
def _packs() -> tuple[Arena, ...]:
    """All packs, more often than the others, and each alone."""
    automaton = default_automaton()
    packs = sorted({rule.pack for rule in automaton.rules})
    return (
        *[arena(automaton, automaton.mask(), "all")] * 4,
        *(arena(automaton, automaton.mask(packs=[pack]), pack) for pack in packs),
    )


@cache
def _shipped(seed: int) -> tuple[Arena, ...]:
    """The packs, and a few rules at random, some of whose values are hashed or masked."""
    automaton = default_automaton()
    chance = random.Random(f"{seed} masks")
    numbers = range(len(automaton.rules))
    return (
        *_packs(),
        *(arena(automaton, _few(chance, numbers), f"mask {number}") for number in range(_MASKS)),
        arena(automaton, _few(chance, numbers), "hashed", Hash(key=b"k")),
        arena(automaton, automaton.mask(packs=["secrets"]), "masked secrets", Mask(keep_last=4)),
    )


def _few(chance: random.Random, numbers: Sequence[int]) -> int:
    """A mask of some of these rules."""
    return sum(1 << at for at in chance.sample(numbers, min(_MASKED_RULES, len(numbers) // 2)))


# --- batches --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Document:
    """A text in pieces, and the rules that it is read under."""

    number: int
    family: str
    arena: Arena
    pieces: tuple[str, ...] = field(repr=False)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class Tally:
    """What was compared, and where it differed; never the text."""

    documents: int = 0
    events: int = 0
    chars: int = 0
    findings: int = 0
    over_many_events: int = 0
    by_family: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    checks_by_family: Counter[tuple[str, str]] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.documents += other.documents
        self.events += other.events
        self.chars += other.chars
        self.findings += other.findings
        self.over_many_events += other.over_many_events
        self.by_family += other.by_family
        self.checks += other.checks
        self.checks_by_family += other.checks_by_family
        self.differences += other.differences


def documents(seed: int, batch: int, count: int, *, toys_share: float = TOYS_SHARE) -> Iterator[Document]:
    """The documents of a batch; ``toys_share`` of them under small random rules."""
    chance = random.Random(f"{seed} {batch}")
    toys = int(count * toys_share)
    for number in range(count - toys):
        if number % SAME_RULES == 0:
            mine = chance.choice(_shipped(seed))
        family = chance.choice(tuple(FAMILIES))
        text = FAMILIES[family](chance)
        pieces = _cut(chance, text, small=family == "many events")
        yield Document(number, family, mine, pieces)
    number = count - toys
    while number < count:
        checked = chance.random() < _CHECKED_SHARE
        rules = checked_rules(chance) if checked else toy_rules(chance)
        if not rules:
            continue
        automaton = compile_rules(rules)
        # What replaces one type may need the value, and what replaces its rival not.
        needed = [rule.entity_type for rule in rules if chance.random() < _NEEDED_SHARE]
        operators: tuple[Operator, ...] = (Hash(key=b"k", hex_chars=4), Mask(keep_last=2))
        replaced = dict.fromkeys(needed, chance.choice(operators))
        mine = arena(automaton, automaton.mask(), "toys", operators=replaced)
        for _ in range(min(_TOYS_PER_SET, count - number)):
            chars = chance.choices(CHECKED_ALPHABET if checked else _SMALL, k=chance.randint(1, 14))
            if chance.random() < _ESCAPED_SHARE:
                chars = [_escape(chance, char) if chance.random() < 0.3 else char for char in chars]
            text = "".join(chars)
            yield Document(number, "random rules", mine, _cut(chance, text, small=False))
            number += 1


def run(seed: int, batch: int, count: int, *, toys_share: float = TOYS_SHARE) -> Tally:
    """Read and compare the documents of a batch."""
    tally = Tally()
    for document in documents(seed, batch, count, toys_share=toys_share):
        differing = compare(document, tally)
        if differing:
            rules = f"{document.family}, rules {document.arena.name}"
            tally.differences.append(f"{differing}: {rules}, document {batch}:{document.number}")
    return tally


def compare(document: Document, tally: Tally) -> str:
    """What differs from the engine alone over the whole text; empty where nothing does."""
    rules, pieces, text = document.arena, document.pieces, document.text
    whole = _scanner(rules.plain).feed(text, eof=True)
    tally.documents += 1
    tally.events += len(pieces)
    tally.chars += len(text)
    tally.findings += len(whole.findings)
    tally.by_family[document.family] += 1
    tally.over_many_events += _over_many_events(pieces, whole)
    checks = ["kernel, split"]
    if document.number % 2:
        checks[0] = "kernel, split, events at once"
    if document.number % SPLIT_AGAIN_EVERY == 0:
        checks.append("engine alone, split, event by event")
    kind = "toys" if rules.name == "toys" else "shipped"
    if document.number % ORACLE_EVERY[kind] == 0:
        checks.append("oracle, whole")
    for check in checks:
        tally.checks[check] += 1
        tally.checks_by_family[document.family, check] += 1
        try:
            same = CHECKS[check](rules, pieces, text, whole)
        except Exception as error:  # noqa: BLE001 - a crash is a difference as well.
            return f"{check} raised {type(error).__name__}"
        if not same:
            return check
    return ""


def _scanner(plan: Plan) -> EscapedScanner:
    return EscapedScanner(RuleScanner.of(plan))


def _over_many_events(pieces: Sequence[str], whole: Scan) -> int:
    """How many findings lie in more than ``MANY_EVENTS`` pieces."""
    if len(pieces) <= MANY_EVENTS or not whole.findings:
        return 0
    owner = [number for number, piece in enumerate(pieces) for _ in piece]
    return sum(owner[found.end - 1] - owner[found.start] >= MANY_EVENTS for found in whole.findings)


def _joined(scans: Sequence[Scan]) -> Scan:
    return Scan(
        "".join([scan.released for scan in scans]),
        tuple([finding for scan in scans for finding in scan.findings]),
        tuple([text for scan in scans for text in scan.replacements]),
    )


def _split(rules: Arena, pieces: Sequence[str], _text: str, whole: Scan) -> bool:
    scanner = _scanner(rules.quick)
    scans = [scanner.feed(piece) for piece in pieces]
    scans.append(scanner.feed("", eof=True))
    return _joined(scans) == whole


def _at_once(rules: Arena, pieces: Sequence[str], _text: str, whole: Scan) -> bool:
    scanner = _scanner(rules.quick)
    each = scanner.feed_each(pieces)
    last = scanner.feed("", eof=True)
    return (
        "".join([*each.released, last.released]) == whole.released
        and (*[finding for _, finding in each.findings], *last.findings) == whole.findings
    )


def _event_by_event(rules: Arena, pieces: Sequence[str], _text: str, whole: Scan) -> bool:
    """The engine alone releases, finds and holds the same after each event as with the kernel."""
    first, second = _scanner(rules.quick), _scanner(rules.plain)
    scans = []
    for piece in pieces:
        scans.append(second.feed(piece))
        if first.feed(piece) != scans[-1] or first.held_chars != second.held_chars:
            return False
    scans.append(second.feed("", eof=True))
    return first.feed("", eof=True) == scans[-1] and _joined(scans) == whole


def _oracle(rules: Arena, _pieces: Sequence[str], text: str, whole: Scan) -> bool:
    chosen = list(rules.rules)
    spans = [(found.start, found.end, found.detector) for found in whole.findings]
    found = oracle.find_escaped(text, chosen)
    if [(one.start, one.end, one.rule.name) for one in found] != spans:
        return False
    operators = dict(zip(rules.plain.automaton.rules, rules.plain.operators, strict=True))

    def spoken(rule: Rule, value: str) -> str:
        return replacement(operators[rule], rule.entity_type, value)

    return oracle.written(text, found, spoken) == whole.released


CHECKS: dict[str, Callable[[Arena, Sequence[str], str, Scan], bool]] = {
    "kernel, split": _split,
    "kernel, split, events at once": _at_once,
    "engine alone, split, event by event": _event_by_event,
    "oracle, whole": _oracle,
}
