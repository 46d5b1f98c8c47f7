"""What names a value is matched with it and stays; what is found and replaced is the value."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redaction_texts import split

from extproc.domain.limits import LIMITS
from extproc.redaction import validators
from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import Plan, RuleScanner, redact
from extproc.redaction.naming import Naming
from extproc.redaction.operators import Hash, replacement
from extproc.redaction.packs import default_automaton
from extproc.redaction.rules import Boundary, Rule, RuleError
from extproc.redaction.shape import shape
from extproc.redaction.watches import default_mask


def rule(naming, body, **more):
    return Rule(
        **{"name": "r", "entity_type": "R", "pack": "t", "naming": naming, "body": body}
        | {"left": Boundary.NONE, "right": Boundary.NONE}
        | more
    )


PARTED = [
    ("digits after a word", rule("pin ", r"\d{4}"), "pin 1234", 4),
    ("the longest value counts", rule("pin [( ]{1,3}", r"\(?\d{4}"), "pin ((1234", 5),
    ("whatever else the name could take", rule("id(?: no)?:? ?", "[a-z]{2}[0-9]{2}"), "id: no12", 4),
    ("one that must be in the name", rule("id(?: no)? ", "[a-z0-9]{4,6}"), "id no ab12cd", 6),
    ("that of the shortest match if there is no end", rule("k={1,3}", "={0,3}[a-z]+"), "k===ab", 2),
    ("also where a longer value comes later", rule("k=?", "a+|=a{3}a*"), "k=aaaa", 2),
    ("a name in full width", rule("pin ", r"\d{4}"), "\uff50\uff49\uff4e 1234", 4),
    ("a character that is of both is of the value", rule(r"a\.?1", r"\.\d"), "a\u24887", 1),
    ("what is unseen before a value is no part of it", rule("pin ", r"\d{4}"), "pin \u200b1234", 5),
    ("what is unseen in a name", rule("pin ", r"\d{4}"), "p\u200bin 1\u200b234", 5),
    ("what could be read as nothing", rule("p", r"1?2"), "p\U000e00312", 1),
    ("a tag in a name, which may spell another value", rule("pin ", r"\d{4}"), "pi\U000e0031n 1234", 2),
    ("one in the name of a value without end", rule("pin ", r"\d+"), "pi\U000e0031n 1234", 2),
]


@pytest.mark.parametrize(("_name", "one", "match", "start"), PARTED, ids=[name for name, *_ in PARTED])
def test_where_a_value_begins(_name, one, match, start):
    automaton = compile_rules([one])
    assert start == Naming(automaton, 0).value_start(match)
    (found,) = redact(match, automaton, mask=1).findings
    assert (found.start, found.end) == (start, len(match))


def test_there_is_no_value_where_the_rule_does_not_match():
    naming = Naming(compile_rules([rule("pin ", r"\d{4}")]), 0)
    assert [naming.value_start(text) for text in ("pin 123", "none", "")] == [None] * 3


def test_its_moves_may_be_forgotten_at_any_time(monkeypatch):
    automaton = compile_rules([rule("pin ", r"\d{4}")])
    monkeypatch.setattr("extproc.redaction.naming.LIMITS", replace(LIMITS, naming_moves_max=2))
    naming = Naming(automaton, 0)
    assert naming.value_start("pin 1234") == 4
    assert naming._moves_count <= 2


def test_a_naming_part_must_say_something():
    with pytest.raises(RuleError, match="empty"):
        shape(rule("(?:pin )?", r"\d{4}"))
    with pytest.raises(RuleError, match="look-around"):
        shape(rule("(?=pin)", r"\d{4}"))


def scanned(plan, chunks):
    scanner = RuleScanner.of(plan)
    scans = [*map(scanner.feed, chunks), scanner.feed("", eof=True)]
    found = [finding for scan in scans for finding in scan.findings]
    return "".join(scan.released for scan in scans), found


PINS = "my pin 1234, your pin 12345."


@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "python"])
@pytest.mark.parametrize("right", [Boundary.NONE, Boundary.NOT_DIGIT])
def test_however_a_text_is_cut(compiled, right):
    automaton = compile_rules([rule("pin ", r"\d{4,5}", right=right)])
    plan = Plan(automaton, mask=1, compiled=compiled)
    for at in range(len(PINS)):
        released, found = scanned(plan, split(PINS, [at, at + 3]))
        assert released == "my pin [R], your pin [R]."
        assert [PINS[one.start : one.end] for one in found] == ["1234", "12345"]


@pytest.mark.parametrize("value", ["b1", "b1+"])
def test_one_with_a_name_may_take_over_from_one_without(value):
    """Both are written the same; what stays of the match is not."""
    automaton = compile_rules([rule("", "ab", name="plain"), rule("a", value, name="named")])
    for chunks in (["ab1"], list("ab1")):
        assert scanned(Plan(automaton, mask=3), chunks)[0] == "a[R]"
    assert scanned(Plan(automaton, mask=3), list("ab2"))[0] == "[R]2"


def test_the_validator_sees_the_name_too():
    automaton = compile_rules([rule("1 is ", r"\d{3}", validator=validators.luhn)])
    texts = [f"1 is {number}" for number in range(230, 240)]
    valid = [text for text in texts if validators.luhn(text)]
    assert [text for text in texts if redact(text, automaton, mask=1).findings] == valid
    assert valid != [text for text in texts if validators.luhn(text.removeprefix("1 is "))]


AUTOMATON = default_automaton()
DEFAULTS = default_mask(AUTOMATON)


def test_a_number_is_the_same_value_whatever_names_it():
    operator = Hash(key=b"k")
    number = "+1 415 555 2671"
    text = f"call {number} or phone {number}; {number}"
    scan = redact(text, AUTOMATON, mask=DEFAULTS, operators={"PHONE_NUMBER": operator})
    hashed = replacement(operator, "PHONE_NUMBER", number)
    assert scan.released == f"call {hashed} or phone {hashed}; {hashed}"
    assert [text[one.start : one.end] for one in scan.findings] == [number] * 3


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("Tel: ", "450 0840", "."),
        ("Fax ", "(37) 788-063", ""),
        ('{"ssn": "', "219099999", '"}'),
        ("passport no. is ", "AB1234567", ""),
    ],
)
def test_values_beside_their_names(before, value, after):
    mask = DEFAULTS & AUTOMATON.mask(["PHONE_NUMBER", "US_SSN", "UK_PASSPORT"])
    (found,) = redact(before + value + after, AUTOMATON, mask=mask).findings
    assert (found.start, found.end) == (len(before), len(before) + len(value))


@pytest.mark.parametrize("before", ["pass", "password", "password="])
def test_what_tags_spell_within_a_name_does_not_stay(before):
    name, value = "password=", "hunter" + "2x"
    spelled = "".join(chr(0xE0000 + ord(char)) for char in "4111111111111111")
    text = f"a {before}{spelled}{name.removeprefix(before)}{value}"
    for chunks in ([text], list(text)):
        assert scanned(Plan(AUTOMATON, mask=DEFAULTS), chunks)[0] == f"a {before}[PASSWORD]"
