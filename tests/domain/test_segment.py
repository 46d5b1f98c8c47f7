from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.segment import Origin, Role, Segment

parts = st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=5)


def joined(texts: list[str]) -> Segment:
    seams = [len("".join(texts[:count])) for count in range(1, len(texts))]
    return Segment(
        index=0,
        text="".join(texts),
        role=Role.USER,
        origin=Origin.DIRECT,
        place="messages",
        seams=tuple(seams),
    )


@given(parts)
def test_parts_stand_apart_by_a_line_end_each(texts):
    assert joined(texts).apart == "\n".join(texts)


@given(parts, st.data())
def test_what_stands_in_the_text_apart_stands_in_the_text(texts, drawn):
    segment = joined(texts)
    start = drawn.draw(st.integers(0, len(segment.apart)))
    end = drawn.draw(st.integers(start, len(segment.apart)))
    line_ends = [len("\n".join(texts[:count])) for count in range(1, len(texts))]
    kept = [segment.apart[at] for at in range(start, end) if at not in line_ends]
    assert segment.text[segment.place_of(start) : segment.place_of(end)] == "".join(kept)
