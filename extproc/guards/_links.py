r"""Finds the targets of links in an answer as it streams, as lenient readers would: browsers and Markdown.

A target is absolute: a scheme with a host (``https://host``, and ``https:host``, as browsers have it),
``//host`` where a reader expects a target, ``www.host``, or what holds its content or a program itself
(``data:``, ``javascript:``). Entities and Markdown's backslashes are read. A host that is not literally one
of those allowed is another one, however it is spelled: credentials, codes for letters and foreign dots make
none.

The text is judged by words, which white space, quotes and brackets end, and only the last one is held.
"""

import html
import re
from typing import Final

from extproc.domain.judging import Judged
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Finding
from extproc.guards._judged import finding

_DELIMITERS: Final = r"\s\"'`<>()"
_TOKEN: Final = re.compile(rf"([^{_DELIMITERS}]+)|[{_DELIMITERS}]+")
_LAST_WORD: Final = re.compile(rf"[^{_DELIMITERS}]*\Z")
# What every target has.
_SUSPECT: Final = re.compile(r"[:&]|[/\\]{2}|www\.", re.IGNORECASE)
# Schemes that name a host; those of the web do so without slashes, too, and with the wrong ones.
_HOSTED: Final = re.compile(
    r"[a-z][a-z0-9+.-]{1,31}://|(?:https?|ftps?|wss?):[/\\]*|(?=www\.)", re.IGNORECASE
)
_WEB: Final = re.compile(r"(?:https?|ftps?|wss?):[/\\]*\Z", re.IGNORECASE)
# Schemes that hold what they lead to.
_EMBEDDED: Final = re.compile(
    r"(?<![a-z0-9])(?:(?:javascript|vbscript|blob|filesystem|file):.|data:[^,]{0,200},)", re.IGNORECASE
)
# A target without a scheme, within a word or at its beginning; its host must look like one, since programs
# have comments (``//text``) and paths.
_RELATIVE: Final = re.compile(r"(?:(?<=[=,;|])|(?<=\]:))[/\\]{2,}")
_SLASHES: Final = re.compile(r"[/\\]{2,}")
_HOST_LIKE: Final = re.compile(
    r"(?:[^\s@]*@)?(?:\[|(?:[^\s.@]+\.)+(?:[^\W\d_]{2,}|xn--[\w-]+|\d+)\.?(?::\d*)?\Z)"
)
_EXPECTING: Final = frozenset("(\"'<=:,")
_AUTHORITY: Final = re.compile(r"[^/\\?#]*")
_PORT: Final = re.compile(r":[0-9]*\Z")
_NAME: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
# What closes a sentence or a bracket behind a host, and is none of it.
_BEHIND: Final = ".,;:!?*_~|]}"
# Of a word that is longer than may be held so much is looked at again with what follows.
_OVERLAP_CHARS: Final = 384
# A host has at most 253 characters; the rest is for a port.
_AUTHORITY_CHARS_MAX: Final = 300


class Hosts:
    """The hosts that links may lead to: ``example.com`` alone, ``*.example.com`` whatever is below it."""

    __slots__ = ("_below", "_exact")

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._exact = frozenset(name for name in allowed if not name.startswith("*."))
        self._below = tuple(name[1:] for name in allowed if name.startswith("*."))

    def allow(self, authority: str) -> bool:
        """Whether an authority is an allowed host, with a port or without."""
        host = _PORT.sub("", authority).lower()
        if host in self._exact:
            return True
        return host.endswith(self._below) and _NAME.fullmatch(host) is not None


def first_target(word: str, hosts: Hosts, *, expected: bool, ended: bool) -> int | None:
    """Where the first target begins that is not allowed; None where there is none.

    Args:
        word: Text without delimiters.
        hosts: Where links may lead.
        expected: Whether a reader would take the beginning of the word for a target.
        ended: Whether the word ends here; else a host at its end may go on.
    """
    if _SUSPECT.search(word) is None:
        return None
    if "&" in word or "\\" in word:
        for reading in (html.unescape(word), _ESCAPED.sub(r"\1", word)):
            if reading != word and _first(reading, hosts, expected=expected, ended=ended) is not None:
                # Where in the word it begins nobody can say.
                return 0
    return _first(word, hosts, expected=expected, ended=ended)


def _first(word: str, hosts: Hosts, *, expected: bool, ended: bool) -> int | None:
    found: list[int] = []
    embedded = _EMBEDDED.search(word)
    if embedded is not None:
        found.append(embedded.start())
    for one in _HOSTED.finditer(word):
        authority = _authority(word, one.end(), ended=ended)
        if authority and not hosts.allow(authority):
            web = _WEB.search(one[0])
            found.append(one.start() + (0 if web is None else web.start()))
            break
    slashes = _SLASHES.match(word) if expected else None
    for one in ((slashes,) if slashes is not None else ()) + tuple(_RELATIVE.finditer(word)):
        authority = _authority(word, one.end(), ended=ended)
        if authority and _HOST_LIKE.match(authority) is not None and not hosts.allow(authority):
            found.append(one.start())
            break
    return min(found, default=None)


def _authority(word: str, at: int, *, ended: bool) -> str:
    """What stands for a host; empty where there is none, or where it may go on."""
    match = _AUTHORITY.match(word, at)
    end = at if match is None else match.end()
    if end < len(word):
        return word[at:end]
    if ended:
        return word[at:end].rstrip(_BEHIND)
    # Longer than any host is.
    return word[at:end] if end - at > _AUTHORITY_CHARS_MAX else ""


class LinkScanner:
    """Finds targets that are not allowed: takes each out by ``replacement``, else the first ends it."""

    __slots__ = ("_at", "_before", "_held", "_hosts", "_over", "_replacement", "_swallowing")

    def __init__(self, hosts: Hosts, *, replacement: str | None = None) -> None:
        self._hosts = hosts
        self._replacement = replacement
        self._held = ""
        # Where the held text begins, and the last character before it that shows.
        self._at = 0
        self._before = ""
        self._swallowing = False
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
            not self._swallowing
            and len(text) <= LIMITS.link_word_chars_max
            and _SUSPECT.search(text) is None
        ):
            # Prose.
            last = _LAST_WORD.search(text) if not eof else None
            end = len(text) if last is None else last.start()
            self._held = text[end:]
            self._pass(text[:end])
            return Judged(text[:end])
        return self._read(text, eof=eof)

    def _read(self, text: str, *, eof: bool) -> Judged:
        released: list[str] = []
        findings: list[Finding] = []
        for token in _TOKEN.finditer(text):
            if token[1] is None:
                self._swallowing = False
                released.append(self._pass(token[0]))
                continue
            ended = eof or token.end() < len(text)
            self._word(token[1], released, findings, ended=ended)
            if self._over:
                break
        return Judged("".join(released), tuple(findings))

    def _word(self, word: str, released: list[str], findings: list[Finding], *, ended: bool) -> None:
        """A word, or what is left of one; a long one in windows whose places the text alone determines."""
        size = LIMITS.link_word_chars_max
        while not self._swallowing and (ended or len(word) > size):
            window = word[:size]
            last = ended and len(word) <= size
            expected = self._before in _EXPECTING
            at = first_target(window, self._hosts, expected=expected, ended=last)
            if at is None:
                step = len(word) if last else size - _OVERLAP_CHARS
                released.append(self._pass(word[:step]))
                word = word[step:]
                if last:
                    return
                continue
            released.append(self._pass(word[:at]))
            word = word[at:]
            # Where it ends is not known yet.
            findings.append(finding("LINK", self._at, self._at + 1, "links/host"))
            if self._replacement is None:
                self._over = True
                return
            released.append(self._replacement)
            self._swallowing = True
        if not self._swallowing:
            self._held = word
            return
        # A backslash may belong to the quote that follows.
        kept = word[len(word.rstrip("\\")) :]
        self._pass(word[: len(word) - len(kept)])
        if ended:
            released.append(self._pass(kept))
        else:
            self._held = kept

    def _pass(self, text: str) -> str:
        """Text that is over: what shows last in it stands before what follows."""
        self._at += len(text)
        self._before = text.rstrip()[-1:] or self._before
        return text
