"""One exchange within a stream: what is known, decided, held and owed for it. State only, no decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from extproc.domain.verdict import Action, EntityCount, Lane, Mode, Reason
from extproc.redaction.operators import PSEUDONYM

if TYPE_CHECKING:
    from extproc.core.asking import AskingScan
    from extproc.core.bodies import Capture
    from extproc.core.channels import ChannelScan
    from extproc.domain.identity import Reservation
    from extproc.domain.ports import BoundGuard, ExchangeView, RequestMessage, Verdict
    from extproc.domain.pseudonym import Pseudonym
    from extproc.domain.segment import Channel, SegmentEdit
    from extproc.domain.verdict import Finding, GuardRecord, LocatedFinding, Refusal
    from extproc.redaction.pseudonyms import Known, Restorer


class Exchange:
    """The mutable state of one exchange; only ``core`` touches it."""

    __slots__ = (
        "action",
        "allowed_models",
        "answer_chars",
        "answer_chars_unread",
        "answer_frames",
        "at_us",
        "capture",
        "channels",
        "closed",
        "counted_bytes",
        "counted_frames",
        "decided_at_us",
        "degraded",
        "edits",
        "entities",
        "first_frame_at_us",
        "forwarded",
        "forwarded_at_us",
        "guard",
        "guards",
        "held_chars_max",
        "held_to_length",
        "input_tokens",
        "key",
        "output_bytes",
        "output_tokens",
        "pseudonyms",
        "reason",
        "refusal",
        "refused_wire",
        "reservation",
        "restorers",
        "untold",
        "upstream_error",
        "usage_reported",
        "verdicts",
        "view",
    )

    def __init__(self, *, key: int, view: ExchangeView, guards: tuple[BoundGuard, ...], at_us: int) -> None:
        self.key = key
        self.view = view
        self.guards = guards
        self.at_us = at_us
        self.verdicts: list[GuardRecord] = []
        self.edits: list[SegmentEdit] = []
        # With the guard that made each; the stream's once the request has gone on.
        self.pseudonyms: list[tuple[str, Pseudonym]] = []
        self.allowed_models: frozenset[str] | None = None
        self.entities: Counter[tuple[Lane, str, Mode, str, str, str]] = Counter()
        self.action = Action.ALLOW
        self.reason = Reason.CLEAN
        self.guard = ""
        self.refusal: Refusal | None = None
        self.refused_wire: bytes | None = None
        self.degraded = False
        self.reservation: Reservation | None = None
        self.decided_at_us: int | None = None
        self.forwarded = False
        self.forwarded_at_us = 0
        self.first_frame_at_us = 0
        self.closed = False
        # Whether its record waits for models that only tell.
        self.untold = False
        self.upstream_error = False
        self.channels: dict[Channel, ChannelScan | AskingScan] = {}
        self.restorers: dict[Channel, Restorer] = {}
        self.capture: Capture | None = None
        self.answer_frames = 0
        self.answer_chars = 0
        self.answer_chars_unread = 0
        self.output_bytes = 0
        self.held_chars_max = 0
        self.held_to_length = False
        self.usage_reported = False
        self.input_tokens = 0
        self.output_tokens = 0
        # Of ``output_bytes`` and ``answer_frames``, what the upstream's last count covers.
        self.counted_bytes = 0
        self.counted_frames = 0

    @property
    def decided(self) -> bool:
        """Whether the request lane's decision stands."""
        return self.decided_at_us is not None

    @property
    def request(self) -> RequestMessage:
        """The request; only an exchange that has one may be asked."""
        if self.view.request is None:
            raise AssertionError("an exchange without a request was asked for it")
        return self.view.request

    def refuse(self, refusal: Refusal) -> None:
        """Refuse it without a guard: its codec cannot accept it."""
        self.refusal = refusal
        self.decide(Action.BLOCK, refusal.reason, "")

    def stand_in(self) -> Exchange:
        """What stands for exchanges of a stream that are over: no text, no effects, nothing owed."""
        request = self.view.request
        view = self.view if request is None else replace(self.view, request=replace(request, segments=()))
        one = Exchange(key=self.key, view=view, guards=(), at_us=self.at_us)
        one.closed = True
        one.stand_for(self)
        return one

    def stand_for(self, other: Exchange) -> None:
        """Take over what Envoy's access log says of a stream: the gravest action, and all tokens."""
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.degraded |= other.degraded
        if other.action > self.action:
            self.action, self.reason, self.guard = other.action, other.reason, other.guard
            self.upstream_error = other.upstream_error

    def decide(self, action: Action, reason: Reason, guard: str) -> None:
        """Raise the exchange's action; the first cause of the highest action is kept."""
        if action > self.action:
            self.action, self.reason, self.guard = action, reason, guard

    def take(self, verdict: Verdict, name: str) -> None:
        """Take over what an enforced verdict changes, except its action."""
        self.edits.extend(verdict.edits)
        self.pseudonyms.extend((name, one) for one in verdict.pseudonyms)
        # Not in shadow, where the reservation is kept too but must not cut an answer.
        self.held_to_length |= verdict.reservation is not None
        if verdict.principal is not None:
            self.view = replace(self.view, principal=verdict.principal)
        if verdict.cap_output_tokens is not None:
            self._cap(verdict.cap_output_tokens)
        if verdict.allowed_models is not None:
            self._restrict(verdict.allowed_models)
        if verdict.action is Action.REDACT:
            self.decide(Action.REDACT, verdict.reason, name)

    def _cap(self, tokens: int) -> None:
        request = self.request
        current = request.params.max_output_tokens
        capped = tokens if current is None else min(tokens, current)
        params = replace(request.params, max_output_tokens=capped)
        self.view = replace(self.view, request=replace(request, params=params))

    def _restrict(self, models: frozenset[str]) -> None:
        allowed = self.allowed_models
        self.allowed_models = models if allowed is None else allowed & models

    def count_request(self, findings: tuple[LocatedFinding, ...], guard: str, mode: Mode) -> None:
        """Count what a guard found in the request."""
        for located in findings:
            self.count(located.lane, guard, mode, located.finding, located.place)

    def found_in_answer(self, guard: str, action: Action, reason: Reason) -> None:
        """Raise a guard's verdict, and with it the decision, by what it found in the answer."""
        self.decide(action, reason, guard)
        self.verdicts = [
            replace(one, action=action, reason=reason)
            if one.guard == guard and one.action < action
            else one
            for one in self.verdicts
        ]

    def flagged_in_answer(self, guard: str, reason: Reason) -> None:
        """Let a guard's verdict tell what it found in the answer and let pass."""
        self.verdicts = [
            replace(one, reason=reason) if one.guard == guard and one.reason is Reason.CLEAN else one
            for one in self.verdicts
        ]

    def unread_in_answer(self, guard: str, chars: int) -> None:
        """Count code points of the answer that a guard's model has not read."""
        self.answer_chars_unread += chars
        self.degraded_in_answer(guard)

    def degraded_in_answer(self, guard: str) -> None:
        """Let a guard's verdict tell that it was given without the answer that the guard had asked for."""
        self.degraded = True
        self.verdicts = [
            replace(one, degraded=True) if one.guard == guard else one for one in self.verdicts
        ]

    def count(self, lane: Lane, guard: str, mode: Mode, finding: Finding, place: str) -> None:
        """Count one finding."""
        self.entities[lane, guard, mode, finding.entity_type, finding.detector, place] += 1

    def count_turned_back(self, known: Known, place: str) -> None:
        """Count a token of the request that the answer turned back."""
        entity_type = known.pseudonym.entity_type
        self.entities[Lane.RESPONSE, known.guard, Mode.ENFORCE, entity_type, PSEUDONYM, place] += 1

    def drop_channels(self) -> None:
        """Forget what the answer's channels hold; an undecided tail never goes out."""
        for scan in self.channels.values():
            scan.drop()
        self.channels.clear()
        self.restorers.clear()

    def entity_counts(self) -> tuple[EntityCount, ...]:
        """The counts, in a stable order."""
        return tuple(
            EntityCount(
                lane=lane,
                guard=guard,
                mode=mode,
                entity_type=entity_type,
                detector=detector,
                place=place,
                count=number,
            )
            for (lane, guard, mode, entity_type, detector, place), number in sorted(self.entities.items())
        )
