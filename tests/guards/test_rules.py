from dataclasses import replace

import pytest
from exchanges import exchange, guard_env, read_only, segment
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.ports import ALLOWED
from extproc.domain.pseudonym import Pseudonym
from extproc.domain.scanning import RuleWatch
from extproc.domain.segment import SegmentEdit
from extproc.domain.verdict import Action, Lane, Reason
from extproc.guards import pii, secrets
from extproc.guards._rules import OnFinding

GUARDS = [(pii, Reason.PII_FOUND), (secrets, Reason.SECRET_FOUND)]
both = pytest.mark.parametrize(("module", "reason"), GUARDS, ids=["pii", "secrets"])


def build(module, **settings):
    return module.GUARD.build(module.Settings(**settings), guard_env())


@both
def test_findings_are_redacted_in_both_lanes_by_default(module, reason):
    guard = build(module)
    verdict = guard.judge(exchange("call 555 now", "none", "12 34"), ())
    assert (verdict.action, verdict.reason) == (Action.REDACT, Reason.REDACTED)
    assert verdict.edits == (
        SegmentEdit(segment_index=0, start=5, end=8, replacement="[DIGITS]"),
        SegmentEdit(segment_index=2, start=0, end=2, replacement="[DIGITS]"),
        SegmentEdit(segment_index=2, start=3, end=5, replacement="[DIGITS]"),
    )
    assert [(one.lane, one.finding.entity_type) for one in verdict.findings] == [
        (Lane.REQUEST, "DIGITS")
    ] * 3
    watch = guard.scanner(exchange("hi"))
    assert watch == RuleWatch(pack=module.PACK, entity_types=frozenset(), reason=Reason.REDACTED)


@both
def test_a_request_without_findings_passes_untouched(module, reason):
    assert build(module).judge(exchange("nothing here", ""), ()) == ALLOWED
    assert build(module, request=OnFinding.BLOCK).judge(exchange("nothing here"), ()) == ALLOWED
    assert build(module).judge(read_only("m"), ()) == ALLOWED


@both
def test_a_block_says_where_and_never_what(module, reason):
    verdict = build(module, request=OnFinding.BLOCK).judge(exchange("call 5550199"), ())
    assert (verdict.action, verdict.reason, verdict.status) == (Action.BLOCK, reason, 403)
    assert "text_input" in verdict.message
    assert "5550199" not in verdict.message
    assert verdict.edits == ()
    assert len(verdict.findings) == 1


@both
def test_a_lane_that_is_allowed_is_left_alone(module, reason):
    guard = build(module, request=OnFinding.ALLOW, answer=OnFinding.ALLOW)
    assert guard.judge(exchange("call 555"), ()) == ALLOWED
    assert guard.scanner(exchange("hi")) is None


@both
def test_the_lanes_are_independent(module, reason):
    guard = build(module, request=OnFinding.ALLOW, answer=OnFinding.BLOCK)
    assert guard.judge(exchange("call 555"), ()) == ALLOWED
    watch = guard.scanner(exchange("hi"))
    assert (watch.block, watch.reason) == (True, reason)


@both
def test_what_to_find_and_what_to_write_goes_to_the_rules(module, reason):
    seen = []

    def find(text, watch):
        seen.append((text, watch))
        return ()

    settings = module.Settings(entity_types=("A", "B"), operators={"A": "mask:4"})
    env = guard_env()
    guard = module.GUARD.build(
        settings, type(env)(keyring=env.keyring, key_hash=env.key_hash, find=find, tenant=env.tenant)
    )
    guard.judge(exchange("one", "two"), ())
    watch = RuleWatch(
        pack=module.PACK,
        entity_types=frozenset({"A", "B"}),
        operators={"A": "mask:4"},
        reason=Reason.REDACTED,
    )
    assert seen == [("one", watch), ("two", watch)]
    assert guard.scanner(exchange("hi")) == watch


def pseudonymised(*texts, exchange_id="e:0"):
    guard = build(pii, operators={"DIGITS": "pseudonym"})
    return guard.judge(replace(exchange(*texts), exchange_id=exchange_id), ())


def test_a_pseudonym_is_the_streams_and_the_values():
    verdict = pseudonymised("call 555 now", "12 555")
    first, second, third = (edit.replacement for edit in verdict.edits)
    assert (first == third, first == second) == (True, False)
    assert verdict.pseudonyms == (
        Pseudonym(token=first, value="555", entity_type="DIGITS"),
        Pseudonym(token=second, value="12", entity_type="DIGITS"),
    )
    assert pseudonymised("555", exchange_id="e:1").edits[0].replacement == first
    assert pseudonymised("555", exchange_id="f:0").edits[0].replacement != first


def test_what_has_no_token_and_other_operators_are_redacted():
    assert [edit.replacement for edit in pseudonymised("1" * 257).edits] == ["[DIGITS]"]
    assert pseudonymised("1" * 257).pseudonyms == ()
    other = build(pii, operators={"LETTERS": "pseudonym"}).judge(exchange("1"), ())
    assert [edit.replacement for edit in other.edits] == ["[DIGITS]"]


def test_a_request_that_is_blocked_has_no_pseudonyms():
    guard = build(pii, request=OnFinding.BLOCK, operators={"DIGITS": "pseudonym"})
    assert guard.judge(exchange("555"), ()).pseudonyms == ()


def test_a_message_names_three_places_at_most():
    segments = [segment("5", index, place=f"place_{index}") for index in range(5)]
    verdict = build(pii, request=OnFinding.BLOCK).judge(exchange(*segments), ())
    assert verdict.message == (
        "personal data was found in place_0, place_1, place_2 and elsewhere: remove it and send again"
    )


@given(st.lists(st.text(alphabet="ab12 ", max_size=12), max_size=4))
def test_edits_cover_exactly_what_was_found(texts):
    verdict = build(secrets).judge(exchange(*texts), ())
    assert [(edit.start, edit.end) for edit in verdict.edits] == [
        (one.finding.start, one.finding.end) for one in verdict.findings
    ]
    for edit in verdict.edits:
        assert texts[edit.segment_index][edit.start : edit.end].isdigit()
    found = any(char.isdigit() for text in texts for char in text)
    assert verdict.action is (Action.REDACT if found else Action.ALLOW)


def test_what_is_cut_over_parts_and_what_stands_at_their_seam_is_found():
    # 12|34 5 is cut; apart from its neighbour, 6 stands alone.
    verdict = build(pii).judge(exchange(segment("a 1234 56", seams=(4, 8))), ())
    spans = [(one.start, one.end) for one in verdict.edits]
    assert spans == [(2, 6), (7, 9), (2, 4), (4, 6), (7, 8), (8, 9)]


def test_what_is_found_both_ways_counts_once():
    verdict = build(pii).judge(exchange(segment("12 b 34", seams=(3, 4))), ())
    assert [(one.start, one.end) for one in verdict.edits] == [(0, 2), (5, 7)]
    assert len(verdict.findings) == 2
