import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import cuts, pieces_of

from extproc.domain.limits import LIMITS
from extproc.guards._json_syntax import JsonSyntax
from extproc.guards._json_values import NotJsonError, read_json


def wrong_at(*pieces):
    syntax = JsonSyntax()
    before = 0
    for piece in pieces:
        found = syntax.feed(piece)
        if found is not None:
            return before + found
        before += len(piece)
    return None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
documents = st.builds(json.dumps, values, indent=st.sampled_from([None, 1]), ensure_ascii=st.booleans())
near = st.text(st.sampled_from('{}[]:,"\\ \n01.-etrufalsn'), max_size=30)


@given(documents, cuts)
def test_no_part_of_json_is_wrong(document, places):
    assert wrong_at(*pieces_of(document, places)) is None
    assert wrong_at(document + " \n") is None


@given(near, cuts)
def test_where_it_goes_wrong_does_not_depend_on_the_cuts(text, places):
    whole = wrong_at(text)
    assert wrong_at(*pieces_of(text, places)) == whole
    assert wrong_at(*text) == whole


@given(near | documents)
def test_what_is_wrong_is_no_json_however_it_goes_on(text):
    if wrong_at(text) is not None:
        with pytest.raises(NotJsonError):
            read_json(text)


@given(documents, st.integers(0, 200), st.sampled_from("{}[]:,x"))
def test_what_no_parser_reads_is_wrong_or_not_at_its_end(document, place, mark):
    text = document[:place] + mark + document[place:] + "]"
    try:
        read_json(text)
    except NotJsonError:
        syntax = JsonSyntax()
        assert syntax.feed(text) is not None or not _ended(text)


def _ended(text):
    return JsonSyntax().feed(text + "\x00") is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Sure, here", 4),
        ("{a", 1),
        ('{"a" 1', 5),
        ('{"a":1,}', 7),
        ("[1,]", 3),
        ("[1 2", 3),
        ("{} {", 3),
        ("]", 0),
        ("[}", 1),
        ("01 ", 2),
        ("truth ", 5),
        ('"\\x', 2),
        ("\ufeff{}", 0),
        ("```json", 0),
    ],
)
def test_where_it_goes_wrong(text, place):
    assert wrong_at(text) == place


def test_depth_and_numbers_are_bounded():
    assert wrong_at("[" * LIMITS.json_depth_max) is None
    assert wrong_at("[" * (LIMITS.json_depth_max + 1)) == LIMITS.json_depth_max
    assert wrong_at(*"1" * 500) == wrong_at("1" * 500) == LIMITS.json_number_chars_max
