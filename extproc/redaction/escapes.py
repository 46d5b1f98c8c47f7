r"""Escapes of JSON that stand in a text itself, up to five levels deep, and the text read without them.

A piece of text does not say at which level it is: JSON in prose has ``\n``, the same in a string of JSON
``\\n``, and each further level twice as many backslashes. All of them stand for the one character here.
Backslashes before any other character stay, as at some level they are text, and so does half a surrogate
pair; but they are not cut either: ``\\`` is one character for whoever reads it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final, NamedTuple

_HEX: Final = "[0-9A-Fa-f]"
_LEVELS_MAX: Final = 5
_RUN_CHARS_MAX: Final = 2 ** (_LEVELS_MAX - 1)
_RUN: Final = rf"\\{{1,{_RUN_CHARS_MAX}}}"
_HIGH: Final = f"[dD][89abAB]{_HEX}{{2}}"
_ESCAPE: Final = re.compile(
    rf"(?<!\\)(?:{_RUN}(?:u(?P<high>{_HIGH}){_RUN}u(?P<low>[dD][c-fC-F]{_HEX}{{2}})"
    rf"|u(?P<code>(?![dD][89a-fA-F]){_HEX}{{4}})|(?P<short>[bfnrt/]))"
    # A quote behind an even number of them is not escaped: it ends its string.
    rf"|(?:\\\\){{0,{_RUN_CHARS_MAX // 2 - 1}}}\\(?P<quote>[\"'])"
    # Half a pair, and backslashes before anything else.
    rf"|{_RUN}u[dD][89a-fA-F]{_HEX}{{2}}|\\{{2,{_RUN_CHARS_MAX}}}(?!\\))"
)
_BEGUN: Final = re.compile(
    rf"(?<!\\){_RUN}(?:u(?:{_HEX}{{0,3}}|{_HIGH}(?:{_RUN}(?:u(?:[dD](?:[c-fC-F]{_HEX}?)?)?)?)?)?)?\Z"
)
_BEGUN_CHARS_MAX: Final = 2 * _RUN_CHARS_MAX + len("uXXXXuXXX")
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/"}
_PLACES_KEPT: Final = 64  # of escapes, before those that are not needed are looked for.


class Gap(NamedTuple):
    """Which places will be asked for: from ``first`` on, but for those between ``start`` and ``end``.

    What is between was let go of: it is of a match that goes on.
    """

    first: int
    start: int
    end: int


class Unescaper:
    """Reads the escapes of one text as it streams, and knows where in the text each character was.

    Offsets are code points of the whole text: as it is written, or as it is read.

    Args:
        at: Where it begins; both texts are the same before.
        last: The character before.

    Attributes:
        read_to: Up to where the text as written has been read.
        begun: What is behind that: an escape whose end has not come.
    """

    __slots__ = ("_ends", "_last", "_places", "_read", "_read_chars", "_starts", "begun", "read_to")

    def __init__(self, at: int, last: str) -> None:
        self.read_to = self._read_chars = at
        self.begun = ""
        self._last = last
        # Of all escapes where they begin and end as written; and of those that are read the places, as read
        # and as written, from which on both texts go in step: the escape's own, and the one behind it.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._read = [at]
        self._places = [at]

    def feed(self, text: str, *, eof: bool) -> str:
        """Take more text; give it as it is read. With ``eof`` an escape without its end is what it is."""
        spelled = self._last + self.begun + text
        at = len(self._last)
        self.begun = ""
        if not eof and "\\" in spelled[-_BEGUN_CHARS_MAX:]:
            begun = _BEGUN.search(spelled, max(at, len(spelled) - _BEGUN_CHARS_MAX))
            if begun is not None:
                self.begun = begun[0]
                spelled = spelled[: begun.start()]
        parts: list[str] = []
        first = self.read_to - at
        for escape in _ESCAPE.finditer(spelled, at) if "\\" in spelled else ():
            char = _character(escape)
            self._starts.append(first + escape.start())
            self._ends.append(first + escape.end())
            if char is not None:
                self._note(first + escape.start(), first + escape.end())
                parts += (spelled[at : escape.start()], char)
                at = escape.end()
        parts.append(spelled[at:])
        self._last = spelled[-1:]
        self._read_chars += first + len(spelled) - self.read_to
        self.read_to = first + len(spelled)
        return "".join(parts)

    def _note(self, start: int, end: int) -> None:
        """An escape that is read; ``_read_chars`` counts what was before it once it is."""
        self._read += (
            self._read[-1] + start - self._places[-1],
            self._read[-1] + start - self._places[-1] + 1,
        )
        self._places += (start, end)
        self._read_chars -= end - start - 1

    def place(self, read: int) -> int:
        """Where a character of the text as it is read is written; of an escape where it begins."""
        # Before the first of them both were in step, too.
        at = max(bisect_right(self._read, read) - 1, 0)
        return self._places[at] + read - self._read[at]

    def before(self, place: int) -> int:
        """The place itself, or where the escape begins that it is within."""
        at = bisect_right(self._starts, place) - 1
        return self._starts[at] if at >= 0 and place < self._ends[at] else place

    def behind(self, place: int) -> int:
        """The place itself, or where the escape ends that it is within."""
        at = bisect_right(self._starts, place) - 1
        within = at >= 0 and self._starts[at] < place < self._ends[at]
        return self._ends[at] if within else place

    def uncut(self, start: int, end: int) -> tuple[int, int]:
        """A span as written, less the escapes that it begins or ends in, unless nothing else is in it."""
        inner_start, inner_end = self.behind(start), self.before(end)
        if inner_start < inner_end:
            return inner_start, inner_end
        return self.before(start), self.behind(end)

    def forget(self, read: Gap, written: tuple[Gap, Gap]) -> None:
        """Forget escapes that are not needed for what will be asked for, in either text.

        Of the text as written neither gap's places will be: all between is taken out anyway.
        """
        if len(self._places) > 2 * _PLACES_KEPT:
            kept = _needed(self._read, read)
            self._read = [self._read[at] for at in kept]
            self._places = [self._places[at] for at in kept]
        if len(self._starts) > _PLACES_KEPT:
            first, second = (set(_needed(self._starts, gap)) for gap in written)
            kept = sorted(first & second)
            self._starts = [self._starts[at] for at in kept]
            self._ends = [self._ends[at] for at in kept]


def _needed(places: list[int], gap: Gap) -> list[int]:
    """The numbers of places that others lie behind, as ``Gap`` says."""
    first, start, end = (max(bisect_right(places, one) - 1, 0) for one in gap)
    return [*range(first, start + 1), *range(max(start + 1, end), len(places))]


def _character(escape: re.Match[str]) -> str | None:
    """What an escape stands for; None for one that stays as it is."""
    short, code = escape["short"], escape["code"]
    if short is not None:
        return _SHORT[short]
    if code is not None:
        return chr(int(code, 16))
    if escape["high"] is not None:
        return chr(0x10000 + ((int(escape["high"], 16) & 0x3FF) << 10) + (int(escape["low"], 16) & 0x3FF))
    return escape["quote"]
