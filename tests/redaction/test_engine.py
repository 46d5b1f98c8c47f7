"""The scanner against an oracle that shares no engine with it, and against every way to cut a text."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace

import pytest
import redaction_oracle as oracle
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from redaction_texts import EXAMPLES, chunked, documents, split

from extproc.domain.limits import LIMITS
from extproc.redaction import engine, validators
from extproc.redaction.automaton import compile_rules
from extproc.redaction.charset import CODE_POINT_MAX
from extproc.redaction.engine import (
    Plan,
    RuleScanner,
    ScannerClosedError,
    ScanOverflowError,
    redact,
)
from extproc.redaction.operators import Hash, Mask, Replace
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.rules import Boundary, Rule, RuleError

AUTOMATON = default_automaton()
ALL = AUTOMATON.mask()
RULES = list(ALL_RULES)


def rule(name="r", body="x", left=Boundary.NONE, right=Boundary.NONE, **more):
    return Rule(
        **{"name": name, "entity_type": name.upper(), "pack": "t", "body": body, "left": left}
        | {"right": right}
        | more
    )


def scan_chunks(plan, chunks):
    scanner = RuleScanner.of(plan)
    scans = [scanner.feed(chunk) for chunk in chunks] + [scanner.feed("", eof=True)]
    released = "".join(scan.released for scan in scans)
    return released, tuple(finding for scan in scans for finding in scan.findings)


def spans(findings):
    return [(finding.start, finding.end, finding.detector) for finding in findings]


def oracle_spans(text, rules):
    return [(found.start, found.end, found.rule.name) for found in oracle.find(text, rules)]


class TestShippedRules:
    @given(documents)
    @settings(max_examples=400, deadline=None)
    def test_whole_text_is_what_the_oracle_says(self, text):
        scan = redact(text, AUTOMATON, mask=ALL)
        assert oracle_spans(text, RULES) == spans(scan.findings)
        assert oracle.redact(text, RULES) == scan.released

    @given(chunked())
    @settings(max_examples=600, deadline=None)
    def test_any_chunking_gives_what_the_whole_text_gives(self, document):
        text, chunks = document
        whole = redact(text, AUTOMATON, mask=ALL)
        assert (whole.released, whole.findings) == scan_chunks(Plan(AUTOMATON, mask=ALL), chunks)

    @given(documents, st.data())
    @settings(max_examples=200, deadline=None)
    def test_a_mask_is_a_rule_set_of_its_own(self, text, data):
        # A prefilter of hundreds of rules takes seconds to make: few of them here, many below.
        chosen = data.draw(st.sets(st.integers(0, len(RULES) - 1), max_size=6))
        self.check_mask(text, chosen)

    @given(documents, st.data())
    @settings(max_examples=4, deadline=None)
    def test_so_is_a_mask_of_many(self, text, data):
        self.check_mask(text, data.draw(st.sets(st.integers(0, len(RULES) - 1))))

    def check_mask(self, text, chosen):
        mask = sum(1 << number for number in chosen)
        kept = [one for number, one in enumerate(RULES) if number in chosen]
        scan = redact(text, AUTOMATON, mask=mask)
        assert oracle_spans(text, kept) == spans(scan.findings)

    @given(st.text(max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_arbitrary_text_never_raises_and_stays_itself_where_nothing_is_found(self, text):
        scan = redact(text, AUTOMATON, mask=ALL)
        assert scan.findings or scan.released == text

    @given(chunked())
    @settings(max_examples=200, deadline=None)
    def test_what_is_out_after_a_prefix_depends_on_the_prefix_alone(self, document):
        _text, chunks = document
        in_pieces, at_once = RuleScanner(AUTOMATON, mask=ALL), RuleScanner(AUTOMATON, mask=ALL)
        out = "".join(in_pieces.feed(chunk).released for chunk in chunks)
        assert out == at_once.feed("".join(chunks)).released
        assert in_pieces.held_chars == at_once.held_chars

    @given(chunked())
    @settings(max_examples=200, deadline=None)
    def test_no_found_value_is_ever_emitted(self, document):
        text, chunks = document
        plan = Plan(AUTOMATON, mask=ALL, default_operator=Replace(text="\0"))
        released, findings = scan_chunks(plan, chunks)
        kept = []
        at = 0
        for finding in findings:
            kept.append(text[at : finding.start])
            at = finding.end
        assert released.split("\0") == [*kept, text[at:]]

    @given(chunked())
    @settings(max_examples=200, deadline=None)
    def test_no_more_is_held_than_the_rules_can_need(self, document):
        scanner = RuleScanner(AUTOMATON, mask=ALL)
        for chunk in document[1]:
            scanner.feed(chunk)
            assert scanner.held_chars <= AUTOMATON.hold_chars_max

    def test_mask_of_nothing_releases_everything_at_once(self):
        scanner = RuleScanner(AUTOMATON, mask=0)
        text = " ".join(EXAMPLES)
        assert text == scanner.feed(text).released
        assert scanner.held_chars == 0


ATOMS = ["a", "b", "-", "1", "2", "[ab]", "[^a]", r"\d", r"\w", "[b1-]", ".", "é", "[é-\U0001d7d8]", "A"]
bodies = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{1,3}", "{0,2}", "{2,}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)
toy_rules = st.builds(
    rule,
    body=bodies,
    naming=st.one_of(st.just(""), bodies),
    left=st.sampled_from(Boundary),
    right=st.sampled_from(Boundary),
    validator=st.sampled_from([None, None, validators.luhn]),
    entity_type=st.sampled_from(["X", "Y"]),
    ignore_case=st.booleans(),
)
toy_texts = st.text(alphabet="aabb--1122A_.é漢𝟘 ", max_size=24)

# Read as a, A, b, 1 and 2, as 12 and 1., as nothing, and as nothing or b or 1.
disguised_texts = st.text(
    alphabet="ab-1 _.é\u0430\uff21\uff42\uff11²⑫⒈\u200b\u200d\u0301\U000e0062\U000e0031", max_size=8
)


@st.composite
def toy_rule_sets(draw):
    wanted = draw(st.lists(toy_rules, min_size=1, max_size=4))
    kept = []
    for number, one in enumerate(wanted):
        try:
            compile_rules([one])
        except RuleError:
            continue
        kept.append(replace(one, name=f"r{number}"))
    assume(kept)
    return kept


class TestAnyRules:
    @given(toy_rule_sets(), chunked(toy_texts))
    @settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    def test_any_rules_any_chunking(self, rules, document):
        text, chunks = document
        automaton = compile_rules(rules)
        plan = Plan(automaton, mask=automaton.mask())
        released, findings = scan_chunks(plan, chunks)
        assert oracle_spans(text, rules) == spans(findings)
        assert oracle.redact(text, rules) == released

    @pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "python"])
    @given(toy_rule_sets(), chunked(disguised_texts))
    @settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    def test_any_rules_any_chunking_of_disguised_text(self, compiled, rules, document):
        text, chunks = document
        automaton = compile_rules(rules)
        plan = Plan(automaton, mask=automaton.mask(), compiled=compiled)
        released, findings = scan_chunks(plan, chunks)
        assert oracle_spans(text, rules) == spans(findings)
        assert oracle.redact(text, rules) == released

    @pytest.mark.slow
    @given(toy_rule_sets(), chunked(toy_texts))
    @settings(max_examples=40_000, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @pytest.mark.timeout(1800)
    def test_any_rules_for_long(self, rules, document):
        text, chunks = document
        automaton = compile_rules(rules)
        released, findings = scan_chunks(Plan(automaton, mask=automaton.mask()), chunks)
        assert oracle_spans(text, rules) == spans(findings)
        assert oracle.redact(text, rules) == released


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_spliced_documents_for_long():
    chance = random.Random(20260101)
    plan = Plan(AUTOMATON, mask=ALL)
    for _ in range(100_000):
        text = "".join(
            chance.choice(EXAMPLES)[: chance.choice([5, 12, 400])] + chance.choice(" .1a-@é😀\n")
            for _ in range(chance.randint(1, 5))
        )
        cuts = [chance.randint(0, len(text)) for _ in range(chance.randint(0, 15))]
        whole = redact(text, AUTOMATON, mask=ALL)
        assert (whole.released, whole.findings) == scan_chunks(plan, split(text, cuts))


class TestHoldBack:
    @staticmethod
    def witness(automaton, mask, thread):
        """The shortest continuation after which the thread accepts, by a search over the states."""
        alphabet = [chr(cut) for cut in automaton.classes.cuts if cut <= CODE_POINT_MAX]
        seen = {id(thread.state)}
        waiting = deque([(thread.state, "")])
        while waiting:
            state, path = waiting.popleft()
            if any(mask >> number & 1 for number in state.before(0)):
                return path
            for char in alphabet:
                after = state[automaton.classes[char]]
                if any(mask >> number & 1 for number in after.accepts):
                    return path + char
                if after.live & mask and id(after) not in seen:
                    seen.add(id(after))
                    waiting.append((after, path + char))
        return None

    @given(documents)
    @settings(max_examples=150, deadline=None)
    def test_whatever_is_held_could_still_have_to_be_redacted(self, text):
        mask = sum(1 << n for n, one in enumerate(RULES) if one.validator is None)
        scanner = RuleScanner(AUTOMATON, mask=mask)
        scanner.feed(text)
        assume(scanner.held_chars)
        held_from = len(text) - scanner.held_chars
        continuation = self.witness(AUTOMATON, mask, scanner._threads[0])
        assert continuation is not None
        findings = redact(text + continuation, AUTOMATON, mask=mask).findings
        found = next(finding for finding in findings if held_from < finding.end)
        # What names a value is held with it.
        named = next(one.naming for one in RULES if one.name == found.detector)
        assert named or found.start <= held_from

    @pytest.mark.parametrize(
        ("text", "held"),
        [
            ("plain words ", 0),
            ("plain wor", 3),
            ("write to ann@exa", 7),
            ("write to ann@example.com", 0),
            ("write to ann@example.com.", 1),
            ("漢字かな", 0),
            ("dial 415-555-26", 10),
        ],
    )
    def test_what_is_held(self, text, held):
        scanner = RuleScanner(AUTOMATON, mask=ALL)
        scanner.feed(text)
        assert held == scanner.held_chars

    def test_a_certain_replacement_does_not_wait_for_the_end_of_the_match(self):
        scanner = RuleScanner(AUTOMATON, mask=ALL)
        assert scanner.feed("to ann@example.co").released == "to [EMAIL_ADDRESS]"
        assert scanner.feed("m").released == ""
        last = scanner.feed(" or")
        assert (last.released, spans(last.findings)) == (" ", [(3, 18, "email")])

    def test_a_replacement_waits_while_another_type_could_take_over(self):
        rules = [rule("short", "ab+"), rule("long", "ab{1,5}c")]
        automaton = compile_rules(rules)
        scanner = RuleScanner(automaton, mask=automaton.mask())
        assert scanner.feed("-ab").released == "-"
        assert scanner.feed("b").released == ""
        assert scanner.feed("c").released == "[LONG]"


class TestEndlessMatches:
    @pytest.mark.parametrize(
        ("head", "unit", "entity_type"),
        [
            ("Authorization: Bearer a1", "b2", "BEARER_TOKEN"),
            ("-----BEGIN RSA PRIV" + "ATE KEY-----\n", "MIIEowIBAAKCAQEA\n", "PRIVATE_KEY"),
            ("password=", "x9", "PASSWORD"),
            ("ann@example.com", ".aa", "EMAIL_ADDRESS"),
        ],
    )
    def test_memory_stays_constant(self, head, unit, entity_type):
        scanner = RuleScanner(AUTOMATON, mask=ALL)
        out = scanner.feed(head).released
        kept_peak = held_peak = 0
        text = unit * (200_000 // len(unit))
        for at in range(0, len(text), 61):
            out += scanner.feed(text[at : at + 61]).released
            kept_peak = max(kept_peak, len(scanner._kept))
            held_peak = max(held_peak, scanner.held_chars)
        last = scanner.feed("", eof=True)
        assert out + last.released == head[: last.findings[0].start] + f"[{entity_type}]"
        assert last.findings[0].end == len(head) + len(text)
        assert kept_peak <= 80
        assert held_peak <= 40

    def test_a_truncated_key_does_not_leak_at_the_end(self):
        text = "see -----BEGIN PRIV" + "ATE KEY-----\nMIIEowIBAAKC"
        assert redact(text, AUTOMATON, mask=ALL).released == "see [PRIVATE_KEY]"


class TestSemantics:
    @pytest.mark.parametrize(
        ("rules", "text", "expected"),
        [
            ([("a", "ab"), ("b", "bcd")], "abcd", "[A]cd"),
            ([("a", "ab"), ("b", "abc")], "abc", "[B]"),
            ([("a", "abc"), ("b", "ab(?:c)")], "abc", "[A]"),
            ([("b", "ab(?:c)"), ("a", "abc")], "abc", "[B]"),
            ([("a", "abd{1,3}e"), ("b", "bc")], "abcab", "a[B]ab"),
            ([("a", "aaaa"), ("b", "aa")], "aaa", "[B]a"),
            ([("a", "aba")], "ababa", "[A]ba"),
        ],
    )
    def test_leftmost_then_longest_then_rule_order(self, rules, text, expected):
        automaton = compile_rules([rule(name, body) for name, body in rules])
        for chunks in ([text], list(text)):
            plan = Plan(automaton, mask=automaton.mask())
            assert expected == scan_chunks(plan, chunks)[0]

    def test_a_tie_between_a_boundary_and_none_goes_by_rule_order(self):
        rules = [rule("late", "ab", right=Boundary.NOT_WORD), rule("soon", "ab")]
        automaton = compile_rules(rules)
        for chunks in (["ab-"], ["a", "b", "-"]):
            plan = Plan(automaton, mask=automaton.mask())
            assert scan_chunks(plan, chunks)[0] == "[LATE]-"

    def test_a_validator_is_asked_at_every_end(self):
        automaton = compile_rules([rule(body=r"\d{2,6}", validator=validators.luhn)])
        assert redact("1812", automaton, mask=1).released == "[R]12"

    def test_boundaries_look_at_the_original_neighbour(self):
        automaton = compile_rules([rule("a", "ab"), rule("c", "cd", left=Boundary.NOT_WORD)])
        assert redact("axcd", automaton, mask=3).released == "axcd"

    def test_a_match_bounds_what_follows_it_directly_or_behind_one_separator(self):
        automaton = compile_rules([rule("a", "ab"), rule("c", "cd", left=Boundary.NOT_DASHED)])
        for text, expected in [
            ("abcd", "[A][C]"),
            ("ab-cd", "[A]-[C]"),
            ("ab--cd", "[A]--cd"),
            ("abxcd", "[A]xcd"),
            ("-cd", "-cd"),
        ]:
            assert redact(text, automaton, mask=3).released == expected
            scanner = RuleScanner(automaton, mask=3)
            pieces = [scanner.feed(char).released for char in text] + [scanner.feed("", eof=True).released]
            assert "".join(pieces) == expected

    def test_what_follows_many_matches_takes_no_stack(self):
        automaton = compile_rules([rule("a", "a")])
        assert redact("a" * 5_000, automaton, mask=1).released == "[A]" * 5_000

    @pytest.mark.parametrize("after", ["9", "0", "a", "Z", "_"])
    @pytest.mark.parametrize("one", [r for r in RULES if r.right is Boundary.NOT_WORD])
    def test_a_word_character_directly_after_a_bounded_match(self, one, after):
        text = one.matches[0] + after
        mask = AUTOMATON.mask([one.entity_type])
        expected = oracle.redact(text, [r for r in RULES if r.entity_type == one.entity_type])
        assert expected == scan_chunks(Plan(AUTOMATON, mask=mask), list(text))[0]

    def test_offsets_are_code_points_of_the_original(self):
        text = "😀😀 ann@example.com \U0001d7d8 bob@example.com"
        _released, findings = scan_chunks(Plan(AUTOMATON, mask=ALL), list(text))
        assert [text[f.start : f.end] for f in findings] == ["ann@example.com", "bob@example.com"]

    def test_a_span_over_many_feeds(self):
        text = "my card 4111 1111 1111 1111, thanks"
        released, findings = scan_chunks(Plan(AUTOMATON, mask=ALL), split(text, list(range(40))))
        assert released == "my card [CREDIT_CARD], thanks"
        assert spans(findings) == [(8, 27, "card")]


class TestOperatorsInFlight:
    @given(chunked())
    @settings(max_examples=100, deadline=None)
    def test_values_are_whole_whatever_the_chunking(self, document):
        text, chunks = document
        mask = AUTOMATON.mask(["CREDIT_CARD", "PHONE_NUMBER", "IBAN_CODE", "AWS_ACCESS_KEY"])
        operators = {"CREDIT_CARD": Mask(keep_last=4), "AWS_ACCESS_KEY": Replace(text="<key>")}
        default = Hash(key=b"k")
        whole = redact(text, AUTOMATON, mask=mask, operators=operators, default_operator=default)
        plan = Plan(AUTOMATON, mask=mask, operators=operators, default_operator=default)
        assert (whole.released, whole.findings) == scan_chunks(plan, chunks)

    def test_mask_keeps_the_last_digits(self):
        mask = AUTOMATON.mask(["CREDIT_CARD"])
        scan = redact("4111 1111 1111 1111", AUTOMATON, mask=mask, default_operator=Mask(keep_last=4))
        assert scan.released == "**** **** **** 1111"
        assert scan.replacements == ("**** **** **** 1111",)


class TestClosing:
    def test_a_dropped_tail_never_comes_out(self):
        scanner = RuleScanner(AUTOMATON, mask=ALL)
        assert scanner.feed("to ann@exam").released == "to "
        scanner.drop()
        assert scanner.held_chars == 0
        with pytest.raises(ScannerClosedError):
            scanner.feed("ple.com")

    def test_nothing_comes_after_the_end(self):
        scanner = RuleScanner(AUTOMATON, mask=ALL)
        scanner.feed("text", eof=True)
        with pytest.raises(ScannerClosedError):
            scanner.feed("", eof=True)

    def test_too_many_live_starts_close_the_scanner(self):
        automaton = compile_rules([rule(body="a{300}b")])
        scanner = RuleScanner(automaton, mask=1)
        assert scanner.feed("a" * LIMITS.scan_threads_max).released == ""
        with pytest.raises(ScanOverflowError):
            scanner.feed("a")
        with pytest.raises(ScannerClosedError):
            scanner.feed("", eof=True)

    def test_an_empty_feed_changes_nothing(self):
        scanner = RuleScanner(AUTOMATON, mask=ALL)
        assert scanner.feed("") == engine.Scan("", ())


def test_the_state_cache_may_be_emptied_at_any_time(monkeypatch):
    automaton = compile_rules([*ALL_RULES, rule("last", "zq{3}")])
    monkeypatch.setattr("extproc.redaction.automaton.LIMITS", replace(LIMITS, automaton_states_max=3))
    text = " ".join(EXAMPLES[:40])
    expected = redact(text, AUTOMATON, mask=ALL)
    plan = Plan(automaton, mask=automaton.mask())
    assert (expected.released, expected.findings) == scan_chunks(plan, split(text, list(range(0, 4000, 3))))
    assert len(automaton._states) <= 3
