"""Watches become plans; findings name their pack."""

from __future__ import annotations

import pytest

from extproc.domain.errors import PolicyError
from extproc.domain.scanning import RuleWatch
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import Redactor

MAIL = "write to ann@example.com now"


@pytest.fixture(scope="module")
def redactor():
    return Redactor(default_automaton(), hash_key=b"k" * 32)


def watch(pack="pii", entity_types=(), **operators):
    return RuleWatch(pack=pack, entity_types=frozenset(entity_types), operators=operators)


def test_findings_name_pack_and_rule(redactor):
    ((finding, replacement),) = redactor.find(MAIL, watch())
    assert finding.detector.startswith("pii/")
    assert (finding.entity_type, MAIL[finding.start : finding.end], replacement) == (
        "EMAIL_ADDRESS",
        "ann@example.com",
        "[EMAIL_ADDRESS]",
    )


def test_a_pack_that_nobody_asked_for_finds_nothing(redactor):
    assert redactor.find(MAIL, watch("secrets")) == ()


def test_an_entity_type_that_was_not_asked_for_is_not_found(redactor):
    assert redactor.find(MAIL, watch(entity_types=["CREDIT_CARD"])) == ()


CARD = "card 4111 1111 1111 1111 please"


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("redact", "[CREDIT_CARD]"),
        ("replace:(card)", "(card)"),
        ("mask:4", "**** **** **** 1111"),
    ],
)
def test_operators_by_name(redactor, operator, expected):
    ((_finding, replacement),) = redactor.find(CARD, watch(CREDIT_CARD=operator))
    assert expected == replacement


def test_hash_is_keyed_and_stable(redactor):
    other = Redactor(default_automaton(), hash_key=b"o" * 32)
    hashed = redactor.find(CARD, watch(CREDIT_CARD="hash"))[0][1]
    assert hashed == redactor.find(CARD, watch(CREDIT_CARD="hash"))[0][1]
    assert hashed != other.find(CARD, watch(CREDIT_CARD="hash"))[0][1]
    assert "4111" not in hashed


@pytest.mark.parametrize(
    "wrong",
    [
        watch("no-pack"),
        watch(entity_types=["NO_TYPE"]),
        watch(EMAIL_ADDRESS="shred"),
        watch(EMAIL_ADDRESS="mask:100"),
        watch(EMAIL_ADDRESS="mask:\u0663"),
        watch(EMAIL_ADDRESS='replace:"quoted"'),
        watch(EMAIL_ADDRESS="replace:a\\b"),
        watch(EMAIL_ADDRESS="replace:" + "a" * 65),
    ],
)
def test_what_is_unknown_is_refused(redactor, wrong):
    with pytest.raises(PolicyError):
        redactor.check(wrong)


def test_a_scanner_joins_the_rules_of_its_watches(redactor):
    scanner = redactor((watch(), watch("secrets")))
    token = "ghp" + "_" + "a1B2" * 9
    first = scanner.feed(f"{MAIL} with {token[:20]}")
    last = scanner.feed(token[20:], eof=True)
    released = first.released + last.released
    assert "ann@example.com" not in released
    assert token not in released
    packs = {finding.detector.split("/")[0] for finding in (*first.findings, *last.findings)}
    assert packs == {"pii", "secrets"}
