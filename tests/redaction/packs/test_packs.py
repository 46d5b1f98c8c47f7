from __future__ import annotations

import json

import pytest
import redaction_oracle as oracle

from extproc.redaction.engine import redact
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.watches import default_mask

AUTOMATON = default_automaton()
DEFAULTS = default_mask(AUTOMATON)
MATCHES = [pytest.param(r, t, id=f"{r.name}-{n}") for r in ALL_RULES for n, t in enumerate(r.matches)]
REJECTS = [pytest.param(r, t, id=f"{r.name}-{n}") for r in ALL_RULES for n, t in enumerate(r.rejects)]


def alone(rule):
    return 1 << AUTOMATON.rules.index(rule)


def covered(text, mask):
    """The places of the text in which something is found."""
    findings = redact(text, AUTOMATON, mask=mask).findings
    return {at for finding in findings for at in range(finding.start, finding.end)}


@pytest.mark.parametrize(("rule", "text"), MATCHES)
def test_what_a_rule_must_match_is_found(rule, text):
    findings = redact(text, AUTOMATON, mask=AUTOMATON.mask([rule.entity_type])).findings
    assert {finding.entity_type for finding in findings} == {rule.entity_type}
    assert oracle.find(text, [rule]) != []


@pytest.mark.parametrize(("rule", "text"), MATCHES)
def test_among_all_rules_that_count_by_default_nothing_of_a_value_is_left(rule, text):
    """Another type may claim it, for example where two countries' numbers look alike."""
    if rule.default:
        assert covered(text, alone(rule)) <= covered(text, DEFAULTS)


@pytest.mark.parametrize(("rule", "text"), REJECTS)
def test_what_a_rule_must_not_match(rule, text):
    assert redact(text, AUTOMATON, mask=alone(rule)).findings == ()


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.name)
def test_every_rule_says_what_it_is(rule):
    assert rule.matches
    assert rule.rejects
    assert 0 < rule.score <= 1
    assert rule.entity_type == rule.entity_type.upper()
    assert rule.pack in {"pii", "secrets"}


def test_an_entity_type_belongs_to_one_pack():
    packs = {}
    for rule in ALL_RULES:
        packs.setdefault(rule.entity_type, set()).add(rule.pack)
    assert {entity_type for entity_type, found in packs.items() if len(found) > 1} == set()
    assert len([found for found in packs.values() if found == {"pii"}]) >= 70
    assert len([found for found in packs.values() if found == {"secrets"}]) >= 30


# What no default rule may touch.
ORDINARY = [
    "The meeting is at 12:30 on 2024-05-17, in room 415. Version 1.2.3 fixes issue #4155552671;",
    "see https://example.com/a/b?c=1 and std::vector<int>. The bearer of this letter asks for nothing",
    "a password is required: choose one. Chapter 10.1, pages 100-200, price $1,234.56.",
    "Order 1234567890, invoice 2024-000123, tracking 1Z999AA10123456784, ticket INC0012345.",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 (tag: v2.10.0-rc.1), build 20240517.1",
    "id 550e8400-e29b-41d4-a716-446655440000 took 1748503543012 ms, 123456789 rows, 99999 errors",
    "From 2019 to 2021 revenue grew 12.5 % to 1 234 567 EUR; ISBN 978-3-16-148410-0; 3/4 of 7.",
    "arr[10:20:2]; x = 0x7fff5fbff8c0; f(1, 2.0e-10); 1 << 31; '%04d-%02d' % (y, m); #ff00aa",
    "Call the function twice; phone home; the account is overdrawn; her passport is valid.",
    "born in 1984, aged 40; 5-6 days; 10.1016/j.cell.2020.01.001; 192.168; 1:2:3; 16:9",
    "basic requirements, the basic idea; api key is required; token is invalid; secret is out",
    "Section 404-12-b of Act 1990/123; Art. 6(1)(f); ECLI:EU:C:2014:317; CVE-2021-44228",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text):
    assert redact(text, AUTOMATON, mask=DEFAULTS).released == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("メールはann@example.comです", "メールは[EMAIL_ADDRESS]です"),
        ("卡号4111111111111111。", "卡号[CREDIT_CARD]。"),
        ("- ann@example.com", "- [EMAIL_ADDRESS]"),
        ("mailto:ann@example.com?x", "mailto:[EMAIL_ADDRESS]?x"),
        ("ip=10.0.0.1, next", "ip=[IP_ADDRESS], next"),
        ("**Passport number:** AB1234567, thanks", "**Passport number:** [UK_PASSPORT], thanks"),
        ('{"ssn": "078051121"}', '{"ssn": "[US_SSN]"}'),
        ("NHS no. 0032698674.", "NHS no. [UK_NHS]."),
    ],
)
def test_values_beside_other_text(text, expected):
    mask = DEFAULTS & AUTOMATON.mask(packs=["pii"])
    assert expected == redact(text, AUTOMATON, mask=mask).released


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.name)
def test_json_stays_json_at_every_level(rule):
    """Values in strings of a document that is itself a string of another, and that of a third."""
    document = json.dumps(
        {"a": [f"{text}\\" for text in rule.matches], "b": rule.matches}, ensure_ascii=False
    )
    for outer in range(3):
        released = redact(document, AUTOMATON, mask=alone(rule)).released
        for _ in range(outer):
            released, _empty = json.loads(released)
        assert json.loads(released).keys() == {"a", "b"}
        document = json.dumps([document, ""], ensure_ascii=False)


def test_a_type_that_is_named_counts_in_every_shape():
    text = "121000358 and 0711-0130-7"
    named = redact(text, AUTOMATON, mask=AUTOMATON.mask(["ABA_ROUTING_NUMBER"])).released
    assert named == "[ABA_ROUTING_NUMBER] and [ABA_ROUTING_NUMBER]"
    assert redact(text, AUTOMATON, mask=DEFAULTS).released == "121000358 and [ABA_ROUTING_NUMBER]"
