"""The stream as a trace of events and commands."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from doubles import (
    LIMIT,
    PRINCIPAL,
    SECRET,
    STREAM_ID,
    FakeGuard,
    LineCodec,
    Playbook,
    bound,
    budget,
    granted,
    policy,
    watching,
)
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs import triton_admin
from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.effects import Classify, Renewed, Scores, Settle, Settled, TextScore
from extproc.domain.errors import FailureKind
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import Verdict
from extproc.domain.segment import SegmentEdit
from extproc.domain.verdict import Action, Lane, Mode, OnError, Reason, Stage

BLOCK = Verdict(action=Action.BLOCK, reason=Reason.INJECTION_DETECTED, status=403, message="no")


def classify(*, mode: Mode = Mode.ENFORCE, on_error: OnError = OnError.BLOCK):
    guard = FakeGuard(effects=(Classify(head="injection", texts=("x",)),))
    return bound(guard, name="injection", mode=mode, on_error=on_error)


def scores() -> Scores:
    return Scores(
        head="injection", model="m", scores=(TextScore(score=0.1, windows=1, tokens=1, start=0, end=1),)
    )


def refusal(play: Playbook) -> cmd.Refuse:
    (only,) = play.of(cmd.Refuse)
    assert isinstance(only, cmd.Refuse)
    return only


def test_clean_exchange_passes_and_is_recorded_once():
    play = Playbook()
    play.head()
    play.body(b"hello\n", end=True)
    assert play.sent(Lane.REQUEST) == b"hello\n"
    play.answer_head()
    play.answer(b"0 hi\n0 .\n", end=True)
    assert play.sent(Lane.RESPONSE) == b"0 hi\n0 .\n"
    assert play.stream.done
    assert play.stream.idle
    (record,) = play.records()
    assert (record.action, record.reason, record.tenant) == (Action.ALLOW, Reason.CLEAN, "acme")
    assert record.upstream_status == 200


def test_nothing_goes_on_before_the_decision():
    play = Playbook(policy(classify()))
    play.head()
    play.body(b"hello\n", end=True)
    assert play.of(cmd.ReplyHeaders) == []
    assert play.sent(Lane.REQUEST) == b""
    play.effect(0, scores())
    assert play.sent(Lane.REQUEST) == b"hello\n"


def test_unknown_caller_is_refused_before_the_body_is_read():
    play = Playbook(policy(principal=None))
    commands = play.head()
    assert refusal(play).refusal.status == 401
    assert play.stream.done
    assert [one for one in commands if isinstance(one, cmd.Emit)]
    assert play.body(b"\xff\n", end=True) == []


def test_unknown_path_is_refused():
    play = Playbook()
    play.head("/admin")
    assert refusal(play).refusal.status == 403
    assert play.records()[0].reason is Reason.PATH_NOT_ALLOWED


@pytest.mark.parametrize("admin", [False, True])
def test_administration_is_for_named_keys_whatever_the_guards_say(admin):
    principal = replace(PRINCIPAL, admin=admin)
    play = Playbook(policy(principal=principal), codecs=[triton_admin.CODEC])
    play.head("/v2/repository/index")
    play.body(b"{}", end=True)
    (record, *_) = [*play.records(), None]
    if admin:
        assert (play.sent(Lane.REQUEST), record) == (b"{}", None)
    else:
        assert refusal(play).refusal.status == 403
        assert (record.reason, record.operation) == (Reason.PATH_NOT_ALLOWED, "admin")
        assert play.sent(Lane.REQUEST) == b""


def test_a_path_that_two_codecs_read_is_refused():
    play = Playbook()
    play.stream._request._codecs = [LineCodec(), LineCodec(name="twin")]
    play.head()
    assert refusal(play).refusal.status == 403


def test_tenant_without_a_pipeline_is_refused():
    snapshot = replace(policy(), pipelines={})
    play = Playbook(snapshot)
    play.head()
    play.body(b"a\n", end=True)
    assert refusal(play).refusal.status == 403
    assert play.sent(Lane.REQUEST) == b""


def test_a_closed_route_is_refused_as_one_before_its_body_is_read():
    play = Playbook(replace(policy(), pipelines={}))
    play.head()
    play.body(b"\xff not a body of this codec", end=True)
    assert refusal(play).refusal.status == 403
    (record,) = play.records()
    assert (record.reason, record.codec) == (Reason.PATH_NOT_ALLOWED, "line")


def test_every_refusal_carries_the_request_id():
    own = "00000000-1111-4222-8333-444444444444"
    play = Playbook()
    play.head("/admin", x_request_id=own)
    wire = refusal(play).refusal
    assert ("x-request-id", own) in wire.headers
    assert own in json.loads(wire.body)["error"]
    assert play.records()[0].request_id == own


def test_request_id_that_is_no_uuid_is_not_believed():
    play = Playbook()
    play.head("/admin", x_request_id="my secret text")
    assert play.records()[0].request_id == STREAM_ID


def test_reservations_never_use_the_callers_request_id():
    own = "00000000-1111-4222-8333-444444444444"
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET)))
    play.head(x_request_id=own)
    play.body(b"a\n", end=True)
    assert play.effects()[0].effect.reservation.reservation_id == f"{STREAM_ID}:0"


@pytest.mark.parametrize("declared", [str(LIMITS.body_bytes_max + 1), "9" * 5000])
def test_declared_length_over_the_bound_is_refused_before_the_body(declared):
    play = Playbook()
    play.head(content_length=declared)
    assert refusal(play).refusal.status == 413


def test_body_over_the_bound_is_refused():
    play = Playbook(limits=replace(LIMITS, body_bytes_max=10))
    play.head()
    play.body(b"123456")
    play.body(b"78901")
    assert refusal(play).refusal.status == 413
    assert play.records()[0].reason is Reason.BODY_TOO_LARGE


def test_body_that_does_not_arrive_is_refused():
    play = Playbook()
    play.head()
    play.send(ev.DeadlineReached(play.tick(), ev.DeadlineKind.REQUEST_BODY))
    assert refusal(play).refusal.status == 408


def test_empty_request_is_refused():
    play = Playbook()
    play.head()
    play.body(b"", end=True)
    assert refusal(play).refusal.status == 400


def test_request_edits_are_spliced():
    edit = SegmentEdit(segment_index=0, start=3, end=6, replacement="***")
    verdict = Verdict(action=Action.REDACT, reason=Reason.REDACTED, edits=(edit,))
    play = Playbook(policy(bound(FakeGuard(judge_with=lambda _e, _a: verdict), name="pii")))
    play.head()
    play.body(b"my key\n", end=True)
    assert play.sent(Lane.REQUEST) == b"my ***\n"
    play.answer_head()
    play.answer(b"0 .\n", end=True)
    assert (play.records()[0].action, play.records()[0].guard) == (Action.REDACT, "pii")


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.OFF])
def test_shadow_and_off_change_no_byte(mode):
    block = bound(FakeGuard(judge_with=lambda _e, _a: BLOCK), name="injection", mode=mode)
    play = Playbook(policy(block, watching(mode=mode)))
    play.head()
    play.body(b"hunter2\n", end=True)
    play.answer_head()
    play.answer(b"0 say hun\n0 ter2\n0 .\n", end=True)
    assert play.sent(Lane.REQUEST) == b"hunter2\n"
    assert play.sent(Lane.RESPONSE) == b"0 say hun\n0 ter2\n0 .\n"
    record = play.records()[0]
    assert record.action is Action.ALLOW
    recorded = [one.guard for one in record.verdicts]
    assert ("injection" in recorded) == (mode is Mode.SHADOW)
    assert len(record.entities) == (1 if mode is Mode.SHADOW else 0)


@pytest.mark.parametrize(("on_error", "passes"), [(OnError.BLOCK, False), (OnError.ALLOW, True)])
def test_failed_effect_follows_on_error(on_error, passes):
    play = Playbook(policy(classify(on_error=on_error)))
    play.head()
    play.body(b"a\n", end=True)
    play.send(ev.EffectFailed(play.tick(), play.effects()[0].effect_id, FailureKind.DEADLINE))
    assert (play.sent(Lane.REQUEST) == b"a\n") == passes
    if not passes:
        assert refusal(play).refusal.status == 503
        assert play.records()[0].reason is Reason.CLASSIFIER_UNAVAILABLE
        assert play.records()[0].degraded


@pytest.mark.parametrize("on_error", list(OnError))
def test_a_prompt_too_long_to_judge_is_refused_whatever_on_error_says(on_error):
    play = Playbook(policy(classify(on_error=on_error)))
    play.head()
    play.body(b"a\n", end=True)
    play.send(ev.EffectFailed(play.tick(), 1, FailureKind.TOO_LONG))
    assert refusal(play).refusal.status == 413
    assert play.records()[0].reason is Reason.PROMPT_TOO_LONG


def budgeted(*guards, alone: bool = True) -> Playbook:
    snapshot = policy(bound(budget(), name="budget", stage=Stage.BUDGET), *guards)
    return Playbook(snapshot, alone=alone)


def test_budget_is_reserved_before_and_settled_once_after():
    play = budgeted()
    play.head()
    play.body(b"a\n", end=True)
    assert play.sent(Lane.REQUEST) == b""
    play.effect(0, granted())
    assert play.sent(Lane.REQUEST) == b"a\n"
    play.answer_head()
    play.answer(b"0 x\n0 y\n0 .\n", end=True)
    assert play.records() == []
    settle = play.effects()[1].effect
    assert isinstance(settle, Settle)
    # The prompt's estimate (100 reserved less 50 of answer) and two tokens of answer.
    assert settle.tokens == 52
    play.effect(1, Settled(charged=52, refunded=48))
    (record,) = play.records()
    assert (record.tokens_reserved, record.tokens_settled, record.tokens_refunded) == (100, 52, 48)
    assert len(play.effects()) == 2


def test_over_budget_is_refused_and_owes_nothing():
    play = budgeted()
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted(yes=False))
    assert refusal(play).refusal.status == 429
    assert len(play.effects()) == 1
    assert play.records()[0].tokens_reserved is None


def test_block_after_the_reservation_gives_it_back_in_full():
    play = budgeted(bound(FakeGuard(judge_with=lambda _e, _a: BLOCK), name="injection"))
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    assert refusal(play).refusal.status == 403
    settle = play.effects()[1].effect
    assert isinstance(settle, Settle)
    assert settle.tokens == 0


def test_client_that_leaves_while_reserving_is_settled_when_the_answer_comes():
    play = budgeted()
    play.head()
    play.body(b"a\n", end=True)
    play.close()
    assert play.stream.done
    assert not play.stream.idle
    play.effect(0, granted())
    settle = play.effects()[1].effect
    assert isinstance(settle, Settle)
    assert settle.tokens == 0
    play.effect(1, Settled(charged=0, refunded=100))
    assert play.records()[0].reason is Reason.PEER_CLOSED
    assert play.stream.idle
    assert play.sent(Lane.REQUEST) == b""


def test_reservation_that_timed_out_is_given_back():
    play = budgeted()
    play.head()
    play.body(b"a\n", end=True)
    play.send(ev.EffectFailed(play.tick(), 1, FailureKind.DEADLINE))
    assert refusal(play).refusal.status == 503
    settle = play.effects()[1].effect
    assert isinstance(settle, Settle)
    assert settle.tokens == 0


def test_client_that_leaves_mid_answer_pays_for_what_was_seen():
    play = budgeted(watching())
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    play.answer_head()
    play.answer(b"0 x\n0 y hun\n")
    play.close()
    settle = play.effects()[1].effect
    assert isinstance(settle, Settle)
    assert settle.tokens == 52
    assert play.sent(Lane.RESPONSE) == b"0 x\n0 y \n"


def test_client_that_leaves_after_an_early_count_pays_for_what_followed_it():
    """As Anthropic's message_start has one: what comes between it and the last count goes by length."""
    play = budgeted(watching())
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    play.answer_head()
    play.answer(b"0 x\n0 ~" + b"y" * 29 + b"\n0 ~y\n")
    play.close()
    settle = play.effects()[1].effect
    assert isinstance(settle, Settle)
    # The prompt's estimate, one token counted, and 32 bytes.
    assert settle.tokens == 50 + 1 + 11


def test_a_last_count_is_all_there_is_to_pay():
    play = budgeted(watching())
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    play.answer_head()
    play.answer(b"0 ~" + b"y" * 29 + b"\n0 x\n0 .\n", end=True)
    settle = play.effects()[1].effect
    assert isinstance(settle, Settle)
    assert settle.tokens == 50 + 1


def test_an_upstream_that_ignores_its_cap_is_cut_by_its_own_count():
    play = budgeted()
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    play.answer_head()
    for _ in range(50 + 16):
        play.answer(b"0 x\n")
    assert not play.stream.done
    play.answer(b"0 over\n")
    assert play.stream.done
    assert b"over" not in play.sent(Lane.RESPONSE)
    assert play.sent(Lane.RESPONSE).endswith(b"0 ERROR output_too_long\n")


def test_a_budget_in_shadow_cuts_no_answer():
    shadowed = bound(budget(), name="budget", stage=Stage.BUDGET, mode=Mode.SHADOW)
    capped = Verdict(action=Action.ALLOW, reason=Reason.CLEAN, cap_output_tokens=1)
    schema = bound(FakeGuard(judge_with=lambda _e, _a: capped), name="schema", stage=Stage.SCHEMA)
    play = Playbook(policy(shadowed, schema))
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    play.answer_head()
    answer = b"0 x\n" * 100 + b"0 .\n"
    play.answer(answer, end=True)
    assert play.sent(Lane.RESPONSE) == answer


def test_an_upstream_that_ignores_its_cap_is_cut_by_length_before_it_is_scanned():
    play = budgeted(watching())
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    play.answer_head()
    play.answer(b"0 " + b"x" * (50 * 64 + 65_536 + 2) + b"\n")
    assert refusal(play).refusal.status == 502
    assert play.effects()[1].effect.tokens > 100
    play.effect(1, Settled(charged=1, refunded=0))
    assert play.records()[0].reason is Reason.OUTPUT_TOO_LONG


def test_a_guard_that_found_something_in_the_answer_says_so_in_its_verdict():
    play = Playbook(policy(watching()))
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 hunter2\n0 .\n", end=True)
    verdicts = {one.guard: (one.action, one.reason) for one in play.records()[0].verdicts}
    assert verdicts["secrets"] == (Action.REDACT, Reason.SECRET_FOUND)
    assert verdicts["always"] == (Action.ALLOW, Reason.CLEAN)


def test_a_stage_ends_at_its_first_block():
    late = FakeGuard()
    late.judge_with = lambda _e, _a: pytest.fail("judged what was refused already")
    first = bound(FakeGuard(judge_with=lambda _e, _a: BLOCK), name="a-first")
    play = Playbook(policy(first, bound(late, name="b-late")))
    play.head()
    play.body(b"a\n", end=True)
    assert refusal(play).refusal.status == 403
    assert play.of(cmd.ReportBug) == []


def test_leases_of_running_answers_are_renewed():
    play = budgeted()
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    play.send(ev.DeadlineReached(play.tick(), ev.DeadlineKind.LEASE))
    play.effect(1, Renewed(held=True))
    deadlines = [one for one in play.of(cmd.SetDeadline) if one.kind is ev.DeadlineKind.LEASE]
    assert len(deadlines) == 2


def test_answer_is_redacted_across_frames():
    play = Playbook(policy(watching()))
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 say hun\n")
    play.answer(b"0 ter2 now\n0 .\n", end=True)
    assert play.sent(Lane.RESPONSE) == b"0 say \n0 [SECRET] now\n0 .\n"
    record = play.records()[0]
    assert record.action is Action.REDACT
    assert [(one.lane, one.entity_type, one.count) for one in record.entities] == [
        (Lane.RESPONSE, "SECRET", 1)
    ]


def test_held_text_comes_in_a_tail_when_the_answer_just_ends():
    play = Playbook(policy(watching()))
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 say hun\n")
    play.answer(b"", end=True)
    assert play.sent(Lane.RESPONSE) == b"0 say \n0 hun\n"


def test_held_text_goes_out_with_the_last_delta_of_a_channel_that_ends():
    play = Playbook(policy(watching()))
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 say hun\n0 hun;\n0 ter2\n0 .\n", end=True)
    assert play.sent(Lane.RESPONSE) == b"0 say \n0 hunhun;\n0 ter2\n0 .\n"


def test_held_text_comes_in_a_tail_before_the_frame_that_ends_its_channel():
    play = Playbook(policy(watching()))
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 say hun\n0 ;\n0 ;\n0 ter2\n0 .\n", end=True)
    assert play.sent(Lane.RESPONSE) == b"0 say \n0 hun\n0 ;\n0 ;\n0 ter2\n0 .\n"


def test_a_model_list_is_restricted_by_every_guard_that_says_so():
    some = Verdict(action=Action.ALLOW, reason=Reason.CLEAN, allowed_models=frozenset({"a", "b"}))
    one = replace(some, allowed_models=frozenset({"b", "c"}))
    guards = [
        bound(FakeGuard(judge_with=lambda _e, _a, verdict=verdict: verdict), name=name)
        for name, verdict in (("first", some), ("second", one))
    ]
    play = Playbook(policy(*guards))
    play.head()
    play.body(b"a\n", end=True)
    assert play.sent(Lane.REQUEST) == b"a models=['b']\n"


def test_an_edit_that_the_codec_cannot_make_refuses_and_costs_nothing():
    edit = SegmentEdit(segment_index=0, start=0, end=1, replacement="\n")
    found = Verdict(action=Action.REDACT, reason=Reason.REDACTED, edits=(edit,))
    guard = bound(FakeGuard(judge_with=lambda _e, _a: found), name="pii", stage=Stage.INSPECT)
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET), guard))
    play.head()
    play.body(b"a\n", end=True)
    play.effect(0, granted())
    assert refusal(play).refusal.status == 400
    assert play.sent(Lane.REQUEST) == b""
    assert [one.effect.tokens for one in play.effects() if isinstance(one.effect, Settle)] == [0]


def test_a_refusal_before_a_session_is_in_the_paths_own_protocol():
    play = Playbook(policy(principal=None))
    play.head()
    assert ("x-codec", "line") in refusal(play).refusal.headers


def test_block_in_the_answer_is_a_real_refusal_while_its_head_is_held():
    play = Playbook(policy(watching(block=True)))
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 hunter2\n")
    assert refusal(play).refusal.status == 403
    assert play.sent(Lane.RESPONSE) == b""
    assert play.records()[0].reason is Reason.SECRET_FOUND


def test_block_in_a_running_answer_ends_it_in_its_protocol():
    play = Playbook(policy(watching(block=True)))
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 ok\n")
    last = play.answer(b"0 hunter2\n")
    assert play.sent(Lane.RESPONSE) == b"0 ok\n0 ERROR secret_found\n"
    assert [one.end_stream for one in last if isinstance(one, cmd.ReplyBody)] == [True]
    assert play.answer(b"0 more\n") == []


def test_unreadable_answer_is_withheld():
    play = Playbook()
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head(content_encoding="gzip")
    assert refusal(play).refusal.status == 502


def test_unreadable_frame_ends_a_running_answer():
    play = Playbook()
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 ok\n")
    play.answer(b"garbage\n")
    assert play.sent(Lane.RESPONSE) == b"0 ok\n0 ERROR upstream_unreadable\n"
    assert play.records()[0].reason is Reason.UPSTREAM_UNREADABLE


def test_answer_to_a_request_that_was_not_released_is_refused():
    play = Playbook(policy(classify()))
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head(408)
    assert refusal(play).refusal.status == 408


def test_bug_in_a_guard_refuses_and_names_no_text():
    def broken(_exchange, _answers):
        raise ValueError(SECRET)

    play = Playbook(policy(bound(FakeGuard(judge_with=broken))))
    play.head()
    play.body(b"a\n", end=True)
    assert refusal(play).refusal.status == 500
    (bug,) = play.of(cmd.ReportBug)
    assert bug.kind == "ValueError"
    assert SECRET not in repr(play.commands)
    assert play.records()[0].reason is Reason.INTERNAL


def test_bug_after_the_answer_began_aborts():
    class Broken:
        held_chars = 0
        count = 0

        def feed(self, text, *, eof=False):
            Broken.count += 1
            if Broken.count > 1:
                raise ValueError(text)
            return type("S", (), {"released": text, "findings": ()})()

        def drop(self):
            pass

    snapshot = replace(policy(watching()), scanner=lambda _watches: Broken())
    play = Playbook(snapshot)
    play.head()
    play.body(b"a\n", end=True)
    play.answer_head()
    play.answer(b"0 ok\n")
    play.answer(b"0 hunter2\n")
    assert play.sent(Lane.RESPONSE) == b"0 ok\n"
    assert len(play.of(cmd.Abort)) == 1
    assert play.of(cmd.Refuse) == []
    assert play.stream.done


def test_event_out_of_order_aborts():
    play = Playbook()
    play.body(b"a\n")
    assert len(play.of(cmd.Abort)) == 1


def test_second_end_of_stream_is_ignored():
    play = Playbook()
    play.head()
    play.body(b"a\n", end=True)
    assert play.body(b"", end=True) == []
    play.answer_head()
    play.answer(b"0 .\n", end=True)
    assert play.answer(b"", end=True) == []


def test_trailers_end_a_lane_and_are_answered_last():
    play = Playbook()
    play.head()
    play.body(b"a\n")
    commands = play.send(ev.RequestTrailers(play.tick()))
    assert isinstance(commands[-1], cmd.ReplyTrailers)
    assert not any(one.end_stream for one in play.of(cmd.ReplyBody))
    play.answer_head()
    play.answer(b"0 .\n")
    commands = play.send(ev.ResponseTrailers(play.tick()))
    assert commands[0] == cmd.ReplyTrailers(Lane.RESPONSE)
    assert play.stream.done


def test_text_in_trailers_goes_nowhere():
    play = Playbook()
    play.head()
    play.body(b"a\n")
    play.send(ev.RequestTrailers(play.tick(), ("x-note",)))
    play.answer_head()
    play.answer(b"0 .\n")
    play.send(ev.ResponseTrailers(play.tick(), {"x-more": ("1",)}))
    assert play.of(cmd.ReplyTrailers) == [
        cmd.ReplyTrailers(Lane.REQUEST, ("x-note",)),
        cmd.ReplyTrailers(Lane.RESPONSE, ("x-more",)),
    ]


def test_large_bodies_are_sent_on_in_pieces():
    play = Playbook()
    line = b"x" * 200_000 + b"\n"
    play.head()
    play.body(line, end=True)
    pieces = [one for one in play.of(cmd.ReplyBody) if one.lane is Lane.REQUEST]
    assert b"".join(one.chunk for one in pieces) == line
    assert max(len(one.chunk) for one in pieces) <= LIMITS.reply_piece_bytes_max
    assert [one.end_stream for one in pieces] == [False] * (len(pieces) - 1) + [True]


# --- many exchanges on one stream ---------------------------------------------------------------


def blocks(word: str):
    def judge(exchange, _answers):
        return (
            BLOCK
            if word in exchange.request.segments[0].text
            else Verdict(action=Action.ALLOW, reason=Reason.CLEAN)
        )

    return bound(FakeGuard(judge_with=judge), name="injection")


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_refused_request_leaves_its_neighbours_alone(bad):
    lines = [b"ok\n", b"ok\n", b"ok\n"]
    lines[bad] = b"bad\n"
    play = budgeted(blocks("bad"), alone=False)
    play.head()
    play.body(b"".join(lines))
    for index in range(3):
        play.effect(index, granted())
    expected = b"".join(b"!%d\n" % at if at == bad else line for at, line in enumerate(lines))
    assert play.sent(Lane.REQUEST) == expected
    play.answer_head()
    for at in (2, 0, 1):
        play.answer(b"%d unknown model\n" % at if at == bad else b"%d t\n%d .\n" % (at, at))
    play.answer(b"", end=True)
    assert b"%d REFUSED\n" % bad in play.sent(Lane.RESPONSE)
    for at in {0, 1, 2} - {bad}:
        assert b"%d t\n%d .\n" % (at, at) in play.sent(Lane.RESPONSE)
    for effect in play.effects()[3:]:
        play.send(ev.EffectDone(play.tick(), effect.effect_id, Settled(charged=1, refunded=99)))
    records = sorted(play.records(), key=lambda one: one.exchange)
    assert [one.exchange for one in records] == [0, 1, 2]
    assert [one.action for one in records] == [
        Action.BLOCK if at == bad else Action.ALLOW for at in range(3)
    ]
    assert play.stream.idle


def test_exchanges_go_on_in_the_order_in_which_they_came():
    play = budgeted(alone=False)
    play.head()
    play.body(b"a\nb\n")
    play.effect(1, granted())
    assert play.sent(Lane.REQUEST) == b""
    play.effect(0, granted())
    assert play.sent(Lane.REQUEST) == b"a\nb\n"


def test_too_many_open_exchanges_are_refused():
    play = Playbook(policy(classify()), limits=replace(LIMITS, exchanges_open_max=2))
    play.head()
    play.body(b"a\nb\nc\n")
    assert refusal(play).refusal.status == 429
    assert len(play.records()) == 2


# --- properties ---------------------------------------------------------------------------------


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(
    st.lists(st.integers(0, 500), max_size=30),
    st.lists(st.integers(0, 500), max_size=30),
    st.lists(st.sampled_from(["hunter2", "hun", "ter2", " and ", "hunhunter2"]), max_size=8),
)
def test_any_chunking_gives_the_same_bytes(request_cuts, answer_cuts, words):
    answer = b"".join(f"0 {word}\n".encode() for word in words) + b"0 .\n"

    def run(request_chunks, answer_chunks):
        play = Playbook(policy(watching()))
        play.head()
        for chunk in request_chunks:
            play.body(chunk)
        play.body(b"", end=True)
        play.answer_head()
        for chunk in answer_chunks:
            play.answer(chunk)
        play.answer(b"", end=True)
        assert play.stream.idle
        return play.sent(Lane.REQUEST), play.sent(Lane.RESPONSE)

    whole = run([b"hello there\n"], [answer])
    assert run(cut(b"hello there\n", request_cuts), cut(answer, answer_cuts)) == whole
    texts = "".join(line[2:] for line in whole[1].decode().split("\n") if line not in {"", "0 ."})
    assert texts == "".join(words).replace(SECRET, "[SECRET]")


EVENTS = st.one_of(
    st.builds(
        ev.RequestHeaders,
        st.just(1),
        st.builds(RequestHead, method=st.just("POST"), path=st.sampled_from(["/line", "/x"])),
        st.booleans(),
    ),
    st.builds(
        ev.RequestBody,
        st.just(1),
        st.sampled_from([b"", b"a\n", b"bad\n", b"a\nb\n", b"\xff\n", b"half"]),
        st.booleans(),
    ),
    st.builds(ev.RequestTrailers, st.just(1)),
    st.builds(
        ev.ResponseHeaders,
        st.just(1),
        st.builds(ResponseHead, status=st.sampled_from([200, 404, 503])),
        st.booleans(),
    ),
    st.builds(
        ev.ResponseBody,
        st.just(1),
        st.sampled_from([b"", b"0 hunter2\n", b"0 hun", b"ter2\n", b"1 x\n", b"0 .\n", b"zz\n"]),
        st.booleans(),
    ),
    st.builds(ev.ResponseTrailers, st.just(1)),
    st.builds(
        ev.EffectDone,
        st.just(1),
        st.integers(0, 6),
        st.sampled_from([granted(), granted(yes=False), Settled(charged=1, refunded=1), scores()]),
    ),
    st.builds(ev.EffectFailed, st.just(1), st.integers(0, 6), st.sampled_from(FailureKind)),
    st.builds(ev.DeadlineReached, st.just(1), st.sampled_from(ev.DeadlineKind)),
    st.builds(ev.PeerClosed, st.just(1)),
    st.builds(ev.Overloaded, st.just(1)),
    st.builds(ev.Crashed, st.just(1)),
)


@given(st.lists(EVENTS, max_size=25), st.booleans())
def test_arbitrary_events_never_raise_and_never_end_in_a_pass(events, alone):
    play = Playbook(
        policy(
            bound(budget(), name="budget", stage=Stage.BUDGET),
            classify(),
            blocks("bad"),
            watching(),
        ),
        alone=alone,
    )
    for event in events:
        play.send(event)
    play.close()
    for effect in play.effects():
        play.send(ev.EffectFailed(1, effect.effect_id, FailureKind.UNAVAILABLE))
    for effect in play.effects():
        play.send(ev.EffectFailed(1, effect.effect_id, FailureKind.UNAVAILABLE))
    assert play.stream.idle
    check_invariants(play, events)


def check_invariants(play: Playbook, events: list[ev.Event]) -> None:
    assert SECRET.encode() not in play.sent(Lane.RESPONSE)
    assert b"bad" not in play.sent(Lane.REQUEST)
    # A request goes on only after both its effects were answered well.
    answered = {type(one.answer).__name__ for one in events if isinstance(one, ev.EffectDone)}
    if play.sent(Lane.REQUEST).strip(b"!0123456789\n"):
        assert {"Reserved", "Scores"} <= answered
    terminals = len(play.of(cmd.Refuse)) + len(play.of(cmd.Abort))
    assert terminals <= 1
    keys = [record.exchange for record in play.records()]
    assert len(keys) == len(set(keys))
    settled = [
        one.effect.reservation.reservation_id for one in play.effects() if isinstance(one.effect, Settle)
    ]
    assert len(settled) == len(set(settled))
    for lane in Lane:
        ends = [one.end_stream for one in play.of(cmd.ReplyBody) if one.lane is lane]
        assert True not in ends[:-1]
        heads = [one for one in play.of(cmd.ReplyHeaders) if one.lane is lane]
        assert len(heads) <= 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_what_is_reserved_is_settled_or_refunded(order):
    """Every reservation meets exactly one settlement, whatever way its exchange ends."""
    play = budgeted(blocks("bad"), watching(), alone=False)
    play.head()
    play.body(b"".join(b"bad\n" if kind == 0 else b"ok\n" for kind in order))
    for index, _ in enumerate(order):
        play.effect(index, granted())
    play.answer_head()
    for key, kind in enumerate(order):
        if kind in {1, 2}:
            play.answer(b"%d x\n%d .\n" % (key, key))
    play.close()
    settles = [one.effect for one in play.effects() if isinstance(one.effect, Settle)]
    assert sorted(one.reservation.reservation_id for one in settles) == sorted(
        f"{STREAM_ID}:{key}" for key in range(len(order))
    )
    assert all(0 <= one.tokens <= 100 for one in settles)
    assert LIMIT.tokens == 1000
