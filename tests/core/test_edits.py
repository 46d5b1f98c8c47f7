from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extproc.core.edits import apply_edits, merge_edits
from extproc.domain.segment import SegmentEdit


def edit(index: int, start: int, end: int, text: str = "#") -> SegmentEdit:
    return SegmentEdit(segment_index=index, start=start, end=end, replacement=text)


def test_overlapping_edits_become_their_union_and_the_leftmost_replaces():
    merged = merge_edits([edit(0, 4, 9, "b"), edit(0, 2, 6, "a"), edit(1, 5, 6, "c")])
    assert merged == (edit(0, 2, 9, "a"), edit(1, 5, 6, "c"))


def test_neighbours_stay_apart():
    assert merge_edits([edit(0, 2, 4), edit(0, 4, 6)]) == (edit(0, 2, 4), edit(0, 4, 6))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 9)), max_size=12))
def test_the_union_is_kept_and_nothing_overlaps(spans):
    edits = [edit(index, start, start + length) for index, start, length in spans]
    merged = merge_edits(edits)

    def places(some):
        return {(one.segment_index, at) for one in some for at in range(one.start, one.end)}

    assert places(merged) == places(edits)
    assert sum(one.end - one.start for one in merged) == len(places(edits))


@given(
    st.text("abc", max_size=12),
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5)), max_size=4),
    st.sets(st.integers(0, 12)),
)
def test_edits_and_seams_of_a_text_are_those_of_its_characters(text, spans, places):
    wanted = [
        edit(0, start, min(start + length, len(text))) for start, length in spans if start < len(text)
    ]
    merged = merge_edits(wanted)
    seams = sorted(place for place in places if place <= len(text))
    covered = {at for one in merged for at in range(one.start, one.end)}
    begins = {one.start for one in merged}
    out = ["#" * (at in begins) + char * (at not in covered) for at, char in enumerate(text)]
    edited, moved = apply_edits(text, merged, seams)
    assert edited == "".join(out)
    assert list(moved) == [len("".join(out[:seam])) for seam in seams]
