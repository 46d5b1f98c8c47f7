from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import (
    Array,
    Constant,
    Number,
    Object,
    Text,
    keys_of,
    locate,
    parse,
    texts_of,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**60), max_value=10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]))
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)
# Bytes that are JSON, nearly JSON, or not at all.
FRAGMENTS = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\n", b"\t", b"0", b"-", b"1", b"9"),
        *(b".", b"e", b"E", b"+", b"a", b"u", b"true", b"false", b"null", b"NaN", b"Infinity", b'"a"'),
        *(b'"a":', b'"\\u0061":1', b'"b":"x"', b"\\ud83d", b"\\ude00", b"\\n", b"\\x", b"\xff", b"\xc3"),
        *(b"\xc3\xa9", b"\x00", b"\x1f", b"\xef\xbb\xbf", b"//", b"1e5", b"01", b"1e999"),
    ]
)
NEARLY_JSON = st.lists(FRAGMENTS, max_size=24).map(b"".join)


class _Refused(Exception):  # noqa: N818 - what the oracle refuses.
    pass


def plain(value):
    """A located tree as Python's json would give it."""
    match value:
        case Array(items=items):
            return [plain(item) for item in items]
        case Object(members=members):
            return {key: plain(member.value) for key, member in members.items()}
        case _:
            return value.value


def oracle(document: bytes):
    """Python's own decoder, with what it lets pass refused."""

    def pairs(members):
        if len({key for key, _ in members}) != len(members):
            raise _Refused
        return dict(members)

    def no_constant(_name):
        raise _Refused

    def finite(digits):
        number = float(digits)
        if not math.isfinite(number) or len(digits) > LIMITS.json_number_chars_max:
            raise _Refused
        return number

    def integer(digits):
        if len(digits) > LIMITS.json_number_chars_max:
            raise _Refused
        return int(digits)

    try:
        value = json.loads(
            document.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_constant=no_constant,
            parse_float=finite,
            parse_int=integer,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise _Refused from error
    return value


def spans_read_back(document: bytes, value) -> bool:
    """Whether every span holds exactly its own value."""
    match value:
        case Array(items=items):
            below = all(spans_read_back(document, item) for item in items)
        case Object(members=members):
            below = all(
                json.JSONDecoder().raw_decode(document[member.start :].decode())[0] == member.name == key
                and spans_read_back(document, member.value)
                for key, member in members.items()
            )
        case _:
            below = True
    return below and json.loads(document[value.start : value.end]) == plain(value)


def refusal_of(document: bytes, **bounds) -> PeerError:
    with pytest.raises(PeerError) as caught:
        parse(document, limits=replace(LIMITS, **bounds))
    return caught.value


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_every_document_reads_as_pythons_json_and_every_span_is_its_values(document, ascii_only, indent):
    encoded = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    value = parse(encoded)
    assert plain(value) == document
    assert spans_read_back(encoded, value)


@given(NEARLY_JSON | st.binary(max_size=40))
def test_what_the_oracle_accepts_is_read_alike_and_all_else_is_refused(document):
    try:
        expected = oracle(document)
    except _Refused:
        assert refusal_of(document).status == 400
    else:
        assert plain(parse(document)) == expected


# Rows J1 to J4 of the evasion catalogue, as far as they are about JSON itself.
@pytest.mark.parametrize(
    ("document", "reason", "message"),
    [
        (b'{"a":1,"a":2}', Reason.BODY_INVALID, "a key stands twice in one object at byte 7"),
        (b'{"a":1,"\\u0061":2}', Reason.BODY_INVALID, "a key stands twice in one object at byte 7"),
        (b'{"x":{"a":1,"a":2}}', Reason.BODY_INVALID, "a key stands twice in one object at byte 12"),
        (b'{"a":1,}', Reason.BODY_INVALID, "expected a key in double quotes at byte 7"),
        (b"[1,]", Reason.BODY_INVALID, "expected a value at byte 3"),
        (b'{"a":1 /*c*/}', Reason.BODY_INVALID, "expected ',' or the end of the container at byte 7"),
        (b"{'a':1}", Reason.BODY_INVALID, "expected a key in double quotes at byte 1"),
        (b'{"a" 1}', Reason.BODY_INVALID, "expected ':' after a key at byte 5"),
        (b'{"a":NaN}', Reason.BODY_INVALID, "NaN and Infinity are not JSON at byte 5"),
        (b"[-Infinity]", Reason.BODY_INVALID, "NaN and Infinity are not JSON at byte 1"),
        (b"[01]", Reason.BODY_INVALID, "expected ',' or the end of the container at byte 2"),
        (b"[1]x", Reason.BODY_INVALID, "unexpected bytes after the JSON document at byte 3"),
        (b"{}{}", Reason.BODY_INVALID, "unexpected bytes after the JSON document at byte 2"),
        (b'{"a":1]', Reason.BODY_INVALID, "expected ',' or the end of the container at byte 6"),
        (b"", Reason.BODY_INVALID, "unexpected end of the JSON document at byte 0"),
        (b'{"a":', Reason.BODY_INVALID, "unexpected end of the JSON document at byte 5"),
        (b'{"a', Reason.BODY_INVALID, "an unterminated string at byte 3"),
        (b'["a', Reason.BODY_INVALID, "an unterminated string at byte 3"),
        (b'["a\nb"]', Reason.BODY_INVALID, "a control character in a string at byte 3"),
        (b'{"a\tb":1}', Reason.BODY_INVALID, "a control character in a string at byte 3"),
        (b'["\\x41"]', Reason.BODY_INVALID, "an invalid escape in a string at byte 2"),
        (b'["\\u00g0"]', Reason.BODY_INVALID, "an invalid escape in a string at byte 2"),
        (b"\xef\xbb\xbf{}", Reason.BODY_INVALID, "a byte order mark at byte 0"),
        ('{"a":1}'.encode("utf-16"), Reason.BODY_INVALID, "invalid UTF-8 at byte 0"),
        ('{"a":1}'.encode("utf-16-le"), Reason.BODY_INVALID, "expected a key in double quotes at byte 1"),
        ('{"a":1}'.encode("utf-32-be"), Reason.BODY_INVALID, "expected a value at byte 0"),
        (b'["\xc0\xaf"]', Reason.BODY_INVALID, "invalid UTF-8 at byte 2"),
        (b'["\xed\xa0\x80"]', Reason.BODY_INVALID, "invalid UTF-8 at byte 2"),
        (b'["\xe2\x82', Reason.BODY_INVALID, "invalid UTF-8 at byte 2"),
        (b'["\\ud800"]', Reason.BODY_INVALID, "a string with a lone surrogate escape starts at byte 1"),
        (
            b'["\\udc00\\ud800"]',
            Reason.BODY_INVALID,
            "a string with a lone surrogate escape starts at byte 1",
        ),
        (b'{"\\uD800":1}', Reason.BODY_INVALID, "a string with a lone surrogate escape starts at byte 1"),
        (b"[1e999999]", Reason.BODY_INVALID, "a number out of range at byte 1"),
        (b"[" * 100_000, Reason.BODY_TOO_COMPLEX, "nested deeper than 64 at byte 64"),
        (b'{"a":' * 100_000, Reason.BODY_TOO_COMPLEX, "nested deeper than 64 at byte 320"),
        (b"1" * 1_000_000, Reason.BODY_TOO_COMPLEX, "a number longer than 64 characters at byte 0"),
        (
            b"[" + b"0," * 2_500_000 + b"0]",
            Reason.BODY_TOO_COMPLEX,
            "more than 50000 values and keys at byte 99999",
        ),
    ],
    ids=range(37),
)
def test_ambiguous_and_oversized_input_is_refused_with_its_place(document, reason, message):
    refused = refusal_of(document)
    assert (refused.reason, refused.status) == (reason, 400)
    line_and_column = f" (line 1 column {int(message.rsplit(' ', 1)[1]) + 1})"
    assert refused.message == message + line_and_column


@pytest.mark.parametrize("many", [b"[%s]", b"{%s}"])
def test_five_megabytes_of_tiny_elements_are_refused(many):
    item = b'"k%d":0' if many.startswith(b"{") else b"%d"
    document = many % b",".join(item % number for number in range(60_000 * 10))
    assert refusal_of(document).reason is Reason.BODY_TOO_COMPLEX


def test_a_place_counts_lines_and_columns_in_bytes():
    assert (
        refusal_of(b'{\n "a": 1,\n "b": nope}').message == "expected a value at byte 17 (line 3 column 7)"
    )
    assert locate(b"\n\nx", 2) == "byte 2 (line 3 column 1)"


@given(st.binary(max_size=60) | NEARLY_JSON)
def test_an_error_quotes_nothing(document):
    marked = b'{"SECRETKEY":"SECRETTEXT",' + document
    try:
        parse(marked)
    except PeerError as error:
        assert "SECRET" not in error.message  # noqa: PT017 - it need not raise.


@pytest.mark.parametrize("depth", [1, 64])
def test_depth_counts_containers(depth):
    assert plain(parse(b"[" * depth + b"]" * depth)) == json.loads("[" * depth + "]" * depth)
    assert (
        refusal_of(b"[" * depth + b"]" * depth, json_depth_max=depth - 1).reason is Reason.BODY_TOO_COMPLEX
    )


@pytest.mark.parametrize("document", [b'{"a":12345}', b'{"a": 12345}', b'{"a":-1234}', b"[1.234]"])
def test_a_numbers_length_is_bounded_on_every_path(document):
    assert refusal_of(document, json_number_chars_max=4).reason is Reason.BODY_TOO_COMPLEX
    assert parse(document, limits=replace(LIMITS, json_number_chars_max=5)) == parse(document)


def test_nodes_count_values_and_keys():
    document = b'{"a":[1,{"b":2}]}'
    assert plain(parse(document, limits=replace(LIMITS, json_nodes_max=7))) == {"a": [1, {"b": 2}]}
    assert refusal_of(document, json_nodes_max=6).reason is Reason.BODY_TOO_COMPLEX
    assert refusal_of(b'{"a":1,"b":2}', json_nodes_max=4).message.startswith("more than 4 values and keys")
    assert plain(parse(b'{"a":1,"b":2}', limits=replace(LIMITS, json_nodes_max=5))) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "inner",
    [b"a" * 5_000_000, b"\\n" * 2_500_000, "ж".encode() * 2_500_000, b"\\ud83d\\ude00" * 400_000],
    ids=["plain", "escapes", "two-bytes", "surrogate-pairs"],
)
def test_one_string_of_five_megabytes_is_read_whole(inner):
    value = parse(b'{"a":"' + inner + b'"}')
    assert len(plain(value)["a"]) == len(json.loads(b'"' + inner + b'"'))


def test_integers_stay_integers_and_fractions_do_not():
    assert [type(item.value) for item in parse(b"[1,-0,1.0,1e2,-1E-2]").items] == [
        int,
        int,
        float,
        float,
        float,
    ]


def test_leaves_and_keys_are_listed():
    value = parse(b'{"a":["x",{"b":"y","c":1}],"d":"z"}')
    assert [text.value for text in texts_of(value)] == ["x", "y", "z"]
    assert set(keys_of(value)) == {"a", "b", "c", "d"}


def test_scalars_may_stand_alone():
    assert parse(b' "a" ') == Text("a", 1, 4)
    assert parse(b"-1") == Number(-1, 0, 2)
    assert parse(b"null\n") == Constant(None, 0, 4)
