"""Merges the edits of several guards, all made on the original text, into edits that do not overlap."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from extproc.domain.segment import SegmentEdit


def merge_edits(edits: Iterable[SegmentEdit]) -> tuple[SegmentEdit, ...]:
    """The union of the edits' spans, ordered; where they overlap the leftmost, then longest, replaces.

    What any guard wanted gone is gone.
    """
    merged: list[SegmentEdit] = []
    for edit in sorted(edits, key=lambda one: (one.segment_index, one.start, -one.end)):
        last = merged[-1] if merged else None
        if last is not None and last.segment_index == edit.segment_index and edit.start < last.end:
            merged[-1] = replace(last, end=max(last.end, edit.end))
        else:
            merged.append(edit)
    return tuple(merged)


def apply_edits(
    text: str, edits: Iterable[SegmentEdit], seams: Sequence[int] = ()
) -> tuple[str, tuple[int, ...]]:
    """A segment's text with edits that do not overlap, in order; and where its seams are then."""
    pieces: list[str] = []
    # Of each edit where it begins, where what follows it does, and how long the text then is.
    starts, ends, written = [], [0], [0]
    for edit in edits:
        pieces += (text[ends[-1] : edit.start], edit.replacement)
        written.append(written[-1] + len(pieces[-2]) + len(pieces[-1]))
        starts.append(edit.start)
        ends.append(edit.end)
    pieces.append(text[ends[-1] :])
    moved = []
    for seam in seams:
        at = bisect_right(ends, seam) - 1
        # A seam within an edit moves behind what replaces it.
        within = at < len(starts) and seam > starts[at]
        moved.append(written[at + 1] if within else written[at] + seam - ends[at])
    return "".join(pieces), tuple(moved)
