"""What the reader of an answer of OpenAI's responses finds in one event, and how it is written again.

Such an answer says each text several times: in pieces, in the event that ends it, and in each object that
holds it. A text is scanned once, and what was made of it then stands wherever it is repeated, so that a
client reads the same text in each of these places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs._openai_escapes import EscapeReader, EscapeWriter, write_escapes
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta
from extproc.wire.splice import Splice, encode_string, splice
from extproc.wire.strict_json import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.domain.judging import ToolCall
    from extproc.domain.segment import Usage

# A text that is whole where it stands: its channel ends with it.
ONCE: Final = "output.once"


@dataclass(slots=True)
class Told:
    """A whole text as the client got it: ``written`` is set when the frame that has it is."""

    written: str = ""


class Kind(NamedTuple):
    """One kind of streaming text.

    ``name`` is what its events' types begin with, ``member`` where the whole text stands in the event that
    ends it and in the object that holds it, ``position`` the member that tells texts of one item apart,
    empty where an item has one; ``field`` is its channel's. ``escaped``: it is JSON itself.
    """

    name: str
    member: str
    position: str
    field: str
    escaped: bool = False


@dataclass(slots=True)
class Site:
    """One streaming text: ``index`` is its number within its item, the channel's choice the item's.

    ``came`` and ``went`` are its pieces as they were sent and as the client got them, which may be less;
    pieces that say nothing are not kept, of which there may be any number.
    ``reader`` and ``writer`` are set where the text is JSON itself. ``item`` is the item's id, where it has
    one.
    """

    channel: Channel
    kind: Kind
    index: int
    item: Told | Site | None
    reader: EscapeReader | None = None
    writer: EscapeWriter | None = None
    came: list[str] = field(default_factory=list)
    went: list[str] = field(default_factory=list)
    open: bool = True

    @classmethod
    def of(
        cls,
        output: int,
        kind: Kind,
        index: int,
        item: Told | Site | None,
        *,
        replacements: frozenset[str] | None,
    ) -> Site:
        """The site of a text of an item; ``replacements`` is None where that is no JSON."""
        name = f"{index}.{kind.field}" if index else kind.field
        site = cls(Channel(output, name), kind, index, item)
        if replacements is not None:
            site.reader, site.writer = EscapeReader(), EscapeWriter(replacements)
        return site

    @property
    def written(self) -> str:
        """The text as the client got it so far."""
        if len(self.went) > 1:
            # Asked for wherever the text stands again.
            self.went = ["".join(self.went)]
        return self.went[0] if self.went else ""

    def goes(self, spelled: str) -> None:
        """The client gets a piece."""
        if spelled:
            self.went.append(spelled)

    def tail(self, text: str, number: int | None) -> bytes:
        """An event that says nothing but a text of this site."""
        spelled = text if self.writer is None else self.writer.feed(text)
        self.goes(spelled)
        name = f"response.{self.kind.name}.delta".encode()
        members = [b'"type":"%b"' % name]
        if number is not None:
            members.append(b'"sequence_number":%d' % number)
        if self.item is not None:
            members.append(b'"item_id":' + encode_string(self.item.written))
        members.append(b'"output_index":%d' % self.channel.choice)
        if self.kind.position:
            members.append(b'"%b":%d' % (self.kind.position.encode(), self.index))
        members.append(b'"delta":' + encode_string(spelled))
        if self.kind.name == "output_text":
            members.append(b'"logprobs":[]')
        return b"event: %b\ndata: {%b}\n\n" % (name, b",".join(members))


class Numbers:
    """The numbers of events: one of this service's own moves those that follow."""

    __slots__ = ("_last", "_shift")

    def __init__(self) -> None:
        self._shift = 0
        self._last: int | None = None

    @property
    def moved(self) -> bool:
        """Whether events have other numbers than they came with."""
        return self._shift != 0

    def of(self, number: int) -> int:
        """The number of an event that came as ``number``."""
        self._last = number + self._shift
        return self._last

    def own(self) -> int | None:
        """The number of an event of this service's own; None in an answer whose events have none."""
        if self._last is None:
            return None
        self._shift += 1
        self._last += 1
        return self._last


class Place(NamedTuple):
    """A delta's place.

    ``shown`` is the delta's text, ``spelled`` what stands for it where it is not changed: other than the
    text of the document where an escape reaches into the next event and moves there. A piece has a
    ``site``, a whole text has ``told``; ``inner`` marks one that is JSON itself, ``replacements`` are the
    policy's texts that may stand in values' places in it.
    """

    text: Text
    shown: str
    spelled: str
    site: Site | None = None
    told: Told | None = None
    inner: bool = False
    replacements: frozenset[str] = frozenset()

    def written(self, text: str) -> str | None:
        """What must stand here so that it says ``text``; None where it does already. Asked once."""
        if not self.text.end:
            # Of a text that never began.
            return None
        if self.site is not None:
            spelled = text if self.site.writer is None else self.site.writer.feed(text)
            spelled = self.spelled if text == self.shown else spelled
            self.site.goes(spelled)
        else:
            spelled = self.spelled
            if text != self.shown:
                spelled = write_escapes(text, self.replacements) if self.inner else text
            if self.told is not None:
                self.told.written = spelled
        return None if spelled == self.text.value else spelled


class Repeat(NamedTuple):
    """A place where a text stands again."""

    text: Text
    source: Site | Told


class Count(NamedTuple):
    """An event's number, and where it stands in the document."""

    number: int
    start: int
    end: int


class Located(NamedTuple):
    """A frame's token: its bytes, and where its texts and its number stand in them.

    A byte at ``n`` of the document lies at ``base + n`` of ``raw``. ``edits`` are made in any case.
    """

    raw: bytes
    base: int
    places: tuple[Place, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    edits: tuple[Splice, ...] = ()
    counted: Count | None = None

    def with_texts(self, texts: Sequence[str], numbers: Numbers) -> bytes:
        """The bytes with ``texts`` in place of the deltas; the same texts leave them untouched."""
        edits = [*self.edits]
        for place, text in zip(self.places, texts, strict=True):
            written = place.written(text)
            if written is not None:
                edits.append(Splice(place.text.start, place.text.end, encode_string(written)))
        for again, source in self.repeats:
            said = source.written
            if said != again.value:
                edits.append(Splice(again.start, again.end, encode_string(said)))
        if self.counted is not None:
            came, start, end = self.counted
            number = numbers.of(came)
            if number != came:
                edits.append(Splice(start, end, b"%d" % number))
        if not edits:
            return self.raw
        base = self.base
        moved = [Splice(base + start, base + end, written) for start, end, written in edits]
        return splice(self.raw, moved)


class Carried(NamedTuple):
    """The token of a frame of this service's own; not ``moved`` where its text went out already."""

    site: Site
    moved: bool


@dataclass(slots=True)
class Ending:
    """What an event says besides its texts."""

    usage: Usage | None = None
    final: bool = False
    error: bool = False


class Parts:
    """Collects what one document says.

    ``watched``: a guard may change the answer's text. ``named``: whole texts have the fields of their
    places, which in a stream are those of channels that may be open.
    """

    def __init__(self, *, watched: bool, named: bool, replacements: frozenset[str] = frozenset()) -> None:
        self.watched = watched
        self._replacements = replacements
        self.named = named
        self.places: list[tuple[Place, str]] = []
        self.repeats: list[Repeat] = []
        self.edits: list[Splice] = []
        self.ended: list[Site] = []
        self.count: Count | None = None
        self.calls: list[ToolCall] = []

    def piece(self, site: Site, text: Text) -> None:
        """A piece of a site's text."""
        if text.value:
            site.came.append(text.value)
        if site.reader is None:
            place = Place(text, text.value, text.value, site)
        else:
            spelled, shown = site.reader.feed(text.value)
            place = Place(text, shown, spelled if self.watched else text.value, site)
        self.places.append((place, site.channel.field))

    def whole(self, text: Text, told: Told | None, *, name: str = "", inner: bool = False) -> None:
        """A text that is not continued; ``told`` hears what becomes of it."""
        shown = spelled = text.value
        if inner:
            spelled, shown = EscapeReader().feed(text.value, eof=True)
        place = Place(text, shown, spelled if self.watched else text.value, None, told, inner)
        place = place._replace(replacements=self._replacements)
        self.places.append((place, name if name and self.named else ONCE))

    def nothing(self, name: str) -> None:
        """A text that the answer does not have: empty, at no place of the document."""
        self.places.append((Place(Text("", 0, 0), "", ""), name))

    def end(self, site: Site) -> None:
        """No more text of a site comes."""
        if site.open:
            site.open = False
            self.ended.append(site)

    def frames(self, raw: bytes, base: int, ending: Ending, *, texts_max: int) -> list[ResponseFrame]:
        """All of it, as frames of slices of ``raw``. Sites end before the first, whole texts in their own.

        ``texts_max`` is how many texts a frame may have: each has a channel, and of these an exchange has
        few.
        """
        self._tell_first()
        self.places.sort(key=_start)
        frames: list[ResponseFrame] = []
        begin = -base
        for first in range(0, max(len(self.places), 1), texts_max):
            here = self.places[first : first + texts_max]
            last = first + texts_max >= len(self.places)
            end = len(raw) - base if last else here[-1][0].text.end
            frames.append(self._frame(raw, base, here, (begin, end), ending, last=last, first=not first))
            begin = end
        return frames

    def _tell_first(self) -> None:
        """Let a text be told where it stands first, and repeated elsewhere: frames are written in order.

        A document is not walked in the order of its bytes everywhere.
        """
        earliest: dict[int, int] = {}
        for at, again in enumerate(self.repeats):
            key = id(again.source)
            if key not in earliest or again.text.start < self.repeats[earliest[key]].text.start:
                earliest[key] = at
        for number, (place, name) in enumerate(self.places):
            found = None if place.told is None else earliest.get(id(place.told))
            if found is not None and self.repeats[found].text.start < place.text.start:
                again = self.repeats[found]
                self.places[number] = (place._replace(text=again.text), name)
                self.repeats[found] = again._replace(text=place.text)

    def _frame(  # noqa: PLR0913 - all that a slice has.
        self,
        raw: bytes,
        base: int,
        here: Sequence[tuple[Place, str]],
        span: tuple[int, int],
        ending: Ending,
        *,
        first: bool,
        last: bool,
    ) -> ResponseFrame:
        begin, end = span
        channels = [
            Channel(at, name) if place.site is None else place.site.channel
            for at, (place, name) in enumerate(here)
        ]
        once = [channel for channel, (place, _) in zip(channels, here, strict=True) if place.site is None]
        count = self.count if self.count is not None and begin <= self.count.start < end else None
        located = Located(
            raw[base + begin : base + end],
            -begin,
            tuple([place for place, _ in here]),
            tuple([one for one in self.repeats if begin <= one.text.start < end]),
            tuple([one for one in self.edits if begin <= one.start < end]),
            count,
        )
        deltas = [Delta(channel, place.shown) for channel, (place, _) in zip(channels, here, strict=True)]
        return ResponseFrame(
            key=0,
            deltas=tuple(deltas),
            token=located,
            usage=ending.usage if last else None,
            ended=(*([site.channel for site in self.ended] if first else ()), *once),
            final=ending.final and last,
            error=ending.error,
            calls=tuple(self.calls) if first else (),
        )


def _start(placed: tuple[Place, str]) -> int:
    return placed[0].text.start
