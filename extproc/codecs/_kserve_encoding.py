"""A request body as it was before its client compressed it: gzip and deflate (RFC 1950 and 1952), bounded.

Triton takes both on infer. The upstream gets the plain body, so that what was judged is what it reads.
"""

from __future__ import annotations

import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.head import RequestHead
    from extproc.domain.limits import Limits

_IDENTITY: Final = "identity"
# What zlib calls the two formats: the size of the window, and 16 for gzip's own header. Without a header of
# either kind a body is refused.
_WINDOWS: Final[Mapping[str, int]] = MappingProxyType(
    {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
)

# How often the ratio is looked at, and what of it a short body has in advance.
_SLICE_BYTES: Final = 1024


class ContentDecoder:
    """Takes a body's chunks, gives what they decode to.

    That is at most ``body_bytes_max`` bytes in all, and ``decoded_ratio_max`` for each that came.

    Raises:
        PeerError: ENCODING_UNSUPPORTED, status 415, for any encoding but one of the two, by itself.
    """

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        named = head.headers.get("content-encoding", ())
        self._inflate: zlib._Decompress | None = None
        self._bytes_max = limits.body_bytes_max
        self._ratio_max = limits.decoded_ratio_max
        self._taken = self._given = 0
        if named in ((), (_IDENTITY,)):
            return
        window = _WINDOWS.get(named[0]) if len(named) == 1 else None
        if window is None:
            raise PeerError(
                Reason.ENCODING_UNSUPPORTED,
                "content-encoding must be identity, gzip or deflate",
                status=415,
            )
        self._inflate = zlib.decompressobj(window)

    @property
    def decodes(self) -> bool:
        """Whether the body is encoded at all."""
        return self._inflate is not None

    def feed(self, chunk: bytes, *, eof: bool) -> bytes:
        """What a chunk decodes to.

        Raises:
            PeerError: it is not of the encoding that was named, is cut short, has bytes behind its end, or
                decodes to more than a body may have.
        """
        if self._inflate is None:
            return chunk
        plain = bytearray()
        begin = 0
        while begin < len(chunk) or eof:
            # Slices lie where they do however the body is cut, and so does the check of each.
            end = begin + _SLICE_BYTES - self._taken % _SLICE_BYTES
            plain += self._decoded(self._inflate, chunk[begin:end])
            if end >= len(chunk):
                break
            begin = end
        if eof and not self._inflate.eof:
            raise PeerError(Reason.BODY_INVALID, "the compressed body ends too early")
        return bytes(plain)

    def _decoded(self, inflate: zlib._Decompress, piece: bytes) -> bytes:
        room = self._ratio_max * (self._taken - self._taken % _SLICE_BYTES + _SLICE_BYTES)
        room = min(self._bytes_max, room) - self._given
        try:
            plain = inflate.decompress(piece, room + 1)
        except zlib.error:
            raise PeerError(
                Reason.ENCODING_UNSUPPORTED, "the body is not of its content-encoding", status=415
            ) from None
        self._taken += len(piece)
        self._given += len(plain)
        if len(plain) > room:
            raise PeerError(Reason.BODY_TOO_LARGE, "the body decodes to too many bytes", status=413)
        if inflate.unused_data:
            raise PeerError(Reason.BODY_INVALID, "there are bytes behind the end of the compressed body")
        return plain
