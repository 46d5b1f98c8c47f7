from __future__ import annotations

import json
import runpy
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.demo.triton_env import STAND_IN

scripts = SimpleNamespace(**runpy.run_path(str(STAND_IN / "1" / "scripts.py")))


@given(st.text())
def test_tokens_join_to_their_text(text):
    assert "".join(scripts.tokens_of(text)) == text


@given(st.text())
def test_every_prompt_has_a_script(prompt):
    scripts.choose(prompt)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Tell me a story of 4 words", "once upon a time"),
        ("Tell me a story of 1 word", "once"),
        ("echo: exactly this  \n", "exactly this  \n"),
        ("anything else", scripts.FAREWELL),
        ("with emoji please", scripts.EMOJI),
        ("the contact card", scripts.contact_card()),
        ("recite something", scripts.FAREWELL),
    ],
)
def test_a_prompt_chooses_its_script(prompt, text):
    assert "".join(scripts.choose(prompt).tokens) == text


def test_a_recital_is_said_token_by_token(tmp_path):
    tokens = ["a", "", "b\n", "😀"]
    (tmp_path / "mine.json").write_text(json.dumps(tokens))
    assert scripts.choose("recite mine now", tmp_path).tokens == tuple(tokens)


def test_pace_failure_and_silence_are_asked_for():
    assert scripts.choose("a story of 2 words, one every 7 ms").pace_ms == 7
    assert scripts.choose("boom").fails_after == 2
    assert scripts.choose("silence").silent


def test_the_contact_card_holds_every_value_split_over_tokens():
    tokens = scripts.tokens_of(scripts.contact_card())
    values = scripts.made_up_person().values()
    assert all(value in "".join(tokens) for value in values)
    assert not any(value in token for value in values for token in tokens)
