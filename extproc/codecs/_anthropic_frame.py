"""What the reader of an Anthropic answer finds in one document, and how it is written again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs._openai_escapes import EscapeReader, EscapeWriter
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta
from extproc.wire.runs import write_run
from extproc.wire.splice import Splice, encode_string, splice
from extproc.wire.strict_json import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.domain.judging import ToolCall
    from extproc.domain.segment import Usage
    from extproc.wire.runs import Run

# A text that is whole where it stands (a name, a stop sequence): its channel ends with it.
ONCE: Final = "output.once"


@dataclass(slots=True)
class Site:
    """One text of a content block; in a stream ``delta`` is what it comes in, as its member ``member``.

    ``reader`` and ``writer`` are set where the text is JSON itself.
    """

    channel: Channel
    delta: str
    member: str
    reader: EscapeReader | None = field(default=None, compare=False)
    writer: EscapeWriter | None = field(default=None, compare=False)
    open: bool = field(default=False, compare=False)

    @classmethod
    def of(
        cls, index: int, delta: str, member: str, field_name: str, *, replacements: frozenset[str] | None
    ) -> Site:
        """The site of a block's text; ``replacements`` is None where that is no JSON."""
        site = cls(Channel(index, field_name), delta, member)
        if replacements is not None:
            site.reader, site.writer = EscapeReader(), EscapeWriter(replacements)
        return site

    def tail(self, text: str) -> bytes:
        """An event that says nothing but a text of this site."""
        written = text if self.writer is None else self.writer.feed(text)
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b","%b":%b}}\n\n'
        ) % (self.channel.choice, self.delta.encode(), self.member.encode(), encode_string(written))


class Place(NamedTuple):
    """A delta's place.

    ``shown`` is the delta's text, ``spelled`` what stands for it where it is not changed: other than the
    text of the document where an escape reaches into the next event and moves there. ``site`` is None for a
    whole text.
    """

    text: Text
    shown: str
    spelled: str
    site: Site | None = None

    @classmethod
    def nowhere(cls) -> Place:
        """That of a text which never began, at no place of the document."""
        return cls(Text("", 0, 0), "", "", Site(Channel(0, "text"), "text_delta", "text"))

    @classmethod
    def at(cls, site: Site, text: Text, *, watched: bool, eof: bool = False) -> Place:
        """The place of a piece of a site's text; in an answer that is not ``watched`` nothing moves."""
        if site.reader is None:
            return cls(text, text.value, text.value, site)
        spelled, shown = site.reader.feed(text.value, eof=eof)
        return cls(text, shown, spelled if watched else text.value, site)

    def written(self, text: str) -> str | None:
        """What must stand here so that it says ``text``; None where it does already."""
        if not self.text.end:
            # Of a text that never began.
            return None
        writer = None if self.site is None else self.site.writer
        spelled = text if writer is None else writer.feed(text)
        if text != self.shown:
            return spelled
        return None if self.spelled == self.text.value else self.spelled


class Located(NamedTuple):
    """A frame's token: its bytes, and where its deltas stand in them.

    A byte at ``n`` of the document lies at ``base + n`` of ``raw``.
    """

    raw: bytes
    base: int
    places: tuple[Place, ...]

    def with_texts(self, texts: Sequence[str]) -> bytes:
        """The bytes with ``texts`` in place of the deltas; the same texts leave them untouched."""
        raw, base = self.raw, self.base
        if len(self.places) == 1:
            # Nearly every frame.
            (place,) = self.places
            written = place.written(texts[0])
            if written is None:
                return raw
            return raw[: base + place.text.start] + encode_string(written) + raw[base + place.text.end :]
        edits = [
            Splice(base + place.text.start, base + place.text.end, encode_string(written))
            for place, text in zip(self.places, texts, strict=True)
            if (written := place.written(text)) is not None
        ]
        return splice(raw, edits) if edits else raw


class KnownRun(NamedTuple):
    """The token of several events in which only one site's text varied.

    ``shown`` are the deltas' texts, ``spelled`` what stands for them where they are not changed, as in
    ``Place``.
    """

    run: Run
    site: Site
    shown: tuple[str, ...]
    spelled: tuple[str, ...]

    @classmethod
    def of(cls, run: Run, site: Site, *, watched: bool) -> KnownRun:
        """A run at its site; in an answer that is not ``watched`` nothing moves."""
        if site.reader is None:
            return cls(run, site, run.texts, run.texts)
        read = [site.reader.feed(text) for text in run.texts]
        spelled = tuple([one.spelled for one in read]) if watched else run.texts
        return cls(run, site, tuple([one.text for one in read]), spelled)

    def with_texts(self, texts: Sequence[str]) -> bytes:
        """The first events, so that they say ``texts``."""
        writer = self.site.writer
        if writer is None:
            return write_run(self.run, tuple(texts))
        spelled = []
        for text, shown, before in zip(texts, self.shown, self.spelled, strict=False):
            written = writer.feed(text)
            spelled.append(before if text == shown else written)
        return write_run(self.run, tuple(spelled))


class Carried(NamedTuple):
    """The token of a frame of this service's own; not ``moved`` where its text went out already."""

    site: Site
    moved: bool


class Parts:
    """Collects what one document says. ``watched``: a guard may change the answer's text."""

    def __init__(self, *, watched: bool) -> None:
        self.watched = watched
        self.places: list[Place] = []
        self.ended: list[Site] = []
        self.calls: list[ToolCall] = []

    def piece(self, site: Site, text: Text, *, whole: bool = False) -> None:
        """A piece of a site's text; ``whole`` where no other follows."""
        site.open = not whole
        self.places.append(Place.at(site, text, watched=self.watched, eof=whole))

    def whole(self, text: Text) -> None:
        """A text that is not continued, and has no site."""
        self.places.append(Place(text, text.value, text.value))

    def nothing(self) -> None:
        """The answer has no text."""
        place = Place.nowhere()
        self.places.append(place)
        if place.site is not None:
            self.ended.append(place.site)

    def frame(
        self, raw: bytes, base: int, *, usage: Usage | None = None, final: bool = False, error: bool = False
    ) -> ResponseFrame:
        """All of it as one frame."""
        self.places.sort(key=_start)
        frame = _frame(raw, base, self.places, self.ended, usage=usage, final=final, error=error)
        return frame._replace(calls=tuple(self.calls)) if self.calls else frame

    def frames(
        self, document: bytes, *, texts_max: int, usage: Usage | None = None, error: bool = False
    ) -> list[ResponseFrame]:
        """A whole answer as frames of slices of it; each text ends in its own.

        ``texts_max`` is how many a frame may have: each has a channel, and of these an exchange has few.
        """
        self.places.sort(key=_start)
        frames: list[ResponseFrame] = []
        begin = 0
        for first in range(0, max(len(self.places), 1), texts_max):
            places = self.places[first : first + texts_max]
            final = first + texts_max >= len(self.places)
            end = len(document) if final else places[-1].text.end
            ended = [place.site for place in places if place.site is not None]
            frames.append(
                _frame(
                    document[begin:end],
                    -begin,
                    places,
                    ended,
                    usage=usage if final else None,
                    final=final,
                    error=error,
                )
            )
            begin = end
        if self.calls:
            frames[0] = frames[0]._replace(calls=tuple(self.calls))
        return frames


def _start(place: Place) -> int:
    return place.text.start


def _frame(  # noqa: PLR0913 - all that a frame has.
    raw: bytes,
    base: int,
    places: Sequence[Place],
    ended: Sequence[Site],
    *,
    usage: Usage | None,
    final: bool,
    error: bool,
) -> ResponseFrame:
    deltas = tuple(
        [
            Delta(Channel(at, ONCE) if place.site is None else place.site.channel, place.shown)
            for at, place in enumerate(places)
        ]
    )
    once = [delta.channel for delta, place in zip(deltas, places, strict=True) if place.site is None]
    return ResponseFrame(
        key=0,
        deltas=deltas,
        token=Located(raw, base, tuple(places)),
        usage=usage,
        ended=(*(site.channel for site in ended), *once),
        final=final,
        error=error,
    )
