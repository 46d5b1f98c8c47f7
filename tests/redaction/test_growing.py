"""Values without end, hashed and masked as they come: in constant memory, as if they had come at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from redaction_texts import chunked, split

from extproc.domain.limits import LIMITS
from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import Plan, RuleScanner
from extproc.redaction.operators import REDACT, Hash, Mask, replacement
from extproc.redaction.packs import default_automaton
from extproc.redaction.rules import Boundary, Rule

AUTOMATON = default_automaton()
ALL = AUTOMATON.mask()
OPERATORS = [Hash(key=b"k"), Mask(keep_last=4)]
ENDLESS = sorted(
    {
        rule.entity_type
        for rule, shape in zip(AUTOMATON.rules, AUTOMATON.shapes, strict=True)
        if shape.chars_max is None
    }
)


def scanned(plan, chunks):
    scanner = RuleScanner.of(plan)
    scans = [*map(scanner.feed, chunks), scanner.feed("", eof=True)]
    found = [finding for scan in scans for finding in scan.findings]
    return "".join(scan.released for scan in scans), found


def written(text, findings, operator):
    """The text with each finding's value replaced as a whole."""
    pieces, at = [], 0
    for one in findings:
        pieces += [text[at : one.start], replacement(operator, one.entity_type, text[one.start : one.end])]
        at = one.end
    return "".join([*pieces, text[at:]])


@pytest.fixture(scope="module", params=OPERATORS, ids=["hash", "mask"])
def plan(request):
    return Plan(AUTOMATON, mask=ALL, default_operator=request.param)


@given(document=chunked())
@settings(max_examples=150, deadline=None)
def test_every_value_is_written_as_if_it_had_come_at_once(plan, document):
    text, chunks = document
    released, found = scanned(plan, chunks)
    assert written(text, found, plan.operators[0]) == released


def test_most_types_of_secrets_have_no_longest_value():
    assert len(ENDLESS) > 80


@pytest.mark.parametrize("entity_type", ENDLESS)
def test_every_type_without_a_longest_value_can_be_hashed_and_masked(plan, entity_type):
    rule = next(one for one in AUTOMATON.rules if one.entity_type == entity_type)
    text = f"see {rule.matches[0]} x"
    released, found = scanned(plan, list(text))
    assert found
    assert written(text, found, plan.operators[0]) == released


def test_an_endless_value_costs_no_memory(plan):
    head, unit = "to ann@example.com", ".abcdef"
    scanner = RuleScanner.of(plan)
    released = scanner.feed(head).released
    kept = 0
    for _ in range(20_000):
        released += scanner.feed(unit).released
        kept = max(kept, len(scanner._kept))
    last = scanner.feed(" x", eof=True)
    value = (head + unit * 20_000).removeprefix("to ")
    assert kept <= 80
    assert released + last.released == f"to {replacement(plan.operators[0], 'EMAIL_ADDRESS', value)} x"
    assert len(last.replacements[0]) <= LIMITS.mask_chars_max
    assert [(one.start, one.end) for one in last.findings] == [(3, 3 + len(value))]


def rule(name, body, naming="", entity_type=""):
    return Rule(
        name=name,
        entity_type=entity_type or name.upper(),
        pack="t",
        body=body,
        naming=naming,
        left=Boundary.NONE,
        right=Boundary.NONE,
    )


@pytest.mark.parametrize(
    "rules",
    [
        [rule("endless", "ab+"), rule("other", "ab{1,4}c")],
        [rule("endless", "ab+"), rule("named", "b{1,4}c", naming="a")],
        [rule("named", "b+", naming="a"), rule("endless", "ab{1,3}c+")],
        [rule("named", "b+", naming="a"), rule("later", "b{1,3}c+", naming="ab")],
        [rule("named", "={0,2}b+", naming="a={1,2}"), rule("same", "ab{1,3}c", entity_type="NAMED")],
    ],
    ids=lambda rules: " ".join(f"{one.naming}-{one.body}" for one in rules),
)
@pytest.mark.parametrize("operator", [REDACT, *OPERATORS], ids=["redact", "hash", "mask"])
@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "python"])
def test_rules_that_share_a_start_are_read_side_by_side(rules, operator, compiled):
    automaton = compile_rules(rules)
    mixed = {"OTHER": REDACT, "LATER": Hash(key=b"l")}
    plan = Plan(automaton, mask=3, default_operator=operator, operators=mixed, compiled=compiled)
    texts = ["abbbb", "abbc", "xabbbc-abb", "a==bb", "a=bbb=", "abc", "abbbcc ab abbc", "aab"]
    for text in texts:
        whole = scanned(plan, [text])
        for chunks in (list(text), split(text, [2, 4]), split(text, [3, 5])):
            assert scanned(plan, chunks) == whole
    assert any(scanned(plan, [text])[1] for text in texts)


def test_a_name_goes_out_with_its_value_as_soon_as_this_is_certain():
    automaton = compile_rules([rule("named", "b+", naming="a={1,3}")])
    scanner = RuleScanner(automaton, mask=1)
    assert [scanner.feed(text).released for text in ("xa", "==", "b", "bb", "c")] == [
        *("x", "", "a==[NAMED]", "", "c"),
    ]


def test_a_dropped_value_is_forgotten(plan):
    scanner = RuleScanner.of(plan)
    scanner.feed("to ann@example.com.aaaa")
    scanner.drop()
    assert (scanner.held_chars, scanner._growing._begun) == (0, {})
