"""What an exchange costs."""

from __future__ import annotations

import pytest
from doubles import PRINCIPAL, reservation

from extproc.core.closing import tokens_used
from extproc.core.exchange import Exchange
from extproc.domain.head import RequestHead
from extproc.domain.ports import ExchangeView, RequestMessage
from extproc.domain.segment import Operation, Params


def exchange(*, forwarded=True, cap=50, reserved=100, stream=True, choices=1, **state) -> Exchange:
    message = RequestMessage(
        key=0,
        operation=Operation.TEXT_COMPLETION,
        params=Params(model="m", stream=stream, max_output_tokens=cap, choices_count=choices),
        segments=(),
        inspectable_bytes=1,
    )
    view = ExchangeView(
        exchange_id="s:0",
        head=RequestHead(method="POST", path="/"),
        principal=PRINCIPAL,
        request=message,
    )
    one = Exchange(key=0, view=view, guards=(), at_us=0)
    one.forwarded = forwarded
    one.reservation = reservation(view, reserved)
    for name, value in state.items():
        setattr(one, name, value)
    return one


@pytest.mark.parametrize(
    ("state", "tokens"),
    [
        # The model never saw it.
        ({"forwarded": False}, 0),
        # The upstream's own count, as far as it was seen.
        ({"usage_reported": True, "input_tokens": 7, "output_tokens": 3}, 10),
        # A count that the text belies.
        ({"usage_reported": True, "input_tokens": 7, "output_tokens": 1, "output_bytes": 6400}, 107),
        # It told what it wrote but not what it read: the prompt's estimate, 100 less the cap of 50.
        ({"usage_reported": True, "output_tokens": 3}, 53),
        # No count at all: three bytes a token, and at least one token a frame.
        ({"output_bytes": 30, "answer_frames": 4}, 60),
        ({"output_bytes": 3, "answer_frames": 4}, 54),
        # One frame of a whole answer is no token count.
        ({"output_bytes": 30, "answer_frames": 1, "stream": False}, 60),
        # An error before any text costs nothing; after some, what was seen.
        ({"upstream_error": True}, 0),
        ({"upstream_error": True, "output_bytes": 30}, 60),
        # Nothing came, and nobody said why: the prompt was read.
        ({}, 50),
        # A whole answer of which nothing was seen: the model writes it to its end for nobody.
        ({"stream": False}, 100),
        ({"stream": False, "upstream_error": True}, 0),
        # Two choices of at most 50 were reserved, so nothing is left for the prompt.
        ({"choices": 2, "usage_reported": True, "output_tokens": 8}, 8),
    ],
)
def test_tokens_used(state, tokens):
    assert tokens_used(exchange(**state)) == tokens


def test_without_a_reservation_nothing_is_owed():
    one = exchange()
    one.reservation = None
    assert tokens_used(one) == 0
