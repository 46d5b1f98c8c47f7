"""What Envoy's access log hears of a stream: with which reply, and what."""

from __future__ import annotations

from dataclasses import replace

from doubles import (
    FakeGuard,
    Playbook,
    bound,
    budget,
    granted,
    policy,
    watching,
)

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.effects import Classify
from extproc.domain.errors import FailureKind
from extproc.domain.ports import Verdict
from extproc.domain.prices import Price
from extproc.domain.verdict import Action, Lane, OnError, Reason, Stage

CLEAN = cmd.Annotate(
    action=Action.ALLOW,
    reason=Reason.CLEAN,
    guard="",
    tenant="acme",
    key_id="acme-1",
    model="m",
    policy_digest="0" * 64,
    degraded=False,
    input_tokens=0,
    output_tokens=0,
)
BLOCK = Verdict(action=Action.BLOCK, reason=Reason.INJECTION_DETECTED, status=403, message="no")


def answered(play: Playbook, *frames: bytes) -> None:
    play.head()
    play.body(b"hello\n", end=True)
    play.answer_head()
    for frame in frames:
        play.answer(frame)
    play.answer(b"", end=True)


def test_the_request_s_head_carries_the_decision():
    play = Playbook()
    play.head()
    commands = play.body(b"hello\n", end=True)
    at = commands.index(CLEAN)
    assert isinstance(commands[at + 1], cmd.ReplyHeaders)
    assert commands[at + 1].lane is Lane.REQUEST


def test_route_cost_and_what_went_on_unscanned_are_in_it():
    priced = replace(policy(), prices={"m": Price(input=1, output=1_000_000)}, route="generate")
    play = Playbook(priced)
    answered(play, b"0 it is\n", b"0 .\n")
    at_first, at_last = play.of(cmd.Annotate)
    # Without a reservation the first word knows no tokens.
    assert (at_first.route, at_first.cost_usd, at_first.unscanned) == ("generate", None, ())
    assert (at_last.route, at_last.cost_usd) == ("generate", 1.0)
    (record,) = play.records()
    assert (record.route, record.cost_usd, record.unscanned) == ("generate", 1.0, ())


def test_the_end_of_the_answer_carries_the_last_word_and_the_counts():
    play = Playbook(policy(watching()))
    answered(play, b"0 it is hunter2\n", b"0 .\n")
    assert play.of(cmd.Annotate) == [
        CLEAN,
        replace(CLEAN, action=Action.REDACT, reason=Reason.SECRET_FOUND, guard="secrets", output_tokens=1),
    ]
    kinds = [type(one) for one in play.commands]
    last_reply = max(at for at, kind in enumerate(kinds) if kind is cmd.ReplyBody)
    assert kinds[last_reply - 1] is cmd.Annotate


def test_nothing_is_said_twice():
    play = Playbook()
    answered(play)
    assert play.of(cmd.Annotate) == [CLEAN]


def test_no_piece_of_a_running_answer_carries_one():
    play = Playbook()
    play.head()
    play.body(b"hello\n", end=True)
    play.answer_head()
    assert [type(one) for one in play.answer(b"0 more\n")] == [cmd.ReplyHeaders, cmd.ReplyBody]
    assert [type(one) for one in play.answer(b"0 more\n")] == [cmd.ReplyBody]


def test_a_refusal_carries_its_reason():
    guard = bound(FakeGuard(judge_with=lambda _e, _a: BLOCK), name="injection")
    play = Playbook(policy(guard))
    play.head()
    play.body(b"hello\n", end=True)
    assert play.of(cmd.Annotate) == [
        replace(CLEAN, action=Action.BLOCK, reason=Reason.INJECTION_DETECTED, guard="injection")
    ]
    kinds = [type(one) for one in play.commands]
    assert kinds.index(cmd.Refuse) == kinds.index(cmd.Annotate) + 1


def test_a_caller_whom_nobody_knows_has_no_names():
    play = Playbook(policy(principal=None))
    play.head()
    (annotation,) = play.of(cmd.Annotate)
    assert annotation == replace(
        CLEAN,
        action=Action.BLOCK,
        reason=Reason.API_KEY_MISSING,
        guard="identity",
        tenant="",
        key_id="",
        model="",
    )


def test_a_model_that_the_policy_does_not_know_is_not_named():
    play = Playbook(replace(policy(), known_models=frozenset()))
    play.head()
    play.body(b"hello\n", end=True)
    assert play.of(cmd.Annotate) == [replace(CLEAN, model="")]


def test_a_degraded_decision_says_so():
    guard = FakeGuard(effects=(Classify(head="injection", texts=("x",)),))
    play = Playbook(policy(bound(guard, name="injection", on_error=OnError.ALLOW)))
    play.head()
    play.body(b"hello\n", end=True)
    play.send(ev.EffectFailed(play.tick(), play.effects()[0].effect_id, FailureKind.DEADLINE))
    assert play.of(cmd.Annotate) == [replace(CLEAN, degraded=True)]


def test_a_prompt_that_is_too_long_for_the_classifier_degrades_nothing():
    guard = FakeGuard(effects=(Classify(head="injection", texts=("x",)),))
    play = Playbook(policy(bound(guard, name="injection", on_error=OnError.ALLOW)))
    play.head()
    play.body(b"hello\n", end=True)
    play.send(ev.EffectFailed(play.tick(), play.effects()[0].effect_id, FailureKind.TOO_LONG))
    (annotation,) = play.of(cmd.Annotate)
    assert (annotation.action, annotation.degraded) == (Action.BLOCK, False)


def test_an_upstream_that_fails_is_named_as_the_reason():
    play = Playbook()
    play.head()
    play.body(b"hello\n", end=True)
    play.answer_head(status=500)
    play.answer(b"", end=True)
    assert play.of(cmd.Annotate)[-1] == replace(CLEAN, reason=Reason.UPSTREAM_ERROR)


def test_of_several_exchanges_the_gravest_is_told():
    refusing = FakeGuard(
        judge_with=lambda exchange, _: BLOCK if exchange.request.key == 1 else Verdict(
            action=Action.ALLOW, reason=Reason.CLEAN
        )
    )  # fmt: skip
    play = Playbook(policy(bound(refusing, name="injection")), alone=False)
    play.head()
    play.body(b"one\ntwo\nthree\n", end=True)
    play.answer_head()
    play.answer(b"0 a\n0 .\n1 .\n2 b\n2 .\n", end=True)
    assert play.of(cmd.Annotate)[-1] == replace(
        CLEAN, action=Action.BLOCK, reason=Reason.INJECTION_DETECTED, guard="injection", output_tokens=2
    )


def test_a_bug_takes_back_what_was_said_and_says_what_it_is():
    def breaks(_exchange, _answers) -> Verdict:
        raise ZeroDivisionError

    play = Playbook(policy(bound(FakeGuard(judge_with=breaks), name="broken")))
    play.head()
    play.body(b"hello\n", end=True)
    assert play.of(cmd.Annotate) == [replace(CLEAN, action=Action.BLOCK, reason=Reason.INTERNAL)]


def test_an_effect_names_its_exchange():
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET)), alone=False)
    play.head()
    play.body(b"one\ntwo\n", end=True)
    play.effect(0, granted())
    play.effect(1, granted())
    play.close()
    assert [one.exchange for one in play.effects()] == [0, 1, 0, 1]


def test_cost_is_that_of_all_exchanges_also_of_those_that_are_over():
    priced = replace(policy(), prices={"m": Price(input=1, output=1_000_000)})
    play = Playbook(priced, alone=False)
    play.head()
    play.body(b"one\ntwo\n")
    play.answer_head()
    play.answer(b"0 it is\n0 .\n1 so\n1 is it\n")
    play.body(b"", end=True)
    play.answer(b"1 .\n")
    play.answer(b"", end=True)
    assert [record.cost_usd for record in play.records()] == [1.0, 2.0]
    assert play.of(cmd.Annotate)[-1].cost_usd == 3.0
