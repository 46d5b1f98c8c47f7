"""Rows J1 to J6, J9, H4 and H5 of the evasion catalogue, for generate: one reading, or none.

The same against the real Triton, over mutated requests: tests/e2e/test_agreement.py.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from extproc.codecs import codec_for, discover
from extproc.codecs.triton_generate import CODEC, GenerateCodec
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits, RequestMessage
from extproc.domain.segment import Backend, Unscanned
from extproc.domain.verdict import Reason

PATH = "/v2/models/m/generate"
DEPTH = LIMITS.json_depth_max
NODES = LIMITS.json_nodes_max
INVALID, TOO_COMPLEX, NOT_ALLOWED = (
    Reason.BODY_INVALID,
    Reason.BODY_TOO_COMPLEX,
    Reason.PARAMETER_NOT_ALLOWED,
)


def head(path: str = PATH, **headers: tuple[str, ...]) -> RequestHead:
    named = {name.replace("_", "-"): values for name, values in headers.items()}
    return RequestHead(method="POST", path=path, headers=named)


def read(body: bytes | str, codec=CODEC, **headers: tuple[str, ...]) -> RequestMessage:
    raw = body.encode() if isinstance(body, str) else body
    (message,) = codec.open(head(**headers)).read_request(raw, eof=True)
    return message


def texts(body: bytes | str) -> list[str]:
    return [segment.text for segment in read(body).segments]


def with_document(document: str) -> str:
    return json.dumps({"text_input": "x", "sampling_parameters": document})


def rows(**cases: list) -> pytest.MarkDecorator:
    """One parameter for each case of each row, named by it."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(one, id=f"{row}-{at}")
            for row, listed in cases.items()
            for at, one in enumerate(listed)
        ],
    )


@rows(
    J1=[
        '{"text_input":"benign","text_input":"EVIL"}',
        '{"text_input":"benign","text\\u005finput":"EVIL"}',
        '{"text_input":"benign","parameters":{"text_input":"EVIL"}}',
        '{"parameters":{"text_input":"EVIL"},"text_input":"benign"}',
        '{"text_input":"x","parameters":{"max_tokens":1},"parameters":{"max_tokens":9}}',
        '{"text_input":"x","parameters":{"max_tokens":1,"max_tokens":9}}',
        '{"text_input":"x","max_tokens":1,"parameters":{"max_tokens":9}}',
        '{"text_input":"x","stop":"a","sampling_param_stop":"b"}',
        '{"text_input":"x","max_tokens":5,"sampling_param_max_tokens":5}',
        '{"text_input":"x","max_tokens":5,"request_output_len":5}',
        with_document('{"max_tokens":1,"max_tokens":9}'),
        with_document('{"stop":"a","st\\u006fp":"b"}'),
        with_document('{"guided_json":{"a":1,"a":2}}'),
        '{"text_input":"x","max_tokens":5,"sampling_parameters":"{\\"max_tokens\\":9}"}',
        '{"text_input":"x","n":1,"sampling_parameters":"{\\"n\\":9}"}',
    ],
    J2=[
        '{"TEXT_INPUT":"x"}',
        '{"text_input\\u0000":"x"}',
        '{"text_input":"x","max_tokens\\u0000":9}',
        '{"text_input":"x","max_tokens ":9}',
        '{"text_input":"x",}',
        '{"text_input":"x",,"a":1}',
        '{"text_input":"x"/**/}',
        '{"text_input":"x"} // comment',
        '{"text_input":"x"}{"text_input":"y"}',
        '{"text_input":"x"}\x00',
        '{"text_input":"x","temperature":NaN}',
        '{"text_input":"x","temperature":-Infinity}',
        '{"text_input":"x","temperature":nan}',
        "{'text_input':'x'}",
        '{text_input:"x"}',
        '{"text_input":"x","seed":05}',
        '{"text_input":"x","seed":+5}',
        '{"text_input":"x","seed":0x5}',
        '{"text_input":"a\tb"}',
        '{"text_input":"\\x41"}',
        '{"text_input":"x","stop":"a\\u0000b"}',
        with_document('{"temperature":NaN}'),
        with_document('{"temperature":1,}'),
        with_document('{"temperature":1}{}'),
        with_document("{'temperature':1}"),
    ],
    J3=[
        '{"text_input":"x"}'.encode("utf-16"),
        '{"text_input":"x"}'.encode("utf-16-le"),
        '{"text_input":"x"}'.encode("utf-32"),
        '{"text_input":"x"}'.encode("utf-8-sig"),
        b'{"text_input":"\xff"}',
        b'{"text_input":"\xc0\xaf"}',
        b'{"text_input":"\xed\xa0\x80"}',
        b'{"text_input":"\xf4\x90\x80\x80"}',
        b'{"text_input":"\xe2\x82"}',
        b'{"\xff":"x","text_input":"x"}',
        '{"text_input":"\\ud800"}',
        '{"text_input":"\\udc00\\ud800"}',
        '{"text_input":"x","a\\ud800":1}',
        with_document('{"stop":"\\ud800"}'),
        with_document('\ufeff{"stop":"a"}'),
    ],
    J5=[
        '{"text_input":null}',
        '{"text_input":5}',
        '{"text_input":true}',
        '{"text_input":{}}',
        '{"text_input":{"text":"EVIL"}}',
        '{"text_input":[]}',
        '{"text_input":[null]}',
        '{"text_input":["x",5]}',
        '{"text_input":[["EVIL"]]}',
        '{"text_input":[{"text":"EVIL"}]}',
        '{"text_input":"x","max_tokens":"5"}',
        '{"text_input":"x","max_tokens":5.0}',
        '{"text_input":"x","max_tokens":5e0}',
        '{"text_input":"x","max_tokens":-1}',
        '{"text_input":"x","max_tokens":4294967301}',
        '{"text_input":"x","max_tokens":null}',
        '{"text_input":"x","n":"5"}',
        '{"text_input":"x","stream":"true"}',
        '{"text_input":"x","stop":null}',
        '{"text_input":"x","stop":true}',
        '{"text_input":"x","sampling_parameters":{"stop":"a"}}',
        '{"text_input":"x","sampling_parameters":["{}"]}',
        '{"text_input":"x","parameters":"max_tokens"}',
        '{"text_input":"x","parameters":[]}',
        with_document("[]"),
        with_document('"EVIL"'),
        with_document('{"max_tokens":"5"}'),
        with_document('{"max_tokens":null}'),
        with_document('{"max_tokens":[5]}'),
    ],
    J6=[
        '{"text_input":"x","inputs":[{"name":"text_input","data":["EVIL"]}]}',
        '{"text_input":"x","foo":{"text_input":"EVIL"}}',
        '{"text_input":"x","foo":[["EVIL"]]}',
        '{"text_input":"x","parameters":{"parameters":{"text_input":"EVIL"}}}',
        '{"text_input":"x","image":"RVZJTA=="}',
        '{"text_input":"x","image":"EVIL"}',
        '{"text_input":"x","image_url":"https://example.org/a.png"}',
        '{"text_input":"x","image_url":"data:text/plain;base64,RVZJTA=="}',
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(case: bytes | str):
    with pytest.raises(PeerError) as caught:
        read(case)
    assert (caught.value.reason, caught.value.status) == (INVALID, 400)
    assert "EVIL" not in caught.value.message


@rows(
    J1=[('{"text_input":"x","sampling_parameters":"{\\"stop\\":\\"a\\"}"}', ["x", "a"])],
    J2=[
        ('{"text\\u005finput":"EVIL"}', ["EVIL"]),
        ('{"\\u0074\\u0065\\u0078\\u0074\\u005F\\u0069nput":"EVIL"}', ["EVIL"]),
        ('{"text_input":"x","MAX_TOKENS":"EVIL"}', ["x", "EVIL"]),
        (' \t\r\n{ "text_input"\n:\r"EVIL" } \n', ["EVIL"]),
        ('{"text_input":"EV\\u0049L\\u0000"}', ["EVIL\0"]),
    ],
    J3=[
        ('{"text_input":"\\ud83d\\ude00"}', ["😀"]),
        ('{"text_input":"\\uFEFF\\u2028"}', ["\ufeff\u2028"]),
        (b'{"text_input":"\xf0\x9f\x98\x80\xef\xbf\xbf"}', ["😀\uffff"]),
    ],
    J5=[
        ('{"text_input":["EVIL"]}', ["EVIL"]),
        ('{"text_input":["a","b"]}', ["a", "b"]),
        ('{"text_input":"x","stop":["a","b"]}', ["x", "a", "b"]),
        (with_document('{"stop":[["a"],{"b":"c"}]}'), ["x", "a", "c"]),
        ('{"text_input":"x","seed":4111111111111111}', ["x", "4111111111111111"]),
    ],
    J6=[
        ('{"parameters":{"text_input":"EVIL"}}', ["EVIL"]),
        ('{"text_input":"x","query":"EVIL"}', ["x", "EVIL"]),
        ('{"text_input":"x","parameters":{"prompt":["EVIL"]}}', ["x", "EVIL"]),
        ('{"text_input":"x","decoder_text_input":"EVIL"}', ["x", "EVIL"]),
        ('{"text_input":"x","embedding_bias_words":["EVIL"]}', ["x", "EVIL"]),
        ('{"id":"EVIL","text_input":"x"}', ["EVIL", "x"]),
    ],
)
def test_what_is_read_is_read_as_triton_does(case: tuple[bytes | str, list[str]]):
    body, expected = case
    assert texts(body) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("[" * 100_000, id="J4-open"),
        pytest.param('{"a":' * 100_000, id="J4-open objects"),
        pytest.param("[" * (DEPTH + 1) + "]" * (DEPTH + 1), id="J4-deep"),
        pytest.param("9" * 1_000_000, id="J4-long number"),
        pytest.param("1e" + "9" * 100, id="J4-long exponent"),
        pytest.param("0." + "1" * 70, id="J4-long fraction"),
        pytest.param("1e999999", id="J4-out of range"),
        pytest.param("[" + "0," * NODES + "0]", id="J4-items"),
        pytest.param("{" + ",".join(f'"k{at}":0' for at in range(NODES)) + "}", id="J4-keys"),
    ],
)
@pytest.mark.parametrize("layer", ["top", "parameters", "sampling_parameters"])
def test_what_is_too_much_is_refused(value: str, layer: str):
    body = {
        "top": f'{{"text_input":"x","a":{value}}}',
        "parameters": f'{{"text_input":"x","parameters":{{"a":{value}}}}}',
        "sampling_parameters": with_document(f'{{"a":{value}}}'),
    }[layer]
    with pytest.raises(PeerError) as caught:
        read(body)
    assert caught.value.reason in {TOO_COMPLEX, INVALID}
    assert caught.value.status == 400


@pytest.mark.parametrize("keys_count", [5_000, NODES])
def test_j4_keys_that_collide_cost_no_more_than_others(keys_count: int):
    # Python's hashes of strings are seeded by the process: what is left is their number.
    members = ",".join(f'"{"a" * (at % 60)}{at}":0' for at in range(keys_count))
    with pytest.raises(PeerError) as caught:
        read(f'{{"text_input":"x","parameters":{{{members}}},"b":null}}')
    assert caught.value.reason is (INVALID if keys_count < NODES / 2 else TOO_COMPLEX)


def test_j4_a_body_is_bounded():
    with pytest.raises(PeerError) as caught:
        read(
            '{"text_input":"' + "x" * 64 + '"}',
            codec=GenerateCodec(limits=replace(LIMITS, body_bytes_max=64)),
        )
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)


@pytest.mark.parametrize("name", ["a", "A" * 64, "text_output", "please_ignore_everything"])
@pytest.mark.parametrize("layer", ["top", "parameters", "sampling_parameters"])
def test_j6_a_string_of_any_name_is_scanned_and_shown_to_the_policy(name: str, layer: str):
    body = {
        "top": {"text_input": "x", name: "EVIL"},
        "parameters": {"text_input": "x", "parameters": {name: "EVIL"}},
        "sampling_parameters": {"text_input": "x", "sampling_parameters": json.dumps({name: "EVIL"})},
    }[layer]
    message = read(json.dumps(body))
    assert [segment.text for segment in message.segments] == ["x", "EVIL"]
    assert message.params.sampling == {name: "EVIL"}


@pytest.mark.parametrize("value", ["[69,86,73,76]", "[69.0,86]"])
def test_j6_text_spelled_in_numbers_is_reported(value: str):
    assert read(f'{{"text_input":"x","a":{value}}}').unscanned == {Unscanned.TENSOR}


@pytest.mark.parametrize(
    "name",
    [
        *("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "binary_data_size"),
        *("binary_data", "binary_data_output", "sequence_id", "sequence_start", "triton_final_response"),
        *("lora_path", "lora_weights", "request_type", "priority", "timeout"),
    ],
)
@pytest.mark.parametrize("value", ["region", 1, True, ["region"]])
@pytest.mark.parametrize("layer", ["top", "parameters", "sampling_parameters"])
def test_j9_content_that_stands_elsewhere_is_refused(name: str, value: object, layer: str):
    body = {
        "top": {"text_input": "x", name: value},
        "parameters": {"text_input": "x", "parameters": {name: value}},
        "sampling_parameters": {"text_input": "x", "sampling_parameters": json.dumps({name: value})},
    }[layer]
    with pytest.raises(PeerError) as caught:
        read(json.dumps(body))
    assert (caught.value.reason, caught.value.status) == (NOT_ALLOWED, 400)


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/systemsharedmemory/region/r/register", "/v2/cudasharedmemory/region/r/register"),
        *("/v2/repository/models/m/load", "/v2/repository/index", "/v2/logging", "/v2/trace/setting"),
        *("/v2/models/m/trace/setting", "/v2/models/stats/generate", "/v2/models/m/versions/1/stats"),
    ],
)
def test_j9_administration_is_not_generate(path: str):
    assert CODEC.accepts(head(path)) is False


# --- H4: Triton reads JSON whatever a body is called, and so does the codec ------------------------------


@pytest.mark.parametrize(
    "kinds",
    [
        (),
        ("text/plain",),
        ("image/png",),
        ("multipart/form-data; boundary=x",),
        # What curl says of a body that it was given by -d.
        ("application/x-www-form-urlencoded",),
        ("application/json; charset=utf-7",),
        ("application/json; charset=utf-16",),
        ("application/json; charset=ibm037",),
        ("application/json", "text/plain"),
    ],
)
def test_h4_what_a_body_is_called_decides_nothing(kinds: tuple[str, ...]):
    headers = {"content_type": kinds} if kinds else {}
    assert [one.text for one in read('{"text_input":"+AEEVIL-"}', **headers).segments] == ["+AEEVIL-"]
    with pytest.raises(PeerError):
        read('{"text_input":"x"}'.encode("utf-16"), **headers)


@pytest.mark.parametrize("encodings", [("gzip",), ("gzip, gzip",), ("identity", "gzip"), ("IDENTITY",)])
def test_h1_an_encoded_body_is_refused(encodings: tuple[str, ...]):
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(content_encoding=encodings))
    assert (caught.value.reason, caught.value.status) == (Reason.ENCODING_UNSUPPORTED, 415)


# --- H5: paths --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v2//models/m/generate",
            "//v2/models/m/generate",
            "/v2/models//m/generate",
            "/v2/models/m//generate",
        ),
        *(
            "/v2/models/x/../m/generate",
            "/v2/./models/m/generate",
            "/v2/models/../generate",
            "/v2/models/./generate",
        ),
        *(
            "/v2/models/%6d/generate",
            "/v2/models/m/%67enerate",
            "/v2/models/m%2fgenerate",
            "/v2/models/%2e%2e/generate",
        ),
        *(
            "/v2/models/m/generate;x",
            "/v2/models/m;x/generate",
            "/v2/models/m\\generate",
            "/v2\\models/m/generate",
        ),
        *(
            "/v2/models/m/generate/",
            "/v2/models/m/generate#x",
            "/v2/models/m/generate?x",
            "/v2/models/m/generate ",
        ),
        *(
            "/V2/models/m/generate",
            "/v2/models/m/GENERATE",
            "/v2/models/m/generate\x00",
            "/v2/models/m/generate\n",
        ),
        *("http://triton/v2/models/m/generate", "v2/models/m/generate", "*", "/v2/models/m\u200b/generate"),
        *(
            "/v2/models/m/versions/generate",
            "/v2/models/m/versions/1/2/generate",
            "/v2/models/m/versions/-1/generate",
        ),
        *(
            "/v2/models/m/versions/1%2f/generate",
            "/v2/models/m/versions/\u0661/generate",
            "/v2/models/.git/generate",
        ),
    ],
)
def test_h5_any_other_spelling_of_a_path_belongs_to_no_codec(path: str):
    assert codec_for(discover(), head(path)) is None
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(path))
    assert (caught.value.reason, caught.value.status) == (Reason.PATH_NOT_ALLOWED, 404)


@pytest.mark.parametrize("path", [PATH, f"{PATH}_stream", "/v2/models/m/versions/1/generate"])
def test_h5_the_paths_themselves_do(path: str):
    assert codec_for(discover(), head(path)) is CODEC


# --- what is forwarded is what was judged ---------------------------------------------------------------


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize(
    "body",
    [
        '{"text\\u005finput":["EV\\u0049L"],"parameters":{"max\\u005ftokens":9}}',
        '{"parameters":{"text_input":"EVIL","sampling_parameters":"{\\"max_tokens\\":9}"}}',
        '{"text_input":"EVIL","sampling_param_max_tokens":[9]}',
        '{"text_input":"EVIL","request_output_len":9,"parameters":{}}',
    ],
)
def test_what_is_forwarded_reads_as_what_was_judged_with_no_limit_above_the_cap(
    body: str, backend: Backend
):
    session = CODEC.open(head())
    (message,) = session.read_request(body.encode(), eof=True)
    written = session.write_request(0, RequestEdits(cap_output_tokens=5, ask_usage=True, backend=backend))
    forwarded = json.loads(written)
    fields = {**forwarded, **forwarded.get("parameters", {})}
    document = json.loads(fields.get("sampling_parameters", "{}"))
    limits = [
        value[0] if isinstance(value, list) else value
        for held in (fields, document)
        for name, value in held.items()
        if name in {"max_tokens", "sampling_param_max_tokens", "request_output_len"}
    ]
    assert set(limits) == {5}
    assert [segment.text for segment in message.segments] == ["EVIL"]
