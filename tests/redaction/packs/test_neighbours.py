"""Values that stand beside one another: what is found of the first must not hide the second."""

from __future__ import annotations

import itertools

import pytest

from extproc.redaction.engine import Plan, RuleScanner
from extproc.redaction.packs import default_automaton
from extproc.redaction.packs._tokens import key
from extproc.redaction.watches import default_mask

PLAN = Plan(default_automaton(), mask=default_mask(default_automaton()))
VALUES = {
    "mail": "bob.smith@example.com",
    "card": "4111 1111 1111 1111",
    "iban": "DE89370400440532013000",
    "ssn": "219-09-9999",
    "phone": "+49 30 901820",
    "address": "203.0.113.77",
    "access key": key("AKIA", tail=16, alphabet="Q3EGZLKJ2MNBVCXW"),
    "forge token": key("gh", "p_", tail=36),
    "web token": ".".join((key("ey", "J", tail=30), key("ey", "J", tail=40), key(tail=43))),
}
SEPARATORS = ["-", ".", "/", ":", "_", "+", "%", "@", "é", ",", ";", "|", "=", "*", "(", "#", "\u200b"]

# Two numbers whose groups are parted by what stands between them are neither's shape.
LEFT_IN = {("ssn", "-", "ssn")}


def hidden(value, text):
    return value not in RuleScanner.of(PLAN).feed(text, eof=True).released


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_alone_is_found(value):
    assert hidden(value, f"x {value} y")


@pytest.mark.parametrize("separator", SEPARATORS, ids=ascii)
def test_a_value_behind_a_value_is_found(separator):
    left_in = {
        (one, separator, other)
        for one, other in itertools.product(VALUES, repeat=2)
        if not hidden(VALUES[other], f"x {VALUES[one]}{separator}{VALUES[other]} y")
    }
    assert {names for names in LEFT_IN if names[1] == separator} == left_in


@pytest.mark.parametrize("sign", ["_", "__", "*", "**", "~~", "`", "|"])
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_emphasis_hides_nothing(sign, value):
    assert hidden(value, f"x {sign}{value}{sign} y")
