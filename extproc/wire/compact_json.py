"""The fast path of ``strict_json``: documents as serialisers write them, in one pass of one pattern.

It reads no white space but one after a colon or a comma, and gives up on whatever else is unusual or wrong:
the general reader then reads the document, and alone says what is wrong with it.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final

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
)

if TYPE_CHECKING:
    from extproc.domain.limits import Limits
    from extproc.wire.json_values import Value

# A value, with its key where it has one; what closes after it; what separates it from the next. The groups
# of key and scalars are the inner bytes.
_STEP: Final = re.compile(
    rb'(?:"([^"\\\x00-\x1f]*+)": ?)?(?:"('
    + STRING_BODY
    + rb')"|('
    + NUMBER
    + rb")|(true|false|null)|([\[{]))([\]}]*+)(,? ?)"
)
_BRACE_CLOSE: Final = 0x7D


class _Irregular(Exception):  # noqa: N818 - leaves this module never.
    """Not for this reader."""


class _Open:
    """A container whose end has not been read: its members, or its items where it is an array."""

    __slots__ = ("items", "key", "key_start", "members", "start")

    def __init__(self, start: int, *, is_object: bool) -> None:
        self.start = start
        self.members: dict[str, Member] | None = {} if is_object else None
        self.items: list[Value] = []
        self.key = ""
        self.key_start = 0

    def add(self, value: Value) -> None:
        """Take the value of the key that was read last, or the next item."""
        if self.members is None:
            self.items.append(value)
        else:
            self.members[self.key] = Member(self.key, self.key_start, value)


def read_compact(document: bytes, limits: Limits) -> Value | None:
    """The document, which is valid UTF-8; None where the general reader must read it."""
    try:
        return _read(document, limits)
    except _Irregular:
        return None


def _read(document: bytes, limits: Limits) -> Value:  # noqa: C901, PLR0912 - calls would double its cost.
    stack: list[_Open] = []
    container = _Open(0, is_object=False)  # whose one item is the document
    position = nodes = 0
    nodes_max, depth_max = limits.json_nodes_max, limits.json_depth_max
    for found in _STEP.finditer(document):
        start, end = found.span()
        key, text, number, constant, opening, closers, separator = found.groups()
        nodes += 1 if key is None else 2
        if start != position or nodes > nodes_max or (key is None) is not (container.members is None):
            raise _Irregular
        position = end
        value_end = end - len(separator) - len(closers)
        if key is not None:
            container.key, container.key_start = key.decode(), start
            if container.members is not None and container.key in container.members:
                raise _Irregular
        if opening is not None:
            stack.append(container)
            if len(stack) > depth_max:
                raise _Irregular
            container = _Open(value_end - 1, is_object=opening == b"{")
            if not closers:
                if separator:
                    raise _Irregular
                continue
        elif text is not None:
            container.add(_text(document, text, value_end))
        elif number is not None:
            container.add(_number(number, value_end, limits))
        else:
            container.add(Constant(CONSTANTS[constant], value_end - len(constant), value_end))
        if closers:
            container = _close(stack, container, closers, value_end)
        if not stack:
            if position != len(document) or separator:
                raise _Irregular
            return container.items[0]
        if separator[:1] != b",":
            raise _Irregular
    raise _Irregular


def _close(stack: list[_Open], container: _Open, closers: bytes, end: int) -> _Open:
    """Close as many containers as closers stand there; gives the one that is open then."""
    for closer in closers:
        end += 1
        is_object = container.members is not None
        if not stack or (closer == _BRACE_CLOSE) is not is_object:
            raise _Irregular
        value: Value
        if container.members is not None:
            value = Object(container.members, container.start, end)
        else:
            value = Array(tuple(container.items), container.start, end)
        container = stack.pop()
        container.add(value)
    return container


def _text(document: bytes, body: bytes, end: int) -> Text:
    start = end - len(body) - 2
    if b"\\" not in body:
        return Text(body.decode(), start, end)
    value = str(json.loads(document[start:end]))
    if b"\\ud" in body or b"\\uD" in body:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Irregular from None
    return Text(value, start, end)


def _number(digits: bytes, end: int, limits: Limits) -> Number:
    start = end - len(digits)
    if len(digits) > limits.json_number_chars_max:
        raise _Irregular
    if digits.isdigit() or digits[1:].isdigit():
        return Number(int(digits), start, end)
    value = float(digits)
    if not math.isfinite(value):
        raise _Irregular
    return Number(value, start, end)
