"""How much the engine does per character on the worst texts: counted, not timed.

One unit is a thread's step over a character, a place where a thread begins, or a question to a validator.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass
from hashlib import sha256

import pytest
from redaction_texts import EXAMPLES

from extproc.redaction import engine
from extproc.redaction.automaton import Automaton
from extproc.redaction.engine import RuleScanner
from extproc.redaction.packs import default_automaton
from extproc.redaction.plan import Plan
from extproc.redaction.thread import Thread
from extproc.redaction.validators import generic
from extproc.redaction.watches import default_mask

# The engine alone: the kernel counts its own steps and leaves what costs more to it.
PLAN = Plan(default_automaton(), mask=default_mask(default_automaton()), compiled=False)
CHARS = 2_000
# The worst texts found cost about 17.
UNITS_PER_CHAR_MAX = 20
CHARACTERS = "1aAx:.-+ /@=%"
TOKENS = [
    *CHARACTERS,
    *(
        "::",
        "eyJ",
        ".eyJ",
        "pwd:",
        "pwd=",
        "token",
        "://",
        "a@",
        "sk-",
        "AA11",
        "4111",
        "00",
        "bc1",
        "GB82",
    ),
    *(
        "Bearer ",
        "secret:",
        "SG.",
        "xoxb-",
        "1.1.1.1",
        "aws_key=",
        "api_key:",
        "漢",
        "é",
        "\n",
        "x" * 10,
        "1" * 4,
    ),
]
KNOWN = [
    *(
        "1:",
        "a:",
        "aA0:",
        "::",
        "::1",
        "1::1:",
        "a::1/",
        "a-a-",
        "+1 2 3",
        "+1 2 3 ",
        "00-",
        "111-",
        "1.1.",
    ),
    *("AA11 ", "GB82 ", "4111 ", "pwd:", "token:a", "=token ", "eyJ-", "eyJ-" * 49 + ".x ", "Bearer a-"),
    *(":A:a:A:A:a:A:a:", "a@b.c-", "x=pwd=", "nats://:"),
]


@dataclass
class Counter:
    units: int = 0
    questions: int = 0


@pytest.fixture(autouse=True)
def counter(monkeypatch):
    counted = Counter()

    class Counted(Thread):
        __slots__ = ()

        def run(self, piece, at):
            stopped = super().run(piece, at)
            counted.units += 1 + stopped - at
            return stopped

        def _decide(self, asked, piece):
            counted.units += len(asked)
            counted.questions += len(asked)
            super()._decide(asked, piece)

    monkeypatch.setattr(engine, "Thread", Counted)
    return counted


def units_per_char(counter, pattern, chars=CHARS):
    text = pattern * (chars // len(pattern) + 1)
    counter.units = counter.questions = 0
    RuleScanner.of(PLAN).feed(text, eof=True)
    return counter.units / len(text)


DISGUISED_DIGITS = [
    *("\uff11", "1\u200b", "\u2460", "\u24601", "\uff11 ", "1\uff11", "1\u0332", "1\U000e0031"),
    *("1.\uff11.", "1\x00"),
    *("\uff11\uff12\uff13\uff14 ", "\u00b2", "1-\uff11", "\u0663", "\uff14111 1111 ", "\U000e0031"),
]
DISGUISED_LETTERS = ["\uff41", "3\uff41", "a\u200b", "bc1" + "\uff51" * 30]


@pytest.mark.parametrize("pattern", DISGUISED_DIGITS, ids=ascii)
def test_disguised_digits_cost_no_more(counter, pattern):
    assert units_per_char(counter, pattern) <= UNITS_PER_CHAR_MAX


@pytest.mark.parametrize("pattern", DISGUISED_LETTERS, ids=ascii)
def test_disguised_letters_may_each_begin_a_mail_address(counter, pattern):
    # Its name has up to 64 characters, and letters of other scripts do not bound it.
    assert units_per_char(counter, pattern) <= 64 + UNITS_PER_CHAR_MAX
    assert counter.questions <= 4 * CHARS


def test_a_wallet_is_hashed_only_where_it_can_be_one(monkeypatch):
    hashed = []
    monkeypatch.setattr(generic.hashlib, "sha256", lambda of: hashed.append(of) or sha256(of))
    assert not any(generic.bitcoin("1" * length) for length in range(25, 35))
    assert not any(generic.bitcoin("3" * length) for length in range(25, 35))
    assert len(hashed) <= 4
    assert generic.bitcoin("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ")


@pytest.mark.parametrize("pattern", [*KNOWN, *EXAMPLES[::2]])
def test_repeated_patterns(counter, pattern):
    assert units_per_char(counter, pattern) <= UNITS_PER_CHAR_MAX


def test_prose_costs_next_to_nothing(counter):
    assert units_per_char(counter, "The quick brown fox jumps over the lazy dog. ") < 0.01


def test_work_does_not_grow_with_the_text(counter):
    for pattern in KNOWN:
        assert units_per_char(counter, pattern, 40_000) <= units_per_char(counter, pattern) + 1


def test_the_characters_of_a_text_are_classified_once(counter, monkeypatch):
    starts = []
    monkeypatch.setattr(
        Automaton,
        "start",
        lambda self, *args, start=Automaton.start: starts.append(1) or start(self, *args),
    )
    units_per_char(counter, "a:")
    assert len(starts) <= CHARS // 2 + 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_short_pattern(counter):
    for length in (2, 3, 4):
        for chosen in itertools.product(CHARACTERS, repeat=length):
            assert units_per_char(counter, "".join(chosen), 400) <= UNITS_PER_CHAR_MAX


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_for_the_worst_pattern(counter):
    chance = random.Random(20260202)
    worst = {(token,): units_per_char(counter, token) for token in TOKENS}
    for _ in range(15_000):
        parts = list(chance.choice(heapq.nlargest(40, worst, key=worst.__getitem__)))
        match chance.randint(0, 4):
            case 0:
                parts = [chance.choice(TOKENS) for _ in range(chance.randint(2, 6))]
            case 1 if len(parts) > 1:
                del parts[chance.randrange(len(parts))]
            case 2 if len(parts) <= 8:
                parts = [*parts * chance.randint(2, 8), chance.choice(TOKENS)]
            case 3:
                parts[chance.randrange(len(parts))] = chance.choice(TOKENS)
            case _:
                parts.insert(chance.randrange(len(parts) + 1), chance.choice(TOKENS))
        worst[tuple(parts)] = units_per_char(counter, "".join(parts))
    assert max(worst.values()) <= UNITS_PER_CHAR_MAX
