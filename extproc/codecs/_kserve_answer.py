"""The answer of KServe v2's infer over HTTP: outputs in JSON or in the binary tail, or an error.

The whole answer is held. Each string of each BYTES output is a text of its own, (output, element); so are
names of outputs, and every string, key and long number of members that this codec does not know, and whole
numbers of outputs that are longer than quantities, of which all of an output are set to zero where one has
to go. Other numbers pass. Outputs that say the text again (``logprobs``, ids, logits) are taken out where
the answer is watched, and strings that are no UTF-8 make the answer unreadable there. Errors come as JSON,
whatever their content type says; their text is withheld where it tells of the server's inside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _triton_http as http
from extproc.codecs._kserve_splices import TensorEdits
from extproc.codecs._kserve_tensors import (
    INTEGERS,
    LONG,
    Body,
    Tensor,
    numbers_of,
    read_tensors,
    split_body,
)
from extproc.codecs._triton_fields import REPEATED_OUTPUTS, SPELLED_OUTPUTS
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta, Usage
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.json_leaves import key_text, leaves_of
from extproc.wire.splice import Splice, encode_string
from extproc.wire.strict_json import Array, Object, Text, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member

TEXT_OUTPUT: Final = "text_output"
ERROR: Final = "error"
OUTPUTS: Final = "outputs"
# Places of a closed vocabulary: other outputs, and what is whole where it stands.
OTHER_OUTPUT: Final = "output.*"
ONCE: Final = "output.once"
INPUT_COUNT, OUTPUT_COUNT = "num_input_tokens", "num_output_tokens"

_DROPPED: Final = REPEATED_OUTPUTS | SPELLED_OUTPUTS
_FINISH_REASONS: Final = frozenset({"None", "stop", "length", "abort", "error", "tool_calls"})
_KNOWN_OUTPUTS: Final = frozenset(
    {
        *(TEXT_OUTPUT, INPUT_COUNT, OUTPUT_COUNT, "finish_reason", "stop_reason", "cumulative_logprob"),
        *("cum_log_probs", "output_log_probs", "sequence_length"),
        *("batch_index", "sequence_index", *_DROPPED),
    }
)
_VERSION: Final = re.compile(r"[0-9]{1,10}")
# Triton's own words for a model that only streams, with a status that python backends cannot give.
_STREAMS_ONLY: Final = (
    b'{"error":"HTTP end point doesn\'t support models with decoupled transaction policy"}'
)
_STREAMS_ONLY_STATUS: Final = 501


class Place(NamedTuple):
    """Where a text stands: string ``element`` of output ``at``, or a string of the document.

    Without an element it is the long numbers of the output.
    """

    at: int
    element: int | None
    text: Text | None = None


class Found(NamedTuple):
    """A text of the answer, with its channel and place."""

    channel: Channel
    value: str
    place: Place


class Part(NamedTuple):
    """A frame's token: the texts of its deltas; ``last`` brings the answer."""

    texts: tuple[Found, ...]
    last: bool


class InferAnswer:
    """Reads one answer.

    Args:
        model: The model that was asked.
        sent_id: What the forwarded request was called, which Triton may repeat.
        status: The answer's status.
        header_bytes: What the head says of the document's length, None where it says nothing.
        hidden: Outputs that the client had not asked for.
        watched: Whether a guard may change the text.
        limits: The bounds of an answer.
    """

    streamed = False

    def __init__(  # noqa: PLR0913 - all of them are facts of one answer.
        self,
        *,
        model: str,
        sent_id: str,
        status: int,
        header_bytes: int | None,
        hidden: frozenset[str],
        watched: bool,
        limits: Limits,
    ) -> None:
        self._model = model
        self._sent_id = sent_id
        self._status = status
        self._header_bytes = header_bytes
        self._hidden = hidden | _DROPPED if watched else hidden
        self._watched = watched
        self._limits = limits
        self._buffer = BoundedBody(
            bytes_max=limits.answer_bytes_max, reason=Reason.UPSTREAM_UNREADABLE, status=502
        )
        self._ended = False
        self._body = Body(b"", b"", split=False)
        self._tensors: tuple[Tensor, ...] = ()
        self._listed: Array | None = None
        self._found: list[Found] = []
        self._usage: Usage | None = None
        self._failed = status >= http.ERROR_STATUS_MIN
        self._edits = TensorEdits(self._body, ())
        self.document_bytes: int | None = None
        """The length of the document that was written; None where all of the body is one."""

    def read(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """All frames, when the answer is whole.

        Raises:
            PeerError: UPSTREAM_UNREADABLE, status 502, for whatever cannot be vouched for.
        """
        if self._ended:
            return ()
        self._buffer.feed(chunk)
        if not eof:
            return ()
        self._ended = True
        body = self._buffer.take()
        try:
            if self._failed:
                self._read_error(self._judged_error(body))
            else:
                self._read_good(split_body(body, self._header_bytes))
        except PeerError as error:
            raise http.unreadable(error.message) from None
        self._edits = TensorEdits(self._body, self._tensors)
        return tuple(self._frames())

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """The answer with every text replaced, at its last frame."""
        part = frame.token
        if not isinstance(part, Part) or len(texts) != len(part.texts):
            raise AssertionError("a frame of another session")
        for found, text in zip(part.texts, texts, strict=True):
            if text == found.value:
                continue
            place = found.place
            if place.text is not None:
                self._edits.document.append(Splice(place.text.start, place.text.end, encode_string(text)))
            elif place.element is None:
                self._edits.put_number(place.at, 0)
            else:
                self._edits.put_text(place.at, place.element, text)
        if not part.last:
            return b""
        dropped = self._dropped()
        if dropped and self._listed is not None:
            self._edits.drop(self._listed, dropped)
        body = self._edits.written()
        self.document_bytes = len(body.document) if body.split else None
        return body.whole

    def write_tail(self, channel: Channel, text: str) -> bytes:  # noqa: ARG002 - never legal.
        """Impossible: every channel ends in the frame in which it begins."""
        raise AssertionError("a held answer has no tails")

    # --- an error --------------------------------------------------------------------------------

    def _judged_error(self, body: bytes) -> bytes:
        if not body or (self._status == _STREAMS_ONLY_STATUS and body == _STREAMS_ONLY):
            return body
        return http.judged_error(body, self._status, limits=self._limits)

    def _read_error(self, document: bytes) -> None:
        self._failed = True
        self._body = Body(document, b"", split=False)
        if not document:
            return
        root = parse(document, limits=self._limits)
        error = root.members[ERROR].value if isinstance(root, Object) else None
        if not isinstance(error, Text):
            raise http.unreadable("an error has no text")
        self._found.append(Found(Channel(0, ERROR), error.value, Place(0, 0, error)))

    # --- a good answer ---------------------------------------------------------------------------

    def _read_good(self, body: Body) -> None:
        root = parse(body.document, limits=self._limits)
        if not isinstance(root, Object):
            raise http.unreadable("it is no JSON object")
        if ERROR in root.members:
            # Success is never inferred from the status.
            self._read_error(http.judged_error(body.document, self._status, limits=self._limits))
            return
        self._body = body
        outputs = root.members.get(OUTPUTS)
        if outputs is not None:
            if not isinstance(outputs.value, Array):
                raise http.unreadable("its outputs are no array")
            self._listed = outputs.value
        self._tensors = read_tensors(
            body, self._listed.items if self._listed is not None else (), limits=self._limits
        )
        for member in root.members.values():
            if member.name != OUTPUTS and not self._is_technical(member):
                self._whole(key_text(body.document, member))
                for text in leaves_of(body.document, member.value, keys=True, limits=self._limits):
                    self._whole(text)
        for at, tensor in enumerate(self._tensors):
            if tensor.name.value not in self._hidden:
                self._output(at, tensor)
        self._usage = self._counted()

    def _is_technical(self, member: Member) -> bool:
        value = member.value.value if isinstance(member.value, Text) else None
        match member.name:
            case "model_name":
                return value == self._model
            case "model_version":
                return value is not None and _VERSION.fullmatch(value) is not None
            case "id":
                return value == self._sent_id
            case _:
                return False

    def _whole(self, text: Text) -> None:
        self._found.append(Found(Channel(len(self._found), ONCE), text.value, Place(0, 0, text)))

    def _output(self, at: int, tensor: Tensor) -> None:
        name = tensor.name.value
        if name not in _KNOWN_OUTPUTS:
            self._whole(tensor.name)
        for element, piece in enumerate(tensor.pieces):
            if piece.text is None:
                if self._watched:
                    raise http.unreadable("an output has a string that is no UTF-8")
                continue
            if name == "finish_reason" and piece.text in _FINISH_REASONS:
                continue
            known = name == TEXT_OUTPUT
            channel = Channel(element, TEXT_OUTPUT) if known else Channel(len(self._found), OTHER_OUTPUT)
            self._found.append(Found(channel, piece.text, Place(at, element)))
        if tensor.datatype in LONG and name not in {INPUT_COUNT, OUTPUT_COUNT}:
            least = 10**self._limits.number_digits_max
            long = [str(one) for one in numbers_of(self._body, tensor) if abs(one) >= least]
            if long:
                channel = Channel(len(self._found), ONCE)
                self._found.append(Found(channel, " ".join(long), Place(at, None)))

    def _dropped(self) -> frozenset[int]:
        return frozenset(at for at, one in enumerate(self._tensors) if one.name.value in self._hidden)

    def _counted(self) -> Usage | None:
        counts = {
            tensor.name.value: self._sum(tensor)
            for tensor in self._tensors
            if tensor.name.value in {INPUT_COUNT, OUTPUT_COUNT}
        }
        return Usage(counts.get(INPUT_COUNT, 0), counts.get(OUTPUT_COUNT, 0)) if counts else None

    def _sum(self, tensor: Tensor) -> int:
        values = numbers_of(self._body, tensor) if tensor.datatype in INTEGERS else (-1,)
        total = sum(int(value) for value in values)
        if any(value < 0 for value in values) or total > self._limits.answer_tokens_max:
            raise http.unreadable("a token count is no whole number, or too large")
        return total

    # --- frames ----------------------------------------------------------------------------------

    def _frames(self) -> Iterator[ResponseFrame]:
        """Of at most ``channels_max`` texts each: every text is whole, so that its channel ends with it."""
        at_once = self._limits.channels_max
        for at in range(0, max(len(self._found), 1), at_once):
            some = tuple(self._found[at : at + at_once])
            last = at + at_once >= len(self._found)
            yield ResponseFrame(
                key=0,
                deltas=tuple([Delta(found.channel, found.value) for found in some]),
                token=Part(some, last),
                usage=self._usage if last else None,
                ended=tuple([found.channel for found in some]),
                final=last,
                error=self._failed and last,
            )
