from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire.json_leaves import bare_bytes, key_text, leaves_of, number_text
from extproc.wire.splice import Splice, encode_string, splice
from extproc.wire.strict_json import Member, Number, Object, Text, parse

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.one_of(st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False))
DOCUMENTS = st.recursive(
    st.one_of(TEXTS, NUMBERS, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
)


@pytest.mark.parametrize(
    ("written", "is_long"),
    [
        (b"4294967295", False),
        (b"-4294967295", False),
        (b"0.700000001", False),
        (b"1e300", False),
        (b"42949672950", True),
        (b"4111111111111111", True),
        (b"0.4111111111111111", True),
        (b"4.111111111111111e15", True),
        (b"0.10000000000000000000411111", True),
    ],
)
def test_a_number_is_text_where_it_has_more_digits_than_a_quantity(written, is_long):
    number = parse(written)
    assert isinstance(number, Number)
    expected = Text(written.decode(), 0, len(written)) if is_long else None
    assert number_text(written, number) == expected


def test_leaves_come_in_wire_order():
    document = b'{"a":["b",{"c":12345678901,"d":1}],"e\\u0041":true,"f":"g"}'
    root = parse(document)
    assert [leaf.value for leaf in leaves_of(document, root)] == ["b", "12345678901", "g"]
    named = [leaf.value for leaf in leaves_of(document, root, keys=True)]
    assert named == ["a", "b", "c", "12345678901", "d", "eA", "f", "g"]


@given(DOCUMENTS, st.booleans())
def test_every_leaf_can_be_taken_out_and_nothing_else_was_text(value, ascii_only):
    document = json.dumps(value, ensure_ascii=ascii_only).encode()
    leaves = list(leaves_of(document, parse(document), keys=True))
    again = [splice(document, [Splice(one.start, one.end, encode_string(one.value))]) for one in leaves]
    assert all(isinstance(parse(one), type(parse(document))) or not document.strip(b"-.e+0123456789")
               for one in again)  # fmt: skip
    left = splice(document, [Splice(one.start, one.end, b"null") for one in leaves])
    assert b'"' not in left
    assert all(len(word) <= 10 for word in left.replace(b".", b"").split() if word.isdigit())


def test_a_key_of_another_document_is_a_bug():
    root = parse(b'{"a":1}')
    assert isinstance(root, Object)
    assert key_text(b'{"a":1}', root.members["a"]) == Text("a", 1, 4)
    with pytest.raises(AssertionError):
        key_text(b"[]", Member("a", 0, root))


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (b'"a, 1"', 0),
        (b'{"a\\"1": [ 1, 23 ],\n"b": true}', 15),
        (rb'["\\", 5, "\"", "\n7"]', 6),
    ],
)
def test_bare_bytes_are_what_is_neither_a_string_nor_space(document, count):
    assert bare_bytes(document) == count
