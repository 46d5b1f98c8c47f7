"""Rules of a policy file: checked by their examples, found by the guards, refused by their place."""

from __future__ import annotations

from typing import get_args

import pytest

from extproc import policies
from extproc.domain.errors import PolicyError
from extproc.domain.limits import LIMITS
from extproc.domain.scanning import RuleWatch
from extproc.own_rules import automaton_of, own_automaton, rule_faults
from extproc.policy.model import Beside, RuleEntry
from extproc.redaction.packs import default_automaton
from extproc.redaction.rules import Boundary

PEPPER = b"p" * 32
GOOD = {
    "name": "badge",
    "entity_type": "ACME_BADGE",
    "pattern": r"AC-\d{6}",
    "matches": ("AC-123456",),
    "rejects": ("AC-12345",),
}


def entry(**changes):
    return RuleEntry(**{**GOOD, **changes})


def text_of(*entries, guard="{}"):
    rows = [
        f"  - {{name: {one.name}, entity_type: {one.entity_type}, pattern: '{one.pattern}',"
        f" naming: '{one.naming}', pack: {one.pack}, right: {one.right}, validator: '{one.validator}',"
        f" default: {str(one.default).lower()},"
        f" matches: {list(one.matches)}, rejects: {list(one.rejects)}}}\n"
        for one in entries
    ]
    return f"version: 1\nrules:\n{''.join(rows)}policies: {{p: {{guards: {{pii: {guard}}}}}}}\n".encode()


def check(tmp_path, content):
    path = tmp_path / "policy.yaml"
    path.write_bytes(content)
    return policies.check_policy(path)


def watch(*entity_types):
    return RuleWatch(pack="pii", entity_types=frozenset(entity_types))


def test_a_rule_of_the_file_is_found_beside_the_shipped_ones(tmp_path):
    assert "1 rule of its own" in check(tmp_path, text_of(entry()))
    redactor = policies.new_redactor(PEPPER, (entry(),))
    scan = redactor((watch(),)).feed("AC-123456 and ann@example.com", eof=True)
    assert scan.released == "[ACME_BADGE] and [EMAIL_ADDRESS]"
    assert redactor((watch("ACME_BADGE"),)).feed("AC-123456 a@b.example", eof=True).released == (
        "[ACME_BADGE] a@b.example"
    )


def test_where_both_match_the_same_the_files_own_rule_counts():
    own = entry(entity_type="OUR_CARD", pattern=r"\d{16}", matches=("4111111111111111",), rejects=("1",))
    redactor = policies.new_redactor(PEPPER, (own,))
    assert redactor((watch(),)).feed("4111111111111111", eof=True).released == "[OUR_CARD]"


def test_a_rule_that_does_not_count_by_default_counts_by_name():
    redactor = policies.new_redactor(PEPPER, (entry(default=False),))
    assert redactor((watch(),)).feed("AC-123456", eof=True).released == "AC-123456"
    assert redactor((watch("ACME_BADGE"),)).feed("AC-123456", eof=True).released == "[ACME_BADGE]"


def test_what_names_a_value_stays(tmp_path):
    named = {"naming": "badge(?: no)? ", "pattern": r"\d{6}", "matches": ("badge no 123456",)}
    own = entry(**named, rejects=("123456",))
    assert "1 rule of its own" in check(tmp_path, text_of(own))
    redactor = policies.new_redactor(PEPPER, (own,))
    ((finding, replacement),) = redactor.find("my badge 123456", watch("ACME_BADGE"))
    assert (finding.start, finding.end, replacement) == (9, 15, "[ACME_BADGE]")


def test_guards_may_name_what_the_files_rules_find(tmp_path):
    named = "{entity_types: [ACME_BADGE], operators: {ACME_BADGE: 'mask:2'}}"
    assert check(tmp_path, text_of(entry(), guard=named))
    with pytest.raises(PolicyError, match=r"entity_types\[0\]: is no entity type of this guard"):
        check(tmp_path, f"version: 1\npolicies: {{p: {{guards: {{pii: {named}}}}}}}\n".encode())


@pytest.mark.parametrize(
    ("changes", "place", "what"),
    [
        ({"pattern": "a*", "matches": ("a",)}, "pattern", "matches the empty string"),
        ({"pattern": "(ab"}, "pattern", "unfinished"),
        ({"pattern": "(?=a)b"}, "pattern", "look-around"),
        ({"naming": "(?=a)b"}, "pattern", "look-around.*, in its naming part"),
        ({"naming": "a?"}, "pattern", "naming part that matches the empty string"),
        ({"pattern": "a+"}, "pattern", "unbounded body"),
        ({"pattern": "a+", "right": "none", "validator": "luhn"}, "pattern", "longest match"),
        ({"pattern": "(?:a|b)*a(?:a|b){14}c", "right": "none"}, "pattern", "explodes"),
        ({"pattern": "a{600}"}, "pattern", f"within {LIMITS.rule_hold_chars_max} chars"),
        ({"matches": ("AC-123456", "none")}, r"matches\[1\]", "holds nothing"),
        ({"rejects": ("no", "AC-123456")}, r"rejects\[1\]", "holds something"),
        ({"name": "email"}, "name", "name of another rule"),
        ({"entity_type": "JWT"}, "entity_type", "of another pack"),
        ({"pack": "words"}, "pack", "no guard"),
        ({"validator": "lunh"}, "validator", "is no check"),
    ],
)
def test_a_rule_that_is_wrong_is_refused_by_its_place_and_name(tmp_path, changes, place, what):
    name = changes.get("name", entry().name)
    line = rf"/policy\.yaml:4:\d+: rules\[1\]\.{place}: rule {name}: .*{what}"
    with pytest.raises(PolicyError, match=line) as caught:
        check(tmp_path, text_of(entry(name="first"), entry(**changes)))
    # No example in a message: it may be a secret.
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "right", "validator", "instead"),
    [
        ("(?:a|b)*a(?:a|b){14}c", "none", "", "shorter or fewer repeats"),
        ("a+", "none", "luhn", r"\{m,n\} in place of \* and \+, or take the validator out"),
        ("a+", "not_word", "", "or `right: none`"),
        ("^a", "none", "", "`left` and `right`"),
        ("(?i)a", "none", "", "`ignore_case: true`"),
        ("a{9999}", "none", "", "literals, classes"),
    ],
)
def test_a_pattern_that_cannot_run_says_what_would(tmp_path, pattern, right, validator, instead):
    wrong = entry(pattern=pattern, right=right, validator=validator)
    with pytest.raises(PolicyError, match=rf"rules\[0\]\.pattern: rule badge: .*; .*{instead}"):
        check(tmp_path, text_of(wrong))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("{name: a, entity_type: badge, pattern: x, matches: [x], rejects: [y]}", "entity_type"),
        ("{name: a, entity_type: AB, pattern: x, matches: [], rejects: [y]}", "matches"),
        ("{name: a, entity_type: AB, pattern: x, matches: [x]}", "rejects"),
        ("{name: a, entity_type: AB, pattern: x, left: word?, matches: [x], rejects: [y]}", "left"),
        ("{name: a, entity_type: AB, matches: [x], rejects: [y]}", "pattern"),
    ],
)
def test_a_rule_that_lacks_what_it_must_have(tmp_path, row, field):
    with pytest.raises(PolicyError, match=rf"/policy\.yaml:3:\d+: rules\[0\]\.{field}: "):
        check(tmp_path, f"version: 1\nrules:\n  - {row}\npolicies: {{p: {{}}}}\n".encode())


def test_two_rules_of_one_name_are_refused(tmp_path):
    with pytest.raises(PolicyError, match=r"rules\[1\]\.name: rule badge: is the name of another rule"):
        check(tmp_path, text_of(entry(), entry()))


def test_one_automaton_for_the_same_rules_and_another_for_who_shares_no_thread():
    assert automaton_of((entry(),)) is automaton_of((entry(),))
    assert automaton_of(()) is default_automaton()
    assert own_automaton((entry(),)) is not automaton_of((entry(),))
    assert own_automaton((entry(),)).digest == automaton_of((entry(),)).digest


def test_what_is_kept_holds_nothing_that_the_files_rules_find():
    assert policies.redact_all("AC-123456", own=(entry(),)) == "[ACME_BADGE]"


def test_nothing_is_kept_of_a_text_that_the_rules_cannot_read():
    crowd = entry(pattern="[;]{400}X")
    assert policies.redact_all(";" * (LIMITS.scan_threads_max + 1), own=(crowd,)) == ""


def test_a_reload_takes_changed_rules():
    load = policies.loader("policy.yaml", lambda: PEPPER)
    first = load(text_of(entry()))
    second = load(text_of(entry(pattern=r"AC-\d{6}|ZZ", matches=("ZZ",))))
    assert first.digest != second.digest
    plain, changed = (
        routed.unrouted.scanner((watch(),)).feed("ZZ AC-123456", eof=True).released
        for routed in (first, second)
    )
    assert (plain, changed) == ("ZZ [ACME_BADGE]", "[ACME_BADGE] [ACME_BADGE]")


def test_the_model_names_every_boundary():
    assert set(get_args(Beside)) == {boundary.value for boundary in Boundary}


@pytest.mark.parametrize(
    ("pattern", "left", "example"),
    [
        ("[a-z ]{1,500}X", "none", "aX"),
        ("[ab]{1,300}X", "not_digit", "aX"),
        ("a[a ]{0,500}X", "not_word", "a aX"),
    ],
)
def test_a_rule_that_could_begin_at_too_many_places_is_refused(pattern, left, example):
    crowded = entry(pattern=pattern, left=left, right="none", matches=(example,), rejects=("zz",))
    (fault,) = rule_faults((crowded,))
    assert (fault.field, fault.what.partition(" before")[0]) == (
        ("pattern",),
        "may begin at more than 128 places of a text",
    )
