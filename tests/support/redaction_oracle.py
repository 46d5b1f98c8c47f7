"""Whole-text redaction written another way: Python's ``re``, every end tried, no automaton.

Slow on purpose. It shares with the engine only the rules, their validators, and what each character is read
as: here every reading of every piece of the text is written out, and one of them must match.
"""

from __future__ import annotations

import itertools
import re
import string
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.shape import shape
from extproc.redaction.transducer import DISGUISED, READ_AS, UNSEEN

FORBIDDEN = {
    Boundary.NOT_WORD: re.compile(r"[A-Za-z0-9]"),
    Boundary.NOT_DIGIT: re.compile(r"[0-9]"),
    Boundary.NOT_DASHED: re.compile(r"[A-Za-z0-9-]"),
    Boundary.NOT_DOTTED: re.compile(r"[A-Za-z0-9.]"),
    Boundary.NOT_LOCAL: re.compile(r"[A-Za-z0-9_.%+\u00c0-\u04ff-]"),
    Boundary.NOT_HOST: re.compile(r"[A-Za-z0-9_.%+@\u00c0-\u04ff-]"),
    Boundary.NOT_GROUPED: re.compile(r"[A-Za-z0-9:]"),
    Boundary.NOT_ADDRESSED: re.compile(r"[A-Za-z0-9:.]"),
}


@dataclass(frozen=True)
class Found:
    start: int
    end: int
    rule: Rule
    value: str | None = None
    """What is replaced, where it is not what stands in the text."""


@cache
def compiled(rule: Rule) -> re.Pattern[str]:
    return pattern(f"(?:{rule.naming})(?:{rule.body})", ignore_case=rule.ignore_case)


@cache
def pattern(body: str, *, ignore_case: bool) -> re.Pattern[str]:
    return re.compile(body, re.ASCII | (re.IGNORECASE if ignore_case else 0))


@cache
def is_unseen(char: str) -> bool:
    return any(low <= ord(char) <= high for low, high in UNSEEN)


def options(char: str, *, inner: bool) -> list[str]:
    read_as = [READ_AS[ord(char)]] if ord(char) in READ_AS else []
    if is_unseen(char):
        return [*read_as, ""] if inner else read_as
    return [char, *read_as]


@lru_cache(maxsize=100_000)
def written_out(piece: str) -> tuple[str, ...]:
    """Every reading of a piece of the text."""
    if DISGUISED.search(piece) is None:
        return (piece,)
    last = len(piece) - 1
    each = [options(char, inner=0 < at < last) for at, char in enumerate(piece)]
    return tuple("".join(chosen) for chosen in itertools.product(*each))


def is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def wordness(char: str) -> set[bool]:
    """Of the outermost character of a match: whether it is of a word, in either of its readings."""
    found = {is_word(char)}
    return found | {is_word(READ_AS[ord(char)][-1])} if ord(char) in READ_AS else found


def bounded(boundary: Boundary, beside: str, inside: str) -> bool:
    """``inside`` is the outermost character of the match."""
    if boundary is Boundary.NONE:
        return True
    if boundary is Boundary.WORD:
        return (not is_word(beside) if beside else True) in wordness(inside)
    return FORBIDDEN[boundary].fullmatch(beside) is None


def holds(rule: Rule, value: str) -> bool:
    if rule.validator is None:
        return True
    tags = {code for code in map(ord, value) if code >= 0xE0000}
    without = "".join(char for char in value if ord(char) not in tags)
    for one in (value, *(seen(text) for text in (value, without))):
        try:
            if rule.validator(one):
                return True
        except (ArithmeticError, LookupError, TypeError, ValueError):
            assert DISGUISED.search(value) is not None
    return False


def seen(text: str) -> str:
    return "".join(READ_AS.get(ord(char), "" if is_unseen(char) else char) for char in text)


def is_free(text: str, start: int, last_end: int) -> bool:
    """Whether what was found before stands there, with at most one separator between."""
    return start == last_end or (start == last_end + 1 > 0 and not text[last_end].isalnum())


def beside(rule: Rule, text: str, start: int) -> str:
    return text[start - 1 : start] if rule.left is Boundary.WORD or not start else left_of(text, start)


def is_tag(char: str) -> bool:
    return "\U000e0020" <= char <= "\U000e007e"


def left_of(text: str, start: int) -> str:
    """What counts as the neighbour before a match: the one that is there, but in disguised numbers."""
    before = text[start - 1 : start]
    if before.isascii() and not is_unseen(before):
        return before
    if is_tag(before) and is_tag(text[start]):
        return chr(ord(before) - 0xE0000)
    signs = 0
    for char in reversed(text[:start]):
        if is_unseen(char):
            continue
        read = char if char.isascii() else READ_AS.get(ord(char), char)
        if not read[-1].isascii() or not read[-1].isdigit():
            break
        if char.isascii() or unicodedata.decimal(char, None) is not None:
            return "0"
        signs += 1
        if signs > 1:
            return "0"
    return before


def ends(rule: Rule, text: str, start: int, last_end: int = -1) -> list[int]:
    body = compiled(rule)
    free = is_free(text, start, last_end)
    if not free and not bounded(rule.left, beside(rule, text, start), text[start]):
        return []
    # What follows is read in the middle of the text, and may be read as nothing at its end.
    if not any(body.match(reading) for reading in written_out(text[start:] + "\n")):
        return []
    return [
        end
        for end in range(start + 1, len(text) + 1)
        if any(body.fullmatch(reading) for reading in written_out(text[start:end]))
        and bounded(rule.right, text[end : end + 1], text[end - 1])
        and holds(rule, text[start:end])
    ]


def value_start(rule: Rule, match: str) -> int:
    """Code points before the value: all ways to part the match are tried; the longest value counts.

    Where there is no longest match it is that of the shortest one. No tag stays in a name.
    """
    if not rule.naming:
        return 0
    if shape(rule).chars_max is None:
        whole = compiled(rule)
        shorter = (match[:end] for end in range(1, len(match) + 1))
        match = next(one for one in shorter if any(map(whole.fullmatch, written_out(one))))
    naming = pattern(rule.naming, ignore_case=rule.ignore_case)
    body = pattern(rule.body, ignore_case=rule.ignore_case)
    last = len(match) - 1
    each = [options(char, inner=0 < at < last) for at, char in enumerate(match)]
    tags = (at for at, char in enumerate(match) if "\U000e0000" <= char <= "\U000e007f")
    first_tag = next(tags, len(match))
    return min(
        min(owner[at], first_tag)
        for chosen in itertools.product(*each)
        for reading, owner in [("".join(chosen), [at for at, one in enumerate(chosen) for _ in one])]
        for at in range(1, len(reading))
        if naming.fullmatch(reading[:at]) and body.fullmatch(reading[at:])
    )


def find(text: str, rules: list[Rule]) -> list[Found]:
    found: list[Found] = []
    at = 0
    last_end = -1
    while at < len(text):
        best: Found | None = None
        for rule in rules:
            for end in ends(rule, text, at, last_end):
                if best is None or end > best.end:
                    best = Found(at, end, rule)
        if best is None:
            at += 1
        else:
            start = at + value_start(best.rule, text[at : best.end])
            found.append(replace(best, start=start))
            at = last_end = best.end
    return found


def redact(text: str, rules: list[Rule]) -> str:
    return written(text, find(text, rules))


def escapes(text: str) -> list[tuple[int, int, str]]:
    """Where each escape of JSON stands, with what it stands for: some for themselves."""
    found = []
    at = 0
    while at < len(text):
        begin = at
        at += 1
        if text[begin] != "\\":
            continue
        at = after_run(text, begin)
        if at - begin > 16:
            continue
        one = escape(text, at, odd=(at - begin) % 2 == 1)
        if one is None:
            # Half a pair, or backslashes alone.
            end = at if code(text, at) is None else at + 5
            one = end, text[begin:end]
        at = one[0]
        found.append((begin, *one))
    return found


def after_run(text: str, at: int) -> int:
    while text[at : at + 1] == "\\":
        at += 1
    return at


def code(text: str, at: int) -> int | None:
    """The code of an escape behind its backslashes."""
    digits = text[at + 1 : at + 5]
    right = text[at : at + 1] == "u" and len(digits) == 4 and set(digits) <= set(string.hexdigits)
    return int(digits, 16) if right else None


def escape(text: str, at: int, *, odd: bool) -> tuple[int, str] | None:
    """Where an escape ends whose backslashes are before ``at``, and what it stands for."""
    first = text[at : at + 1]
    if first and first in "\"'":
        return (at + 1, first) if odd else None
    if first and first in "bfnrt/":
        return at + 1, dict(zip("bfnrt/", "\b\f\n\r\t/", strict=True))[first]
    high = code(text, at)
    if high is None or 0xDC00 <= high < 0xE000:
        return None
    if not 0xD800 <= high < 0xE000:
        return at + 5, chr(high)
    second = after_run(text, at + 5)
    low = code(text, second) if 1 <= second - at - 5 <= 16 else None
    if low is None or not 0xDC00 <= low < 0xE000:
        return None
    return second + 5, chr(0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00)


def find_escaped(text: str, rules: list[Rule]) -> list[Found]:
    """The same, escapes seen through: what is found in the text, and in it once they are read."""
    as_written = [replace(one, value=text[one.start : one.end]) for one in find(text, rules)]
    places = escapes(text)
    if not places:
        return as_written
    chars: list[str] = []
    owner: list[int] = []
    at = 0
    for begin, end, char in [*places, (len(text), len(text), "")]:
        chars += [*text[at:begin], *char]
        owner += [*range(at, begin), *(range(begin, end) if len(char) > 1 else [begin])]
        at = end
    read = "".join(chars)
    spans = [(*uncut(one.start, one.end, places), 1, one) for one in as_written]
    for one in find(read, rules):
        value = read[one.start : one.end]
        spans.append((*uncut(owner[one.start], owner[one.end], places), 0, replace(one, value=value)))
    joined: list[Found] = []
    for start, end, _, one in sorted(spans, key=lambda span: (span[0], -span[1], span[2])):
        if joined and start < joined[-1].end:
            joined[-1] = replace(joined[-1], end=max(end, joined[-1].end))
        else:
            joined.append(replace(one, start=start, end=end))
    return joined


def uncut(start: int, end: int, places: list[tuple[int, int, str]]) -> tuple[int, int]:
    """A span without the escapes that it begins or ends in, if anything else is in it."""
    starts_in = [one for one in places if one[0] < start < one[1]]
    ends_in = [one for one in places if one[0] < end < one[1]]
    inner_start = starts_in[0][1] if starts_in else start
    inner_end = ends_in[0][0] if ends_in else end
    if inner_start < inner_end:
        return inner_start, inner_end
    return (starts_in[0][0] if starts_in else start), (ends_in[0][1] if ends_in else end)


def written(
    text: str,
    found: list[Found],
    spoken: Callable[[Rule, str], str] = lambda rule, _value: f"[{rule.entity_type}]",
) -> str:
    """The text with the entity type in brackets, or what else is ``spoken``, in place of what was found."""
    pieces: list[str] = []
    at = 0
    for match in found:
        value = text[match.start : match.end] if match.value is None else match.value
        pieces += [text[at : match.start], spoken(match.rule, value)]
        at = match.end
    return "".join([*pieces, text[at:]])
