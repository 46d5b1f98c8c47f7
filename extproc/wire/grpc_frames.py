"""gRPC's length-prefixed messages: incremental, bounded, and decompressed where they are flagged.

A message is five bytes, a flag and its length in network order, and then its payload. Source: gRPC over
HTTP/2, ``PROTOCOL-HTTP2.md``. A flag without an encoding, a payload that is more or less than one
compressed stream, and whatever exceeds the bounds before or after decompression are refused. ``deflate``
means zlib's format (RFC 1950), ``gzip`` RFC 1952.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX_BYTES: Final = 5
_PREFIX: Final = struct.Struct(">BI")
_PLAIN, _COMPRESSED = 0, 1
# What a compressed message may become whatever its own length is.
_PLAIN_BYTES_MIN: Final = 4_096
# What zlib is told of the format that it meets.
_WINDOW_BITS: Final[Mapping[str, int]] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

ENCODINGS: Final = frozenset({"identity", *_WINDOW_BITS})
"""The values of ``grpc-encoding`` that can be read."""


def framed(payload: bytes) -> bytes:
    """A message that is not compressed."""
    return _PREFIX.pack(_PLAIN, len(payload)) + payload


def opened(payload: bytes, bytes_more: int) -> bytes:
    """The beginning of such a message, of whose payload so many bytes follow."""
    return _PREFIX.pack(_PLAIN, len(payload) + bytes_more) + payload


class FrameReader:
    """Reads one lane of one stream.

    Args:
        encoding: The lane's ``grpc-encoding``, one of ``ENCODINGS``.
        bytes_max: The bound of one message, before and after decompression.
        ratio_max: Bytes that one compressed byte may make, beside what a short message has in advance.
        reason: The reason of every fault but one: where ``status`` is 400, what is too large is
            BODY_TOO_LARGE, 413.
        status: The status of every other fault.
    """

    __slots__ = (
        "_buffer",
        "_bytes_max",
        "_bytes_unread",
        "_encoding",
        "_need",
        "_ratio_max",
        "_reason",
        "_status",
    )

    def __init__(
        self, *, encoding: str, bytes_max: int, ratio_max: int, reason: Reason, status: int
    ) -> None:
        self._encoding = encoding
        self._bytes_max = bytes_max
        self._ratio_max = ratio_max
        self._reason = reason
        self._status = status
        self._buffer = bytearray()
        # Bytes of a chunk whose messages are being read.
        self._bytes_unread = 0
        # Bytes that the buffer must have before looking at it again is worth it.
        self._need = PREFIX_BYTES

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._buffer) + self._bytes_unread

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads of all messages that a chunk completes; see ``messages``."""
        size = len(chunk) - PREFIX_BYTES
        if (
            0 <= size <= self._bytes_max
            and not self._buffer
            and _PREFIX.unpack_from(chunk) == (_PLAIN, size)
        ):
            # One message and nothing else: how nearly every chunk of an answer comes.
            return [chunk[PREFIX_BYTES:]]
        return list(self.messages(chunk))

    def messages(self, chunk: bytes) -> Iterator[bytes]:
        """The payloads of the messages that a chunk completes, each decompressed when it is asked for.

        A small chunk may hold many messages that are large once they are decompressed. Who does not ask
        for all of them must not go on with the lane.

        Raises:
            PeerError: a flag, a length or a compressed payload that cannot be.
        """
        if self._buffer:
            self._buffer += chunk
            if len(self._buffer) < self._need:
                return
            chunk = bytes(self._buffer)
            self._buffer.clear()
        at, end = 0, len(chunk)
        self._need = PREFIX_BYTES
        while end - at >= PREFIX_BYTES:
            flag, size = _PREFIX.unpack_from(chunk, at)
            if size > self._bytes_max:
                raise self._too_large()
            if flag not in {_PLAIN, _COMPRESSED}:
                raise self._fault("a message has an unknown flag")
            if end - at - PREFIX_BYTES < size:
                self._need = PREFIX_BYTES + size
                break
            start = at + PREFIX_BYTES
            at = start + size
            payload = chunk[start:at]
            self._bytes_unread = end - at
            yield payload if flag == _PLAIN else self._decompressed(payload)
        self._bytes_unread = 0
        self._buffer += chunk[at:]

    def end(self) -> None:
        """The lane has ended.

        Raises:
            PeerError: it ended within a message.
        """
        if self._buffer:
            raise self._fault("it ends within a message")

    def _decompressed(self, payload: bytes) -> bytes:
        bits = _WINDOW_BITS.get(self._encoding)
        if bits is None:
            raise self._fault("a message is compressed, and grpc-encoding does not say how")
        stream = zlib.decompressobj(bits)
        bytes_max = min(self._bytes_max, _PLAIN_BYTES_MIN + len(payload) * self._ratio_max)
        try:
            plain = stream.decompress(payload, bytes_max + 1)
        except zlib.error:
            raise self._fault("a message cannot be decompressed") from None
        if len(plain) > bytes_max:
            raise self._too_large()
        if not stream.eof or stream.unused_data or stream.unconsumed_tail:
            raise self._fault("a message is not exactly one compressed stream")
        return plain

    def _too_large(self) -> PeerError:
        what = f"a message exceeds {self._bytes_max} bytes, or decodes to too many"
        if self._status == 400:  # noqa: PLR2004 - the client's own fault has a status of its own.
            return PeerError(Reason.BODY_TOO_LARGE, what, status=413)
        return self._fault(what)

    def _fault(self, what: str) -> PeerError:
        return PeerError(self._reason, f"gRPC: {what}", status=self._status)
