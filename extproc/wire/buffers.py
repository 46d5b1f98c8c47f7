"""A bounded buffer for a body that must be whole before it can be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extproc.domain.errors import PeerError

if TYPE_CHECKING:
    from extproc.domain.verdict import Reason


class BoundedBody:
    """Collects chunks up to ``bytes_max`` bytes; tiny chunks cost no more than their bytes."""

    __slots__ = ("_buffer", "_bytes_max", "_reason", "_status")

    def __init__(self, *, bytes_max: int, reason: Reason, status: int) -> None:
        self._buffer = bytearray()
        self._bytes_max = bytes_max
        self._reason = reason
        self._status = status

    def feed(self, chunk: bytes) -> None:
        """Take a chunk.

        Raises:
            PeerError: the body exceeds its bound.
        """
        if len(self._buffer) + len(chunk) > self._bytes_max:
            self._buffer.clear()
            raise PeerError(self._reason, f"the body exceeds {self._bytes_max} bytes", status=self._status)
        self._buffer += chunk

    def take(self) -> bytes:
        """All bytes that were fed; the buffer is empty afterwards."""
        body = bytes(self._buffer)
        self._buffer.clear()
        return body
