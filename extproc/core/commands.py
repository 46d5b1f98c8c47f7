"""What a stream can ask of the edge. Counterpart: ``events``, what can happen to a stream.

Commands are performed in order. After ``Refuse`` or ``Abort`` no further reply follows; settlement
effects and the record still may.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extproc.core.events import DeadlineKind
    from extproc.domain.bodies import Sample
    from extproc.domain.effects import Effect
    from extproc.domain.head import HeaderEdits
    from extproc.domain.ports import WireRefusal
    from extproc.domain.segment import Unscanned
    from extproc.domain.verdict import Action, Lane, Reason, Record


@dataclass(frozen=True, slots=True)
class ReplyHeaders:
    """Let a lane's head go on, edited."""

    lane: Lane
    edits: HeaderEdits


@dataclass(frozen=True, slots=True)
class ReplyBody:
    """Send body bytes on in a lane: at most ``reply_piece_bytes_max`` of them."""

    lane: Lane
    chunk: bytes
    end_stream: bool


@dataclass(frozen=True, slots=True)
class ReplyTrailers:
    """Let a lane's trailers go on, without those that nobody judged."""

    lane: Lane
    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer in Envoy's place; legal until the answer's head has gone out. ``reason`` is for its log."""

    refusal: WireRefusal
    reason: Reason


@dataclass(frozen=True, slots=True)
class Abort:
    """End the gRPC stream with an error: Envoy answers 500 or cuts the connection."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotate:
    """Tell Envoy's access log, with the next reply, how the stream stands. The last word holds.

    Of several exchanges it is the one with the highest action; tokens, their cost and what went on
    unscanned are those of all. ``model`` is empty unless the policy knows the name.
    """

    action: Action
    reason: Reason
    guard: str
    tenant: str
    key_id: str
    model: str
    policy_digest: str
    degraded: bool
    input_tokens: int
    output_tokens: int
    route: str = ""
    unscanned: tuple[Unscanned, ...] = ()
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class RunEffect:
    """Ask the edge; the answer comes back as EffectDone or EffectFailed with the same id.

    ``exchange`` is the number of the exchange that asks, as in its record. ``owed``: the record waits for
    the answer, so that it is wanted also when the stream is done.
    """

    effect_id: int
    effect: Effect
    deadline_ms: int
    exchange: int
    owed: bool = False


@dataclass(frozen=True, slots=True)
class Enter:
    """The caller is known: count this stream against its tenant's share of the process."""

    tenant: str


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Bring DeadlineReached after this long, replacing an earlier deadline of the same kind."""

    kind: DeadlineKind
    after_ms: int


@dataclass(frozen=True, slots=True)
class ClearDeadline:
    """Forget the deadline of this kind."""

    kind: DeadlineKind


@dataclass(frozen=True, slots=True)
class Emit:
    """Write a verdict record. Exactly one per exchange.

    A ``sample`` is kept first, apart; the record says that it is, and has to say LOST where that failed.
    """

    record: Record
    sample: Sample | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ReportBug:
    """A bug was met: the exception's type and where it was raised, never its text."""

    kind: str
    where: str


@dataclass(frozen=True, slots=True)
class ReportUnread:
    """Text of an answer went out that a model had not read in time; said once for a stream."""

    request_id: str


Command = (
    ReplyHeaders
    | ReplyBody
    | ReplyTrailers
    | Refuse
    | Abort
    | Annotate
    | RunEffect
    | Enter
    | SetDeadline
    | ClearDeadline
    | Emit
    | ReportBug
    | ReportUnread
)

# What is written to Envoy.
REPLIES = (ReplyHeaders, ReplyBody, ReplyTrailers, Refuse, Annotate)
