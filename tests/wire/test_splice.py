from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.wire.splice import Splice, encode_string, insert_members, remove_members, splice
from extproc.wire.strict_json import Object, parse, texts_of

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
OBJECTS = st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS, max_size=2), max_size=6)


def as_object(document: bytes) -> Object:
    value = parse(document)
    assert isinstance(value, Object)
    return value


def test_no_edits_give_the_same_bytes():
    assert splice(b"abc", []) == b"abc"


def test_edits_apply_in_any_order_and_may_touch():
    edits = [Splice(4, 6, b"E"), Splice(0, 1, b""), Splice(1, 4, b"BCD"), Splice(6, 6, b"!")]
    assert splice(b"abcdef", edits) == b"BCDE!"


@pytest.mark.parametrize(
    "edits",
    [
        [Splice(0, 3, b""), Splice(2, 4, b"")],
        [Splice(0, 9, b"")],
        [Splice(2, 1, b"")],
        [Splice(-1, 1, b"")],
    ],
)
def test_impossible_edits_are_a_bug(edits):
    with pytest.raises(ValueError, match="overlap"):
        splice(b"abcdef", edits)


@given(TEXTS)
def test_a_string_survives_encoding(text):
    assert json.loads(encode_string(text)) == text


def test_encoding_escapes_only_what_it_must():
    assert encode_string('ж\u2028"\\\n\x00/') == '"ж\u2028\\"\\\\\\n\\u0000/"'.encode()


@given(OBJECTS, TEXTS)
def test_every_text_can_be_replaced_where_it_stands(members, replacement):
    document = json.dumps(members).encode()
    texts = list(texts_of(parse(document)))
    edited = splice(document, [Splice(t.start, t.end, encode_string(replacement)) for t in texts])
    expected = {
        key: [replacement] * len(value)
        if isinstance(value, list)
        else replacement
        if isinstance(value, str)
        else value
        for key, value in members.items()
    }
    assert json.loads(edited) == expected


@given(OBJECTS, st.sampled_from([None, 2]))
def test_inserted_members_stand_beside_the_old_ones(members, indent):
    document = json.dumps(members, indent=indent).encode()
    new = [(name, b"1") for name in ("new-1", "new-2") if name not in members]
    edited = splice(document, [insert_members(as_object(document), new)])
    assert json.loads(edited) == {**members, **{name: 1 for name, _ in new}}


def test_inserting_nothing_changes_nothing():
    assert splice(b'{"a":1}', [insert_members(as_object(b'{"a":1}'), [])]) == b'{"a":1}'


@given(OBJECTS, st.sets(st.integers(0, 5)), st.sampled_from([None, 2]))
def test_removed_members_leave_the_others_and_their_commas(members, removed, indent):
    document = json.dumps(members, indent=indent).encode()
    names = {name for at, name in enumerate(members) if at in removed}
    edited = splice(document, remove_members(as_object(document), names))
    assert json.loads(edited) == {name: value for name, value in members.items() if name not in names}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a", b'{"b":2,"c":3}'),
        ("b", b'{"a":1,"c":3}'),
        ("c", b'{"a":1,"b":2}'),
        ("ab", b'{"c":3}'),
        ("bc", b'{"a":1}'),
        ("ac", b'{"b":2}'),
        ("abc", b"{}"),
        ("", b'{"a":1,"b":2,"c":3}'),
    ],
)
def test_removal_is_exact(names, expected):
    document = b'{"a":1,"b":2,"c":3}'
    assert splice(document, remove_members(as_object(document), names)) == expected
