"""Deltas of one text in a row: events that differ in their text and their number, read without parsing.

A template is what stands around both in an event that was read strictly before. Where the string between is
sound and the number a number, an event with the same bytes around them is the same document but for these
two. Whatever does not fit is left to the general reader, which alone says what is wrong.
"""

from __future__ import annotations

import re
from contextlib import suppress
from json import loads
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.wire.json_values import STRING_BODY
from extproc.wire.splice import Splice, encode_string, splice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.codecs._responses_frame import Count, Numbers, Repeat, Site
    from extproc.wire.strict_json import Text

# What a string cannot hold without an escape, and the escapes' own mark.
_SPECIAL: Final = bytes(range(0x20)) + b'"\\'
_SPECIAL_IN: Final = re.compile(rb'[\x00-\x1f"\\]')
_SOUND: Final = re.compile(STRING_BODY)
_DIGITS: Final = re.compile(rb"0|[1-9][0-9]{0,8}")


class Again(NamedTuple):
    """A text that stands in every event of a template: in which of its three pieces of bytes, and where."""

    piece: int
    start: int
    end: int
    repeat: Repeat


class Template(NamedTuple):
    """An event's bytes before, between and after its text and its number; the quotes are part of these."""

    head: bytes
    middle: bytes
    tail: bytes
    number_first: bool
    again: tuple[Again, ...] = ()

    @classmethod
    def of(
        cls, raw: bytes, base: int, text: Text, count: Count, repeats: Sequence[Repeat] = ()
    ) -> Template:
        """The template of an event; ``base`` is where its document begins."""
        said = (base + text.start + 1, base + text.end - 1)
        told = (base + count.start, base + count.end)
        first, second = min(said, told), max(said, told)
        begins = (0, first[1], second[1])
        again = []
        for one in repeats:
            start, end = base + one.text.start, base + one.text.end
            piece = 0 if end <= first[0] else 1 if end <= second[0] else 2
            again.append(Again(piece, start - begins[piece], end - begins[piece], one))
        head, middle, tail = raw[: first[0]], raw[first[1] : second[0]], raw[second[1] :]
        return cls(head, middle, tail, told < said, tuple(again))

    def settled(self) -> Template:
        """The template as the client gets it, once all that stands in it is written."""
        changed = [one for one in self.again if one.repeat.source.written != one.repeat.text.value]
        if not changed:
            return self
        edits: tuple[list[Splice], ...] = ([], [], [])
        for one in changed:
            written = encode_string(one.repeat.source.written)
            edits[one.piece].append(Splice(one.start, one.end, written))
        head, middle, tail = map(splice, self[:3], edits)
        return self._replace(head=head, middle=middle, tail=tail)

    def read_one(self, chunk: bytes, *, event_bytes_max: int) -> tuple[str, int] | None:
        """The text and the number of a chunk that is one event of this template and nothing else.

        None for any other, and where the text has an escape. What ``read_row`` gives of it, and how nearly
        every chunk of an answer comes: a token at a time.
        """
        head, middle, tail, number_first, _ = self
        if not (chunk.startswith(head) and chunk.endswith(tail)) or len(chunk) > event_bytes_max:
            return None
        # Where head and tail overlap nothing is between them, and no middle is found.
        part = chunk[len(head) : len(chunk) - len(tail)]
        if number_first:
            digits, found, body = part.partition(middle)
        else:
            body, found, digits = part.rpartition(middle)
        # No quote in the text: so it ends where it seems to.
        if not found or _DIGITS.fullmatch(digits) is None or _SPECIAL_IN.search(body) is not None:
            return None
        try:
            return body.decode(), int(digits)
        except UnicodeDecodeError:
            return None

    def read_row(self, chunk: bytes, at: int, *, event_bytes_max: int) -> list[Event]:
        """The events of this template that stand at ``at`` in a row, up to the first that is not sound."""
        head, middle, tail, number_first, _ = self
        first = at + len(head)
        end = chunk.find(tail, first)
        if end < 0 or not chunk.startswith(head, at):
            return []
        parts = [chunk[first:end]]
        if chunk.startswith(head, end + len(tail)):
            # Whatever else stands in one of these is no sound text; what follows the last one is cut off.
            parts = chunk[first:].split(tail + head)
            last, found, _ = parts[-1].partition(tail)
            parts[-1:] = [last] if found else []
        part_bytes_max = event_bytes_max - len(head) - len(tail)
        bodies: list[bytes] = []
        numbers: list[int] = []
        for part in parts:
            if number_first:
                digits, found, body = part.partition(middle)
            else:
                body, found, digits = part.rpartition(middle)
            if not found or _DIGITS.fullmatch(digits) is None or len(part) > part_bytes_max:
                break
            bodies.append(body)
            numbers.append(int(digits))
        rows = zip(parts, _read_all(bodies), numbers, strict=False)
        return [Event(head + part + tail, text, number) for part, text, number in rows]

    def written(self, text: str, number: int) -> bytes:
        """The event with a text and a number."""
        body, digits = encode_string(text)[1:-1], b"%d" % number
        first, second = (digits, body) if self.number_first else (body, digits)
        return self.head + first + self.middle + second + self.tail


class Event(NamedTuple):
    """One event of a run."""

    raw: bytes
    text: str
    number: int


class Known:
    """A template and the site of its text: what the next events may be.

    In an answer that is not ``watched`` nothing moves.
    """

    __slots__ = ("_said", "_settled", "_sources", "_watched", "site", "template")

    def __init__(self, template: Template, site: Site, *, watched: bool) -> None:
        self.template = template
        self.site = site
        self._watched = watched
        self._sources = tuple([one.repeat.source for one in template.again])
        # What stood in the settled template when it was made.
        self._said: list[str] = []
        self._settled = template

    def settled(self) -> Template:
        """The template as the client gets it now; itself where that is how it came."""
        if self._sources:
            said = [source.written for source in self._sources]
            if said != self._said:
                self._said, self._settled = said, self.template.settled()
        return self._settled

    def event(self, raw: bytes, text: str, number: int) -> KnownEvent:
        """One event, with its text at the site."""
        site = self.site
        if text:
            site.came.append(text)
        if site.reader is None:
            return KnownEvent(self, raw, number, text, text, text)
        spelled, shown = site.reader.feed(text)
        return KnownEvent(self, raw, number, text, shown, spelled if self._watched else text)

    def run(self, events: Sequence[Event]) -> KnownRun:
        """Events in a row, with their texts at the site."""
        site, came = self.site, tuple([event.text for event in events])
        if said := "".join(came):
            site.came.append(said)
        if site.reader is None:
            return KnownRun(self, tuple(events), came, came, came)
        read = [site.reader.feed(text) for text in came]
        spelled = tuple([one.spelled for one in read]) if self._watched else came
        return KnownRun(self, tuple(events), came, tuple([one.text for one in read]), spelled)


class KnownEvent(NamedTuple):
    """The token of one event; its texts are those that ``KnownRun`` has of each."""

    known: Known
    raw: bytes
    number: int
    came: str
    shown: str
    spelled: str

    def with_texts(self, texts: Sequence[str], numbers: Numbers) -> bytes:
        """The event, so that it says the one text; nothing where there is none."""
        if not texts:
            return b""
        known, raw, came, before = self.known, self.raw, self.number, self.spelled
        template, site = known.settled(), known.site
        text = spelled = texts[0]
        if site.writer is not None:
            spelled = site.writer.feed(text)
        if text == self.shown:
            spelled = before
        site.goes(spelled)
        told = numbers.of(came)
        if spelled == self.came and told == came and template is known.template:
            return raw
        return template.written(spelled, told)


class KnownRun(NamedTuple):
    """The token of events of one template in a row, of which each has a delta.

    ``came`` are their texts, ``shown`` those of the deltas, ``spelled`` what stands for them where they are
    not changed: other than what came where an escape reaches into the next event and moves there.
    """

    known: Known
    events: tuple[Event, ...]
    came: tuple[str, ...]
    shown: tuple[str, ...]
    spelled: tuple[str, ...]

    def with_texts(self, texts: Sequence[str], numbers: Numbers) -> bytes:
        """The first events, so that they say ``texts``."""
        template, site = self.known.settled(), self.known.site
        as_it_came = template is self.known.template
        writer = site.writer
        if as_it_came and writer is None and tuple(texts) == self.came and not numbers.moved:
            # Nearly every run: nothing was found, and nothing was held.
            numbers.of(self.events[-1].number)
            site.goes("".join(self.came))
            return b"".join([event.raw for event in self.events])
        if writer is None and not numbers.moved:
            # Nor is it JSON itself: only the texts may differ.
            if texts:
                numbers.of(self.events[len(texts) - 1].number)
            site.goes("".join(texts))
            return b"".join(
                [
                    raw if as_it_came and text == came else template.written(text, number)
                    for (raw, came, number), text in zip(self.events, texts, strict=False)
                ]
            )
        written = []
        rows = zip(self.events, texts, self.shown, self.spelled, strict=False)
        for (raw, came, number), text, shown, before in rows:
            spelled = text if writer is None else writer.feed(text)
            if text == shown:
                spelled = before
            site.goes(spelled)
            told = numbers.of(number)
            same = as_it_came and spelled == came and told == number
            written.append(raw if same else template.written(spelled, told))
        return b"".join(written)


def _read_all(bodies: Sequence[bytes]) -> list[str]:
    """The texts that bodies spell, up to the first that is no sound string."""
    joined = b"".join(bodies)
    if len(joined.translate(None, _SPECIAL)) == len(joined):
        with suppress(UnicodeDecodeError):
            return [body.decode() for body in bodies]
    texts = []
    for body in bodies:
        text = _read(body)
        if text is None:
            break
        texts.append(text)
    return texts


def _read(body: bytes) -> str | None:
    """The text that a body between quotes spells; None for what is no sound string."""
    try:
        if len(body.translate(None, _SPECIAL)) == len(body):
            return body.decode()
        if _SOUND.fullmatch(body) is None:
            return None
        text = str(loads(b'"' + body + b'"'))
        # A lone surrogate cannot be encoded.
        text.encode()
    except ValueError:
        return None
    return text
