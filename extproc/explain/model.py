"""What is asked, and what is told.

Only the question can hold text of a request or an answer; and, where it is asked for,
``Explanation.answer``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from extproc.domain.errors import HeadgateError

if TYPE_CHECKING:
    from extproc.domain.bodies import Keep
    from extproc.domain.verdict import Action, Kept, Lane, Mode, Reason


class ExplainError(HeadgateError):
    """The question cannot be put: says which word of it is wrong, and what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as a client would send it; ``body`` is None where it has none.

    Without ``path`` it goes where requests of its shape belong; without ``route`` Envoy names none.
    ``headers`` are further ones, names in lower case. ``answer`` is what the model would say to it, if that
    is asked, or ``answer_body`` what its server would send; ``shows_answer`` asks what the client would
    get of it. A message of gRPC may stand without its frame.
    """

    body: bytes | None
    tenant: str
    method: str = "POST"
    path: str | None = None
    route: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    answer: str | None = None
    answer_body: bytes | None = None
    shows_answer: bool = False

    @property
    def answered(self) -> bool:
        """Whether it says what the model's answer would be."""
        return self.answer is not None or self.answer_body is not None


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
    """What the model server would get instead of the request.

    ``models_shown`` are the only ones that a list of models in its answer may name; None where no guard
    restricts them, or nothing of the kind was asked. ``unscanned`` are kinds of content that go on although
    no guard can read them.
    """

    request_bytes: int
    forwarded_bytes: int
    changes: tuple[Change, ...]
    output_tokens_max: int | None
    asks_for_usage: bool
    headers_removed: tuple[str, ...]
    models_shown: tuple[str, ...] | None = None
    unscanned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBodies:
    """What would be kept of the texts, for a reviewer.

    ``keep``, ``actions`` (of which decisions) and ``lifetime_days`` are the policy's; ``kept`` is what
    becomes of this exchange. ``texts`` and ``size_bytes`` (UTF-8) are what is handed over to be kept.
    """

    keep: Keep
    actions: tuple[str, ...]
    lifetime_days: int
    kept: Kept
    texts: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownText:
    """What the client would get in one place of the answer."""

    choice: int
    place: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would happen.

    ``status`` and ``message`` are the client's; None and empty: the model server's own. ``grpc_status`` is
    that of a refusal to a client of gRPC. ``tokens_reserved`` are held until the answer's end; None where
    there is no reservation. ``bodies`` is None where the policy keeps none. ``answer`` is what the
    client would get of it; None where nobody asked.
    """

    policy_digest: str
    policy: str
    tenant: str
    route: str | None
    method: str
    path: str
    codec: str
    operation: str
    action: Action
    reason: Reason
    guard: str
    status: int | None
    grpc_status: int | None
    message: str
    tokens_reserved: int | None
    steps: tuple[Step, ...]
    forwarded: Forwarded | None
    bodies: KeptBodies | None
    notes: tuple[str, ...]
    answer: tuple[ShownText, ...] | None = None
