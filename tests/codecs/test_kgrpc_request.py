"""What is read of a ModelInferRequest, and what is refused: rows J8 and J9 of how text could slip by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.message import DecodeError
from grpc_calls import add_tensor, infer
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from extproc.codecs._kgrpc_request import client_id_of, read_infer
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Unscanned
from extproc.domain.verdict import Reason
from extproc.wire.protobuf_fields import tagged_bytes, tagged_varint

MODEL = "llm"
EMPTY_FINAL = "triton_enable_empty_final_response"


def read(request: pb.ModelInferRequest | bytes, *, streamed: bool = False, limits=LIMITS):
    payload = request if isinstance(request, bytes) else request.SerializeToString(deterministic=True)
    return read_infer(payload, streamed=streamed, limits=limits)


def fault_of(request: pb.ModelInferRequest | bytes, *, streamed: bool = False) -> str:
    with pytest.raises(PeerError) as caught:
        read(request, streamed=streamed)
    assert caught.value.status == 400
    assert "EVIL" not in caught.value.message
    return caught.value.message


def segments(request: pb.ModelInferRequest, **how: bool) -> list[tuple[str, str]]:
    return [(one.place, one.text) for one in read(request, **how).inputs.segments]


def changed(request: pb.ModelInferRequest, change) -> pb.ModelInferRequest:
    change(request)
    return request


raw_or_typed = pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])


@raw_or_typed
def test_every_text_is_found(raw):
    request = infer(
        MODEL,
        "a prompt",
        raw=raw,
        document='{"stop": ["one", "two"], "max_tokens": 4}',
        parameters={"note": "a note", "temperature": 1},
    )
    add_tensor(request, "decoder_text_input", "BYTES", b"a second", raw=raw)
    add_tensor(request, "anything", "BYTES", "ü €".encode(), raw=raw)
    assert sorted(segments(request)) == [
        ("decoder_text_input", "a second"),
        ("inputs.*", "ü €"),
        ("parameters.*", "a note"),
        ("sampling_parameters.*", "one"),
        ("sampling_parameters.*", "two"),
        ("text_input", "a prompt"),
    ]


@raw_or_typed
def test_each_element_is_a_text_of_its_own(raw):
    request = pb.ModelInferRequest(model_name=MODEL)
    tensor = request.inputs.add(name="text_input", datatype="BYTES", shape=[2, 1])
    texts = [b"one", b""]
    if raw:
        request.raw_input_contents.append(b"".join(len(one).to_bytes(4, "little") + one for one in texts))
    else:
        tensor.contents.bytes_contents.extend(texts)
    assert segments(request) == [("text_input", "one"), ("text_input", "")]
    assert read(request).params.choices_count == 2


@raw_or_typed
def test_limits_flags_and_samplings_are_found(raw):
    request = infer(MODEL, "p", raw=raw, limit=7, flags=("stream", "return_num_input_tokens"))
    params = read(request).params
    assert (params.max_output_tokens, params.stream, params.model) == (7, True, MODEL)
    params = read(infer(MODEL, "p", raw=raw, parameters={"max_tokens": 9, "temperature": 1})).params
    assert (params.max_output_tokens, params.stream, dict(params.sampling)) == (
        9,
        False,
        {"temperature": 1},
    )


@raw_or_typed
@pytest.mark.parametrize(
    ("datatype", "value"), [("INT64", -1), ("UINT32", 2**32 - 1), ("UINT64", 2**64 - 1), ("INT8", -128)]
)
def test_sampling_tensors_of_every_whole_kind_are_read(datatype, value, raw):
    request = infer(MODEL, "p", raw=raw)
    tensor = request.inputs.add(name="seed", datatype=datatype, shape=[1])
    width = 8 if datatype.endswith("64") else 4 if datatype.endswith("32") else 1
    if raw:
        signed = not datatype.startswith("U")
        request.raw_input_contents.append(value.to_bytes(width, "little", signed=signed))
    else:
        field = {"INT64": "int64", "UINT32": "uint", "UINT64": "uint64", "INT8": "int"}[datatype]
        getattr(tensor.contents, f"{field}_contents").append(value)
    assert read(request).params.sampling["seed"] == value


@pytest.mark.parametrize(("datatype", "field"), [("FP32", "fp32_contents"), ("FP64", "fp64_contents")])
def test_sampling_tensors_with_a_fraction_are_read(datatype, field):
    request = infer(MODEL, "p", raw=False)
    tensor = request.inputs.add(name="temperature", datatype=datatype, shape=[1])
    getattr(tensor.contents, field).append(0.5)
    assert read(request).params.sampling["temperature"] == 0.5


def test_numbers_of_other_names_are_what_no_guard_can_read():
    request = infer(MODEL, "p", raw=False)
    tensor = request.inputs.add(name="input_ids", datatype="INT64", shape=[3])
    tensor.contents.int64_contents.extend([1, 2, 3])
    other = request.inputs.add(name="whatever", datatype="FP32", shape=[1])
    other.contents.fp32_contents.append(1)
    assert read(request).inputs.unscanned == {Unscanned.TOKEN_IDS, Unscanned.TENSOR}


def test_an_id_is_judged_where_the_model_is_told_it():
    request = infer(MODEL, "p", request_id="Ann.Smith-1972")
    assert ("id", "Ann.Smith-1972") in segments(request)
    assert segments(request, streamed=True) == [("text_input", "p")]
    odd = infer(MODEL, "p", request_id="any text at all, ü")
    assert read(odd, streamed=True).client_id == "any text at all, ü"
    assert fault_of(odd) == "id must be a string of at most 128 letters, digits or ._:-"


@pytest.mark.parametrize("value", [True, False])
def test_the_wish_for_an_empty_final_response_is_known(value):
    request = read(infer(MODEL, "p", parameters={EMPTY_FINAL: value}), streamed=True)
    assert (request.wants_empty_final, dict(request.params.sampling)) == (value, {})


# --- J8, J9 ----------------------------------------------------------------------------------

PLAIN = infer(MODEL, "p", raw=False).SerializeToString(deterministic=True)
RAW = infer(MODEL, "p").SerializeToString(deterministic=True)
TENSOR = tagged_bytes(1, b"text_input") + tagged_bytes(2, b"BYTES") + tagged_bytes(3, b"\x01")
EVIL = tagged_bytes(8, b"EVIL")
NAMED = tagged_bytes(1, MODEL.encode())


def tensor_of(*fields: bytes) -> bytes:
    return NAMED + tagged_bytes(5, b"".join(fields))


def parameter_of(*fields: bytes) -> bytes:
    return PLAIN + tagged_bytes(4, b"".join(fields))


AMBIGUOUS = {
    "both contents and raw contents": (
        PLAIN + tagged_bytes(7, b"\x04\x00\x00\x00EVIL"),
        "either typed or raw",
    ),
    "fewer raw contents than tensors": (
        RAW + tagged_bytes(5, tagged_bytes(1, b"x") + tagged_bytes(2, b"BYTES") + tagged_bytes(3, b"\x01")),
        "not one raw content for each tensor",
    ),
    "more raw contents than tensors": (
        RAW + tagged_bytes(7, b"EVIL"),
        "not one raw content for each tensor",
    ),
    "typed contents beside raw ones": (
        RAW
        + tagged_bytes(5, TENSOR.replace(b"text_input", b"text_other") + tagged_bytes(5, EVIL))
        + tagged_bytes(7, b""),
        "either typed or raw",
    ),
    "an unknown field": (PLAIN + tagged_bytes(15, b"EVIL"), "the request has an unknown field"),
    "an unknown field of a tensor": (
        tensor_of(TENSOR, tagged_bytes(6, b"EVIL")),
        "a tensor has an unknown field",
    ),
    "an unknown field of contents": (
        tensor_of(TENSOR, tagged_bytes(5, EVIL + tagged_bytes(9, b"EVIL"))),
        "a tensor's contents has an unknown field",
    ),
    "an unknown field of a parameter": (
        parameter_of(tagged_bytes(1, b"a"), tagged_bytes(2, tagged_varint(2, 1)), tagged_bytes(3, b"EVIL")),
        "a parameter has an unknown field",
    ),
    "a model that is named twice": (PLAIN + tagged_bytes(1, b"EVIL"), "the request has a field twice"),
    "an id that stands twice": (PLAIN + tagged_bytes(3, b"a") + tagged_bytes(3, b"b"), "has a field twice"),
    "contents in two parts": (
        tensor_of(TENSOR, tagged_bytes(5, EVIL), tagged_bytes(5, EVIL)),
        "a tensor has a field twice",
    ),
    "a tensor's name twice": (tensor_of(TENSOR, tagged_bytes(1, b"x")), "a tensor has a field twice"),
    "a tensor twice": (PLAIN + tagged_bytes(5, TENSOR + tagged_bytes(5, EVIL)), "or that of another"),
    "a parameter twice": (
        PLAIN + tagged_bytes(4, tagged_bytes(1, b"a") + tagged_bytes(2, tagged_varint(2, 1))) * 2,
        "a parameter stands twice",
    ),
    "a parameter of two values": (
        parameter_of(
            tagged_bytes(1, b"a"), tagged_bytes(2, tagged_varint(2, 1) + tagged_bytes(3, b"EVIL"))
        ),
        "a parameter has a field twice",
    ),
    "a parameter of no value": (parameter_of(tagged_bytes(1, b"a"), tagged_bytes(2, b"")), "has no value"),
    "a parameter without a value": (parameter_of(tagged_bytes(1, b"a")), "a parameter has no value"),
    "a parameter that is neither true nor false": (
        parameter_of(tagged_bytes(1, b"a"), tagged_bytes(2, tagged_varint(1, 2))),
        "a parameter is neither true nor false",
    ),
    "contents of another datatype": (
        tensor_of(TENSOR, tagged_bytes(5, EVIL + tagged_bytes(2, b"\x01"))),
        "has contents that are not of its datatype",
    ),
    "fewer strings than the shape": (tensor_of(TENSOR), "either typed or raw"),
    "more strings than the shape": (
        tensor_of(TENSOR, tagged_bytes(5, EVIL + EVIL)),
        "another number of strings than its shape",
    ),
    "a string beyond the end of its raw contents": (
        tensor_of(TENSOR) + tagged_bytes(7, b"\xff\x00\x00\x00EVIL"),
        "a string that reaches beyond its end",
    ),
    "bytes behind the last raw string": (
        tensor_of(TENSOR) + tagged_bytes(7, b"\x00\x00\x00\x00EVIL"),
        "more strings than its shape says",
    ),
    "half a raw length": (tensor_of(TENSOR) + tagged_bytes(7, b"\x00\x00"), "reaches beyond its end"),
    "raw numbers of another size": (
        infer(MODEL, "p", limit=1)
        .SerializeToString(deterministic=True)
        .replace(tagged_bytes(7, b"\x01\x00\x00\x00"), tagged_bytes(7, b"\x01\x00\x00")),
        "raw contents of another size",
    ),
    "a string that is no UTF-8": (
        tensor_of(TENSOR, tagged_bytes(5, tagged_bytes(8, b"\xffEVIL"))),
        "UTF-8",
    ),
    "a model's name that is no UTF-8": (tagged_bytes(1, b"\xff"), "model_name is not valid UTF-8"),
    "an input in shared memory": (
        tensor_of(
            TENSOR,
            tagged_bytes(
                4, tagged_bytes(1, b"shared_memory_region") + tagged_bytes(2, tagged_bytes(3, b"EVIL"))
            ),
        ),
        "has parameters, as those in shared memory have",
    ),
    "an output in shared memory": (
        PLAIN
        + tagged_bytes(
            6,
            tagged_bytes(1, b"o")
            + tagged_bytes(
                2, tagged_bytes(1, b"shared_memory_region") + tagged_bytes(2, tagged_bytes(3, b"EVIL"))
            ),
        ),
        "a requested output has a parameter, as one in shared memory has",
    ),
    "an output twice": (
        PLAIN + tagged_bytes(6, tagged_bytes(1, b"o")) * 2,
        "a requested output stands twice",
    ),
    "no inputs": (NAMED, "the request has no inputs"),
    "no model": (PLAIN[len(NAMED) :], "model_name is no name of a model"),
    "a name of Triton's own": (PLAIN.replace(NAMED, tagged_bytes(1, b"stats")), "no name of a model"),
    "the decoy's name": (PLAIN.replace(NAMED, tagged_bytes(1, b"headgate.refused")), "no name of a model"),
    "a model's name that is a path": (PLAIN.replace(NAMED, tagged_bytes(1, b"../x")), "no name of a model"),
    "a version that is no number": (PLAIN + tagged_bytes(2, b"latest"), "model_version is no number"),
    "a limit beside another": (
        infer(MODEL, "p", limit=4, parameters={"sampling_param_max_tokens": 5}).SerializeToString(),
        "stands",
    ),
    "a limit as a tensor and as a parameter": (
        infer(MODEL, "p", limit=4, parameters={"max_tokens": 5}).SerializeToString(),
        "max_tokens stands",
    ),
    "a sequence": (infer(MODEL, "p", parameters={"sequence_id": 1}).SerializeToString(), "not allowed"),
    "another wish of Triton's": (
        infer(MODEL, "p", parameters={"triton_anything": True}).SerializeToString(),
        "not allowed",
    ),
    "an empty final response that is a number": (
        infer(MODEL, "p", parameters={EMPTY_FINAL: 1}).SerializeToString(),
        "must be true or false",
    ),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_could_be_read_in_two_ways_or_not_at_all_is_refused(name, streamed):
    payload, message = AMBIGUOUS[name]
    assert message in fault_of(payload, streamed=streamed)


def test_a_shape_is_bounded():
    many = tagged_bytes(3, b"\x01" * 17)
    assert "more than 16 dimensions" in fault_of(
        tensor_of(TENSOR.replace(tagged_bytes(3, b"\x01"), many), tagged_bytes(5, EVIL))
    )
    minus = tagged_varint(3, 2**64 - 1)
    assert "a shape that no tensor has" in fault_of(
        tensor_of(TENSOR.replace(tagged_bytes(3, b"\x01"), minus), tagged_bytes(5, EVIL))
    )


def test_the_number_of_strings_is_bounded():
    request = pb.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="text_input", datatype="BYTES", shape=[50])
    request.raw_input_contents.append(b"\x00\x00\x00\x00" * 50)
    with pytest.raises(PeerError) as caught:
        read(request, limits=replace(LIMITS, protobuf_fields_max=40))
    assert caught.value.reason is Reason.BODY_TOO_COMPLEX


def test_the_number_of_listed_outputs_is_bounded():
    request = infer(MODEL, "p")
    for at in range(3):
        request.outputs.add(name=f"o{at}")
    assert read(request, limits=replace(LIMITS, outputs_max=3)).outputs == ("o0", "o1", "o2")
    with pytest.raises(PeerError) as caught:
        read(request, limits=replace(LIMITS, outputs_max=2))
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_COMPLEX, 400)


def test_what_an_unreadable_request_calls_itself_is_told_where_it_can_be():
    assert (
        client_id_of(PLAIN + tagged_bytes(3, b"mine") + tagged_bytes(4, b"\xff"), limits=LIMITS) == "mine"
    )
    assert client_id_of(b"\xff", limits=LIMITS) == ""
    assert client_id_of(tagged_bytes(3, b"x" * 300), limits=LIMITS) == ""


# --- agreement with protobuf -----------------------------------------------------------------

FIELDS = st.sampled_from(
    [
        NAMED,
        PLAIN,
        RAW,
        tagged_bytes(3, b"id"),
        tagged_bytes(5, TENSOR + tagged_bytes(5, EVIL)),
        tagged_bytes(5, TENSOR.replace(b"text_input", b"text_other")),
        tagged_bytes(7, b"\x04\x00\x00\x00EVIL"),
        tagged_bytes(4, tagged_bytes(1, b"note") + tagged_bytes(2, tagged_bytes(3, b"a note"))),
        tagged_bytes(6, tagged_bytes(1, b"text_output")),
        b"\x0a",
        b"\x2a",
    ]
)


@given(st.lists(FIELDS | st.binary(max_size=3), max_size=6).map(b"".join))
def test_the_text_that_is_judged_is_the_text_that_protobuf_reads(payload):
    try:
        request = read(payload, streamed=True)
    except PeerError:
        return
    try:
        expected = pb.ModelInferRequest.FromString(payload)
    except DecodeError:
        pytest.fail("what protobuf refuses was accepted")
    texts = []
    for at, tensor in enumerate(expected.inputs):
        if tensor.datatype == "BYTES":
            raw = expected.raw_input_contents[at] if expected.raw_input_contents else None
            texts += (
                [raw[4:].decode()]
                if raw is not None
                else [one.decode() for one in tensor.contents.bytes_contents]
            )
    texts += [one.string_param for one in expected.parameters.values() if one.string_param]
    judged = [segment.text for segment in request.inputs.segments]
    assert sorted(judged) == sorted(texts)
    assert request.model == expected.model_name
    assert request.client_id == expected.id


PACKED = {"BOOL": 1, "INT32": 2, "INT64": 3, "UINT8": 4, "UINT64": 5, "FP32": 6, "FP64": 7}


@pytest.mark.parametrize("datatype", PACKED)
@given(
    st.lists(st.sampled_from([b"\x01", b"\x80", b"\xff", b"\x7f\x00\x00\x00", b"\x80" * 9]), max_size=5),
    st.booleans(),
)
def test_packed_numbers_that_protobuf_cannot_read_are_refused(datatype, packed, streamed):
    """Behind such a request a server reads no other of its stream."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="anything", datatype=datatype, shape=[1])
    contents = tagged_bytes(5, tagged_bytes(PACKED[datatype], b"".join(packed)))
    payload = infer(MODEL, "hi", raw=False).SerializeToString()
    payload += tagged_bytes(5, tensor.SerializeToString() + contents)
    try:
        pb.ModelInferRequest.FromString(payload)
    except DecodeError:
        assert "no whole numbers" in fault_of(payload, streamed=streamed)
    else:
        assert [one.text for one in read(payload, streamed=streamed).inputs.segments] == ["hi"]
