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


class ContentDecoder:
    """Takes a body's chunks, gives what they decode to: at most ``body_bytes_max`` bytes in all.

    Raises:
        PeerError: ENCODING_UNSUPPORTED, status 415, for any encoding but one of the two, by itself.
    """

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        named = head.headers.get("content-encoding", ())
        self._inflate: zlib._Decompress | None = None
        self._bytes_max = limits.body_bytes_max
        self._given = 0
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
        inflate = self._inflate
        if inflate is None:
            return chunk
        try:
            plain = inflate.decompress(chunk, self._bytes_max - self._given + 1)
        except zlib.error:
            raise PeerError(
                Reason.ENCODING_UNSUPPORTED, "the body is not of its content-encoding", status=415
            ) from None
        self._given += len(plain)
        if self._given > self._bytes_max:
            raise PeerError(
                Reason.BODY_TOO_LARGE, f"the decoded body exceeds {self._bytes_max} bytes", status=413
            )
        if inflate.unused_data:
            raise PeerError(Reason.BODY_INVALID, "there are bytes behind the end of the compressed body")
        if eof and not inflate.eof:
            raise PeerError(Reason.BODY_INVALID, "the compressed body ends too early")
        return plain
