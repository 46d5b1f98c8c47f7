"""The answer of OpenAI's chat completions: events or one JSON body, their texts, ends and token counts.

Every string is either of a closed vocabulary (roles, finish reasons, the model's own name), or a delta of
its place's channel. Log probabilities and token ids repeat the answer where no scanner could follow, and
become null wherever a guard may change the text. Sound cannot be read, and makes the answer unreadable.
``finish_reason`` ends the channels of its choice; text that comes after it is none that a server sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs import _triton_http as http
from extproc.codecs._openai_frame import NOWHERE, Carried, FrameParts, KnownRun, Located, Place
from extproc.codecs._openai_message import MessageReader
from extproc.codecs._openai_sites import Sites, tail_document
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta, Usage
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.json_leaves import leaves_of, number_text
from extproc.wire.runs import Run, RunReader, template_of
from extproc.wire.splice import Splice, encode_string, splice
from extproc.wire.sse import SseFrame
from extproc.wire.strict_json import Array, Constant, Number, Object, Text, parse

if TYPE_CHECKING:
    from extproc.codecs._openai_sites import Site
    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

_DONE: Final = b"[DONE]"
_ENVELOPE: Final = ("id", "object", "created", "model", "system_fingerprint")


class AnswerReader:
    """Reads one answer.

    ``tools`` are the names that the caller declared; ``json_answer`` says that the content is JSON itself.
    ``hide_usage``: the client had not asked for token counts. ``watched``: a guard may change the text;
    ``replacements`` are the policy's texts that then stand in values' places.
    """

    def __init__(  # noqa: PLR0913 - all of them are facts of one answer.
        self,
        *,
        model: str,
        tools: frozenset[str],
        json_answer: bool,
        status: int,
        streamed: bool,
        hide_usage: bool,
        watched: bool,
        limits: Limits,
        replacements: frozenset[str] = frozenset(),
    ) -> None:
        self._status = status
        self._hide_usage = hide_usage
        self._watched = watched
        self._limits = limits
        self._sites = Sites(limits, replacements)
        self._message = MessageReader(
            sites=self._sites, model=model, tools=tools, json_answer=json_answer, limits=limits
        )
        self._events: RunReader[Site] | None = RunReader(limits=limits) if streamed else None
        self._body = BoundedBody(
            bytes_max=limits.answer_bytes_max, reason=Reason.UPSTREAM_UNREADABLE, status=502
        )
        self._ended = False
        # The last word was said.
        self._over = False
        self._failure_said = False
        self._counted = Usage(0, 0)
        self._last: tuple[bytes, Object] = (b"", Object({}, 0, 0))

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
            return (self._whole(self._body.take()),) if eof else ()
        frames: list[ResponseFrame] = []
        for event in self._events.feed(chunk, eof=eof):
            if isinstance(event, SseFrame):
                frames += self._event(event)
            else:
                frames.append(self._known(*event))
        if eof and not self._over:
            frames += self._last_frames(Located(b"", (0, 0), b"", (), (), hidden=True), final=False)
        return tuple(frames)

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas; hidden members go."""
        located = frame.token
        if isinstance(located, KnownRun):
            return located.written(texts)
        if isinstance(located, Carried):
            (text,) = texts
            return self.write_tail(located.channel, text) if text and located.moved else b""
        if not isinstance(located, Located) or len(texts) != len(located.places):
            raise AssertionError("a frame of another session")
        return self._write_located(located, texts)

    def _write_located(self, located: Located, texts: tuple[str, ...]) -> bytes:
        if located.hidden:
            return b""
        edits = list(located.edits)
        for place, text in zip(located.places, texts, strict=True):
            if (written := self._rewritten(place, text)) is not None:
                edits.append(Splice(place.text.start, place.text.end, encode_string(written)))
        if not edits and located.span is not None:
            return located.raw
        document = splice(located.document, edits)
        if located.span is not None:
            start, end = located.span
            return located.raw[:start] + document + located.raw[end:]
        return b"data: " + document.replace(b"\n", b"\ndata: ") + b"\n\n"

    def _rewritten(self, place: Place, text: str) -> str | None:
        """What must stand in a place so that it says ``text``; None where it does already."""
        if place is NOWHERE:
            return None
        written = text if place.site is None else place.site.spelled(text)
        if text != place.shown:
            if place.site is None:
                self._sites.rename(place.shown, text)
            return written
        return None if place.spelled == place.text.value else place.spelled

    def write_tail(self, channel: Channel, text: str) -> bytes:
        """An event for text of a channel that was held when the channel or the answer ended."""
        if not self.streamed:
            raise AssertionError("a JSON answer has no tail: its only frame is final")
        document, root = self._last
        members = [root.members[name] for name in _ENVELOPE if name in root.members]
        envelope = [
            document[member.start : member.value.end]
            for member in members
            if self._says_nothing(document, member)
        ]
        return b"data: " + tail_document(self._sites.of(channel), text, envelope) + b"\n\n"

    def _says_nothing(self, document: bytes, member: Member) -> bool:
        match member.value:
            case Text(value=value):
                return self._message.is_technical(member.name, value)
            case Number() as number:
                return number_text(document, number, limits=self._limits) is None
            case Constant():
                return True
            case _:
                return False

    # --- events ----------------------------------------------------------------------------------

    def _known(self, run: Run, site: Site) -> ResponseFrame:
        """Events that are the same as an earlier one but for their text: only that can differ in them."""
        known = KnownRun.of(run, site, watched=self._watched)
        channel, shown = site.channel, known.shown
        if len(shown) == 1:
            # One event is a frame like any other, which costs less than a run of one.
            return ResponseFrame(key=0, deltas=(Delta(channel, shown[0]),), token=known)
        deltas = tuple([Delta(channel, text) for text in shown])
        return ResponseFrame(key=0, deltas=deltas, token=known, is_run=True)

    def _event(self, event: SseFrame) -> list[ResponseFrame]:
        if not event.complete:
            raise http.unreadable("it ends within an event")
        if any(name for name, _ in event.fields):
            raise http.unreadable("an event has fields other than data")
        if event.data is None:
            # Comments keep a connection alive; no client shows them, and no scanner reads them.
            return []
        span = event.data_span if not event.fields else None
        if event.data == _DONE:
            self._over = True
            return self._last_frames(Located(event.raw, span, event.data, (), (), hidden=False), final=True)
        root = self._parse(event.data)
        if oai.is_error(root):
            return [self._failed(event.raw, span, event.data, final=False)]
        return self._document(event.raw, span, event.data, root)

    def _whole(self, body: bytes) -> ResponseFrame:
        if self._status >= http.ERROR_STATUS_MIN and not body:
            located = Located(b"", (0, 0), b"", (), (), hidden=False)
            return ResponseFrame(key=0, deltas=(), token=located, final=True, error=True)
        span = (0, len(body))
        if self._status >= http.ERROR_STATUS_MIN:
            return self._failed(body, span, body, final=True)
        root = self._parse(body)
        if oai.is_error(root):
            return self._failed(body, span, body, final=True)
        (frame,) = self._document(body, span, body, root, final=True)
        return frame

    def _parse(self, document: bytes) -> Object:
        try:
            root = parse(document, limits=self._limits)
        except PeerError as error:
            raise http.unreadable(error.message) from None
        if not isinstance(root, Object):
            raise http.unreadable("it is no JSON object")
        return root

    def _failed(
        self, raw: bytes, span: tuple[int, int] | None, document: bytes, *, final: bool
    ) -> ResponseFrame:
        """A failure that the server reports: each of its strings is scanned, whole."""
        self._failure_said = True
        judged = oai.judged_error(document, self._status, limits=self._limits)
        if judged != document:
            document = judged
            raw, span = (document, (0, len(document))) if final else (b"", None)
        leaves = leaves_of(document, self._parse(document), keys=True, limits=self._limits)
        texts = [leaf for leaf in leaves if leaf.value not in oai.ERROR_KEYS]
        return ResponseFrame(
            key=0,
            deltas=tuple([Delta(Channel(at, oai.ERROR), text.value) for at, text in enumerate(texts)]),
            token=Located(
                raw,
                span,
                document,
                tuple([Place(text, text.value, text.value, None) for text in texts]),
                (),
                hidden=False,
            ),
            final=final,
            error=True,
        )

    # --- documents -------------------------------------------------------------------------------

    def _document(
        self,
        raw: bytes,
        span: tuple[int, int] | None,
        document: bytes,
        root: Object,
        *,
        final: bool = False,
    ) -> list[ResponseFrame]:
        """The frame of a document, behind those of what channels that it ends had not made out."""
        sites_before = len(self._sites)
        parts = FrameParts(document, final=final, watched=self._watched)
        usage = self._usage(root)
        hidden = usage is not None and self._hide_usage and self._has_no_choices(root)
        if not hidden:
            self._message.read_root(parts, root)
            if usage is not None and self._hide_usage:
                parts.drop(root.members["usage"].value)
        self._last = (document, root)
        ended = tuple([site.channel for site in parts.ended] + parts.once)
        frame = ResponseFrame(
            key=0,
            deltas=tuple(parts.deltas),
            token=Located(raw, span, document, tuple(parts.places), tuple(parts.edits), hidden=hidden),
            usage=usage,
            ended=ended,
            final=final,
            calls=tuple(parts.calls),
        )
        if ended or len(self._sites) > sites_before:
            # What a text means may have changed with it.
            self._forget()
        elif (
            usage is None
            and span is not None
            and len(parts.places) == 1
            and not parts.edits
            # Their arguments may be the one text.
            and not parts.calls
        ):
            self._learn(raw, document, parts.places[0])
        return [*self._carried(parts.ended), frame]

    def _last_frames(self, located: Located, *, final: bool) -> list[ResponseFrame]:
        """The answer is over: what that ends, and what never began."""
        carried = self._carried(self._sites.open_ones())
        parts = FrameParts(located.document, final=True, watched=self._watched)
        if not self._failure_said:
            self._message.close(parts)
        if not (final or parts.deltas or parts.calls):
            return carried
        last = ResponseFrame(
            key=0,
            deltas=tuple(parts.deltas),
            token=located._replace(places=tuple(parts.places)),
            ended=tuple(parts.once),
            final=final,
            calls=tuple(parts.calls),
        )
        return [*carried, last]

    def _learn(self, raw: bytes, document: bytes, place: Place) -> None:
        """An event like this one may come as a run: not where what its text says is looked at.

        An empty text may stand where no other may, and a name is put together from its pieces.
        """
        site = place.site
        if site is not None and self._events is not None and place.text.value and site.path[-1] != "name":
            template = template_of(raw, document, place.text.start, place.text.end)
            self._events.learn(template, site)

    def _forget(self) -> None:
        if self._events is not None:
            self._events.forget()

    def _carried(self, sites: list[Site]) -> list[ResponseFrame]:
        """Frames of this service's own for escapes that had begun when their text ended."""
        frames = []
        for site in sites:
            if site.reader is not None and site.reader.begun:
                text = site.reader.feed("", eof=True).text
                delta = Delta(site.channel, text)
                token = Carried(site.channel, self._watched)
                frames.append(ResponseFrame(key=0, deltas=(delta,), token=token))
        return frames

    def _has_no_choices(self, root: Object) -> bool:
        choices = root.members.get("choices")
        return choices is None or (isinstance(choices.value, Array) and not choices.value.items)

    def _usage(self, root: Object) -> Usage | None:
        """What a frame adds; servers that count in every event repeat what they counted before."""
        member = root.members.get("usage")
        if member is None or not isinstance(member.value, Object):
            return None
        tokens_max = self._limits.answer_tokens_max
        counts = {
            name: _count(counted.value, tokens_max)
            for name, counted in member.value.members.items()
            if name in _COUNTS or _is_whole(counted.value)
        }
        seen = Usage(*(counts.get(name, 0) for name in _COUNTS))
        before = self._counted
        self._counted = Usage(
            max(seen.input_tokens, before.input_tokens), max(seen.output_tokens, before.output_tokens)
        )
        return Usage(
            self._counted.input_tokens - before.input_tokens,
            self._counted.output_tokens - before.output_tokens,
        )


_COUNTS: Final = ("prompt_tokens", "completion_tokens")


def _is_whole(value: Value) -> bool:
    return isinstance(value, Number) and isinstance(value.value, int)


def _count(value: Value, tokens_max: int) -> int:
    number = value.value if isinstance(value, Number) else None
    if not isinstance(number, int) or not 0 <= number <= tokens_max:
        raise http.unreadable("a token count is no whole number, or too large")
    return number
