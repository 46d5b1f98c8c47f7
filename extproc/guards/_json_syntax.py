"""Whether a text can still become JSON, read as it streams: known at its first wrong character.

Control characters may stand in strings, since their escapes were read before. Depth is bounded; keys that
stand twice, lone surrogates and numbers out of range are left to whoever reads the whole.
"""

import re
from enum import Enum, auto
from typing import Final

from extproc.domain.limits import LIMITS

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_IN_STRING: Final = re.compile(r'[^"\\]*')
_SCALAR: Final = re.compile(r"[A-Za-z0-9+.-]+")
_WHOLE_SCALAR: Final = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_ESCAPES: Final = frozenset('"\\/bfnrtu')
_CLOSING: Final = {"{": "}", "[": "]"}


class _Next(Enum):
    """What may come next."""

    VALUE = auto()
    VALUE_OR_END = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


_MAY_END: Final = frozenset({_Next.COMMA_OR_END, _Next.KEY_OR_END, _Next.VALUE_OR_END})


class JsonSyntax:
    """Reads one document."""

    __slots__ = ("_escaped", "_in_string", "_next", "_open", "_scalar")

    def __init__(self) -> None:
        self._open: list[str] = []
        self._next = _Next.VALUE
        self._in_string = False
        self._escaped = False
        # A number or a constant whose end has not come.
        self._scalar = ""

    def feed(self, text: str) -> int | None:
        """Take more text; where in it the first character stands with which it is no JSON, else None."""
        position = 0
        while position < len(text):
            following = self._step(text, position)
            if following is None:
                return position
            position = following
        return None

    def _step(self, text: str, position: int) -> int | None:
        """Read one part of a token; where the next begins, or None where it is wrong."""
        if self._in_string:
            return self._string(text, position)
        scalar = _SCALAR.match(text, position)
        if scalar is not None:
            if not self._scalar and not self._may_have_value():
                return None
            piece = scalar[0][: LIMITS.json_number_chars_max - len(self._scalar)]
            self._scalar += piece
            return position + len(piece) if piece else None
        if self._scalar:
            if _WHOLE_SCALAR.fullmatch(self._scalar) is None:
                return None
            self._scalar = ""
            self._valued()
        space = _SPACE.match(text, position)
        if space is not None and space.end() > position:
            return space.end()
        return position + 1 if self._mark(text[position]) else None

    def _string(self, text: str, position: int) -> int | None:
        if self._escaped:
            self._escaped = False
            return position + 1 if text[position] in _ESCAPES else None
        inside = _IN_STRING.match(text, position)
        end = position if inside is None else inside.end()
        if end == len(text):
            return end
        if text[end] == "\\":
            self._escaped = True
        else:
            self._in_string = False
            if self._next is _Next.COLON:
                return end + 1
            self._valued()
        return end + 1

    def _mark(self, mark: str) -> bool:
        """Take a mark of the grammar; no where it may not stand here."""
        match mark:
            case '"':
                return self._quote()
            case "{" | "[":
                return self._begin(mark)
            case "}" | "]":
                return self._end(mark)
            case ":":
                expected, self._next = self._next, _Next.VALUE
                return expected is _Next.COLON
            case ",":
                expected = self._next
                self._next = _Next.KEY if self._open[-1:] == ["{"] else _Next.VALUE
                return expected is _Next.COMMA_OR_END
            case _:
                return False

    def _quote(self) -> bool:
        self._in_string = True
        if self._next in {_Next.KEY, _Next.KEY_OR_END}:
            self._next = _Next.COLON
            return True
        return self._may_have_value()

    def _begin(self, mark: str) -> bool:
        allowed = self._may_have_value() and len(self._open) < LIMITS.json_depth_max
        self._open.append(mark)
        self._next = _Next.KEY_OR_END if mark == "{" else _Next.VALUE_OR_END
        return allowed

    def _end(self, mark: str) -> bool:
        if self._next not in _MAY_END or not self._open or _CLOSING[self._open.pop()] != mark:
            return False
        self._valued()
        return True

    def _may_have_value(self) -> bool:
        return self._next in {_Next.VALUE, _Next.VALUE_OR_END}

    def _valued(self) -> None:
        """A value has ended."""
        self._next = _Next.COMMA_OR_END if self._open else _Next.NOTHING
