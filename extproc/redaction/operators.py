"""What takes a finding's place."""

from __future__ import annotations

import hashlib
import hmac
import re
from copy import copy
from dataclasses import dataclass, field
from typing import Final, assert_never

from extproc.domain.limits import LIMITS
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

    What JSON would escape is hidden too: a value may stand in a document within a document. One with no
    more than twice as many letters and digits is hidden whole. Of a value longer than ``mask_chars_max``
    only the end is written.
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
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')
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
            return _whole(MaskedValue(operator), entity_type, value)
        case Hash():
            return _whole(HashedValue(operator), entity_type, value)
        case _:
            assert_never(operator)


def taken_in_pieces(operator: Operator) -> HashedValue | MaskedValue | None:
    """What takes a value piece by piece; None for an operator that does not need it."""
    match operator:
        case Redact() | Pseudonymise() | Replace():
            return None
        case Mask():
            return MaskedValue(operator)
        case Hash():
            return HashedValue(operator)
        case _:
            assert_never(operator)


class HashedValue:
    """A value that is hashed as it comes."""

    __slots__ = ("_digest", "_hex_chars")

    def __init__(self, operator: Hash) -> None:
        self._digest = hmac.new(operator.key, digestmod=hashlib.sha256)
        self._hex_chars = operator.hex_chars

    def fork(self) -> HashedValue:
        """Another one with the same in it."""
        other = copy(self)
        other._digest = self._digest.copy()  # noqa: SLF001 - of the same class.
        return other

    def add(self, text: str) -> None:
        """Take more of it."""
        # A lone surrogate cannot stand in UTF-8, and a value must never raise.
        self._digest.update(seen(text).encode("utf-8", "surrogatepass"))

    def replacement(self, entity_type: str) -> str:
        """What takes its place, once it is whole."""
        return f"[{entity_type}:{self._digest.hexdigest()[: self._hex_chars]}]"


class MaskedValue:
    """A value that is masked as it comes: its end is kept, and of what is before that the length."""

    __slots__ = ("_end", "_operator", "_total")

    def __init__(self, operator: Mask) -> None:
        self._operator = operator
        self._end = ""
        self._total = 0

    def fork(self) -> MaskedValue:
        """Another one with the same in it."""
        return copy(self)

    def add(self, text: str) -> None:
        """Take more of it."""
        # As it is seen: tags are no letters, and would stay.
        text = seen(text)
        self._total += sum(map(str.isalnum, text))
        self._end = (self._end + text)[-LIMITS.mask_chars_max :]

    def replacement(self, _entity_type: str) -> str:
        """What takes its place, once it is whole."""
        keep_last = self._operator.keep_last
        shown = keep_last if self._total > 2 * keep_last else 0
        return _mask(self._operator.mask, self._end, shown)


def _whole(taken: HashedValue | MaskedValue, entity_type: str, value: str) -> str:
    taken.add(value)
    return taken.replacement(entity_type)


def _mask(mask: str, value: str, shown: int) -> str:
    hidden = sum(map(str.isalnum, value)) - shown
    masked: list[str] = []
    for char in value:
        if char.isalnum() and hidden > 0:
            masked.append(mask)
            hidden -= 1
        else:
            masked.append(char)
    return _ESCAPED.sub(lambda _: mask, "".join(masked))
