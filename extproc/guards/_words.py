r"""Reads an answer word by word as it streams, and holds back what a judge has not decided yet.

Words are runs of letters and digits, compared without case, width and characters that show nothing. A word
is read when its end has come, so that it is the same however the text was cut.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple

from extproc.domain.judging import Judged
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Finding

_INVISIBLE: Final = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff"
# A longer run is several words: what is held of one is bounded.
_WORD: Final = re.compile(rf"[\w{_INVISIBLE}]{{1,{LIMITS.word_chars_max}}}")
_STRIP: Final = re.compile(f"[{_INVISIBLE}]")


class Word(NamedTuple):
    """A word as it is compared, and where it stands, in code points."""

    text: str
    start: int
    end: int


def words_in(text: str) -> Iterator[Word]:
    """The words of a whole text."""
    for found in _WORD.finditer(text):
        word = normal(found[0])
        if word:
            yield Word(word, found.start(), found.end())


def normal(word: str) -> str:
    """A word as it is compared; empty where nothing of it shows."""
    if word.isascii():
        return word.lower()
    return _STRIP.sub("", unicodedata.normalize("NFKC", word)).casefold()


class WordScanner(ABC):
    """A judge scanner that goes by words. After its first finding it lets all pass."""

    __slots__ = ("_base", "_found", "_pending", "_read_to")

    def __init__(self) -> None:
        # Text from ``_base`` on is held; up to ``_read_to`` it was read.
        self._pending = ""
        self._base = 0
        self._read_to = 0
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

    def feed(self, text: str, *, eof: bool = False) -> Judged:
        """Take more text; with ``eof`` everything is decided."""
        if self._found:
            return Judged(text)
        pending, base = self._pending + text, self._base
        length = len(pending)
        limit = 0
        position = self._read_to - base
        for found in _WORD.finditer(pending, position):
            position, end = found.span()
            if end == length and end - position < LIMITS.word_chars_max and not eof:
                break
            limit = self._limit(limit, position)
            word = normal(found[0])
            if word:
                finding = self.take(Word(word, position + base, end + base))
                if finding is not None:
                    self._found = True
                    self._pending = ""
                    return Judged(pending[: self._limit(limit, 0)], (finding,))
            position = end
        else:
            position = length
        limit = length if eof else self._limit(limit, position)
        self._read_to = base + position
        self._pending, self._base = pending[limit:], base + limit
        return Judged(pending[:limit])

    def _limit(self, limit: int, position: int) -> int:
        """How much of the pending text may go out, when all words before ``position`` are read."""
        held = self.holds_from()
        return max(limit, position if held is None else held - self._base)
