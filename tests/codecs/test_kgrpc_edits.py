"""What goes on of a ModelInferRequest: the client's own bytes, and edits where every parser finds them."""

from __future__ import annotations

import pytest
from grpc_calls import add_tensor, infer
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from extproc.codecs._kgrpc_edits import decoy, write_infer
from extproc.codecs._kgrpc_request import DECOY_MODEL, read_infer
from extproc.codecs._kserve_plan import plan_edits
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Backend, SegmentEdit

MODEL = "llm"
FLAGS = ("return_num_input_tokens", "return_num_output_tokens")
raw_or_typed = pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])


def write(request: pb.ModelInferRequest, edits: RequestEdits, *, sent_id: str | None = None) -> bytes:
    payload = request.SerializeToString(deterministic=True)
    read = read_infer(payload, streamed=sent_id is not None, limits=LIMITS)
    plan = plan_edits(read.inputs, edits, outputs=read.outputs or None)
    return write_infer(read, plan, sent_id=sent_id)


def written(request: pb.ModelInferRequest, **edits: object) -> pb.ModelInferRequest:
    return pb.ModelInferRequest.FromString(write(request, RequestEdits(**{"ask_usage": False, **edits})))


def values_of(request: pb.ModelInferRequest) -> dict[str, list[object]]:
    """Each tensor's values, raw or typed."""
    found: dict[str, list[object]] = {}
    for at, tensor in enumerate(request.inputs):
        if request.raw_input_contents:
            found[tensor.name] = raw_values(tensor.datatype, request.raw_input_contents[at])
        else:
            found[tensor.name] = [
                value
                for _, values in tensor.contents.ListFields()
                for value in values  # Every field is repeated.
            ]
    return found


def raw_values(datatype: str, raw: bytes) -> list[object]:
    if datatype == "BYTES":
        values = []
        while raw:
            size = int.from_bytes(raw[:4], "little")
            values.append(raw[4 : 4 + size])
            raw = raw[4 + size :]
        return values
    if datatype == "BOOL":
        return [bool(one) for one in raw]
    return [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]


@raw_or_typed
@given(text=st.text(max_size=300))
def test_without_edits_the_bytes_are_the_clients_own(raw, text):
    request = infer(MODEL, text, raw=raw, request_id="7", parameters={"temperature": 1}, outputs=("o",))
    assert write(request, RequestEdits(ask_usage=False)) == request.SerializeToString(deterministic=True)


@raw_or_typed
@given(text=st.text(max_size=300), replacement=st.text(max_size=300), at=st.integers(0, 300))
def test_an_edit_of_a_text_mends_every_length(raw, text, replacement, at):
    request = infer(MODEL, text, raw=raw, flags=("stream",))
    edit = SegmentEdit(segment_index=0, start=min(at, len(text)), end=len(text), replacement=replacement)
    expected = pb.ModelInferRequest.FromString(request.SerializeToString())
    after = (text[:at] + replacement).encode()
    seen = written(request, segments=(edit,))
    assert values_of(seen) == {"text_input": [after], "stream": [True]}
    seen.inputs[0].ClearField("contents")
    expected.inputs[0].ClearField("contents")
    del seen.raw_input_contents[:], expected.raw_input_contents[:]
    assert seen == expected


@raw_or_typed
def test_edits_of_every_place_are_made(raw):
    request = infer(
        MODEL,
        "secret one",
        raw=raw,
        request_id="Ann.Smith",
        document='{"stop": "secret two"}',
        parameters={"note": "secret three"},
    )
    add_tensor(request, "other", "BYTES", b"secret four", raw=raw)
    payload = request.SerializeToString(deterministic=True)
    read = read_infer(payload, streamed=False, limits=LIMITS)
    edits = [
        SegmentEdit(segment_index=one.index, start=0, end=6, replacement="[X]")
        for one in read.inputs.segments
    ]
    seen = written(request, segments=tuple(edits))
    assert values_of(seen) == {
        "text_input": [b"[X] one"],
        "sampling_parameters": [b'{"stop": "[X] two"}'],
        "other": [b"[X] four"],
    }
    assert (seen.id, seen.parameters["note"].string_param) == ("[X]ith", "[X] three")


# --- limits ----------------------------------------------------------------------------------


def limited(backend: Backend, request: pb.ModelInferRequest, cap: int = 5) -> pb.ModelInferRequest:
    return written(request, cap_output_tokens=cap, backend=backend)


@raw_or_typed
@pytest.mark.parametrize("standing", [None, 3, 5, 90])
def test_a_limit_of_vllm_stands_in_the_document_or_in_the_parameters(standing, raw):
    capped = 3 if standing == 3 else 5
    document = "{}" if standing is None else f'{{"max_tokens": {standing}}}'
    seen = limited(Backend.VLLM, infer(MODEL, "p", raw=raw, document=document))
    assert [one.replace(b" ", b"") for one in values_of(seen)["sampling_parameters"]] == [
        b'{"max_tokens":%d}' % capped
    ]
    assert not seen.parameters
    parameters = {} if standing is None else {"max_tokens": standing}
    seen = limited(Backend.VLLM, infer(MODEL, "p", raw=raw, parameters=parameters))
    assert seen.parameters["max_tokens"].int64_param == capped
    assert list(values_of(seen)) == ["text_input"]


@raw_or_typed
@pytest.mark.parametrize("standing", [None, 3, 5, 90])
@pytest.mark.parametrize(
    ("backend", "name"),
    [(Backend.TENSORRTLLM, "max_tokens"), (Backend.LLMAPI, "sampling_param_max_tokens")],
)
def test_a_limit_of_tensorrt_is_a_tensor(backend, name, standing, raw):
    request = infer(MODEL, "p", raw=raw)
    if standing is not None:
        add_tensor(request, name, "INT32", standing, raw=raw)
    seen = limited(backend, request)
    assert values_of(seen) == {"text_input": [b"p"], name: [3 if standing == 3 else 5]}
    assert (seen.inputs[1].datatype, list(seen.inputs[1].shape)) == ("INT32", [1])
    assert bool(seen.raw_input_contents) == raw


@raw_or_typed
def test_what_is_added_has_a_value_for_each_prompt(raw):
    request = pb.ModelInferRequest(model_name=MODEL)
    tensor = request.inputs.add(name="text_input", datatype="BYTES", shape=[2, 1])
    if raw:
        request.raw_input_contents.append(b"\x01\x00\x00\x00a\x01\x00\x00\x00b")
    else:
        tensor.contents.bytes_contents.extend([b"a", b"b"])
    seen = written(request, cap_output_tokens=5, backend=Backend.TENSORRTLLM, ask_usage=True)
    assert values_of(seen) == {
        "text_input": [b"a", b"b"],
        "max_tokens": [5, 5],
        **{flag: [True, True] for flag in FLAGS},
    }
    assert [list(one.shape) for one in seen.inputs] == [[2, 1]] * 4


def test_a_backend_without_limits_gets_none():
    request = infer(MODEL, "p")
    assert limited(Backend.NONE, request) == request


# --- counts ----------------------------------------------------------------------------------


@raw_or_typed
@pytest.mark.parametrize("outputs", [(), ("text_output",), ("num_output_tokens", "text_output")])
@pytest.mark.parametrize("asked", [(), FLAGS[:1], FLAGS])
def test_counts_are_asked_for_where_the_client_does_not(asked, outputs, raw):
    request = infer(MODEL, "p", raw=raw, flags=asked, outputs=outputs)
    seen = written(request, ask_usage=True)
    assert values_of(seen) == {"text_input": [b"p"], **{flag: [True] for flag in FLAGS}}
    expected = set(outputs) | {"num_input_tokens", "num_output_tokens"} if outputs else set()
    assert {one.name for one in seen.outputs} == expected


@raw_or_typed
def test_a_flag_that_is_false_becomes_true(raw):
    request = infer(MODEL, "p", raw=raw)
    add_tensor(request, FLAGS[0], "BOOL", value=False, raw=raw)
    assert values_of(written(request, ask_usage=True))[FLAGS[0]] == [True]


# --- a stream's own id -----------------------------------------------------------------------


@raw_or_typed
@pytest.mark.parametrize("client_id", ["", "mine", "ü" * 40])
def test_on_a_stream_a_request_goes_on_under_another_id(client_id, raw):
    request = infer(MODEL, "p", raw=raw, request_id=client_id)
    seen = pb.ModelInferRequest.FromString(write(request, RequestEdits(ask_usage=False), sent_id="own-1"))
    assert seen.id == "own-1"
    assert seen.parameters["triton_enable_empty_final_response"].bool_param is True
    seen.id = client_id
    del seen.parameters["triton_enable_empty_final_response"]
    assert seen == request


@pytest.mark.parametrize("wish", [True, False])
def test_an_empty_final_response_is_wished_for_once(wish):
    name = "triton_enable_empty_final_response"
    request = infer(MODEL, "p", parameters={name: wish})
    seen = pb.ModelInferRequest.FromString(write(request, RequestEdits(ask_usage=False), sent_id="own-1"))
    assert seen.parameters[name].bool_param is True
    assert len(seen.parameters) == 1


def test_a_decoy_is_a_request_of_an_input_that_no_model_has():
    seen = pb.ModelInferRequest.FromString(decoy("own-1", MODEL))
    expected = pb.ModelInferRequest(model_name=MODEL, id="own-1")
    add_tensor(expected, DECOY_MODEL, "BOOL", value=True, raw=False)
    assert seen == expected
