"""The answers of ModelInfer and ModelStreamInfer: whose they are, their texts and their token counts.

Triton repeats a request's id in each response, and clients give one id to several requests or none at all.
So on a stream every request goes on under an id of this service's own, by which its responses are known, and
each response goes back under the client's. A request also goes on with the wish for an empty final
response, for a model may end its answer without one that has outputs; what the client had not asked for
is taken out again.

Every string of an output is text and is scanned, each output and each element in a channel of its own; so
are names of outputs and parameters that are not known, strings of parameters, and numbers of a tensor too
long to be quantities, of which all of a tensor are set to zero where one has to go. An error's text is
scanned too, and reworded where it shows the server's inside. What has fields that nobody here knows is
refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs import _triton_http as http
from extproc.codecs._kgrpc_edits import parameter
from extproc.codecs._kgrpc_request import VERSION, parameter_of
from extproc.codecs._kgrpc_tensors import numbers_of, put_number, put_text, read_tensors
from extproc.codecs._kserve_tensors import BYTES, INTEGERS, LENGTH_BYTES
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta, Usage
from extproc.wire.grpc_frames import framed
from extproc.wire.protobuf_fields import (
    Edit,
    FieldReader,
    removed,
    replaced,
    spliced,
    tagged_bytes,
    tagged_varint,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from extproc.codecs._kgrpc_tensors import Tensor
    from extproc.domain.limits import Limits
    from extproc.wire.protobuf_fields import Field, Message

TEXT_OUTPUT: Final = "text_output"
ERROR: Final = "error"
OTHER_OUTPUT: Final = "output.*"
"""The place of any other output: its name is not of a closed vocabulary."""
ONCE: Final = "output.once"
"""A text that is whole where it stands: a name, a parameter, long numbers."""
FINAL: Final = "triton_final_response"
"""The parameter by which Triton says that a request has no further response."""

_INPUT_COUNT, _OUTPUT_COUNT = "num_input_tokens", "num_output_tokens"
_COUNTS: Final = frozenset({_INPUT_COUNT, _OUTPUT_COUNT})
DROPPED: Final = frozenset({"logprobs", "prompt_logprobs", "top_logprobs"})
"""Token by token the answer's text again, where no scanner could follow an entity."""
_FINISH_REASON: Final = "finish_reason"
_FINISH_REASONS: Final = frozenset({"None", "stop", "length", "abort", "error", "tool_calls"})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_KNOWN_NAMES: Final = frozenset(
    {
        *(TEXT_OUTPUT, FINAL, _FINISH_REASON, "stop_reason", "cumulative_logprob", "sequence_length"),
        *("cum_log_probs", "output_log_probs", "context_logits", "generation_logits"),
        *("batch_index", "sequence_index", *_COUNTS, *DROPPED),
    }
)
# Whole numbers of fewer bits have at most as many digits as quantities have.
_LONG_DATATYPES: Final = frozenset({"INT64", "UINT64"})
_RAW_TAG: Final = tagged_bytes(wire.RAW_OUTPUTS, b"")[0]
_RESPONSE_TAG: Final = tagged_bytes(wire.INFER_RESPONSE, b"")[:1]
_MORE: Final = 0x80
_LENGTH_BYTES_MAX: Final = 6
_SHIFT_MAX: Final = 35
# What Triton writes before an error where a request has no id.
_NO_ID: Final = "<id_unknown>"
_HEADS_MAX: Final = 256


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request whose answer is not at its end.

    ``hidden`` are outputs that the client had not asked for, ``wants_final`` whether it asked for an empty
    final response. ``refused`` is the refusal of a request in whose place a decoy went on.
    """

    key: int
    model: str
    client_id: str
    sent_id: str
    hidden: frozenset[str] = frozenset()
    wants_final: bool = False
    refused: str | None = None
    version: str = ""
    channels: dict[tuple[str, int], Channel] = field(default_factory=dict)
    outputs: dict[Channel, tuple[str, int]] = field(default_factory=dict)
    # Names of other outputs, as they were written.
    names: dict[str, str] = field(default_factory=dict)
    heads: list[bytes] = field(default_factory=list)
    input_counted: int = 0
    output_counted: int = 0


class _Output(NamedTuple):
    """One output of a response; ``channel`` is that of its text, where it has any."""

    name: str
    hidden: bool
    technical: bool
    channel: Channel | None


class _Head(NamedTuple):
    """What stands before a response's raw contents, of which most responses of a request have the same.

    ``restored`` is how it goes on. ``whole`` says that none of its outputs is hidden.
    """

    asked: Asked
    final: bool
    size: int
    restored: bytes
    outputs: tuple[_Output, ...]
    whole: bool


class _Located(NamedTuple):
    """A frame's token where its texts are raw: each raw content's tag, start and end."""

    head: _Head
    response: bytes
    raws: list[tuple[int, int, int]]
    texts: list[tuple[int, str]]


class _Spliced(NamedTuple):
    """A frame's token in every other case: each text with what puts another one in its place."""

    response: bytes
    edits: tuple[Edit, ...]
    texts: tuple[tuple[str, Callable[[str], Edit]], ...]


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
        self._heads: dict[bytes, _Head] = {}
        self._head_sizes: list[int] = []

    @property
    def open_requests(self) -> tuple[Asked, ...]:
        """Requests whose answer is not at its end, in order."""
        return tuple(self._asked.values())

    def ask(self, asked: Asked) -> None:
        """A request has gone on."""
        self._asked[asked.sent_id] = asked
        self._by_key[asked.key] = asked

    def read(self, payloads: Iterable[bytes]) -> list[ResponseFrame]:
        """The frames of messages.

        Raises:
            PeerError: UPSTREAM_UNREADABLE, status 502, for whatever cannot be vouched for.
        """
        self._forget_ended()
        try:
            return [self._quick(payload) or self._slow(payload) for payload in payloads]
        except PeerError as error:
            raise http.unreadable(error.message) from None

    def fail(self, asked: Asked, text: str) -> ResponseFrame:
        """The frame of a request that the end of its call cuts off; ``text`` is what the call's end says."""
        deltas = (Delta(Channel(0, ERROR), text),) if text else ()
        self._end(asked)
        return ResponseFrame(key=asked.key, deltas=deltas, token=_NOTHING, final=True, error=True)

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        match frame.token:
            case _Located() as token:
                return _written(token, texts)
            case _Spliced(response, edits, own):
                changed = [
                    put(text) for (before, put), text in zip(own, texts, strict=True) if text != before
                ]
                return self._framed(spliced(response, (*edits, *changed)))
            case _Failed(text, beside):
                told = texts[0] if texts else text
                return framed(tagged_bytes(wire.ERROR_MESSAGE, told.encode()) + beside)
            case _Silent(written):
                return written
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
            + tagged_bytes(wire.RAW_OUTPUTS, b"".join(map(_raw_string, strings)))
        )

    def refusal(self, key: int, message: str) -> bytes:
        """An error in place of what else an open request would be answered."""
        return _refused(self._by_key[key], message)

    # --- the common case: a head that was seen, and raw texts -------------------------------------

    def _quick(self, payload: bytes) -> ResponseFrame | None:
        """The frame of a message whose head was seen before; None where the message has to be read."""
        if not self._heads:
            return None
        response = _sole_response(payload)
        head = self._seen(response)
        if head is None:
            return None
        raws = _raws(response, head.size)
        if raws is None or len(raws) != len(head.outputs):
            return None
        deltas: list[Delta] = []
        texts: list[tuple[int, str]] = []
        counts: dict[str, int] = {}
        for at, (output, (_, start, end)) in enumerate(zip(head.outputs, raws, strict=True)):
            if output.name in _COUNTS:
                counts[output.name] = int.from_bytes(response[start:end], "little")
            if output.channel is None and not output.technical:
                continue
            text = _sole_text(response, start, end)
            if text is None or (output.technical and text not in _FINISH_REASONS):
                return None
            if output.channel is not None:
                texts.append((at, text))
                deltas.append(Delta(output.channel, text))
        return self._frame(
            head.asked, deltas, _Located(head, response, raws, texts), counts=counts, final=head.final
        )

    def _seen(self, response: bytes) -> _Head | None:
        for size in self._head_sizes:
            head = self._heads.get(response[:size])
            if head is not None:
                return head
        return None

    def _remember(self, parts: _Parts, *, final: bool) -> None:
        """Keep a head whose like will come again."""
        size = parts.head_size()
        if size is None:
            return
        if len(self._heads) >= _HEADS_MAX:
            self._heads.clear()
            self._head_sizes.clear()
        response = parts.reader.document
        head = response[:size]
        within = [edit for edit in parts.edits if edit.path or edit.splice.start < size]
        self._heads[head] = _Head(
            asked=parts.asked,
            final=final,
            size=size,
            restored=spliced(response, within, 0, size),
            outputs=tuple(parts.outputs),
            whole=not any(output.hidden for output in parts.outputs),
        )
        parts.asked.heads.append(head)
        if size not in self._head_sizes:
            self._head_sizes.append(size)

    # --- every other case -------------------------------------------------------------------------

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
        parts = _Parts(reader, inner, asked, self._limits)
        if error is not None:
            return self._failed(parts, error)
        parts.read_outputs()
        final = parts.final is True or not self._streamed
        if self._streamed and parts.is_empty_final and not asked.wants_final:
            # The wish for it was this service's own: otherwise Triton sends nothing.
            return self._frame(asked, (), _NOTHING, counts={}, final=final)
        if self._streamed:
            self._remember(parts, final=final)
        spliced_in = _Spliced(response, tuple(parts.edits), tuple(parts.texts))
        return self._frame(
            asked, parts.deltas, spliced_in, counts=parts.counts, final=final, once=tuple(parts.once)
        )

    def _failed(self, parts: _Parts, error: str) -> ResponseFrame:
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
        added = max(counts.get(_INPUT_COUNT, 0) - asked.input_counted, 0)
        output = counts.get(_OUTPUT_COUNT, 0)
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
        for head in asked.heads:
            self._heads.pop(head, None)
        asked.heads.clear()

    def _forget_ended(self) -> None:
        for asked in self._ended:
            self._by_key.pop(asked.key, None)
        self._ended.clear()


class _Parts:
    """What one ModelInferResponse is made of; all faults are its sender's."""

    def __init__(self, reader: FieldReader, inner: Message, asked: Asked, limits: Limits) -> None:
        self.reader = reader
        self.inner = inner
        self.asked = asked
        self.final: bool | None = None
        self.edits: list[Edit] = []
        self.texts: list[tuple[str, Callable[[str], Edit]]] = []
        self.deltas: list[Delta] = []
        self.once: list[Channel] = []
        self.counts: dict[str, int] = {}
        self.outputs: list[_Output] = []
        self._limits = limits
        self._tensors: tuple[Tensor, ...] = ()
        self._sole = True
        self._version = reader.text(inner.one(wire.MODEL_VERSION), "model_version")
        if VERSION.fullmatch(self._version) is None:
            raise http.unreadable("model_version is no number")
        asked.version = self._version or asked.version
        if reader.text(inner.one(wire.MODEL_NAME), "model_name") not in {"", asked.model}:
            raise http.unreadable("it is another model's")
        self._restore_id()
        names: set[str] = set()
        for entry in inner.many(wire.PARAMETERS):
            self._parameter(entry, names)

    @property
    def is_empty_final(self) -> bool:
        """Whether it is no response of the model: Triton alone says that there is no more."""
        return self.final is True and not (self._version or self._tensors)

    def read_outputs(self) -> None:
        """Read the tensors."""
        self._tensors = read_tensors(
            self.reader,
            self.inner.many(wire.RESPONSE_OUTPUTS),
            self.inner.many(wire.RAW_OUTPUTS),
            limits=self._limits,
        )
        for tensor in self._tensors:
            self._output(tensor)

    def head_size(self) -> int | None:
        """Where raw contents begin, if all that stands before is the same in the next response."""
        raws = self.inner.many(wire.RAW_OUTPUTS)
        if not raws or not self._sole or self.once:
            return None
        size = raws[0].at
        behind = [one for holder in (self.inner.singular.values(), *self._others()) for one in holder]
        return size if all(one.end <= size for one in behind) else None

    def _others(self) -> list[list[Field]]:
        return [found for tag, found in self.inner.repeated.items() if tag != wire.RAW_OUTPUTS]

    def _restore_id(self) -> None:
        found = self.inner.one(wire.ID)
        if found is None or self.asked.sent_id == self.asked.client_id:
            return
        client_id = self.asked.client_id.encode()
        self.edits.append(Edit((), replaced(found, client_id) if client_id else removed(found)))

    def _parameter(self, entry: Field, names: set[str]) -> None:
        message = self.reader.within(wire.MAP_ENTRY, entry)
        key, choice = message.one(wire.KEY), message.one(wire.VALUE)
        name = self.reader.text(key, "a parameter's name")
        if key is None or choice is None or name in names or _NAME.fullmatch(name) is None:
            raise http.unreadable("a parameter has no name, the name of another, or no value")
        names.add(name)
        value = parameter_of(self.reader, entry, choice).value
        if name == FINAL:
            if not isinstance(value, bool):
                raise http.unreadable(f"{FINAL} is neither true nor false")
            self.final = value
            return
        if name not in _KNOWN_NAMES:
            self._whole(name, lambda text: Edit((entry,), replaced(key, text.encode())))
        if isinstance(value, str) or _is_long(value, self._limits):
            written = value if isinstance(value, str) else str(value)
            self._whole(
                written,
                lambda text: Edit(
                    (entry,), replaced(choice, tagged_bytes(wire.STRING_PARAM, text.encode()))
                ),
            )

    def _output(self, tensor: Tensor) -> None:
        name = tensor.name
        hidden = name in self.asked.hidden
        if name in _COUNTS:
            self.counts[name] = self._count(tensor)
        if hidden:
            self.edits.append(Edit((), removed(tensor.field)))
            if tensor.raw is not None:
                self.edits.append(Edit((), removed(tensor.raw)))
            self.outputs.append(_Output(name, hidden=True, technical=False, channel=None))
            return
        if name not in _KNOWN_NAMES:
            self._name(tensor)
        channel, technical = None, False
        if tensor.datatype == BYTES:
            self._sole &= len(tensor.pieces) == 1
            technical = name == _FINISH_REASON and all(
                piece.text in _FINISH_REASONS for piece in tensor.pieces
            )
            if not technical:
                channel = self._strings(tensor)
        elif tensor.datatype in _LONG_DATATYPES:
            self._sole = False
            self._numbers(tensor)
        self.outputs.append(_Output(name, hidden=False, technical=technical, channel=channel))

    def _strings(self, tensor: Tensor) -> Channel | None:
        channel = None
        for element, piece in enumerate(tensor.pieces):
            if piece.text is None:
                raise http.unreadable("it has text that is no UTF-8")
            channel = self._channel(tensor.name, element)
            self.deltas.append(Delta(channel, piece.text))
            self.texts.append((piece.text, partial(put_text, piece)))
        return channel

    def _numbers(self, tensor: Tensor) -> None:
        """Whole numbers longer than quantities are: all of the tensor go where one of them has to."""
        if tensor.name in _COUNTS:
            return
        long = [str(one) for one in numbers_of(self.reader, tensor) if _is_long(one, self._limits)]
        if long:
            self._whole(" ".join(long), lambda _text: put_number(tensor, 0))

    def _name(self, tensor: Tensor) -> None:
        def renamed(text: str) -> Edit:
            self.asked.names[tensor.name] = text
            return Edit((tensor.field,), replaced(tensor.name_field, text.encode()))

        self._whole(tensor.name, renamed)

    def _whole(self, text: str, put: Callable[[str], Edit]) -> None:
        """A text that is not continued."""
        channel = Channel(len(self.once), ONCE)
        self.once.append(channel)
        self.deltas.append(Delta(channel, text))
        self.texts.append((text, put))

    def _channel(self, name: str, element: int) -> Channel:
        asked = self.asked
        channel = asked.channels.get((name, element))
        if channel is None:
            if len(asked.channels) >= self._limits.channels_max:
                raise http.unreadable(f"it has more than {self._limits.channels_max} output texts")
            other = Channel(len(asked.channels), OTHER_OUTPUT)
            channel = Channel(element, TEXT_OUTPUT) if name == TEXT_OUTPUT else other
            asked.channels[name, element] = channel
            asked.outputs[channel] = (name, element)
        return channel

    def _count(self, tensor: Tensor) -> int:
        """A token count, or the sum over the choices where there are several."""
        self._sole &= tensor.values_count == 1
        if tensor.datatype not in INTEGERS:
            raise http.unreadable("a token count is no whole number")
        counts = [int(one) for one in numbers_of(self.reader, tensor)]
        if any(one < 0 for one in counts):
            raise http.unreadable("a token count is negative")
        return sum(counts)


def _is_long(value: str | float, limits: Limits) -> bool:
    """Whether a whole number has more digits than quantities have."""
    return isinstance(value, int) and abs(value) >= 10**limits.number_digits_max


# --- bytes ---------------------------------------------------------------------------------------


def _sole_response(payload: bytes) -> bytes:
    """The response of a message that holds nothing else; empty for any other."""
    if payload[:1] != _RESPONSE_TAG:
        return b""
    size = shift = 0
    for at in range(1, min(len(payload), _LENGTH_BYTES_MAX)):
        byte = payload[at]
        size |= (byte & 0x7F) << shift
        if byte < _MORE:
            return payload[at + 1 :] if size == len(payload) - at - 1 else b""
        shift += 7
    return b""


def _raws(response: bytes, at: int) -> list[tuple[int, int, int]] | None:
    """Tag, start and end of each raw content, if nothing else stands behind ``at``."""
    found: list[tuple[int, int, int]] = []
    end = len(response)
    while at < end:
        tag_at, size, shift = at, 0, 0
        if response[at] != _RAW_TAG:
            return None
        while True:
            at += 1
            if at >= end or shift > _SHIFT_MAX:
                return None
            byte = response[at]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < _MORE:
                break
        start = at + 1
        at = start + size
        if at > end:
            return None
        found.append((tag_at, start, at))
    return found


def _sole_text(response: bytes, start: int, end: int) -> str | None:
    """The text of a raw tensor of exactly one string; None for any other."""
    begin = start + LENGTH_BYTES
    if begin > end or int.from_bytes(response[start:begin], "little") != end - begin:
        return None
    try:
        return response[begin:end].decode()
    except UnicodeDecodeError:
        return None


def _raw_string(text: bytes) -> bytes:
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def _written(token: _Located, texts: tuple[str, ...]) -> bytes:
    head, response, raws, own = token
    changed = {at: text for (at, before), text in zip(own, texts, strict=True) if text != before}
    if not changed and head.whole:
        written = head.restored + response[head.size :]
    else:
        pieces = [head.restored]
        for at, (output, (tag_at, _, end)) in enumerate(zip(head.outputs, raws, strict=True)):
            if at in changed:
                pieces.append(tagged_bytes(wire.RAW_OUTPUTS, _raw_string(changed[at].encode())))
            elif not output.hidden:
                pieces.append(response[tag_at:end])
        written = b"".join(pieces)
    return framed(_RESPONSE_TAG + varint(len(written)) + written)


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
