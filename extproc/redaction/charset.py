"""Sets of code points as sorted, disjoint, inclusive ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

CODE_POINT_MAX = 0x10FFFF

CharSet: TypeAlias = tuple[tuple[int, int], ...]


def charset(ranges: Iterable[tuple[int, int]]) -> CharSet:
    """Sort ranges and join those that touch."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def of_chars(chars: str) -> CharSet:
    """The set of the given characters."""
    return charset((ord(char), ord(char)) for char in chars)


def complement(chars: CharSet) -> CharSet:
    """Every other code point."""
    gaps: list[tuple[int, int]] = []
    following = 0
    for low, high in chars:
        if following < low:
            gaps.append((following, low - 1))
        following = high + 1
    if following <= CODE_POINT_MAX:
        gaps.append((following, CODE_POINT_MAX))
    return tuple(gaps)


def union(*sets: CharSet) -> CharSet:
    """Code points in any of the sets."""
    return charset(pair for chars in sets for pair in chars)


def disjoint(left: CharSet, right: CharSet) -> bool:
    """Whether no code point is in both."""
    return all(a_high < b_low or b_high < a_low for a_low, a_high in left for b_low, b_high in right)


def contains(chars: CharSet, code_point: int) -> bool:
    """Whether the code point is in the set."""
    return any(low <= code_point <= high for low, high in chars)


def ignore_case(chars: CharSet) -> CharSet:
    """Add the other case of ASCII letters. Other scripts fold in the transducer, before the rules."""
    more: list[tuple[int, int]] = list(chars)
    for low, high in chars:
        for first, last, shift in ((0x41, 0x5A, 0x20), (0x61, 0x7A, -0x20)):
            if low <= last and high >= first:
                more.append((max(low, first) + shift, min(high, last) + shift))
    return charset(more)


def class_source(chars: CharSet) -> str:
    """The set as a character class of Python's ``re``."""
    return "[" + "".join(rf"\U{low:08x}-\U{high:08x}" for low, high in chars) + "]"


DIGIT: CharSet = of_chars("0123456789")
ALNUM: CharSet = charset([(0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)])
WORD: CharSet = charset([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
SPACE: CharSet = of_chars(" \t\n\r\f\v")
EOL: CharSet = of_chars("\n")
