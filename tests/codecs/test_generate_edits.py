from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from extproc.codecs._generate_edits import sent_id, write_generate
from extproc.codecs._generate_request import read_generate
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Backend, SegmentEdit

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
USAGE = {"return_num_input_tokens": True, "return_num_output_tokens": True}


def write(body: bytes | dict, **edits) -> tuple[dict, frozenset[str]]:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = read_generate(encoded, model="m", stream=False, limits=LIMITS)
    edits.setdefault("ask_usage", False)
    written, hidden = write_generate(request, RequestEdits(**edits))
    return json.loads(written), hidden


def edit(start: int, end: int, replacement: str, segment_index: int = 0) -> SegmentEdit:
    return SegmentEdit(segment_index=segment_index, start=start, end=end, replacement=replacement)


@pytest.mark.parametrize(
    ("text", "expected"), [("", {"id": ""}), ("[X]", {"id": "[X]-1"}), ("ab", {"id": "ab-1"})]
)
def test_an_edited_id_is_what_is_forwarded_and_what_an_answer_may_repeat(text, expected):
    request = read_generate(b'{"id":"AKIA-1","text_input":"x"}', model="m", stream=False, limits=LIMITS)
    edits = RequestEdits(segments=(edit(0, 4, text),) if text else (edit(0, 6, ""),), ask_usage=False)
    body, _ = write_generate(request, edits)
    assert json.loads(body) == {**expected, "text_input": "x"}
    assert sent_id(request, edits) == expected["id"]


def test_a_long_number_that_a_guard_takes_out_is_no_number_any_more():
    body = {"text_input": "x", "seed": 4111111111111111}
    document = json.dumps({"logit_bias": {"7": 4111111111111111}})
    assert write(body, segments=(edit(0, 16, "[X]", 1),))[0] == {"text_input": "x", "seed": "[X]"}
    written, _ = write(
        {"text_input": "x", "sampling_parameters": document}, segments=(edit(0, 16, "[X]", 1),)
    )
    assert sampling_of(written) == {"logit_bias": {"7": "[X]"}}


def sampling_of(body: dict) -> dict:
    return json.loads(body["sampling_parameters"])


@given(
    st.dictionaries(st.sampled_from(["temperature", "top_p", "seed"]), st.integers(-1, 2**32 - 1)), TEXTS
)
def test_without_edits_the_bytes_are_the_clients(members, prompt):
    body = json.dumps({"text_input": prompt, **members}, indent=1).encode()
    request = read_generate(body, model="m", stream=False, limits=LIMITS)
    assert write_generate(request, RequestEdits(ask_usage=False)) == (body, frozenset())


@given(TEXTS, TEXTS, st.data())
def test_edits_count_code_points(prompt, replacement, drawn):
    start = drawn.draw(st.integers(0, len(prompt)))
    end = drawn.draw(st.integers(start, len(prompt)))
    body, _ = write({"text_input": prompt, "seed": 1}, segments=(edit(start, end, replacement),))
    assert body == {"text_input": prompt[:start] + replacement + prompt[end:], "seed": 1}


def test_several_edits_of_several_segments_keep_everything_else():
    original = b'{ "seed": 7e0, "text_input" : ["a\\u00e9\xf0\x9f\x98\x80b cd"], "stop":"x y" }'
    request = read_generate(original, model="m", stream=False, limits=LIMITS)
    segments = (edit(0, 1, "[S]", 1), edit(5, 7, '"'), edit(2, 3, "[E]"))
    written, _ = write_generate(request, RequestEdits(segments=segments, ask_usage=False))
    expected = '{ "seed": 7e0, "text_input" : ["aé[E]b \\""], "stop":"[S] y" }'
    assert written.decode() == expected


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([edit(0, 3, "A"), edit(0, 3, "B")], "Adefg"),
        ([edit(0, 4, "A"), edit(2, 6, "B")], "Ag"),
        ([edit(2, 6, "B"), edit(0, 4, "A")], "Ag"),
        ([edit(0, 6, "A"), edit(2, 4, "B")], "Ag"),
        ([edit(0, 2, "A"), edit(2, 4, "B")], "ABefg"),
        ([edit(0, 2, "A"), edit(0, 4, "B")], "Befg"),
        ([edit(5, 99, "A")], "abcdeA"),
    ],
)
def test_edits_that_overlap_leave_nothing_that_any_of_them_covers(segments, expected):
    body, _ = write({"text_input": "abcdefg"}, segments=tuple(segments))
    assert body["text_input"] == expected


def test_text_within_sampling_parameters_is_edited_in_place():
    document = '{"stop": ["a\\"b", "c"], "max_tokens" : 5}'
    body = {"text_input": "x", "sampling_parameters": document}
    written, _ = write(body, segments=(edit(1, 3, "é", 1),), cap_output_tokens=4)
    assert written["sampling_parameters"] == '{"stop": ["aé", "c"], "max_tokens" : 4}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"text_input": "x"}, {"text_input": "x", "parameters": {"max_tokens": 5}}),
        ({"text_input": "x", "parameters": {}}, {"text_input": "x", "parameters": {"max_tokens": 5}}),
        (
            {"text_input": "x", "parameters": {"seed": 1}},
            {"text_input": "x", "parameters": {"max_tokens": 5, "seed": 1}},
        ),
        ({"text_input": "x", "max_tokens": 9}, {"text_input": "x", "max_tokens": 5}),
        ({"text_input": "x", "max_tokens": 4}, {"text_input": "x", "max_tokens": 4}),
        (
            {"parameters": {"max_tokens": 9, "text_input": "x"}},
            {"parameters": {"max_tokens": 5, "text_input": "x"}},
        ),
        (b'{"text_input":"x","max\\u005ftokens":9}', {"text_input": "x", "max_tokens": 5}),
    ],
)
def test_the_cap_is_written_where_a_limit_stands_and_else_injected(body, expected):
    assert write(body, cap_output_tokens=5) == (expected, frozenset())


@pytest.mark.parametrize(
    ("sampling", "outer", "expected_sampling", "expected_outer"),
    [
        ({}, {}, {"max_tokens": 5}, {}),
        ({"seed": 1}, {}, {"max_tokens": 5, "seed": 1}, {}),
        ({"max_tokens": 9}, {}, {"max_tokens": 5}, {}),
        ({"max_tokens": 3}, {}, {"max_tokens": 3}, {}),
        ({"max_tokens": 9}, {"max_tokens": 9}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({}, {"max_tokens": 9}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({}, {"max_tokens": 3}, {"max_tokens": 3}, {"max_tokens": 3}),
    ],
)
def test_the_cap_is_written_in_both_places(sampling, outer, expected_sampling, expected_outer):
    body = {"text_input": "x", "sampling_parameters": json.dumps(sampling), "parameters": outer}
    written, _ = write(body, cap_output_tokens=5)
    assert (sampling_of(written), written["parameters"]) == (expected_sampling, expected_outer)


PLAIN = {"text_input": "x"}
TENSORRTLLM, LLMAPI, NONE = Backend.TENSORRTLLM, Backend.LLMAPI, Backend.NONE


@pytest.mark.parametrize(
    ("backend", "body", "expected"),
    [
        (TENSORRTLLM, {}, {"parameters": {"max_tokens": 5}}),
        (TENSORRTLLM, {"max_tokens": [9]}, {"max_tokens": [5]}),
        (
            TENSORRTLLM,
            {"request_output_len": 9},
            {"request_output_len": 5, "parameters": {"max_tokens": 5}},
        ),
        # It knows of no such string; whatever stands in it is lowered all the same.
        (
            TENSORRTLLM,
            {"sampling_parameters": "{}"},
            {"sampling_parameters": "{}", "parameters": {"max_tokens": 5}},
        ),
        (
            TENSORRTLLM,
            {"sampling_parameters": '{"max_tokens": 9}'},
            {"sampling_parameters": '{"max_tokens": 5}', "parameters": {"max_tokens": 5}},
        ),
        (LLMAPI, {}, {"parameters": {"sampling_param_max_tokens": 5}}),
        (LLMAPI, {"sampling_param_max_tokens": 9}, {"sampling_param_max_tokens": 5}),
        (LLMAPI, {"max_tokens": 9}, {"max_tokens": 5, "parameters": {"sampling_param_max_tokens": 5}}),
        (LLMAPI, {"max_tokens": 3}, {"max_tokens": 3, "parameters": {"sampling_param_max_tokens": 3}}),
        (NONE, {}, {}),
        (NONE, {"max_tokens": 9}, {"max_tokens": 5}),
        (NONE, {"sampling_parameters": "{}"}, {"sampling_parameters": "{}"}),
    ],
)
def test_the_cap_stands_where_the_backend_looks_for_it(backend, body, expected):
    written, hidden = write({**PLAIN, **body}, cap_output_tokens=5, backend=backend)
    assert (written, hidden) == ({**PLAIN, **expected}, frozenset())


@pytest.mark.parametrize(
    ("backend", "asked"), [(Backend.VLLM, True), (TENSORRTLLM, True), (LLMAPI, False), (NONE, False)]
)
def test_counts_are_asked_for_where_the_backend_has_them(backend, asked):
    written, hidden = write(PLAIN, ask_usage=True, backend=backend)
    assert written == ({**PLAIN, **USAGE} if asked else PLAIN)
    assert len(hidden) == (2 if asked else 0)


@pytest.mark.parametrize(
    ("body", "hidden"),
    [
        ({"text_input": "x"}, {"num_input_tokens", "num_output_tokens"}),
        ({"text_input": "x", "return_num_input_tokens": True}, {"num_output_tokens"}),
        (
            {"text_input": "x", "parameters": {"return_num_output_tokens": False}},
            {"num_input_tokens", "num_output_tokens"},
        ),
        ({"text_input": "x", **USAGE}, set()),
    ],
)
def test_counts_are_asked_for_and_remembered_as_hidden(body, hidden):
    written, found = write(body, ask_usage=True)
    assert {**written.get("parameters", {}), **written}.items() >= USAGE.items()
    assert found == hidden


@given(
    st.fixed_dictionaries(
        {"text_input": TEXTS},
        optional={
            "max_tokens": st.integers(1, 99),
            "parameters": st.dictionaries(
                st.sampled_from(["seed", "top_k", "stop"]), st.integers(0, 9) | TEXTS
            ),
            "sampling_parameters": st.dictionaries(
                st.sampled_from(["max_tokens", "n", "min_p"]), st.integers(1, 99)
            ).map(json.dumps),
            "stream": st.booleans(),
            "return_num_input_tokens": st.booleans(),
        },
    ),
    st.integers(1, 99),
    TEXTS,
)
def test_what_is_written_reads_back_capped_and_edited(body, cap, replacement):
    inner = json.loads(body.get("sampling_parameters", "{}"))
    assume(len({limits["max_tokens"] for limits in (body, inner) if "max_tokens" in limits}) < 2)
    request = read_generate(json.dumps(body).encode(), model="m", stream=True, limits=LIMITS)
    segments = tuple(edit(0, len(segment.text), replacement, segment.index) for segment in request.segments)
    written, _ = write_generate(request, RequestEdits(segments=segments, cap_output_tokens=cap))
    again = read_generate(written, model="m", stream=True, limits=LIMITS)
    limit = request.params.max_output_tokens
    assert again.params.max_output_tokens == (cap if limit is None else min(cap, limit))
    assert {segment.text for segment in again.segments} == {replacement}
    assert again.params.sampling.keys() == request.params.sampling.keys()
