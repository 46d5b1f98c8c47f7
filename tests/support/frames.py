"""What a codec's frames say, whatever the chunks were: a run stands for a frame of each of its texts."""

from __future__ import annotations

from collections.abc import Iterable

from extproc.domain.ports import ResponseFrame


def spread(frames: Iterable[ResponseFrame]) -> list[ResponseFrame]:
    """The frames without their tokens, runs as the frames that they stand for."""
    found: list[ResponseFrame] = []
    for frame in frames:
        each = [(delta,) for delta in frame.deltas] if frame.is_run else [frame.deltas]
        found += [frame._replace(deltas=deltas, token=None, is_run=False) for deltas in each]
    return found
