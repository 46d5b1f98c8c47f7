"""What is asked, and what is told. Only the question can hold text of a request or an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from extproc.domain.errors import HeadgateError

if TYPE_CHECKING:
    from extproc.domain.verdict import Action, Lane, Mode, Reason


class ExplainError(HeadgateError):
    """The question cannot be put: says which word of it is wrong, and what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as a client would send it.

    Without ``path`` it goes where requests of its shape belong; without ``route`` Envoy names none.
    ``answer`` is what the model would say to it, if that is asked.
    """

    body: bytes
    tenant: str
    path: str | None = None
    route: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A finding: code points into the text at ``place``, half-open."""

    lane: Lane
    place: str
    entity_type: str
    detector: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one guard did; those with the stage ANSWER stand for what it did to the answer.

    ``action`` is allow, redact, block, off, skipped (its classifier was left out) or not reached.
    """

    stage: str
    guard: str
    owasp: str
    mode: Mode
    action: str
    reason: str = ""
    score: float | None = None
    threshold: float | None = None
    detector: str | None = None
    found: tuple[Found, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Code points of a place that are replaced, and how many take their place."""

    place: str
    start: int
    end: int
    replacement_chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """What the model server would get instead of the request."""

    request_bytes: int
    forwarded_bytes: int
    changes: tuple[Change, ...]
    output_tokens_max: int | None
    asks_for_usage: bool
    headers_removed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would happen.

    ``status`` and ``message`` are the client's; None and empty: the model server's own.
    ``tokens_reserved`` are held until the answer's end; None where there is no reservation.
    """

    policy_digest: str
    policy: str
    tenant: str
    route: str | None
    path: str
    codec: str
    operation: str
    action: Action
    reason: Reason
    guard: str
    status: int | None
    message: str
    tokens_reserved: int | None
    steps: tuple[Step, ...]
    forwarded: Forwarded | None
    notes: tuple[str, ...]
