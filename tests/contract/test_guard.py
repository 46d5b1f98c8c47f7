"""What every guard keeps; a new one is picked up by itself."""

import dataclasses
import re
import typing

import pytest
from exchanges import KEY, exchange, guard_env, head, read_only
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.effects import (
    Answer,
    Classify,
    Effect,
    Renew,
    Renewed,
    Reserve,
    Reserved,
    Scores,
    Settle,
    Settled,
    TextScore,
)
from extproc.domain.identity import TokenLimit, Window
from extproc.domain.judging import JudgeWatch
from extproc.domain.ports import ExchangeView, Verdict
from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Action, Stage
from extproc.guards import guard_specs

SPECS = guard_specs()
every_guard = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
# What READ_ONLY may be refused for: who calls, and about which model.
JUDGE_READ_ONLY = {"identity", "schema"}


def build(spec):
    return spec.build(spec.settings(), guard_env())


def answer_to(effect: Effect, score: float, *, granted: bool) -> Answer:
    match effect:
        case Classify():
            one = TextScore(score=score, windows=1, tokens=1, start=0, end=1)
            return Scores(head=effect.head, model="m", scores=(one,) * len(effect.texts))
        case Reserve():
            limit = TokenLimit(window=Window.MINUTE, tokens=10)
            return Reserved(granted=granted, limit=limit, remaining=0, retry_after_ms=1, reset_ms=1)
        case Settle():
            return Settled(charged=1, refunded=0)
        case Renew():
            return Renewed(held=granted)


exchanges = st.builds(
    lambda texts, model, tokens, choices: exchange(
        *texts, model=model, max_output_tokens=tokens, choices_count=choices
    ),
    texts=st.lists(st.text(max_size=30), max_size=4),
    model=st.sampled_from(["", "m", "x"]),
    tokens=st.none() | st.integers(1, 10_000),
    choices=st.integers(1, 9),
)
at_any_stage = st.one_of(
    exchanges,
    st.just(read_only()),
    st.just(read_only("m")),
    st.just(ExchangeView(exchange_id="e", head=head(x_api_key=KEY))),
)


@every_guard
def test_names_and_ids_are_what_records_expect(spec):
    assert re.fullmatch("[a-z][a-z0-9_]*", spec.name)
    assert re.fullmatch(r"LLM(0[1-9]|10)", spec.owasp)
    assert isinstance(spec.stage, Stage)


@every_guard
def test_settings_are_a_frozen_dataclass_whose_types_can_be_read(spec):
    assert dataclasses.is_dataclass(spec.settings)
    assert spec.settings.__dataclass_params__.frozen
    hints = typing.get_type_hints(spec.settings, include_extras=True)
    assert set(hints) >= {one.name for one in dataclasses.fields(spec.settings)}


@every_guard
def test_every_setting_has_a_default(spec):
    assert build(spec) is not None


@every_guard
@given(view=at_any_stage, score=st.floats(0, 1), granted=st.booleans())
def test_a_guard_is_pure_and_gives_verdicts(spec, view, score, granted):
    if view.request is None and spec.stage is not Stage.IDENTITY:
        return
    seen = []
    for guard in (build(spec), build(spec)):
        effects = guard.needs(view)
        assert effects == guard.needs(view)
        answers = tuple(answer_to(effect, score, granted=granted) for effect in effects)
        verdict = guard.judge(view, answers)
        assert isinstance(verdict, Verdict)
        seen.append((effects, verdict, guard.judge(view, answers), guard.scanner(view)))
    assert seen[0] == seen[1]
    assert seen[0][1] == seen[0][2]
    assert isinstance(seen[0][3], RuleWatch | JudgeWatch | None)


@every_guard
@given(view=exchanges, score=st.floats(0, 1), granted=st.booleans())
def test_a_refusal_has_a_status_and_words_and_changes_nothing(spec, view, score, granted):
    guard = build(spec)
    answers = tuple(answer_to(effect, score, granted=granted) for effect in guard.needs(view))
    verdict = guard.judge(view, answers)
    if verdict.action is Action.BLOCK:
        assert 400 <= verdict.status < 600
        assert 10 < len(verdict.message) < 200
        assert verdict.message.isascii()
        assert (verdict.edits, verdict.reservation, verdict.principal) == ((), None, None)


@every_guard
@pytest.mark.parametrize("model", ["", "m"])
def test_an_operation_that_only_reads_is_not_judged_by_its_text(spec, model):
    if spec.name in JUDGE_READ_ONLY:
        return
    guard = build(spec)
    assert guard.needs(read_only(model)) == ()
    assert guard.judge(read_only(model), ()).action is Action.ALLOW
