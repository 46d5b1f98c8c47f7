"""Slices of the long fuzz: seconds of it in every run of the tests, minutes in `make fuzz`."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import redaction_fuzz
from redaction_fuzz import CHECKS, FAMILIES, MANY_EVENTS, Arena, Document, Tally

from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import RuleScanner
from extproc.redaction.rules import Boundary, Rule

SEED = 20261122  # one for all: rules are chosen by it, and each choice takes its time to compile.


def test_a_batch_has_every_kind_of_document_and_every_check_and_no_difference():
    tally = Tally()
    for batch in range(2):
        tally.add(redaction_fuzz.run(SEED, batch, 2_000))
    assert tally.differences == []
    assert tally.documents == sum(tally.by_family.values()) == 4_000
    assert set(tally.by_family) == {*FAMILIES, "random rules"}
    assert set(tally.checks) == set(CHECKS)
    assert tally.checks["kernel, split"] + tally.checks["kernel, split, events at once"] == 4_000
    assert tally.checks["oracle, whole"] >= 150
    assert tally.over_many_events > 50
    assert tally.findings > 1_000


def test_small_random_rules_differ_nowhere():
    tally = redaction_fuzz.run(SEED, 0, 4_000, toys_share=1.0)
    assert tally.differences == []
    assert tally.by_family == {"random rules": 4_000}
    assert tally.checks["oracle, whole"] == 1_000


@pytest.mark.parametrize("starts", [63, 64, 65, 100])
def test_more_live_starts_than_the_kernel_has_room_for(starts):
    rule = Rule(name="r", entity_type="R", pack="t", body=f"a{{{starts}}}b", left=Boundary.NONE)
    automaton = compile_rules([rule])
    many = redaction_fuzz.arena(automaton, automaton.mask(), "toys")
    for number, tail in enumerate(["b", "ab", "-", ""]):
        pieces = ("aa", "a" * 30, "a" * 10, "a" * 60, "a" * (starts - 30), "a", tail)
        assert redaction_fuzz.compare(Document(20 * number, "random rules", many, pieces), Tally()) == ""
        assert (
            redaction_fuzz.compare(Document(20 * number + 1, "random rules", many, pieces), Tally()) == ""
        )


def test_a_batch_is_the_same_each_time():
    first, again = (
        [(one.family, one.pieces) for one in redaction_fuzz.documents(SEED, 3, 300)] for _ in range(2)
    )
    other = [(one.family, one.pieces) for one in redaction_fuzz.documents(SEED, 4, 300)]
    assert first == again != other


def test_characters_beyond_the_basic_plane_and_halves_of_them_are_there():
    seen = Counter[str]()
    for one in redaction_fuzz.documents(SEED, 1, 1_500):
        seen["beyond"] += any(char > "\uffff" for char in one.text)
        seen["half"] += any("\ud800" <= char <= "\udfff" for char in one.text)
        seen["many"] += len(one.pieces) > MANY_EVENTS
    assert min(seen["beyond"], seen["half"], seen["many"]) > 100


def card_under_all_rules(*pieces: str) -> Document:
    return Document(0, "boundaries", redaction_fuzz._shipped(SEED)[0], pieces)


@pytest.mark.parametrize("check", CHECKS)
def test_a_difference_is_told_by_its_place_and_not_by_its_text(check, monkeypatch):
    def differs(_rules: Arena, _pieces: object, _text: str, _whole: object) -> bool:
        return False

    document = next(
        one
        for one in redaction_fuzz.documents(SEED, 9, 1_000)
        if one.number % 4 == 0 or check == "kernel, split, events at once"
        if (one.number % 2 == 1) == (check == "kernel, split, events at once")
        if one.number % 20 == 0 or check != "oracle, whole"
    )
    monkeypatch.setitem(redaction_fuzz.ORACLE_EVERY, "shipped", 10)
    monkeypatch.setitem(CHECKS, check, differs)
    assert redaction_fuzz.compare(document, Tally()) == check
    monkeypatch.setattr(redaction_fuzz, "documents", lambda *_, **__: [document])
    (told,) = redaction_fuzz.run(SEED, 9, 1).differences
    assert told.endswith(f"document 9:{document.number}")
    assert document.text not in told


def test_a_crash_is_a_difference(monkeypatch):
    monkeypatch.setattr(RuleScanner, "feed_each", lambda *_: 1 // 0)
    document = Document(1, "boundaries", redaction_fuzz._shipped(SEED)[0], ("4111 1111", " 1111 1111"))
    assert (
        redaction_fuzz.compare(document, Tally())
        == "kernel, split, events at once raised ZeroDivisionError"
    )


def test_a_finding_over_many_events_is_counted():
    tally = Tally()
    assert redaction_fuzz.compare(card_under_all_rules(*"4111 1111 1111 1111"), tally) == ""
    assert redaction_fuzz.compare(card_under_all_rules("4111 1111 ", "1111 1111"), tally) == ""
    assert (tally.findings, tally.over_many_events) == (2, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_documents_for_long():
    seed = random.SystemRandom().randrange(1 << 32)
    for batch in range(40):
        tally = redaction_fuzz.run(seed, batch, 10_000)
        assert tally.differences == [], f"seed {seed}"
