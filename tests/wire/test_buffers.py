from __future__ import annotations

import pytest

from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody


def body(bytes_max: int) -> BoundedBody:
    return BoundedBody(bytes_max=bytes_max, reason=Reason.BODY_TOO_LARGE, status=413)


def test_chunks_are_joined_and_taken_once():
    buffer = body(6)
    for chunk in (b"ab", b"", b"cdef"):
        buffer.feed(chunk)
    assert (buffer.take(), buffer.take()) == (b"abcdef", b"")


def test_one_byte_too_many_is_refused():
    buffer = body(3)
    buffer.feed(b"abc")
    with pytest.raises(PeerError, match="the body exceeds 3 bytes") as caught:
        buffer.feed(b"d")
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)
