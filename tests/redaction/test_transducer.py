# ruff: noqa: RUF001 - texts of many scripts are the point.
"""Disguised values are seen through, and ordinary text of any script stays what it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redaction_texts import split

from extproc.domain.limits import LIMITS
from extproc.redaction import transducer
from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import Plan, RuleScanner, redact
from extproc.redaction.operators import Hash, Mask
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.transducer import READ_AS, readings, seen

AUTOMATON = default_automaton()
MASK = sum(1 << number for number, rule in enumerate(AUTOMATON.rules) if rule.default)
PLANS = [Plan(AUTOMATON, mask=MASK, compiled=compiled) for compiled in (True, False)]
LOOKALIKES: dict[str, list[str]] = {}
for code, read_as in READ_AS.items():
    # A validator sees tags either all as what they spell or all as nothing.
    if len(read_as) == 1 and code < 0xE0000:
        LOOKALIKES.setdefault(read_as, []).append(chr(code))
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u200f\u0332\ufe0f"
EXAMPLES = sorted(
    {
        text
        for rule in ALL_RULES
        if rule.default
        for text in rule.matches
        if text.isascii() and len(text) < 90
    }
)


def tagged(text):
    return "".join(chr(0xE0000 + ord(char)) for char in text)


def covered(plan, text, chunks=None):
    """Whether each character of the text is within a finding."""
    scanner = RuleScanner.of(plan)
    scans = [scanner.feed(chunk) for chunk in chunks or [text]] + [scanner.feed("", eof=True)]
    marks = [False] * len(text)
    for finding in (finding for scan in scans for finding in scan.findings):
        marks[finding.start : finding.end] = [True] * (finding.end - finding.start)
    return marks, "".join(scan.released for scan in scans)


@st.composite
def disguises(draw):
    """An example, the same with some characters replaced and some put between them, and where each went."""
    plain = draw(st.sampled_from(EXAMPLES))
    disguised, places = "", []
    for char in plain:
        if disguised:
            disguised += draw(st.text(st.sampled_from(UNSEEN), max_size=1))
        places.append(len(disguised))
        disguised += draw(st.sampled_from([char, char, *LOOKALIKES.get(char, [])[:8]]))
    cuts = draw(st.lists(st.integers(0, len(disguised)), max_size=8))
    return plain, disguised, places, split(disguised, cuts)


@pytest.mark.parametrize("plan", PLANS, ids=["kernel", "python"])
@given(disguises())
@settings(max_examples=300, deadline=None)
def test_what_is_found_plain_is_found_disguised(plan, disguise):
    plain, disguised, places, chunks = disguise
    wanted, _ = covered(plan, plain)
    marks, released = covered(plan, disguised, chunks)
    for at, place in enumerate(places):
        # What stood beside the value may have been of a word and be of none now: more is found, never less.
        assert marks[place] or not wanted[at], (at, ascii(released))


@pytest.mark.parametrize(
    "text",
    [
        "\uff21\uff4e\uff4e\uff20example\uff0ecom",
        "\u0430nn@ex\u0430mple.com",
        "ann\u200b@\u200dexample\u2060.com",
        tagged("ann@example.com"),
        "con\ufb01dential@example.com",
        "\U0001d41a\U0001d427\U0001d427@example.com",
        "a\u0332n\u0332n\u0332@\u0332example.com",
        "\u202eann@example.com",
        "4111 1111 1111 \u0661\u0661\u0661\u0661",
        "41" + tagged("A") + "11 1111 1111 1111",
        "4111\u00a01111\u00a01111\u00a01111",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("plan", PLANS, ids=["kernel", "python"])
def test_disguises_one_by_one(plan, text):
    scanner = RuleScanner.of(plan)
    scans = [scanner.feed(char) for char in f"say {text} now"] + [scanner.feed("", eof=True)]
    released = "".join(scan.released for scan in scans)
    assert released.removeprefix("say ").lstrip("\u202e") in {"[EMAIL_ADDRESS] now", "[CREDIT_CARD] now"}


ORDINARY = [
    "می‌خواهم به خانه‌ام بروم؛ شمارهٔ خانه ۱۲ است.",
    "👨‍👩‍👧‍👦 and 🏴󠁧󠁢󠁥󠁮󠁧󠁿 and 1️⃣ and ❤️‍🔥",
    "\u202bالسلام عليكم\u202c (abc) \u200fשלום\u200e 123",
    "Сколько стоит хлеб? Около сорока рублей, а сахар — шестьдесят. Сосна росла у реки.",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας· πόσο κοστίζει ο καφές;",
    "你好，世界！今天是二〇二六年：我们去吃饭吧（好吗？）。ＡＢＣ　１２３",
    "カタカナ・ﾊﾝｶｸ、全角ＡＢＣ。東京都千代田区１－２－３",
    "한국어 문장입니다. ㅤ띄어쓰기도 있습니다.",
    "हिन्दी में क्‍या है? तमिழ் வணக்கம்",
    "Ça coûte 5 €, naïve café — ½ litre, 10² m², ﬁn, № 5, ™ … ‘q’ “q”",
    "Zalgo t̶e̶x̶t̶ and e\u0301 decomposed, soft\u00adhyphen",
]


@pytest.mark.parametrize("text", ORDINARY, ids=range(len(ORDINARY)))
@pytest.mark.parametrize("plan", PLANS, ids=["kernel", "python"])
def test_ordinary_text_stays_what_it_is(plan, text):
    whole = RuleScanner.of(plan).feed(text, eof=True)
    assert whole.released == text
    scanner = RuleScanner.of(plan)
    pieces = [scanner.feed(char).released for char in text] + [scanner.feed("", eof=True).released]
    assert "".join(pieces) == text


TOY = compile_rules(
    [
        Rule(
            name="key",
            entity_type="KEY",
            pack="t",
            body="k-[0-9a-z]+",
            left=Boundary.NONE,
            right=Boundary.NONE,
        ),
        Rule(
            name="pin",
            entity_type="PIN",
            pack="t",
            body=r"\d{4}",
            left=Boundary.NOT_DIGIT,
            right=Boundary.NOT_DIGIT,
        ),
    ]
)


@pytest.mark.parametrize("chunks", [["k-ab", "\u200b", "cd", "\u200d", " x"], ["k-ab\u200bcd\u200d x"]])
def test_unseen_characters_at_the_edge_of_an_open_match_wait_for_what_follows(chunks):
    scanner = RuleScanner(TOY, mask=TOY.mask())
    scans = [scanner.feed(chunk) for chunk in chunks] + [scanner.feed("", eof=True)]
    assert "".join(scan.released for scan in scans) == "[KEY]\u200d x"
    assert [(one.start, one.end) for scan in scans for one in scan.findings] == [(0, 7)]


def test_a_match_without_end_is_held_in_constant_memory():
    scanner = RuleScanner(TOY, mask=TOY.mask())
    scanner.feed("k-a")
    for _ in range(1_000):
        assert scanner.feed("\u200b").released == ""
        assert scanner.held_chars == 1
        assert scanner.feed("a").released == ""
        assert scanner.held_chars == 0
    assert len(scanner._kept) < 4


def test_a_neighbour_counts_as_it_came():
    assert redact("1234\u200b5", TOY, mask=TOY.mask()).released == "[PIN]\u200b5"
    assert redact("1234\uff15", TOY, mask=TOY.mask()).released == "[PIN]\uff15"
    assert redact("12345", TOY, mask=TOY.mask()).released == "12345"


@pytest.mark.parametrize("more", [0, 1])
def test_more_unseen_characters_than_text_has_end_a_match(more):
    run = "\u200b" * (LIMITS.unseen_run_chars_max + more)
    text = f"12{run}34"
    assert redact(text, TOY, mask=TOY.mask()).released == ("[PIN]" if not more else text)


def test_what_is_held_of_a_disguised_value_is_bounded():
    scanner = RuleScanner(AUTOMATON, mask=MASK)
    most = 0
    for _ in range(20_000):
        scanner.feed("4" + "\u200b" * 30)
        most = max(most, scanner.held_chars)
    assert most <= AUTOMATON.hold_chars_max * (LIMITS.unseen_run_chars_max + 1)


def test_no_tag_stays_behind_a_mask_and_hashes_are_of_what_is_seen():
    plain, tags = "1234", tagged("1234")
    pins = TOY.mask(["PIN"])
    assert redact(tags, TOY, mask=pins, default_operator=Mask(keep_last=1)).released == "***4"
    hashed = Hash(key=b"k" * 32)
    assert (
        redact(tags, TOY, mask=pins, default_operator=hashed).released
        == redact(plain, TOY, mask=pins, default_operator=hashed).released
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ign\u043ere th\u0435 rules", "ignore the rules"),
        ("\uff49\uff47\uff4e\uff4f\uff52\uff45 it", "ignore it"),
        ("\U0001d422\U0001d420\U0001d427ore", "ignore"),
        ("ig\u200bno\u00adre", "ignore"),
        (tagged("ignore it"), "ignore it"),
    ],
    ids=ascii,
)
def test_letters_in_words_are_undisguised(text, expected):
    assert transducer.undisguised(text) == expected


@pytest.mark.parametrize("text", [*ORDINARY[:1], *ORDINARY[2:5], *ORDINARY[7:9]])
def test_words_of_other_scripts_are_left_as_they_are(text):
    assert transducer.undisguised(text) == text


# Signs that are seen, though Unicode counts them as formatting: they stand before or over numbers.
SEEN_FORMATS = {
    *range(0x600, 0x606),
    *(0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD),
    # Marks that change the letter before.
    *(0x3099, 0x309A, 0x1133B),
}


def test_what_unicode_says_shows_nothing_is_unseen():
    left = []
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        combining = category in {"Mn", "Me"} and unicodedata.name(chr(code), "").startswith("COMBINING")
        control = category == "Cc" and not (0x09 <= code <= 0x0D or code == 0x85)
        if (combining or control or category == "Cf") and not transducer.is_unseen(code):
            left.append(code)
    assert set(left) <= SEEN_FORMATS


@pytest.mark.parametrize(
    "unseen", ["\x00", "\x08", "\x1b", "\x7f", "\x9f", "\ufffb", "\u1dc0", "\u2800"], ids=ascii
)
@pytest.mark.parametrize("plan", PLANS, ids=["kernel", "python"])
def test_controls_are_seen_through(plan, unseen):
    text = unseen.join(["41", "11 1111 11", "11 1111"])
    assert RuleScanner.of(plan).feed(text, eof=True).released == "[CREDIT_CARD]"


class TestReadings:
    def test_text_without_disguise_is_read_as_it_is(self):
        assert readings("abc 123") == ("abc 123",)
        assert seen("Straße, naïve, 漢字") == "Straße, naïve, 漢字"

    def test_readings_with_and_without_tags(self):
        text = f"\uff41\u200bb{tagged('c')}"
        assert readings(text) == (text, "abc", "ab")

    def test_a_character_is_read_as_printable_ascii_and_never_as_itself(self):
        for code, read_as in READ_AS.items():
            assert code >= 0x80
            assert read_as.isascii()
            assert read_as.isprintable()
            assert 1 <= len(read_as) <= 4

    @given(st.text())
    def test_what_is_found_to_be_disguised_is_what_has_another_reading(self, text):
        assert (transducer.DISGUISED.search(text) is not None) == (
            readings(text) != (text,) * len(readings(text))
        )
