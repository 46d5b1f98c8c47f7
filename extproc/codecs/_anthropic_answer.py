"""The answer of Anthropic's messages: named events or one JSON body, their texts, ends and token counts.

Each event's name and its data's type must agree: some clients go by the one, some by the other. A block's
end ends its text: what is held of it goes out in a delta of this service's own before that event, and what
is split over two blocks is two texts. Comments, and a ``[DONE]`` behind the end which older servers send,
are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.codecs import _anthropic_http as anthropic
from extproc.codecs import _triton_http as http
from extproc.codecs._anthropic_frame import Carried, KnownRun, Located, Parts
from extproc.codecs._anthropic_message import Facts, MessageReader
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.json_leaves import leaves_of
from extproc.wire.runs import Run, RunReader, template_of
from extproc.wire.sse import SseFrame
from extproc.wire.strict_json import Object, Text, parse

if TYPE_CHECKING:
    from extproc.codecs._anthropic_frame import Place, Site
    from extproc.domain.limits import Limits

_DONE: Final = b"[DONE]"
_EVENT: Final = b"event"
_DELTA: Final = "content_block_delta"


class AnswerReader:
    """Reads one answer; ``streamed`` says that it comes as events."""

    def __init__(self, facts: Facts, *, status: int, streamed: bool, limits: Limits) -> None:
        self._facts = facts
        self._status = status
        self._limits = limits
        self._message = MessageReader(facts, limits)
        self._events: RunReader[Site] | None = RunReader(limits=limits, named=True) if streamed else None
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
        # What ended in the last chunk is written by now.
        self._message.forget_ended()
        frames: list[ResponseFrame] = []
        for event in self._events.feed(chunk, eof=eof):
            if isinstance(event, SseFrame):
                frames += self._event(event)
            else:
                frames.append(self._known(*event))
        if eof and not self._message.over:
            frames += self._carried(self._message.open_sites())
            parts = Parts(watched=self._facts.watched)
            self._message.end_blocks(parts)
            if parts.calls:
                frames.append(parts.frame(b"", 0))
        return tuple(frames)

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        token = frame.token
        if isinstance(token, KnownRun):
            return token.with_texts(texts)
        if isinstance(token, Carried):
            (text,) = texts
            return token.site.tail(text) if text and token.moved else b""
        if not isinstance(token, Located) or len(texts) != len(token.places):
            raise AssertionError("a frame of another session")
        return token.with_texts(texts)

    def write_tail(self, channel: Channel, text: str) -> bytes:
        """An event for text of a channel that was held when the channel or the answer ended."""
        if not self.streamed:
            raise AssertionError("a JSON answer has no tail: its texts end in their own frames")
        return self._message.site_of(*channel).tail(text)

    # --- events ----------------------------------------------------------------------------------

    def _known(self, run: Run, site: Site) -> ResponseFrame:
        """Events that are the same as an earlier one but for their text: only that can differ in them."""
        known = KnownRun.of(run, site, watched=self._facts.watched)
        channel, shown = site.channel, known.shown
        if len(shown) == 1:
            # One event is a frame like any other, which costs less than a run of one.
            return ResponseFrame(key=0, deltas=(Delta(channel, shown[0]),), token=known)
        deltas = tuple([Delta(channel, text) for text in shown])
        return ResponseFrame(key=0, deltas=deltas, token=known, is_run=True)

    def _event(self, event: SseFrame) -> list[ResponseFrame]:
        if not event.complete:
            raise http.unreadable("it ends within an event")
        names = [(name, value) for name, value in event.fields if name]
        if event.data is None and not names:
            # Comments keep a connection alive; no client shows them, and no scanner reads them.
            return []
        if self._message.over and event.data == _DONE and not names:
            return []
        if event.data is None or len(names) != 1 or names[0][0] != _EVENT:
            raise http.unreadable("an event has no data, no name, or other fields")
        return self._named(event, names[0][1], event.data)

    def _named(self, event: SseFrame, name: bytes, document: bytes) -> list[ResponseFrame]:
        # As it came: a line end within a string is no JSON.
        root = self._parse(document)
        if event.data_span is not None and len(event.fields) == 1:
            raw, base = event.raw, event.data_span[0]
        else:
            # Without its comments, and in one line: line ends within a JSON document are only space.
            prefix = b"event: " + name + b"\ndata: "
            document = document.replace(b"\n", b" ")
            raw, base = prefix + document + b"\n\n", len(prefix)
        kind = name.decode(errors="replace")
        if anthropic.is_error(root) or kind == anthropic.ERROR:
            return self._failed_event(kind, raw, base, document)
        named = root.members.get("type")
        if named is None or not isinstance(named.value, Text) or named.value.value != kind:
            raise http.unreadable("an event's name and type differ")
        parts = Parts(watched=self._facts.watched)
        usage = self._message.read_event(kind, document, root, parts)
        carried = self._carried(parts.ended)
        frame = parts.frame(raw, base, usage=usage, final=self._message.over)
        if self._message.over:
            carried += self._carried(self._message.open_sites())
        if kind != _DELTA:
            # What a delta means has changed with it.
            self._forget()
        elif len(parts.places) == 1:
            self._learn(raw, document, parts.places[0])
        return [*carried, frame]

    def _learn(self, raw: bytes, document: bytes, place: Place) -> None:
        if place.site is not None and self._events is not None:
            start, end = place.text.start, place.text.end
            template = template_of(raw, document, start, end, name=_DELTA.encode())
            self._events.learn(template, place.site)

    def _forget(self) -> None:
        if self._events is not None:
            self._events.forget()

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
        failed = self._status >= http.ERROR_STATUS_MIN
        if failed and not body:
            return [ResponseFrame(key=0, deltas=(), token=Located(b"", 0, ()), final=True, error=True)]
        root = None if failed else self._parse(body)
        if root is None or anthropic.is_error(root):
            judged = anthropic.judged_error(body, self._status, limits=self._limits)
            texts_max = self._limits.channels_max
            return self._error_parts(judged).frames(judged, texts_max=texts_max, error=True)
        parts = Parts(watched=self._facts.watched)
        usage = self._message.read_whole(body, root, parts)
        return parts.frames(body, texts_max=self._limits.channels_max, usage=usage)

    def _failed_event(self, kind: str, raw: bytes, base: int, document: bytes) -> list[ResponseFrame]:
        """A failure that the server reports within a stream, which ends with it."""
        if self._message.over:
            raise http.unreadable("its events are out of order")
        self._message.over = True
        judged = anthropic.judged_error(document, self._status, limits=self._limits)
        if judged != document or kind != anthropic.ERROR:
            prefix = b"event: error\ndata: "
            raw, base = prefix + judged + b"\n\n", len(prefix)
        return [self._error_parts(judged).frame(raw, base, final=True, error=True)]

    def _error_parts(self, document: bytes) -> Parts:
        """Each string of an error, whole."""
        parts = Parts(watched=self._facts.watched)
        for leaf in leaves_of(document, self._parse(document), keys=True, limits=self._limits):
            if leaf.value not in anthropic.ERROR_KEYS:
                parts.whole(leaf)
        return parts

    def _parse(self, document: bytes) -> Object:
        try:
            root = parse(document, limits=self._limits)
        except PeerError as error:
            raise http.unreadable(error.message) from None
        if not isinstance(root, Object):
            raise http.unreadable("it is no JSON object")
        return root
