from __future__ import annotations

import pytest

from extproc.redaction import validators
from extproc.redaction.rules import Boundary, Rule, RuleError
from extproc.redaction.shape import shape


def rule(body, *, right=Boundary.NONE, validator=None):
    return Rule(name="r", entity_type="R", pack="t", body=body, right=right, validator=validator)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("a(", "unfinished"),
        ("a?", "empty string"),
        ("(?:a{100}){100}", "positions"),
        ("a+b", "must accept or die"),
        ("a{600}b", "must accept or die"),
        ("x(?:a*b)*", "must accept or die"),
        ("[ab]{0,40}a[ab]{20}", "explodes"),
        ("a?" * 1600 + "b", "explodes: more than 2000000 steps"),
    ],
)
def test_bodies_that_are_refused(body, why):
    with pytest.raises(RuleError, match=why) as caught:
        shape(rule(body))
    assert caught.value.rule == "r"


def test_what_holds_too_much_is_refused_before_its_states_are_made(monkeypatch):
    monkeypatch.setattr("extproc.redaction.shape._determinise", lambda *_: pytest.fail("made"))
    with pytest.raises(RuleError, match="must accept or die"):
        shape(rule("a?" * 1600 + "b", right=Boundary.NOT_WORD))


def test_an_endless_body_cannot_be_validated():
    with pytest.raises(RuleError, match="longest match"):
        shape(rule("a+", validator=validators.luhn))


def test_an_endless_body_cannot_wait_for_a_boundary():
    with pytest.raises(RuleError, match="no boundary"):
        shape(rule("a+", right=Boundary.WORD))


@pytest.mark.parametrize(
    ("body", "right", "hold", "longest"),
    [
        ("abc", Boundary.NONE, 3, 3),
        ("abc", Boundary.NOT_WORD, 3, 3),
        ("ab+", Boundary.NONE, 2, None),
        ("a(?:bcd)*", Boundary.NONE, 3, None),
        ("ab{1000}", Boundary.NONE, None, None),
        ("ab{0,1000}", Boundary.NONE, 1, 1001),
    ],
)
def test_what_a_body_can_hold(body, right, hold, longest):
    if hold is None:
        with pytest.raises(RuleError):
            shape(rule(body, right=right))
        return
    measured = shape(rule(body, right=right))
    assert (measured.hold_chars, measured.chars_max) == (hold, longest)
