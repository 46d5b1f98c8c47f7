r"""JSON that stands as text within a JSON string: tool arguments, answers in JSON mode.

A scanner must see what the client will read in the end: ``a\u0040b.c`` is an address. So escapes of the
inner document are read, except those without which it could not be written again: ``\"`` and ``\\`` stay
two characters (also where they are spelled ``\u0022`` and ``\u005c``), and lone surrogates and unknown
escapes stay as they are. What was read can then be written back by escaping control characters within
strings. Deeper levels (JSON in a string of the inner document) are left to the scanner.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_HIGH: Final = r"\\u[dD][89abAB][0-9A-Fa-f]{2}"
_LOW: Final = r"\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
_BEGUN: Final = r"\\(?:u[0-9A-Fa-f]{0,3})?\Z"
# Where an escape begins whose end has not come: alone, or as the second half of a pair.
_OPEN: Final = re.compile(rf"{_HIGH}(?:{_BEGUN}|\Z)|{_BEGUN}")
_CODE: Final = re.compile(rf"({_HIGH}{_LOW}|\\u[0-9A-Fa-f]{{4}})")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SURROGATES: Final = frozenset(map(chr, range(0xD800, 0xE000)))
# Strings, and between them no backslash.
_DOCUMENT: Final = re.compile(r'[^"\\]*+(?:"(?:[^"\\\x00-\x1f]++|\\[^\x00-\x1f])*+"[^"\\]*+)*+')
_WHITE_SPACE: Final = " \t\n\r"
_OPEN_CHARS_MAX: Final = 11
_SHORT: Final = {"/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# What keeps its escape, however it is spelled.
_KEPT: Final = {'"': '\\"', "\\": "\\\\"}
# What stands for a value that was taken out: an entity type in brackets, perhaps with a digest or the
# letters of a pseudonym, or a mask.
_TAKEN_OUT: Final = r"\[[A-Z][A-Z0-9_]*(?::[0-9a-f]+|_[a-z]+)?\]|\*{6,}[0-9]*"
_USUAL: Final = re.compile(_TAKEN_OUT)
_BEFORE_VALUES: Final = frozenset(":,[")
_SCALAR: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+\-]?[0-9]+)?|true|false|null")
# Of one request's replacements, as each is looked for at every value: a policy's own texts are few, and
# stand again and again; masks are many.
_TEXTS_MAX: Final = 64
_TEXT_SETS_MAX: Final = 256  # policies' own texts: of those in use, and of some before them.
_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_QUOTE: Final = re.compile(r'\\.|"|[\x00-\x1f]', re.DOTALL)
_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x20)} | {
    ord(value): "\\" + short for short, value in _SHORT.items() if value < " "
}


class Read(NamedTuple):
    """A piece of the inner document: its spelling, and as a scanner reads it.

    The spelling is its own, but that control characters within strings, which no JSON has, are escaped: a
    scanner could not tell them from those that were.
    """

    spelled: str
    text: str


class EscapeReader:
    """Reads one inner document as it streams. An escape that a piece begins moves to the next piece."""

    __slots__ = ("_begun", "_in_string")

    def __init__(self) -> None:
        self._begun = ""
        self._in_string = False

    @property
    def begun(self) -> str:
        """The escape whose end has not come; at most 11 characters."""
        return self._begun

    def feed(self, piece: str, *, eof: bool = False) -> Read:
        """Take a piece; with ``eof`` an escape without its end counts as what it is."""
        spelled = self._begun + piece
        self._begun = ""
        if "\\" not in spelled:
            return Read(self._sound(spelled), spelled)
        if not eof:
            spelled, self._begun = _split(spelled)
        return Read(self._sound(spelled), _read(spelled))

    def _sound(self, spelled: str) -> str:
        if _CONTROL.search(spelled) is not None:
            return _QUOTE.sub(self._escaped, spelled)
        quotes = spelled
        if "\\" in spelled:
            quotes = spelled.replace("\\\\", "").replace('\\"', "")
        self._in_string ^= quotes.count('"') % 2 == 1
        return spelled

    def _escaped(self, found: re.Match[str]) -> str:
        mark = found[0]
        self._in_string ^= mark == '"'
        return mark.translate(_CONTROLS) if self._in_string and len(mark) == 1 else mark


def has_escapes(text: str) -> bool:
    """Whether a text is JSON in which something is escaped, by its outer form alone.

    It begins and ends as an array or an object does, and every backslash stands within a string: what was
    read of it can be written again, and no more is asked. Parsing it would cost as much as all the body.
    """
    if "\\" not in text:
        return False
    inner = text.strip(_WHITE_SPACE)
    return inner[0] in "[{" and inner[-1] in "]}" and _DOCUMENT.fullmatch(inner) is not None


def read_escapes(document: str) -> str:
    """A whole inner document as a scanner reads it."""
    return EscapeReader().feed(document, eof=True).text


class EscapeWriter:
    """Writes what was read as part of the inner document again, piece by piece."""

    __slots__ = ("_escaped", "_in_string", "_last", "_mark")

    def __init__(self, replacements: frozenset[str] = frozenset()) -> None:
        self._mark = _mark(replacements)
        # What was written last, but for white space.
        self._last = ""
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> str:
        """Escape control characters in strings, quote what took a number's place; all else stays."""
        if not text:
            return ""
        # The backslash before it went out with the last piece.
        first = text[0] if self._escaped else ""
        self._escaped = False
        written = first + self._mark.sub(self._write, text[len(first) :])
        self._last = text.rstrip(" \t\n\r")[-1:] or self._last
        return written

    def _write(self, found: re.Match[str]) -> str:
        mark = found[0]
        if mark[0] == "\\":
            self._escaped = len(mark) == 1
        elif mark == '"':
            self._in_string = not self._in_string
        elif self._in_string:
            return mark.translate(_CONTROLS)
        elif found["value"] and (found["before"].strip() or self._last in _BEFORE_VALUES):
            # It was a number, and no number can say it.
            return f"{found['before']}{json.dumps(found['value'], ensure_ascii=False)}"
        return mark


def write_escapes(text: str, replacements: frozenset[str] = frozenset()) -> str:
    """A whole inner document, as ``read_escapes`` gave it, with edits made in it."""
    return EscapeWriter(replacements).feed(text)


def unusual(replacements: Iterable[str]) -> frozenset[str]:
    """Of what took values' places, the texts that a writer does not know by form: the most frequent."""
    counted = Counter([text for text in replacements if _USUAL.fullmatch(text) is None])
    return frozenset([text for text, _ in counted.most_common(_TEXTS_MAX)])


@lru_cache(_TEXT_SETS_MAX)
def _mark(replacements: frozenset[str]) -> re.Pattern[str]:
    """What a writer looks at; ``replacements`` may stand in values' places beside the usual."""
    texts = [text for text in replacements if text and _SCALAR.fullmatch(text) is None]
    values = "|".join([_TAKEN_OUT, *map(re.escape, sorted(texts, key=len, reverse=True))])
    value = rf"(?P<before>(?:[:,\[]|\A)[ \t\n\r]*)(?P<value>{values})(?=[ \t\n\r]*(?:[,}}\]]|\Z))"
    return re.compile(rf'{value}|\\(?:.|\Z)|"|[\x00-\x1f]', re.DOTALL)


def _split(spelled: str) -> tuple[str, str]:
    """A document that goes on, and behind it the escape whose end has not come."""
    at = max(len(spelled) - _OPEN_CHARS_MAX, 0)
    while (found := _OPEN.search(spelled, at)) is not None:
        before = spelled[: found.start()]
        # Behind an odd number of backslashes this one is escaped itself.
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return before, found[0]
        at = found.start() + 1
    return spelled, ""


def _read(spelled: str) -> str:
    """A document with its escapes read: in passes over all of it, as a call for each would take seconds."""
    # Of backslashes in a row every two are one escape, which stays. No sound text has a lone surrogate.
    pair = next(mark for mark in _SURROGATES if mark not in spelled)
    text = spelled.replace("\\\\", pair)
    if "\\" in text:
        for short, value in _SHORT.items():
            text = text.replace("\\" + short, value)
        if "\\u" in text:
            text = _read_codes(text)
    return text.replace(pair, "\\\\")


def _read_codes(text: str) -> str:
    """A text in which no backslash is escaped, with those escapes read that give a character's code."""
    parts = _CODE.split(text)
    spelled = parts[1::2]
    read: list[str] = json.loads('["' + '","'.join(spelled) + '"]') if spelled else []
    joined = "".join(read)
    if '"' in joined or "\\" in joined or _SURROGATE.search(joined) is not None:
        read = [
            before if code in _SURROGATES else _KEPT.get(code, code)
            for before, code in zip(spelled, read, strict=True)
        ]
    parts[1::2] = read
    return "".join(parts)
