"""Keeps samples: the text of exchanges whose policy wants it kept, apart from the verdict log.

``keep`` never waits for the disk. A thread writes each sample to a file of its own and then has its record
written, so that a record never says of text that it was kept where it was not. What finds no room in the
queue or on the disk is not kept, counted, and LOST in its record; traffic goes on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from extproc.core.refusals import bug_report
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.verdict import Kept
from extproc.edge.body_files import BodyFolder, probe, write_file
from extproc.edge.sample_file import content_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from extproc.domain.bodies import Sample
    from extproc.domain.verdict import Record

LOG = logging.getLogger("headgate.bodies")


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyCounts:
    """What became of samples since the start, and the bytes that this process's have on the disk."""

    kept: int
    lost: int
    expired: int
    disk_bytes: int


class BodyKeeper:
    """Writes samples, and deletes them when their time has come. ``keep`` may be called from any thread.

    Args:
        folder: Where samples are kept; workers may share it.
        worker: Which of the service's processes this is.
        emit: Takes the record of an exchange once its sample is kept, or cannot be. Never blocks.
        now_unix_ms: The clock.
    """

    def __init__(
        self,
        folder: Path,
        emit: Callable[[Record], None],
        *,
        worker: int = 0,
        limits: Limits = LIMITS,
        now_unix_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._folder = BodyFolder(folder, worker)
        self._emit = emit
        self._limits = limits
        self._now_unix_ms = now_unix_ms
        # Guards all that both threads touch. Notified: when there is work, when nothing waits any more.
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._idle = threading.Condition(lock)
        self._queue: deque[tuple[Sample, Record]] = deque()
        self._queued_bytes = 0
        self._writing: Record | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._failing = False
        self._purge_at_s = 0.0
        self._counting = threading.Lock()
        self._counts = BodyCounts(kept=0, lost=0, expired=0, disk_bytes=0)

    # --- what the service sees --------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether a sample would be kept at the moment."""
        running = self._thread is not None and self._thread.is_alive() and not self._closing
        room = len(self._queue) < self._limits.sample_queue_max // 2
        return running and room and not self._failing and not self._full

    @property
    def counts(self) -> BodyCounts:
        """For metrics."""
        return self._counts

    def start(self) -> None:
        """Make the folder, delete what is past its lifetime, and begin.

        Raises:
            OSError: Nothing can be written there, so that the service should not start.
        """
        self._folder.make()
        probe(self._folder.own)
        self._purge()
        self._thread = threading.Thread(target=self._run, name="bodies", daemon=True)
        self._thread.start()

    def keep(self, sample: Sample, record: Record) -> None:
        """Keep a sample, then have its record written; never blocks."""
        running = self._thread is not None and self._thread.is_alive()
        with self._work:
            fits = self._queued_bytes + sample.size_bytes <= self._limits.sample_queue_bytes_max
            room = fits and len(self._queue) < self._limits.sample_queue_max
            if running and room and not self._closing:
                self._queue.append((sample, record))
                self._queued_bytes += sample.size_bytes
                self._work.notify_all()
                return
        self._lose(record)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything taken before is kept or lost; False where it is not in time."""
        with self._work:
            return self._idle.wait_for(lambda: not self._queue and self._writing is None, timeout_s)

    def close(self) -> None:
        """Keep what is queued, then end. Then the rest is lost, though not its records."""
        if self._thread is None:
            return
        with self._work:
            self._closing = True
            self._work.notify_all()
        self._thread.join(self._limits.sample_close_ms / 1000)
        with self._work:
            left = [record for _, record in self._queue]
            if self._writing is not None:
                # A disk that hangs: should it come back after all, this record is written already.
                left.insert(0, self._writing)
                self._writing = None
            self._queue.clear()
        for record in left:
            self._lose(record)
        self._thread = None

    # --- the writer's thread ----------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._queue or self._closing, self._pause_s())
                if not self._queue and self._closing:
                    return
                taken = self._queue.popleft() if self._queue else None
                if taken is not None:
                    self._queued_bytes -= taken[0].size_bytes
                    self._writing = taken[1]
            if taken is not None:
                self._finish(taken[1], kept=self._written(taken[0]))
            try:
                self._look_after(at_rest=taken is None)
            except OSError as error:
                self._fail(error)

    def _written(self, sample: Sample) -> bool:
        """Write one sample; whether it is on the disk."""
        if self._full:
            return False
        try:
            expires_unix_ms, content = content_of(sample)
            name = self._folder.new_file(expires_unix_ms)
            write_file(name, content)
        except OSError as error:
            self._fail(error)
            return False
        except Exception as error:  # noqa: BLE001 - the thread must outlive a bad sample.
            report = bug_report(error)
            LOG.error("a sample could not be made: %s at %s", report.kind, report.where)  # noqa: TRY400 - no text.
            return False
        self._recovered()
        self._count(disk_bytes=len(content))
        if self._full:
            LOG.error("bodies are not kept: they have all the disk space that they may have")
            self._purge_at_s = time.monotonic() + self._limits.sample_retry_ms / 1000
        return True

    def _finish(self, record: Record, *, kept: bool) -> None:
        with self._work:
            given_up, self._writing = self._writing is None, None
        if given_up:
            return
        if kept:
            self._count(kept=1)
            self._emit(record)
        else:
            self._lose(record)
        with self._work:
            if not self._queue:
                self._idle.notify_all()

    def _lose(self, record: Record) -> None:
        if not self._counts.lost:
            LOG.error("bodies are lost: the disk or the queue has no room")
        self._count(lost=1)
        self._emit(replace(record, bodies=Kept.LOST))

    def _count(self, *, kept: int = 0, lost: int = 0, expired: int = 0, disk_bytes: int = 0) -> None:
        with self._counting:
            now = self._counts
            self._counts = BodyCounts(
                kept=now.kept + kept,
                lost=now.lost + lost,
                expired=now.expired + expired,
                disk_bytes=now.disk_bytes + disk_bytes,
            )

    # --- the disk ---------------------------------------------------------------------------

    @property
    def _full(self) -> bool:
        return self._counts.disk_bytes >= self._limits.samples_disk_bytes_max

    def _pause_s(self) -> float:
        pause_s = max(self._purge_at_s - time.monotonic(), 0.0)
        return min(pause_s, self._limits.sample_retry_ms / 1000) if self._failing else pause_s

    def _look_after(self, *, at_rest: bool) -> None:
        """Delete what is past its lifetime, where it is time; try a disk that failed."""
        if time.monotonic() >= self._purge_at_s:
            self._purge()
        if self._failing and at_rest:
            probe(self._folder.own)
            self._recovered()

    def _purge(self) -> None:
        limits = self._limits
        self._purge_at_s = time.monotonic() + limits.sample_purge_ms / 1000
        expired = self._folder.purge(self._now_unix_ms())
        self._count(expired=expired, disk_bytes=self._folder.disk_bytes() - self._counts.disk_bytes)
        if self._full:
            # An operator may make room; more often than this it is not worth looking.
            self._purge_at_s = time.monotonic() + limits.sample_retry_ms / 1000

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            LOG.error("bodies cannot be kept: %s", os.strerror(error.errno or 0))
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            LOG.warning("bodies are kept again")
        self._failing = False
