"""The prefilter may say yes too often, and never no too soon."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from redaction_texts import documents

from extproc.redaction import charset
from extproc.redaction.automaton import EDGE
from extproc.redaction.packs import default_automaton
from extproc.redaction.pattern import parse
from extproc.redaction.prefilter import ahead, prefilter
from extproc.redaction.rules import Boundary
from extproc.redaction.transducer import DISGUISED
from extproc.redaction.watches import default_mask

AUTOMATON = default_automaton()


def could_begin(text, start, mask):
    """By the automaton: whether a rule matches from ``start`` or is alive at the end of the text."""

    def matches(rules, end):
        checks = [AUTOMATON.rules[rule].validator for rule in rules if mask >> rule & 1]
        return any(check is None or check(text[start:end]) for check in checks)

    classes = AUTOMATON.classes
    before = classes[text[start - 1]] if start else EDGE
    state = AUTOMATON.start(before, classes[text[start]])
    for at in range(start + 1, len(text)):
        taken = classes[text[at]]
        if matches((*state.accepts, *state.before(taken)), at):
            return True
        state = state[taken]
    return bool(state.live & mask) or matches(state.accepts, len(text))


@pytest.mark.parametrize(
    "mask",
    [AUTOMATON.mask(), AUTOMATON.mask(packs=["pii"]), AUTOMATON.mask(["EMAIL_ADDRESS"])],
)
# Where a text has characters that are read as others, the prefilter is not asked.
@given(text=documents.filter(lambda text: DISGUISED.search(text) is None))
@settings(max_examples=200, deadline=None)
def test_wherever_a_thread_matters_the_prefilter_matches(mask, text):
    matched = AUTOMATON.prefilter(mask).match
    assert [
        start
        for start in range(len(text))
        if could_begin(text, start, mask) and matched(text, start) is None
    ] == []


@pytest.mark.parametrize(
    ("body", "left", "text", "expected"),
    [
        ("abc", Boundary.NONE, "xxabc", 2),
        ("abc", Boundary.NONE, "xxab", 2),
        ("abc", Boundary.NONE, "xxabd", None),
        ("abc", Boundary.NOT_WORD, "xabc", None),
        ("abc", Boundary.WORD, "xabc .abc", 6),
        ("a{2,4}b", Boundary.NONE, "aac", None),
        ("a{2,4}b", Boundary.NONE, "ca", 1),
        ("a?b", Boundary.NONE, "cab", 1),
        ("[ab]{1,3}b", Boundary.NONE, "cab", 1),
    ],
)
def test_where_a_body_could_begin(body, left, text, expected):
    found = prefilter([(left, parse(body), "")]).search(text)
    assert expected == (None if found is None else found.start())


DIGITS = charset.of_chars("12")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("aba1.", 0), ("abab", 0), ("aba.1", None), ("ab.", None), ("ab.b2", 3), ("aaaaaab1", 2)],
)
def test_what_a_validator_needs_is_looked_for_ahead(text, expected):
    node = parse("[ab][ab12]{1,5}")
    wanted = ahead([charset.of_chars("ab"), charset.of_chars("ab12")], DIGITS, 5)
    found = prefilter([(Boundary.NONE, node, wanted)]).search(text)
    assert expected == (None if found is None else found.start())


def test_without_needs_or_an_end_nothing_is_asked():
    assert ahead([DIGITS], (), 3) == ""
    assert ahead([DIGITS], DIGITS, None) == ""
    assert prefilter([(Boundary.NONE, parse("1{2}"), ahead([DIGITS], DIGITS, 2))]).search("11") is not None


def test_no_rules_begin_nowhere():
    assert prefilter([]).search("anything") is None


def test_prose_is_mostly_skipped():
    text = "The quick brown fox jumps over the lazy dog while nobody watches it. " * 20
    assert len(AUTOMATON.prefilter(default_mask(AUTOMATON)).findall(text)) == 0
