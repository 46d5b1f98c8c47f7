"""Tokens that stand for values of one stream, and what turns them back in its answer.

A token names its entity type and ends in letters that only this stream gives this value: a hash under a
key that is made from the stream. It has brackets around it, so that a stream of text shows at once where
one can begin, and no digit, so that no rule takes it for a number.

The answer is turned back behind the rules. So only what the caller sent himself comes back to him as it
was; what the model invents is redacted, and what is kept of the answer has the token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.domain.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extproc.domain.pseudonym import Pseudonym

# No vowels, so that no word comes of them; ten of them are 43 bits: two of a stream's values get the same
# token once in a million streams that are full of them, and then neither is turned back.
_LETTERS: Final = "bcdfghjklmnpqrstvwxz"
_LETTERS_COUNT: Final = 10
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')
_TOKEN: Final = re.compile(r"\[[A-Za-z0-9_]+\]")


def token_of(key: bytes, entity_type: str, value: str) -> str | None:
    """The token of a value; None for one that is too long, or that JSON would escape.

    A value of that kind may stand in a document within a document, and its token in one of another depth:
    what is turned back must be the same text in both.
    """
    if len(value) > LIMITS.pseudonym_chars_max or _ESCAPED.search(value) is not None:
        return None
    digest = hmac.new(key, f"{entity_type}\0{value}".encode(), hashlib.sha256).digest()
    number = int.from_bytes(digest)
    letters = []
    for _ in range(_LETTERS_COUNT):
        number, at = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[at])
    return f"[{entity_type}_{''.join(letters)}]"


class Known(NamedTuple):
    """What a token stands for, and the guard that made it; ``ambiguous`` where two values have it."""

    guard: str
    pseudonym: Pseudonym
    ambiguous: bool = False


class Pseudonyms:
    """The tokens of one stream. The oldest are forgotten where there are too many, and then stay tokens."""

    __slots__ = ("_by_token", "_count_max", "_sorted")

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._by_token: dict[str, Known] = {}
        self._sorted: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._by_token)

    def learn(self, found: Iterable[tuple[str, Pseudonym]]) -> None:
        """Take over what guards, each by its name, put into a request."""
        for guard, pseudonym in found:
            before = self._by_token.pop(pseudonym.token, None)
            ambiguous = before is not None and (
                before.ambiguous or before.pseudonym.value != pseudonym.value
            )
            self._by_token[pseudonym.token] = Known(guard, pseudonym, ambiguous)
        while len(self._by_token) > self._count_max:
            del self._by_token[next(iter(self._by_token))]
        self._sorted = sorted(self._by_token)

    def clear(self) -> None:
        """Forget all of them."""
        self._by_token.clear()
        self._sorted.clear()

    def known(self, token: str) -> Known | None:
        """What a token stands for; None for one of another stream, or of nobody."""
        found = self._by_token.get(token)
        return None if found is None or found.ambiguous else found

    def may_begin(self, text: str) -> bool:
        """Whether a token may begin with this text."""
        at = bisect_left(self._sorted, text)
        return at < len(self._sorted) and self._sorted[at].startswith(text)


class TurnedBack(NamedTuple):
    """Text that may go out, and the tokens that were turned back in it, in order."""

    text: str
    found: tuple[Known, ...] = ()


class Restorer:
    """Turns tokens back in one channel of the answer; holds only what may still become one."""

    __slots__ = ("_held", "_pseudonyms")

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._held = ""

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text."""
        return len(self._held)

    def feed(self, text: str, *, eof: bool = False) -> TurnedBack:
        """Take more text; with ``eof`` all of it goes out."""
        if not self._held and "[" not in text:
            return TurnedBack(text)
        text = self._held + text
        self._held = ""
        begun = -1 if eof else text.rfind("[")
        # Within a token there is no other bracket.
        if begun >= 0 and "]" not in text[begun:] and self._pseudonyms.may_begin(text[begun:]):
            text, self._held = text[:begun], text[begun:]
        found: list[Known] = []

        def turn_back(match: re.Match[str]) -> str:
            known = self._pseudonyms.known(match[0])
            if known is None:
                return match[0]
            found.append(known)
            return known.pseudonym.value

        return TurnedBack(_TOKEN.sub(turn_back, text), tuple(found))
