"""The runner of patterns against Python's, on what both read alike."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.limits import LIMITS
from extproc.guards._json_schema import Schema, SchemaError
from extproc.guards._patterns import Pattern, PatternError

atoms = st.sampled_from(
    [
        *("a", "b", "-", ".", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\.", r"\\", r"\x61", r"é", r"\n"),
        *("[ab]", "[^a]", "[a-c9]", r"[\d_]", r"[^\w-]", r"[\]\\]", r"[a\-z]", "^", "$", r"\b", r"\B"),
    ]
)
repeats = st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{0}", "*?", "{1,2}?"])
sources = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})")
        | st.tuples(inner, repeats).map(lambda two: f"({two[0]}){two[1]}")
        | inner.map(lambda one: f"(?:|{one})")
    ),
    max_leaves=6,
)
texts = st.text("abc-9_. é\n", max_size=8)


def counted(source, text):
    steps = []
    found = Pattern(source, lambda _: None).found_in(text, steps.append)
    return found, sum(steps)


@given(sources, texts)
def test_it_finds_what_a_known_engine_finds(source, text):
    # Python's ``$`` also matches before a last line end, and its ``\B`` not in an empty text.
    known = re.search(source.replace("$", r"\Z"), text, re.ASCII) is not None
    if text or r"\B" not in source:
        assert counted(source, text)[0] is known


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        ("^[A-Z][a-z]+$", "Oslo", True),
        ("^[A-Z][a-z]+$", "../etc/passwd", False),
        ("^a$", "a\n", False),
        (".", "\u2028", False),
        (r"^\s$", "\u00a0", True),
        (r"^\d$", "\u0663", False),
        (r"^\u0041\u{1F600}\x42$", "A\U0001f600B", True),
        ("^(?<year>[0-9]{4})-[0-9]{2}$", "2024-05", True),
        ("[]", "a", False),
        ("[^]", "\n", True),
        ("", "", True),
    ],
)
def test_single_words(source, text, found):
    assert counted(source, text)[0] is found


@pytest.mark.parametrize(
    "source",
    [
        *(
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            r"(a)\1",
            r"\p{L}",
            r"\k<a>",
            r"(?i:a)",
            r"\cA",
            r"\A",
            r"\Z",
        ),
        *(
            "(",
            ")",
            "(a",
            "[a",
            "[b-a]",
            r"[\d-z]",
            "a**",
            "*a",
            "^*",
            "a{2,1}",
            "a{",
            "a{x}",
            "}",
            "]",
            "\\",
        ),
        *(r"\u12", r"\u{110000}", r"\ud800", r"\xg0", "a{99999}"),
    ],
)
def test_what_cannot_be_run_is_refused(source):
    with pytest.raises(PatternError):
        Pattern(source, lambda _: None)
    with pytest.raises(SchemaError):
        Schema(json.dumps({"patternProperties": {source: True}}))


@pytest.mark.parametrize(
    "source", ["(((a{99}){99}){99}){99}", "(((){99}){99}){99}", "a" * 20_001, "(" * 500]
)
def test_what_takes_too_much_to_read_is_no_schema(source):
    with pytest.raises(SchemaError):
        Schema(json.dumps({"pattern": source}))


def test_the_patterns_of_one_request_have_one_room():
    names = {f"a{{9999}}{at}": True for at in range(3)}
    with pytest.raises(SchemaError):
        Schema(json.dumps({"patternProperties": names}))


@pytest.mark.parametrize(
    "source", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_what_backtracks_elsewhere_costs_as_much_as_the_text_is_long(source):
    short, long = (counted(source, "a" * length + "!")[1] for length in (50, 500))
    assert short < long < 12 * short
    assert Schema(json.dumps({"pattern": source})).holds_of("a" * LIMITS.schema_steps_max + "!") is False
