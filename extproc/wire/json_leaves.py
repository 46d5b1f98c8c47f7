"""What of a JSON document can say something: strings, keys, and numbers too long to be quantities."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from extproc.domain.limits import LIMITS, Limits
from extproc.wire.strict_json import Array, Number, Object, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.wire.strict_json import Member, Value

# A key as it stands in a document that was parsed: up to its closing quote.
_KEY = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_DIGITS = b"0123456789"
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SPACE = b" \t\r\n"


def bare_bytes(document: bytes) -> int:
    """How many bytes of a document that was parsed are neither strings nor white space."""
    return len(_STRING.sub(b"", document).translate(None, _SPACE))


def number_text(document: bytes, number: Number, *, limits: Limits = LIMITS) -> Text | None:
    """A number as it is written, where it has more digits than a quantity has; else None.

    A card's or an account's number is a JSON number just as well as a count is.
    """
    written = document[number.start : number.end]
    digits = len(written) - len(written.translate(None, _DIGITS))
    if digits <= limits.number_digits_max:
        return None
    return Text(written.decode(), number.start, number.end)


def key_text(document: bytes, member: Member) -> Text:
    """A member's key, with its span."""
    found = _KEY.match(document, member.start)
    if found is None:
        raise AssertionError("a member of another document")
    return Text(member.name, member.start, found.end())


def leaves_of(
    document: bytes, value: Value, *, keys: bool = False, limits: Limits = LIMITS
) -> Iterator[Text]:
    """Every string and every long number below a value, with ``keys`` every key too, in wire order."""
    pending: list[Value | Text] = [value]
    while pending:
        match pending.pop():
            case Text() as text:
                yield text
            case Number() as number:
                written = number_text(document, number, limits=limits)
                if written is not None:
                    yield written
            case Array(items=items):
                pending.extend(reversed(items))
            case Object(members=members):
                for member in reversed([*members.values()]):
                    pending.append(member.value)
                    if keys:
                        pending.append(key_text(document, member))
            case _:
                pass
