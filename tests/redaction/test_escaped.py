"""Escapes in a text itself: values in them are found, none of them is cut, and it costs no memory."""

from __future__ import annotations

import json
import random
import sys
import tracemalloc

import pytest
import redaction_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.domain.limits import LIMITS
from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import Plan, RuleScanner, ScanOverflowError, redact
from extproc.redaction.escaped import EscapedScanner
from extproc.redaction.operators import Hash, Mask
from extproc.redaction.packs import default_automaton
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.watches import default_mask

AUTOMATON = default_automaton()
PLAN = Plan(AUTOMATON, mask=default_mask(AUTOMATON))
AT = "\\u0040"
CARD = "4111 1111 1111 111"


def rule(body, *, name="value", left=Boundary.NONE, right=Boundary.NONE, naming=""):
    return Rule(
        name=name, entity_type=name.upper(), pack="own", naming=naming, body=body, left=left, right=right
    )


def plan_of(*rules, operator=None):
    automaton = compile_rules(rules)
    chosen = {} if operator is None else {"default_operator": operator}
    return Plan(automaton, mask=automaton.mask(), **chosen)


def scanned(plan, chunks):
    """All that goes out, what was found, and what stands in the places."""
    scanner = EscapedScanner(RuleScanner.of(plan))
    scans = [*map(scanner.feed, chunks), scanner.feed("", eof=True)]
    return (
        "".join(scan.released for scan in scans),
        [(one.start, one.end, one.entity_type) for scan in scans for one in scan.findings],
        [text for scan in scans for text in scan.replacements],
    )


def released(text, plan=PLAN):
    """What goes out; the same for the text at once, cut at every place, and character by character."""
    whole = scanned(plan, [text])
    for at in range(1, len(text)):
        assert scanned(plan, [text[:at], text[at:]]) == whole
    assert scanned(plan, list(text)) == whole
    return whole[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"ann{AT}example.com", "[EMAIL_ADDRESS]"),
        ("\\u0061nn@example.com.", "[EMAIL_ADDRESS]."),
        (f'{{"to": "ann{AT}example.com"}}', '{"to": "[EMAIL_ADDRESS]"}'),
        ('{"t": "Hi\\nann@example.com\\n"}', '{"t": "Hi\\n[EMAIL_ADDRESS]\\n"}'),
        ("a\\n078-05-1121\\nb", "a\\n[US_SSN]\\nb"),
        ("a\\\\n078-05-1121\\\\n", "a\\\\n[US_SSN]\\\\n"),
        ("a\\t10.0.0.1\\u0020b", "a\\t[IP_ADDRESS]\\u0020b"),
        (f"{CARD}\\u0031.", "[CREDIT_CARD]."),
        (f"{CARD}\\\\\\\\u0031.", "[CREDIT_CARD]."),
        ('{\\"password\\": \\"hunter2x\\"}', '{\\"password\\": \\"[PASSWORD]\\"}'),
        (
            '{\\\\\\"password\\\\\\": \\\\\\"hunter2x\\\\\\"}',
            '{\\\\\\"password\\\\\\": \\\\\\"[PASSWORD]\\\\\\"}',
        ),
        ("https:\\/\\/ann:hunter2x@db.example.com\\/x", "[URL_CREDENTIALS]"),
        ("\\ud83d\\ude00 ann@example.com", "\\ud83d\\ude00 [EMAIL_ADDRESS]"),
        ("\\ud835\\udfd2" + CARD[1:] + "1", "[CREDIT_CARD]"),
        (f"{CARD}\\u200b1", "[CREDIT_CARD]"),
    ],
)
def test_a_value_with_escapes_in_it_or_beside_it_is_taken_out(text, expected):
    if expected == "[URL_CREDENTIALS]":
        assert "hunter2x" not in released(text)
    else:
        assert released(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a\\nb",
            "\\",
            "a\\",
            "\\u004",
            "\\ud83d",
            "\\ud83d\\",
            "\\ud83d\\ude0",
            "\\\\\\",
            "\\x40",
            "\\u00zz",
        ),
        *(
            "\\frac{1}{2} \\begin{x}",
            "C:\\new\\table\\readme",
            "a\\\\u0041",
            '\\"',
            '\\\\"',
            "\\udc00\\ud800",
        ),
    ],
)
def test_text_with_escapes_and_no_value_goes_out_as_it_came(text):
    assert released(text) == text
    assert scanned(PLAN, [text])[1] == []


def test_what_is_found_as_written_is_found_where_the_escape_means_nothing():
    assert released("C:\\users\\bearer abcdefghijklmnopqrstuvwxyz012345").startswith("C:\\users\\")
    assert "abcdefghijklmnop" not in released("x\\nbearer abcdefghijklmnopqrstuvwxyz012345")


def test_no_escape_is_cut_by_what_is_found_as_written():
    words = plan_of(rule("[a-z]{3,9}x", name="word"))
    assert released("\\nabcx", words) == "\\n[WORD]"
    tails = plan_of(rule("abc[^ ]{1,8}", name="tail", right=Boundary.NONE))
    assert released("abcdef\\n", tails) == "[TAIL]"
    ends = plan_of(rule(r"abc\\", name="end"))
    assert released("abc\\n", ends) == "[END]\\n"
    alone = plan_of(rule("[0-9]{4}", name="code"))
    assert released("\\u1234 5678", alone) == "[CODE] [CODE]"


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize(
    ("body", "value", "expected"),
    [
        ("abc[^ ]{1,2}", "abcd\\efg", "[VALUE]\\efg"),
        (r"\\def", "abc\\def", "abc\\[VALUE]"),
        ('abc[^" ]', 'abc\\" def', '[VALUE]\\" def'),
    ],
)
def test_a_document_stays_one_where_backslashes_stand_at_the_edge_of_a_value(level, body, value, expected):
    document, redacted = value, expected
    for _ in range(level):
        document, redacted = json.dumps({"a": document}), json.dumps({"a": redacted})
    assert released(document, plan_of(rule(body))) == redacted


def test_backslashes_and_half_a_pair_are_taken_out_whole_or_not_at_all():
    assert released("a\\\\.b", plan_of(rule(r"\\"))) == "a[VALUE].b"
    digits = plan_of(rule("[0-9]{2}", name="digits"))
    assert released("\\ud834", digits) == "[DIGITS]"
    assert released("\\ud83z42 \\ud8342", digits) == "\\ud[DIGITS]z[DIGITS] [DIGITS][DIGITS]"
    ends = plan_of(rule("x.u", name="end"))
    assert released("x\\ud834", ends) == "[END]\\ud834"


def test_a_quote_behind_an_even_number_of_backslashes_ends_its_string():
    document = '{"password": "hunter2x\\\\", "b": 1}'
    assert released(document) == '{"password": "[PASSWORD]\\\\", "b": 1}'


@pytest.mark.parametrize("count", range(1, 18))
def test_a_quote_is_escaped_by_an_odd_number_of_backslashes(count):
    quoted = plan_of(rule('a"b', name="quoted"))
    text = "a" + "\\" * count + '"b'
    assert released(text, quoted) == ("[QUOTED]" if count % 2 and count < 16 else text)


def test_what_begins_directly_behind_a_match_of_the_text_as_it_is_read_is_found():
    rules = plan_of(rule("x@y", name="one"), rule("[0-9]{2}", name="two", left=Boundary.NOT_WORD))
    assert released(f"x{AT}y12 x12", rules) == "[ONE][TWO] x12"


def test_of_findings_that_overlap_the_first_takes_the_place_of_all():
    rules = plan_of(rule(r"abc\\n1", name="first"), rule("\n[0-9]{3}", name="second"))
    assert released("abc\\n123", rules) == "[FIRST]"
    assert scanned(rules, ["abc\\n123"])[1] == [(0, 8, "FIRST")]


def test_of_two_that_take_one_place_the_value_as_it_is_read_counts():
    hashed = plan_of(rule("[a-z]@[a-z]{2,4}", name="mail"), operator=Hash(key=b"k"))
    (plain,) = redact("a@bcd", hashed.automaton, mask=1, default_operator=Hash(key=b"k")).replacements
    assert scanned(hashed, [f"a{AT}bcd"])[2] == [plain]
    masked = plan_of(rule("[0-9]{4,8}", name="pin"), operator=Mask(keep_last=1))
    assert released("12345\\u0036", masked) == "*****6"


@pytest.mark.parametrize("operator", [None, Hash(key=b"k"), Mask(keep_last=2)])
def test_an_escape_within_a_value_that_has_no_end_changes_nothing_before_it(operator):
    endless = plan_of(rule("[a-z]{2,}[\n]?[a-z0-9]*", name="key", naming="key="), operator=operator)
    text = "key=" + "a" * 300 + "\\n" + "b1" * 200 + " x"
    whole = scanned(endless, [text])
    for size in (1, 2, 7, 64):
        chunks = [text[at : at + size] for at in range(0, len(text), size)]
        assert scanned(endless, chunks) == whole
    assert whole[1] == [(4, len(text) - 2, "KEY")]


@pytest.mark.parametrize("operator", [None, Hash(key=b"k"), Mask(keep_last=2)])
def test_a_value_with_escapes_that_has_no_end_costs_no_memory(operator):
    endless = plan_of(
        rule("[a-z\\n]{2,}", name="key", naming="key="), rule("[0-9]{3}", name="code"), operator=operator
    )
    scanner = EscapedScanner(RuleScanner.of(endless))
    assert scanner.feed("key=").released == ""
    sizes = []
    for _ in range(4_000):
        scanner.feed("abc\\nd")
        twice = scanner._twice
        sizes.append(
            twice.held_chars
            + len(twice._found)
            + len(twice._reader._places)
            + len(twice._reader._starts)
            + sum(map(sys.getsizeof, [twice._kept._front, twice._kept._back]))
        )
    assert max(sizes[2_000:]) <= max(sizes[:2_000]) < 1_500
    last = scanner.feed(" x", eof=True)
    assert last.released.endswith(" x")
    assert [(one.start, one.end) for one in last.findings] == [(4, 4 + 6 * 4_000)]


def test_findings_within_a_value_that_has_no_end_cost_no_memory():
    """As it is read one value goes on; as it is written there are many others in it."""
    rules = plan_of(rule("key:[a-z\n]{2,}", name="key"), rule("z[a-z]z", name="short"))
    scanner = EscapedScanner(RuleScanner.of(rules))
    scanner.feed("key:ab")
    counts = []
    for _ in range(3_000):
        scanner.feed("\\nzaz")
        counts.append(len(scanner._twice._found))
    assert max(counts) <= 200
    assert [one.entity_type for one in scanner.feed("", eof=True).findings] == ["KEY"]


def test_escapes_of_a_long_text_cost_no_memory():
    text = "\\n" * 50_000 + f"ann{AT}example.com"
    scanner = EscapedScanner(RuleScanner.of(PLAN))
    tracemalloc.start()
    try:
        scan = scanner.feed(text, eof=True)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # States of the automaton count, too. The places of all escapes would be ten times that.
    assert peak_bytes < 10 * len(text)
    assert scan.released == text[:100_000] + "[EMAIL_ADDRESS]"
    assert [(one.start, one.end) for one in scan.findings] == [(100_000, len(text))]


def test_one_reading_is_enough_again_behind_an_escape():
    scanner = EscapedScanner(RuleScanner.of(PLAN))
    assert scanner.feed(". \\").released == ". "
    assert scanner._twice is not None
    assert scanner.feed("n and then words. ").released == "\\n and then words. "
    assert scanner._twice is None
    found = scanner.feed("ann@example.com", eof=True).findings
    assert [(one.start, one.end) for one in found] == [(21, 36)]


def test_what_is_known_before_the_end_does_not_wait_for_it():
    scanner = EscapedScanner(RuleScanner.of(PLAN))
    text = "x\\ny 10.0.0.1 and\\t "
    out = ""
    for number, char in enumerate(text):
        out += scanner.feed(char).released
        assert scanner.held_chars <= number + 1
    assert out == "x\\ny [IP_ADDRESS] and\\t "
    assert scanner.held_chars == 0
    assert scanner.decided_chars == len(text)


def test_what_was_read_twice_and_is_dropped_stays_in():
    scanner = EscapedScanner(RuleScanner.of(PLAN))
    scanner.feed(f"ann{AT}exam")
    assert scanner.held_chars == len(f"ann{AT}exam")
    scanner.drop()
    assert scanner.held_chars == 0


def test_too_many_live_starts_in_the_text_as_it_is_read_close_both():
    crowded = plan_of(rule(f"@[a-z@]{{0,{LIMITS.scan_threads_max + 50}}}!", name="crowd"))
    scanner = EscapedScanner(RuleScanner.of(crowded))
    with pytest.raises(ScanOverflowError):
        scanner.feed(AT * (LIMITS.scan_threads_max + 1))
    assert scanner.held_chars == 0


def test_events_at_once_are_as_one_by_one():
    texts = ["to ann", "\\u00", "40example.c", "om and", " more \\", "n078-05-1121 ", "words"]
    one, each = (EscapedScanner(RuleScanner.of(PLAN)) for _ in range(2))
    scans, held = [], 0
    for text in texts:
        scans.append(one.feed(text))
        held = max(held, one.held_chars)
    at_once = each.feed_each(texts)
    assert list(at_once.released) == [scan.released for scan in scans]
    assert list(at_once.findings) == [(n, found) for n, scan in enumerate(scans) for found in scan.findings]
    assert at_once.held_chars_max == held
    assert one.feed("", eof=True) == each.feed("", eof=True)


def test_a_fork_of_a_scanner_shares_nothing_with_it():
    hashed = Plan(AUTOMATON, mask=default_mask(AUTOMATON), default_operator=Hash(key=b"k"))
    text = "to ann@example.com and AKIA" + "IOSFODNN7EXAMPLE, yes"
    for at in range(len(text)):
        scanner = RuleScanner.of(hashed)
        before = scanner.feed(text[:at])
        fork = scanner.fork()
        fork.feed("zz@zz.zz 10.0.0.1", eof=True)
        after = scanner.feed(text[at:], eof=True)
        whole = RuleScanner.of(hashed).feed(text, eof=True)
        assert before.released + after.released == whole.released
        assert before.findings + after.findings == whole.findings


RULES = [
    rule("a[b@\n]{1,3}c", name="one", left=Boundary.NOT_WORD, right=Boundary.NOT_WORD),
    rule("[0-9]{2,}", name="two", naming="n[ :]"),
    rule(r"[a-z\\]{2,4}!", name="three", right=Boundary.NOT_WORD),
]
PIECES = [
    "a",
    "b",
    "c",
    "@",
    "n",
    ":",
    " ",
    "!",
    "1",
    "\\",
    "\\\\",
    "\\n",
    "\\u0040",
    "\\u0031",
    "\\u",
    "\\ud835",
]
PIECES += ["\\udfd9", '"', '\\"', "\\u003a", "\\\\u0061"]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=14), seed=st.integers(0, 9))
@settings(max_examples=400, deadline=None)
def test_it_is_what_an_oracle_finds_however_the_text_is_cut(pieces, seed):
    text = "".join(pieces)
    plan = plan_of(*RULES)
    found = oracle.find_escaped(text, RULES)
    expected = oracle.written(text, found), [(one.start, one.end, one.rule.entity_type) for one in found]
    chance = random.Random(seed)
    places = sorted(chance.randint(0, len(text)) for _ in range(5))
    chunks = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    for cut in ([text], list(text), chunks):
        assert scanned(plan, cut)[:2] == expected
