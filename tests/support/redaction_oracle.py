"""Whole-text redaction written another way: Python's ``re``, every end tried, no automaton.

Slow on purpose. It shares with the engine only the rules, their validators, and what each character is read
as: here every reading of every piece of the text is written out, and one of them must match.
"""

from __future__ import annotations

import itertools
import re
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


@cache
def compiled(rule: Rule) -> re.Pattern[str]:
    return pattern(f"(?:{rule.naming})(?:{rule.body})", ignore_case=rule.ignore_case)


@cache
def pattern(body: str, *, ignore_case: bool) -> re.Pattern[str]:
    return re.compile(body, re.ASCII | (re.IGNORECASE if ignore_case else 0))


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


def written(
    text: str,
    found: list[Found],
    spoken: Callable[[Rule, str], str] = lambda rule, _value: f"[{rule.entity_type}]",
) -> str:
    """The text with the entity type in brackets, or what else is ``spoken``, in place of what was found."""
    pieces: list[str] = []
    at = 0
    for match in found:
        pieces += [text[at : match.start], spoken(match.rule, text[match.start : match.end])]
        at = match.end
    return "".join([*pieces, text[at:]])
