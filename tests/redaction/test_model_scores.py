"""A text judged window by window: what goes out, and where it ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redaction_texts import split

from extproc.domain.limits import LIMITS
from extproc.redaction.model_scores import ScoredScanner

GOOD, BAD = 0.2, 0.9
SENTENCE = "This one is only here to be some forty-eight letters long. "
WRONG = "And this sentence speaks of badness, which nobody wants here. "


class Play:
    def __init__(self):
        self.scanner = ScoredScanner(0.5)
        self.waiting = []
        self.out = ""
        self.wrong = None

    def feed(self, text, *, eof=False):
        self.waiting += self.scanner.feed(text, eof=eof)

    def answer(self, at=0, score=None):
        window = self.waiting.pop(at)
        decided = window.text[window.decides_from - window.start :]
        scored = self.scanner.answer(window.number, score or (BAD if "badness" in decided else GOOD))
        self.out += scored.released
        self.wrong = self.wrong or scored.wrong


sentences = st.lists(st.sampled_from([SENTENCE, WRONG, "Hm. ", "x" * 300, "\n"]), max_size=12)


@given(sentences, st.lists(st.integers(0, 900), max_size=8), st.randoms(use_true_random=False))
def test_what_goes_out_is_the_same_for_any_cut_and_any_order(drawn, cuts, chance):
    text = "".join(drawn)
    whole = Play()
    whole.feed(text, eof=True)
    while whole.waiting:
        whole.answer()
    play = Play()
    for piece in split(text, cuts):
        play.feed(piece)
        while play.waiting and play.wrong is None and chance.random() < 0.5:
            play.answer(chance.randrange(len(play.waiting)))
    if play.wrong is None:
        play.feed("", eof=True)
    while play.waiting and play.wrong is None:
        play.answer(chance.randrange(len(play.waiting)))
    assert (play.out, play.wrong) == (whole.out, whole.wrong)
    assert text.startswith(play.out)
    if play.wrong is None:
        assert (play.out, play.scanner.done, play.scanner.held_chars) == (text, True, 0)


def test_a_text_ends_where_its_first_wrong_window_begins():
    play = Play()
    play.feed(SENTENCE * 3 + WRONG + SENTENCE, eof=True)
    while play.waiting and play.wrong is None:
        play.answer()
    assert play.out == SENTENCE * 3
    assert play.wrong == (3 * len(SENTENCE), 3 * len(SENTENCE) + len(WRONG), BAD)


def test_a_window_shows_what_came_before_it():
    play = Play()
    play.feed(SENTENCE * 10)
    last = play.waiting[-1]
    assert last.text == (SENTENCE * 10)[last.start :]
    assert last.decides_from - last.start == LIMITS.judge_left_chars


def test_a_score_that_is_no_number_is_a_finding():
    play = Play()
    play.feed(SENTENCE)
    play.answer(score=float("nan"))
    assert (play.out, play.wrong is not None) == ("", True)


def test_what_has_no_score_goes_out_in_its_turn_and_is_counted():
    play = Play()
    play.feed(SENTENCE * 2)
    assert play.scanner.answer(1, None).released == ""
    assert play.scanner.answer(0, GOOD).released == SENTENCE * 2
    assert play.scanner.unread_chars == len(SENTENCE)
    assert play.scanner.answer(0, BAD) == ("", None)


def test_what_is_too_much_to_hold_is_not_cut():
    scanner = ScoredScanner(0.5)
    assert scanner.feed("word " * LIMITS.held_chars_max, eof=True) == ()
    assert scanner.held_chars > LIMITS.held_chars_max
