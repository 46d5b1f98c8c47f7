"""Tokens of one stream, and turning them back however the answer is cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redaction_texts import split

from extproc.domain.limits import LIMITS
from extproc.domain.pseudonym import Pseudonym
from extproc.redaction.engine import redact
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.pseudonyms import Pseudonyms, Restorer, token_of

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
MAIL = "EMAIL_ADDRESS"


def pseudonym(value, entity_type=MAIL, key=KEY):
    token = token_of(key, entity_type, value)
    assert token is not None
    return Pseudonym(token=token, value=value, entity_type=entity_type)


def known(*pseudonyms, count_max=100):
    found = Pseudonyms(count_max)
    found.learn(("pii", one) for one in pseudonyms)
    return found


ANN, BOB = pseudonym("ann@example.com"), pseudonym("[bob]@example.com")
ALIEN = pseudonym(ANN.value, key=OTHER_KEY)


class TestTokens:
    def test_a_token_names_its_type_and_is_the_same_for_the_same_value(self):
        assert re.fullmatch(r"\[EMAIL_ADDRESS_[bcdfghjklmnpqrstvwxz]{10}\]", ANN.token)
        assert token_of(KEY, MAIL, ANN.value) == ANN.token

    def test_value_type_and_key_each_make_another_token(self):
        tokens = {ANN.token, BOB.token, ALIEN.token, token_of(KEY, "PERSON", ANN.value)}
        assert len(tokens) == 4

    @pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "a\x7fb", "\ud800"])
    def test_a_value_that_json_would_escape_has_none(self, value):
        assert token_of(KEY, MAIL, value) is None

    def test_a_value_that_is_too_long_has_none(self):
        longest = "x" * LIMITS.pseudonym_chars_max
        assert token_of(KEY, MAIL, longest) is not None
        assert token_of(KEY, MAIL, longest + "x") is None

    def test_its_value_is_in_no_text_of_it(self):
        assert ANN.value not in repr(ANN)

    @pytest.mark.parametrize("entity_type", sorted({rule.entity_type for rule in ALL_RULES}))
    def test_no_rule_that_counts_unasked_finds_a_token(self, entity_type):
        automaton = default_automaton()
        mask = sum(1 << number for number, rule in enumerate(automaton.rules) if rule.default)
        for value in map(str, range(20)):
            text = f"Write to {token_of(KEY, entity_type, value)}, please."
            assert redact(text, automaton, mask=mask).released == text


class TestMany:
    def test_there_is_none_at_first_and_none_after_clear(self):
        found = known(ANN)
        assert (bool(Pseudonyms(1)), bool(found)) == (False, True)
        found.clear()
        assert (bool(found), found.known(ANN.token), found.may_begin("[")) == (False, None, False)

    def test_the_oldest_are_forgotten(self):
        one, two, three = (pseudonym(str(number)) for number in range(3))
        found = known(one, two, count_max=2)
        found.learn([("pii", one), ("pii", three)])
        assert [found.known(each.token) is not None for each in (one, two, three)] == [True, False, True]

    def test_a_token_of_two_values_is_never_turned_back(self):
        twin = Pseudonym(token=ANN.token, value="eve@example.com", entity_type=MAIL)
        found = known(ANN, twin, ANN)
        assert found.known(ANN.token) is None
        assert Restorer(found).feed(ANN.token, eof=True).text == ANN.token


fragments = st.one_of(
    st.sampled_from(
        [ANN.token, BOB.token, ALIEN.token, "[", "]", "[[", "[EMAIL_ADDRESS", "_", "x", " é😀"]
    ),
    st.builds(
        lambda one, at: one.token[:at], st.sampled_from([ANN, BOB, ALIEN]), st.integers(0, len(ANN.token))
    ),
)
texts = st.lists(fragments, max_size=8).map("".join)


def replaced(text):
    """What the whole text gives: no token holds another one's bracket, so order does not matter."""
    marked = text.replace(ANN.token, "\0").replace(BOB.token, "\1")
    return marked.replace("\0", ANN.value).replace("\1", BOB.value)


class TestRestorer:
    @given(texts, st.lists(st.integers(0, 120), max_size=12))
    def test_any_cut_gives_what_the_whole_text_gives(self, text, cuts):
        restorer = Restorer(known(ANN, BOB))
        fed = [restorer.feed(piece) for piece in split(text, cuts)] + [restorer.feed("", eof=True)]
        assert "".join(one.text for one in fed) == replaced(text)
        found = sum(len(one.found) for one in fed)
        assert found == text.count(ANN.token) + text.count(BOB.token)

    @given(texts)
    def test_nothing_is_held_but_what_may_become_a_token(self, text):
        restorer = Restorer(known(ANN, BOB))
        out = "".join(restorer.feed(char).text for char in text)
        held = max(
            (
                size
                for one in (ANN, BOB)
                for size in range(len(one.token))
                if size and text.endswith(one.token[:size])
            ),
            default=0,
        )
        assert restorer.held_chars == held
        assert out == replaced(text[: len(text) - held])

    def test_what_is_turned_back_is_not_read_again(self):
        inner = pseudonym(ANN.token)
        restorer = Restorer(known(ANN, inner))
        assert restorer.feed(inner.token).text == ANN.token
        assert restorer.feed("!", eof=True).text == "!"

    def test_another_streams_token_stays(self):
        restorer = Restorer(known(ANN))
        assert restorer.feed(f"to {ALIEN.token} now").text == f"to {ALIEN.token} now"

    def test_a_token_that_is_learnt_later_is_turned_back_from_then_on(self):
        found = known(ANN)
        restorer = Restorer(found)
        before = restorer.feed(BOB.token[:-1]).text
        found.learn([("pii", BOB)])
        assert before + restorer.feed("]").text == BOB.token
        assert restorer.feed(BOB.token).text == BOB.value
