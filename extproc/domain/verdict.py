"""What guards find and decide. No type here can hold text of a request or an answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extproc.domain.segment import Unscanned


class Action(IntEnum):
    """What happens to an exchange. An order, not only a set: a decision is the maximum."""

    ALLOW = 0
    REDACT = 1
    BLOCK = 2


class Mode(StrEnum):
    """Whether a guard acts on what it decides."""

    ENFORCE = auto()
    SHADOW = auto()
    OFF = auto()


class OnError(StrEnum):
    """What a guard's answer is when what it depends on fails."""

    BLOCK = auto()
    ALLOW = auto()


class Stage(IntEnum):
    """The order in which guards run; those of one stage run together."""

    IDENTITY = 0
    ADMISSION = 1
    SCHEMA = 2
    BUDGET = 3
    INSPECT = 4
    TOOLS = 5


class Lane(StrEnum):
    """One direction of a stream."""

    REQUEST = auto()
    RESPONSE = auto()


class Reason(StrEnum):
    """Why a decision is what it is: stable strings for records, metrics and refusals."""

    CLEAN = auto()
    REDACTED = auto()
    API_KEY_MISSING = auto()
    API_KEY_UNKNOWN = auto()
    PATH_NOT_ALLOWED = auto()
    METHOD_NOT_ALLOWED = auto()
    ENCODING_UNSUPPORTED = auto()
    HEADER_INVALID = auto()
    BODY_TOO_LARGE = auto()
    BODY_TIMEOUT = auto()
    BODY_TOO_COMPLEX = auto()
    BODY_INVALID = auto()
    PROMPT_EMPTY = auto()
    PROMPT_TOO_LONG = auto()
    MODEL_NOT_ALLOWED = auto()
    PARAMETER_NOT_ALLOWED = auto()
    CONTENT_UNSCANNED = auto()
    BUDGET_EXCEEDED = auto()
    BUDGET_UNAVAILABLE = auto()
    INJECTION_DETECTED = auto()
    CLASSIFIER_UNAVAILABLE = auto()
    PII_FOUND = auto()
    SECRET_FOUND = auto()
    PROMPT_LEAKED = auto()
    LINK_FOUND = auto()
    TOPIC_BLOCKED = auto()
    TOOL_NOT_ALLOWED = auto()
    OUTPUT_INVALID = auto()
    OUTPUT_TOO_LONG = auto()
    UPSTREAM_ERROR = auto()
    UPSTREAM_UNREADABLE = auto()
    PEER_CLOSED = auto()
    OVERLOADED = auto()
    BODIES_UNAVAILABLE = auto()
    INTERNAL = auto()


class Kept(StrEnum):
    """Whether text of an exchange was kept apart; LOST where it should have been and could not be."""

    NO = auto()
    REDACTED = auto()
    SEALED = auto()
    LOST = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A place where a detector found something.

    ``start`` and ``end`` are code points into the text that was judged, half-open; ``score`` is in
    [0, 1]; ``detector`` names the rule or model. The matched text is deliberately not here.
    """

    entity_type: str
    start: int
    end: int
    score: float
    detector: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedFinding:
    """A finding with where it stood: the lane and the segment's place or the channel's field."""

    lane: Lane
    place: str
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A block to be spoken in the client's own protocol.

    ``message`` comes from a closed list and may name a place and a bound, never content.
    """

    reason: Reason
    status: int
    message: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRecord:
    """One guard's verdict as it stands in the record."""

    guard: str
    owasp: str
    mode: Mode
    action: Action
    reason: Reason
    score: float | None = None
    threshold: float | None = None
    detector: str | None = None
    windows: int | None = None
    degraded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityCount:
    """How often a rule found an entity type in one place of one lane, and in which mode."""

    lane: Lane
    guard: str
    mode: Mode
    entity_type: str
    detector: str
    place: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The verdict on one exchange: one line of the verdict log. Schema: proto/headgate/verdict.proto.

    Times are Unix milliseconds or durations in microseconds, as named. ``model`` is empty unless the
    policy knows the name, ``route`` unless it names the route. ``answer_chars_unread`` are code points
    of the answer that a model should have read and did not in time. ``unscanned`` is what the model got
    although no guard could read it. ``tokens_*`` are None where there was no reservation, ``cost_usd`` (US
    dollars) where the policy has no price or nobody knows the tokens.
    """

    at_unix_ms: int
    request_id: str
    exchange: int
    policy_digest: str
    tenant: str
    key_id: str
    codec: str
    operation: str
    model: str
    action: Action
    reason: Reason
    guard: str
    status: int
    verdicts: tuple[GuardRecord, ...] = ()
    entities: tuple[EntityCount, ...] = ()
    segments_judged: int = 0
    chars_judged: int = 0
    answer_chars_judged: int = 0
    answer_chars_unread: int = 0
    answer_frames: int = 0
    held_chars_max: int = 0
    tokens_reserved: int | None = None
    tokens_settled: int | None = None
    tokens_refunded: int | None = None
    usage_reported: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    upstream_host: str = ""
    upstream_status: int = 0
    judge_us: int = 0
    upstream_first_us: int = 0
    total_us: int = 0
    degraded: bool = False
    bodies: Kept = Kept.NO
    route: str = ""
    unscanned: tuple[Unscanned, ...] = ()
    cost_usd: float | None = None
