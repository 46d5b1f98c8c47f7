"""What the reader of an OpenAI answer finds in one document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.domain.segment import Channel, Delta
from extproc.wire.runs import write_run
from extproc.wire.splice import Splice
from extproc.wire.strict_json import Constant, Text

if TYPE_CHECKING:
    from extproc.codecs._openai_sites import Site
    from extproc.domain.judging import ToolCall
    from extproc.wire.runs import Run
    from extproc.wire.strict_json import Value

# A text that is whole where it stands (an id, a name): its channel ends with it.
ONCE = "output.once"


class Place(NamedTuple):
    """A delta's place.

    ``shown`` is the delta's text, ``spelled`` what stands for it where it is not changed: other than the
    text of the document where an escape reaches into the next event and moves there. ``site`` is None for a
    whole text.
    """

    text: Text
    shown: str
    spelled: str
    site: Site | None

    @classmethod
    def of(cls, site: Site, text: Text, *, watched: bool, eof: bool = False) -> Place:
        """The place of a piece of a site's text; in an answer that is not ``watched`` nothing moves."""
        if site.reader is None:
            return cls(text, text.value, text.value, site)
        spelled, shown = site.reader.feed(text.value, eof=eof)
        return cls(text, shown, spelled if watched else text.value, site)


# Of a text that the document does not have.
NOWHERE: Final = Place(Text("", 0, 0), "", "", None)


class Located(NamedTuple):
    """A frame's token: its bytes, where its deltas stand in them, and what is edited in any case.

    ``span`` is where ``document`` lies in ``raw``; None where ``raw`` must be built anew. ``hidden``: none
    of it goes on.
    """

    raw: bytes
    span: tuple[int, int] | None
    document: bytes
    places: tuple[Place, ...]
    edits: tuple[Splice, ...]
    hidden: bool


class Carried(NamedTuple):
    """The token of a frame of this service's own; not ``moved`` where its text went out already."""

    channel: Channel
    moved: bool


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

    def written(self, texts: tuple[str, ...]) -> bytes:
        """The first events, so that they say ``texts``."""
        if self.site.reader is None:
            return write_run(self.run, texts)
        spelled = []
        for text, shown, before in zip(texts, self.shown, self.spelled, strict=False):
            written = self.site.spelled(text)
            spelled.append(before if text == shown else written)
        return write_run(self.run, tuple(spelled))


class FrameParts:
    """Collects the parts of one document's frame. With ``final`` every text in it is the last of its site.

    ``watched``: a guard may change the answer's text.
    """

    def __init__(self, document: bytes, *, final: bool, watched: bool) -> None:
        self.document = document
        self.final = final
        self.watched = watched
        self.deltas: list[Delta] = []
        self.places: list[Place] = []
        self.edits: list[Splice] = []
        self.ended: list[Site] = []
        self.once: list[Channel] = []
        self.calls: list[ToolCall] = []

    def streaming(self, site: Site, text: Text, *, last: bool) -> None:
        """A piece of a site's text; ``last`` where the site ends with this frame."""
        place = Place.of(site, text, watched=self.watched, eof=last or self.final)
        site.open = True
        self.deltas.append(Delta(site.channel, place.shown))
        self.places.append(place)

    def whole(self, text: Text) -> None:
        """A text that is not continued."""
        channel = Channel(len(self.once), ONCE)
        self.once.append(channel)
        self.deltas.append(Delta(channel, text.value))
        self.places.append(Place(text, text.value, text.value, None))

    def nothing(self, channel: Channel) -> None:
        """A text that is over and never began: empty, at no place of the document."""
        self.once.append(channel)
        self.deltas.append(Delta(channel, ""))
        self.places.append(NOWHERE)

    def end(self, site: Site) -> None:
        """No more text of a site comes after this frame."""
        if site.open:
            site.open = False
            self.ended.append(site)

    def repeat(self, value: Value) -> None:
        """What repeats the answer where no scanner could follow: null, where one has to."""
        if self.watched:
            self.drop(value)

    def drop(self, value: Value) -> None:
        """Put null in a value's place."""
        if not isinstance(value, Constant) or value.value is not None:
            self.edits.append(Splice(value.start, value.end, b"null"))
