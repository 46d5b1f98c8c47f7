"""Takes the targets that are not allowed out of an answer as it streams; ``_targets`` says which these are.

The text is judged by words, which white space ends, and only the last one is held, or what of it may have
begun a target. Inside of HTML's quotes a word goes on behind tabs and line ends.
"""

import re
from typing import Final

from extproc.domain.judging import Judged
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Finding
from extproc.guards._judged import finding
from extproc.guards._targets import SUSPECT, Hosts, Place, first_target

__all__ = ["Hosts", "LinkScanner"]

_SPACE: Final = re.compile(r"[ \t\n\r\f\v]+")
_WORD: Final = re.compile(r"[^ \t\n\r\f\v]+")
_QUOTED_WORD: Final = re.compile(r"[^ \f\v]+")
# What is taken out goes on up to one of these.
_TAKEN: Final = re.compile(r"[^\s\"'`<>()]*")
_QUOTED_TAKEN: Final = re.compile(r"[^ \f\v\"'`<>()]*")
# Text of other scripts has few spaces: before its letters a word ends in which nothing was begun.
_FOREIGN: Final = re.compile(r"([!-~]*)[^\x00-\x7f]+")
# Looks before it, so that a long word before the last one is read once.
_LAST_WORD: Final = re.compile(r"(?<![\x00-\x08\x0e-\x1f!-\x7f])[\x00-\x08\x0e-\x1f!-\x7f]*\Z")
_SUSPECT_OR_TAG: Final = re.compile(f"<|{SUSPECT.pattern}")
# Of a word that is longer than may be held so much is looked at again with what follows.
_OVERLAP_CHARS: Final = 384


class LinkScanner:
    """Finds targets that are not allowed: takes each out by ``replacement``, else the first ends it."""

    __slots__ = ("_at", "_held", "_hosts", "_over", "_place", "_replacement", "_taking")

    def __init__(self, hosts: Hosts, *, replacement: str | None = None) -> None:
        self._hosts = hosts
        self._replacement = replacement
        self._held = ""
        # Where the held text begins.
        self._at = 0
        self._place = Place()
        # What of the text goes with the target that was found last.
        self._taking: re.Pattern[str] | None = None
        self._over = False

    @property
    def held_chars(self) -> int:
        """Code points of the last word."""
        return len(self._held)

    def drop(self) -> None:
        """Forget what is held."""
        self._at += len(self._held)
        self._held = ""

    def feed(self, text: str, *, eof: bool = False) -> Judged:
        """Take more text; with ``eof`` everything is decided."""
        if self._over:
            return Judged(text)
        text, self._held = self._held + text, ""
        if (
            self._taking is None
            and not self._place.markup.within
            and "<" not in text
            and SUSPECT.search(text) is None
        ):
            # Prose.
            last = None if eof else _LAST_WORD.search(text)
            end = len(text) if last is None else last.start()
            if len(text) - end <= LIMITS.link_word_chars_max:
                self._held = text[end:]
                return Judged(self._pass(text[:end]))
        return self._read(text, eof=eof)

    def _read(self, text: str, *, eof: bool) -> Judged:
        released: list[str] = []
        findings: list[Finding] = []
        position, suspect_at = 0, -1
        while position < len(text) and not self._over and not self._held:
            if suspect_at < position:
                suspect = _SUSPECT_OR_TAG.search(text, position)
                suspect_at = len(text) if suspect is None else suspect.start()
            if self._taking is not None:
                position = self._take(text, position, released, eof=eof)
            elif (plain := self._plain_to(text, position, suspect_at)) > position:
                released.append(self._pass(text[position:plain]))
                position = plain
            elif (space := _SPACE.match(text, position)) is not None:
                released.append(self._pass(space[0]))
                position = space.end()
            else:
                position = self._word(text, position, released, findings, eof=eof)
        return Judged("".join(released), tuple(findings))

    def _plain_to(self, text: str, start: int, suspect_at: int) -> int:
        """Where the words end in which nothing can begin: before that in which the next suspect stands."""
        if self._place.markup.within:
            return start
        last = _LAST_WORD.search(text, start, suspect_at)
        return start if last is None else last.start()

    def _word(
        self, text: str, start: int, released: list[str], findings: list[Finding], *, eof: bool
    ) -> int:
        """A word, or what is left of one; a long one in windows whose places the text alone determines."""
        size = LIMITS.link_word_chars_max
        # Not the whole of a long word, of which many targets may be taken out.
        limit = start + size + 1
        foreign = _FOREIGN.match(text, start, limit)
        if foreign is not None and SUSPECT.search(foreign[1]) is None:
            released.append(self._pass(foreign[0]))
            return foreign.end()
        end = _end(_WORD, text, start, limit)
        quoted = self._place.may_be_quoted(text[start : min(end, start + size)])
        if quoted:
            end = _end(_QUOTED_WORD, text, start, limit)
        long = end - start > size
        if not (long or end < len(text) or eof):
            self._held = text[start:]
            return start
        word = text[start : start + size] if long else text[start:end]
        at = (
            None
            if not quoted and SUSPECT.search(word) is None
            else first_target(word, self._hosts, self._place, ended=not long)
        )
        if at is None:
            passed = word[: size - _OVERLAP_CHARS] if long else word
            released.append(self._pass(passed))
            return start + len(passed)
        released.append(self._pass(word[:at]))
        # Where it ends is not known yet.
        findings.append(finding("LINK", self._at, self._at + 1, "links/host"))
        if self._replacement is None:
            self._over = True
        else:
            released.append(self._replacement)
            self._place = self._place.after(self._replacement)
            self._taking = _QUOTED_TAKEN if quoted else _TAKEN
        return start + at

    def _take(self, text: str, start: int, released: list[str], *, eof: bool) -> int:
        """What goes with a target; a backslash at its end may belong to the quote that follows."""
        if self._taking is None:
            return start
        end = _end(self._taking, text, start, len(text))
        taken = text[start:end].rstrip("\\")
        self._at += len(taken)
        kept = text[start + len(taken) : end]
        if end == len(text) and not eof:
            self._held = kept
            return end
        self._taking = None
        released.append(self._pass(kept))
        return end

    def _pass(self, text: str) -> str:
        """Text that is over: what shows last in it stands before what follows."""
        self._at += len(text)
        self._place = self._place.after(text)
        return text


def _end(pattern: re.Pattern[str], text: str, start: int, limit: int) -> int:
    found = pattern.match(text, start, limit)
    return start if found is None else found.end()
