import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.prices import Price, price_of

PRICE = Price(input=0.15, output=0.6)


def test_a_price_is_for_a_million_tokens():
    assert PRICE.of(1_000_000, 0) == 0.15
    assert PRICE.of(1_000_000, 1_000_000) == 0.75


def test_a_token_of_the_cheapest_model_is_not_lost_and_no_noise_is_left():
    assert Price(input=0.01, output=0.1).of(1, 0) == 1e-8
    assert Price(input=0.1, output=0.2).of(1, 1) == 3e-7


@pytest.mark.parametrize(
    ("prices", "model", "price"),
    [
        ({}, "m", None),
        ({"m": PRICE}, "m", PRICE),
        ({"m": PRICE}, "other", None),
        ({"*": PRICE}, "other", PRICE),
        ({"*": PRICE}, "", PRICE),
        # One that is there without a price has none: it may be free, or nobody's business.
        ({"m": None, "*": PRICE}, "m", None),
    ],
)
def test_a_models_price(prices, model, price):
    assert price_of(prices, model) == price


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 2**31))
def test_more_tokens_never_cost_less(one, more, output):
    assert PRICE.of(one, output) <= PRICE.of(one + more, output)
