"""The answer of Anthropic's messages: named events or one JSON body, their texts, ends and token counts.

Each event's name and its data's type must agree: some clients go by the one, some by the other. A block's
end ends its text: what is held of it goes out in a delta of this service's own before that event. Comments
and a ``[DONE]`` behind the end, which older servers send, are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _anthropic_http as anthropic
from extproc.codecs import _triton_http as http
from extproc.codecs._anthropic_frame import Carried, Located, Parts, Place, Site
from extproc.codecs._anthropic_message import Facts, MessageReader
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.json_leaves import leaves_of
from extproc.wire.sse import SseReader
from extproc.wire.strict_json import Object, Text, parse

if TYPE_CHECKING:
    from extproc.domain.limits import Limits
    from extproc.wire.sse import SseFrame

_DONE: Final = b"[DONE]"
_EVENT: Final = b"event"
_DELTA: Final = "content_block_delta"
_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*+')


class Shape(NamedTuple):
    """An event in which only the one text varied: its name, and all that stands around the text."""

    fields: tuple[tuple[bytes, bytes], ...]
    prefix: bytes
    suffix: bytes
    site: Site


class AnswerReader:
    """Reads one answer; ``streamed`` says that it comes as events."""

    def __init__(self, facts: Facts, *, status: int, streamed: bool, limits: Limits) -> None:
        self._facts = facts
        self._status = status
        self._limits = limits
        self._message = MessageReader(facts, limits)
        self._events = SseReader(limits=limits) if streamed else None
        self._body = BoundedBody(
            bytes_max=limits.answer_bytes_max, reason=Reason.UPSTREAM_UNREADABLE, status=502
        )
        self._shape: Shape | None = None
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
            known = self._known(event, self._shape) if self._shape is not None else None
            if known is not None:
                frames.append(known)
            else:
                frames += self._event(event)
        if eof and not self._message.over:
            frames += self._carried(self._message.open_sites())
        return tuple(frames)

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        token = frame.token
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

    def _known(self, event: SseFrame, shape: Shape) -> ResponseFrame | None:
        """The fast path: an event that is the same as the last one but for its text.

        All bytes around the text are equal, and the text is one sound string: so the document has the same
        structure, of which only that string can differ.
        """
        document = event.data
        if document is None or event.data_span is None or event.fields != shape.fields:
            return None
        start, end = len(shape.prefix) - 1, len(document) - len(shape.suffix) + 1
        if end - start <= 1 or not event.complete:
            return None
        if not (document.startswith(shape.prefix) and document.endswith(shape.suffix)):
            return None
        text = self._string(document, start, end)
        if text is None:
            return None
        place = Place.at(shape.site, text, watched=self._facts.watched)
        return ResponseFrame(
            key=0,
            deltas=(Delta(shape.site.channel, place.shown),),
            token=Located(event.raw, event.data_span[0], (place,)),
        )

    def _string(self, document: bytes, start: int, end: int) -> Text | None:
        """The string that fills a span of the document; None where it is anything else."""
        try:
            if _PLAIN.fullmatch(document, start + 1, end - 1) is not None:
                return Text(document[start + 1 : end - 1].decode(), start, end)
            value = parse(document[start:end], limits=self._limits)
        except (PeerError, UnicodeDecodeError):
            # The general reader will say what is wrong.
            return None
        return Text(value.value, start, end) if isinstance(value, Text) else None

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
        kind = names[0][1].decode(errors="replace")
        raw, base, document = event.raw, 0, event.data
        if event.data_span is not None and len(event.fields) == 1:
            base = event.data_span[0]
        else:
            # Without its comments, and in one line: line ends within a JSON document are only space.
            prefix = b"event: " + names[0][1] + b"\ndata: "
            document = document.replace(b"\n", b" ")
            raw, base = prefix + document + b"\n\n", len(prefix)
        root = self._parse(document)
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
        self._shape = None
        if kind == _DELTA and raw is event.raw and len(parts.places) == 1:
            self._shape = self._shape_of(event, parts.places[0])
        return [*carried, frame]

    def _shape_of(self, event: SseFrame, place: Place) -> Shape | None:
        if place.site is None or event.data is None:
            return None
        text = place.text
        return Shape(event.fields, event.data[: text.start + 1], event.data[text.end - 1 :], place.site)

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
            return self._error_parts(judged).frames(judged, error=True)
        parts = Parts(watched=self._facts.watched)
        usage = self._message.read_whole(body, root, parts)
        return parts.frames(body, usage=usage)

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
