from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.redaction import charset as cs
from extproc.redaction import pattern
from extproc.redaction.pattern import Chars, Choice, PatternError, Repeat, Sequence, parse


def chars(text):
    return Chars(cs.of_chars(text))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("ab", Sequence((chars("a"), chars("b")))),
        ("a|b", Choice((chars("a"), chars("b")))),
        ("(?:ab)?", Repeat(Sequence((chars("a"), chars("b"))), 0, 1)),
        ("(a)*", Repeat(chars("a"), 0, None)),
        ("a+", Repeat(chars("a"), 1, None)),
        ("a{2}", Repeat(chars("a"), 2, 2)),
        ("a{2,}", Repeat(chars("a"), 2, None)),
        ("a{2,5}", Repeat(chars("a"), 2, 5)),
        ("[a-c]", chars("abc")),
        ("[a\\-c]", chars("a-c")),
        ("[]a]", chars("]a")),
        (r"\.", chars(".")),
        (r"\x41", chars("A")),
        (r"é", chars("é")),
        (r"\U0001F600", chars("😀")),
        ("", Sequence(())),
    ],
)
def test_what_is_read(body, expected):
    assert expected == parse(body)


@pytest.mark.parametrize(
    "body",
    [
        *("(", ")", "a)", "[a", "[b-a]", "[a-\\d]", "a{", "a{x}", "a{3,2}", "a{99999}", "a{,3}"),
        *("*a", "a**", "a+?", "a*+", "a{2}?", "a{2}{3}", "^a", "a$", r"\ba", r"\1", r"\Z", "\\"),
        *("(?=a)", "(?!a)", "(?<=a)", "(?P<n>a)", "(?i)a", r"\x4", r"\uZZZZ", r"\U99999999"),
        *("[[a]", "(" * 40 + "a" + ")" * 40, r"[^\w\W]", "a{²}"),
    ],
)
def test_what_is_refused(body):
    with pytest.raises(PatternError):
        parse(body)


@pytest.mark.parametrize("body", [r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", ".", "[^a-f]", r"[^\d.]"])
@given(char=st.characters())
def test_classes_are_those_of_re_in_ascii_mode(body, char):
    node = parse(body)
    assert isinstance(node, Chars)
    expected = re.fullmatch(body, char, re.ASCII) is not None
    assert expected == cs.contains(node.chars, ord(char))


@pytest.mark.parametrize("body", ["[a-f]", "[^a-f]", "k", r"\x4b"])
@given(char=st.characters())
def test_ignoring_case_is_that_of_re_in_ascii_mode(body, char):
    node = parse(body, ignore_case=True)
    assert isinstance(node, Chars)
    expected = re.fullmatch(body, char, re.ASCII | re.IGNORECASE) is not None
    assert expected == cs.contains(node.chars, ord(char))


@pytest.mark.parametrize(
    ("body", "nullable", "longest", "positions"),
    [
        ("a?", True, 1, 1),
        ("a+", False, None, 1),
        ("a{3,}", False, None, 3),
        ("(?:ab|c){2,4}", False, 8, 12),
        ("(?:a?b?)*", True, None, 2),
        ("(?:){3}", True, 0, 0),
        ("a{0}", True, 0, 0),
        ("(?:a|)b", False, 2, 2),
    ],
)
def test_measures(body, nullable, longest, positions):
    node = parse(body)
    assert nullable == pattern.nullable(node)
    assert longest == pattern.chars_max(node)
    assert positions == pattern.positions(node)


@pytest.mark.parametrize(
    ("body", "expected"), [("a?b", "ab"), ("(?:a|bc)d", "ab"), ("a{0}b", "b"), ("", "")]
)
def test_first(body, expected):
    assert cs.of_chars(expected) == pattern.first(parse(body))
