"""Checks of identifiers of Asia, the Pacific and Africa.

Sources: ATO and ASIC (ABN, TFN, ACN), Services Australia (Medicare), UIDAI (Aadhaar), ICA and ACRA of
Singapore, Korea's resident registration act, J-LIS (My Number), GB 11643-1999 (China), DOPA (Thailand), BIR
(Philippines), Taiwan's household registration, Hong Kong's immigration department, Israel's population
registry, South Africa's department of home affairs.
"""

from __future__ import annotations

from typing import Final

from extproc.redaction.validators.digits import (
    alnum_of,
    differ,
    digits_of,
    is_date,
    is_short_date,
    luhn,
    verhoeff,
    weighted,
)


def abn(value: str) -> bool:
    """Eleven digits, one less in the first, modulo 89."""
    digits = digits_of(value)
    total = weighted(digits, (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)) - 10
    return digits[0] != "0" and total % 89 == 0


def acn(value: str) -> bool:
    """Nine digits, weights 8 to 1, modulo 10."""
    digits = digits_of(value)
    return differ(digits) and -weighted(digits[:8], range(8, 0, -1)) % 10 == int(digits[8])


def tfn(value: str) -> bool:
    """Nine digits, modulo 11."""
    digits = digits_of(value)
    return differ(digits) and weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def medicare(value: str) -> bool:
    """Eight digits, their check digit and an issue number."""
    digits = digits_of(value)
    return weighted(digits[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(digits[8])


def aadhaar(value: str) -> bool:
    """Twelve digits with Verhoeff's check, no palindrome."""
    digits = digits_of(value)
    return digits != digits[::-1] and verhoeff(digits)


_NRIC: Final = {"S": (0, "JZIHGFEDCBA"), "T": (4, "JZIHGFEDCBA"), "F": (0, "XWUTRQPNMLK")} | {
    "G": (4, "XWUTRQPNMLK"),
    "M": (3, "XWUTRQPNJLK"),
}


def nric(value: str) -> bool:
    """Singapore's NRIC and FIN: the check letter of the series."""
    text = alnum_of(value, 9)
    if text[0] not in _NRIC:
        return False
    offset, letters = _NRIC[text[0]]
    total = weighted(text[1:8], (2, 7, 6, 5, 4, 3, 2)) + offset
    if text[0] == "M":
        return text[8] == "KLJNPQRTUWX"[10 - total % 11]
    return text[8] == letters[total % 11]


_UEN: Final = "ABCDEFGHJKLMNPQRSTUVWX0123456789"
_UEN_BUSINESS: Final = 9


def uen(value: str) -> bool:
    """Singapore's entity numbers: the check letter of business, company or other."""
    text = value.upper()
    if text[0].isdigit():
        if len(text) == _UEN_BUSINESS:
            return text[-1] == "XMKECAWLJDB"[weighted(text[:-1], (10, 4, 9, 3, 8, 2, 7, 1)) % 11]
        return text[-1] == "ZKCMDBNRGWE"[weighted(text[:-1], (10, 8, 6, 4, 9, 7, 5, 3, 1)) % 11]
    weights = (4, 3, 5, 3, 10, 2, 2, 5, 7)
    total = sum(_UEN.index(char) * weight for char, weight in zip(text[:-1], weights, strict=True))
    return text[-1] == _UEN[(total - 5) % 11]


def rrn(value: str) -> bool:
    """Korea's resident and foreigner numbers: there is such a day. Since 2020 they have no check digit."""
    return is_short_date(digits_of(value)[:6])


def brn(value: str) -> bool:
    """Korea's business registration number."""
    digits = digits_of(value)
    total = weighted(digits[:9], (1, 3, 7, 1, 3, 7, 1, 3, 5)) + int(digits[8]) * 5 // 10
    return differ(digits) and -total % 10 == int(digits[9])


def my_number(value: str) -> bool:
    """Japan's: eleven digits and their check digit."""
    digits = digits_of(value)
    rest = weighted(digits, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return differ(digits) and int(digits[11]) == (0 if rest <= 1 else 11 - rest)


_CHINA: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def china_id(value: str) -> bool:
    """A day of birth, and the check character over seventeen digits."""
    text = alnum_of(value, 18)
    born = is_date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    return born and text[17] == "10X98765432"[weighted(text[:17], _CHINA) % 11]


def thai_id(value: str) -> bool:
    """Thirteen digits, weights 13 to 2, modulo 11."""
    digits = digits_of(value)
    return (11 - weighted(digits[:12], range(13, 1, -1)) % 11) % 10 == int(digits[12])


def ph_tin(value: str) -> bool:
    """Eight digits and their check digit; a branch code may follow."""
    digits = digits_of(value)
    return differ(digits[:9]) and weighted(digits[:8], range(9, 1, -1)) % 11 == int(digits[8])


_TAIWAN: Final = {letter: 10 + at for at, letter in enumerate("ABCDEFGHJKLMNPQRSTUVXYWZIO")}


def taiwan_id(value: str) -> bool:
    """A letter for the place and nine digits, modulo 10."""
    text = alnum_of(value, 10)
    place = _TAIWAN[text[0]]
    total = place // 10 + place % 10 * 9 + weighted(text[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1))
    return total % 10 == 0


def hong_kong_id(value: str) -> bool:
    """One or two letters, six digits and the check digit in brackets, modulo 11."""
    text = "".join(char for char in value.upper() if char.isalnum())[-9:]
    body, check = text[:-1].rjust(8), text[-1]
    # A blank counts as 36, letters from 10 on.
    total = sum(
        (36 if char == " " else int(char, 36)) * weight
        for char, weight in zip(body, range(9, 1, -1), strict=True)
    )
    return check == "0123456789A"[-total % 11]


def mykad(value: str) -> bool:
    """Malaysia's: a day of birth and a place that exists."""
    digits = digits_of(value)
    return is_short_date(digits[:6]) and digits[6:8] not in {"00", "17", "18", "19", "20", "69", "70", "73"}


def israel_id(value: str) -> bool:
    """Nine digits with Luhn's check."""
    digits = digits_of(value)
    return differ(digits) and luhn(digits)


def za_id(value: str) -> bool:
    """South Africa's: a day of birth and Luhn's check."""
    digits = digits_of(value)
    return is_short_date(digits[:6]) and luhn(digits)


def not_za_id(value: str) -> bool:
    """Thirteen digits that are no identity number."""
    return differ(digits_of(value)) and not za_id(value)
