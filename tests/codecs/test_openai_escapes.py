from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._openai_escapes import (
    EscapeReader,
    EscapeWriter,
    has_escapes,
    read_escapes,
    unusual,
    write_escapes,
)

UNITS = ["a", '"', "\\", "\\\\", '\\"', "\\n", "\\/", "\\u0040", "\\u00", "\\u0022", "\\u005c", "\\ud83d"]
UNITS += ["\\ude00", "\\ud83d\\ude00", "\\uD83D", "\\x", "\n", "é", "u", "0041", "\\u0001", "\\b"]
documents = st.lists(st.sampled_from(UNITS), max_size=12).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (r"a\u0040b.c", "a@b.c"),
        (r"1\/2", "1/2"),
        (r"x\ty", "x\ty"),
        (r"\"a\" \\ \u0022\u005C", r"\"a\" \\ \"\\"),
        (r"\\u0040", r"\\u0040"),
        (r"\ud83d\ude00 \uD83D\uDE00", "😀 😀"),
        (r"\ud83d \ude00 \ud83d\u0041", r"\ud83d \ude00 \ud83dA"),
        (r"\x41 \u12 \u00zz", r"\x41 \u12 \u00zz"),
        ("\\", "\\"),
        (r"\u0000\u001f", "\x00\x1f"),
    ],
)
def test_an_escape_is_read_unless_it_could_not_be_written_again(document, text):
    assert read_escapes(document) == text


@given(documents, st.lists(st.integers(0, 60), max_size=5))
def test_pieces_mean_nothing(document, places):
    ends = sorted({min(place, len(document)) for place in places} | {len(document)})
    reader = EscapeReader()
    parts = [
        reader.feed(document[start:end], eof=end == len(document))
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    assert "".join(part.spelled for part in parts) == document
    assert "".join(part.text for part in parts) == read_escapes(document)
    assert reader.begun == ""


@given(documents)
def test_each_piece_reads_as_it_is_spelled(document):
    reader = EscapeReader()
    for at in range(len(document)):
        spelled, text = reader.feed(document[at])
        assert read_escapes(spelled) == text
        assert len(reader.begun) <= 11


@given(values, st.booleans())
def test_what_is_written_means_what_was_read(value, ascii_only):
    document = json.dumps(value, ensure_ascii=ascii_only).replace("/", r"\/")
    assert json.loads(write_escapes(read_escapes(document))) == json.loads(document)


@given(values, st.lists(st.integers(0, 60), max_size=5))
def test_it_is_written_alike_in_pieces(value, places):
    text = read_escapes(json.dumps(value, indent=1))
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    writer = EscapeWriter()
    written = "".join(writer.feed(text[start:end]) for start, end in zip([0, *ends], ends, strict=False))
    assert written == write_escapes(text)
    assert json.loads(written) == value


def test_line_ends_between_values_stay_and_those_within_strings_are_escaped():
    assert write_escapes('{\n"a": "b\nc\td\x01"\n}') == '{\n"a": "b\\nc\\td\\u0001"\n}'


def test_a_writer_is_told_of_few_texts_and_of_none_that_it_knows():
    hashed = [f"[CREDIT_CARD:{at:016x}]" for at in range(5_000)]
    masks = [f"****-{at:04}" for at in range(5_000)]
    assert unusual([*hashed, "[PERSON]", "[PERSON_ab]", "************1111"]) == frozenset()
    told = unusual([*hashed, *masks, "gone", "gone", "weg"])
    assert "gone" in told
    assert len(told) == 64
    assert told - {"gone"} <= {*masks, "weg"}
    assert unusual(["gone", *hashed, "weg", "****.5678"]) == {"gone", "weg", "****.5678"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('{"k":[CREDIT_CARD]}', {"k": "[CREDIT_CARD]"}),
        (
            '[[CREDIT_CARD], [IBAN:0a1b],"[CREDIT_CARD] \n"]',
            ["[CREDIT_CARD]", "[IBAN:0a1b]", "[CREDIT_CARD] \n"],
        ),
        (
            '{"k": ************1111, "l": "************1111"}',
            {"k": "*" * 12 + "1111", "l": "*" * 12 + "1111"},
        ),
        ('["a:\\n[CREDIT_CARD]"]'.replace("\\n", "\n"), ["a:\n[CREDIT_CARD]"]),
    ],
)
def test_what_took_a_numbers_place_is_a_string(text, written):
    assert json.loads(write_escapes(text)) == written
    # Scanners let go of it at once; the comma before it can be in another piece.
    writer = EscapeWriter()
    pieces = re.split(r"(?<=[:, \[])(?=\[[A-Z]|\*)|(?<=[\]1])(?=[,}\]])", text)
    assert json.loads("".join(map(writer.feed, pieces))) == written


@pytest.mark.parametrize("text", ["see [CREDIT_CARD] there", "[PERSON] said", "a, [PERSON] b", "x: ** y"])
def test_what_is_no_json_stays_as_it_is(text):
    assert write_escapes(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'{"a": "\u0040"}', True),
        (' [1, "\\n"]\n', True),
        (r'["C:\new"]', True),
        ('{"a": "b"}', False),
        (r'["a\\", "\""]', True),
        (r'["a\"]', False),
        (r"[\n]", False),
        ('["a\nb\\t"]', False),
        (r'see "\n"', False),
        (r'["\n" and more', False),
        ("\\", False),
        (" \\ ", False),
    ],
)
def test_what_is_read_as_json_has_strings_and_its_escapes_within_them(text, expected):
    assert has_escapes(text) is expected


@given(values)
def test_whatever_json_has_a_backslash_has_escapes(value):
    document = json.dumps([value])
    assert has_escapes(document) is ("\\" in document)


@given(documents)
def test_what_has_escapes_is_written_as_it_was_read(document):
    text = f'["{document}"]'
    if has_escapes(text):
        read = read_escapes(text)
        assert read_escapes(write_escapes(read)) == read


@given(
    values, st.lists(st.integers(0, 60), max_size=5), st.integers(0, 60), st.sampled_from("\n\t\x00\x1f")
)
def test_a_control_character_within_a_string_is_spelled_as_one_that_was_escaped(value, places, at, mark):
    document = json.dumps(value, ensure_ascii=False)
    raw = document[:at] + mark + document[at:]
    reader = EscapeReader()
    ends = sorted({min(place, len(raw)) for place in places} | {len(raw)})
    pieces = [raw[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    spelled = "".join([reader.feed(piece).spelled for piece in pieces]) + reader.feed("", eof=True).spelled
    assert spelled == EscapeReader().feed(raw, eof=True).spelled
    if _is_json(raw):
        assert json.loads(spelled) == json.loads(raw, strict=False)


def _is_json(text):
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("raw", "spelled"),
    [
        ('{"a":"x\ny"}', r'{"a":"x\ny"}'),
        ('{\n"a":\t1}', '{\n"a":\t1}'),
        ('{"a\\"\n": "\\\\"\n}', '{"a\\"\\n": "\\\\"\n}'),
        ('"\x01"', r'"\u0001"'),
    ],
)
def test_line_ends_are_escaped_in_strings_and_nowhere_else(raw, spelled):
    assert EscapeReader().feed(raw, eof=True) == (spelled, read_escapes(raw))
