r"""JSON that stands as text within a JSON string: tool arguments, answers in JSON mode.

A scanner must see what the client will read in the end: ``a\u0040b.c`` is an address. So escapes of the
inner document are read, except those without which it could not be written again: ``\"`` and ``\\`` stay
two characters (also where they are spelled ``\u0022`` and ``\u005c``), and lone surrogates and unknown
escapes stay as they are. What was read can then be written back by escaping control characters within
strings. Deeper levels (JSON in a string of the inner document) are not read.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_HIGH: Final = r"\\u[dD][89abAB][0-9A-Fa-f]{2}"
_LOW: Final = r"\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
_BEGUN: Final = r"\\(?:u[0-9A-Fa-f]{0,3})?\Z"
_ESCAPE: Final = re.compile(
    rf"(?P<pair>{_HIGH}{_LOW})"
    rf"|(?P<open>{_HIGH}(?:{_BEGUN}|\Z)|{_BEGUN})"
    r"|(?P<code>\\u[0-9A-Fa-f]{4})"
    r"|\\(?P<short>.)",
    re.DOTALL,
)
_SHORT: Final = {"/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# What keeps its escape, however it is spelled.
_KEPT: Final = {'"': '\\"', "\\": "\\\\"}
_MARK: Final = re.compile(r'\\(?:.|\Z)|"|[\x00-\x1f]', re.DOTALL)
_CONTROL: Final = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Read(NamedTuple):
    """A piece of the inner document: its own spelling, and as a scanner reads it."""

    spelled: str
    text: str


class EscapeReader:
    """Reads one inner document as it streams. An escape that a piece begins moves to the next piece."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = ""

    @property
    def begun(self) -> str:
        """The escape whose end has not come; at most 11 characters."""
        return self._begun

    def feed(self, piece: str, *, eof: bool = False) -> Read:
        """Take a piece; with ``eof`` an escape without its end counts as what it is."""
        spelled = self._begun + piece
        self._begun = ""
        if "\\" not in spelled:
            return Read(spelled, spelled)
        if not eof:
            for escape in _ESCAPE.finditer(spelled):
                if escape["open"]:
                    self._begun = escape["open"]
                    spelled = spelled[: escape.start()]
        return Read(spelled, _ESCAPE.sub(_read, spelled))


def read_escapes(document: str) -> str:
    """A whole inner document as a scanner reads it."""
    return EscapeReader().feed(document, eof=True).text


class EscapeWriter:
    """Writes what was read as part of the inner document again, piece by piece."""

    __slots__ = ("_escaped", "_in_string")

    def __init__(self) -> None:
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> str:
        """Control characters within strings are escaped; all else stays."""
        if not text:
            return ""
        # The backslash before it went out with the last piece.
        first = text[0] if self._escaped else ""
        self._escaped = False
        return first + _MARK.sub(self._write, text[len(first) :])

    def _write(self, found: re.Match[str]) -> str:
        mark = found[0]
        if mark[0] == "\\":
            self._escaped = len(mark) == 1
        elif mark == '"':
            self._in_string = not self._in_string
        elif self._in_string:
            return _CONTROL.get(mark) or f"\\u{ord(mark):04x}"
        return mark


def write_escapes(text: str) -> str:
    """A whole inner document, as ``read_escapes`` gave it, with edits made in it."""
    return EscapeWriter().feed(text)


def _read(found: re.Match[str]) -> str:
    spelled = found[0]
    match found.lastgroup:
        case "pair":
            high, low = int(spelled[2:6], 16), int(spelled[8:12], 16)
            return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
        case "code":
            code = int(spelled[2:6], 16)
            if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 - surrogates, as Unicode numbers them.
                return spelled
            return _KEPT.get(chr(code), chr(code))
        case "short":
            return _SHORT.get(spelled[1], spelled)
        case _:
            return spelled
