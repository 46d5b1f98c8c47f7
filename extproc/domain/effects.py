"""What core asks of the edge, and what comes back.

An effect is a question that core cannot answer itself; its answer comes back as an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from extproc.domain.identity import Reservation, TokenLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Classify:
    """Score texts with one head of the classifier. ``tenant`` is whose share of it they use."""

    head: str
    texts: tuple[str, ...]
    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScore:
    """The score of one text: the maximum over its windows, in [0, 1].

    ``start`` and ``end`` are the code points of the window that scored highest.
    """

    score: float
    windows: int
    tokens: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The answer to Classify, in the order of its texts."""

    head: str
    model: str
    scores: tuple[TextScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindSpans:
    """Find names, addresses and the like in texts. ``tenant`` is whose share of the model they use."""

    model: str
    texts: tuple[str, ...]
    tenant: str = ""


class ModelSpan(NamedTuple):
    """What a model found in a text, in code points of it, half-open; ``score`` in [0, 1]."""

    entity_type: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """The answer to FindSpans: what was found in each of its texts, in their order."""

    model: str
    spans: tuple[tuple[ModelSpan, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Hold tokens against every limit of a tenant, or against none."""

    reservation: Reservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """The answer to Reserve.

    Where it was not granted, ``limit`` is the one that stood in the way and ``retry_after_ms`` the
    earliest time at which the same request could fit. ``remaining`` is what that limit, or the
    tightest one where granted, still has.
    """

    granted: bool
    limit: TokenLimit
    remaining: int
    retry_after_ms: int
    reset_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Replace a reservation by the tokens that were really used; at most once per reservation."""

    reservation: Reservation
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The answer to Settle: what was charged, and the part of the reservation given back."""

    charged: int
    refunded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Extend the lease of a reservation whose answer still runs."""

    reservation: Reservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The answer to Renew; ``held`` is False where the lease had already run out."""

    held: bool


Effect = Classify | FindSpans | Reserve | Settle | Renew
Answer = Scores | Spans | Reserved | Settled | Renewed
