"""What tokens cost, as the operator's policy says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY_MODEL: Final = "*"
"""Stands in a policy for every model that it does not name."""

_TOKENS_PRICED: Final = 1_000_000
COST_DECIMALS: Final = 12
"""Finer than the price of one token of the cheapest model, and short enough to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a million tokens of one model cost, in US dollars."""

    input: float
    output: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """What so many tokens cost, in US dollars."""
        cost = (self.input * input_tokens + self.output * output_tokens) / _TOKENS_PRICED
        return round(cost, COST_DECIMALS)


def price_of(prices: Mapping[str, Price | None], model: str) -> Price | None:
    """A model's price; None where nobody said one. ``*`` holds for models that are not there."""
    return prices[model] if model in prices else prices.get(ANY_MODEL)
