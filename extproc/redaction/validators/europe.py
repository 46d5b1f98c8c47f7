"""Checks of identifiers of Europe and Turkey.

Sources: NHS data dictionary, Ministerio del Interior (DNI, NIE), Agenzia delle Entrate (partita IVA),
Poland's PESEL act, Finland's DVV (HETU), BZSt (Steuer-ID), DRV (Versicherungsnummer), GKV (KVNR), KBV
(LANR), ICAO 9303 (documents), INSEE (NIR), RvIG (BSN), Skatteverket (personnummer), Skatteetaten
(fødselsnummer), CPR-kontoret, and the tax and social registers of the other countries.
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
    mod_11_10,
    weighted,
)


def nhs(value: str) -> bool:
    """Ten digits, the last of which checks the others modulo 11."""
    digits = digits_of(value)
    return differ(digits) and -weighted(digits[:9], range(10, 1, -1)) % 11 == int(digits[9])


_DNI: Final = "TRWAGMYFPDXBNJZSQVHLCKE"


def nif(value: str) -> bool:
    """Spain's DNI: the letter of the number modulo 23."""
    return alnum_of(value, 1) == _DNI[int(digits_of(value)) % 23]


def nie(value: str) -> bool:
    """Spain's number of foreigners: X, Y, Z count as 0, 1, 2."""
    text = alnum_of(value, 9)
    return text[8] == _DNI[int(str("XYZ".index(text[0])) + text[1:8]) % 23]


def it_vat(value: str) -> bool:
    """Eleven digits with Luhn's check."""
    digits = digits_of(value)
    return differ(digits) and luhn(digits)


def pesel(value: str) -> bool:
    """Eleven digits; the month tells the century."""
    digits = digits_of(value)
    month = int(digits[2:4])
    century = (1900, 2000, 2100, 2200, 1800)[month // 20]
    born = is_date(century + int(digits[:2]), month % 20, int(digits[4:6]))
    return born and weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def nip(value: str) -> bool:
    """Poland's tax number, modulo 11."""
    digits = digits_of(value)
    return differ(digits) and weighted(digits[:9], (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == int(digits[9])


_CENTURIES: Final = {"+": 1800} | dict.fromkeys("-YXWVU", 1900) | dict.fromkeys("ABCDEF", 2000)


def hetu(value: str) -> bool:
    """Finland's: a day of birth, the century's sign, and the check character modulo 31."""
    text = value.upper()
    year = _CENTURIES[text[6]] + int(text[4:6])
    check = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(text[:6] + text[7:10]) % 31]
    return is_date(year, int(text[2:4]), int(text[:2])) and text[7:10] > "001" and check == text[10]


_SAME_MAX: Final = 3


def de_tax_id(value: str) -> bool:
    """Germany's tax number of a person: no digit stands more than three times in the first ten."""
    digits = digits_of(value)
    often = max(digits[:10].count(digit) for digit in set(digits[:10]))
    return often <= _SAME_MAX and mod_11_10(digits)


def _cross_sum(digits: str, weights: tuple[int, ...]) -> int:
    return sum(sum(divmod(int(d) * w, 10)) for d, w in zip(digits, weights, strict=False))


def de_pension(value: str) -> bool:
    """Germany's pension insurance number: a day of birth (50 more for a second one), a check digit."""
    text = alnum_of(value, 12)
    day, month = int(text[2:4]), int(text[4:6])
    written = f"{text[:8]}{ord(text[8]) - 64:02d}{text[9:11]}"
    total = _cross_sum(written, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1))
    return 1 <= day % 50 <= 31 and 1 <= month <= 12 and total % 10 == int(text[11])  # noqa: PLR2004  a date


def de_health(value: str) -> bool:
    """Germany's health insurance number (KVNR): a letter, eight digits and their check digit."""
    text = alnum_of(value, 10)
    written = f"{ord(text[0]) - 64:02d}{text[1:9]}"
    return _cross_sum(written, (1, 2) * 5) % 10 == int(text[9])


def icao(value: str) -> bool:
    """A German document's number: weights 7 3 1, letters from 10 on; older ones with T have no check."""
    text = alnum_of(value, 9)
    if text[0] == "T" and text[1:].isdigit():
        return True
    total = sum(
        int(char, 36) * weight for char, weight in zip(text, (7, 3, 1, 7, 3, 1, 7, 3), strict=False)
    )
    return total % 10 == int(text[8]) and not text.isdigit()


def lanr(value: str) -> bool:
    """A German physician's number: the seventh digit checks six, two for the field follow."""
    digits = digits_of(value)
    return -weighted(digits[:6], (4, 9, 4, 9, 4, 9)) % 10 == int(digits[6])


def nir(value: str) -> bool:
    """France's: thirteen digits, Corsica as 2A and 2B, and 97 less the remainder."""
    text = alnum_of(value, 15)
    number = int(text[:13].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(text[13:])


def bsn(value: str) -> bool:
    """The Netherlands': modulo 11 with -1 for the last digit."""
    digits = digits_of(value)
    return differ(digits) and weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def be_national(value: str) -> bool:
    """Belgium's: 97 less the remainder, of 2 and the number for those born since 2000."""
    digits = digits_of(value)
    number, check = int(digits[:9]), int(digits[9:])
    return int(digits[4:6]) <= 31 and check in {97 - number % 97, 97 - (2 * 10**9 + number) % 97}  # noqa: PLR2004  a day


def personnummer(value: str) -> bool:
    """Sweden's: a day of birth (+60 for a coordination number) and Luhn over the last ten."""
    digits = digits_of(value)
    short = digits[-10:]
    day = int(short[4:6])
    dated = f"{short[:4]}{day - 60 if day > 60 else day:02d}"  # noqa: PLR2004  coordination numbers
    years = [int(digits[:4])] if len(digits) == 12 else [1900 + int(short[:2]), 2000 + int(short[:2])]  # noqa: PLR2004  with century
    return any(is_date(year, int(dated[2:4]), int(dated[4:6])) for year in years) and luhn(short)


def organisationsnummer(value: str) -> bool:
    """Sweden's organisations: no month in the middle, and Luhn."""
    digits = digits_of(value)
    return digits[2] >= "2" and luhn(digits)


def fodselsnummer(value: str) -> bool:
    """Norway's: a day of birth (+40 for a D number) and two check digits."""
    digits = digits_of(value)
    day = int(digits[:2])
    born = is_short_date(f"{digits[4:6]}{digits[2:4]}{day - 40 if day > 40 else day:02d}")  # noqa: PLR2004  D numbers
    first = weighted(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    second = weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11
    return born and first == 0 == second


def cpr(value: str) -> bool:
    """Denmark's: there is such a day. Numbers since 2007 need no check digit."""
    digits = digits_of(value)
    return is_short_date(digits[4:6] + digits[2:4] + digits[:2])


def pt_nif(value: str) -> bool:
    """Portugal's, modulo 11."""
    digits = digits_of(value)
    check = -weighted(digits[:8], range(9, 1, -1)) % 11
    return digits[0] not in "04" and int(digits[8]) == check % 10


def pps(value: str) -> bool:
    """Ireland's: the check letter modulo 23; a second letter counts nine times."""
    text = alnum_of(value, 9)
    if not text[0].isdigit() or not text[7:].isalpha():
        text = text[1:]
    total = weighted(text[:7], range(8, 1, -1))
    if len(text) == 9:  # noqa: PLR2004  the longer form
        total += 9 * "WABCDEFGHI".index(text[8])
    return text[7] == "WABCDEFGHIJKLMNOPQRSTUV"[total % 23]


def ahv(value: str) -> bool:
    """Switzerland's: the check digit of EAN-13."""
    digits = digits_of(value)
    return weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0


def at_svnr(value: str) -> bool:
    """Austria's: the fourth digit checks the others modulo 11."""
    digits = digits_of(value)
    rest = weighted(digits[:3] + digits[4:], (3, 7, 9, 5, 8, 4, 2, 1, 6)) % 11
    return digits[0] != "0" and 1 <= int(digits[4:6]) <= 31 and rest == int(digits[3])  # noqa: PLR2004  a day


def tckn(value: str) -> bool:
    """Turkey's: two check digits over nine."""
    digits = digits_of(value)
    odd, even = (sum(map(int, digits[at:9:2])) for at in (0, 1))
    tenth, total = (odd * 7 - even) % 10, sum(map(int, digits[:10]))
    return differ(digits[:9]) and tenth == int(digits[9]) and total % 10 == int(digits[10])


def birth_number(value: str) -> bool:
    """The Czech and Slovak one: months +50 for women (+20 where days ran out), modulo 11."""
    digits = digits_of(value)
    month = int(digits[2:4]) % 50
    month -= 20 if month > 20 else 0  # noqa: PLR2004  see above
    rest = int(digits[:9]) % 11
    return is_short_date(f"{digits[:2]}{month:02d}{digits[4:6]}") and rest % 10 == int(digits[9])


def cnp(value: str) -> bool:
    """Romania's: a day of birth and the check digit modulo 11."""
    digits = digits_of(value)
    rest = weighted(digits[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return is_short_date(digits[1:7]) and int(digits[12]) == (1 if rest == 10 else rest)  # noqa: PLR2004  ten is written 1


def oib(value: str) -> bool:
    """Croatia's: ISO 7064 over ten digits."""
    digits = digits_of(value)
    return differ(digits) and mod_11_10(digits)


def egn(value: str) -> bool:
    """Bulgaria's: months +20 or +40 for other centuries, modulo 11."""
    digits = digits_of(value)
    month = int(digits[2:4]) % 20
    rest = weighted(digits[:9], (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11
    return is_short_date(f"{digits[:2]}{month:02d}{digits[4:6]}") and rest % 10 == int(digits[9])


def afm(value: str) -> bool:
    """Greece's: powers of two, modulo 11."""
    digits = digits_of(value)
    rest = weighted(digits[:8], (256, 128, 64, 32, 16, 8, 4, 2)) % 11
    return differ(digits) and rest % 10 == int(digits[8])
