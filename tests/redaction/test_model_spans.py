"""Rules and a stand-in model together: the union of both, whatever the cuts and the delays."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redaction_texts import split

from extproc.domain.effects import ModelSpan
from extproc.domain.limits import LIMITS
from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import Plan, RuleScanner, redact
from extproc.redaction.model_spans import ModelledScanner
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.windows import Windows

RULES = compile_rules(
    [
        Rule(name="pin", entity_type="PIN", pack="t", body=r"\d{4,6}"),
        Rule(
            name="key",
            entity_type="KEY",
            pack="t",
            body="k-[A-Za-z ]+",
            left=Boundary.NONE,
            right=Boundary.NONE,
        ),
    ]
)
PLAN = Plan(RULES, mask=RULES.mask())
NAME = re.compile(r"[A-Z][a-z]+(?: [A-Z][a-z]+)+")
LEFT, ENTITY, SHORTEST, LONGEST = (
    LIMITS.model_left_chars,
    LIMITS.model_entity_chars_max,
    LIMITS.model_window_chars_min,
    LIMITS.model_window_chars_max,
)
TYPES = frozenset({"PERSON", "LOCATION"})


def stand_in(text):
    """A model that takes capitalised words in a row for a name, as far as the text that it sees goes."""
    return [ModelSpan("PERSON", one.start(), one.end(), 0.9) for one in NAME.finditer(text)]


class Play:
    """A scanner and its model; answers wait until they are asked for, in any order."""

    def __init__(self):
        self.scanner = ModelledScanner(
            RuleScanner.of(PLAN),
            detector="t/model-1",
            entity_types=TYPES,
            replacement=lambda entity_type, _value: f"[{entity_type}]",
        )
        self.waiting = []
        self.out = ""
        self.findings = []

    def take(self, scan):
        self.out += scan.released
        self.findings += scan.findings

    def feed(self, text, *, eof=False):
        scan, asked = self.scanner.feed(text, eof=eof)
        self.take(scan)
        self.waiting += asked

    def answer(self, at=0):
        window = self.waiting.pop(at)
        self.take(self.scanner.answer(window.number, stand_in(window.text)))

    def finish(self):
        self.feed("", eof=True)
        while self.waiting:
            self.answer()
        assert self.scanner.done
        return self.out


def cuts_of(text):
    """Where the text is cut: the same as is documented, by looking at every place in turn."""
    cuts = [0]
    for at in range(1, len(text) + 1):
        before = text[cuts[-1] : at]
        if re.search(
            "(?:[.!?\u2026\u061f][\"'\u201d\u2019)\\]\u00bb]{0,4}\\s|[\u3002\uff01\uff1f\u0964]|\n)\\Z",
            before[SHORTEST:],
        ):
            cuts.append(at)
        elif len(before) == LONGEST:
            cuts.append(cuts[-1] + (before.rindex(" ") + 1 if " " in before else LONGEST))
    return cuts[1:]


def oracle(text):
    """All spans of both on the whole text, put together and replaced."""
    spans = [
        (one.start, -one.end, 0, f"[{one.entity_type}]")
        for one in redact(text, RULES, mask=RULES.mask()).findings
    ]
    decided = 0
    for end, last in [*((cut, False) for cut in cuts_of(text)), (len(text), True)]:
        decides_to = end if last else end - ENTITY
        if decides_to <= decided:
            continue
        start = max(decided - LEFT, 0)
        spans += [
            (start + one.start, -(start + one.end), 1, "[PERSON]")
            for one in stand_in(text[start:end])
            if decided <= start + one.start < decides_to
        ]
        decided = decides_to
    out, at = "", 0
    for start, negated_end, _, replacement in sorted(spans):
        if start >= at:
            out += text[at:start] + replacement
        at = max(at, -negated_end)
    return out + text[at:]


words = st.sampled_from(
    [
        *(
            "Ann",
            "Smith",
            "Jo",
            "walks",
            "home",
            "1234",
            "12",
            "k-",
            "k-Ann Smith",
            "x" * 40,
            "A" + "b" * 90,
        ),
        *("漢字。", "end.", 'so."', "why?", "\n"),
    ]
)
texts = st.lists(st.tuples(words, st.sampled_from([" ", " ", " ", "", "  "])), max_size=60).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)


@given(texts, st.lists(st.integers(0, 1500), max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_any_cut_and_any_delay_give_the_union_of_both(text, cuts, chance):
    play = Play()
    for piece in split(text, cuts):
        play.feed(piece)
        while play.waiting and chance.random() < 0.5:
            play.answer(chance.randrange(len(play.waiting)))
    assert play.finish() == oracle(text)


@given(texts)
@settings(max_examples=150, deadline=None)
def test_windows_do_not_depend_on_how_the_text_comes(text):
    one_by_one, at_once = Windows(), Windows()
    found = [window for char in text for window in one_by_one.feed(char)] + one_by_one.feed("", eof=True)
    assert found == at_once.feed(text, eof=True)
    assert "".join(text[one.decides_from : one.decides_to] for one in found) == text
    assert all(len(one.text) <= LEFT + ENTITY + LONGEST for one in found)


def test_short_sentences_are_read_together():
    text = "\n" * 10_000
    windows = Windows().feed(text, eof=True)
    assert len(windows) <= len(text) // SHORTEST + 1


@given(texts)
@settings(max_examples=100, deadline=None)
def test_nothing_goes_out_unseen_and_what_does_is_decided(text):
    play = Play()
    play.feed(text)
    assert play.out == ""
    while play.waiting:
        play.answer()
    assert oracle(text).startswith(play.out)
    assert play.scanner.held_chars >= min(len(text), ENTITY)


def test_a_name_is_found_that_no_rule_knows():
    play = Play()
    play.feed("Mail Ann Smith at 1234 now. ")
    assert play.finish() == "[PERSON] at [PIN] now. "
    assert [(one.entity_type, one.detector) for one in play.findings] == [
        ("PERSON", "t/model-1"),
        ("PIN", "pin"),
    ]


def test_where_both_overlap_the_leftmost_replaces_all():
    play = Play()
    play.feed("so k-Ann Smith")
    play.feed(" Jones 7")
    assert play.finish() == "so [KEY]7"


class TestDeadline:
    def test_what_rules_clear_goes_out_and_is_counted(self):
        play = Play()
        play.feed("ask Ann Smith about 1234 or 12")
        play.take(play.scanner.let_go(30))
        assert play.out == "ask Ann Smith about [PIN] or "
        assert play.scanner.unread_chars == 28
        assert play.finish() == "ask Ann Smith about [PIN] or 12"
        # The rules cleared the last two only with the end.
        assert play.scanner.unread_chars == 30

    def test_never_more_than_that(self):
        play = Play()
        play.feed("so 12")
        play.take(play.scanner.let_go(5))
        play.feed("34 k-a")
        play.take(play.scanner.let_go(11))
        assert play.out == "so [PIN] "
        assert play.finish() == "so [PIN] [KEY]"

    def test_only_what_has_waited_goes_out(self):
        play = Play()
        play.feed("ask Ann Smith")
        play.take(play.scanner.let_go(4))
        assert (play.out, play.scanner.unread_chars) == ("ask ", 4)
        assert play.finish() == "ask [PERSON]"
        assert play.scanner.unread_chars == 4

    def test_what_the_rules_clear_later_goes_out_then(self):
        play = Play()
        play.feed("so 12")
        play.take(play.scanner.let_go(5))
        assert play.out == "so "
        play.feed(" Ann Smith")
        assert (play.out, play.scanner.unread_chars) == ("so 12", 5)
        assert play.finish() == "so 12 [PERSON]"

    def test_of_a_name_that_began_before_the_rest_is_replaced(self):
        play = Play()
        play.feed("ask Ann ")
        play.take(play.scanner.let_go(8))
        play.feed("Smith. ")
        assert play.finish() == "ask Ann [PERSON]. "

    def test_without_anything_to_let_go_nothing_is_counted(self):
        play = Play()
        play.take(play.scanner.let_go(0))
        assert (play.out, play.scanner.unread_chars) == ("", 0)

    def test_what_is_out_is_asked_about_no_more(self):
        play = Play()
        play.feed("ask Ann Smith.", eof=True)
        (window,) = play.waiting
        assert play.scanner.asks(window.number)
        play.take(play.scanner.let_go(14))
        assert play.scanner.done
        assert not play.scanner.waits
        assert not play.scanner.asks(window.number)
        play.answer()
        assert (play.out, play.scanner.unread_chars) == ("ask Ann Smith.", 14)

    def test_a_window_without_an_answer_is_left_to_the_rules(self):
        play = Play()
        play.feed("ask Ann Smith about 1234. " * 8)
        while play.waiting:
            window = play.waiting.pop(0)
            play.take(
                play.scanner.answer(window.number, None if window.number == 0 else stand_in(window.text))
            )
        assert play.out.startswith("ask Ann Smith about [PIN]. ")
        assert play.finish().endswith("ask [PERSON] about [PIN]. ")
        assert play.scanner.unread_chars > 0


def test_what_the_policy_does_not_name_is_no_finding():
    play = Play()
    play.feed("Ann. ", eof=True)
    (window,) = play.waiting
    scan = play.scanner.answer(window.number, [ModelSpan("MOOD", 0, 3, 1.0)])
    assert (scan.released, scan.findings) == ("Ann. ", ())


def test_what_takes_a_values_place_may_need_the_value():
    scanner = ModelledScanner(
        RuleScanner.of(PLAN),
        detector="t/m",
        entity_types=TYPES,
        replacement=lambda entity_type, value: f"<{entity_type}:{value[::-1]}>",
    )
    _, (window,) = scanner.feed("to Ann now", eof=True)
    assert scanner.answer(window.number, [ModelSpan("PERSON", 3, 6, 1.0)]).released == "to <PERSON:nnA> now"


def test_dropped_text_never_goes_out():
    play = Play()
    play.feed("ask Ann Smith. " * 20)
    play.scanner.drop()
    assert play.scanner.held_chars == 0
    assert play.scanner.let_go(10**6).released == ""


@pytest.mark.parametrize("end", [5, 500])
def test_a_span_beyond_its_window_ends_with_it(end):
    play = Play()
    play.feed("Anna. ", eof=True)
    (window,) = play.waiting
    scan = play.scanner.answer(window.number, [ModelSpan("PERSON", 0, end, 1.0)])
    assert scan.released == ("[PERSON] " if end == 5 else "[PERSON]")


# --- what a model may say, and when ------------------------------------------------------------


def test_one_place_may_be_two_things():
    play = Play()
    play.feed("It was Paris Hill.", eof=True)
    both = [ModelSpan("PERSON", 7, 17, 0.8), ModelSpan("LOCATION", 7, 17, 0.9)]
    play.take(play.scanner.answer(0, both))
    assert play.out == "It was [LOCATION]."
    assert sorted(one.entity_type for one in play.findings) == ["LOCATION", "PERSON"]


def test_what_an_answer_told_counts_where_an_earlier_one_is_late():
    plain = "This is one sentence of no import to anybody at all. "
    text = plain * 6 + "It was Ann Smith who said so. " + plain * 3
    play = Play()
    play.feed(text, eof=True)
    begin = text.index("Ann")
    (at,) = (at for at, one in enumerate(play.waiting) if one.decides_from <= begin < one.decides_to)
    decided = play.waiting[at].decides_to - play.waiting[at].decides_from
    play.answer(at)
    assert play.out == ""
    play.take(play.scanner.let_go(len(text)))
    assert play.out == text.replace("Ann Smith", "[PERSON]")
    assert play.scanner.unread_chars == len(text) - decided


def test_a_second_answer_to_a_window_is_none():
    play = Play()
    play.feed("It was Ann Smith, and nobody else was there at that time. " * 6, eof=True)
    last = play.waiting[-1]
    for _ in range(2):
        play.take(play.scanner.answer(last.number, stand_in(last.text)))
    play.waiting.pop()
    while play.waiting:
        play.answer()
    assert len(play.findings) == 6


def test_what_is_too_much_to_hold_is_not_cut(monkeypatch):
    play = Play()
    monkeypatch.setattr(Windows, "feed", lambda *_args, **_more: pytest.fail("cut"))
    play.feed("word " * LIMITS.held_chars_max, eof=True)
    assert play.scanner.held_chars > LIMITS.held_chars_max
