r"""Where in a word of an answer a target begins that is not allowed, as any lenient reader may see it.

What leads somewhere is read as browsers and Markdown read it: a scheme with its host (``https://host``,
``https:host``), ``//host`` where a reader expects a target, ``www.host``, and what holds its content or a
program itself (``data:``, ``javascript:``). Entities and the backslashes of Markdown and JSON are read, and
inside of HTML's quotes tabs and line ends are left out, as the URL standard does. What follows the slashes
is allowed where it surely is a host of the list and surely ends there; all else is another host, however it
would be read: credentials, codes for letters, foreign dots, numbers.

Sources: the URL standard, HTML's tokenizer, CommonMark (links, autolinks), GFM (autolinks).
"""

import html
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

# What every target has, or what is put back into one later: the token of a value.
SUSPECT: Final = re.compile(r"[:&]|[/\\]{2}|(?i:www\.)|\[[A-Z]")
# After a character of these a reader may expect a target.
_EXPECTING: Final = frozenset("(\"'`<=:,")
_OPENERS: Final = _EXPECTING | frozenset("];|")
# As much before a word as makes a place for a target: ``](<``.
_BEFORE_CHARS: Final = 3
_UNSHOWN: Final = re.compile(r"[\s\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]+")
# HTML's quotes as far as this text may stand in them; a tag may begin anywhere.
IN_TAG: Final = 1
IN_DOUBLE: Final = 2
IN_SINGLE: Final = 4
IN_QUOTES: Final = IN_DOUBLE | IN_SINGLE
_QUOTES: Final = {'"': IN_DOUBLE, "'": IN_SINGLE}
# What ends a target that begins right behind one of these.
_ENDS: Final = {'"': {'"'}, "'": {"'"}, "<": {">"}}
# HTML's attributes may have these in a target, where they are nothing.
_PART: Final = re.compile(r"[^\t\n\r]+")
_MARKUP: Final = re.compile(r"<(?=[A-Za-z/!?])|>|(=\s*)?[\"']")
_EQUALS: Final = re.compile(r"=\s*\Z")

_SPECIAL: Final = re.compile(
    r"(?P<entity>&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]{0,31});?)"
    r"|\\(?:(?P<code>u[0-9a-fA-F]{4})|(?P<escaped>[!-/:-@\[-`{-~]))"
    r"|(?P<unseen>[\x00-\x1f\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff])"
)
# Schemes that name a host; those of the web do so without slashes, too, and with the wrong ones.
_HOSTED: Final = re.compile(
    r"(?=www\.)|(?:https?|ftps?|wss?):[/\\]*|[a-z][a-z0-9+.-]{0,31}://", re.IGNORECASE
)
_WEB: Final = re.compile(r"(?:https?|ftps?|wss?):[/\\]*\Z", re.IGNORECASE)
# Schemes that hold what they lead to; in prose it follows at once.
_EMBEDDED: Final = re.compile(
    r"(?<![a-z0-9])(?:"
    r"(?:javascript|vbscript|livescript|blob|filesystem|file|view-source|jar|intent):[\w$%/+~\\]"
    r"|data:(?:[,;]|[!#$&^.+\w-]+/|[^,\s\"'`<>()]{1,200},))",
    re.IGNORECASE,
)
# Right where a reader takes what follows for a target, by Markdown or as an attribute.
_PLACE: Final = r"(?:\]\(<?|\]:<?|=[\"'`]?)"
_PLACED: Final = re.compile(
    rf"(?:{_PLACE}|<)(?P<target>(?:javascript|vbscript|livescript|data|blob|filesystem|file|view-source):)"
    r"|\]\(<?(?P<link>(?!(?:https?|ftps?|wss?):)[a-z][a-z0-9+.-]*:(?!//)[^\s)])"
    rf"|{_PLACE}(?P<relative>[/\\]{{2,}})"
    r"|(?:\]\(<?|\]:<?|url\([\"']?|(?:action|background|cite|data|href|ping|poster|src|srcset)=[\"'`]?)"
    r"(?P<token>\[[A-Z][A-Z0-9_]*_[a-z]{10}\])",
    re.IGNORECASE,
)
# A target without a scheme where one may stand; its host must look like one, since programs have comments
# (``//text``) and paths.
_RELATIVE: Final = re.compile(r"(?<=[(\"'`<=:,;|])[/\\]{2,}")
_SLASHES: Final = re.compile(r"[/\\]{2,}")
_DOTS: Final = ".\u3002\uff0e\uff61"
_HOST_LIKE: Final = re.compile(
    r"(?:[^\s/\\?#]*@)?(?:\[(?:[0-9a-f:.]+\]|[A-Z0-9_]+_[a-z]{10}\])"
    r"|(?:0x[0-9a-f]{5,}|[0-9]{7,})(?![\w-])|[^\s./\\?#]*%"
    rf"|(?:[^\s/\\?#{_DOTS}]+[{_DOTS}])+(?:[^\W\d_]{{2,}}|xn--[\w-]+|0x[0-9a-f]+|[0-9]+)[{_DOTS}]?(?![\w-]))",
    re.IGNORECASE,
)
# The token of a value that may lead somewhere, which the caller gets back in its place. See
# ``redaction.pseudonyms``.
_TOKEN: Final = re.compile(r"\[(?:[A-Z0-9_]*_)?(?:URL|URI|WEBHOOK|DSN|CONNECTION_STRING)_[a-z]{10}\]")
_AUTHORITY: Final = re.compile(r"[^/\\?#]*")
_HOST: Final = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::[0-9]{0,5})?", re.IGNORECASE | re.ASCII)
# What may stand between a host and what ends it: nothing with which a reader could make another host of it,
# up to a character that no host has; and behind that nothing that makes credentials of it all.
_BEHIND: Final = re.compile(
    r"(?:[!-$'-\-;=_`{}~A-Z0-9]|\.(?![A-Z0-9]))*(?:[<>\[\]^|:][^@]*)?", re.IGNORECASE | re.ASCII
)
_CLOSERS: Final = re.compile("[.,;:!?*_~|)\\]}\"'`<>\u2026]*")
# A host has at most 253 characters; the rest is for a port and what closes a sentence.
_AUTHORITY_CHARS_MAX: Final = 300


class Hosts:
    """The hosts that links may lead to: ``example.com`` alone, ``*.example.com`` whatever is below it."""

    __slots__ = ("_below", "_exact")

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._exact = frozenset(name for name in allowed if not name.startswith("*."))
        self._below = tuple(name[1:] for name in allowed if name.startswith("*."))

    def allow(self, host: str) -> bool:
        """Whether a name is one of them."""
        host = host.lower()
        return host in self._exact or (bool(self._below) and host.endswith(self._below))


class Markup(NamedTuple):
    """Where in HTML's markup a text may end: ``within`` tags and quotes, and behind an equals sign."""

    within: int = 0
    equals: bool = False

    def after(self, text: str) -> "Markup":
        """The same after more text."""
        if not self.within and "<" not in text:
            # Outside of tags nothing is a quote.
            return _NO_MARKUP
        within, equals = self.within, self.equals and not text.strip()
        for found in _MARKUP.finditer(text):
            sign = found[0][-1]
            if sign == "<":
                within |= IN_TAG
            elif sign == ">":
                within &= ~IN_TAG
            else:
                opens = found[1] is not None or (self.equals and not text[: found.start()].strip())
                within = _quoted(within, _QUOTES[sign], opens=opens)
        return Markup(within, equals or _EQUALS.search(text) is not None)


_NO_MARKUP: Final = Markup()


def _quoted(within: int, quote: int, *, opens: bool) -> int:
    closed = within & ~quote | (IN_TAG if within & quote else 0)
    return closed | quote if opens and within & IN_TAG else closed


class Place(NamedTuple):
    """Where a word stands: the last characters before it that show, and where in markup it is."""

    before: str = ""
    markup: Markup = _NO_MARKUP

    @property
    def opening(self) -> str:
        """What stands before the word, where a reader may expect a target behind that; else nothing."""
        return self.before if self.before[-1:] in _OPENERS else ""

    def after(self, text: str) -> "Place":
        """The place behind more text."""
        before = text[-_BEFORE_CHARS:]
        if len(before) < _BEFORE_CHARS or " " in before or not before.isprintable():
            before = (self.before + _UNSHOWN.sub("", text))[-_BEFORE_CHARS:]
        return Place(before, self.markup.after(text))

    def may_be_quoted(self, word: str) -> bool:
        """Whether some of a word may stand in HTML's quotes."""
        within = self.markup.within
        if within & IN_QUOTES:
            return True
        return bool(within or "<" in word) and ('"' in word or "'" in word)


def first_target(word: str, hosts: Hosts, place: Place, *, ended: bool) -> int | None:
    """Where the first target begins that is not allowed; None where there is none.

    Args:
        word: Text without spaces; where it may be in HTML's quotes it may have tabs and line ends.
        hosts: Where links may lead.
        place: Where it stands.
        ended: Whether the word ends here; else a host at its end may go on.
    """
    found: list[int] = []
    last, start = 0, place
    for part in _PART.finditer(word):
        place = place.after(word[last : part.start()])
        last = part.start()
        ends = ended or part.end() < len(word)
        for reading in _readings(part[0]):
            found += (last + at for at in _first(reading, hosts, place, ended=ends))
    if last:
        for reading in _readings(word):
            if reading.joined:
                found += _first(reading, hosts, start, ended=ended, only_quoted=True)
    return min(found, default=None)


class _Reading(NamedTuple):
    """A word as some reader has it; ``at`` and ``from_`` say from where which of its characters came.

    ``joined``: without what stands between its parts, as only HTML's quotes have it.
    """

    text: str
    at: tuple[int, ...] = (0,)
    from_: tuple[int, ...] = (0,)
    joined: bool = False

    def origin(self, at: int) -> int:
        """Where in the word a character of the reading begins."""
        number = bisect_right(self.at, at) - 1
        return self.from_[number] + at - self.at[number]


def _readings(word: str) -> Iterator[_Reading]:
    """Entities and escapes, each read and left as they are; with line ends, and without."""
    yield _Reading(word)
    if _SPECIAL.search(word) is None:
        return
    for entities in (False, True) if "&" in word else (False,):
        for escapes in (False, True) if "\\" in word else (False,):
            for joined in (False, True):
                reading = _read(word, entities=entities, escapes=escapes, joined=joined)
                if reading.text != word:
                    yield reading


def _read(word: str, *, entities: bool, escapes: bool, joined: bool) -> _Reading:
    parts: list[str] = []
    length = last = 0
    at, from_ = [0], [0]
    for found in _SPECIAL.finditer(word):
        kind = found.lastgroup
        if kind == "entity" and entities:
            read = html.unescape(found[0])
            read = "".join(read.split()) if joined else read
        elif kind == "code" and escapes:
            read = chr(int(found[kind][1:], 16))
        elif kind == "escaped" and escapes:
            read = found[0][1]
        elif kind == "unseen" and joined:
            read = ""
        else:
            continue
        parts += (word[last : found.start()], read)
        length += found.start() - last
        # What stands for several characters began in one place.
        at += (length, length + len(read))
        from_ += (found.start(), found.end())
        length += len(read)
        last = found.end()
    parts.append(word[last:])
    return _Reading("".join(parts), tuple(at), tuple(from_), joined)


def _first(
    reading: _Reading, hosts: Hosts, place: Place, *, ended: bool, only_quoted: bool = False
) -> Iterator[int]:
    """Where in the word targets of a reading begin that are not allowed: the first of each kind.

    With ``only_quoted`` those in HTML's quotes.
    """
    if SUSPECT.search(reading.text) is None:
        return
    opening = place.opening
    view = _View(opening + reading.text, len(opening), hosts, place.markup, ended, only_quoted)
    for kind in (_embedded, _placed, _hosted, _relative):
        at = next((at for at in kind(view) if view.counts(at)), None)
        if at is not None:
            yield reading.origin(max(at - len(opening), 0))


class _View(NamedTuple):
    """A text to look at from ``start`` on, behind what stands before it, and what to look for."""

    text: str
    start: int
    hosts: Hosts
    markup: Markup
    ended: bool
    only_quoted: bool

    def within(self, at: int) -> int:
        """The tags and quotes in which a place of the text may be."""
        return self.markup.after(self.text[self.start : at]).within

    def counts(self, at: int) -> bool:
        """Whether it is looked for there."""
        return not self.only_quoted or bool(self.within(at) & IN_QUOTES)

    def leads_away(self, start: int, at: int) -> bool:
        """Whether what stands behind a scheme or slashes may be anything but a host of the list."""
        text = self.text
        found = _AUTHORITY.match(text, at)
        end = at if found is None else found.end()
        if end == len(text) and not self.ended:
            # Longer than any host is, or it may go on.
            return end - at > _AUTHORITY_CHARS_MAX
        if at == end < len(text):
            return False
        authority = text[at:end]
        host = _HOST.match(authority)
        if host is None:
            # A scheme alone, as it is spoken of.
            behind, holds = authority, _CLOSERS.fullmatch(authority) is not None
        else:
            behind = authority[host.end() :]
            holds = self.hosts.allow(host[1]) and _BEHIND.fullmatch(behind) is not None
        return not (holds and (end < len(text) or self._may_end(start, behind)))

    def _may_end(self, start: int, behind: str) -> bool:
        """Whether white space ends a target; not so in quotes that are still open."""
        within, opener = self.within(start), self.text[start - 1] if start else ""
        ends = {quote for quote, bit in _QUOTES.items() if within & bit} | _ENDS.get(opener, set())
        return all(end in behind for end in ends)


def _embedded(view: _View) -> Iterator[int]:
    for kind in (_EMBEDDED, _TOKEN):
        for one in kind.finditer(view.text, view.start):
            yield one.start()


def _placed(view: _View) -> Iterator[int]:
    for one in _PLACED.finditer(view.text):
        kind = one.lastgroup
        if kind is None or one.end() <= view.start:
            continue
        at = one.start(kind)
        if kind == "relative" and (one[0][0] == "=" and not view.within(at)):
            # No attribute: see ``_relative``.
            continue
        if kind != "relative" or view.leads_away(at, one.end()):
            yield at


def _hosted(view: _View) -> Iterator[int]:
    for one in _HOSTED.finditer(view.text, view.start):
        if view.leads_away(one.start(), one.end()):
            # Of ``xhttps://`` some readers take the end.
            web = _WEB.search(one[0])
            yield one.start() + (0 if web is None else web.start())


def _relative(view: _View) -> Iterator[int]:
    text, start = view.text, view.start
    first = _SLASHES.match(text, start)
    if first is not None and _ends_away(view, first, expected=text[:start][-1:] in _EXPECTING):
        yield start
    for one in _RELATIVE.finditer(text, start + 1):
        # Not the slashes of a scheme.
        expected = text[one.start() - 1] != ":" or text[one.start() - 2] == "]"
        if expected and _ends_away(view, one, expected=True):
            yield one.start()


def _ends_away(view: _View, slashes: re.Match[str], *, expected: bool) -> bool:
    """Whether slashes begin a target: in quotes always, else where one is expected and a host follows."""
    if not view.within(slashes.start()) & IN_QUOTES:
        # Backslashes alone are escapes in programs.
        host_like = "/" in slashes[0] and _HOST_LIKE.match(view.text, slashes.end()) is not None
        if not (expected and host_like):
            return False
    return view.leads_away(slashes.start(), slashes.end())
