"""The answers of ModelInfer and ModelStreamInfer: whose they are, their texts and their token counts.

Triton repeats a request's id in each response, and clients give one id to several requests or none at all.
So on a stream every request goes on under an id of this service's own, by which its responses are known;
each response goes back under the client's. A request also goes on with the wish for an empty final
response, for a model may end its answer without one that has outputs; what the client had not asked for
is taken out again.

What a response is made of: ``_kgrpc_parts``. An error's text is scanned like any other, and reworded where
it shows the server's inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs import _triton_http as http
from extproc.codecs._kgrpc_edits import parameter
from extproc.codecs._kgrpc_heads import Heads, Located, Run, raw_string, written
from extproc.codecs._kgrpc_parts import FINAL, INPUT_COUNT, OUTPUT_COUNT, Asked, Parts
from extproc.codecs._kserve_tensors import BYTES
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta, Usage
from extproc.wire.grpc_frames import framed
from extproc.wire.protobuf_fields import (
    Edit,
    FieldReader,
    spliced,
    tagged_bytes,
    tagged_varint,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.codecs._kgrpc_parts import Put
    from extproc.domain.limits import Limits

ERROR: Final = "error"
# What Triton writes before an error where a request has no id.
_NO_ID: Final = "<id_unknown>"


class _Spliced(NamedTuple):
    """A frame's token in every other case: each text with what puts another one in its place."""

    response: bytes
    edits: tuple[Edit, ...]
    texts: tuple[tuple[str, Put], ...]


class _Failed(NamedTuple):
    """The token of an error: its text, and the response beside it, if any."""

    text: str
    beside: bytes


class _Silent(NamedTuple):
    """The token of a frame of which goes out what stands here."""

    written: bytes


_NOTHING: Final = _Silent(b"")


class AnswerReader:
    """Reads the responses of one stream, or the one of a unary call."""

    def __init__(self, *, streamed: bool, limits: Limits) -> None:
        self._streamed = streamed
        self._limits = limits
        self._asked: dict[str, Asked] = {}
        self._by_key: dict[int, Asked] = {}
        self._ended: list[Asked] = []
        # Keys of requests that were told of an error, and whose rest is not written.
        self._told: set[int] = set()
        self._heads = Heads()

    @property
    def open_requests(self) -> tuple[Asked, ...]:
        """Requests whose answer is not at its end, in order."""
        return tuple(self._asked.values())

    def ask(self, asked: Asked) -> None:
        """A request has gone on."""
        self._asked[asked.sent_id] = asked
        self._by_key[asked.key] = asked

    def read(self, payloads: Sequence[bytes]) -> list[ResponseFrame]:
        """The frames of messages.

        Raises:
            PeerError: UPSTREAM_UNREADABLE, status 502, for whatever cannot be vouched for.
        """
        self._forget_ended()
        frames: list[ResponseFrame] = []
        at = 0
        try:
            while at < len(payloads):
                run = self._heads.run(payloads, at)
                if run is None:
                    frames.append(self._quick(payloads[at]) or self._slow(payloads[at]))
                    at += 1
                else:
                    frames.append(_run_frame(run))
                    at += len(run.texts)
        except PeerError as error:
            # Nothing of it goes on: those that ended in it are still owed an end.
            self._asked |= {asked.sent_id: asked for asked in self._ended}
            raise http.unreadable(error.message) from None
        return frames

    def fail(self, asked: Asked, text: str) -> ResponseFrame:
        """The frame of a request that its call's end cuts off; ``text`` is what that says."""
        deltas = (Delta(Channel(0, ERROR), text),) if text else ()
        self._end(asked)
        return ResponseFrame(key=asked.key, deltas=deltas, token=_NOTHING, final=True, error=True)

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        match frame.token:
            case Run() as run:
                return run.written(texts)
            case Located() as token:
                return written(token, texts)
            case _Spliced(response, edits, own):
                changed = [
                    put.edit(text) for (before, put), text in zip(own, texts, strict=True) if text != before
                ]
                return self._framed(spliced(response, (*edits, *changed)))
            case _Failed(text, beside):
                told = texts[0] if texts else text
                return framed(tagged_bytes(wire.ERROR_MESSAGE, told.encode()) + beside)
            case _Silent(out):
                return out
            case _:
                raise AssertionError("a frame of another session")

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:
        """A response of this service's own for text that was held when its channel ended."""
        asked = self._by_key[key]
        if not self._streamed:
            raise AssertionError("a unary answer has no tail: its only frame is final")
        name, element = asked.outputs[channel]
        # The text stands at its element's place, as in the responses before it.
        strings = [b""] * element + [text.encode()]
        output = (
            tagged_bytes(wire.NAME, asked.names.get(name, name).encode())
            + tagged_bytes(wire.DATATYPE, BYTES.encode())
            + tagged_bytes(wire.SHAPE, varint(len(strings)))
        )
        return self._framed(
            _named(asked)
            + parameter(wire.PARAMETERS, FINAL, tagged_varint(wire.BOOL_PARAM, 0))
            + tagged_bytes(wire.RESPONSE_OUTPUTS, output)
            + tagged_bytes(wire.RAW_OUTPUTS, b"".join(map(raw_string, strings)))
        )

    def refusal(self, key: int, message: str) -> bytes:
        """An error in place of what else an open request would be answered."""
        self._told.add(key)
        return _refused(self._by_key[key], message)

    def refusals(self, message: str) -> bytes:
        """An error for each request that is open and was not told of one, in place of all that may follow.

        Of the stream itself where there is none.
        """
        untold = [asked for asked in self._asked.values() if asked.key not in self._told]
        told = [_refused(asked, asked.refused or message) for asked in untold]
        return b"".join(told) or framed(tagged_bytes(wire.ERROR_MESSAGE, message.encode()))

    def _quick(self, payload: bytes) -> ResponseFrame | None:
        """The frame of a message whose like was seen before; None where the message has to be read."""
        quick = self._heads.read(payload)
        if quick is None:
            return None
        head = quick.located.head
        return self._frame(head.asked, quick.deltas, quick.located, counts=quick.counts, final=head.final)

    def _slow(self, payload: bytes) -> ResponseFrame:
        error: str | None = None
        response = payload
        if self._streamed:
            outer = FieldReader(payload, limits=self._limits)
            message = outer.read(wire.STREAM_RESPONSE)
            told, holder = message.one(wire.ERROR_MESSAGE), message.one(wire.INFER_RESPONSE)
            if holder is None:
                raise http.unreadable("it belongs to no request")
            error = outer.text(told, "an error") if told is not None else None
            response = payload[holder.start : holder.end]
        reader = FieldReader(response, limits=self._limits)
        inner = reader.read(wire.RESPONSE)
        asked = self._asked.get(reader.text(inner.one(wire.ID), "id"))
        if asked is None:
            raise http.unreadable("it belongs to no request")
        if asked.refused is not None:
            self._end(asked)
            token = _Silent(_refused(asked, asked.refused))
            return ResponseFrame(key=asked.key, deltas=(), token=token, final=True)
        parts = Parts(reader, inner, asked, self._limits)
        if error is not None:
            return self._failed(parts, error)
        parts.read_outputs()
        final = parts.final is True or not self._streamed
        if self._streamed and parts.is_empty_final and not asked.wants_final:
            # The wish for it was this service's own: otherwise Triton sends nothing.
            return self._frame(asked, (), _NOTHING, counts={}, final=final)
        if self._streamed:
            self._heads.remember(parts, final=final)
        spliced_in = _Spliced(response, tuple(parts.edits), tuple(parts.texts))
        return self._frame(
            asked, parts.deltas, spliced_in, counts=parts.counts, final=final, once=tuple(parts.once)
        )

    def _failed(self, parts: Parts, error: str) -> ResponseFrame:
        """An error of one request; its last word unless Triton says that more will come."""
        asked = parts.asked
        if parts.texts or parts.inner.many(wire.RESPONSE_OUTPUTS):
            raise http.unreadable("an error has outputs")
        text = error.replace(asked.sent_id, asked.client_id or _NO_ID) if asked.sent_id else error
        if http.must_withhold(text, 200):
            text = http.WITHHELD
        beside = tagged_bytes(wire.INFER_RESPONSE, spliced(parts.reader.document, parts.edits))
        final = parts.final is not False
        if final:
            self._end(asked)
        return ResponseFrame(
            key=asked.key,
            deltas=(Delta(Channel(0, ERROR), text),),
            token=_Failed(text, beside),
            final=final,
            error=True,
        )

    def _frame(  # noqa: PLR0913 - all of them are facts of one frame.
        self,
        asked: Asked,
        deltas: Sequence[Delta],
        token: object,
        *,
        counts: dict[str, int],
        final: bool,
        once: tuple[Channel, ...] = (),
    ) -> ResponseFrame:
        usage = self._usage(asked, counts) if counts else None
        if final:
            self._end(asked)
        return ResponseFrame(
            key=asked.key, deltas=tuple(deltas), token=token, usage=usage, ended=once, final=final
        )

    def _usage(self, asked: Asked, counts: dict[str, int]) -> Usage:
        """What a frame adds: output counts are per response, the input count repeats in each."""
        added = max(counts.get(INPUT_COUNT, 0) - asked.input_counted, 0)
        output = counts.get(OUTPUT_COUNT, 0)
        asked.input_counted += added
        asked.output_counted += output
        if max(asked.input_counted, asked.output_counted) > self._limits.answer_tokens_max:
            raise http.unreadable("a token count is too large")
        return Usage(added, output)

    def _framed(self, response: bytes) -> bytes:
        return framed(tagged_bytes(wire.INFER_RESPONSE, response) if self._streamed else response)

    def _end(self, asked: Asked) -> None:
        """No further response belongs to it. It is forgotten later: its last frame is not written yet."""
        self._asked.pop(asked.sent_id, None)
        self._ended.append(asked)
        self._heads.forget(asked)

    def _forget_ended(self) -> None:
        for asked in self._ended:
            self._by_key.pop(asked.key, None)
            self._told.discard(asked.key)
        self._ended.clear()


def _run_frame(run: Run) -> ResponseFrame:
    texts = run.texts
    if len(texts) == 1:
        # One message is a frame like any other, which costs less than a run of one.
        return ResponseFrame(run.key, (Delta(run.channel, texts[0]),), run)
    deltas = tuple([Delta(run.channel, text) for text in texts])
    return ResponseFrame(key=run.key, deltas=deltas, token=run, is_run=True)


def _named(asked: Asked) -> bytes:
    """What a response says of its request."""
    named = tagged_bytes(wire.MODEL_NAME, asked.model.encode()) if asked.model else b""
    if asked.version:
        named += tagged_bytes(wire.MODEL_VERSION, asked.version.encode())
    return named + (tagged_bytes(wire.ID, asked.client_id.encode()) if asked.client_id else b"")


def _refused(asked: Asked, message: str) -> bytes:
    """An error as Triton has it in a stream."""
    beside = _named(asked) + parameter(wire.PARAMETERS, FINAL, tagged_varint(wire.BOOL_PARAM, 1))
    return framed(
        tagged_bytes(wire.ERROR_MESSAGE, message.encode()) + tagged_bytes(wire.INFER_RESPONSE, beside)
    )
