"""What can happen to a stream. Counterpart: ``commands``, what a stream can ask for.

Every event carries ``at_us``, the edge's monotonic clock in microseconds: core has no clock of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.effects import Answer
    from extproc.domain.errors import FailureKind
    from extproc.domain.head import RequestHead, ResponseHead


class DeadlineKind(StrEnum):
    """What ran out of time."""

    REQUEST_BODY = auto()
    LEASE = auto()
    ANSWER = auto()


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """The request's head; ``end_stream`` where it has no body."""

    at_us: int
    head: RequestHead
    end_stream: bool


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A chunk of the request's body. Boundaries mean nothing."""

    at_us: int
    chunk: bytes
    end_stream: bool


@dataclass(frozen=True, slots=True)
class RequestTrailers:
    """The request ended with trailers, of which only the names matter: no codec reads their text."""

    at_us: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponseHeaders:
    """The upstream's head; ``end_stream`` where the answer has no body."""

    at_us: int
    head: ResponseHead
    end_stream: bool
    upstream_host: str = ""


@dataclass(frozen=True, slots=True)
class ResponseBody:
    """A chunk of the answer's body. Boundaries mean nothing."""

    at_us: int
    chunk: bytes
    end_stream: bool


@dataclass(frozen=True, slots=True)
class ResponseTrailers:
    """The answer ended with trailers, which some wires read."""

    at_us: int
    trailers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class EffectDone:
    """The answer to an effect."""

    at_us: int
    effect_id: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class EffectFailed:
    """An effect that its dependency did not answer."""

    at_us: int
    effect_id: int
    kind: FailureKind


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """A deadline that a SetDeadline asked for has passed."""

    at_us: int
    kind: DeadlineKind


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """Envoy ended the stream: the client left, the upstream broke off, or all was said."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Overloaded:
    """The process holds as many request bodies as it may: this one came too much."""

    at_us: int


@dataclass(frozen=True, slots=True)
class Crashed:
    """The edge met a bug while it performed this stream's commands."""

    at_us: int


Event = (
    RequestHeaders
    | RequestBody
    | RequestTrailers
    | ResponseHeaders
    | ResponseBody
    | ResponseTrailers
    | EffectDone
    | EffectFailed
    | DeadlineReached
    | PeerClosed
    | Overloaded
    | Crashed
)
