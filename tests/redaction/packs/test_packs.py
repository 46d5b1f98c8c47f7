from __future__ import annotations

import pytest
import redaction_oracle as oracle

from extproc.redaction.engine import redact
from extproc.redaction.packs import ALL_RULES, default_automaton, pii, secrets

AUTOMATON = default_automaton()
MATCHES = [pytest.param(r, t, id=f"{r.name}-{n}") for r in ALL_RULES for n, t in enumerate(r.matches)]
REJECTS = [pytest.param(r, t, id=f"{r.name}-{n}") for r in ALL_RULES for n, t in enumerate(r.rejects)]


@pytest.mark.parametrize(("rule", "text"), MATCHES)
def test_what_a_rule_must_match_is_found_among_all_rules(rule, text):
    findings = redact(text, AUTOMATON, mask=AUTOMATON.mask()).findings
    assert rule.entity_type in {finding.entity_type for finding in findings}
    assert oracle.find(text, [rule]) != []


@pytest.mark.parametrize(("rule", "text"), REJECTS)
def test_what_a_rule_must_not_match(rule, text):
    findings = redact(text, AUTOMATON, mask=AUTOMATON.mask([rule.entity_type])).findings
    assert rule.name not in {finding.detector for finding in findings}


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.name)
def test_every_rule_says_what_it_is(rule):
    assert rule.matches
    assert rule.rejects
    assert 0 < rule.score <= 1
    assert rule.entity_type == rule.entity_type.upper()


def test_packs_hold_their_own_rules():
    assert {rule.pack for rule in pii.RULES} == {"pii"}
    assert {rule.pack for rule in secrets.RULES} == {"secrets"}
    assert len(ALL_RULES) >= 30


PROSE = (
    "The meeting is at 12:30 on 2024-05-17, in room 415. Version 1.2.3 fixes issue #4155552671; "
    "see https://example.com/a/b?c=1 and std::vector<int>. The bearer of this letter asks for "
    "nothing; a password is required: choose one. Chapter 10.1, pages 100-200, price $1,234.56."
)


def test_prose_stays_as_it_is():
    assert redact(PROSE, AUTOMATON, mask=AUTOMATON.mask()).released == PROSE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("メールはann@example.comです", "メールは[EMAIL_ADDRESS]です"),
        ("卡号4111111111111111。", "卡号[CREDIT_CARD]。"),
        ("- ann@example.com", "- [EMAIL_ADDRESS]"),
        ("mailto:ann@example.com?x", "mailto:[EMAIL_ADDRESS]?x"),
        ("ip=10.0.0.1, next", "ip=[IP_ADDRESS], next"),
    ],
)
def test_values_beside_other_text(text, expected):
    assert expected == redact(text, AUTOMATON, mask=AUTOMATON.mask(packs=["pii"])).released
