"""The answer of OpenAI's responses: named events or one JSON body, their texts, ends and token counts.

Each event's name and its data's type must agree: some clients go by the one, some by the other. A text's
end is an event of its own, which says all of it again: what is held of it goes out in a delta of this
service's own before that event, and the numbers of the events behind it move. Comments, and a ``[DONE]``
behind the end which some servers send, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs import _triton_http as http
from extproc.codecs._responses_events import Events
from extproc.codecs._responses_frame import Carried, Count, Ending, Located, Numbers, Parts
from extproc.codecs._responses_runs import Event, Known, KnownEvent, KnownRun, Template
from extproc.codecs._responses_walk import NUMBER, Memory, Walk
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.json_leaves import leaves_of
from extproc.wire.sse import SseFrame, SseReader
from extproc.wire.strict_json import Object, Text, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.codecs._responses_frame import Site
    from extproc.codecs._responses_walk import Facts
    from extproc.domain.limits import Limits

_DONE: Final = b"[DONE]"
_EVENT: Final = b"event"
_NAMED: Final = b"event: "
_BLANK: Final = b"\n\n"
_ERROR: Final = "error"
# Keys of an error event that say nothing by themselves.
_ERROR_KEYS: Final = oai.ERROR_KEYS | {"sequence_number"}
# A failure of the server's own, by whatever it calls it: within a stream there is no status that says so.
_SERVER_CODES: Final = frozenset({"", "server_error", "internal_error", "500"})
_DELTA: Final = ".delta"


class AnswerReader:
    """Reads one answer; ``streamed`` says that it comes as events."""

    def __init__(self, facts: Facts, *, status: int, streamed: bool, limits: Limits) -> None:
        self._facts = facts
        self._status = status
        self._limits = limits
        self._says = Events(facts, limits)
        self._numbers = Numbers()
        self._events = SseReader(limits=limits) if streamed else None
        self._known: Known | None = None
        self._body = BoundedBody(
            bytes_max=limits.answer_bytes_max, reason=Reason.UPSTREAM_UNREADABLE, status=502
        )
        self._ended = False

    @property
    def streamed(self) -> bool:
        """Whether the answer comes as events."""
        return self._events is not None

    def read(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """The frames that a chunk completes.

        Raises:
            PeerError: UPSTREAM_UNREADABLE, status 502, for whatever cannot be vouched for.
        """
        if self._ended:
            return ()
        self._ended = eof
        if self._events is None:
            self._body.feed(chunk)
            return tuple(self._whole(self._body.take())) if eof else ()
        if self._known is not None and not eof and self._events.idle:
            alone = self._read_alone(self._known, chunk)
            if alone is not None:
                return (alone,)
        frames: list[ResponseFrame] = []
        run: list[Event] = []
        for event in self._split(self._events, chunk, eof=eof):
            if not isinstance(event, SseFrame):
                run += event
                continue
            self._flush(run, frames)
            frames += self._event(event)
        self._flush(run, frames)
        if eof and not self._says.over:
            frames += self._carried(self._says.open_sites())
            parts = self._parts(named=False)
            self._says.cut(parts)
            if parts.calls:
                frames += parts.frames(b"", 0, Ending(), texts_max=self._limits.channels_max)
        return tuple(frames)

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        token = frame.token
        if isinstance(token, KnownEvent | KnownRun):
            return token.with_texts(texts, self._numbers)
        if isinstance(token, Carried):
            (text,) = texts
            return token.site.tail(text, self._numbers.own()) if text and token.moved else b""
        if not isinstance(token, Located) or len(texts) != len(token.places):
            raise AssertionError("a frame of another session")
        return token.with_texts(texts, self._numbers)

    def write_tail(self, channel: Channel, text: str) -> bytes:
        """An event for text of a channel that was held when the channel or the answer ended."""
        if not self.streamed:
            raise AssertionError("a JSON answer has no tail: its texts end in their own frames")
        return self._says.site_of(*channel).tail(text, self._numbers.own())

    def own_number(self) -> int | None:
        """The number of one more event of this service's own."""
        return self._numbers.own()

    # --- deltas in a row -------------------------------------------------------------------------

    def _split(self, events: SseReader, chunk: bytes, *, eof: bool) -> Iterator[SseFrame | list[Event]]:
        """The events that a chunk completes, known ones in rows; what is learned counts for the next."""
        begun = events.take_back()
        if begun is None:
            yield from events.feed(chunk, eof=eof)
            return
        if begun:
            chunk = begun + chunk
        at = 0
        while chunk.startswith(_NAMED, at):
            known = self._read_known(chunk, at)
            if known:
                at += sum([len(event.raw) for event in known])
                yield known
            if not chunk.startswith(_NAMED, at):
                break
            end = chunk.find(_BLANK, at) + len(_BLANK)
            if end < len(_BLANK):
                break
            raw = chunk[at:end]
            at = end
            yield from events.feed(raw)
            if not events.idle:
                break
        yield from events.feed(chunk[at:], eof=eof)

    def _read_alone(self, known: Known, chunk: bytes) -> ResponseFrame | None:
        """The frame of a chunk that is one known event: what ``_split`` and ``_flush`` would make of it."""
        found = known.template.read_one(chunk, event_bytes_max=self._limits.frame_bytes_max)
        if found is None:
            return None
        text, number = found
        self._says.check_number(number)
        self._says.check_length(len(text))
        token = known.event(chunk, text, number)
        return ResponseFrame(key=0, deltas=(Delta(known.site.channel, token.shown),), token=token)

    def _read_known(self, chunk: bytes, at: int) -> list[Event]:
        if self._known is None:
            return []
        known = self._known.template.read_row(chunk, at, event_bytes_max=self._limits.frame_bytes_max)
        for event in known:
            self._says.check_number(event.number)
        self._says.check_length(sum([len(event.text) for event in known]))
        return known

    def _flush(self, run: list[Event], frames: list[ResponseFrame]) -> None:
        """What was read in a row becomes a frame: only its texts and numbers can differ in it."""
        if not run or self._known is None:
            return
        known, channel = self._known, self._known.site.channel
        if len(run) == 1:
            # One event is a frame like any other, which costs less than a run of one.
            token = known.event(*run[0])
            frames.append(ResponseFrame(key=0, deltas=(Delta(channel, token.shown),), token=token))
        else:
            row = known.run(run)
            deltas = tuple([Delta(channel, text) for text in row.shown])
            frames.append(ResponseFrame(key=0, deltas=deltas, token=row, is_run=True))
        run.clear()

    # --- events ----------------------------------------------------------------------------------

    def _event(self, event: SseFrame) -> list[ResponseFrame]:
        if not event.complete:
            raise http.unreadable("it ends within an event")
        names = [(name, value) for name, value in event.fields if name]
        if event.data is None and not names:
            # Comments keep a connection alive; no client shows them, and no scanner reads them.
            return []
        if event.data == _DONE and self._says.over and not names:
            return []
        if event.data is None or len(names) > 1 or any(name != _EVENT for name, _ in names):
            raise http.unreadable("an event has no data, or other fields")
        return self._named(event, names[0][1] if names else b"", event.data)

    def _named(self, event: SseFrame, name: bytes, document: bytes) -> list[ResponseFrame]:
        kind = name.decode(errors="replace")
        root = self._parse(document)
        if kind == _ERROR or _kind_of(root) == _ERROR or oai.is_error(root):
            return self._failed_event(root)
        if not kind or _kind_of(root) != kind:
            raise http.unreadable("an event's name and type differ")
        if event.data_span is not None and len(event.fields) == 1:
            raw, base = event.raw, event.data_span[0]
        else:
            # Without its comments, and in one line: line ends within a JSON document are only space.
            prefix = b"event: " + name + b"\ndata: "
            raw, base = prefix + document.replace(b"\n", b" ") + b"\n\n", len(prefix)
        parts = self._parts(named=False)
        ending = self._says.read(kind, document, root, parts)
        carried = self._carried(parts.ended)
        self._learn(kind, raw, base, parts)
        return [*carried, *parts.frames(raw, base, ending, texts_max=self._limits.channels_max)]

    def _learn(self, kind: str, raw: bytes, base: int, parts: Parts) -> None:
        """A delta in which nothing else can change may come in a row."""
        self._known = None
        if not kind.endswith(_DELTA) or len(parts.places) != 1 or parts.count is None or parts.edits:
            return
        if not raw.startswith(_NAMED):
            # Its name stands behind its text.
            return
        ((place, _),) = parts.places
        if place.site is not None:
            template = Template.of(raw, base, place.text, parts.count, parts.repeats)
            self._known = Known(template, place.site, watched=self._facts.watched)

    def _carried(self, sites: list[Site]) -> list[ResponseFrame]:
        """Frames of this service's own for escapes that had begun when their text ended."""
        frames = []
        for site in sites:
            if site.reader is not None and site.reader.begun:
                delta = Delta(site.channel, site.reader.feed("", eof=True).text)
                token = Carried(site, self._facts.watched)
                frames.append(ResponseFrame(key=0, deltas=(delta,), token=token))
        return frames

    # --- one body, and failures ------------------------------------------------------------------

    def _whole(self, body: bytes) -> list[ResponseFrame]:
        texts_max = self._limits.channels_max
        parts = self._parts(named=True)
        failed = self._status >= http.ERROR_STATUS_MIN
        if failed and not body:
            return parts.frames(body, 0, Ending(final=True, error=True), texts_max=texts_max)
        root = None if failed else self._parse(body)
        if root is not None and _text_of(root, "object") == "response":
            ending = self._says.read_whole(body, root, parts)
            return parts.frames(body, 0, ending, texts_max=texts_max)
        if root is not None and not oai.is_error(root):
            raise http.unreadable("it is no response")
        judged = oai.judged_error(body, self._status, limits=self._limits)
        self._error_texts(judged, parts)
        return parts.frames(judged, 0, Ending(final=True, error=True), texts_max=texts_max)

    def _failed_event(self, root: Object) -> list[ResponseFrame]:
        """A failure that the server reports within a stream, which ends with it.

        Whatever its form, it goes on as an event at which OpenAI's package raises, with the server's own
        message unless that tells of its inside.
        """
        if self._says.over:
            raise http.unreadable("its events are out of order")
        self._says.over = True
        self._known = None
        inside = root.members.get(_ERROR)
        holder = inside.value if inside is not None and isinstance(inside.value, Object) else root
        message, code = _text_of(holder, "message"), _text_of(holder, "code")
        server = code in _SERVER_CODES
        status = http.SERVER_ERROR_STATUS_MIN if server else http.ERROR_STATUS_MIN
        if not message or any(http.must_withhold(text, status) for text in (message, code)):
            message, code = http.WITHHELD, "upstream_error"
        parts = self._parts(named=False)
        number = Walk(b"", parts, self._facts, Memory(self._limits), self._limits).count_in(root)
        self._says.check_number(number)
        document = error_event(oai.error_document(message, "server_error", code), number)
        if number is not None:
            start = document.index(b":", document.index(NUMBER.encode())) + 1
            parts.count = Count(number, start, start + len(b"%d" % number))
        self._error_texts(document, parts)
        prefix = b"event: error\ndata: "
        ending = Ending(final=True, error=True)
        raw = prefix + document + b"\n\n"
        return parts.frames(raw, len(prefix), ending, texts_max=self._limits.channels_max)

    def _error_texts(self, document: bytes, parts: Parts) -> None:
        """Each string of an error, whole."""
        for leaf in leaves_of(document, self._parse(document), keys=True, limits=self._limits):
            if leaf.value and leaf.value not in _ERROR_KEYS:
                parts.whole(leaf, None)

    def _parts(self, *, named: bool) -> Parts:
        facts = self._facts
        return Parts(watched=facts.watched, named=named, replacements=facts.replacements)

    def _parse(self, document: bytes) -> Object:
        try:
            root = parse(document, limits=self._limits)
        except PeerError as error:
            raise http.unreadable(error.message) from None
        if not isinstance(root, Object):
            raise http.unreadable("it is no JSON object")
        return root


def error_event(document: bytes, number: int | None) -> bytes:
    """An error's document as an event's: OpenAI's package raises at its ``error``."""
    numbered = b"" if number is None else b'"sequence_number":%d,' % number
    return b'{"type":"error",' + numbered + document.removeprefix(b"{")


def _kind_of(root: Object) -> str:
    return _text_of(root, "type")


def _text_of(root: Object, name: str) -> str:
    member = root.members.get(name)
    return member.value.value if member is not None and isinstance(member.value, Text) else ""
