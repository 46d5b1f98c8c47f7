"""The quick way through a stream's responses: most of one request begin with the same bytes.

A head that was read once is known again by its bytes, id included, so that of the next response only raw
contents are looked at. Where these are one text, all that stands before it follows from its length, and
messages in a row are only compared with that. Whatever is not exactly like it is left to ``_kgrpc_answer``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs._kgrpc_parts import COUNTS, FINISH_REASONS
from extproc.codecs._kserve_tensors import LENGTH_BYTES
from extproc.domain.segment import Delta
from extproc.wire.grpc_frames import framed, opened
from extproc.wire.protobuf_fields import spliced, tagged_bytes, varint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.codecs._kgrpc_parts import Asked, Output, Parts
    from extproc.domain.segment import Channel

_RAW_TAG: Final = tagged_bytes(wire.RAW_OUTPUTS, b"")[0]
_RESPONSE_TAG: Final = tagged_bytes(wire.INFER_RESPONSE, b"")[:1]
_MORE: Final = 0x80
_LENGTH_BYTES_MAX: Final = 6
_SHIFT_MAX: Final = 35
# Of all open requests; each has one for its last response and one for those before.
_HEADS_MAX: Final = 256
# Lengths of the texts of one head: nearly all are as long as a token.
_OPENINGS_MAX: Final = 256
# By so many bytes all lengths before a text can grow with it.
_GROWTH_MAX: Final = 8


class Head(NamedTuple):
    """What stands before a response's raw contents, of which most responses of a request have the same.

    ``came`` are its bytes, ``restored`` how they go on. ``whole`` says that none of its outputs is hidden.
    """

    asked: Asked
    final: bool
    came: bytes
    restored: bytes
    outputs: tuple[Output, ...]
    whole: bool

    @property
    def sole(self) -> Channel | None:
        """The channel of its text, where a response says that and nothing else."""
        return self.outputs[0].channel if len(self.outputs) == 1 and self.whole and not self.final else None


class Opening(NamedTuple):
    """What stands before an only text of one length: in a payload that came, in a message that goes on."""

    came: bytes
    goes: bytes

    @classmethod
    def of(cls, head: Head, length: int) -> Opening:
        """The opening before a text of so many bytes."""
        raw = bytes((_RAW_TAG,)) + varint(LENGTH_BYTES + length) + length.to_bytes(LENGTH_BYTES, "little")
        came, goes = head.came + raw, head.restored + raw
        return cls(
            _RESPONSE_TAG + varint(len(came) + length) + came,
            opened(_RESPONSE_TAG + varint(len(goes) + length) + goes, length),
        )


class Openings:
    """The openings of one head, which follow from the lengths of its texts."""

    __slots__ = ("_by_length", "_by_size", "_head")

    def __init__(self, head: Head) -> None:
        self._head = head
        self._by_length: dict[int, Opening] = {}
        self._by_size: dict[int, Opening | None] = {}

    def by_length(self, length: int) -> Opening:
        """The opening before a text of so many bytes."""
        opening = self._by_length.get(length)
        if opening is None:
            if len(self._by_length) >= _OPENINGS_MAX:
                self._by_length.clear()
            opening = self._by_length[length] = Opening.of(self._head, length)
        return opening

    def by_size(self, size: int) -> Opening | None:
        """The opening of a payload of this size; None where no text makes one."""
        known = self._by_size
        if size not in known:
            if len(known) >= _OPENINGS_MAX:
                known.clear()
            known[size] = self._of_size(size)
        return known[size]

    def _of_size(self, size: int) -> Opening | None:
        length_max = size - len(self.by_length(0).came)
        for length in range(length_max, max(length_max - _GROWTH_MAX, 0) - 1, -1):
            opening = self.by_length(length)
            if len(opening.came) + length == size:
                return opening
        return None


class Run(NamedTuple):
    """Messages in a row that differ in their one text."""

    key: int
    channel: Channel
    openings: Openings
    bodies: list[bytes]
    texts: tuple[str, ...]

    def written(self, texts: tuple[str, ...]) -> bytes:
        """The first messages, so that they say ``texts``."""
        opening = self.openings.by_length
        if len(texts) == 1:
            written = texts[0].encode()
            return opening(len(written)).goes + written
        pieces: list[bytes] = []
        for body, before, text in zip(self.bodies, self.texts, texts, strict=False):
            written = body if text == before else text.encode()
            pieces += (opening(len(written)).goes, written)
        return b"".join(pieces)


class Located(NamedTuple):
    """A frame's token where its texts are raw: each raw content's tag, start and end."""

    head: Head
    response: bytes
    raws: list[tuple[int, int, int]]
    texts: list[tuple[int, str]]


class Quick(NamedTuple):
    """What was read of a response."""

    located: Located
    deltas: list[Delta]
    counts: dict[str, int]


class Heads:
    """The heads that one stream's responses had."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self._sizes: list[int] = []
        # The one that was seen last.
        self._last: Head | None = None
        self._openings: Openings | None = None

    def run(self, payloads: Sequence[bytes], first: int) -> Run | None:
        """The messages from ``first`` on that are like the last one but for their text; None for none."""
        head, openings = self._last, self._openings
        channel = None if head is None else head.sole
        if head is None or openings is None or channel is None:
            return None
        bodies: list[bytes] = []
        texts: list[str] = []
        for at in range(first, len(payloads)):
            payload = payloads[at]
            opening = openings.by_size(len(payload))
            if opening is None or not payload.startswith(opening.came):
                break
            body = payload[len(opening.came) :]
            try:
                texts.append(body.decode())
            except UnicodeDecodeError:
                break
            bodies.append(body)
        return Run(head.asked.key, channel, openings, bodies, tuple(texts)) if texts else None

    def _follow(self, head: Head | None) -> None:
        if head is not self._last:
            self._last = head
            self._openings = None if head is None else Openings(head)

    def read(self, payload: bytes) -> Quick | None:
        """A message whose head was seen before; None where it has to be read."""
        if not self._heads:
            return None
        response = _sole_response(payload)
        head = self._seen(response)
        if head is None:
            return None
        raws = _raws(response, len(head.came))
        if raws is None or len(raws) != len(head.outputs):
            return None
        deltas: list[Delta] = []
        texts: list[tuple[int, str]] = []
        counts: dict[str, int] = {}
        for at, (output, (_, start, end)) in enumerate(zip(head.outputs, raws, strict=True)):
            if output.name in COUNTS:
                counts[output.name] = int.from_bytes(response[start:end], "little")
            if output.raw_bytes is not None and end - start != output.raw_bytes:
                return None
            if output.channel is None and not output.technical:
                continue
            text = _sole_text(response, start, end)
            if text is None or (output.technical and text not in FINISH_REASONS):
                return None
            if output.channel is not None:
                texts.append((at, text))
                deltas.append(Delta(output.channel, text))
        self._follow(head)
        return Quick(Located(head, response, raws, texts), deltas, counts)

    def remember(self, parts: Parts, *, final: bool) -> None:
        """Keep a head whose like will come again."""
        size = parts.head_size()
        if size is None:
            return
        if len(self._heads) >= _HEADS_MAX:
            self._heads.clear()
            self._sizes.clear()
        response = parts.reader.document
        came = response[:size]
        within = [edit for edit in parts.edits if edit.path or edit.splice.start < size]
        head = self._heads[came] = Head(
            asked=parts.asked,
            final=final,
            came=came,
            restored=spliced(response, within, 0, size),
            outputs=tuple(parts.outputs),
            whole=not any(output.hidden for output in parts.outputs),
        )
        self._follow(head)
        parts.asked.heads.append(came)
        if size not in self._sizes:
            self._sizes.append(size)

    def forget(self, asked: Asked) -> None:
        """A request has no further response."""
        for came in asked.heads:
            self._heads.pop(came, None)
        asked.heads.clear()
        if self._last is not None and self._last.asked is asked:
            self._follow(None)

    def _seen(self, response: bytes) -> Head | None:
        for size in self._sizes:
            head = self._heads.get(response[:size])
            if head is not None:
                return head
        return None


def raw_string(text: bytes) -> bytes:
    """A string as it stands in raw contents."""
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def written(token: Located, texts: tuple[str, ...]) -> bytes:
    """The response with ``texts`` in place of its own."""
    head, response, raws, own = token
    changed = {at: text for (at, before), text in zip(own, texts, strict=True) if text != before}
    if not changed and head.whole:
        out = head.restored + response[len(head.came) :]
    else:
        pieces = [head.restored]
        for at, (output, (tag_at, _, end)) in enumerate(zip(head.outputs, raws, strict=True)):
            if at in changed:
                pieces.append(tagged_bytes(wire.RAW_OUTPUTS, raw_string(changed[at].encode())))
            elif not output.hidden:
                pieces.append(response[tag_at:end])
        out = b"".join(pieces)
    return framed(_RESPONSE_TAG + varint(len(out)) + out)


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
