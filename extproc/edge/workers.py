"""The parent of several workers: starts them, starts one again that died, passes signals on.

Each worker is a process of its own from its first instruction on (no fork of a process that has threads),
with its own endpoint. It learns that its parent is gone from its standard input, a pipe that ends then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from typing import TYPE_CHECKING, Final

from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOG = logging.getLogger("headgate.workers")

# Exit codes by which the command says that it will not serve: an error of ours, a wrong option.
_REFUSALS: Final = frozenset({1, 2})


class WorkersError(HeadgateError):
    """The workers cannot be kept running."""


class Deaths:
    """What follows from one worker's deaths: a pause before the next start, or none any more."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._at_ms: deque[int] = deque()

    def pause_ms(self, died_at_ms: int) -> int | None:
        """How long to wait after this death; None says that it is one too many."""
        since = died_at_ms - self._limits.worker_deaths_within_ms
        while self._at_ms and self._at_ms[0] <= since:
            self._at_ms.popleft()
        self._at_ms.append(died_at_ms)
        count = len(self._at_ms)
        if count >= self._limits.worker_deaths_max:
            return None
        return min(self._limits.worker_pause_first_ms << (count - 1), self._limits.worker_pause_max_ms)


class Workers:
    """Runs a command per worker until SIGTERM or SIGINT.

    Args:
        command: Gives the command line of a worker by its number.
        count: How many.
        stop_ms: How long they may take to end after SIGTERM; what still runs then is killed.
        limits: Pauses, and what counts as a crash loop.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        count: int,
        *,
        stop_ms: int,
        limits: Limits = LIMITS,
    ) -> None:
        self._command = command
        self._count = count
        self._stop_ms = stop_ms
        self._limits = limits
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._leash, self._hand = -1, -1

    async def run(self) -> None:
        """Start the workers and keep them running; returns when all have ended after a signal.

        Raises:
            WorkersError: one refused to start, or died again and again. The others have been drained.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._send, signal.SIGHUP)
        # Both ends close on exec; a worker gets one of them as its standard input.
        self._leash, self._hand = os.pipe()
        try:
            async with asyncio.TaskGroup() as group:
                for worker in range(self._count):
                    group.create_task(self._keep(worker))
                group.create_task(self._stop_when_asked())
        except* WorkersError as failed:
            await self._end_all()
            raise WorkersError(str(failed.exceptions[0])) from None
        finally:
            os.close(self._leash)
            os.close(self._hand)

    async def _keep(self, worker: int) -> None:
        """Run one worker, again and again until all shall stop."""
        loop = asyncio.get_running_loop()
        deaths = Deaths(self._limits)
        first = True
        while not self._stopping.is_set():
            began_s = loop.time()
            process = await asyncio.create_subprocess_exec(*self._command(worker), stdin=self._leash)
            self._running[worker] = process
            LOG.info("worker %d runs as process %d", worker, process.pid)
            if self._stopping.is_set():
                self._signal(process, signal.SIGTERM)
            code = await process.wait()
            del self._running[worker]
            if self._stopping.is_set():
                return
            LOG.error("worker %d ended (%s)", worker, _how(code))
            pause_ms = deaths.pause_ms(int(loop.time() * 1000))
            young = loop.time() - began_s < self._limits.worker_deaths_within_ms / 1000
            if first and young and code in _REFUSALS:
                raise WorkersError(f"worker {worker} refused to start; its own message stands above")
            if pause_ms is None:
                raise WorkersError(
                    f"worker {worker} died {self._limits.worker_deaths_max} times within "
                    f"{self._limits.worker_deaths_within_ms // 1000} s, at last with {_how(code)}"
                )
            first = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_ms / 1000)

    async def _stop_when_asked(self) -> None:
        await self._stopping.wait()
        await self._end_all()

    async def _end_all(self) -> None:
        """Let every worker drain; kill what has not ended in time."""
        self._stopping.set()
        self._send(signal.SIGTERM)
        left = [asyncio.ensure_future(process.wait()) for process in self._running.values()]
        if not left:
            return
        _, late = await asyncio.wait(left, timeout=self._stop_ms / 1000)
        if late:
            LOG.error("%d workers did not end in time and are killed", len(late))
            self._send(signal.SIGKILL)
            await asyncio.wait(late)

    def _send(self, number: signal.Signals) -> None:
        for process in self._running.values():
            self._signal(process, number)

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
