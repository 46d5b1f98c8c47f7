from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.wire import strict_json
from extproc.wire.compact_json import read_compact

TEXTS = st.text(st.sampled_from('ab"\\/\n\x1fé\U0001f600,:{}[] '), max_size=5)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
WRITTEN = st.builds(
    lambda document, separators, ascii_only: json.dumps(
        document, separators=separators, ensure_ascii=ascii_only
    ).encode(),
    DOCUMENTS,
    st.sampled_from([(",", ":"), (", ", ": "), (",", ": "), (" ,", ":"), (",", " :"), (",  ", ":")]),
    st.booleans(),
)
MARKS = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b"\\",
            b" ",
            b"0",
            b"-",
            b".",
            b"1e999",
            b"true",
            b"NaN",
        ),
        *(b'"a":', b'"a":1,', b",}", b"[,", b"{,", b"]]", b"\\ud800", b"\x00", b"9" * 70, b"null", b'""'),
    ]
)


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """A document with marks put into it, or a piece of it left out."""
    document = draw(WRITTEN)
    for mark in draw(st.lists(MARKS, max_size=2)):
        at = draw(st.integers(0, len(document)))
        document = document[:at] + mark + document[draw(st.integers(at, min(at + 3, len(document)))) :]
    return document


def general(document: bytes, limits=LIMITS):
    """What the general reader alone says; None where it refuses."""
    try:
        value, end = strict_json._read(document, limits)
    except PeerError:
        return None
    return value if not document[end:].strip(b" \t\n\r") else None


@given(nearly())
def test_what_it_reads_is_what_the_general_reader_reads(document):
    try:
        document.decode()
    except UnicodeDecodeError:
        return
    found = read_compact(document, LIMITS)
    assert found is None or found == general(document)


@given(DOCUMENTS, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (",", ": ")]))
def test_it_reads_what_serialisers_write(document, ascii_only, separators):
    written = json.dumps(document, separators=separators, ensure_ascii=ascii_only).encode()
    found = read_compact(written, LIMITS)
    if found is None:
        # Escapes in keys, and numbers that are too long, are the general reader's.
        assert b"\\" in written or re.search(rb"[0-9]{64}", written)
    else:
        assert found == general(written)


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b" 1", b"1 ", b"[1, ]", b"[1,]", b"{,}", b"[,1]", b"[ 1]", b"[1", b"{1}", b'["a":1]'),
        *(b'{"a"}', b'{"a":1,"a":2}', b'{"a":{}', b"[]]", b"[}", b"{]", b"[1]]", b'{"a":1}}', b'{"a" :1}'),
        *(b"1,", b"1, 2", b'{"\\u0061":1}', b'"\\ud800"', b"1e999", b"1" * 65, b"[1][2]", b"[1 2]"),
        *(b"[1  ,2]", b'"a"b"', b"tru"),
    ],
)
def test_it_gives_up_on_whatever_is_wrong_or_unusual(document):
    assert read_compact(document, LIMITS) is None


@pytest.mark.parametrize(
    ("bounds", "fits", "too_much"),
    [
        ({"json_nodes_max": 4}, b"[1,2,3]", b"[1,2,3,4]"),
        ({"json_nodes_max": 5}, b'{"a":1,"b":2}', b'{"a":1,"b":[2]}'),
        ({"json_depth_max": 2}, b"[[1]]", b"[[[]]]"),
        ({"json_number_chars_max": 2}, b"-1", b"1.5"),
    ],
)
def test_its_bounds_are_the_general_readers(bounds, fits, too_much):
    limits = replace(LIMITS, **bounds)
    assert read_compact(fits, limits) == general(fits, limits) is not None
    assert read_compact(too_much, limits) is None
    assert general(too_much, limits) is None
