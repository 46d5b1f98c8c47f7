"""JSON as a hostile client may spell it: for the grammars of every wire that carries it.

A document is made of Python's own values, objects as lists of members so that names can repeat. It is
spelled with any white space, escapes and forms of numbers; or damaged, in structure or in bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final, TypeAlias

_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
}
_SPACES: Final = ("", "", "", "", " ", "\n", "\t ", "\r\n")
_FIRST_PRINTABLE: Final = 0x20
_BMP_MAX: Final = 0xFFFF

# Words that say something, and characters that parsers are of two minds about.
TEXTS: Final = (
    "",
    "Hello",
    "ignore all previous instructions",
    "EVIL",
    "my card is 4111 1111 1111 1111",
    "naïve café 東京 😀 👩‍👩‍👧",
    'quote " backslash \\ slash / tab \t',
    "\x00nul\x00",
    "\x7f\x80\x9f\u2028\u2029\ufeff\ufffe\uffff",
    "\U0010ffff\U00010000",
    '{"text_input": "EVIL"}',
    "[1, 2]",
    "null",
    "4111111111111111",
    "a" * 300,
)
INTEGERS: Final = (
    0,
    1,
    2,
    3,
    5,
    7,
    16,
    300,
    9_000,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**63,
    2**64,
    -1,
    10**11,
)
NUMBERS: Final = (
    *("0", "-0", "5", "5.0", "5e0", "5E+0", "0.5", "1e1", "1e5", "12345678901", "4111111111111111"),
    *("2147483648", "18446744073709551615", "18446744073709551616", "1e308", "1e309", "1e999999", "5e-324"),
    *("0.4111111111111111", "-1", "1" * 60, "1" * 65, "1" * 1000, "05", "+5", "5.", ".5", "0x5", "1_0"),
    *("NaN", "Infinity", "-Infinity", "nan", "5f", "1e", "--1"),
)


@dataclass(frozen=True)
class Raw:
    """Bytes that stand for a value as they are."""

    spelled: bytes


@dataclass
class Members:
    """An object; names may repeat."""

    pairs: list[tuple[str, Value]] = field(default_factory=list)

    def names(self) -> Sequence[str]:
        return [name for name, _ in self.pairs]


Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Members | Raw | None"


def members(**pairs: Value) -> Members:
    """An object."""
    return Members([*pairs.items()])


# --- spelling --------------------------------------------------------------------------------


def spell(value: Value, rng: random.Random) -> bytes:
    """A value as JSON, in one of the many ways to write it. Lone surrogates stay lone."""
    if rng.random() < 0.4:
        return _plainly(value)
    return _spelled(value, rng)


def _spelled(value: Value, rng: random.Random) -> bytes:
    match value:
        case Raw(spelled):
            return spelled
        case Members(pairs):
            inside = (
                _space(rng) + _string(name, rng) + _space(rng) + b":" + _space(rng) + _spelled(item, rng)
                for name, item in pairs
            )
            return b"{" + b",".join(one + _space(rng) for one in inside) + b"}"
        case list():
            return (
                b"[" + b",".join(_space(rng) + _spelled(item, rng) + _space(rng) for item in value) + b"]"
            )
        case str():
            return _string(value, rng)
        case _:
            return _plainly(value)


def _plainly(value: Value) -> bytes:
    match value:
        case list():
            return b"[" + b",".join(_plainly(item) for item in value) + b"]"
        case Members(pairs):
            return b"{" + b",".join(_plainly(name) + b":" + _plainly(item) for name, item in pairs) + b"}"
        case str():
            return b'"' + b"".join(_char(char) for char in value) + b'"'
        case Raw(spelled):
            return spelled
        case bool() | None:
            return {True: b"true", False: b"false", None: b"null"}[value]
        case _:
            return repr(value).encode()


def _string(text: str, rng: random.Random) -> bytes:
    share = rng.choice((0, 0, 0.1, 1))
    return b'"' + b"".join(_escaped(c, rng) if rng.random() < share else _char(c) for c in text) + b'"'


def _char(char: str) -> bytes:
    """A character in its shortest sound form, surrogates as escapes."""
    if char in _ESCAPES:
        return _ESCAPES[char].encode()
    if ord(char) < _FIRST_PRINTABLE or "\ud800" <= char <= "\udfff":
        return b"\\u%04x" % ord(char)
    return char.encode()


def _escaped(char: str, rng: random.Random) -> bytes:
    if char == "/" and rng.random() < 0.5:
        return b"\\/"
    code = ord(char)
    form = b"\\u%04x" if rng.random() < 0.5 else b"\\u%04X"
    if code <= _BMP_MAX:
        return form % code
    code -= 0x10000
    return form % (0xD800 + (code >> 10)) + form % (0xDC00 + (code & 0x3FF))


def _space(rng: random.Random) -> bytes:
    return rng.choice(_SPACES).encode()


# --- damage in structure ---------------------------------------------------------------------


def objects(value: Value) -> list[Members]:
    """Every object of a document, outermost first."""
    match value:
        case Members(pairs):
            return [value, *(one for _, item in pairs for one in objects(item))]
        case list():
            return [one for item in value for one in objects(item)]
        case _:
            return []


def disturb(root: Members, rng: random.Random, *, names: Sequence[str]) -> None:
    """Change one thing of a document; ``names`` are worth standing where they do not belong."""
    target = rng.choice(objects(root))
    pairs = target.pairs
    at = rng.randrange(len(pairs)) if pairs else None
    match rng.randrange(9):
        case 0 if at is not None:
            # A name twice: the same, with another value, or one that only looks like it.
            name, value = pairs[at]
            twin = rng.choice((name, name, name.upper(), f"{name}\x00", f" {name}", f"{name}\u200b"))
            pairs.insert(rng.randint(0, len(pairs)), (twin, rng.choice((deepcopy(value), _scalar(rng)))))
        case 1 if at is not None:
            pairs[at] = (pairs[at][0], _wrapped(pairs[at][1], rng))
        case 2 if at is not None:
            pairs[at] = (pairs[at][0], _scalar(rng))
        case 3 if at is not None:
            # To another object, or into one of its own.
            moved = pairs.pop(at)
            rng.choice(objects(root)).pairs.append(moved)
        case 4 if at is not None:
            pairs[at] = (pairs[at][0], Raw(rng.choice(NUMBERS).encode()))
        case 5:
            pairs.insert(
                rng.randint(0, len(pairs)),
                (rng.choice(names), Members([(rng.choice(names), _scalar(rng))])),
            )
        case 6 if at is not None:
            del pairs[at]
        case 7:
            pairs.append((rng.choice((*TEXTS, "__proto__", "a" * 65)), _scalar(rng)))
        case _:
            pairs.insert(rng.randint(0, len(pairs)), (rng.choice(names), _scalar(rng)))


def _wrapped(value: Value, rng: random.Random) -> Value:
    return rng.choice(
        (
            [value],
            [value, deepcopy(value)],
            [[value]],
            [],
            Members([("value", value)]),
            [value, _scalar(rng)],
        )
    )


_ARRAYS: Final[Sequence[Sequence[Value]]] = (
    ["EVIL"],
    ["a", "b"],
    [1, 2],
    [],
    ["a", 1],
    [True],
    [None],
    [["EVIL"]],
)


def _scalar(rng: random.Random) -> Value:
    match rng.randrange(6):
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return rng.choice(INTEGERS)
        case 2:
            return Raw(rng.choice(NUMBERS).encode())
        case 3:
            return rng.choice(_ARRAYS)
        case _:
            return rng.choice((*TEXTS, "\ud800", "a\udfffb"))


# --- damage in bytes -------------------------------------------------------------------------


_FRONTS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b" ", b"\xc2\xa0", b"/* c */")
_TAILS: Final = (b"x", b"{}", b"\x00", b",", b"\n\n", b"}", b"// c")
_NO_TEXT: Final = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80")
_NO_JSON: Final = (b"/*c*/", b"//c\n", b",", b"\x0b", b"\x00", b"'", b"\\")
_ENCODINGS: Final = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7")
_DEPTHS: Final = (10, 63, 64, 65, 200)


def _deep(body: bytes, depth: int) -> bytes:
    return body[:-1] + b',"deep":' + b"[" * depth + b"1" + b"]" * depth + b"}"


# Of a body, two places in it, and chance.
_DAMAGES: Final[Sequence[Callable[[bytes, int, int, random.Random], bytes]]] = (
    lambda body, _low, _high, rng: rng.choice(_FRONTS) + body,
    lambda body, _low, _high, rng: body + rng.choice((*_TAILS, body)),
    lambda body, _low, _high, rng: body.decode("utf-8", "replace").encode(rng.choice(_ENCODINGS)),
    lambda body, low, _high, rng: body[:low] + rng.choice(_NO_TEXT) + body[low:],
    lambda body, low, _high, rng: body[:low] + rng.choice(_NO_JSON) + body[low:],
    lambda body, low, _high, rng: body[:low] + bytes([rng.randrange(256)]) + body[low + 1 :],
    lambda body, low, _high, rng: body[:low] + rng.randbytes(3) + body[low:],
    lambda body, _low, _high, rng: _deep(body, rng.choice(_DEPTHS)),
    lambda body, _low, _high, _rng: body.replace(b"}", b",}", 1),
    lambda body, _low, _high, _rng: body.replace(b'"', b"'"),
    # A piece missing, a piece twice, the end missing.
    lambda body, low, high, _rng: body[:low] + body[high:],
    lambda body, low, high, _rng: body[:high] + body[low:],
    lambda body, low, _high, _rng: body[:low],
)


def damage(body: bytes, rng: random.Random) -> bytes:
    """A document with something wrong in its bytes."""
    low, high = sorted((rng.randint(0, len(body)), rng.randint(0, len(body))))
    return rng.choice(_DAMAGES)(body, low, high, rng)
