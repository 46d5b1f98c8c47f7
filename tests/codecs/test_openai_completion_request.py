from __future__ import annotations

import json

import pytest

from extproc.codecs._openai_completion_request import read_completion
from extproc.codecs._openai_edits import write_request
from extproc.codecs._openai_fields import REFUSED
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Origin, Role, Unscanned
from extproc.domain.verdict import Reason


def read(**members):
    body = {"model": "m", "prompt": "hi", **members}
    return read_completion(json.dumps(body).encode(), limits=LIMITS)


def segments(request):
    return [(one.place, one.text) for one in request.segments]


def fault(**members) -> PeerError:
    with pytest.raises(PeerError) as caught:
        read(**members)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("prompt", "texts", "count", "unscanned"),
    [
        ("one", ["one"], 1, set()),
        (["one"], ["one"], 1, set()),
        (["one", "two", ""], ["one", "two"], 3, set()),
        ([1, 2], [], 1, {Unscanned.TOKEN_IDS}),
        ([[1, 2], [3]], [], 2, {Unscanned.TOKEN_IDS}),
    ],
)
def test_a_prompt_has_four_shapes(prompt, texts, count, unscanned):
    request = read(prompt=prompt)
    assert segments(request) == [("prompt", text) for text in texts]
    assert {(one.role, one.origin) for one in request.segments} <= {(Role.USER, Origin.DIRECT)}
    assert (request.params.choices_count, request.unscanned) == (count, unscanned)


@pytest.mark.parametrize(
    "prompt",
    [
        *(None, 1, True, {}, {"text": "x"}, [], [None], [True], [{}], [[]], [["x"]], [[1], []]),
        *([1, "x"], ["x", 1], ["x", ["y"]], [[1], 2], [[1], "x"], [1.5], [-1], [2**31], [[1, "x"]]),
    ],
)
def test_a_prompt_of_another_shape_is_refused(prompt):
    error = fault(prompt=prompt)
    assert error.reason is Reason.BODY_INVALID
    assert error.message.startswith("prompt must be a string, token ids, or an array of one kind of these")


@pytest.mark.parametrize("item", ["x", [1]])
def test_prompts_are_bounded_and_token_ids_are_not(item):
    assert read(prompt=[item] * LIMITS.prompts_max).params.choices_count == LIMITS.prompts_max
    assert fault(prompt=[item] * (LIMITS.prompts_max + 1)).reason is Reason.BODY_TOO_COMPLEX
    assert read(prompt=[1] * (LIMITS.prompts_max + 1)).params.choices_count == 1


@pytest.mark.parametrize("name", ["model", "prompt"])
def test_what_is_required_is_named(name):
    body = {"model": "m", "prompt": "hi"}
    del body[name]
    with pytest.raises(PeerError, match=f"{name} is missing"):
        read_completion(json.dumps(body).encode(), limits=LIMITS)


@pytest.mark.parametrize(
    ("members", "place", "text"),
    [
        ({"suffix": "the end"}, "suffix", "the end"),
        ({"stop": ["a b", "c"]}, "stop", "a b"),
        ({"user": "me"}, "user", "me"),
        ({"metadata": {"k": "v w"}}, "metadata", "v w"),
        ({"logit_bias": {"50256": 1}}, "parameters.*", "50256"),
        ({"guided_regex": "[a-z]+"}, "parameters.*", "[a-z]+"),
        ({"made_up": {"deep": ["text of it"]}}, "parameters.*", "text of it"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"description": "d e"}}}},
            "response_format",
            "d e",
        ),
    ],
)
def test_every_other_text_is_a_segment(members, place, text):
    assert (place, text) in segments(read(**members))


@pytest.mark.parametrize(
    ("members", "limit"),
    [({}, 16), ({"max_tokens": None}, None), ({"max_tokens": 5}, 5), ({"max_tokens": 900}, 900)],
)
def test_without_a_limit_the_servers_own_holds(members, limit):
    assert read(**members).params.max_output_tokens == limit


@pytest.mark.parametrize(
    ("members", "cap", "expected"),
    [
        ({}, 16, {"max_tokens": 16}),
        ({}, 9, {"max_tokens": 9}),
        ({"max_tokens": None}, 9, {"max_tokens": 9}),
        ({"max_tokens": 5}, 5, {"max_tokens": 5}),
        ({"max_tokens": 15}, 9, {"max_tokens": 9}),
    ],
)
def test_the_cap_is_written(members, cap, expected):
    edits = RequestEdits(ask_usage=False, cap_output_tokens=cap)
    written, hidden = write_request(read(**members), edits, limits=LIMITS)
    assert json.loads(written) == {"model": "m", "prompt": "hi", **members, **expected}
    assert hidden is False


def test_counts_are_asked_for_and_hidden_again():
    written, hidden = write_request(read(stream=True), RequestEdits(), limits=LIMITS)
    assert (json.loads(written)["stream_options"], hidden) == ({"include_usage": True}, True)


@pytest.mark.parametrize(
    ("members", "count"),
    [({"n": 2}, 2), ({"best_of": 3}, 3), ({"n": 2, "best_of": 3}, 6), ({"n": 2, "prompt": ["a", "b"]}, 4)],
)
def test_every_choice_of_every_prompt_multiplies_the_cost(members, count):
    assert read(**members).params.choices_count == count


@pytest.mark.parametrize(
    ("members", "sampling"),
    [
        ({"logprobs": 0}, {"logprobs": 0}),
        ({"logprobs": 2}, {"logprobs": 2}),
        ({"logprobs": "x"}, {"logprobs": "x"}),
        ({"logprobs": None}, {}),
        ({"logprobs": False}, {}),
        ({"echo": True}, {"echo": True}),
        ({"echo": False}, {}),
        ({"temperature": 0.5, "top_p": None}, {"temperature": 0.5}),
    ],
)
def test_parameters_are_named_for_the_schema_guard(members, sampling):
    assert dict(read(**members).params.sampling) == sampling


@pytest.mark.parametrize(
    "name", ["messages", "tools", "functions", "input", "max_completion_tokens", *sorted(REFUSED)]
)
def test_what_is_of_another_wire_or_cannot_be_judged_is_refused_by_name(name):
    error = fault(**{name: 1})
    assert error.reason is Reason.PARAMETER_NOT_ALLOWED
    assert error.message.startswith(f"{name} is not allowed")
    assert name not in read(**{name: None}).params.sampling


@pytest.mark.parametrize("members", [{"n": 2}, {"best_of": 2}, {"n": 2, "prompt": ["a", "b"]}])
def test_a_prompt_is_echoed_once(members):
    assert read(echo=True, prompt=["a", "b"], n=1).params.choices_count == 2
    error = fault(echo=True, **members)
    assert error.reason is Reason.PARAMETER_NOT_ALLOWED
    assert error.message.startswith("echo is allowed with one choice only; at byte ")


@pytest.mark.parametrize(
    "members",
    [
        {"model": ""},
        {"suffix": 1},
        {"suffix": ["x"]},
        {"stream": "true"},
        {"stream_options": []},
        {"max_tokens": 0},
        {"max_tokens": "5"},
        {"n": 0},
        {"best_of": 1.5},
        {"user": 1},
        {"metadata": "x"},
        {"response_format": {"type": "grammar"}},
        {"bad name": 1},
    ],
)
def test_what_is_not_of_the_schema_is_refused(members):
    assert fault(**members).reason is Reason.BODY_INVALID


@pytest.mark.parametrize(
    ("members", "expected"),
    [({}, False), ({"response_format": {"type": "json_object"}}, True), ({"guided_json": {}}, True)],
)
def test_an_answer_in_json_is_known_beforehand(members, expected):
    assert read(**members).json_answer is expected


def test_a_name_that_says_nothing_is_text_unless_it_is_known():
    request = read(top_k=None, messages=None, chat_template=None, a_secret_name=None)
    assert segments(request) == [("prompt", "hi"), ("parameters.*", "a_secret_name")]
