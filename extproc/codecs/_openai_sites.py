"""Where the texts of an OpenAI answer stand, and which channel each belongs to.

A site is one field of one choice (or of the answer itself): ``delta.content`` of choice 0. Its text streams
over many events, its tail goes out in an event of this service's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.codecs._openai_escapes import EscapeReader, EscapeWriter
from extproc.domain.segment import Channel
from extproc.wire.splice import encode_string

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extproc.domain.limits import Limits

Path = tuple[str | int, ...]

# Any text whose place is not of a closed vocabulary. The channel's choice tells them apart.
OTHER: Final = "output.*"


@dataclass(slots=True)
class Site:
    """One place of streaming text.

    ``path`` leads to it from its choice; from the answer's root where ``choice`` is None. ``reader`` and
    ``writer`` are set where the text is JSON itself.
    """

    channel: Channel
    choice: int | None
    path: Path
    reader: EscapeReader | None = field(default=None, compare=False)
    writer: EscapeWriter | None = field(default=None, compare=False)
    open: bool = field(default=False, compare=False)

    def spelled(self, text: str) -> str:
        """Released text, as it must be written here."""
        return text if self.writer is None else self.writer.feed(text)


class Sites:
    """The sites of one answer."""

    def __init__(self, limits: Limits, replacements: frozenset[str] = frozenset()) -> None:
        self._limits = limits
        self._replacements = replacements
        self._by_path: dict[tuple[int | None, Path], Site] = {}
        self._by_channel: dict[Channel, Site] = {}
        # By the keys that stand in their paths now, so that a key that is renamed costs no look at others.
        self._by_key: dict[str, list[Site]] = {}
        self._by_choice: dict[int | None, list[Site]] = {}

    def __len__(self) -> int:
        return len(self._by_channel)

    def at(self, choice: int | None, path: Path, name: str = OTHER, *, escaped: bool = False) -> Site:
        """The site of a place, made where there is none; ``name`` is its channel's field.

        Raises:
            PeerError: the answer has too many.
        """
        site = self._by_path.get((choice, path))
        if site is None:
            count = len(self._by_channel)
            if count >= self._limits.answer_texts_max:
                raise http.unreadable(f"it has more than {self._limits.answer_texts_max} output texts")
            number = count if choice is None or name == OTHER else choice
            site = Site(Channel(number, name), choice, path)
            if escaped:
                site.reader, site.writer = EscapeReader(), EscapeWriter(self._replacements)
            self._by_path[choice, path] = self._by_channel[site.channel] = site
            self._by_choice.setdefault(choice, []).append(site)
            for key in {step for step in path if isinstance(step, str)}:
                self._by_key.setdefault(key, []).append(site)
        return site

    def standing(self, choice: int | None, path: Path) -> Site | None:
        """The site of a place whose text has begun and not ended."""
        site = self._by_path.get((choice, path))
        return site if site is not None and site.open else None

    def rename(self, key: str, written: str) -> None:
        """A key was written as another text: a tail must not repeat it."""
        named = self._by_key.pop(key, [])
        for site in named:
            site.path = tuple([written if step == key else step for step in site.path])
        if named:
            self._by_key.setdefault(written, []).extend(named)

    def of(self, channel: Channel) -> Site:
        """The site that a channel stands for."""
        return self._by_channel[channel]

    def open_ones(self, choice: int | None = None) -> list[Site]:
        """Every open site, or those of one choice."""
        sites = self._by_channel.values() if choice is None else self._by_choice.get(choice, ())
        return [site for site in sites if site.open]


def tail_document(site: Site, text: str, envelope: Iterable[bytes]) -> bytes:
    """An event's document that has nothing but a text at its site; ``envelope`` are members of the root."""
    member = _member(site.path, encode_string(site.spelled(text)))
    if site.choice is None:
        members = [*envelope, b'"choices":[]', member]
    else:
        # A completion's choices have no delta.
        delta = b"" if site.path[0] in {"delta", "text"} else b'"delta":{},'
        choice = b'{"index":%d,' % site.choice + delta + member + b',"finish_reason":null}'
        members = [*envelope, b'"choices":[' + choice + b"]"]
    return b"{" + b",".join(members) + b"}"


def _member(path: Path, value: bytes) -> bytes:
    """The member by which a path begins, with ``value`` at the path's end."""
    for step in reversed(path[1:]):
        if isinstance(step, str):
            value = b"{" + encode_string(step) + b":" + value + b"}"
        elif value.startswith(b"{"):
            value = b'[{"index":%d,' % step + value[1:] + b"]"
        else:
            value = b"[" + value + b"]"
    return encode_string(str(path[0])) + b":" + value
