"""Drives one stream: feeds it events, performs its commands in order.

Replies are written one at a time, in the order in which their events were handled. Effects run beside
them and come back as events. What is owed when the call ends (settlements, records) goes on after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.core.refusals import bug_report
from extproc.domain.effects import Classify, FindSpans, Renew, Reserve, Settle
from extproc.domain.errors import DependencyError, FailureKind
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Kept
from extproc.edge.room import Room
from extproc.edge.telemetry import Telemetry
from extproc.edge.translate import annotated, reply_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from extproc.core.stream import Stream
    from extproc.domain.bodies import Sample
    from extproc.domain.effects import Answer, Effect, Renewed, Reserved, Scores, Settled, Spans
    from extproc.domain.identity import Reservation
    from extproc.domain.verdict import Record
    from extproc.edge.phases import PhaseTable
    from extproc.edge.tracing import Tracing

LOG = logging.getLogger("headgate.runner")

_SPANS = "span model"


class Ledger(Protocol):
    """The token budget, as the runner uses it. Every method raises DependencyError."""

    async def reserve(self, reservation: Reservation) -> Reserved:
        """Hold tokens, or say what stands in the way."""

    async def settle_until(self, reservation: Reservation, tokens: int) -> Settled:
        """Settle, with a bounded number of attempts."""

    async def renew(self, reservation: Reservation) -> Renewed:
        """Extend a lease."""


class Inference(Protocol):
    """The classifier, as the runner uses it."""

    async def classify(self, effect: Classify, *, deadline_ms: int) -> Scores:
        """Score texts; raises DependencyError at the deadline."""


class SpanFinder(Protocol):
    """The models that find names and addresses, as the runner uses them."""

    async def find(self, effect: FindSpans, *, deadline_ms: int) -> Spans:
        """Find spans; raises DependencyError at the deadline, or where it has no such model."""


class RecordSink(Protocol):
    """Where verdict records go."""

    def emit(self, record: Record) -> None:
        """Take a record; never blocks."""


class SampleSink(Protocol):
    """Where samples go whose policy wants them kept."""

    @property
    def healthy(self) -> bool:
        """Whether a sample would be kept at the moment."""

    def keep(self, sample: Sample, record: Record) -> None:
        """Keep a sample, then have its record written, as LOST where that failed; never blocks."""


def now_us() -> int:
    """The monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000


class Background:
    """Tasks that outlive their call: settlements above all. Drained before the process ends."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run ``work`` and keep it alive."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def running(self) -> int:
        """Tasks under way."""
        return len(self._tasks)

    async def drain(self, timeout_s: float) -> int:
        """Wait for what runs and what that starts; gives how many tasks were still running at the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        return len(self._tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What effects and records are performed with, and who is told of them."""

    ledger: Ledger
    inference: Inference
    records: RecordSink
    background: Background
    room: Room = field(default_factory=lambda: Room(LIMITS))
    telemetry: Telemetry = field(default_factory=Telemetry)
    tracing: Tracing | None = None
    samples: SampleSink | None = None
    spans: SpanFinder | None = None

    @property
    def bodies_kept(self) -> bool:
        """Whether what a policy wants kept could be at the moment."""
        return self.samples is not None and self.samples.healthy


class AbortStream(Exception):  # noqa: N818 - tells the servicer how to end the call.
    """The call must end with a gRPC error."""


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Keeps what counts and traces from having a say in traffic: a bug in it is logged, and that is all."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - as said.
        report = bug_report(error)
        LOG.error("bug in telemetry: %s at %s", report.kind, report.where)  # noqa: TRY400 - its text may quote.


class StreamRunner:
    """One ``Process`` call between its servicer and its core stream."""

    def __init__(  # noqa: PLR0913 - the servicer names each part once.
        self,
        *,
        stream: Stream,
        phases: PhaseTable,
        services: Services,
        write: Callable[[bytes], Awaitable[None]],
        abort_later: Callable[[], None],
        traceparent: str | None = None,
    ) -> None:
        self._stream = stream
        self._phases = phases
        self._services = services
        self._write = write
        self._abort_later = abort_later
        self._turn = asyncio.Lock()
        self._timers: dict[ev.DeadlineKind, asyncio.TimerHandle] = {}
        self._questions: set[asyncio.Task[None]] = set()
        self._annotation: cmd.Annotate | None = None
        self._trace = services.tracing.stream(traceparent) if services.tracing is not None else None
        self._detached = False
        self._seat = services.room.seat()

    @property
    def done(self) -> bool:
        """Whether the core has given all its replies."""
        return self._stream.done

    async def handle(self, event: ev.Event) -> None:
        """Feed one event and perform what follows.

        Raises:
            AbortStream: the core, or the phase table, wants the call ended with an error.
        """
        if isinstance(event, ev.RequestBody):
            event = self._stored(event)
        replies = self._start(self._feed(event))
        if replies:
            # No await stands between handling and this lock, and the lock is fair: so replies keep order.
            async with self._turn:
                for reply in replies:
                    await self._reply(reply)
        if self._stream.done:
            self._cancel_questions()

    def _stored(self, event: ev.RequestBody) -> ev.Event:
        return event if self._seat.take(len(event.chunk)) else ev.Overloaded(event.at_us)

    def _seated(self, commands: list[cmd.Command]) -> list[cmd.Command]:
        """Turn a stream away whose tenant has no room left, before any of its replies is written."""
        entering = next((one for one in commands if isinstance(one, cmd.Enter)), None)
        if entering is None or self._seat.enter(entering.tenant):
            return commands
        return self._turned_away(commands)

    def _turned_away(self, commands: list[cmd.Command]) -> list[cmd.Command]:
        event = ev.Overloaded(now_us())
        if self._trace is not None:
            self._trace.event(event)
        turned_away = self._stream.handle(event)
        # The core had refused already where it has nothing to add.
        kept = [one for one in commands if not isinstance(one, cmd.REPLIES)] if turned_away else commands
        return [*kept, *turned_away]

    async def written(self) -> None:
        """Wait for a reply that an effect is writing: a call that ends under it breaks it off."""
        async with self._turn:
            return

    def finish(self) -> None:
        """The call is over: tell the core, and let what it owes go on in the background."""
        self._detached = True
        self._seat.leave()
        if not self._stream.done:
            self._start(self._feed(ev.PeerClosed(now_us())))
        self._cancel_questions()

    def _feed(self, event: ev.Event) -> list[cmd.Command]:
        if self._trace is not None:
            self._trace.event(event)
        commands = self._seated(self._stream.handle(event))
        # A compressed body takes the room that it decodes to; one of many requests gives its room back.
        if not self._detached and not self._seat.hold(self._stream.body_bytes):
            return self._turned_away(commands)
        return commands

    # --- commands ---------------------------------------------------------------------------

    def _start(self, commands: list[cmd.Command]) -> list[cmd.Command]:
        """Perform all that is not a reply; give the replies."""
        replies: list[cmd.Command] = []
        for command in commands:
            match command:
                case cmd.RunEffect():
                    self._run_effect(command)
                case cmd.Emit():
                    self._emit(command)
                case cmd.SetDeadline():
                    self._set_deadline(command.kind, command.after_ms)
                case cmd.ClearDeadline():
                    self._clear_deadline(command.kind)
                case cmd.Enter():
                    continue
                case cmd.ReportBug():
                    LOG.error("bug: %s at %s", command.kind, command.where)
                case cmd.ReportUnread():
                    LOG.warning("text went out that a model had not read (request %s)", command.request_id)
                case _:
                    replies.append(command)
        return replies

    def _emit(self, command: cmd.Emit) -> None:
        record, sample, samples = command.record, command.sample, self._services.samples
        if sample is None:
            self._services.records.emit(record)
        elif samples is None:
            self._services.records.emit(replace(record, bodies=Kept.LOST))
        else:
            samples.keep(sample, record)
        with _apart():
            self._services.telemetry.record(record)
            if self._trace is not None:
                self._trace.record(record)

    async def _reply(self, command: cmd.Command) -> None:
        if self._detached:
            return
        if isinstance(command, cmd.Abort):
            raise AbortStream(command.why)
        if isinstance(command, cmd.Annotate):
            self._annotation = command
            return
        self._phases.check(command)
        reply = reply_bytes(command)
        if self._annotation is not None:
            reply, self._annotation = annotated(reply, self._annotation), None
        await self._write(reply)

    # --- effects ----------------------------------------------------------------------------

    def _run_effect(self, command: cmd.RunEffect) -> None:
        task = self._services.background.start(self._effect(command))
        if not (command.owed or isinstance(command.effect, (Settle, Reserve))):
            # A question whose answer nobody needs any more is dropped; one that moves tokens never is, nor
            # one for which a record waits.
            self._questions.add(task)
            task.add_done_callback(self._questions.discard)

    async def _effect(self, command: cmd.RunEffect) -> None:
        outcome: Answer | FailureKind
        started_us = now_us()
        try:
            outcome = await self._answer(command.effect, command.deadline_ms)
        except DependencyError as error:
            outcome = error.kind
        except Exception as error:  # noqa: BLE001 - a bug in a dependency's adapter fails that effect only.
            report = bug_report(error)
            LOG.error("bug in an effect: %s at %s", report.kind, report.where)  # noqa: TRY400 - its text may quote a body.
            outcome = FailureKind.UNAVAILABLE
        ended_us = now_us()
        with _apart():
            self._services.telemetry.effect(command.effect, outcome, ended_us - started_us)
            if self._trace is not None:
                self._trace.effect(command, outcome, started_us=started_us, ended_us=ended_us)
        if isinstance(outcome, FailureKind):
            await self._resume(ev.EffectFailed(ended_us, command.effect_id, outcome))
        else:
            await self._resume(ev.EffectDone(ended_us, command.effect_id, outcome))

    async def _answer(self, effect: Effect, deadline_ms: int) -> Answer:
        ledger = self._services.ledger
        match effect:
            case Classify():
                return await self._services.inference.classify(effect, deadline_ms=deadline_ms)
            case FindSpans():
                return await self._find_spans(effect, deadline_ms)
            case Reserve():
                return await ledger.reserve(effect.reservation)
            case Settle():
                return await ledger.settle_until(effect.reservation, effect.tokens)
            case Renew():
                return await ledger.renew(effect.reservation)

    async def _find_spans(self, effect: FindSpans, deadline_ms: int) -> Spans:
        finder = self._services.spans
        if finder is None:
            # A policy that names a model is not loaded where there is none.
            raise DependencyError(FailureKind.UNAVAILABLE, _SPANS)
        return await finder.find(effect, deadline_ms=deadline_ms)

    async def _resume(self, event: ev.Event) -> None:
        """Feed an event that did not come from Envoy."""
        task = asyncio.current_task()
        if task is not None:
            # No longer a question: dropping it now would break off the reply that its answer causes.
            self._questions.discard(task)
        try:
            await self.handle(event)
        except AbortStream:
            self._abort_later()
        except Exception as error:  # noqa: BLE001 - the call's write failed or a reply was illegal.
            report = bug_report(error)
            LOG.warning("a reply could not be written: %s at %s", report.kind, report.where)
            self._abort_later()

    # --- deadlines --------------------------------------------------------------------------

    def _set_deadline(self, kind: ev.DeadlineKind, after_ms: int) -> None:
        self._clear_deadline(kind)
        loop = asyncio.get_running_loop()
        self._timers[kind] = loop.call_later(after_ms / 1000, self._deadline, kind)

    def _clear_deadline(self, kind: ev.DeadlineKind) -> None:
        timer = self._timers.pop(kind, None)
        if timer is not None:
            timer.cancel()

    def _deadline(self, kind: ev.DeadlineKind) -> None:
        self._timers.pop(kind, None)
        self._services.background.start(self._resume(ev.DeadlineReached(now_us(), kind)))

    def _cancel_questions(self) -> None:
        for kind in tuple(self._timers):
            self._clear_deadline(kind)
        for task in tuple(self._questions):
            if task is not asyncio.current_task():
                task.cancel()
