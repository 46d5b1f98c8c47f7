"""Checks of values that belong to no country: cards, accounts, addresses of networks and wallets.

Sources: ISO/IEC 7812-1 (cards), ISO 13616 (IBAN), ISO 3779 and 49 CFR 565 (VIN), BIP 13, 173 and 350
(Bitcoin addresses), RFC 4291 (IPv6), ITU-T E.164.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from functools import lru_cache, reduce
from operator import xor
from typing import Final

from extproc.redaction.validators.digits import alnum_of, digits_of, luhn, one_kind

# First digits and lengths of the large networks; what is in none of them is no card.
_CARD: Final = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|6|8|9)\d{11,12}|(?:6011|6[245]|35)\d{12,17}"
    r"|(?:5[0678]|6[37])\d{10,17}|1\d{14}|2131\d{11}"
)


def card(value: str) -> bool:
    """A payment card: a known network's prefix and length, one kind of separator, and Luhn."""
    digits = value.replace(" ", "").replace("-", "")
    if _CARD.fullmatch(digits) is None or (" " in value and "-" in value):
        return False
    return len(set(digits)) > 1 and luhn(digits)


def card_beside(value: str) -> bool:
    """The same for the digits beside a naming word."""
    return card(digits_of(value))


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


def ipv4(value: str) -> bool:
    """Four octets in decimal, with an optional prefix length."""
    address, _, prefix = value.partition("/")
    octets = address.split(".")
    plain = all(int(octet) <= 255 and octet == str(int(octet)) for octet in octets)  # noqa: PLR2004  RFC 4632
    return plain and (not prefix or int(prefix) <= 32)  # noqa: PLR2004  RFC 4632


_GROUPS: Final = 8
_DIGIT: Final = re.compile("[0-9]")


def ipv6(value: str) -> bool:
    """An IPv6 address, zone and prefix length allowed, with a digit somewhere: ``add::bad`` is code."""
    address, _, prefix = value.partition("/")
    if not _counts(address.partition("%")[0]) or _DIGIT.search(value) is None:
        return False
    if prefix and not (prefix.isdecimal() and int(prefix) <= 128):  # noqa: PLR2004  RFC 4291
        return False
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def ipv6_ended(value: str) -> bool:
    """An IPv6 address whose end is sure: no digits alone in its last group, or a zone or a prefix length.

    A word with a colon may stand before it, and colons after it.
    """
    return _any_ipv6(value, ":", sure=True)


def ipv6_open(value: str) -> bool:
    """The same for an address that could go on as IPv4, with dots or colons after it."""
    return _any_ipv6(value, ":.", sure=False)


_NAME: Final = re.compile(r"(?![0-9A-Fa-f]{1,4}:)[A-Za-z_]{1,24}:")
_OPEN: Final = re.compile(r".*:[0-9]{1,3}")
_ENDS_MAX: Final = 3


def _any_ipv6(value: str, ends: str, *, sure: bool) -> bool:
    name = _NAME.match(value)
    address = value[name.end() :] if name else value
    for _ in range(_ENDS_MAX + 1):
        if (_OPEN.fullmatch(address) is None) is sure and ipv6(address):
            return True
        if address[-1:] not in ends:
            return False
        address = address[:-1]
    return False


def _counts(groups: str) -> bool:
    """Whether there are as many groups as an address has: cheap, since most of what is asked is none."""
    colons = groups.count(":") + ("." in groups)
    gap = groups.find("::")
    if gap < 0:
        return colons == _GROUPS - 1
    if groups.find("::", gap + 1) >= 0:
        return False
    return colons <= _GROUPS - (0 < gap < len(groups) - 2)


_NO_SEPARATORS: Final = dict.fromkeys(map(ord, ":-."))


def mac(value: str) -> bool:
    """A hardware address that is neither all zeros nor all ones; with dots, one that is no number."""
    compact = value.translate(_NO_SEPARATORS).lower()
    if "." in value and compact.isdigit():
        return False
    return len(set(value) & {":", "-", "."}) == 1 and set(compact) not in ({"0"}, {"f"})


def phone(value: str) -> bool:
    """7 to 15 digits (E.164), not all the same."""
    digits = digits_of(value)
    return 7 <= len(digits) <= 15 and len(set(digits)) > 1  # noqa: PLR2004  E.164


def national_phone(value: str) -> bool:
    """9 to 11 digits with the trunk prefix 0, grouped in one way."""
    digits = digits_of(value)
    return 9 <= len(digits) <= 11 and one_kind(value, ".-") and len(set(digits)) > 2  # noqa: PLR2004  national plans


_VIN: Final = dict(
    zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", "012345678912345678123457923456789", strict=True)
)


def vin(value: str) -> bool:
    """A vehicle's number: the ninth character checks the others modulo 11, X for ten."""
    text = alnum_of(value, 17)
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum(int(_VIN[char]) * weight for char, weight in zip(text, weights, strict=True))
    return text[8] == "0123456789X"[total % 11] and not text.isdigit() and not text.isalpha()


def imei(value: str) -> bool:
    """Fifteen digits with Luhn's check."""
    digits = digits_of(value)
    return len(set(digits)) > 1 and luhn(digits)


_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_BYTES: Final = 25
_BASE58_P2SH_CHARS: Final = 34
_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_CHECKS: Final = (1, 0x2BC830A3)  # BIP 173 and BIP 350
_BECH32_STEPS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_TOPS: Final = tuple(
    reduce(xor, (step for bit, step in enumerate(_BECH32_STEPS) if top >> bit & 1), 0) for top in range(32)
)


def bitcoin(value: str) -> bool:
    """A Bitcoin address: base58 with a double SHA-256 check, or bech32 / bech32m."""
    if value.lower().startswith("bc1"):
        return _bech32(value)
    # What a version byte and that many leading zeros leave: no other length is worth a look.
    if len(value) not in _base58_chars(value[0], len(value) - len(value.lstrip("1"))):
        return False
    number = 0
    for char in value:
        number = number * 58 + _BASE58.index(char)
    if number >= 1 << 8 * _BASE58_BYTES:
        return False
    decoded = number.to_bytes(_BASE58_BYTES, "big")
    check = hashlib.sha256(hashlib.sha256(decoded[:-4]).digest()).digest()
    return check[:4] == decoded[-4:]


@lru_cache(maxsize=64)
def _base58_chars(version: str, zeros: int) -> frozenset[int]:
    """How many characters an address can have: of version 5, or of 0 with so many zero bytes."""
    if version != "1":
        return frozenset({_BASE58_P2SH_CHARS})
    if not zeros <= _BASE58_BYTES:
        return frozenset()
    least, most = (0, 0) if zeros == _BASE58_BYTES else (256 ** (24 - zeros), 256 ** (25 - zeros) - 1)
    return frozenset(
        zeros + length
        for length in range(_BASE58_P2SH_CHARS + 1)
        if least < 58**length and 58**length // 58 <= most
    )


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
        check ^= _BECH32_TOPS[top]
    return check in _BECH32_CHECKS
