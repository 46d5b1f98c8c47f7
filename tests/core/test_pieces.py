from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extproc.core.commands import ReplyBody
from extproc.core.pieces import body_replies
from extproc.domain.verdict import Lane


@given(st.binary(max_size=200), st.booleans(), st.integers(1, 64))
def test_pieces_are_the_bytes_and_end_once(data, end, piece_max):
    pieces = body_replies(Lane.REQUEST, data, end_stream=end, piece_bytes_max=piece_max)
    assert b"".join(one.chunk for one in pieces) == data
    assert all(len(one.chunk) <= piece_max for one in pieces)
    assert [one.end_stream for one in pieces].count(True) == int(end)
    assert not end or pieces[-1].end_stream


def test_nothing_to_say_is_no_reply():
    assert body_replies(Lane.RESPONSE, b"", end_stream=False, piece_bytes_max=5) == []


def test_an_end_without_bytes_is_one_empty_piece():
    assert body_replies(Lane.RESPONSE, b"", end_stream=True, piece_bytes_max=5) == [
        ReplyBody(Lane.RESPONSE, b"", end_stream=True)
    ]
