"""Answers that models read, on every wire: the text as redacted whole, the stream one that clients take."""

from __future__ import annotations

import pytest
from answer_wires import WIRES
from hypothesis import given, settings
from hypothesis import strategies as st
from read_answers import Heard, reads, snapshot, union_on_whole
from redaction_texts import split
from span_model import ADDRESSES, NAMES

MAIL = "ann@example.com"
words = st.sampled_from(
    [*NAMES, *ADDRESSES, MAIL, "Ann", "walks home", "so be it.", "why?", "x" * 40, "漢字。", "\n"]
)
texts = st.lists(st.tuples(words, st.sampled_from([" ", " ", ". ", ""])), min_size=1, max_size=40).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)
STRICT = snapshot(reads())
every_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
streaming = pytest.mark.parametrize(
    "wire", [one for one in WIRES if one.streams], ids=lambda wire: wire.name
)
LONG = "Please go and ask Ann Smith at 12 Elm Street about that mail to ann@example.com. " * 4


@every_wire
@settings(max_examples=40, deadline=None)
@given(
    text=texts, cuts=st.lists(st.integers(0, 900), max_size=12), chance=st.randoms(use_true_random=False)
)
def test_any_pieces_and_any_delay_give_the_whole_texts_redaction(wire, text, cuts, chance):
    heard = Heard(wire, STRICT)
    heard.play(wire.say(split(text, cuts)), chance)
    assert heard.text() == union_on_whole(text)
    assert heard.record.answer_chars_unread == 0


@streaming
def test_what_an_answer_lets_go_goes_out_at_once(wire):
    heard = Heard(wire, STRICT)
    chunks = wire.say([LONG[at : at + 20] for at in range(0, len(LONG), 20)])
    for data in chunks[:-4]:
        heard.chunk(data)
    assert heard.text(whole=False) == ""
    heard.answer_all()
    shown = heard.text(whole=False)
    assert "[PERSON] at [LOCATION]" in shown
    assert union_on_whole(LONG).startswith(shown)
    for data in chunks[-4:]:
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    assert heard.text() == union_on_whole(LONG)
