from __future__ import annotations

import pytest

from extproc.core import events as ev
from extproc.core.transitions import Illegal, LaneState, follow
from extproc.domain.head import RequestHead

HEAD = RequestHead(method="POST", path="/")
HEADERS = {end: ev.RequestHeaders(1, HEAD, end) for end in (False, True)}
BODY = {end: ev.RequestBody(1, b"x", end) for end in (False, True)}
TRAILERS = ev.RequestTrailers(1)


@pytest.mark.parametrize(
    ("state", "event", "following"),
    [
        (LaneState.IDLE, HEADERS[False], LaneState.OPEN),
        (LaneState.IDLE, HEADERS[True], LaneState.ENDED),
        (LaneState.OPEN, BODY[False], LaneState.OPEN),
        (LaneState.OPEN, BODY[True], LaneState.ENDED),
        (LaneState.OPEN, TRAILERS, LaneState.ENDED),
        (LaneState.ENDED, BODY[True], None),
        (LaneState.ENDED, BODY[False], None),
        (LaneState.ENDED, TRAILERS, None),
    ],
)
def test_legal_steps(state, event, following):
    assert follow(state, event) == following


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (LaneState.IDLE, BODY[False]),
        (LaneState.IDLE, BODY[True]),
        (LaneState.IDLE, TRAILERS),
        (LaneState.OPEN, HEADERS[False]),
        (LaneState.OPEN, HEADERS[True]),
        (LaneState.ENDED, HEADERS[False]),
    ],
)
def test_what_is_not_in_the_table_is_illegal(state, event):
    with pytest.raises(Illegal):
        follow(state, event)
