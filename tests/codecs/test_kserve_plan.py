"""What goes on to Triton: redactions, the cap in every place, the wish for counts."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve_bodies import Made, binary, body_of

from extproc.codecs._kserve_plan import Plan, edited, plan_edits
from extproc.codecs._kserve_request import InferRequest, read_infer, write_infer
from extproc.codecs._kserve_tensors import numbers_of, split_body
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Backend, SegmentEdit

PROMPT = Made("text_input", ["hello"])
both = pytest.mark.parametrize("kind", [Made, binary], ids=["json", "binary"])


def request_of(*made: Made, **members: object) -> InferRequest:
    return read_infer(split_body(*body_of(*made, **members)), model="m", limits=LIMITS)


def written(request: InferRequest, edits: RequestEdits) -> tuple[InferRequest, Plan]:
    """The request that goes on, as Triton reads it."""
    plan = plan_edits(request.inputs, edits, outputs=request.outputs)
    body = write_infer(request, plan)
    return read_infer(
        split_body(body.whole, len(body.document) if body.split else None), model="m", limits=LIMITS
    ), plan


def values(request: InferRequest) -> Mapping[str, list[object]]:
    return {
        one.name.value: [piece.text for piece in one.pieces]
        if one.datatype == "BYTES"
        else list(numbers_of(request.body, one))
        for one in request.tensors
    }


def document(request: InferRequest) -> dict[str, object]:
    return json.loads(request.body.document)


def edits(**settings: object) -> RequestEdits:
    return RequestEdits(**{"ask_usage": False, **settings})


def redact(index: int, start: int, end: int, replacement: str = "[X]") -> SegmentEdit:
    return SegmentEdit(segment_index=index, start=start, end=end, replacement=replacement)


# --- redaction -------------------------------------------------------------------------------


@both
def test_nothing_to_change_leaves_every_byte(kind):
    request = request_of(kind("text_input", ["hello", "€"]), id="x", parameters={"max_tokens": 3})
    plan = plan_edits(request.inputs, edits(cap_output_tokens=3), outputs=None)
    assert write_infer(request, plan) is request.body


@both
def test_each_segment_is_redacted_where_it_stands(kind):
    request = request_of(
        kind("text_input", ["one €uro", "two"]),
        kind("sampling_parameters", ['{"stop": ["abc", "def"]}']),
        kind("other", ["", "six"]),
        id="jane.roe",
        parameters={"note": "some", "top_k": 41111111111},
    )
    expected = ["id", "text_input", "text_input", "inputs.*", "inputs.*"]
    expected += ["parameters.*", "parameters.*", "sampling_parameters.*", "sampling_parameters.*"]
    assert [one.place for one in request.inputs.segments] == expected
    changes = [redact(at, 0, 3, "XX") for at in range(9)]
    after, plan = written(request, edits(segments=tuple(changes)))
    assert values(after) == {
        "text_input": ["XX €uro", "XX"],
        "sampling_parameters": ['{"stop": ["XX", "XX"]}'],
        "other": ["XX", "XX"],
    }
    assert document(after)["parameters"] == {"note": "XXe", "top_k": "XX11111111"}
    assert (after.client_id, plan.request_id) == ("XXe.roe", "XXe.roe")


@both
def test_a_number_of_a_tensor_that_may_not_be_sent_is_refused(kind):
    request = request_of(PROMPT, kind("seed", [4_111_111_111_111_111], "UINT64"))
    with pytest.raises(PeerError) as caught:
        plan_edits(request.inputs, edits(segments=(redact(1, 0, 16),)), outputs=None)
    assert caught.value.status == 400


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=5))
def test_of_what_an_edit_covers_nothing_stays(text, spans):
    text = "".join(chr(0xE000 + at) for at, _ in enumerate(text))
    changes = [redact(0, *sorted((start % (len(text) + 1), end % (len(text) + 1)))) for start, end in spans]
    covered = {at for one in changes for at in range(one.start, one.end)}
    after = edited(text, changes)
    assert [one for one in after if one not in "[X]"] == [
        one for at, one in enumerate(text) if at not in covered
    ]


# --- the cap ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"max_tokens": 90, "n": 1}', '{"max_tokens": 7, "n": 1}'),
        ('{"max_tokens": 7}', '{"max_tokens": 7}'),
        ('{"max_tokens": 3}', '{"max_tokens": 3}'),
        ('{"n": 1}', '{"max_tokens":7,"n": 1}'),
        ("{}", '{"max_tokens":7}'),
    ],
)
def test_vllms_cap_stands_in_the_document_where_there_is_one(text, expected, kind):
    request = request_of(PROMPT, kind("sampling_parameters", [text]), parameters={"priority_note": 1})
    after, _ = written(request, edits(cap_output_tokens=7))
    assert values(after)["sampling_parameters"] == [expected]
    assert document(after)["parameters"] == {"priority_note": 1}


@both
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"max_tokens": 90, "top_k": 1}, {"max_tokens": 7, "top_k": 1}),
        ({"max_tokens": 3}, {"max_tokens": 3}),
        ({"top_k": 1}, {"max_tokens": 7, "top_k": 1}),
        ({}, {"max_tokens": 7}),
        (None, {"max_tokens": 7}),
    ],
)
def test_vllms_cap_stands_in_the_parameters_else(parameters, expected, kind):
    members = {} if parameters is None else {"parameters": parameters}
    after, _ = written(request_of(kind("text_input", ["x"]), **members), edits(cap_output_tokens=7))
    assert document(after)["parameters"] == expected


TENSORS = [
    (Backend.TENSORRTLLM, "max_tokens"),
    (Backend.LLMAPI, "sampling_param_max_tokens"),
]


@both
@pytest.mark.parametrize(("backend", "name"), TENSORS)
@pytest.mark.parametrize("datatype", ["INT32", "UINT32"])
def test_a_tensors_cap_lowers_the_limit(datatype, backend, name, kind):
    for limit, expected in [(90, 7), (7, 7), (3, 3)]:
        request = request_of(PROMPT, kind(name, [limit, limit], datatype, [2, 1]))
        after, _ = written(request, edits(cap_output_tokens=7, backend=backend))
        assert values(after) == {"text_input": ["hello"], name: [expected, expected]}


@both
@pytest.mark.parametrize(("backend", "name"), TENSORS)
@pytest.mark.parametrize(
    ("shape", "added"), [([1], [1]), ([3], [1]), ([1, 1], [1, 1]), ([3, 1], [3, 1]), ([], [1])]
)
def test_a_tensors_cap_is_added_in_the_shape_of_its_prompts(shape, added, backend, name, kind):
    count = 3 if 3 in shape else 1
    request = request_of(kind("text_input", ["x"] * count, shape=shape))
    after, _ = written(request, edits(cap_output_tokens=7, backend=backend))
    new = after.tensors[-1]
    assert (new.name.value, new.datatype, list(new.shape)) == (name, "INT32", added)
    assert set(values(after)[name]) == {7}
    assert "parameters" not in document(after)


def test_the_engine_alone_is_capped_by_its_own_name():
    request = request_of(binary("input_ids", [1, 2, 3], "INT32", [1, 3]))
    after, _ = written(request, edits(cap_output_tokens=7, backend=Backend.TENSORRTLLM))
    assert values(after)["request_output_len"] == [7]


@both
def test_a_backend_without_a_limit_gets_none(kind):
    request = request_of(kind("text", ["x"]))
    plan = plan_edits(request.inputs, RequestEdits(cap_output_tokens=7, backend=Backend.NONE), outputs=None)
    assert (write_infer(request, plan), plan.hidden) == (request.body, frozenset())


@both
def test_a_limit_of_another_schema_is_lowered_too(kind):
    request = request_of(PROMPT, kind("max_tokens", [90], "INT32"))
    after, _ = written(request, edits(cap_output_tokens=7, backend=Backend.NONE))
    assert values(after)["max_tokens"] == [7]
    plan = plan_edits(request.inputs, edits(cap_output_tokens=7, backend=Backend.LLMAPI), outputs=None)
    assert (plan.numbers, [one.name for one in plan.added]) == ({1: 7}, ["sampling_param_max_tokens"])


# --- counts ----------------------------------------------------------------------------------

COUNTS = {"num_input_tokens", "num_output_tokens"}
FLAGS = ["return_num_input_tokens", "return_num_output_tokens"]


@both
@pytest.mark.parametrize("backend", [Backend.VLLM, Backend.TENSORRTLLM])
def test_counts_are_asked_for_and_hidden(backend, kind):
    after, plan = written(request_of(kind("text_input", ["x"])), RequestEdits(backend=backend))
    assert {name: values(after)[name] for name in FLAGS} == {name: [True] for name in FLAGS}
    assert (plan.hidden, after.outputs) == (COUNTS, None)


@pytest.mark.parametrize("backend", [Backend.LLMAPI, Backend.NONE])
def test_counts_that_a_backend_does_not_have_are_not_asked_for(backend):
    request = request_of(PROMPT, outputs=[{"name": "text_output"}])
    plan = plan_edits(request.inputs, RequestEdits(backend=backend), outputs=request.outputs)
    assert (write_infer(request, plan), plan.hidden) == (request.body, frozenset())


@both
def test_counts_that_the_client_wants_are_not_hidden(kind):
    request = request_of(PROMPT, kind(FLAGS[0], [True], "BOOL"), kind(FLAGS[1], [False], "BOOL"))
    after, plan = written(request, RequestEdits())
    assert {name: values(after)[name] for name in FLAGS} == {name: [True] for name in FLAGS}
    assert plan.hidden == {"num_output_tokens"}


@pytest.mark.parametrize(
    "listed", [["text_output"], ["num_input_tokens"], ["num_output_tokens", "text_output"]]
)
@pytest.mark.parametrize("asked", [[], FLAGS])
def test_counts_are_listed_where_outputs_are(listed, asked):
    request = request_of(
        PROMPT,
        *(Made(name, [True], "BOOL") for name in asked),
        outputs=[{"name": name, "parameters": {"binary_data": True}} for name in listed],
    )
    after, plan = written(request, RequestEdits())
    assert after.outputs == {*listed, *COUNTS}
    assert plan.hidden == COUNTS - (set(listed) if asked else set())


# --- the rest of the document ----------------------------------------------------------------

WRONG = {
    "an unknown member": {"model_name": "other"},
    "an escaped twin is one": {"input\u017f": []},
    "outputs that are no array": {"outputs": {}},
    "an output that is text": {"outputs": ["text_output"]},
    "an output without a name": {"outputs": [{}]},
    "an output's unknown member": {"outputs": [{"name": "a", "datatype": "BYTES"}]},
    "an output's bad name": {"outputs": [{"name": "a b"}]},
    "an output twice": {"outputs": [{"name": "a"}, {"name": "a"}]},
    "an output in shared memory": {"outputs": [{"name": "a", "parameters": {"shared_memory_region": "r"}}]},
    "an output's unknown parameter": {"outputs": [{"name": "a", "parameters": {"x": 1}}]},
    "an output's wrong parameter": {"outputs": [{"name": "a", "parameters": {"binary_data": 1}}]},
    "an output's parameters that are none": {"outputs": [{"name": "a", "parameters": 1}]},
    "parameters that are no object": {"parameters": []},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_document_that_is_not_of_the_protocol_is_refused(name):
    with pytest.raises(PeerError) as caught:
        request_of(PROMPT, **WRONG[name])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"inputs":{}}', b'{"inputs":[]}x', b'{"inputs":[],"inputs":[]}']
)
def test_a_body_that_is_no_request_is_refused(body):
    with pytest.raises(PeerError):
        read_infer(split_body(body, None), model="m", limits=LIMITS)


def test_an_empty_list_of_outputs_asks_for_all():
    request = request_of(PROMPT, outputs=[])
    after, plan = written(request, RequestEdits())
    assert (after.outputs, document(after)["outputs"], plan.hidden) == (None, [], COUNTS)


def test_outputs_may_be_classes_and_binary_or_not():
    wanted = [{"name": "a", "parameters": {"classification": 3, "binary_data": False}}, {"name": "b"}]
    request = request_of(PROMPT, outputs=wanted, parameters={"binary_data_output": True})
    assert request.outputs == {"a", "b"}
    assert dict(request.inputs.params.sampling) == {}
