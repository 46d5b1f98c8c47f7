"""What checks of digits are made of. Values may hold a naming word before them and separators within."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOT_DIGITS: Final = bytes(code for code in range(256) if not 0x30 <= code <= 0x39)  # noqa: PLR2004  ASCII digits
_NOT_ALNUM: Final = re.compile("[^0-9A-Za-z]+")


def digits_of(value: str) -> str:
    """The ASCII digits of a value, in order."""
    return value.encode("ascii", "ignore").translate(None, _NOT_DIGITS).decode("ascii")


def alnum_of(value: str, length: int) -> str:
    """The last ASCII letters and digits of a value, in upper case."""
    return _NOT_ALNUM.sub("", value)[-length:].upper()


def one_kind(value: str, separators: str) -> bool:
    """Whether at most one of these separators stands in the value."""
    return sum(char in value for char in separators) <= 1


def differ(digits: str) -> bool:
    """Whether there are two different digits: what is all the same is a filled-in form."""
    return len(set(digits)) > 1


def weighted(digits: str, weights: Sequence[int]) -> int:
    """The sum of the first digits, each times its weight."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


# The digit sum of each digit's double.
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")


def luhn(value: str) -> bool:
    """The check digit of the digits in the value."""
    digits = digits_of(value).encode("ascii")
    total = sum(digits[::-2]) + sum(digits[-2::-2].translate(_DOUBLED)) - ord("0") * len(digits)
    return total % 10 == 0


def mod_11_10(digits: str) -> bool:
    """ISO/IEC 7064, MOD 11,10: the last digit checks the others."""
    product = 10
    for digit in digits[:-1]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


_DIHEDRAL: Final = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_PERMUTED: Final = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def verhoeff(digits: str) -> bool:
    """The dihedral check of Verhoeff (1969)."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_DIHEDRAL[check][int(_PERMUTED[place % 8][int(digit)])])
    return check == 0


def is_date(year: int, month: int, day: int) -> bool:
    """Whether there is such a day."""
    try:
        dt.date(year, month, day)
    except ValueError:
        return False
    return True


def is_short_date(yymmdd: str) -> bool:
    """Whether there is such a day in any century; six digits."""
    year, month, day = int(yymmdd[:2]), int(yymmdd[2:4]), int(yymmdd[4:6])
    return is_date(1900 + year, month, day) or is_date(2000 + year, month, day)
