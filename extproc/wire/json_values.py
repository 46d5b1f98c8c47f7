"""The values of a JSON document, each with its byte span, and what they are written with (RFC 8259)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Text(NamedTuple):
    """A string or key; its span in bytes includes the quotes."""

    value: str
    start: int
    end: int


class Number(NamedTuple):
    """A finite number: an int where it is written without fraction and exponent."""

    value: int | float
    start: int
    end: int


class Constant(NamedTuple):
    """``true``, ``false`` or ``null``."""

    value: bool | None
    start: int
    end: int


class Array(NamedTuple):
    """An array; the span includes the brackets."""

    items: tuple[Value, ...]
    start: int
    end: int


class Member(NamedTuple):
    """One key with its value; ``start`` is the byte where the key's opening quote stands."""

    name: str
    start: int
    value: Value


class Object(NamedTuple):
    """An object, its members in wire order; the span includes the braces."""

    members: Mapping[str, Member]
    start: int
    end: int


Value = Text | Number | Constant | Array | Object

# Patterns for bytes. What may stand between the quotes of a string:
STRING_BODY: Final = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*+)*+'
NUMBER: Final = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
CONSTANTS: Final = {b"true": True, b"false": False, b"null": None}
