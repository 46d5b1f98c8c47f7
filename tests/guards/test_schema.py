import math

import pytest
from exchanges import exchange, guard_env, read_only
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.segment import Operation, ParamPlace
from extproc.domain.verdict import Action, Reason
from extproc.guards import schema
from extproc.guards.schema import SAMPLING_ALLOWED, Range, Settings


def judge(view, **settings):
    settings.setdefault("models", ("m",))
    return schema.GUARD.build(Settings(**settings), guard_env()).judge(view, ())


def sampled(settings=None, **sampling):
    return judge(exchange("hi", sampling=sampling), **(settings or {}))


def test_an_allowed_model_passes_with_its_cap():
    verdict = judge(exchange("hi"), output_tokens_max=99)
    assert (verdict.action, verdict.cap_output_tokens) == (Action.ALLOW, 99)


def test_the_cap_is_given_also_where_the_caller_set_a_limit():
    assert judge(exchange("hi", max_output_tokens=5), output_tokens_max=99).cap_output_tokens == 99


@pytest.mark.parametrize("model", ["M", "m2", "", "*", "m ", "other"])
def test_a_model_that_is_not_named_is_unknown(model):
    verdict = judge(exchange("hi", model=model))
    assert (verdict.action, verdict.reason, verdict.status) == (Action.BLOCK, Reason.MODEL_NOT_ALLOWED, 404)
    assert verdict.message == schema.MODEL_MESSAGE


def test_no_model_is_allowed_by_default():
    guard = schema.GUARD.build(Settings(), guard_env())
    assert guard.judge(exchange("hi"), ()).reason is Reason.MODEL_NOT_ALLOWED


def test_a_star_allows_every_model_that_has_a_name():
    assert judge(exchange("hi", model="any"), models=("*",)).action is Action.ALLOW
    assert judge(exchange("hi", model=""), models=("*",)).action is Action.BLOCK


def test_reading_is_allowed_for_the_server_and_for_allowed_models():
    assert judge(read_only()).action is Action.ALLOW
    assert judge(read_only("m")).action is Action.ALLOW
    assert judge(read_only("other")).reason is Reason.MODEL_NOT_ALLOWED


@pytest.mark.parametrize(
    ("models", "listed"),
    [(("m", "n"), frozenset({"m", "n"})), ((), frozenset()), (("m", "*"), None)],
)
def test_a_list_names_only_what_may_be_asked(models, listed):
    assert judge(read_only(), models=models).allowed_models == listed


def test_reading_gets_no_cap():
    assert judge(read_only("m")).cap_output_tokens is None


def test_an_embedding_gets_no_cap_and_needs_an_allowed_model():
    embedding = exchange("hi", operation=Operation.EMBEDDINGS)
    assert judge(embedding, models=("m",)).cap_output_tokens is None
    assert judge(embedding, models=("other",)).reason is Reason.MODEL_NOT_ALLOWED


@pytest.mark.parametrize("count", [1, 4])
def test_as_many_answers_as_allowed_pass(count):
    assert judge(exchange("hi", choices_count=count)).action is Action.ALLOW


@pytest.mark.parametrize("count", [-1, 0, 5])
def test_more_answers_than_allowed_or_none_are_refused(count):
    verdict = judge(exchange("hi", choices_count=count))
    assert (verdict.reason, verdict.status) == (Reason.PARAMETER_NOT_ALLOWED, 400)
    assert verdict.message == "the number of answers asked for must be from 1 to 4"


def test_a_limit_of_tokens_below_one_is_refused():
    assert judge(exchange("hi", max_output_tokens=1)).action is Action.ALLOW
    verdict = judge(exchange("hi", max_output_tokens=0))
    assert verdict.reason is Reason.PARAMETER_NOT_ALLOWED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("temperature", 2),
        ("temperature", 0.7),
        ("top_k", -1),
        ("seed", 2**32 - 1),
        ("stop", "END"),
        ("ignore_eos", True),
        ("n", 2),
    ],
)
def test_ordinary_sampling_passes(name, value):
    assert sampled(**{name: value}).action is Action.ALLOW


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", 2.01, "the parameter temperature is out of bounds: at least 0 and at most 2"),
        ("temperature", -0.01, "the parameter temperature is out of bounds: at least 0 and at most 2"),
        ("temperature", math.nan, "the parameter temperature is out of bounds: at least 0 and at most 2"),
        ("temperature", "0.5", "the parameter temperature is out of bounds: at least 0 and at most 2"),
        ("temperature", True, "the parameter temperature is out of bounds: at least 0 and at most 2"),
        ("top_k", -2, "the parameter top_k is out of bounds: at least -1"),
        ("seed", 2**32, "the parameter seed is out of bounds: at least -1 and at most 4294967295"),
        (
            "seed",
            4111111111111111,
            "the parameter seed is out of bounds: at least -1 and at most 4294967295",
        ),
        ("seed", math.inf, "the parameter seed is out of bounds: at least -1 and at most 4294967295"),
        ("lora_name", "adapter", "the parameter lora_name is not allowed"),
        ("logprobs", 5, "the parameter logprobs is not allowed"),
        ("prompt_logprobs", 5, "the parameter prompt_logprobs is not allowed"),
        ("guided_json", "{}", "the parameter guided_json is not allowed"),
    ],
)
def test_sampling_out_of_bounds_is_refused_by_name(name, value, message):
    verdict = sampled(**{name: value})
    assert (verdict.action, verdict.reason, verdict.status) == (
        Action.BLOCK,
        Reason.PARAMETER_NOT_ALLOWED,
        400,
    )
    assert verdict.message == message


def test_the_policys_list_replaces_the_default_one():
    settings = {"sampling": {"house_rule": Range(min=1)}}
    assert sampled(settings, house_rule=1).action is Action.ALLOW
    assert (
        sampled(settings, house_rule=0).message == "the parameter house_rule is out of bounds: at least 1"
    )
    assert sampled(settings, temperature=1).message == "the parameter temperature is not allowed"


@given(st.text(min_size=1).filter(lambda name: name not in SAMPLING_ALLOWED))
def test_an_unknown_parameter_is_refused_and_a_callers_own_name_never_repeated(name):
    verdict = sampled(**{name: 1})
    assert verdict.reason is Reason.PARAMETER_NOT_ALLOWED
    named = name in schema._REFUSED_BY_NAME
    allowed = ", ".join(sorted(SAMPLING_ALLOWED))
    unnamed = f"a parameter in the body is not allowed; allowed are: {allowed}"
    assert verdict.message == (f"the parameter {name} is not allowed" if named else unnamed)


@pytest.mark.parametrize("place", ParamPlace)
def test_an_unknown_parameter_is_refused_with_its_place_and_what_the_policy_allows(place):
    asked = exchange("hi", sampling={"made_up": 1}, sampling_places={"made_up": place})
    verdict = judge(asked, sampling={"b": Range(), "a": Range()})
    assert verdict.message == f"a parameter in {place} is not allowed; allowed are: a, b"
    assert judge(asked, sampling={}).message == f"a parameter in {place} is not allowed; allowed are: none"


def test_a_long_list_of_allowed_parameters_is_cut():
    verdict = sampled({"sampling": {f"p{number:02}": Range() for number in range(40)}}, made_up=1)
    assert verdict.message.endswith("p30, p31, others")


def test_a_range_that_holds_nothing_is_refused():
    with pytest.raises(ValueError, match="min is greater than max"):
        Range(min=2, max=1)


@given(st.floats(), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_range_holds_what_lies_between_its_ends(value, one, other):
    low, high = min(one, other), max(one, other)
    assert Range(min=low, max=high).holds(value) == (math.isfinite(value) and low <= value <= high)


def test_only_names_of_models_may_stand_in_records():
    assert Settings(models=("*", "a", "b")).known_models == frozenset({"a", "b"})


def test_no_default_field_is_also_refused_by_name():
    assert not schema._REFUSED_BY_NAME & SAMPLING_ALLOWED.keys()
