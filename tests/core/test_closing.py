"""What an exchange costs."""

from __future__ import annotations

import pytest
from doubles import PRINCIPAL, reservation

from extproc.core.closing import cost_of, tokens_spent, tokens_used, unscanned_by
from extproc.core.exchange import Exchange
from extproc.domain.head import RequestHead
from extproc.domain.ports import ExchangeView, RequestMessage
from extproc.domain.prices import Price
from extproc.domain.segment import Operation, Params, Unscanned


def exchange(
    *,
    forwarded=True,
    cap=50,
    reserved=100,
    stream=True,
    choices=1,
    sampling=None,
    operation=Operation.TEXT_COMPLETION,
    **state,
) -> Exchange:
    message = RequestMessage(
        key=0,
        operation=operation,
        params=Params(
            model="m",
            stream=stream,
            max_output_tokens=cap,
            choices_count=choices,
            sampling=sampling or {},
        ),
        segments=(),
        inspectable_bytes=1,
        unscanned=frozenset({Unscanned.TENSOR, Unscanned.IMAGE}),
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
        (
            {
                "usage_reported": True,
                "input_tokens": 7,
                "output_tokens": 1,
                "output_bytes": 6400,
                "counted_bytes": 6400,
            },
            107,
        ),
        # A count that more text follows: by length, and at least one token a frame.
        (
            {
                "usage_reported": True,
                "output_tokens": 1,
                "counted_frames": 1,
                "answer_frames": 2001,
                "output_bytes": 8001,
            },
            50 + 1 + 2667,
        ),
        (
            {
                "usage_reported": True,
                "output_tokens": 5,
                "counted_frames": 5,
                "counted_bytes": 20,
                "answer_frames": 8,
                "output_bytes": 23,
            },
            50 + 5 + 3,
        ),
        # What follows the last count is how a stream ends.
        (
            {
                "usage_reported": True,
                "output_tokens": 5,
                "counted_frames": 5,
                "counted_bytes": 20,
                "answer_frames": 6,
                "output_bytes": 20,
            },
            50 + 5,
        ),
        # Candidates that nobody gets, up to what was reserved; and above it only what was seen.
        (
            {
                "usage_reported": True,
                "input_tokens": 7,
                "output_tokens": 8,
                "choices": 4,
                "cap": 20,
                "sampling": {"best_of": 4},
            },
            7 + 32,
        ),
        (
            {
                "usage_reported": True,
                "input_tokens": 7,
                "output_tokens": 19,
                "choices": 6,
                "cap": 10,
                "sampling": {"best_of": 2, "beam_width": 3, "n": 1},
            },
            7 + 60,
        ),
        ({"output_bytes": 30, "choices": 4, "cap": 20, "sampling": {"best_of": 4}}, 20 + 40),
        (
            {
                "usage_reported": True,
                "output_tokens": 90,
                "choices": 4,
                "cap": 20,
                "sampling": {"best_of": 4},
            },
            20 + 90,
        ),
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


# Two dollars for a million tokens read, ten for a million written.
PRICES = {"m": Price(input=2, output=10)}


@pytest.mark.parametrize(
    ("state", "spent", "cost_usd"),
    [
        ({"forwarded": False}, (0, 0), 0.0),
        ({"usage_reported": True, "input_tokens": 7, "output_tokens": 3}, (7, 3), 0.000044),
        # The prompt's estimate, and what the answer's length tells.
        ({"output_bytes": 30, "answer_frames": 4}, (50, 10), 0.0002),
        # The model writes a whole answer to its end, also for a client that left.
        ({"stream": False}, (50, 50), 0.0006),
        ({"upstream_error": True}, (0, 0), 0.0),
        # Without a reservation only a count tells.
        (
            {"reservation": None, "usage_reported": True, "input_tokens": 7, "output_tokens": 3},
            (7, 3),
            0.000044,
        ),
        ({"reservation": None, "output_bytes": 30}, None, None),
    ],
)
def test_what_an_exchange_costs(state, spent, cost_usd):
    one = exchange(**state)
    assert tokens_spent(one) == spent
    assert cost_of(one, PRICES) == cost_usd


@pytest.mark.parametrize("prices", [{}, {"other": Price(input=1, output=1)}, {"m": None, "*": PRICES["m"]}])
def test_without_a_price_nobody_knows_the_cost(prices):
    assert cost_of(exchange(), prices) is None


def test_a_price_for_every_other_model():
    assert cost_of(exchange(), {"*": PRICES["m"]}) == cost_of(exchange(), PRICES) == 0.0001


def test_reading_costs_nothing_that_anyone_counts():
    assert cost_of(exchange(operation=Operation.READ_ONLY), PRICES) is None


@pytest.mark.parametrize(("forwarded", "kinds"), [(True, (Unscanned.IMAGE, Unscanned.TENSOR)), (False, ())])
def test_unscanned_is_what_the_model_got(forwarded, kinds):
    assert unscanned_by(exchange(forwarded=forwarded)) == kinds
