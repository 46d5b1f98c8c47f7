"""Cuts body bytes into the pieces that Envoy takes in full duplex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extproc.core.commands import ReplyBody

if TYPE_CHECKING:
    from extproc.domain.verdict import Lane


def body_replies(lane: Lane, data: bytes, *, end_stream: bool, piece_bytes_max: int) -> list[ReplyBody]:
    """Body replies for ``data``; none where there is nothing to say.

    An end of stream without bytes is one empty piece.
    """
    if len(data) <= piece_bytes_max:
        return [ReplyBody(lane, data, end_stream)] if data or end_stream else []
    starts = range(0, len(data), piece_bytes_max)
    last = starts[-1]
    return [
        ReplyBody(lane, data[start : start + piece_bytes_max], end_stream and start == last)
        for start in starts
    ]
