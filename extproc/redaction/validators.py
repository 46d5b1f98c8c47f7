"""Checks of a value beyond its shape. Pure; they never raise on what their rule's body can match.

Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 (IBAN), SSA's randomisation notes (SSN), IRS (ITIN), NHS data
dictionary (modulus 11), BIP 13, 173 and 350 (Bitcoin addresses), RFC 4291 (IPv6), ITU-T E.164.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.redaction.rules import Validator


_NOT_DIGITS: Final = bytes(code for code in range(256) if not 0x30 <= code <= 0x39)  # noqa: PLR2004  ASCII digits


def _digits(value: str) -> str:
    return value.encode("ascii", "ignore").translate(None, _NOT_DIGITS).decode("ascii")


# The digit sum of each digit's double.
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")


def luhn(value: str) -> bool:
    """The check digit of the digits in the value."""
    digits = _digits(value).encode("ascii")
    total = sum(digits[::-2]) + sum(digits[-2::-2].translate(_DOUBLED)) - ord("0") * len(digits)
    return total % 10 == 0


# First digits and lengths of the large networks; what is in none of them is no card.
_CARD: Final = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|6|8|9)\d{11,12}|(?:6011|6[245]|35)\d{12,17}"
    r"|(?:5[0678]|6[37])\d{11,17}|1\d{14}"
)


def card(value: str) -> bool:
    """A payment card: a known network's prefix and length, one kind of separator, and Luhn."""
    digits = value.replace(" ", "").replace("-", "")
    if _CARD.fullmatch(digits) is None or (" " in value and "-" in value):
        return False
    return len(set(digits)) > 1 and luhn(digits)


# Length of an IBAN by country (the SWIFT registry).
_IBAN_CHARS: Final = {
    country: int(length)
    for length, countries in {
        "15": "NO",
        "16": "BE",
        "18": "DK FI FK FO GL NL SD",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH HR LI LV",
        "22": "BG BH CR DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "LY PT ST",
        "26": "IS TR",
        "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU YE",
        "31": "MT SC",
        "32": "LC",
        "33": "RU",
    }.items()
    for country in countries.split()
}


def iban(value: str) -> bool:
    """The country's length and the remainder 1 modulo 97."""
    length = _IBAN_CHARS.get(value[:2])
    if length is None or len(value) < length:
        return False
    compact = value.replace(" ", "").replace("-", "")
    if len(compact) != length:
        return False
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


# Numbers that were printed in advertisements and never issued to a person.
_SSN_SAMPLES: Final = frozenset({"078051120", "123456789", *(f"98765432{n}" for n in range(10))})


def ssn(value: str) -> bool:
    """Area, group and serial that can be issued; 9xx are no SSN (they are ITINs or nothing)."""
    digits = _digits(value)
    if value[3] != value[-5] or digits in _SSN_SAMPLES:
        return False
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def nhs(value: str) -> bool:
    """Ten digits, the last of which checks the others modulo 11."""
    digits = _digits(value)
    check = 11 - sum(int(d) * (10 - at) for at, d in enumerate(digits[:9])) % 11
    return check % 11 == int(digits[9]) and len(set(digits)) > 1


def ipv4(value: str) -> bool:
    """Four octets in decimal, with an optional prefix length."""
    address, _, prefix = value.partition("/")
    octets = address.split(".")
    return all(int(octet) <= 255 for octet in octets) and (not prefix or int(prefix) <= 32)  # noqa: PLR2004  RFC 4632


_GROUPS: Final = 8
_DIGIT: Final = re.compile("[0-9]")


def ipv6(value: str) -> bool:
    """An IPv6 address, zone and prefix length allowed, with a digit in it: ``add::bad`` is code."""
    address, _, prefix = value.partition("/")
    if not _counts(address.partition("%")[0]) or _DIGIT.search(address) is None:
        return False
    if prefix and int(prefix) > 128:  # noqa: PLR2004  RFC 4291
        return False
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _counts(groups: str) -> bool:
    """Whether there are as many groups as an address has: cheap, since most of what is asked is none."""
    colons = groups.count(":") + ("." in groups)
    gap = groups.find("::")
    if gap < 0:
        return colons == _GROUPS - 1
    if groups.find("::", gap + 1) >= 0:
        return False
    return colons <= _GROUPS - (0 < gap < len(groups) - 2)


def mac(value: str) -> bool:
    """A hardware address that is neither all zeros nor all ones, with one kind of separator."""
    compact = value.replace(":", "").replace("-", "").lower()
    return len(set(value) & {":", "-"}) == 1 and set(compact) not in ({"0"}, {"f"})


def phone(value: str) -> bool:
    """7 to 15 digits (E.164), not all the same."""
    digits = _digits(value)
    return 7 <= len(digits) <= 15 and len(set(digits)) > 1  # noqa: PLR2004  E.164


_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_BYTES: Final = 25
_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_CHECKS: Final = (1, 0x2BC830A3)  # BIP 173 and BIP 350
_BECH32_STEPS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def bitcoin(value: str) -> bool:
    """A Bitcoin address: base58 with a double SHA-256 check, or bech32 / bech32m."""
    if value.lower().startswith("bc1"):
        return _bech32(value)
    number = 0
    for char in value:
        number = number * 58 + _BASE58.index(char)
    if number >= 1 << 8 * _BASE58_BYTES:
        return False
    decoded = number.to_bytes(_BASE58_BYTES, "big")
    check = hashlib.sha256(hashlib.sha256(decoded[:-4]).digest()).digest()
    return check[:4] == decoded[-4:]


def _bech32(value: str) -> bool:
    if value not in {value.lower(), value.upper()}:
        return False
    human, _, coded = value.lower().partition("1")
    words = [*(ord(c) >> 5 for c in human), 0, *(ord(c) & 31 for c in human)]
    words += [_BECH32.index(char) for char in coded]
    check = 1
    for word in words:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ word
        for bit, step in enumerate(_BECH32_STEPS):
            check ^= step if top >> bit & 1 else 0
    return check in _BECH32_CHECKS


VALIDATORS: Final[Mapping[str, Validator]] = {
    check.__name__: check for check in (luhn, card, iban, ssn, nhs, ipv4, ipv6, mac, phone, bitcoin)
}
"""What a policy file may name."""


def name_of(validator: Validator) -> str | None:
    """The name under which a validator is registered, or None."""
    return next((name for name, check in VALIDATORS.items() if check is validator), None)
