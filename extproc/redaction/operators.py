"""What takes a finding's place."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final, assert_never

from extproc.redaction.transducer import seen


@dataclass(frozen=True, slots=True)
class Redact:
    """The entity type in brackets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """A fixed text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Hide all but the last ``keep_last`` letters and digits; what separates them stays.

    A value with no more than twice as many is hidden whole.
    """

    keep_last: int
    mask: str = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hash:
    """The entity type with a keyed digest of the value as it is seen.

    HMAC-SHA-256 over UTF-8, in hexadecimal.
    """

    key: bytes = field(repr=False)
    hex_chars: int = 16


@dataclass(frozen=True, slots=True)
class Pseudonymise:
    """A token of the stream in the request, put there by whoever knows the stream; else as ``Redact``."""


Operator = Redact | Replace | Mask | Hash | Pseudonymise

REDACT: Final = Redact()
PSEUDONYM: Final = "pseudonym"
"""The name of ``Pseudonymise`` in a policy."""


def needs_value(operator: Operator) -> bool:
    """Whether the replacement depends on the value, so that a match must be held to its end."""
    return isinstance(operator, Mask | Hash)


def replacement(operator: Operator, entity_type: str, value: str) -> str:
    """What stands in the value's place; ``value`` may be empty where it is not needed."""
    match operator:
        case Redact() | Pseudonymise():
            return f"[{entity_type}]"
        case Replace(text=text):
            return text
        case Mask():
            # As it is seen: tags are no letters, and would stay.
            return _mask(operator, seen(value))
        case Hash(key=key, hex_chars=hex_chars):
            # A lone surrogate cannot stand in UTF-8, and a value must never raise.
            digest = hmac.new(key, seen(value).encode("utf-8", "surrogatepass"), hashlib.sha256)
            return f"[{entity_type}:{digest.hexdigest()[:hex_chars]}]"
        case _:
            assert_never(operator)


def _mask(operator: Mask, value: str) -> str:
    total = sum(char.isalnum() for char in value)
    hidden = total if total <= 2 * operator.keep_last else total - operator.keep_last
    masked: list[str] = []
    for char in value:
        if char.isalnum() and hidden:
            masked.append(operator.mask)
            hidden -= 1
        else:
            masked.append(char)
    return "".join(masked)
