"""Checks of identifiers of the Americas.

Sources: SSA's randomisation notes (SSN), ABA's routing number policy, CMS (NPI), DEA's registration
numbers, Service Canada (SIN), Receita Federal (CPF, CNPJ), RENAPO (CURP), SAT (RFC), SII (RUT), AFIP
(CUIT).
"""

from __future__ import annotations

from typing import Final

from extproc.redaction.validators.digits import (
    alnum_of,
    differ,
    digits_of,
    is_short_date,
    luhn,
    one_kind,
    weighted,
)

# Numbers that were printed in advertisements and forms.
_SSN_SAMPLES: Final = frozenset({"078051120", "123456789", "987654320"})


def ssn(value: str) -> bool:
    """Area, group and serial that a number may have.

    9xx is no area; what is written like one is taken for one all the same, since nothing else looks so.
    """
    digits = digits_of(value)
    separator = value[-5]
    if digits in _SSN_SAMPLES or (not separator.isdigit() and value[-8] != separator):
        return False
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in {"000", "666"} and group != "00" and serial != "0000"


def ssn_run(value: str) -> bool:
    """The same for nine digits without separators, or with one."""
    digits = digits_of(value)
    return ssn(f"{digits[:3]} {digits[3:5]} {digits[5:]}") and differ(digits)


def aba(value: str) -> bool:
    """A routing number: a Federal Reserve district and the check digit."""
    digits = digits_of(value)
    district = int(digits[:2])
    known = district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80  # noqa: PLR2004  ABA
    return known and differ(digits) and weighted(digits, (3, 7, 1) * 3) % 10 == 0


def npi(value: str) -> bool:
    """A provider's number: Luhn with the prefix of health applications, 80840."""
    digits = digits_of(value)
    return differ(digits[:-1]) and luhn("80840" + digits)


def dea(value: str) -> bool:
    """A DEA registration: the last digit of d1 + d3 + d5 + 2 (d2 + d4 + d6) is the seventh."""
    digits = digits_of(alnum_of(value, 7))
    return weighted(digits, (1, 2, 1, 2, 1, 2)) % 10 == int(digits[-1])


def sin(value: str) -> bool:
    """A Canadian social insurance number: Luhn, no first digit 0 or 8, one kind of separator."""
    digits = digits_of(value)
    return digits[0] not in "08" and differ(digits) and one_kind(value, " -") and luhn(digits)


def _descending(digits: str) -> int:
    """The check digit with weights n + 1 down to 2, modulo 11, as Brazil counts it."""
    rest = weighted(digits, range(len(digits) + 1, 1, -1)) * 10 % 11
    return rest % 10


def cpf(value: str) -> bool:
    """Two check digits over nine."""
    digits = digits_of(value)
    return (
        differ(digits)
        and _descending(digits[:9]) == int(digits[9])
        and _descending(digits[:10]) == int(digits[10])
    )


_CNPJ: Final = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)


def cnpj(value: str) -> bool:
    """Two check digits over twelve."""
    digits = digits_of(value)
    first = weighted(digits, _CNPJ[1:]) * 10 % 11 % 10
    second = weighted(digits, _CNPJ) * 10 % 11 % 10
    return differ(digits) and digits[12:] == f"{first}{second}"


_CURP: Final = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"


def curp(value: str) -> bool:
    """A day of birth, and the check digit over all before it."""
    text = value[-18:].upper()
    total = sum(_CURP.index(char) * (18 - at) for at, char in enumerate(text[:17]))
    return is_short_date(text[4:10]) and text[17] == str(-total % 10)


def rfc(value: str) -> bool:
    """A Mexican tax number: there is such a day in it."""
    return is_short_date(alnum_of(value, 9)[:6])


def rut(value: str) -> bool:
    """Chile's: weights 2 to 7 from the right, modulo 11, K for ten."""
    text = alnum_of(value.rpartition(":")[2], 9).lstrip("0")
    digits = digits_of(text[:-1])
    check = -weighted(digits[::-1], (2, 3, 4, 5, 6, 7, 2, 3)) % 11
    return differ(digits) and text[-1] == "0123456789K"[check]


def cuit(value: str) -> bool:
    """Argentina's: weights 5 4 3 2 7 6 5 4 3 2 1, modulo 11."""
    return weighted(digits_of(value), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
