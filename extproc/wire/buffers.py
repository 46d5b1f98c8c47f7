"""A bounded buffer for a body that must be whole before it can be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extproc.domain.errors import PeerError

if TYPE_CHECKING:
    from extproc.domain.verdict import Reason


class BoundedBody:
    """Collects chunks up to ``bytes_max`` bytes."""

    __slots__ = ("_bytes_max", "_chunks", "_length", "_reason", "_status")

    def __init__(self, *, bytes_max: int, reason: Reason, status: int) -> None:
        self._chunks: list[bytes] = []
        self._length = 0
        self._bytes_max = bytes_max
        self._reason = reason
        self._status = status

    def feed(self, chunk: bytes) -> None:
        """Take a chunk.

        Raises:
            PeerError: the body exceeds its bound.
        """
        self._length += len(chunk)
        if self._length > self._bytes_max:
            self._chunks.clear()
            raise PeerError(self._reason, f"the body exceeds {self._bytes_max} bytes", status=self._status)
        if chunk:
            self._chunks.append(chunk)

    def take(self) -> bytes:
        """All bytes that were fed; the buffer is empty afterwards."""
        body = b"".join(self._chunks)
        self._chunks.clear()
        self._length = 0
        return body
