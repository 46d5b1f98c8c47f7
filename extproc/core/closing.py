"""How an exchange ends: the effects that are under way for it, what it cost, and its one record."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

from extproc.core import commands as cmd
from extproc.core.events import DeadlineKind
from extproc.domain.effects import Classify, Renew, Reserve, Reserved, Settle, Settled
from extproc.domain.errors import FailureKind
from extproc.domain.prices import COST_DECIMALS, price_of
from extproc.domain.segment import Operation
from extproc.domain.verdict import Action, OnError, Reason, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from extproc.core.exchange import Exchange
    from extproc.domain.effects import Answer, Effect
    from extproc.domain.identity import Reservation
    from extproc.domain.limits import Limits
    from extproc.domain.ports import BoundGuard
    from extproc.domain.prices import Price
    from extproc.domain.segment import Unscanned

# Upstreams without token counts are charged by length; a token of text has at least about 3 bytes.
_BYTES_PER_TOKEN = 3
_BYTES_PER_TOKEN_MAX = 64
# Candidates that the model writes in full, and of which upstreams return and count the best only.
_UNRETURNED = ("best_of", "beam_width")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What the records of one stream share."""

    request_id: str
    at_unix_ms: int
    at_us: int
    policy_digest: str
    known_models: frozenset[str]
    prices: Mapping[str, Price | None] = field(default_factory=lambda: MappingProxyType({}))
    route: str = ""
    codec: str = ""
    upstream_host: str = ""
    upstream_status: int = 0


def tokens_used(exchange: Exchange) -> int:
    """What the exchange really cost, in tokens; nothing where none were reserved. See ``tokens_spent``."""
    spent = None if exchange.reservation is None else tokens_spent(exchange)
    return 0 if spent is None else sum(spent)


def tokens_spent(exchange: Exchange) -> tuple[int, int] | None:
    """The exchange's tokens of input and of output; None where nobody knows.

    None at all where the model never saw the request, or answered with an error before any text. All that
    was reserved where a whole answer was asked for and none was seen: the model goes on writing when such a
    client leaves. Else the upstream's own count as far as it was seen; without one, the prompt's estimate.
    What came after the last count, or without any, goes by length: three bytes a token, and at least one
    token a frame.
    """
    silent = exchange.output_bytes == 0 and not exchange.usage_reported
    if not exchange.forwarded or (exchange.upstream_error and silent):
        return 0, 0
    reservation = exchange.reservation
    written = _tokens_written(exchange)
    if reservation is None:
        written *= _unreturned(exchange)
        return (exchange.input_tokens, written) if exchange.usage_reported else None
    params = exchange.request.params
    prompt_estimate = max(reservation.tokens - params.choices_count * (params.max_output_tokens or 0), 0)
    output_reserved = reservation.tokens - prompt_estimate
    if silent and not params.stream and not exchange.answer_frames:
        return prompt_estimate, output_reserved
    written = max(written, min(written * _unreturned(exchange), output_reserved))
    return exchange.input_tokens or prompt_estimate, written


def _tokens_written(exchange: Exchange) -> int:
    """The tokens of the answer as far as it was seen."""
    # No tokenizer makes this few tokens of so many bytes: the count is wrong or a lie.
    counted = max(exchange.output_tokens, exchange.counted_bytes // _BYTES_PER_TOKEN_MAX)
    bytes_since = exchange.output_bytes - exchange.counted_bytes
    by_length = -(-bytes_since // _BYTES_PER_TOKEN)
    # What follows a whole count has no text: it is how the stream ends.
    by_frames = exchange.request.params.stream and (bytes_since or not exchange.usage_reported)
    return counted + max(by_length, exchange.answer_frames - exchange.counted_frames if by_frames else 0)


def _unreturned(exchange: Exchange) -> int:
    """How often the model may have written what the answer shows and counts once."""
    sampling = exchange.request.params.sampling
    asked = [sampling.get(name, 1) for name in _UNRETURNED]
    return prod(count for count in asked if isinstance(count, int) and count > 1)


def cost_of(exchange: Exchange, prices: Mapping[str, Price | None]) -> float | None:
    """What the exchange cost in US dollars; None without a price, or where nobody knows the tokens."""
    request = exchange.view.request
    if not prices or request is None or request.operation is Operation.READ_ONLY:
        return None
    price = price_of(prices, request.params.model)
    spent = None if price is None else tokens_spent(exchange)
    return None if price is None or spent is None else price.of(*spent)


def unscanned_by(exchange: Exchange) -> tuple[Unscanned, ...]:
    """What the model got of the exchange although no guard could read it."""
    return tuple(sorted(exchange.request.unscanned)) if exchange.forwarded else ()


def record_of(
    exchange: Exchange, facts: StreamFacts, *, at_us: int, status: int, settled: Settled | None
) -> Record:
    """The exchange's one record."""
    request = exchange.view.request
    principal = exchange.view.principal
    model = request.params.model if request is not None else ""
    segments = request.segments if request is not None else ()
    return Record(
        at_unix_ms=facts.at_unix_ms + (at_us - facts.at_us) // 1000,
        request_id=facts.request_id,
        exchange=max(exchange.key, 0),
        policy_digest=facts.policy_digest,
        tenant=principal.tenant if principal is not None else "",
        key_id=principal.key_id if principal is not None else "",
        codec=facts.codec,
        operation=request.operation if request is not None else "",
        model=model if model in facts.known_models else "",
        action=exchange.action,
        reason=exchange.reason,
        guard=exchange.guard,
        status=status,
        verdicts=tuple(exchange.verdicts),
        entities=exchange.entity_counts(),
        segments_judged=len(segments) if exchange.decided else 0,
        chars_judged=sum(len(segment.text) for segment in segments) if exchange.decided else 0,
        answer_chars_judged=exchange.answer_chars,
        answer_chars_unread=exchange.answer_chars_unread,
        answer_frames=exchange.answer_frames,
        held_chars_max=exchange.held_chars_max,
        tokens_reserved=exchange.reservation.tokens if exchange.reservation is not None else None,
        tokens_settled=settled.charged if settled is not None else None,
        tokens_refunded=settled.refunded if settled is not None else None,
        usage_reported=exchange.usage_reported,
        input_tokens=exchange.input_tokens,
        output_tokens=exchange.output_tokens,
        upstream_host=facts.upstream_host if exchange.forwarded else "",
        upstream_status=facts.upstream_status if exchange.forwarded else 0,
        judge_us=_elapsed(exchange.at_us, exchange.decided_at_us),
        upstream_first_us=_elapsed(exchange.forwarded_at_us, exchange.first_frame_at_us),
        total_us=at_us - exchange.at_us,
        degraded=exchange.degraded,
        route=facts.route,
        unscanned=unscanned_by(exchange),
        cost_usd=cost_of(exchange, facts.prices),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """What came of the exchanges of a stream that are closed, of which core may forget the rest."""

    cost_usd: float | None = None
    unscanned: frozenset[Unscanned] = frozenset()

    def and_also(self, exchange: Exchange, prices: Mapping[str, Price | None]) -> Over:
        """The same with one more exchange."""
        costs = [one for one in (self.cost_usd, cost_of(exchange, prices)) if one is not None]
        total = round(sum(costs), COST_DECIMALS) if costs else None
        return Over(cost_usd=total, unscanned=self.unscanned.union(unscanned_by(exchange)))


def annotation_of(exchanges: Sequence[Exchange], facts: StreamFacts, over: Over) -> cmd.Annotate:
    """How a stream of one or more exchanges stands, for Envoy's access log."""
    gravest = max(exchanges, key=lambda one: one.action)
    failed = gravest.upstream_error and gravest.action is Action.ALLOW
    principal, request = gravest.view.principal, gravest.view.request
    model = request.params.model if request is not None else ""
    for one in exchanges:
        over = over if one.closed else over.and_also(one, facts.prices)
    return cmd.Annotate(
        action=gravest.action,
        reason=Reason.UPSTREAM_ERROR if failed else gravest.reason,
        guard=gravest.guard,
        tenant=principal.tenant if principal is not None else "",
        key_id=principal.key_id if principal is not None else "",
        model=model if model in facts.known_models else "",
        policy_digest=facts.policy_digest,
        degraded=any(one.degraded for one in exchanges),
        input_tokens=sum(one.input_tokens for one in exchanges),
        output_tokens=sum(one.output_tokens for one in exchanges),
        route=facts.route,
        unscanned=tuple(sorted(over.unscanned)),
        cost_usd=over.cost_usd,
    )


def _elapsed(start_us: int, end_us: int | None) -> int:
    return max(end_us - start_us, 0) if start_us and end_us else 0


class Books:
    """What a stream owes: effects under way, reservations to settle, records to write.

    It collects commands; the stream takes them at the end of each event.
    """

    def __init__(self, *, facts: StreamFacts, limits: Limits) -> None:
        self.now_us = facts.at_us
        self._facts = facts
        self._limits = limits
        self._commands: list[cmd.Command] = []
        self._effects = 0
        self._reserving: dict[int, tuple[Exchange, Reservation, OnError]] = {}
        self._asked: set[int] = set()
        self._settling: dict[int, tuple[Exchange, int]] = {}
        self._closed_early: dict[int, int] = {}
        # Records that wait for models that only tell.
        self._untold: dict[int, tuple[Exchange, int, Settled | None, int]] = {}
        self._renewing = False
        self._told: cmd.Annotate | None = None
        self._over = Over()

    @property
    def status(self) -> int:
        """The upstream's status; 0 before it answered."""
        return self._facts.upstream_status

    @property
    def settled(self) -> bool:
        """Whether nothing is owed any more."""
        return not self._reserving and not self._settling and not self._untold

    @property
    def request_id(self) -> str:
        """The id that users and logs know the stream by."""
        return self._facts.request_id

    def named(self, request_id: str | None) -> None:
        """Take Envoy's request id, if it is a UUID: anything else could carry text into a log."""
        if request_id is not None and _UUID.fullmatch(request_id):
            self._facts = replace(self._facts, request_id=request_id.lower())

    def codec(self, name: str) -> None:
        """Note which codec reads the stream."""
        self._facts = replace(self._facts, codec=name)

    def upstream(self, host: str, status: int) -> None:
        """Note who answered, and with what status."""
        self._facts = replace(self._facts, upstream_host=host, upstream_status=status)

    def annotate(self, exchanges: Sequence[Exchange]) -> list[cmd.Command]:
        """What Envoy's access log should hear of the stream, where it has not heard it yet."""
        if not exchanges:
            return []
        annotation = annotation_of(exchanges, self._facts, self._over)
        if annotation == self._told:
            return []
        self._told = annotation
        return [annotation]

    def take_commands(self) -> list[cmd.Command]:
        """The commands since the last call."""
        commands, self._commands = self._commands, []
        return commands

    def ask(self, exchange: Exchange, bound: BoundGuard, effect: Effect) -> int:
        """Run a guard's effect; gives its id."""
        deadline_ms = self._limits.ledger_deadline_ms
        if isinstance(effect, Classify):
            deadline_ms = self._limits.classify_deadline_ms
        effect_id = self._run(exchange, effect, deadline_ms)
        self._asked.add(effect_id)
        if isinstance(effect, Reserve):
            self._reserving[effect_id] = (exchange, effect.reservation, bound.on_error)
        return effect_id

    def question(self, exchange: Exchange, effect: Effect, deadline_ms: int, *, owed: bool) -> int:
        """Ask a model about an answer; gives the effect's id. Whoever asks takes the answer himself."""
        return self._run(exchange, effect, deadline_ms, owed=owed)

    def told(self, exchange: Exchange) -> None:
        """Write the record that waited for models that only tell."""
        exchange.untold = False
        waiting = self._untold.pop(id(exchange), None)
        if waiting is not None:
            self._write(*waiting)

    def effect_answered(self, effect_id: int, answer: Answer | FailureKind) -> bool:
        """Book an answer; True where it was a guard's question and its guard must hear of it."""
        settling = self._settling.pop(effect_id, None)
        if settling is not None:
            self._emit(*settling, answer if isinstance(answer, Settled) else None)
            return False
        if effect_id not in self._asked:
            return False
        self._asked.discard(effect_id)
        reserving = self._reserving.pop(effect_id, None)
        if reserving is not None:
            self._reserved(*reserving, answer)
        return True

    def _reserved(
        self,
        exchange: Exchange,
        reservation: Reservation,
        on_error: OnError,
        answer: Answer | FailureKind,
    ) -> None:
        granted = isinstance(answer, Reserved) and answer.granted
        # A reservation that timed out may have taken hold, and one that is waved through is owed later.
        owed = answer is FailureKind.DEADLINE or (
            isinstance(answer, FailureKind) and on_error is OnError.ALLOW
        )
        if granted or owed:
            exchange.reservation = reservation
        if exchange.closed:
            self._settle_or_emit(exchange, self._closed_early.pop(id(exchange), 0))

    def enter(self, tenant: str) -> None:
        """The stream's caller is known."""
        self._commands.append(cmd.Enter(tenant))

    def mind_answer(self, after_us: int) -> None:
        """Text waits for a model, and may not wait longer than this."""
        after_ms = max(-(-after_us // 1_000), 1)
        self._commands.append(cmd.SetDeadline(DeadlineKind.ANSWER, after_ms))

    def let_go(self) -> None:
        """Text of the stream has gone out that a model had not read in time."""
        self._commands.append(cmd.ReportUnread(self.request_id))

    def forwarded(self, exchange: Exchange) -> None:
        """The model has the request: keep its lease alive while the answer runs."""
        if exchange.reservation is not None and not self._renewing:
            self._renewing = True
            self._schedule_renewal()

    def renew(self, exchanges: Iterable[Exchange]) -> None:
        """Extend the leases of what still runs."""
        running = [one for one in exchanges if one.forwarded and not one.closed]
        for exchange in running:
            if exchange.reservation is not None:
                effect = Renew(reservation=exchange.reservation)
                self._run(exchange, effect, self._limits.ledger_deadline_ms)
        if running:
            self._schedule_renewal()

    def _schedule_renewal(self) -> None:
        self._commands.append(cmd.SetDeadline(DeadlineKind.LEASE, self._limits.lease_ms // 2))

    def close(self, exchange: Exchange, *, status: int) -> None:
        """End an exchange: settle what it holds, then write its record. Once."""
        if exchange.closed:
            return
        exchange.closed = True
        self._over = self._over.and_also(exchange, self._facts.prices)
        if any(one[0] is exchange for one in self._reserving.values()):
            # Whether anything is held is known only when the answer comes.
            self._closed_early[id(exchange)] = status
            return
        self._settle_or_emit(exchange, status)

    def _settle_or_emit(self, exchange: Exchange, status: int) -> None:
        if exchange.reservation is None:
            self._emit(exchange, status, None)
            return
        effect = Settle(reservation=exchange.reservation, tokens=tokens_used(exchange))
        effect_id = self._run(exchange, effect, self._limits.ledger_deadline_ms)
        self._settling[effect_id] = (exchange, status)

    def _run(self, exchange: Exchange, effect: Effect, deadline_ms: int, *, owed: bool = False) -> int:
        self._effects += 1
        number = max(exchange.key, 0)
        self._commands.append(cmd.RunEffect(self._effects, effect, deadline_ms, number, owed))
        return self._effects

    def _emit(self, exchange: Exchange, status: int, settled: Settled | None) -> None:
        if exchange.untold:
            self._untold[id(exchange)] = (exchange, status, settled, self.now_us)
            return
        self._write(exchange, status, settled, self.now_us)

    def _write(self, exchange: Exchange, status: int, settled: Settled | None, at_us: int) -> None:
        if exchange.reservation is not None and settled is None:
            exchange.degraded = True
        record = record_of(exchange, self._facts, at_us=at_us, status=status, settled=settled)
        if exchange.capture is None:
            self._commands.append(cmd.Emit(record))
        else:
            self._commands.append(cmd.Emit(*exchange.capture.close(exchange, record)))
