"""Rows J1 to J5 and H4 of the evasion catalogue, for each of OpenAI's wires: one reading, or none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extproc.codecs.openai_chat import CODEC as CHAT
from extproc.codecs.openai_completions import CODEC as COMPLETIONS
from extproc.codecs.openai_embeddings import CODEC as EMBEDDINGS
from extproc.codecs.openai_responses import CODEC as RESPONSES
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import Codec, RequestMessage
from extproc.domain.verdict import Reason

PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_completions": "/v1/completions",
    "openai_embeddings": "/v1/embeddings",
    "openai_responses": "/v1/responses",
}
# The member that holds the text, and a value of it, in JSON.
TEXTS = {
    "openai_chat": ("messages", '[{"role":"user","content":"TEXT"}]'),
    "openai_completions": ("prompt", '"TEXT"'),
    "openai_embeddings": ("input", '"TEXT"'),
    "openai_responses": ("input", '[{"role":"user","content":"TEXT"}]'),
}
CODECS: list[Codec] = [CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES]
every_codec = pytest.mark.parametrize("codec", CODECS, ids=[codec.name for codec in CODECS])


def head(codec: Codec, **headers: tuple[str, ...]) -> RequestHead:
    named = {name.replace("_", "-"): values for name, values in headers.items()}
    return RequestHead(method="POST", path=PATHS[codec.name], headers=named)


def sound(codec: Codec, text: str = "hi", more: str = "") -> str:
    name, value = TEXTS[codec.name]
    return f'{{"model":"m","{name}":{value.replace("TEXT", text)}{more}}}'


def read(codec: Codec, body: str | bytes) -> RequestMessage:
    raw = body.encode() if isinstance(body, str) else body
    (message,) = codec.open(head(codec)).read_request(raw, eof=True)
    return message


def refusal(codec: Codec, body: str | bytes) -> PeerError:
    with pytest.raises(PeerError) as caught:
        read(codec, body)
    assert caught.value.status == 400
    return caught.value


@every_codec
def test_what_the_rows_begin_with_is_read(codec: Codec):
    assert [segment.text for segment in read(codec, sound(codec)).segments] == ["hi"]


# --- J1: keys that stand twice -------------------------------------------------------------------------


@every_codec
@pytest.mark.parametrize("first", ["benign", "evil"])
def test_j1_a_key_that_stands_twice(codec: Codec, first: str):
    name, value = TEXTS[codec.name]
    second = value.replace("TEXT", "other")
    error = refusal(codec, f'{{"model":"m","{name}":{value.replace("TEXT", first)},"{name}":{second}}}')
    assert "a key stands twice" in error.message


@every_codec
@pytest.mark.parametrize(
    "more",
    [
        ',"model":"n"',
        ',"stop":[{"a":1,"a":2}]',
        ',"user":"a","user":"a"',
        ',"x":{"y":1,"\\u0079":2}',
        ',"mod\\u0065l":"n"',
    ],
)
def test_j1_anywhere(codec: Codec, more: str):
    assert "a key stands twice" in refusal(codec, sound(codec, more=more)).message


# --- J2: variants of keys, and what is nearly JSON -----------------------------------------------------


@every_codec
def test_j2_a_key_by_escapes_is_that_key(codec: Codec):
    name, _ = TEXTS[codec.name]
    escaped = sound(codec).replace(f'"{name}"', '"' + "".join(f"\\u{ord(one):04x}" for one in name) + '"')
    assert [segment.text for segment in read(codec, escaped).segments] == ["hi"]


@every_codec
@pytest.mark.parametrize(
    "change", [str.upper, str.title, lambda name: f" {name}", lambda name: f"{name}\\u0000"]
)
def test_j2_another_key_is_not_that_key(codec: Codec, change):
    name, _ = TEXTS[codec.name]
    error = refusal(codec, sound(codec).replace(f'"{name}"', f'"{change(name)}"'))
    assert error.reason is Reason.BODY_INVALID
    assert error.message.startswith(f"{name} is missing")


@every_codec
@pytest.mark.parametrize("change", [str.upper, str.title])
def test_j2_another_key_beside_it_is_a_parameter_for_the_schema_guard_and_text(codec: Codec, change):
    name, _ = TEXTS[codec.name]
    message = read(codec, sound(codec, more=f',"{change(name)}":["an evil text"]'))
    assert change(name) in message.params.sampling
    assert "an evil text" in [segment.text for segment in message.segments]


@every_codec
@pytest.mark.parametrize(
    "more",
    [
        *(
            ",",
            ",,",
            ',"x":1,',
            ',"x":NaN',
            ',"x":Infinity',
            ',"x":-Infinity',
            ',"x":undefined',
            ',"x":0x10',
        ),
        *(',"x":01', ',"x":+1', ',"x":.5', ',"x":1.', ",'x':1", ",x:1", ',"x":1//c\n', ',"x":/*c*/1'),
        *(',"x":"\\x41"', ',"x":"\t"', ',"x":"a\nb"', ',"x":"\x00"', ',"x":True', ',"x":None'),
    ],
)
def test_j2_what_is_nearly_json(codec: Codec, more: str):
    assert refusal(codec, sound(codec, more=more)).reason is Reason.BODY_INVALID


@every_codec
@pytest.mark.parametrize("after", ["{}", "x", "\x00", ",", "}", '{"model":"n"}', "\ufeff"])
def test_j2_what_comes_after_the_document(codec: Codec, after: str):
    assert refusal(codec, sound(codec) + after).reason is Reason.BODY_INVALID


# --- J3: encodings -------------------------------------------------------------------------------------


@every_codec
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_j3_any_other_encoding(codec: Codec, encoding: str):
    assert refusal(codec, sound(codec).encode(encoding)).reason is Reason.BODY_INVALID


@every_codec
@pytest.mark.parametrize(
    "raw",
    [
        *(b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"\x80"),
        *(b"\\ud800", b"\\udc00", b"\\ud800\\u0041", b"\\udc00\\ud800", b"\\uD83D"),
    ],
)
def test_j3_what_is_no_unicode(codec: Codec, raw: bytes):
    body = sound(codec, "TEXT").encode().replace(b"TEXT", raw)
    assert refusal(codec, body).reason is Reason.BODY_INVALID
    key = sound(codec, more=',"KEY":1').encode().replace(b"KEY", raw)
    assert refusal(codec, key).reason is Reason.BODY_INVALID


@every_codec
def test_j3_a_pair_of_surrogates_is_its_character(codec: Codec):
    assert [segment.text for segment in read(codec, sound(codec, "\\ud83d\\ude00")).segments] == ["😀"]


# --- J4: too much --------------------------------------------------------------------------------------


@every_codec
@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        "[" * 65 + "]" * 65,
        '{"a":' * 100_000,
        "9" * 1_000_000,
        "1e" + "9" * 100,
        "[" + "0," * 60_000 + "0]",
        "{" + ",".join(f'"k{at}":0' for at in range(30_000)) + "}",
    ],
    ids=["open", "deep", "deep objects", "long", "long exponent", "items", "keys"],
)
def test_j4_what_is_too_much(codec: Codec, value: str):
    reason = refusal(codec, sound(codec, more=f',"x":{value}')).reason
    assert reason in {Reason.BODY_TOO_COMPLEX, Reason.BODY_INVALID}


@every_codec
@pytest.mark.parametrize("value", ["1e999999", "-1e400"])
def test_j4_a_number_out_of_range(codec: Codec, value: str):
    assert "a number out of range" in refusal(codec, sound(codec, more=f',"x":{value}')).message


@every_codec
def test_j4_a_body_over_the_bound(codec: Codec):
    session = replace(codec, limits=replace(LIMITS, body_bytes_max=64)).open(head(codec))
    with pytest.raises(PeerError) as caught:
        session.read_request(sound(codec, "x" * 64).encode(), eof=True)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)


# --- J5: every shape of what holds the text ------------------------------------------------------------

SHAPES = [
    *("null", "1", "true", "{}", "[]", "[null]", "[[]]", "[[null]]", "[true]", "[1.5]", '{"text":"evil"}'),
    *('[{"evil":"evil"}]', '["evil",1]', '[["evil"]]', '[[{"text":"evil"}]]', '[1,"evil"]', "[[1],[]]"),
]


@every_codec
@pytest.mark.parametrize("value", SHAPES)
def test_j5_the_member_that_holds_the_text(codec: Codec, value: str):
    name, _ = TEXTS[codec.name]
    assert refusal(codec, f'{{"model":"m","{name}":{value}}}').reason is Reason.BODY_INVALID


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "function"])
@pytest.mark.parametrize("value", [one for one in SHAPES if one not in {"null", "[]"}])
def test_j5_content_in_every_role(role: str, value: str):
    refusal(CHAT, f'{{"model":"m","messages":[{{"role":"{role}","content":{value}}}]}}')


# --- H4: what the head says of the body ----------------------------------------------------------------


@every_codec
@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
        'application/json; charset="utf-8"',
    ],
)
def test_h4_json_is_read(codec: Codec, kind: str):
    codec.open(head(codec, content_type=(kind,)))


@every_codec
@pytest.mark.parametrize(
    "kinds",
    [
        ("text/plain",),
        ("text/plain", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/plain",),
        ("multipart/form-data; boundary=x",),
        ("application/x-www-form-urlencoded",),
        ("application/json; charset=utf-7",),
        ("application/json; charset=utf-16",),
        ("application/json; charset=ibm037",),
        ("application/json; charset=utf-8; charset=utf-7",),
        ("application/json; profile=x",),
        ("application/vnd.api+json",),
        ("application/jsonp",),
        ("",),
        ("application/json\n",),
    ],
)
def test_h4_any_other_kind_is_refused(codec: Codec, kinds: tuple[str, ...]):
    with pytest.raises(PeerError) as caught:
        codec.open(head(codec, content_type=kinds))
    assert (caught.value.reason, caught.value.status) == (Reason.HEADER_INVALID, 415)


@every_codec
def test_h4_without_a_kind_it_is_json_as_for_the_server(codec: Codec):
    codec.open(head(codec))


@every_codec
@pytest.mark.parametrize("encodings", [("gzip",), ("gzip, gzip",), ("identity", "gzip"), ("",)])
def test_h1_an_encoded_body_is_refused(codec: Codec, encodings: tuple[str, ...]):
    with pytest.raises(PeerError) as caught:
        codec.open(head(codec, content_encoding=encodings))
    assert (caught.value.reason, caught.value.status) == (Reason.ENCODING_UNSUPPORTED, 415)
