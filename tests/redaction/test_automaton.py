from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.redaction.automaton import EDGE, compile_rules
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.rules import Boundary, Rule, RuleError

AUTOMATON = default_automaton()


def rule(name="r", body="ab", **more):
    return Rule(**{"name": name, "entity_type": "R", "pack": "t", "body": body} | more)


def test_the_same_rules_are_compiled_once():
    # Not the one above: other tests may have compiled so many since that it was let go.
    made = default_automaton()
    assert compile_rules(list(ALL_RULES)) is made


def test_what_is_in_use_is_not_compiled_again():
    made = compile_rules([rule("kept")])
    for number in range(40):
        compile_rules([rule(f"r{number}")])
        assert compile_rules([rule("kept")]) is made


def test_the_digest_names_what_is_found_and_not_the_examples():
    one = compile_rules([rule()])
    assert one.digest == compile_rules([rule(matches=("ab",))]).digest
    changes = [
        {"body": "ac"},
        {"left": Boundary.NONE},
        {"right": Boundary.WORD},
        {"entity_type": "S"},
        {"score": 0.5},
        {"ignore_case": True},
    ]
    digests = {compile_rules([replace(rule(), **change)]).digest for change in changes}
    assert len(digests | {one.digest}) == len(changes) + 1


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(RuleError, match="two rules"):
        compile_rules([rule(), rule(body="cd")])


def test_a_validator_must_be_registered():
    with pytest.raises(RuleError, match="registry"):
        compile_rules([rule(validator=lambda _value: True)])


def test_masks():
    assert AUTOMATON.mask() == (1 << len(ALL_RULES)) - 1
    pii, secrets = AUTOMATON.mask(packs=["pii"]), AUTOMATON.mask(packs=["secrets"])
    assert (pii | secrets, pii & secrets) == (AUTOMATON.mask(), 0)
    assert AUTOMATON.mask(["JWT"], ["pii"]) == 0
    assert AUTOMATON.mask([]) == 0


@pytest.mark.parametrize(("types", "packs"), [(["NO_SUCH"], None), (None, ["no-such"])])
def test_a_mask_of_what_no_rule_has_is_an_error(types, packs):
    with pytest.raises(KeyError):
        AUTOMATON.mask(types, packs)


@given(st.characters(), st.characters())
def test_characters_of_one_class_are_alike_in_every_set(left, right):
    classes = AUTOMATON.classes
    one, other = classes[left], classes[right]
    assert EDGE not in {one, other}
    if one == other:
        assert left.isalnum() == right.isalnum() or "_" in {left, right}
    else:
        assert (
            classes.members[one] != classes.members[other]
            or classes.word[one] != classes.word[other]
            or classes.excluded[one] != classes.excluded[other]
        )


def test_a_thread_that_has_matched_and_cannot_grow_is_not_live():
    automaton = compile_rules([rule(left=Boundary.NONE, right=Boundary.NONE)])
    state = automaton.start(EDGE, automaton.classes["a"])[automaton.classes["b"]]
    assert (state.accepts, state.live) == ((0,), 0)


def test_a_match_that_waits_for_its_right_neighbour_is_live():
    automaton = compile_rules([rule(left=Boundary.NONE, right=Boundary.NOT_DIGIT)])
    state = automaton.start(EDGE, automaton.classes["a"])[automaton.classes["b"]]
    assert (state.accepts, state.pending, state.live) == ((), (0,), 1)
    assert state.before(automaton.classes["1"]) == ()
    assert state.before(automaton.classes["c"]) == (0,)
    assert state.before(EDGE) == (0,)
