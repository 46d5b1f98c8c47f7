"""The answer of Triton's generate extension: SSE events or one JSON body, their texts and token counts.

Every string of an event is output text and is scanned, each output in a channel of its own; so are names of
outputs, and numbers too long to be quantities. Only what the codec knows to be technical is not: the
model's own name, its version, a finish reason. Success is never inferred from the status: Triton reports
errors in events and bodies of a 200 too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, assert_never

from extproc.codecs import _triton_http as http
from extproc.codecs._triton_fields import REPEATED_OUTPUTS, SPELLED_OUTPUTS
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta, Usage
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.json_leaves import key_text, number_text
from extproc.wire.runs import Run, RunReader, template_of, write_one, write_run
from extproc.wire.splice import Splice, encode_string, remove_members, splice
from extproc.wire.sse import SseFrame
from extproc.wire.strict_json import Array, Constant, Number, Object, Text, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

TEXT_OUTPUT = "text_output"
ERROR = "error"
INPUT_COUNT, OUTPUT_COUNT = "num_input_tokens", "num_output_tokens"
_COUNTS = frozenset({INPUT_COUNT, OUTPUT_COUNT})
_FINISH_REASONS = frozenset({"None", "stop", "length", "abort", "error", "tool_calls"})
_VERSION = re.compile(r"[0-9]{1,10}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_KNOWN_NAMES = frozenset(
    {
        *("id", "model_name", "model_version", "finish_reason", "cumulative_logprob", "stop_reason"),
        *(
            "sequence_id",
            "sequence_start",
            "sequence_end",
            "sequence_length",
            *SPELLED_OUTPUTS,
        ),
        *("cum_log_probs", "output_log_probs", "batch_index", "sequence_index"),
        *(TEXT_OUTPUT, ERROR, INPUT_COUNT, OUTPUT_COUNT, *REPEATED_OUTPUTS),
    }
)
# Any other output's place: its name is not of a closed vocabulary. The channel's choice tells them apart.
OTHER_OUTPUT = "output.*"
# A text that is whole where it stands: a name, a long number.
ONCE = "output.once"


class Located(NamedTuple):
    """A frame's token: its bytes, and where in them the texts of its deltas stand.

    ``span`` is where ``document`` lies in ``raw``; None where ``raw`` must be built anew.
    """

    raw: bytes
    span: tuple[int, int] | None
    document: bytes
    root: Object
    texts: tuple[Text, ...]
    hidden: bool


class _Parts(NamedTuple):
    """The texts of a frame with their deltas, and the channels of those that are whole where they stand."""

    texts: list[Text]
    deltas: list[Delta]
    once: list[Channel]

    def add(self, channel: Channel, text: Text) -> None:
        """A piece of a channel's text."""
        self.texts.append(text)
        self.deltas.append(Delta(channel, text.value))

    def whole(self, text: Text) -> None:
        """A text that is not continued."""
        channel = Channel(len(self.once), ONCE)
        self.once.append(channel)
        self.add(channel, text)


class AnswerReader:
    """Reads one answer.

    ``hidden`` names members that are taken out: the client had not asked for them, or they are no text
    and say it again; ``sent_id`` is what the forwarded
    request was called, which Triton may repeat.
    """

    def __init__(  # noqa: PLR0913 - all of them are facts of one answer.
        self,
        *,
        model: str,
        sent_id: str,
        status: int,
        streamed: bool,
        hidden: frozenset[str],
        limits: Limits,
    ) -> None:
        self._model = model
        self._sent_id = sent_id
        self._version = ""
        self._status = status
        self._hidden = hidden | REPEATED_OUTPUTS
        self._limits = limits
        self._events: RunReader[Channel] | None = RunReader(limits=limits) if streamed else None
        self._body = BoundedBody(
            bytes_max=limits.answer_bytes_max, reason=Reason.UPSTREAM_UNREADABLE, status=502
        )
        self._ended = False
        self._input_counted = 0
        self._output_counted = 0
        # By output name and position; the reverse names the output that a held text belongs to.
        self._channels: dict[tuple[str, int], Channel] = {}
        self._outputs: dict[Channel, tuple[str, int]] = {}
        # Names of other outputs, as they were written.
        self._names: dict[str, str] = {}

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
            return self._whole(self._body.take()) if eof else ()
        alone = None if eof else self._events.alone(chunk)
        if alone is not None:
            # Nearly every chunk of an answer, and of a wire whose events are short many.
            run, channel = alone
            return (ResponseFrame(0, (Delta(channel, run.texts[0]),), run),)
        frames: list[ResponseFrame] = []
        for event in self._events.feed(chunk, eof=eof):
            if not isinstance(event, SseFrame):
                frames.append(_known(*event))
            elif not _is_comment(event):
                frames.append(self._event(event))
        return tuple(frames)

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas; hidden members go."""
        located = frame.token
        if isinstance(located, Run):
            one_by_one = not frame.is_run and len(texts) == 1
            return write_one(located, texts[0]) if one_by_one else write_run(located, texts)
        if not isinstance(located, Located) or len(texts) != len(located.texts):
            raise AssertionError("a frame of another session")
        for place, text in zip(located.texts, texts, strict=True):
            if text != place.value and place.value in self._names:
                self._names[place.value] = text
        edits = [
            Splice(place.start, place.end, encode_string(text))
            for place, text in zip(located.texts, texts, strict=True)
            if text != place.value
        ]
        if located.hidden:
            edits += remove_members(located.root, self._hidden)
        if not edits and located.span is not None:
            return located.raw
        document = splice(located.document, edits)
        if located.span is not None:
            start, end = located.span
            return located.raw[:start] + document + located.raw[end:]
        return b"data: " + document.replace(b"\n", b"\ndata: ") + b"\n\n"

    def write_tail(self, channel: Channel, text: str) -> bytes:
        """An event for text of a channel that was held when the answer ended."""
        if not self.streamed:
            raise AssertionError("a JSON answer has no tail: its only frame is final")
        name, position = self._outputs[channel]
        if name == ERROR:
            return b"data: " + http.error_document(text) + b"\n\n"
        value = encode_string(text)
        if position:
            # The text stands at its choice's position, as in the events before it.
            value = b"[" + b'"",' * position + value + b"]"
        members = [b'"model_name":' + encode_string(self._model)]
        if self._version:
            members.append(b'"model_version":' + encode_string(self._version))
        members.append(encode_string(self._names.get(name, name)) + b":" + value)
        return b"data: {" + b",".join(members) + b"}\n\n"

    # --- frames ----------------------------------------------------------------------------------

    def _event(self, frame: SseFrame) -> ResponseFrame:
        if not frame.complete:
            raise http.unreadable("it ends within an event")
        if frame.data is None or any(name for name, _ in frame.fields):
            raise http.unreadable("an event has fields other than data")
        # A comment is dropped: it is text that no client shows and no scanner reads.
        span = frame.data_span if not frame.fields else None
        found = self._frame(frame.raw, span, frame.data, final=False)
        self._learn(found)
        return found

    def _learn(self, frame: ResponseFrame) -> None:
        """Events like this one, with another text, need not be read again."""
        located = frame.token
        says_more = frame.error or frame.usage is not None or frame.ended
        if says_more or self._events is None or not isinstance(located, Located) or located.hidden:
            return
        if len(located.texts) == 1 and located.span is not None:
            ((_, start, end),) = located.texts
            template = template_of(located.raw, located.document, start, end)
            self._events.learn(template, frame.deltas[0].channel)

    def _whole(self, body: bytes) -> tuple[ResponseFrame, ...]:
        if self._status >= http.ERROR_STATUS_MIN:
            if not body:
                return (ResponseFrame(key=0, deltas=(), token=_EMPTY, final=True, error=True),)
            body = http.judged_error(body, self._status, limits=self._limits)
        return (self._frame(body, (0, len(body)), body, final=True),)

    def _frame(
        self, raw: bytes, span: tuple[int, int] | None, document: bytes, *, final: bool
    ) -> ResponseFrame:
        root = self._parse(document)
        error = root.members.get(ERROR)
        if error is not None and not self._may_pass(root):
            document = http.error_document(http.WITHHELD)
            root = self._parse(document)
            raw, span = (document, (0, len(document))) if final else (b"", None)
        parts = _Parts([], [], [])
        hidden = False
        for name, member in root.members.items():
            if name in self._hidden:
                hidden = True
            else:
                self._member(document, member, parts)
        return ResponseFrame(
            key=0,
            deltas=tuple(parts.deltas),
            token=Located(raw, span, document, root, tuple(parts.texts), hidden),
            usage=self._usage(root),
            ended=tuple(parts.once),
            final=final,
            error=error is not None or self._status >= http.ERROR_STATUS_MIN,
        )

    def _member(self, document: bytes, member: Member, parts: _Parts) -> None:
        name, value = member.name, member.value
        if name not in _KNOWN_NAMES:
            if _NAME.fullmatch(name) is None:
                raise http.unreadable("an output has a name that none has")
            parts.whole(key_text(document, member))
        if isinstance(value, Text):
            if not self._is_technical(name, value.value):
                parts.add(self._channel(name, 0), value)
        elif not isinstance(value, Constant) and name not in _COUNTS:
            self._tensor(document, name, value, parts)

    def _tensor(self, document: bytes, name: str, value: Value, parts: _Parts) -> None:
        """An output of several elements, or of one number."""
        position = 0
        for leaf in _leaves(value):
            if isinstance(leaf, Text):
                if not self._is_technical(name, leaf.value):
                    parts.add(self._channel(name, position), leaf)
                position += 1
            elif name == TEXT_OUTPUT:
                raise http.unreadable("its text is a number")
            elif (written := number_text(document, leaf, limits=self._limits)) is not None:
                parts.whole(written)

    def _parse(self, document: bytes) -> Object:
        try:
            root = parse(document, limits=self._limits)
        except PeerError as error:
            raise http.unreadable(error.message) from None
        if not isinstance(root, Object):
            raise http.unreadable("it is no JSON object")
        return root

    def _may_pass(self, root: Object) -> bool:
        """Whether an error may be shown: nothing but a text that tells nothing of the server's inside."""
        error = root.members[ERROR].value
        if len(root.members) > 1 or not isinstance(error, Text):
            return False
        return not http.must_withhold(error.value, self._status)

    def _is_technical(self, name: str, value: str) -> bool:
        match name:
            case "model_name":
                return value == self._model
            case "model_version":
                if not self._version and _VERSION.fullmatch(value) is not None:
                    self._version = value
                return value == self._version
            case "finish_reason":
                return value in _FINISH_REASONS
            case "id":
                return value == self._sent_id
            case _:
                return False

    def _channel(self, name: str, position: int) -> Channel:
        channel = self._channels.get((name, position))
        if channel is None:
            if len(self._channels) >= self._limits.channels_max:
                raise http.unreadable(f"it has more than {self._limits.channels_max} output texts")
            if name in {TEXT_OUTPUT, ERROR}:
                channel = Channel(position, name)
            else:
                channel = Channel(len(self._channels), OTHER_OUTPUT)
                self._names.setdefault(name, name)
            self._channels[name, position] = channel
            self._outputs[channel] = (name, position)
        return channel

    def _usage(self, root: Object) -> Usage | None:
        """What a frame adds: output counts are per event, the input count repeats in each."""
        counted = root.members.get(INPUT_COUNT)
        produced = root.members.get(OUTPUT_COUNT)
        if counted is None and produced is None:
            return None
        tokens_max = self._limits.answer_tokens_max
        added = 0
        if counted is not None:
            added = max(_count(counted.value, tokens_max) - self._input_counted, 0)
            self._input_counted += added
        output = 0 if produced is None else _count(produced.value, tokens_max)
        self._output_counted += output
        if self._output_counted > tokens_max:
            raise http.unreadable(_NO_COUNT)
        return Usage(added, output)


_EMPTY = Located(b"", (0, 0), b"", Object({}, 0, 0), (), hidden=False)


def _known(run: Run, channel: Channel) -> ResponseFrame:
    """Events that are the same as an earlier one but for their text: only that can differ in them."""
    texts = run.texts
    if len(texts) == 1:
        # One event is a frame like any other, which costs less than a run of one.
        return ResponseFrame(key=0, deltas=(Delta(channel, texts[0]),), token=run)
    deltas = tuple([Delta(channel, text) for text in texts])
    return ResponseFrame(key=0, deltas=deltas, token=run, is_run=True)


def _is_comment(frame: SseFrame) -> bool:
    """Whether a frame is nothing but comments, which keep a connection alive and are dropped."""
    return frame.data is None and not any(name for name, _ in frame.fields) and frame.complete


def _leaves(value: Value) -> Iterator[Text | Number]:
    """The strings and numbers of an output."""
    pending = [value]
    while pending:
        match pending.pop():
            case Text() | Number() as leaf:
                yield leaf
            case Array(items=items):
                pending.extend(reversed(items))
            case Constant():
                pass
            case Object():
                # Triton flattens tensors: none is an object.
                raise http.unreadable("an output is an object")
            case never:
                assert_never(never)


def _count(value: Value, tokens_max: int) -> int:
    """A token count, or the sum over the choices where there are several."""
    items = value.items if isinstance(value, Array) else (value,)
    total = 0
    for item in items:
        number = item.value if isinstance(item, Number) else None
        if not isinstance(number, int) or number < 0:
            raise http.unreadable(_NO_COUNT)
        total += number
    if total > tokens_max:
        raise http.unreadable(_NO_COUNT)
    return total


_NO_COUNT = "a token count is no whole number, or too large"
