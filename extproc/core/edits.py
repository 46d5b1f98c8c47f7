"""Merges the edits of several guards, all made on the original text, into edits that do not overlap."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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
