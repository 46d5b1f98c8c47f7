"""Runs the effect Classify on a fixed number of threads, behind a bounded queue shared fairly by tenants.

Whoever used least comes next. Between two windows a long call lets shorter ones of tenants that used less
pass, so that one with a hundred windows holds nobody else up; whoever fills the queue is shed first.
A call ends at its deadline whatever the threads do. Work that nobody waits for any more is dropped before
it runs, or between two windows. Where every thread hangs, calls are refused at once until one comes back;
no thread is ever added. No text reaches an error or a log.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from classifiers.errors import AbandonedError, TooManyWindowsError
from extproc.domain.effects import Scores, TextScore
from extproc.domain.errors import DependencyError, FailureKind
from extproc.edge.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from classifiers.classifier import TextScore as WindowedScore
    from extproc.domain.effects import Classify

LOG = logging.getLogger("headgate.inference")

_WHAT = "classifier"


class Scoring(Protocol):
    """One head of one model; ``classifiers.classifier.Classifier`` is one. Called from several threads."""

    @property
    def model_id(self) -> str:
        """Names the model in records."""

    def score(
        self, texts: Sequence[str], *, windows_max: int | None, proceed: Callable[[], bool]
    ) -> list[WindowedScore]:
        """The texts' scores, in order; raises AbandonedError once ``proceed`` says no."""


@dataclass(slots=True, eq=False, repr=False)
class _Job:
    """One call. ``due`` is on the service's clock, in seconds; ``wanted`` ends with its caller."""

    scoring: Scoring
    effect: Classify
    due: float
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Scores | FailureKind]
    wanted: bool = True

    @property
    def tenant(self) -> str:
        """Whose share it uses."""
        return self.effect.tenant

    @property
    def places(self) -> int:
        """The places in the queue that it takes: one per text."""
        return len(self.effect.texts)

    @property
    def chars(self) -> int:
        """Its texts' length: a measure of its work that needs none."""
        return sum(map(len, self.effect.texts))

    def settle(self, outcome: Scores | FailureKind) -> None:
        """Bring the outcome to the caller's loop, from any thread."""
        try:
            self.loop.call_soon_threadsafe(self._settle_in_loop, outcome)
        except RuntimeError:
            # The caller's loop is closed: nobody is left to tell.
            self.wanted = False

    def _settle_in_loop(self, outcome: Scores | FailureKind) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)


@dataclass(slots=True, eq=False)
class _Worker:
    """A thread and what it runs: the last of the stack, while the others wait that it passed."""

    stack: list[_Job] = field(default_factory=list)

    @property
    def running(self) -> _Job | None:
        """What the thread works on."""
        return self.stack[-1] if self.stack else None


@dataclass(slots=True)
class _Drain:
    """What ``close`` waits for."""

    loop: asyncio.AbstractEventLoop
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceBounds:
    """What the service may use.

    ``workers`` are threads, and so inferences at once: times a runtime's own threads they should not
    exceed the cores. ``queue_texts_max`` texts may wait for a thread, ``tenant_texts_max`` of one tenant
    unless they are of a single call; more are shed. ``windows_max`` counts one call's windows over all its
    texts. A thread that still runs ``stall_ms`` after its call's deadline counts as hung.
    """

    workers: int
    queue_texts_max: int
    tenant_texts_max: int
    windows_max: int
    stall_ms: int


class InferenceService:
    """The classifier as the runner uses it.

    ``heads`` are what scores texts, by the head's name in Classify. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self,
        heads: Mapping[str, Scoring],
        bounds: InferenceBounds,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heads = dict(heads)
        self._bounds = bounds
        self._clock = clock
        self._turns: Turns[_Job] = Turns(bounds.queue_texts_max, bounds.tenant_texts_max)
        self._closing = False
        self._drain: _Drain | None = None
        self._changed = threading.Condition()
        self._workers = tuple(_Worker() for _ in range(bounds.workers))
        for number, worker in enumerate(self._workers):
            # Daemons: a runtime that hangs must not keep the process from ending.
            name = f"headgate-inference-{number}"
            threading.Thread(target=self._work, args=(worker,), name=name, daemon=True).start()

    @property
    def healthy(self) -> bool:
        """Whether a call has a thread to hope for."""
        with self._changed:
            return not self._closing and not self._all_hang()

    @property
    def waiting_texts(self) -> int:
        """Texts that no thread has taken yet."""
        return self._turns.places

    @property
    def busy_threads(self) -> int:
        """Threads that infer."""
        return sum(worker.running is not None for worker in self._workers)

    async def classify(self, effect: Classify, *, deadline_ms: int) -> Scores:
        """Score an effect's texts.

        Raises:
            DependencyError: DEADLINE at the deadline; OVERLOADED where the queue or the tenant's share of
                it is full, or where a tenant with less in it came while it waited;
                UNAVAILABLE where the head is unknown, the model failed, every thread hangs or the service
                closes; TOO_LONG where the texts need more than ``windows_max`` windows or more places
                than the queue has.
        """
        scoring = self._heads.get(effect.head)
        if scoring is None:
            raise DependencyError(FailureKind.UNAVAILABLE, _WHAT)
        loop = asyncio.get_running_loop()
        due = self._clock() + deadline_ms / 1000
        job = _Job(scoring, effect, due, loop, loop.create_future())
        self._admit(job)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                outcome = await job.answer
        except TimeoutError:
            raise DependencyError(FailureKind.DEADLINE, _WHAT) from None
        finally:
            self._forget(job)
        if isinstance(outcome, FailureKind):
            raise DependencyError(outcome, _WHAT)
        return outcome

    async def close(self, *, drain_ms: int) -> None:
        """Refuse new calls, let those that wait or run finish for so long, then fail the rest."""
        with self._changed:
            self._closing = True
            drain = self._drain = _Drain(asyncio.get_running_loop())
            self._changed.notify_all()
            self._tell_if_idle()
        try:
            async with asyncio.timeout(drain_ms / 1000):
                await drain.idle.wait()
        except TimeoutError:
            self._fail_the_rest()

    def _admit(self, job: _Job) -> None:
        with self._changed:
            if self._closing or self._all_hang():
                raise DependencyError(FailureKind.UNAVAILABLE, _WHAT)
            if job.places > self._bounds.queue_texts_max:
                raise DependencyError(FailureKind.TOO_LONG, _WHAT)
            shed = self._turns.add(job)
            if shed is None:
                raise DependencyError(FailureKind.OVERLOADED, _WHAT)
            for other in shed:
                other.settle(FailureKind.OVERLOADED)
            self._changed.notify()

    def _forget(self, job: _Job) -> None:
        """The caller has left: give its place in the queue free, even where no thread comes by."""
        job.wanted = False
        with self._changed:
            if self._turns.remove(job):
                self._tell_if_idle()

    def _all_hang(self) -> bool:
        latest = self._clock() - self._bounds.stall_ms / 1000
        return all(worker.running is not None and worker.running.due < latest for worker in self._workers)

    def _tell_if_idle(self) -> None:
        idle = not self._turns and all(worker.running is None for worker in self._workers)
        if self._drain is not None and idle:
            try:
                self._drain.loop.call_soon_threadsafe(self._drain.idle.set)
            except RuntimeError:
                # The loop that waited is closed.
                self._drain = None

    def _fail_the_rest(self) -> None:
        with self._changed:
            left = [*self._turns.clear(), *(job for worker in self._workers for job in worker.stack)]
        for job in left:
            job.wanted = False
            job.settle(FailureKind.UNAVAILABLE)

    # --- on the threads ---------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        while (job := self._take(worker)) is not None:
            self._run(worker, job)
            # An idle thread must not keep the last call's texts alive.
            del job

    def _run(self, worker: _Worker, job: _Job) -> None:
        outcome = self._outcome(worker, job)
        with self._changed:
            # At once, so that whoever has the answer finds the thread free, and the other way round.
            job.settle(outcome)
            worker.stack.pop()
            self._turns.done()
            self._tell_if_idle()

    def _take(self, worker: _Worker) -> _Job | None:
        """The next job; None where the service closes and nothing is left."""
        with self._changed:
            while (job := self._turns.take()) is None:
                if self._closing:
                    return None
                self._changed.wait()
            worker.stack.append(job)
            return job

    def _let_pass(self, worker: _Worker, job: _Job) -> None:
        """Run what is shorter and of a tenant that used less, in between."""
        while True:
            with self._changed:
                shorter = self._turns.take_before(job)
                if shorter is None:
                    return
                worker.stack.append(shorter)
            self._run(worker, shorter)

    def _outcome(self, worker: _Worker, job: _Job) -> Scores | FailureKind:
        def proceed() -> bool:
            self._let_pass(worker, job)
            return job.wanted and self._clock() < job.due

        if not proceed():
            return FailureKind.DEADLINE
        effect, scoring = job.effect, job.scoring
        try:
            scores = scoring.score(effect.texts, windows_max=self._bounds.windows_max, proceed=proceed)
        except AbandonedError:
            return FailureKind.DEADLINE
        except TooManyWindowsError:
            return FailureKind.TOO_LONG
        except Exception as error:  # noqa: BLE001 - a thread that died would never be replaced.
            # Its type alone: the text of a foreign exception may quote what it choked on.
            LOG.error("classifier failed: %s", type(error).__name__)  # noqa: TRY400 - a traceback quotes too.
            return FailureKind.UNAVAILABLE
        if len(scores) != len(effect.texts):
            LOG.error("classifier gave %d scores for %d texts", len(scores), len(effect.texts))
            return FailureKind.UNAVAILABLE
        return Scores(
            head=effect.head,
            model=scoring.model_id,
            scores=tuple(_text_score(score) for score in scores),
        )


def _text_score(score: WindowedScore) -> TextScore:
    return TextScore(
        score=score.score,
        windows=score.window_count,
        tokens=score.token_count,
        start=score.start,
        end=score.end,
    )
