"""The compiled kernel against the engine alone, in all that a scanner keeps and gives."""

from __future__ import annotations

import gc
import hashlib
import random
import re
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redaction_texts import EXAMPLES, chunked, split

from extproc.domain.limits import LIMITS
from extproc.redaction import kernel
from extproc.redaction.engine import Plan, RuleScanner, ScannerClosedError, ScanOverflowError
from extproc.redaction.kernel import Kernel
from extproc.redaction.operators import Hash, Mask
from extproc.redaction.packs import default_automaton

compiled = pytest.importorskip("extproc.redaction._kernel", reason="no kernel was built")

AUTOMATON = default_automaton()
ALL = AUTOMATON.mask()
CHARS_MAX = LIMITS.kernel_text_chars_max
WITH, WITHOUT = Plan(AUTOMATON, mask=ALL), Plan(AUTOMATON, mask=ALL, compiled=False)
OPERATORS = {"CREDIT_CARD": Mask(keep_last=4), "IP_ADDRESS": Hash(key=b"k")}


def kept(scanner: RuleScanner) -> tuple[object, ...]:
    """All that a scanner carries from one feed to the next."""
    threads = [
        (one.start, None if one.state is None else one.state.stands_for, one.end, one.rule)
        for one in scanner._threads
    ]
    return (scanner._kept, scanner._base, scanner._released, scanner._sent, threads, scanner.held_chars)


def differ(texts: list[str], quick: Plan = WITH, slow: Plan = WITHOUT) -> None:
    """Feed both, and compare after each text; then all at once."""
    first, second, third = RuleScanner.of(quick), RuleScanner.of(slow), RuleScanner.of(quick)
    scans, held = [], [0]
    for text in texts:
        scans.append(second.feed(text))
        held.append(second.held_chars)
        assert first.feed(text) == scans[-1]
        assert kept(first) == kept(second)
    each = third.feed_each(texts)
    assert list(each.released) == [scan.released for scan in scans]
    assert [found for _, found in each.findings] == [found for scan in scans for found in scan.findings]
    assert [number for number, _ in each.findings] == [
        number for number, scan in enumerate(scans) for _ in scan.findings
    ]
    assert each.held_chars_max == max(held)
    assert kept(third) == kept(second)
    whole = "".join(texts)
    assert RuleScanner.of(quick).feed(whole, eof=True) == RuleScanner.of(slow).feed(whole, eof=True)
    assert first.feed("", eof=True) == second.feed("", eof=True) == third.feed("", eof=True)


def test_the_kernel_is_built_from_this_source():
    source = Path(kernel.__file__).with_name("_kernel.c")
    assert compiled.SOURCE_DIGEST in {"", hashlib.sha256(source.read_bytes()).hexdigest()}


def pieces(chance: random.Random, text: str) -> list[str]:
    """The text cut at random places."""
    return split(text, [chance.randint(0, len(text)) for _ in range(chance.randint(0, 12))])


def test_its_own_bounds_are_those_that_are_published():
    assert LIMITS.kernel_states_max == compiled.STATES_MAX
    assert LIMITS.kernel_text_chars_max == compiled.TEXT_CHARS_MAX
    assert LIMITS.scan_threads_max >= compiled.THREADS_MAX


def test_it_is_used_where_it_is_there_and_not_where_it_is_not_wanted():
    assert kernel.AVAILABLE
    assert "kernel" in kernel.describe()
    assert WITH.kernel is not None
    assert WITHOUT.kernel is None


@given(chunked())
@settings(max_examples=600, deadline=None)
def test_documents_in_pieces(document):
    differ(document[1])


@given(st.lists(st.text(max_size=12), max_size=12))
@settings(max_examples=400, deadline=None)
def test_any_text(texts):
    differ(texts)


alphabet = st.sampled_from(
    ["a", "1", "-", ".", "@", " ", "4111 1111", "é", "\U0001f600", "\ud800", "_", "+1 2", "=", ""]
)


@given(st.lists(st.lists(alphabet, max_size=8).map("".join), max_size=12), st.data())
@settings(max_examples=400, deadline=None)
def test_texts_that_nearly_match_under_any_mask(texts, data):
    mask = sum(1 << number for number in data.draw(st.sets(st.integers(0, len(AUTOMATON.rules) - 1))))
    differ(texts, Plan(AUTOMATON, mask=mask), Plan(AUTOMATON, mask=mask, compiled=False))


@given(chunked())
@settings(max_examples=200, deadline=None)
def test_operators_that_need_the_value(document):
    masks = AUTOMATON.mask({"CREDIT_CARD", "IP_ADDRESS", "PHONE_NUMBER"})
    differ(
        document[1],
        Plan(AUTOMATON, mask=masks, operators=OPERATORS),
        Plan(AUTOMATON, mask=masks, operators=OPERATORS, compiled=False),
    )


def test_prose_never_needs_the_engine(monkeypatch):
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the engine was asked")

    prose = "the model streams its answer in small pieces, and every piece should reach the reader"
    texts = re.findall("[a-z,]+ ?", prose)
    monkeypatch.setattr(RuleScanner, "_read", read)
    each = RuleScanner.of(WITH).feed_each([*texts, " "])
    assert "".join(each.released) == f"{prose} "


@pytest.mark.parametrize("chars", [CHARS_MAX - 1, CHARS_MAX, CHARS_MAX + 1, 40_000])
def test_long_texts(chars):
    differ(["x", ("word " * chars)[:chars], "a" * chars, "\U0001f600" * chars, "b@", "c.example "])


def test_texts_that_cost_too_much_are_left_to_the_engine():
    differ(["1-" * 2000, "1.1." * 500, "+1 2 3 " * 300, "a-a-" * 500])


def test_too_many_live_starts_cut_the_stream_as_without_it(monkeypatch):
    monkeypatch.setattr("extproc.redaction.engine.LIMITS", type("L", (), {"scan_threads_max": 2}))
    texts = ["1 2 3 4 5 6 7 8 9 " * 3, "1.2.3.4.5.6."]
    outcomes = []
    for plan in (WITH, WITHOUT):
        scanner = RuleScanner.of(plan)
        try:
            outcomes.append([scanner.feed(text) for text in texts])
        except ScanOverflowError:
            outcomes.append("cut")
    assert outcomes[0] == outcomes[1]


def test_a_table_that_is_full_is_made_anew(monkeypatch):
    made = []

    class Counted(Kernel):
        def _forget(self) -> None:
            made.append(1)
            super()._forget()

    monkeypatch.setattr(kernel, "LIMITS", replace(LIMITS, kernel_states_max=12))
    plan = Plan(AUTOMATON, mask=ALL)
    plan.kernel = Counted(AUTOMATON, ALL)
    chance = random.Random(1)
    for _ in range(20):
        differ(pieces(chance, " ".join(chance.sample(EXAMPLES, 5))), plan)
    assert len(made) > 3


def test_a_closed_scanner_takes_nothing():
    scanner = RuleScanner.of(WITH)
    scanner.feed("", eof=True)
    with pytest.raises(ScannerClosedError):
        scanner.feed_each(("a",))


# --- the compiled part itself ---------------------------------------------------------------------


def table(step=lambda *_: compiled.DEAD, begin=lambda *_: compiled.DEAD, classify=lambda _: 1):
    return compiled.Table(step, begin, classify)


@pytest.mark.parametrize(
    "arguments",
    [
        (["a"], 0, "", ()),
        ((1,), 0, "", ()),
        (("a",), -1, "", ()),
        (("a",), 0, b"", ()),
        (("a",), 0, "", ((0, 3),)),
        (("a",), 0, "ab", ((1, 3),)),
        (("a",), 0, "ab", ((0, 3), (2, 3))),
        (("a",), 0, "ab", ((0, 2),)),
        (("a",), 0, "ab", ((0, 4096),)),
        (("a",), 0, "ab", ((0, 2**40),)),
        (("a",), 0, "ab", ((0,),)),
        (("a",), 0, "ab", (1,)),
        (("a",), 0, "ab", ((0, 3),) * 65),
        (),
    ],
)
def test_what_it_is_given_is_checked(arguments):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        table().scan(*arguments)


@pytest.mark.parametrize("number", [-1, 4096, 2**70, None, "x"])
@pytest.mark.parametrize("callback", ["step", "begin", "classify"])
def test_what_it_is_told_is_checked(callback, number):
    good = {"step": lambda *_: 3, "begin": lambda *_: 3, "classify": lambda _: 1}
    told = table(**good | {callback: lambda *_: number})
    with pytest.raises((TypeError, ValueError, OverflowError)):
        told.scan(("ab",), 0, "", ())


def test_what_a_callback_raises_comes_through():
    def broken(*_: int) -> int:
        raise LookupError

    for callback in ("step", "begin", "classify"):
        good = {"step": lambda *_: 3, "begin": lambda *_: 3}
        with pytest.raises(LookupError):
            table(**good | {callback: broken}).scan(("ab",), 0, "", ())


def test_a_table_without_callbacks_or_made_twice_is_refused():
    with pytest.raises(SystemError):
        compiled.Table.__new__(compiled.Table).scan(("a",), 0, "", ())
    with pytest.raises(TypeError):
        compiled.Table()
    with pytest.raises(TypeError):
        table().__init__(min, min, min)


def test_it_counts_and_moves_as_it_is_told():
    # Class 1 goes on, 2 ends, 3 must be looked at; one begins where 1 follows the edge or 2.
    of = {"a": 1, " ": 2, "!": 3}
    moves = {1: 3, 2: compiled.DEAD, 3: compiled.STOP}
    told = table(
        step=lambda _state, taken: moves[taken],
        begin=lambda before, taken: moves[taken] if before != 1 else compiled.DEAD,
        classify=lambda code: of.get(chr(code), 0),
    )
    assert told.scan(("aa", "", "a aa"), 0, "", ()) == (3, ["", "", "aaa "], "aa", ((0, 3),), 6, 2)
    assert told.scan(("x", "a ", "aa"), 1, "aa", ((0, 3),)) == (3, ["aaa ", ""], "aa", ((0, 3),), 4, 2)
    assert told.scan((" ", "aa!", "a"), 0, " ", ()) == (1, [" "], " ", (), 1, 0)
    assert told.scan(("?",), 0, "a", ((0, 3),)) == (0, [], "a", ((0, 3),), 0, 0)
    assert told.scan((" ",), 0, "?", ()) == (0, [], "?", (), 0, 0)


def test_nothing_is_kept_alive():
    text = f"{'a'} person@exa"
    texts = (text, " and ", text)
    plan = Plan(AUTOMATON, mask=ALL)
    RuleScanner.of(plan).feed_each(texts)
    before = sys.getrefcount(text), sys.getrefcount(texts)
    for _ in range(1000):
        RuleScanner.of(plan).feed_each(texts)
    assert (sys.getrefcount(text), sys.getrefcount(texts)) == before
    gc.collect()
    objects = len(gc.get_objects())
    for _ in range(1000):
        RuleScanner.of(plan).feed_each(texts)
    gc.collect()
    assert len(gc.get_objects()) - objects < 100


def test_a_plan_that_is_dropped_goes_with_its_kernel():
    plan = Plan(AUTOMATON, mask=ALL)
    RuleScanner.of(plan).feed("a person@exa")
    watched = weakref.ref(plan.kernel)
    del plan
    gc.collect()
    assert watched() is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_documents_cut_at_random():
    chance = random.Random(20261121)
    words = [
        *EXAMPLES,
        "prose of the plainest kind",
        "\u200b",
        "é",
        "1-1-1.1",
        "\n",
        "@@",
        "+49 30 1234567",
    ]
    for _ in range(30_000):
        text = " ".join(chance.choices(words, k=chance.randint(1, 5)))
        at = chance.randrange(len(text) + 1)
        text = text[at:] + chance.choice(["", " ", "x", "0"]) + text[:at]
        differ(pieces(chance, text))
