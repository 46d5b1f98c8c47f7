"""Whether a value looks drawn at random, as keys are, or written, as words and paths are."""

from __future__ import annotations

import re
from collections import Counter
from math import log2
from typing import Final

_VALUE: Final = re.compile(r"[A-Za-z0-9_\-+/.~]+=*$")
# Bits per character: 20 random hexadecimal digits have about 3.4, English words run together about 3.2.
_BITS_MIN: Final = 3.2
_DIGITS_MIN: Final = 3


def random_value(value: str) -> bool:
    """Whether the value at the end is random enough for a key: digits and letters in it, and entropy."""
    found = _VALUE.search(value.rstrip("\"'`"))
    if found is None:
        return False
    text = found[0]
    digits = sum(char.isdigit() for char in text)
    if digits < _DIGITS_MIN or digits == len(text):
        return False
    counts = Counter(text).values()
    return -sum(count / len(text) * log2(count / len(text)) for count in counts) >= _BITS_MIN


_BASIC: Final = re.compile(r"[A-Za-z0-9+/]+=*$")


def basic_credentials(value: str) -> bool:
    """Base64 as long as RFC 7617 makes it, in more than one case: a word after "basic" is none."""
    found = _BASIC.search(value)
    text = found[0] if found else ""
    return len(text) % 4 == 0 and not text.islower() and not text.istitle() and not text.isdigit()
