from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._openai_segments import Change, Piece, edited_pieces, segment_splices
from extproc.domain.segment import SegmentEdit
from extproc.wire.splice import splice
from extproc.wire.strict_json import Array, Text, parse


class CountingList(list):
    """Counts how often one of its items is looked at."""

    looks = 0

    def __getitem__(self, at):
        self.looks += 1
        return super().__getitem__(at)


def pieces_of(document: bytes, gap: int) -> tuple[Piece, ...]:
    """The strings of an array as the pieces of one segment, so many characters apart."""
    root = parse(document)
    assert isinstance(root, Array)
    pieces, at = [], 0
    for text in root.items:
        assert isinstance(text, Text)
        pieces.append(Piece(at, text.value, text.start, text.end))
        at += len(text.value) + gap
    return tuple(pieces)


def expected(texts: list[str], gap: int, edits: list[tuple[int, int]]) -> list[str]:
    """Character by character: what no edit covers stays; a replacement stands where its edit begins."""
    length = sum(map(len, texts)) + gap * len(texts)
    covered = {at for start, end in edits for at in range(start, end)}
    first = [at for at in sorted(covered) if any(start == at for start, _ in edits)]
    begins = {at for at in first if not any(start < at < end for start, end in edits)}
    out, at = [], 0
    for text in texts:
        chars = [
            ("#" if place in begins else "") + ("" if place in covered else char)
            for place, char in enumerate(text, at)
        ]
        out.append("".join(chars))
        at += len(text) + gap
    assert at == length
    return out


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5),
    st.integers(0, 1),
    st.lists(st.tuples(st.integers(0, 24), st.integers(1, 9)), max_size=5),
)
def test_what_edits_cover_goes_whatever_pieces_it_stands_in(texts, gap, places):
    document = json.dumps(texts).encode()
    edits = [(start, start + length) for start, length in places]
    wanted = [SegmentEdit(segment_index=0, start=one, end=end, replacement="#") for one, end in edits]
    splices, key_edited = segment_splices(document, [pieces_of(document, gap)], wanted)
    assert json.loads(splice(document, splices)) == expected(texts, gap, edits)
    assert not key_edited


def test_many_edits_of_many_pieces_are_made_in_one_walk():
    count = 2_000
    document = json.dumps(["a@b.co"] * count).encode()
    changes = CountingList(Change(at * 7, at * 7 + 6, "#") for at in range(count))
    changed = list(edited_pieces(pieces_of(document, 1), changes))
    assert [text for _, text in changed] == ["#"] * count
    assert changes.looks < 20 * count
