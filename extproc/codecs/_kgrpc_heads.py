"""The quick way through a stream's responses: most of one request begin with the same bytes.

A head that was read once is known again by its bytes, id included, so that of the next response only raw
contents are looked at. Whatever is not exactly like it is left to ``_kgrpc_answer`` to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs._kgrpc_parts import COUNTS, FINISH_REASONS
from extproc.codecs._kserve_tensors import LENGTH_BYTES
from extproc.domain.segment import Delta
from extproc.wire.grpc_frames import framed
from extproc.wire.protobuf_fields import spliced, tagged_bytes, varint

if TYPE_CHECKING:
    from extproc.codecs._kgrpc_parts import Asked, Output, Parts

_RAW_TAG: Final = tagged_bytes(wire.RAW_OUTPUTS, b"")[0]
_RESPONSE_TAG: Final = tagged_bytes(wire.INFER_RESPONSE, b"")[:1]
_MORE: Final = 0x80
_LENGTH_BYTES_MAX: Final = 6
_SHIFT_MAX: Final = 35
# Of all open requests; each has one for its last response and one for those before.
_HEADS_MAX: Final = 256


class Head(NamedTuple):
    """What stands before a response's raw contents, of which most responses of a request have the same.

    ``restored`` is how it goes on. ``whole`` says that none of its outputs is hidden.
    """

    asked: Asked
    final: bool
    size: int
    restored: bytes
    outputs: tuple[Output, ...]
    whole: bool


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

    def read(self, payload: bytes) -> Quick | None:
        """A message whose head was seen before; None where it has to be read."""
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
            if output.name in COUNTS:
                counts[output.name] = int.from_bytes(response[start:end], "little")
            if output.raw_bytes and end - start != output.raw_bytes:
                return None
            if output.channel is None and not output.technical:
                continue
            text = _sole_text(response, start, end)
            if text is None or (output.technical and text not in FINISH_REASONS):
                return None
            if output.channel is not None:
                texts.append((at, text))
                deltas.append(Delta(output.channel, text))
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
        head = response[:size]
        within = [edit for edit in parts.edits if edit.path or edit.splice.start < size]
        self._heads[head] = Head(
            asked=parts.asked,
            final=final,
            size=size,
            restored=spliced(response, within, 0, size),
            outputs=tuple(parts.outputs),
            whole=not any(output.hidden for output in parts.outputs),
        )
        parts.asked.heads.append(head)
        if size not in self._sizes:
            self._sizes.append(size)

    def forget(self, asked: Asked) -> None:
        """A request has no further response."""
        for head in asked.heads:
            self._heads.pop(head, None)
        asked.heads.clear()

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
        out = head.restored + response[head.size :]
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
