"""Rows J1 to J5 of the evasion catalogue, for every wire whose request is JSON: one reading, or none.

What is particular to a wire stands in files of its own; a wire that is not in the table fails here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from extproc.codecs import discover
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import Codec, RequestMessage
from extproc.domain.verdict import Reason


@dataclass(frozen=True)
class Wire:
    """A path, and a sound body that ends in a member whose value is an object, an array or a string.

    ``member`` is that member's name; TEXT stands where the text does.
    """

    path: str
    rest: str
    member: str
    value: str

    def body(self, text: str = "hi", *, name: str | None = None, more: str = "") -> str:
        value = self.value.replace("TEXT", text)
        return f'{{{self.rest}"{name or self.member}":{value}{more}}}'


_MESSAGES = '[{"role":"user","content":"TEXT"}]'
_TENSOR = '[{"name":"text_input","shape":[1],"datatype":"BYTES","data":["TEXT"]}]'
WIRES = {
    "triton_generate": Wire("/v2/models/m/generate", "", "text_input", '"TEXT"'),
    "kserve_infer": Wire("/v2/models/m/infer", "", "inputs", _TENSOR),
    "openai_chat": Wire("/v1/chat/completions", '"model":"m",', "messages", _MESSAGES),
    "openai_completions": Wire("/v1/completions", '"model":"m",', "prompt", '"TEXT"'),
    "openai_embeddings": Wire("/v1/embeddings", '"model":"m",', "input", '"TEXT"'),
    "openai_responses": Wire("/v1/responses", '"model":"m",', "input", '"TEXT"'),
    "anthropic_messages": Wire("/v1/messages", '"model":"m","max_tokens":8,', "messages", _MESSAGES),
}
# Their bodies are protobuf, or they have none, or are open to administrators only.
OTHERS = {
    "kserve_grpc",
    "kserve_grpc_read_only",
    "grpc_health",
    "triton_read_only",
    "openai_models",
    "triton_admin",
}
CODECS = {codec.name: codec for codec in discover()}
every_wire = pytest.mark.parametrize("name", WIRES)


def read(name: str, body: str | bytes, codec: Codec | None = None) -> RequestMessage:
    head = RequestHead(method="POST", path=WIRES[name].path)
    raw = body.encode() if isinstance(body, str) else body
    (message,) = (codec or CODECS[name]).open(head).read_request(raw, eof=True)
    return message


def texts(name: str, body: str | bytes) -> list[str]:
    return [segment.text for segment in read(name, body).segments]


def refusal(name: str, body: str | bytes) -> PeerError:
    with pytest.raises(PeerError) as caught:
        read(name, body)
    assert caught.value.status == 400
    assert "EVIL" not in caught.value.message
    return caught.value


def test_every_wire_is_in_the_table():
    assert {*WIRES, *OTHERS} >= CODECS.keys() >= WIRES.keys()


@every_wire
def test_what_the_rows_begin_with_is_read(name: str):
    assert texts(name, WIRES[name].body()) == ["hi"]


# --- J1, J2: keys --------------------------------------------------------------------------------------


@every_wire
@pytest.mark.parametrize("first", ["benign", "EVIL"])
@pytest.mark.parametrize("is_escaped", [False, True], ids=["plain", "escaped"])
def test_j1_a_key_that_stands_twice(*, is_escaped: bool, first: str, name: str):
    wire = WIRES[name]
    member = f"\\u{ord(wire.member[0]):04x}{wire.member[1:]}" if is_escaped else wire.member
    error = refusal(name, wire.body(first, more=f',"{member}":{wire.value.replace("TEXT", "other")}'))
    assert "a key stands twice" in error.message


@every_wire
@pytest.mark.parametrize("more", [',"x":{"a":1,"a":2}', ',"x":[{"a":1,"\\u0061":"EVIL"}]', ',"x":1,"x":1'])
def test_j1_anywhere(more: str, name: str):
    assert "a key stands twice" in refusal(name, WIRES[name].body(more=more)).message


@every_wire
def test_j2_a_key_by_escapes_is_that_key(name: str):
    wire = WIRES[name]
    escaped = "".join(f"\\u{ord(one):04X}" for one in wire.member)
    assert texts(name, wire.body("EVIL", name=escaped)) == ["EVIL"]


@every_wire
@pytest.mark.parametrize(
    "change",
    [str.upper, str.title, lambda key: f" {key}", lambda key: f"{key}\\u0000", lambda key: key[:-1]],
)
def test_j2_another_key_is_not_that_key(change, name: str):
    refusal(name, WIRES[name].body("EVIL", name=change(WIRES[name].member)))


NEARLY_JSON = [
    *(",", ",,", ',"x":1,', ',"x":NaN', ',"x":-Infinity', ',"x":undefined', ',"x":0x10', ',"x":01'),
    *(',"x":+1', ',"x":.5', ',"x":1.', ",'x':1", ",x:1", ',"x":1//c\n', ',"x":/*c*/1', ',"x":True'),
    *(',"x":"\\x41"', ',"x":"\t"', ',"x":"a\nb"', ',"x":"\x00"', ',"x":"\\u00zz"', ',"x":"\\'),
]


@every_wire
@pytest.mark.parametrize("more", NEARLY_JSON)
def test_j2_what_is_nearly_json(more: str, name: str):
    assert refusal(name, WIRES[name].body(more=more)).reason is Reason.BODY_INVALID


@every_wire
@pytest.mark.parametrize("after", ["{}", "x", "\x00", ",", "}", '{"model":"EVIL"}', "\ufeff"])
def test_j2_what_comes_after_the_document(after: str, name: str):
    assert refusal(name, WIRES[name].body() + after).reason is Reason.BODY_INVALID


# --- J3: encodings -------------------------------------------------------------------------------------


@every_wire
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp037"])
def test_j3_any_other_encoding(encoding: str, name: str):
    assert refusal(name, WIRES[name].body("EVIL").encode(encoding)).reason is Reason.BODY_INVALID


NO_UNICODE = [
    *(b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"\x80"),
    *(b"\\ud800", b"\\udc00", b"\\ud800\\u0041", b"\\udc00\\ud800", b"\\uD83D"),
]


@every_wire
@pytest.mark.parametrize("raw", NO_UNICODE)
def test_j3_what_is_no_unicode(raw: bytes, name: str):
    wire = WIRES[name]
    assert refusal(name, wire.body("EVIL").encode().replace(b"EVIL", raw)).reason is Reason.BODY_INVALID
    in_key = wire.body(more=',"EVIL":1').encode().replace(b"EVIL", raw)
    assert refusal(name, in_key).reason is Reason.BODY_INVALID


@every_wire
def test_j3_a_pair_of_surrogates_is_its_character(name: str):
    assert texts(name, WIRES[name].body("\\ud83d\\ude00")) == ["😀"]


# --- J4: too much --------------------------------------------------------------------------------------

TOO_MUCH = {
    "open": "[" * 100_000,
    "deep": "[" * (LIMITS.json_depth_max + 1) + "]" * (LIMITS.json_depth_max + 1),
    "open objects": '{"a":' * 100_000,
    "a long number": "9" * 1_000_000,
    "a long exponent": "1e" + "9" * 100,
    "out of range": "1e999999",
    "items": "[" + "0," * LIMITS.json_nodes_max + "0]",
    "keys": "{" + ",".join(f'"k{at}":0' for at in range(LIMITS.json_nodes_max)) + "}",
}


@every_wire
@pytest.mark.parametrize("what", TOO_MUCH)
def test_j4_what_is_too_much(what: str, name: str):
    reason = refusal(name, WIRES[name].body(more=f',"x":{TOO_MUCH[what]}')).reason
    assert reason in {Reason.BODY_TOO_COMPLEX, Reason.BODY_INVALID}


@every_wire
def test_j4_a_body_over_the_bound(name: str):
    codec = replace(CODECS[name], limits=replace(LIMITS, body_bytes_max=64))
    with pytest.raises(PeerError) as caught:
        read(name, WIRES[name].body("x" * 64), codec)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)


# --- J5: every shape of what holds the text ------------------------------------------------------------

SHAPES = [
    *("null", "1", "1.5", "true", "{}", "[null]", "[[null]]", "[true]", '{"text":"EVIL"}', '["EVIL",1]'),
    *('[{"EVIL":"EVIL"}]', '[["EVIL"]]', '[[{"text":"EVIL"}]]', '[1,"EVIL"]', "[[1],[]]", '{"0":"EVIL"}'),
]


@every_wire
@pytest.mark.parametrize("value", SHAPES)
def test_j5_another_shape(value: str, name: str):
    wire = WIRES[name]
    body = f'{{{wire.rest}"{wire.member}":{value}}}'
    assert refusal(name, body).reason is Reason.BODY_INVALID


@every_wire
@pytest.mark.parametrize("document", ["null", "[]", '"EVIL"', "5", "{}", "", " "])
def test_j5_a_document_of_another_shape(document: str, name: str):
    assert refusal(name, document).reason is Reason.BODY_INVALID
