"""Runs the guards of an exchange, stage by stage, and merges their verdicts into a decision.

The effects of a whole stage are asked at once; the stage is judged when the last answer is in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from extproc.core.refusals import INTERNAL
from extproc.domain.errors import FailureKind
from extproc.domain.ports import ALLOWED, Verdict
from extproc.domain.verdict import Action, GuardRecord, Mode, OnError, Reason, Refusal
from extproc.redaction.engine import ScanOverflowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.core.exchange import Exchange
    from extproc.domain.effects import Answer, Effect
    from extproc.domain.ports import BoundGuard

UNAVAILABLE_STATUS = 503
_UNAVAILABLE_MESSAGE = "the guard that must judge this request is not available; try again later"
_TOO_LONG = Verdict(
    action=Action.BLOCK,
    reason=Reason.PROMPT_TOO_LONG,
    status=413,
    message="the prompt is too long to be judged",
)
# What becomes of a request, in enforce mode, whose rules cannot be read to their end; in shadow it is told.
_NOT_READ = Verdict(action=Action.BLOCK, reason=INTERNAL.reason, status=INTERNAL.status)


@dataclass(slots=True)
class Asked:
    """One guard of the running stage: what it asked, and what came back so far."""

    bound: BoundGuard
    effects: tuple[Effect, ...]
    answers: list[Answer | FailureKind | None] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every effect has its answer or its failure."""
        return all(answer is not None for answer in self.answers)


class PipelineRun:
    """One exchange's way through its guards."""

    __slots__ = ("_exchange", "_stage", "_stages")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        active = [bound for bound in exchange.guards if bound.mode is not Mode.OFF]
        self._stages: Iterator[tuple[int, list[BoundGuard]]] = iter(
            [(stage, list(bounds)) for stage, bounds in groupby(active, key=lambda b: b.stage)]
        )
        self._stage: list[Asked] = []

    def advance(self) -> list[tuple[Asked, int]] | None:
        """Run stages until one has to ask, or all are through.

        Returns:
            The (guard, slot) pairs whose effects must be run now, or None where the exchange is decided
            (``exchange.refusal`` says how).
        """
        while self._exchange.refusal is None:
            if not self._stage:
                following = next(self._stages, None)
                if following is None:
                    return None
                self._stage = [self._ask(bound) for bound in following[1]]
                asked = [(one, slot) for one in self._stage for slot in range(len(one.effects))]
                if asked:
                    return asked
            self._judge_stage()
        return None

    def answer(self, asked: Asked, slot: int, answer: Answer | FailureKind) -> bool:
        """Note an answer; True where the stage is complete and ``advance`` may go on."""
        asked.answers[slot] = answer
        return all(one.complete for one in self._stage)

    def _ask(self, bound: BoundGuard) -> Asked:
        effects = bound.guard.needs(self._exchange.view)
        return Asked(bound, effects, [None] * len(effects))

    def _judge_stage(self) -> None:
        stage, self._stage = self._stage, []
        for asked in stage:
            verdict, degraded = _judge(self._exchange, asked)
            self._take(asked.bound, verdict, degraded=degraded)
            if self._exchange.refusal is not None:
                # What is refused already is not worth another guard's work; an attacker would choose it.
                return

    def _take(self, bound: BoundGuard, verdict: Verdict, *, degraded: bool) -> None:
        exchange = self._exchange
        exchange.degraded |= degraded
        exchange.verdicts.append(_guard_record(bound, verdict, degraded=degraded))
        exchange.count_request(verdict.findings, bound.name, bound.mode)
        if verdict.reservation is not None:
            # Also in shadow: what was really reserved must really be settled.
            exchange.reservation = verdict.reservation
        if bound.mode is Mode.SHADOW:
            return
        if verdict.action is not Action.BLOCK:
            exchange.take(verdict, bound.name)
        elif exchange.refusal is None:
            exchange.decide(Action.BLOCK, verdict.reason, bound.name)
            exchange.refusal = Refusal(
                reason=verdict.reason,
                status=verdict.status,
                message=verdict.message,
                headers=verdict.headers,
            )


def _judge(exchange: Exchange, asked: Asked) -> tuple[Verdict, bool]:
    """A guard's verdict, or what its ``on_error`` says where an effect failed.

    Raises:
        ScanOverflowError: an enforced guard's rules have too many live starts in the request.
    """
    bound = asked.bound
    answers: list[Answer] = []
    for answer in asked.answers:
        if answer is None or isinstance(answer, str):
            return _verdict_on_failure(bound, answer), answer is not FailureKind.TOO_LONG
        answers.append(answer)
    try:
        return bound.guard.judge(exchange.view, tuple(answers)), False
    except ScanOverflowError:
        if bound.mode is not Mode.SHADOW:
            raise
        return _NOT_READ, True


def _verdict_on_failure(bound: BoundGuard, failure: FailureKind | None) -> Verdict:
    if failure is FailureKind.TOO_LONG:
        # The caller's doing and no failure of ours: ``on_error: allow`` must not be a way around the guard.
        return _TOO_LONG
    if bound.on_error is OnError.ALLOW:
        return ALLOWED
    return Verdict(
        action=Action.BLOCK,
        reason=bound.error_reason,
        status=UNAVAILABLE_STATUS,
        message=_UNAVAILABLE_MESSAGE,
    )


def _guard_record(bound: BoundGuard, verdict: Verdict, *, degraded: bool) -> GuardRecord:
    return GuardRecord(
        guard=bound.name,
        owasp=bound.owasp,
        mode=bound.mode,
        action=verdict.action,
        reason=verdict.reason,
        score=verdict.score,
        threshold=verdict.threshold,
        detector=verdict.detector,
        windows=verdict.windows,
        degraded=degraded,
    )
