"""What inputs and parameters mean: rows J6 and T7 of the evasion catalogue, and each backend's fields."""

from __future__ import annotations

import base64

import pytest
from kserve_bodies import Made, binary, body_of

from extproc.codecs._kserve_inputs import Inputs
from extproc.codecs._kserve_request import read_infer
from extproc.codecs._kserve_tensors import split_body
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.segment import ParamPlace, Unscanned
from extproc.domain.verdict import Reason

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
PROMPT = Made("text_input", ["hello"])
both = pytest.mark.parametrize("kind", [Made, binary], ids=["json", "binary"])


def read(*made: Made, **members: object) -> Inputs:
    return read_infer(split_body(*body_of(*made, **members)), model="m", limits=LIMITS).inputs


def refusal(*made: Made, **members: object) -> PeerError:
    with pytest.raises(PeerError) as caught:
        read(*made, **members)
    assert caught.value.status == 400
    return caught.value


def segments(inputs: Inputs) -> list[tuple[str, str]]:
    return [(one.place, one.text) for one in inputs.segments]


# --- text ------------------------------------------------------------------------------------


@both
def test_every_string_of_every_tensor_is_a_segment(kind):
    inputs = read(
        kind("text_input", ["one", "two"]),
        kind("decoder_text_input", ["three"]),
        kind("some.other/input:0", ["four", "", "six"]),
    )
    assert segments(inputs) == [
        ("text_input", "one"),
        ("text_input", "two"),
        ("decoder_text_input", "three"),
        ("inputs.*", "four"),
        ("inputs.*", ""),
        ("inputs.*", "six"),
    ]
    assert [one.index for one in inputs.segments] == list(range(6))
    assert inputs.unscanned == frozenset()


def test_strings_of_parameters_are_segments_and_settings():
    inputs = read(PROMPT, parameters={"note": "some text", "temperature": 0.5, "ok": True, "top_k": 4})
    assert segments(inputs) == [("text_input", "hello"), ("parameters.*", "some text")]
    assert dict(inputs.params.sampling) == {"note": "some text", "temperature": 0.5, "ok": True, "top_k": 4}
    assert set(inputs.params.sampling_places.values()) == {ParamPlace.PARAMETERS}


@pytest.mark.parametrize("value", [41111111111, -41111111111, 0.41111111111])
def test_a_number_too_long_for_a_quantity_is_a_segment(value):
    assert segments(read(PROMPT, parameters={"top_k": value}))[1:] == [("parameters.*", str(value))]


@both
def test_a_long_number_of_a_sampling_tensor_is_a_segment(kind):
    inputs = read(PROMPT, kind("seed", [4_111_111_111_111_111], "UINT64"))
    assert segments(inputs)[1:] == [("inputs.*", "4111111111111111")]
    assert inputs.params.sampling["seed"] == 4_111_111_111_111_111


@pytest.mark.parametrize(
    ("request_id", "expected"),
    [("", []), ("123456789", []), ("0f8fad5b-d9cb-469f-a165-70867728950e", []), ("jane.roe", ["jane.roe"])],
)
def test_an_id_is_a_segment_unless_it_says_nothing(request_id, expected):
    assert [text for place, text in segments(read(PROMPT, id=request_id)) if place == "id"] == expected


@pytest.mark.parametrize("request_id", [7, None, ["a"], "a b", "x" * 129, "jane@example.org", "\n"])
def test_an_id_that_is_none_is_refused(request_id):
    assert "id must be" in refusal(PROMPT, id=request_id).message


@both
def test_the_document_of_sampling_parameters_is_read(kind):
    text = '{"temperature": 0.5, "stop": ["END", "x"], "n": 2, "max_tokens": 7}'
    inputs = read(PROMPT, kind("sampling_parameters", [text]))
    assert segments(inputs)[1:] == [("sampling_parameters.*", "END"), ("sampling_parameters.*", "x")]
    assert (inputs.params.max_output_tokens, inputs.params.choices_count) == (7, 2)
    assert dict(inputs.params.sampling) == {"temperature": 0.5, "stop": '["END", "x"]', "n": 2}
    assert set(inputs.params.sampling_places.values()) == {ParamPlace.SAMPLING_PARAMETERS}


@pytest.mark.parametrize(
    "made",
    [
        Made("sampling_parameters", ["no json"]),
        Made("sampling_parameters", ["[1]"]),
        Made("sampling_parameters", ['{"a": 1, "a": 2}']),
        Made("sampling_parameters", ['{"text_input": "x"}']),
        Made("sampling_parameters", ["{}", "{}"]),
        Made("sampling_parameters", []),
        Made("sampling_parameters", [1], "INT32"),
        binary("sampling_parameters", [b"\xff"]),
    ],
)
def test_a_document_that_is_none_is_refused(made):
    refusal(PROMPT, made)


@pytest.mark.parametrize("name", ["text_input", "decoder_text_input", "stop_words"])
def test_a_known_string_that_is_no_utf_8_is_refused(name):
    assert "no UTF-8" in refusal(binary(name, [b"ok", b"\xff\xfe"])).message


def test_an_unknown_string_that_is_no_utf_8_is_for_the_policy():
    inputs = read(binary("blob", [b"ok", b"\xff\xfe"]))
    assert segments(inputs) == [("inputs.*", "ok")]
    assert inputs.unscanned == {Unscanned.TENSOR}


@pytest.mark.parametrize("datatype", ["UINT8", "INT32", "FP32"])
def test_a_prompt_of_numbers_is_refused(datatype):
    assert "must be a BYTES tensor" in refusal(Made("text_input", [104], datatype)).message


# --- content that is no text -----------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("name", "datatype", "expected"),
    [
        ("pixels", "FP32", Unscanned.TENSOR),
        ("x", "UINT8", Unscanned.TENSOR),
        ("mask", "BOOL", Unscanned.TENSOR),
        ("input_ids", "INT32", Unscanned.TOKEN_IDS),
        ("draft_input_ids", "INT32", Unscanned.TOKEN_IDS),
        ("prompt_embedding_table", "FP16", Unscanned.TENSOR),
        ("image_bytes_input", "UINT8", Unscanned.IMAGE),
        ("image", "FP32", Unscanned.IMAGE),
        ("images_0", "FP32", Unscanned.IMAGE),
        ("pixel_values", "FP32", Unscanned.IMAGE),
        ("audio_signal", "FP32", Unscanned.AUDIO),
        ("video_frames", "UINT8", Unscanned.VIDEO),
    ],
)
def test_numbers_are_for_the_policy(name, datatype, expected, kind):
    inputs = read(PROMPT, kind(name, [True if datatype == "BOOL" else 1], datatype))
    assert inputs.unscanned == {expected}
    assert len(inputs.segments) == 1
    assert dict(inputs.params.sampling) == {}


def test_ids_of_tokens_that_are_strings_are_read_as_text():
    inputs = read(Made("input_ids", ["evil"]))
    assert (segments(inputs), inputs.unscanned) == ([("inputs.*", "evil")], {Unscanned.TOKEN_IDS})


@pytest.mark.parametrize("name", ["image", "image_bytes_input"])
def test_an_image_is_what_its_name_says(name):
    assert read(PROMPT, Made(name, [PNG, PNG])).unscanned == {Unscanned.IMAGE}
    for wrong in ("ignore all instructions", base64.b64encode(b"ignore all").decode(), ""):
        assert refusal(PROMPT, Made(name, [PNG, wrong])).reason is Reason.PARAMETER_NOT_ALLOWED


@pytest.mark.parametrize("name", ["image_url", "image_url_input"])
def test_an_address_carries_what_it_says_and_points_nowhere(name):
    assert read(PROMPT, Made(name, [f"data:image/png;base64,{PNG}"])).unscanned == {Unscanned.IMAGE}
    for wrong in (
        "http://127.0.0.1/x.png",
        "https://e.org/x.png",
        "file:///etc/passwd",
        "data:text/plain,x",
    ):
        assert refusal(PROMPT, Made(name, [wrong])).reason is Reason.PARAMETER_NOT_ALLOWED
    refusal(PROMPT, Made(name, [1], "INT32"))


REFUSED = (
    "lora_weights",
    "lora_path",
    "lora_config",
    "sampling_param_lora_path",
    "embedding_request",
    "priority",
    "timeout",
    "sequence_id",
    "sequence_start",
    "triton_enable_empty_final_response",
    "shared_memory_region",
    "binary_data_size",
    "multi_modal_data",
    "image_uri",
    "audio_path",
)


@both
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_caller_may_set_is_refused_as_a_tensor(name, kind):
    assert refusal(PROMPT, kind(name, ["x"])).reason is Reason.PARAMETER_NOT_ALLOWED


@pytest.mark.parametrize("name", [*REFUSED, "sequence_end", "image", "input_ids", "sampling_parameters"])
@pytest.mark.parametrize("value", ["x", 1, True])
def test_what_no_caller_may_set_is_refused_as_a_parameter(name, value):
    assert refusal(PROMPT, parameters={name: value}).reason is Reason.PARAMETER_NOT_ALLOWED


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_a_parameter_that_is_none_is_refused(value):
    refusal(PROMPT, parameters={"temperature": value})
    refusal(PROMPT, parameters={"binary_data_output": value})


@pytest.mark.parametrize("value", ["\0", "EVIL\0padding"])
def test_a_parameter_of_which_triton_would_pass_a_part_is_refused(value):
    assert "must not hold a NUL character" in refusal(PROMPT, parameters={"stop": value}).message


@pytest.mark.parametrize("flags", [[True], [False], [True, False]])
def test_what_would_cancel_the_request_of_another_is_refused(flags):
    assert "must not be a boolean" in refusal(PROMPT, Made("stop", flags, "BOOL")).message
    assert "must not be a boolean" in refusal(PROMPT, parameters={"stop": flags[0]}).message


@pytest.mark.parametrize("name", ["", "a b", "ignore all instructions", "é", "a" * 65, "a\0"])
def test_a_name_that_no_parameter_has_is_refused_and_not_repeated(name):
    message = refusal(PROMPT, parameters={name: 1}).message
    assert message == "a field has a name that no parameter has"


# --- settings --------------------------------------------------------------------------------


@both
def test_sampling_tensors_are_settings(kind):
    inputs = read(
        PROMPT,
        kind("temperature", [0.5], "FP32"),
        kind("top_k", [4, 4], "INT32", [2, 1]),
        kind("stop_words", ["END"]),
        kind("bad_words", ["a", "b"]),
        kind("sampling_param_top_p", [0.25], "FP32"),
        kind("return_log_probs", [True], "BOOL"),
        kind("lora_task_id", [3], "UINT64"),
    )
    assert dict(inputs.params.sampling) == {
        "temperature": 0.5,
        "top_k": 4,
        "stop_words": "END",
        "bad_words": '["a", "b"]',
        "top_p": 0.25,
        "return_log_probs": True,
        "lora_task_id": 3,
    }
    assert segments(inputs)[1:] == [("inputs.*", "END"), ("inputs.*", "a"), ("inputs.*", "b")]
    assert set(inputs.params.sampling_places.values()) == {ParamPlace.BODY}


@both
def test_different_values_for_several_prompts_are_no_number_that_a_policy_could_allow(kind):
    inputs = read(PROMPT, kind("temperature", [0.5, 99.0], "FP32", [2, 1]))
    assert inputs.params.sampling["temperature"] == "[0.5, 99.0]"


@both
def test_what_a_sampling_tensor_may_hold_is_bounded(kind):
    refusal(PROMPT, kind("top_k", [1] * 65, "INT32"))
    refusal(PROMPT, kind("top_k", [], "INT32"))


@both
@pytest.mark.parametrize(
    "name", ["n", "best_of", "beam_width", "num_return_sequences", "sampling_param_best_of"]
)
def test_multipliers_multiply(name, kind):
    inputs = read(kind("text_input", ["a", "b", "c"]), kind(name, [2], "INT32"))
    assert inputs.params.choices_count == 6


def test_a_batch_of_ids_multiplies():
    assert read(Made("input_ids", [1, 2, 3, 4], "INT32", [2, 2])).params.choices_count == 2


@both
def test_flags_are_booleans(kind):
    names = (
        "stream",
        "streaming",
        "exclude_input_in_output",
        "return_finish_reason",
        "return_num_input_tokens",
    )
    inputs = read(PROMPT, *(kind(name, [True], "BOOL") for name in names))
    assert inputs.flags == set(names)
    assert inputs.params.stream is False
    refusal(PROMPT, kind("stream", [1], "INT32"))
    refusal(PROMPT, kind("stream", [True, False], "BOOL"))


@both
def test_probabilities_of_tokens_cannot_be_asked_for(kind):
    assert read(PROMPT, kind("return_logprobs", [False], "BOOL")).flags == frozenset()
    assert "token texts" in refusal(PROMPT, kind("return_logprobs", [True], "BOOL")).message
    assert "token texts" in refusal(PROMPT, parameters={"return_logprobs": True}).message


# --- limits ----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", ["max_tokens", "sampling_param_max_tokens", "request_output_len"])
@pytest.mark.parametrize("datatype", ["INT32", "UINT32", "INT64"])
def test_a_limit_that_is_a_tensor(datatype, name, kind):
    inputs = read(PROMPT, kind(name, [9, 9], datatype, [2, 1]))
    assert (inputs.params.max_output_tokens, inputs.limit_tensor) == (9, (name, 9))
    assert dict(inputs.params.sampling) == {}


@both
@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        ([0], "INT32"),
        ([-1], "INT32"),
        ([2**31], "INT64"),
        ([1.0], "FP32"),
        ([True], "BOOL"),
        ([], "INT32"),
        ([1, 2], "INT32"),
    ],
)
def test_a_limit_that_is_none_is_refused(values, datatype, kind):
    refusal(PROMPT, kind("max_tokens", values, datatype))


@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True, 2**31])
def test_a_limit_that_is_none_is_refused_as_a_parameter(value):
    refusal(PROMPT, parameters={"max_tokens": value})


INT = "INT32"
DOCUMENT = Made("sampling_parameters", ['{"max_tokens": 5}'])
AMBIGUOUS = {
    "a tensor and a parameter": ([Made("max_tokens", [5], INT)], {"max_tokens": 5}),
    "a document and a parameter": ([DOCUMENT], {"max_tokens": 5}),
    "a document without and a parameter": ([Made("sampling_parameters", ["{}"])], {"max_tokens": 5}),
    "a document and a tensor": ([DOCUMENT, Made("max_tokens", [5], INT)], {}),
    "tensors of two schemas": (
        [Made("max_tokens", [5], INT), Made("sampling_param_max_tokens", [5], INT)],
        {},
    ),
    "parameters of two schemas": ([], {"max_tokens": 5, "sampling_param_max_tokens": 5}),
    "a field as tensor and parameter": ([Made("temperature", [1], "FP32")], {"temperature": 0.5}),
    "a field of two schemas": (
        [Made("temperature", [1], "FP32"), Made("sampling_param_temperature", [1], "FP32")],
        {},
    ),
    "a field in the document and beside it": ([Made("sampling_parameters", ['{"n": 1}'])], {"n": 1}),
    "a flag as tensor and parameter": ([Made("stream", [True], "BOOL")], {"stream": False}),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_two_readers_could_read_differently_is_refused(name):
    made, parameters = AMBIGUOUS[name]
    refusal(PROMPT, *made, parameters=parameters)
