"""How characters are read: those that look like others or like nothing, seen through.

A character is read as itself, as the characters that it looks like, or, where nothing is seen of it, not
at all. The automaton takes every reading of every character at once: so a rule finds what it would find in
any of them, and what is replaced is the text as it came. Boundaries are judged by the neighbours as they
came. All of it is by single character, and so the same however the text is cut. A match begins and ends
with a character of which something is seen.

Sources: the compatibility mappings, decimal digits and default-ignorable code points of Unicode; its
confusables (UTS 39) for the letters of other scripts, of which those that common fonts draw alike are here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from extproc.redaction import charset as cs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from extproc.redaction.charset import CharSet

_READ_AS_CHARS_MAX: Final = 4
_TAGS: Final = (0xE0000, 0xE007F)

UNSEEN: Final[CharSet] = cs.charset(
    [
        *((0xAD, 0xAD), (0x300, 0x36F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5)),
        *((0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x20D0, 0x20FF)),
        *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8)),
        *((0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
        # Controls but white space, blanks that are none, and marks of single scripts and of annotations.
        *((0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x84), (0x86, 0x9F), (0x2800, 0x2800), (0xFFF9, 0xFFFB)),
        *((0x483, 0x489), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x2DE0, 0x2DFF), (0xA66F, 0xA672)),
        *((0xA674, 0xA67D), (0xA69E, 0xA69F), (0xA8E0, 0xA8F1), (0xFE20, 0xFE2F), (0x10376, 0x1037A)),
        *((0x13430, 0x13440), (0x1D159, 0x1D159), (0x1D165, 0x1D172), (0x1D242, 0x1D244)),
        *((0x11366, 0x1136C), (0x11370, 0x11374), (0x1E000, 0x1E02A)),
    ]
)
"""Zero-width, bidirectional and formatting characters, controls, marks on the letter before, and tags."""

# What each character of the first string looks like stands below it.
_ALIKE: Final = (
    # Cyrillic
    ("аеорсухіјѕԁԛԝһӏѵкАВЕКМНОРСТУХІЈЅЗԌԚԜҮ", "aeopcyxijsdqwhlvkABEKMHOPCTYXIJS3GQWY"),
    # Greek
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοναιρκυϲϳ", "ABEZHIKMNOPTYXovaipkucj"),
    # Armenian, Cherokee, and Latin letters of other alphabets
    ("օսոցհᎪᏴᏟᎬᎻᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃıɑɡɩʟ", "oungh" + "ABCEHJKLMPRSTVWZ" + "iagil"),
    # Punctuation
    ("‐‑‒–−⁃∕⁄∶꞉․‚", "------//::.,"),  # noqa: RUF001 - that they look alike is the point.
)
# Where Unicode has mappings to ASCII, and digits; looking everywhere would take a start ten times as long.
_CANDIDATES: Final = "".join(
    chr(code)
    for low, high in (
        *((0x80, 0x3400), (0xA600, 0xAC00), (0xF900, 0x10000), (0x10480, 0x10D40), (0x11000, 0x11E00)),
        *((0x16A00, 0x16C00), (0x1D400, 0x1D800), (0x1E100, 0x1EA00), (0x1F100, 0x1F200)),
        (0x1FB00, 0x1FC00),
    )
    for code in range(low, high)
)


def _pairs() -> Iterator[tuple[int, str]]:
    for shapes, ascii_chars in _ALIKE:
        yield from zip(map(ord, shapes), ascii_chars, strict=True)
    for char in _CANDIDATES:
        digit = unicodedata.decimal(char, None)
        mapped = unicodedata.normalize("NFKC", char) if digit is None else str(digit)
        if mapped.isascii() and mapped.isprintable() and len(mapped) <= _READ_AS_CHARS_MAX:
            yield ord(char), mapped
    for code in range(0x20, 0x7F):
        yield _TAGS[0] + code, chr(code)


READ_AS: Final[Mapping[int, str]] = dict(_pairs())
"""By code point, the ASCII characters as which it is read too: one, or a few (ligatures)."""

_WITHOUT_UNSEEN: Final = {code: None for low, high in UNSEEN for code in range(low, high + 1)}
_SEEN: Final = {**_WITHOUT_UNSEEN, **READ_AS}
_SEEN_WITHOUT_TAGS: Final = {**READ_AS, **_WITHOUT_UNSEEN}
_SEEN_LETTERS: Final = {
    **_WITHOUT_UNSEEN,
    **{code: read for code, read in READ_AS.items() if read.isalpha() or _TAGS[0] <= code <= _TAGS[1]},
}
_WORD: Final = re.compile(r"\S+")
_DECIMALS: Final = frozenset(
    code for code in READ_AS if unicodedata.decimal(chr(code), None) is not None and code < _TAGS[0]
)
_SIGNS: Final = (
    frozenset(code for code, read in READ_AS.items() if read[-1].isdigit() and code < _TAGS[0]) - _DECIMALS
)
_SHADED: Final = frozenset(_WITHOUT_UNSEEN) | _DECIMALS | _SIGNS
_TAG: Final = re.compile(cs.class_source((_TAGS,)))
_LATIN: Final = re.compile("[A-Za-z\uff21-\uff5a\U0001d400-\U0001d6a3\U000e0041-\U000e007a]")
DISGUISED: Final = re.compile(
    cs.class_source(cs.union(UNSEEN, cs.charset((code, code) for code in READ_AS)))
)
"""Finds a character that is read as anything but itself."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


class LeftOf:
    """What stands left of the places of one channel, as boundaries see it where a match would begin.

    That is the neighbour as it came, but where it is disguised and the text goes on as a number: behind a
    digit that looks otherwise, or a digit and what is not seen, no number begins. One sign for a number
    (a footnote's, a list's) parts, several are digits. A tag before a tag is what it spells. Without this
    every character of a disguised number would begin one.
    """

    __slots__ = ("_known", "_known_to")

    def __init__(self) -> None:
        self._known = ""  # a digit, a sign or "" for neither, before the offset up to which it is known
        self._known_to = 0

    def neighbour(self, buffer: str, at: int, base: int) -> str:
        """What counts as the character left of ``buffer[at]``; ``base`` is the offset of the buffer.

        Places must be asked for in order, and each text's end (where ``at`` is its length) too.
        """
        before = buffer[at - 1]
        if not is_shaded(ord(before)):
            return before
        if is_tag(before) and is_tag(buffer[at : at + 1]):
            return chr(ord(before) - _TAGS[0])
        return "0" if self._number(buffer, at, base) == "0" else before

    def _number(self, buffer: str, at: int, base: int) -> str:
        least, found = max(self._known_to - base, 0), ""
        place = at
        while place > least:
            code = ord(buffer[place - 1])
            if code in _SIGNS:
                found += "s"
            elif code in _DECIMALS or 0x30 <= code <= 0x39:  # noqa: PLR2004  ASCII digits
                found += "0"
            if len(found) > 1 or not (code in _SIGNS or is_unseen(code)):
                break
            place -= 1
        else:
            found += self._known if place + base == self._known_to else ""
        self._known = "" if not found else "0" if found != "s" else "s"
        self._known_to = at + base
        return self._known


def is_tag(char: str) -> bool:
    """Whether a character is a tag that spells one of ASCII."""
    return bool(char) and _TAGS[0] + 0x20 <= ord(char) < _TAGS[1]


def first_tag(text: str, end: int) -> int:
    """Where the first tag stands in a text up to ``end``; ``end`` for none."""
    tag = None if text.isascii() else _TAG.search(text, 0, end)
    return end if tag is None else tag.start()


def is_shaded(code_point: int) -> bool:
    """Whether more than the character itself counts for what begins behind it; see ``LeftOf``."""
    return code_point in _SHADED


def is_plain(text: str) -> bool:
    """Whether every character is read as itself alone."""
    return (_CONTROL if text.isascii() else DISGUISED).search(text) is None


def is_unseen(code_point: int) -> bool:
    """Whether nothing is seen of a character. Tags spell ASCII all the same, for whoever can read them."""
    return code_point in _WITHOUT_UNSEEN


def also_read_as(chars: CharSet) -> CharSet:
    """A set, and every character whose reading begins with one of it."""
    more = [(code, code) for code, read in READ_AS.items() if cs.contains(chars, ord(read[0]))]
    return cs.charset([*chars, *more])


def seen(text: str) -> str:
    """A text as it is seen, tags read as what they spell."""
    return text if is_plain(text) else text.translate(_SEEN)


def undisguised(text: str) -> str:
    """A text for a model that reads words: letters as they are seen, in words that have one of ASCII.

    Words of other scripts stay as they are, with the characters that join or part their letters.
    """
    if is_plain(text):
        return text
    return _WORD.sub(
        lambda word: word[0].translate(_SEEN_LETTERS) if _LATIN.search(word[0]) else word[0], text
    )


def readings(text: str) -> tuple[str, ...]:
    """A text as it came, and as it is seen with and without its tags: each once."""
    if is_plain(text):
        return (text,)
    seen_with = text.translate(_SEEN)
    seen_without = seen_with if _TAG.search(text) is None else text.translate(_SEEN_WITHOUT_TAGS)
    return (text, seen_with) if seen_with == seen_without else (text, seen_with, seen_without)
