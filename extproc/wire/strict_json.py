"""A strict JSON reader that locates: every value keeps its byte span, so that edits can be spliced in.

Whatever two parsers could read differently is refused: duplicate keys, NaN, lone surrogates, a byte order
mark, invalid UTF-8, trailing bytes. Source of the grammar: RFC 8259; of the strictness: RFC 7493 (I-JSON).
Reading is iterative, and the scanning of strings and numbers is left to compiled patterns with possessive
quantifiers, so that hostile input costs neither stack nor backtracking.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.verdict import Reason
from extproc.wire.compact_json import read_compact
from extproc.wire.json_values import (
    CONSTANTS,
    NUMBER,
    STRING_BODY,
    Array,
    Constant,
    Member,
    Number,
    Object,
    Text,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Array",
    "Constant",
    "Member",
    "Number",
    "Object",
    "Text",
    "Value",
    "keys_of",
    "locate",
    "parse",
    "texts_of",
]


_WS = rb"[ \t\n\r]*+"
_STRING = rb'"' + STRING_BODY + rb'"'
_VALUE = rb"(?:(" + _STRING + rb")|(" + NUMBER + rb")|(true|false|null)|([\[{]))"
# Group 1 is the key in both, so that the groups of the value have the same numbers.
_MEMBER = re.compile(_WS + rb"(" + _STRING + rb")" + _WS + rb":" + _WS + _VALUE)
_ELEMENT = re.compile(_WS + rb"()" + _VALUE)
_STRING_GROUP, _NUMBER_GROUP, _CONSTANT_GROUP, _OPEN_GROUP = 2, 3, 4, 5

_SPACE = re.compile(_WS)
_SOUND_STRING = re.compile(rb'"' + STRING_BODY)
_COMMA, _QUOTE, _COLON, _BACKSLASH = b',":\\'
_BRACE_OPEN, _BRACE_CLOSE, _BRACKET_CLOSE = b"{}]"
_FIRST_PRINTABLE = 0x20
_BOM = b"\xef\xbb\xbf"


def locate(document: bytes, position: int) -> str:
    """``byte N (line L column C)``: N counts from 0, L and C from 1, all in bytes."""
    line = document.count(b"\n", 0, position) + 1
    column = position - document.rfind(b"\n", 0, position)
    return f"byte {position} (line {line} column {column})"


def parse(document: bytes, *, limits: Limits = LIMITS) -> Value:
    """Read one JSON document.

    Raises:
        PeerError: BODY_INVALID or BODY_TOO_COMPLEX, status 400; says what and where, and quotes nothing.
    """
    _check_encoding(document)
    compact = read_compact(document, limits)
    if compact is not None:
        return compact
    value, end = _read(document, limits)
    end = _skip_space(document, end)
    if end != len(document):
        raise _invalid(document, end, "unexpected bytes after the JSON document")
    return value


def texts_of(value: Value) -> Iterator[Text]:
    """Every string value below a value, in wire order; keys are not among them."""
    pending = [value]
    while pending:
        match pending.pop():
            case Text() as text:
                yield text
            case Array(items=items):
                pending.extend(reversed(items))
            case Object(members=members):
                pending.extend(member.value for member in reversed([*members.values()]))
            case _:
                pass


def keys_of(value: Value) -> Iterator[str]:
    """Every key of every object below a value."""
    pending = [value]
    while pending:
        match pending.pop():
            case Array(items=items):
                pending.extend(items)
            case Object(members=members):
                yield from members
                pending.extend(member.value for member in members.values())
            case _:
                pass


class _Open:
    """A container whose end has not been read."""

    __slots__ = ("is_object", "items", "key", "members", "start")

    def __init__(self, start: int, *, is_object: bool) -> None:
        self.start = start
        self.is_object = is_object
        self.key: Text | None = None
        self.members: dict[str, Member] = {}
        self.items: list[Value] = []

    def add(self, value: Value) -> None:
        """Take the value of the pending key, or the next item."""
        if self.key is None:
            self.items.append(value)
        else:
            self.members[self.key.value] = Member(self.key.value, self.key.start, value)

    def close(self, end: int) -> Value:
        """The container, now that its end is known."""
        if self.is_object:
            return Object(self.members, self.start, end)
        return Array(tuple(self.items), self.start, end)


def _read(document: bytes, limits: Limits) -> tuple[Value, int]:
    """The document's value and where it ends."""
    stack: list[_Open] = []
    position = nodes = 0
    nodes_max = limits.json_nodes_max
    container: _Open | None = None
    while True:
        in_object = container is not None and container.is_object
        found = (_MEMBER if in_object else _ELEMENT).match(document, position)
        if found is None:
            raise _diagnosis(document, position, in_object=in_object)
        position = found.end()
        nodes += 2 if in_object else 1
        if nodes > nodes_max:
            raise _too_many(document, found.start(), limits)
        if container is not None and in_object:
            container.key = _key(document, found, container)
        if found.lastindex == _OPEN_GROUP:
            start = position - 1
            container = _Open(start, is_object=document[start] == _BRACE_OPEN)
            stack.append(container)
            if len(stack) > limits.json_depth_max:
                raise _too_complex(document, start, f"nested deeper than {limits.json_depth_max}")
            end = _closed_at_once(document, position, container)
            if end is None:
                continue
            value = stack.pop().close(end)
            position = end
        else:
            value = _scalar(document, found, limits)
        value, position = _close_full(document, position, stack, value)
        if not stack:
            return value, position
        container = stack[-1]


def _close_full(document: bytes, position: int, stack: list[_Open], value: Value) -> tuple[Value, int]:
    """Add a value to its container, and close every container that ends with it."""
    while stack:
        container = stack[-1]
        container.add(value)
        following = document[position : position + 1]
        if following != b"," and following not in (b"}", b"]"):
            position = _skip_space(document, position)
            following = document[position : position + 1]
        if following == b",":
            return value, position + 1
        if following != (b"}" if container.is_object else b"]"):
            raise _unexpected(document, position, "expected ',' or the end of the container")
        position += 1
        value = stack.pop().close(position)
    return value, position


def _closed_at_once(document: bytes, position: int, container: _Open) -> int | None:
    """Where an empty container ends; None where it is not empty."""
    position = _skip_space(document, position)
    closing = b"}" if container.is_object else b"]"
    return position + 1 if document[position : position + 1] == closing else None


def _key(document: bytes, found: re.Match[bytes], container: _Open) -> Text:
    start, end = found.span(1)
    key = _text(document, start, end)
    if key.value in container.members:
        raise _invalid(document, start, "a key stands twice in one object")
    return key


def _scalar(document: bytes, found: re.Match[bytes], limits: Limits) -> Value:
    group = found.lastindex
    if group == _STRING_GROUP:
        start, end = found.span(_STRING_GROUP)
        return _text(document, start, end)
    if group == _NUMBER_GROUP:
        return _number(document, *found.span(_NUMBER_GROUP), limits)
    start, end = found.span(_CONSTANT_GROUP)
    return Constant(CONSTANTS[document[start:end]], start, end)


def _text(document: bytes, start: int, end: int) -> Text:
    raw = document[start + 1 : end - 1]
    if b"\\" not in raw:
        return Text(raw.decode(), start, end)
    value = str(json.loads(document[start:end]))
    if b"\\ud" in raw or b"\\uD" in raw:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _invalid(document, start, "a string with a lone surrogate escape starts") from None
    return Text(value, start, end)


def _number(document: bytes, start: int, end: int, limits: Limits) -> Number:
    chars_max = limits.json_number_chars_max
    if end - start > chars_max:
        raise _too_complex(document, start, f"a number longer than {chars_max} characters")
    digits = document[start:end]
    if digits.lstrip(b"-").isdigit():
        return Number(int(digits), start, end)
    value = float(digits)
    if not math.isfinite(value):
        raise _invalid(document, start, "a number out of range")
    return Number(value, start, end)


# --- what is wrong, and where --------------------------------------------------------------------


def _invalid(document: bytes, position: int, what: str) -> PeerError:
    return PeerError(Reason.BODY_INVALID, f"{what} at {locate(document, position)}")


def _too_complex(document: bytes, position: int, what: str) -> PeerError:
    return PeerError(Reason.BODY_TOO_COMPLEX, f"{what} at {locate(document, position)}")


def _too_many(document: bytes, position: int, limits: Limits) -> PeerError:
    return _too_complex(document, position, f"more than {limits.json_nodes_max} values and keys")


def _unexpected(document: bytes, position: int, what: str) -> PeerError:
    if position >= len(document):
        what = "unexpected end of the JSON document"
    return _invalid(document, position, what)


def _skip_space(document: bytes, position: int) -> int:
    found = _SPACE.match(document, position)
    return position if found is None else found.end()


def _check_encoding(document: bytes) -> None:
    if document.startswith(_BOM):
        raise _invalid(document, 0, "a byte order mark")
    if document.isascii():
        return
    try:
        document.decode()
    except UnicodeDecodeError as error:
        raise _invalid(document, error.start, "invalid UTF-8") from None


def _diagnosis(document: bytes, position: int, *, in_object: bool) -> PeerError:
    """Why no member or element could be read at ``position``."""
    position = _skip_space(document, position)
    if in_object:
        if document[position : position + 1] != b'"':
            return _unexpected(document, position, "expected a key in double quotes")
        key = _SOUND_STRING.match(document, position)
        position = position if key is None else key.end()
        if document[position : position + 1] != b'"':
            return _string_fault(document, position)
        position = _skip_space(document, position + 1)
        if document[position : position + 1] != b":":
            return _unexpected(document, position, "expected ':' after a key")
        position = _skip_space(document, position + 1)
    body = _SOUND_STRING.match(document, position)
    if body is not None:
        return _string_fault(document, body.end())
    if document.startswith((b"NaN", b"Infinity", b"-Infinity"), position):
        return _invalid(document, position, "NaN and Infinity are not JSON")
    return _unexpected(document, position, "expected a value")


def _string_fault(document: bytes, position: int) -> PeerError:
    """What ends the sound part of a string that is not a quote."""
    if position >= len(document):
        return _invalid(document, position, "an unterminated string")
    if document[position] < _FIRST_PRINTABLE:
        return _invalid(document, position, "a control character in a string")
    return _invalid(document, position, "an invalid escape in a string")
