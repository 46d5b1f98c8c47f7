r"""Reads an answer word by word as it streams, and holds back what a judge has not decided yet.

Words are runs of letters, digits and the marks on them, compared without case, width, accents and
characters that show nothing, and letters by what they look like. In scripts that put no spaces between
words (Chinese, Japanese, Thai and their like) each character is a word. A word is read when its end has
come, so that it is the same however the text was cut.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple

from extproc.domain.judging import Judged
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Finding
from extproc.redaction import charset as cs
from extproc.redaction.transducer import READ_AS, UNSEEN

# What no text shows: controls but white space, formats, and accents that stand alone.
_INVISIBLE: Final = cs.union(
    UNSEEN,
    cs.charset(
        [(0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x84), (0x86, 0x9F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF)]
    ),
    cs.charset([(0xFE20, 0xFE2F), (0xFFF9, 0xFFFB), (0x13430, 0x1345F)]),
)
# Scripts without spaces between words; the first line is Thai and Lao without their digits, then Myanmar,
# Khmer and the smaller ones of their kind, then Han with its radicals, and the kana.
_SPACELESS: Final = cs.charset(
    [
        *((0xE01, 0xE4E), (0xE81, 0xECE), (0xEDC, 0xEDF)),
        *((0x1000, 0x103F), (0x1050, 0x108F), (0x109A, 0x109F), (0xA9E0, 0xA9EF), (0xA9FA, 0xA9FE)),
        *((0xAA60, 0xAA7F), (0x1780, 0x17D3), (0x17D7, 0x17D7), (0x17DC, 0x17DD), (0x1950, 0x19CF)),
        *((0x1A20, 0x1A7F), (0xA000, 0xA4CF)),
        *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303C), (0x3041, 0x31FF)),
        *((0x3220, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D)),
        *((0x16FE0, 0x18D08), (0x1AFF0, 0x1B2FF), (0x1F200, 0x1F265), (0x20000, 0x323AF)),
    ]
)
# Above it there are characters of Han, and what no text shows.
_LETTERS_TO: Final = 0x20000
# Where Unicode has marks; looking everywhere would take a start ten times as long.
_WITH_MARKS: Final = (
    *((0x300, 0x2E00), (0x302A, 0x309B), (0xA66F, 0xAC00), (0xFB1E, 0xFB1F), (0xFE00, 0xFE30)),
    *((0x101FD, 0x12000), (0x16AF0, 0x17000), (0x1BC9D, 0x1BC9F), (0x1CF00, 0x1D250), (0x1DA00, 0x1E960)),
)
# The voiced marks of kana, in half width, are marks too.
_MARKS: Final = cs.charset(
    [
        *(
            (code, code)
            for low, high in _WITH_MARKS
            for code in range(low, high)
            if unicodedata.category(chr(code))[0] == "M"
        ),
        (0xFF9E, 0xFF9F),
    ]
)
# Signs that stand for letters: those in circles, for one.
_WITH_SIGNS: Final = ((0x2100, 0x2500), (0x1F100, 0x1F200))


def _letters() -> Iterator[tuple[int, int]]:
    """Letters and digits, and the signs that stand for some."""
    for found in re.finditer(r"[^\W_]+", "".join(map(chr, range(_LETTERS_TO)))):
        yield found.start(), found.end() - 1
    for low, high in _WITH_SIGNS:
        for code in range(low, high):
            if unicodedata.normalize("NFKC", chr(code)).isalnum():
                yield code, code


def _without(chars: cs.CharSet, others: cs.CharSet) -> cs.CharSet:
    return cs.complement(cs.union(cs.complement(chars), others))


_ON_LETTERS: Final = cs.union(_MARKS, _INVISIBLE)
_FIRST: Final = _without(_SPACELESS, _ON_LETTERS)
_OTHER: Final = _without(cs.union(cs.charset(_letters()), _ON_LETTERS), _FIRST)
# A part of a word that may have one before and one behind it: what is matched at once is bounded.
_PART: Final = re.compile(
    f"({cs.class_source(_FIRST)}){cs.class_source(_ON_LETTERS)}{{0,{LIMITS.word_chars_max - 1}}}"
    f"|{cs.class_source(_OTHER)}{{1,{LIMITS.word_chars_max}}}"
)
_SEEN: Final = {**READ_AS, **{code: None for low, high in _INVISIBLE for code in range(low, high + 1)}}
# A mark of another script on a letter of ASCII is there to hide it.
_FOREIGN: Final = re.compile(f"(?<=[a-z0-9]){cs.class_source(_MARKS)}+")


class Word(NamedTuple):
    """A word as it is compared, and where it stands, in code points.

    ``is_character``: it is one character of a script without spaces.
    """

    text: str
    start: int
    end: int
    is_character: bool = False


def words_in(text: str) -> Iterator[Word]:
    """The words of a whole text."""
    return _Reader().read(text, 0, eof=True)


def normal(word: str) -> str:
    """A word as it is compared; empty where nothing of it shows."""
    if word.isascii() and word.isalnum():
        return word.lower()
    # Twice, since what is seen of a character may be one with an accent, or a capital.
    for _ in range(2):
        word = unicodedata.normalize("NFKD", word).translate(_SEEN).casefold()
    return unicodedata.normalize("NFC", _FOREIGN.sub("", word))


class _Reader:
    """Splits text into words; of a run of letters that is longer than a word may be, several.

    What shows nothing does not count for that, or a run of it would part a word.
    """

    __slots__ = ("_letters", "_open", "position")

    def __init__(self) -> None:
        # What is read ends here; a word may be open that began before, with so many letters up to now.
        self.position = 0
        self._open: int | None = None
        self._letters = 0

    @property
    def begins_at(self) -> int:
        """Where the text begins of which the word is not known."""
        return self.position if self._open is None else self._open

    def read(self, text: str, base: int, *, eof: bool) -> Iterator[Word]:
        """The words that end in a text; ``base`` is where it begins, at or before ``begins_at``."""
        length = len(text)
        for found in _PART.finditer(text, self.position - base):
            start, end = found.span()
            is_character = found[1] is not None
            if self._open is not None and (start + base > self.position or is_character):
                yield from self._close(text, base)
            full = end - start == LIMITS.word_chars_max
            if end == length and not full and not eof:
                self.position = start + base
                return
            self.position = end + base
            if self._open is None and not (full and not is_character):
                # Nearly every word.
                word = normal(found[0])
                if word:
                    yield Word(word, start + base, end + base, is_character)
                continue
            if self._open is None:
                self._open = start + base
            self._letters += len(normal(found[0]))
            if not full or self._letters >= LIMITS.word_chars_max:
                yield from self._close(text, base)
        if self._open is not None and (eof or self.position < length + base):
            yield from self._close(text, base)
        self.position = length + base

    def _close(self, text: str, base: int) -> Iterator[Word]:
        start, self._open, self._letters = self._open, None, 0
        if start is None:
            return
        word = normal(text[start - base : self.position - base])
        if word:
            yield Word(word, start, self.position)


class WordScanner(ABC):
    """A judge scanner that goes by words. After its first finding it lets all pass."""

    __slots__ = ("_base", "_found", "_pending", "_words")

    def __init__(self) -> None:
        # Text from ``_base`` on is held.
        self._pending = ""
        self._base = 0
        self._words = _Reader()
        self._found = False

    @abstractmethod
    def take(self, word: Word) -> Finding | None:
        """Read the next word."""

    @abstractmethod
    def holds_from(self) -> int | None:
        """Where the words begin that more text may make a finding of; None where none do."""

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text."""
        return len(self._pending)

    def drop(self) -> None:
        """Forget what is held."""
        self._base += len(self._pending)
        self._pending = ""
        self._words = _Reader()
        self._words.position = self._base

    def feed(self, text: str, *, eof: bool = False) -> Judged:
        """Take more text; with ``eof`` everything is decided."""
        if self._found:
            return Judged(text)
        if len(self._pending) > LIMITS.held_chars_max:
            # Such an answer is refused, unless the judge only looks on.
            self.drop()
        pending, base = self._pending + text, self._base
        limit = 0
        for word in self._words.read(pending, base, eof=eof):
            limit = self._limit(limit, word.start)
            finding = self.take(word)
            if finding is not None:
                self._found = True
                self._pending = ""
                return Judged(pending[: self._limit(limit, base)], (finding,))
        limit = len(pending) if eof else self._limit(limit, self._words.begins_at)
        self._pending, self._base = pending[limit:], base + limit
        return Judged(pending[:limit])

    def _limit(self, limit: int, position: int) -> int:
        """How much of the pending text may go out, when all words before ``position`` are read."""
        held = self.holds_from()
        return max(limit, (position if held is None else min(held, position)) - self._base)
