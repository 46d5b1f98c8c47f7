"""What one ModelInferResponse is made of: texts with their places, counts, and what changes in any case.

Every string of an output is text and is scanned, each output and each element in a channel of its own; so
are names of outputs and parameters that are not known, strings of parameters, and whole numbers too long
to be quantities, of which all of a tensor are set to zero where one has to go. Numbers with a fraction
are not. What has fields that nobody here knows is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs import _triton_http as http
from extproc.codecs._kgrpc_request import VERSION, parameter_of
from extproc.codecs._kgrpc_tensors import numbers_of, put_number, put_text, read_tensors
from extproc.codecs._kserve_tensors import BYTES, INTEGERS, LONG
from extproc.codecs._triton_fields import REPEATED_OUTPUTS, SPELLED_OUTPUTS
from extproc.domain.segment import Channel, Delta
from extproc.wire.protobuf_fields import Edit, removed, replaced, tagged_bytes

if TYPE_CHECKING:
    from extproc.codecs._kgrpc_tensors import Piece, Tensor
    from extproc.domain.limits import Limits
    from extproc.wire.protobuf_fields import Field, FieldReader, Message

TEXT_OUTPUT: Final = "text_output"
OTHER_OUTPUT: Final = "output.*"
"""The place of any other output: its name is not of a closed vocabulary."""
ONCE: Final = "output.once"
"""A text that is whole where it stands: a name, a parameter, long numbers."""
FINAL: Final = "triton_final_response"
"""The parameter by which Triton says that a request has no further response."""
INPUT_COUNT: Final = "num_input_tokens"
OUTPUT_COUNT: Final = "num_output_tokens"
COUNTS: Final = frozenset({INPUT_COUNT, OUTPUT_COUNT})
DROPPED: Final = REPEATED_OUTPUTS | SPELLED_OUTPUTS
"""The answer's text again, where no scanner could follow an entity."""
FINISH_REASONS: Final = frozenset({"None", "stop", "length", "abort", "error", "tool_calls"})

_FINISH_REASON: Final = "finish_reason"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_KNOWN_NAMES: Final = frozenset(
    {
        *(TEXT_OUTPUT, FINAL, _FINISH_REASON, "stop_reason", "cumulative_logprob", "sequence_length"),
        *("cum_log_probs", "output_log_probs"),
        *("batch_index", "sequence_index", *COUNTS, *DROPPED),
    }
)


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


class Output(NamedTuple):
    """One output of a response; ``channel`` is that of its text, where it has any.

    ``technical`` is a text of a closed list; ``raw_bytes`` the length of raw contents that are no text,
    else None.
    """

    name: str
    hidden: bool = False
    technical: bool = False
    channel: Channel | None = None
    raw_bytes: int | None = None


class PutPiece(NamedTuple):
    """Puts a text in place of a tensor's string."""

    piece: Piece

    def edit(self, text: str) -> Edit:
        """The edit."""
        return put_text(self.piece, text)


class PutZero(NamedTuple):
    """Takes the numbers of a tensor away."""

    tensor: Tensor

    def edit(self, text: str) -> Edit:  # noqa: ARG002 - no text can stand there.
        """The edit."""
        return put_number(self.tensor, 0)


class PutName(NamedTuple):
    """Puts a text in place of an output's name, which later texts of it stand under too."""

    asked: Asked
    tensor: Tensor

    def edit(self, text: str) -> Edit:
        """The edit."""
        self.asked.names[self.tensor.name] = text
        return Edit((self.tensor.field,), replaced(self.tensor.name_field, text.encode()))


class PutField(NamedTuple):
    """Puts a text in place of what a field holds: as it is, or as the member of a oneof."""

    path: tuple[Field, ...]
    field: Field
    member: int | None = None

    def edit(self, text: str) -> Edit:
        """The edit."""
        value = text.encode()
        return Edit(
            self.path,
            replaced(self.field, value if self.member is None else tagged_bytes(self.member, value)),
        )


Put = PutPiece | PutZero | PutName | PutField


class Parts:
    """What one ModelInferResponse is made of; all faults are its sender's."""

    def __init__(self, reader: FieldReader, inner: Message, asked: Asked, limits: Limits) -> None:
        self.reader = reader
        self.inner = inner
        self.asked = asked
        self.final: bool | None = None
        self.edits: list[Edit] = []
        self.texts: list[tuple[str, Put]] = []
        self.deltas: list[Delta] = []
        self.once: list[Channel] = []
        self.counts: dict[str, int] = {}
        self.outputs: list[Output] = []
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
            self._whole(name, PutField((entry,), key))
        if isinstance(value, str) or _is_long(value, self._limits):
            self._whole(str(value), PutField((entry,), choice, wire.STRING_PARAM))

    def _output(self, tensor: Tensor) -> None:
        name = tensor.name
        hidden = name in self.asked.hidden
        if name in COUNTS:
            self.counts[name] = self._count(tensor)
        if hidden:
            self.edits.append(Edit((), removed(tensor.field)))
            if tensor.raw is not None:
                self.edits.append(Edit((), removed(tensor.raw)))
            self.outputs.append(Output(name, hidden=True, raw_bytes=_raw_bytes(tensor)))
            return
        if name not in _KNOWN_NAMES:
            self._whole(name, PutName(self.asked, tensor))
        channel, technical = None, False
        if tensor.datatype == BYTES:
            self._sole &= len(tensor.pieces) == 1
            technical = name == _FINISH_REASON and all(
                piece.text in FINISH_REASONS for piece in tensor.pieces
            )
            if not technical:
                # A reason that is no word of the list makes no rule for those that follow.
                self._sole &= name != _FINISH_REASON
                channel = self._strings(tensor)
        elif tensor.datatype in LONG:
            self._sole = False
            self._numbers(tensor)
        size = _raw_bytes(tensor)
        self.outputs.append(Output(name, technical=technical, channel=channel, raw_bytes=size))

    def _strings(self, tensor: Tensor) -> Channel | None:
        channel = None
        for element, piece in enumerate(tensor.pieces):
            if piece.text is None:
                raise http.unreadable("it has text that is no UTF-8")
            channel = self._channel(tensor.name, element)
            self.deltas.append(Delta(channel, piece.text))
            self.texts.append((piece.text, PutPiece(piece)))
        return channel

    def _numbers(self, tensor: Tensor) -> None:
        """Whole numbers longer than quantities are: all of the tensor go where one of them has to."""
        if tensor.name in COUNTS:
            return
        long = [str(one) for one in numbers_of(self.reader, tensor) if _is_long(one, self._limits)]
        if long:
            self._whole(" ".join(long), PutZero(tensor))

    def _whole(self, text: str, put: Put) -> None:
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


def _raw_bytes(tensor: Tensor) -> int | None:
    return None if tensor.raw is None or tensor.datatype == BYTES else tensor.raw.end - tensor.raw.start


def _is_long(value: str | float, limits: Limits) -> bool:
    """Whether a whole number has more digits than quantities have."""
    return isinstance(value, int) and abs(value) >= 10**limits.number_digits_max
