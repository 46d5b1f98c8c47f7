"""Bugs put into the engine's source on purpose: the checks of this folder have to notice each."""

from __future__ import annotations

import random
import sys
import types
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import redaction_oracle as oracle
from redaction_texts import EXAMPLES, split

from extproc.redaction import automaton as automaton_module
from extproc.redaction import engine as engine_module
from extproc.redaction import prefilter as prefilter_module
from extproc.redaction import shape as shape_module
from extproc.redaction import thread as thread_module
from extproc.redaction import validators
from extproc.redaction.packs import ALL_RULES
from extproc.redaction.rules import Boundary, Rule, RuleError

MODULES = {
    "engine": engine_module,
    "automaton": automaton_module,
    "prefilter": prefilter_module,
    "thread": thread_module,
}

BUGS = {
    "a right boundary is ignored": (
        "automaton",
        "return boundary not in self.classes.excluded[beside]",
        "return True",
    ),
    "a word boundary is turned round": (
        "automaton",
        "return inside is not self.classes.word[beside]",
        "return inside is self.classes.word[beside]",
    ),
    "the end of the text is not a boundary": (
        "thread",
        "self._accept(state.before(EDGE), piece, at, asked)",
        "pass",
    ),
    "ties go to the last rule": ("thread", "rule < self.rule)", "rule > self.rule)"),
    "ties with a validated rule go to the last one": ("thread", "rule >= self.rule)", "rule <= self.rule)"),
    "validators are not asked": ("thread", "if validator is None or", "if True or"),
    "only the longest end is validated": (
        "thread",
        "for end, negated in asked:",
        "for end, negated in asked[:1]:",
    ),
    "the shortest valid end wins": ("thread", "asked.sort(reverse=True)", "asked.sort()"),
    "a validated end beats a longer one": ("thread", "if end < self.end or (end ==", "if (end =="),
    "the shortest match wins": ("thread", "elif end > self.end or", "elif self.end < 0 or"),
    "the mask does not count for starts": (
        "automaton",
        "if mask >> self.rule_of[position] & 1",
        "if mask >> self.rule_of[position] & 0",
    ),
    "a late boundary is taken one too far": (
        "thread",
        "self._accept(state.late, piece, at - 1, asked)",
        "self._accept(state.late, piece, at, asked)",
    ),
    "a validated late boundary is taken one too far": (
        "thread",
        "asked.append((origin + at - 1, state.asks))",
        "asked.append((origin + at, state.asks))",
    ),
    "a late match is forgotten by the state after it": (
        "automaton",
        "key = (positions, late, inside, skipped)",
        "key = (positions, inside, skipped)",
    ),
    "the held tail is one short": (
        "engine",
        "keep = decided = oldest.start",
        "keep = oldest.start; decided = oldest.start + 1",
    ),
    "a replacement is certain too soon": (
        "engine",
        "if not self._sent and not live & plan.others[oldest.rule]:",
        "if not self._sent:",
    ),
    "text that a validator needs is let go": (
        "engine",
        "if not (live & (plan.validated | plan.valued) or",
        "if not (",
    ),
    "starts within a match live on": (
        "engine",
        "if thread is threads[0] or thread.start >= max(self._covered, begun):",
        "if True:",
    ),
    "a start within a match begins": ("engine", "if at >= covered:", "if True:"),
    "nothing begins anew behind a match": (
        "engine",
        "self._released = self._behind = thread.end",
        "self._released = thread.end",
    ),
    "nothing begins behind a separator": ("engine", "if buffer[at - 1].isalnum():", "if True:"),
    "anything parts a value from a match": ("engine", "if buffer[at - 1].isalnum():", "if False:"),
    "a match bounds nothing": ("automaton", "or beside == MATCH:", "or False:"),
    "what begins behind a match is forgotten at the end of a text": (
        "engine",
        "and self._behind < 0 and not eof",
        "and not eof",
    ),
    "the place after a match is not looked at": (
        "engine",
        "found = find(buffer, max(at + 1, covered))",
        "found = find(buffer, max(at + 1, covered + 1))",
    ),
    "a start is lost while another lives": (
        "engine",
        "        self._threads.append(thread)",
        "        if not self._threads:\n            self._threads.append(thread)",
    ),
    "a match is committed while an older start lives": (
        "engine",
        "if not self._threads:\n                self._commit",
        "if True:\n                self._commit",
    ),
    "the neighbour before is forgotten": (
        "engine",
        "before = automaton.classes[self._left.neighbour(buffer, at, base)]",
        "before = EDGE",
    ),
    "pending matches do not keep a thread alive": (
        "automaton",
        "live | set(self.pending)",
        "live",
    ),
    "the prefilter wants more than the chunk has": ("prefilter", r"(?:\Z|", "(?:"),
    "the prefilter takes runs too short": (
        "prefilter",
        "{{{min(low, 1)},{high}}}+",
        "{{{min(low, 1)},{max(low, 1)}}}+",
    ),
    "a validator is asked again once its text is gone": ("thread", "if at:", "if True:"),
    "classes forget what a set holds": (
        "automaton",
        "key = (members, word, inside, ",
        "key = (frozenset(), word, inside, ",
    ),
}


@dataclass(frozen=True)
class Case:
    rules: tuple[Rule, ...]
    chunks: tuple[str, ...]
    expected: str


def toy_body(chance: random.Random, depth: int = 0) -> str:
    atom = chance.choice(["a", "b", "1", "-", "[ab]", r"\d", "[^a]", "[b1-]", "a", "1"])
    if depth > 2 or chance.random() < 0.4:
        return atom
    inner = [toy_body(chance, depth + 1) for _ in range(chance.randint(2, 3))]
    match chance.randint(0, 3):
        case 0:
            return f"(?:{'|'.join(inner)})"
        case 1:
            return f"(?:{inner[0]}){chance.choice(['?', '+', '{1,3}', '{2}'])}{inner[1]}"
        case 2:
            return inner[0] + f"{atom}{{1,3}}" + inner[1]
        case _:
            return "".join(inner)


def toy_case(chance: random.Random) -> Case | None:
    rules = tuple(
        Rule(
            name=f"r{number}",
            entity_type=f"R{number}",
            pack="t",
            body=toy_body(chance),
            left=chance.choice(list(Boundary)),
            right=chance.choice(list(Boundary)),
            validator=chance.choice([None, None, None, validators.luhn]),
        )
        for number in range(chance.randint(1, 3))
    )
    try:
        for rule in rules:
            shape_module.shape(rule)
    except RuleError:
        return None
    text = "".join(chance.choice("aab-11_ é2") for _ in range(chance.randint(1, 16)))
    cuts = [chance.randint(0, len(text)) for _ in range(chance.randint(0, 6))]
    return Case(rules, tuple(split(text, cuts)), oracle.redact(text, list(rules)))


@cache
def cases() -> list[Case]:
    chance = random.Random(7)
    toys = [case for case in (toy_case(chance) for _ in range(1200)) if case is not None]
    digits = Rule(name="r0", entity_type="R0", pack="t", body=r"\d{2,6}", validator=validators.luhn)
    for text in ("1812 ", "18 181 ", "59.1230"):
        one = replace(digits, right=Boundary.NONE)
        toys.append(Case((one,), tuple(text), oracle.redact(text, [one])))
        toys.append(Case((one,), (text,), oracle.redact(text, [one])))
    short = replace(digits, body=r"\d\d", right=Boundary.NOT_DIGIT)
    longer = replace(short, name="r1", body=r"\d\d-\d")
    alive = replace(digits, name="r2", body=r"\d\d-\d\.b", validator=None)
    valid = replace(digits, body=r"\d\d", right=Boundary.NONE)
    unasked = replace(valid, name="r1", body=r"\d\da", validator=None)
    toys.append(Case((valid, unasked), ("18a",), oracle.redact("18a", [valid, unasked])))
    soon = replace(unasked, body=r"\d\d")
    later = replace(valid, name="r2", body=r"\d{4}")
    toys.append(Case((soon, later), ("42", "42", "-"), oracle.redact("4242-", [soon, later])))
    again = (short, longer, alive)
    toys.append(Case(again, ("18-1.", "x"), oracle.redact("18-1.x", list(again))))
    run = replace(digits, body="a{1,5}1", validator=None, left=Boundary.NOT_WORD)
    toys.append(Case((run,), ("aaa1",), oracle.redact("aaa1", [run])))
    shipped = []
    for _ in range(16):
        text = "".join(chance.choice(EXAMPLES) + chance.choice([" ", "1", ""]) for _ in range(2))
        cuts = [chance.randint(0, len(text)) for _ in range(4)]
        expected = oracle.redact(text, list(ALL_RULES))
        shipped.append(Case(tuple(ALL_RULES), tuple(split(text, cuts)), expected))
    return [*toys, *shipped]


def load(name: str, old: str = "", new: str = "") -> types.ModuleType:
    """A module of the engine anew, with one change to its source."""
    original = MODULES[name]
    source = Path(str(original.__file__)).read_text(encoding="utf-8")
    assert not old or old in source, "the seeded bug's place has moved"
    module = types.ModuleType(f"seeded_{name}")
    sys.modules[module.__name__] = module
    exec(compile(source.replace(old, new), module.__name__, "exec"), module.__dict__)  # noqa: S102
    return module


def differing(engine: types.ModuleType, automaton: types.ModuleType) -> bool:
    """Whether any case comes out other than the oracle says, or fails."""
    for case in cases():
        compiled = automaton.compile_rules(case.rules)
        scanner = engine.RuleScanner(compiled, mask=compiled.mask())
        try:
            pieces = [scanner.feed(chunk).released for chunk in case.chunks]
            pieces.append(scanner.feed("", eof=True).released)
        except Exception:  # noqa: BLE001  a crash is noticed as well
            return True
        if "".join(pieces) != case.expected:
            return True
    return False


def test_without_a_bug_nothing_differs():
    assert not differing(load("engine"), load("automaton"))


@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_noticed(bug):
    name, old, new = BUGS[bug]
    changed = load(name, old, new)
    automaton = changed if name == "automaton" else load("automaton")
    engine = changed if name == "engine" else load("engine")
    if name == "prefilter":
        automaton.prefilter = changed.prefilter
    if name == "thread":
        engine.Piece, engine.Thread = changed.Piece, changed.Thread
    assert differing(engine, automaton)
