"""The verdict log: appends one line per record to a file, from a thread of its own.

``emit`` never waits for the disk. When the disk does not keep up or fails, the log says that it is not
healthy, and the servicer takes no new stream: traffic without a trace is refused. Exchanges that run
already find room in the second half of the queue; what does not fit even there is dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
from collections import deque
from typing import TYPE_CHECKING

from extproc.domain.limits import LIMITS, Limits
from extproc.domain.verdict import OnError
from extproc.edge.verdict_line import line_of

if TYPE_CHECKING:
    from pathlib import Path

    from extproc.domain.verdict import Record

LOG = logging.getLogger("headgate.verdict_log")

# Verdicts are for the operator's eyes: who wants others to read them says so on the file.
_MODE = 0o600
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class VerdictLog:
    """An append-only file of verdict records. ``emit`` may be called from any thread.

    ``on_failure`` is what becomes of new streams while records cannot be written: BLOCK makes ``healthy``
    False, ALLOW lets them run and only counts what is lost.
    """

    def __init__(self, path: Path, *, limits: Limits = LIMITS, on_failure: OnError = OnError.BLOCK) -> None:
        self._path = path
        self._limits = limits
        self._on_failure = on_failure
        self._queue: deque[Record] = deque()
        # Guards all that both threads touch. Notified: when there is work, when a batch is on the disk.
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        self._thread: threading.Thread | None = None
        self._file: _LogFile | None = None
        self._closing = False
        self._given_up = False
        self._hurry = False
        self._failing = False
        self._unwritten_lines = 0
        self._dropped = 0
        self._failures = 0

    # --- what the service sees --------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether a new stream's record would be written."""
        if self._on_failure is OnError.ALLOW:
            return True
        running = self._thread is not None and self._thread.is_alive() and not self._closing
        return running and not self._failing and len(self._queue) < self._limits.record_queue_max // 2

    @property
    def waiting(self) -> int:
        """Records that no batch has taken yet."""
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """Records that found no room, or that the disk had not taken when the log was closed."""
        return self._dropped

    @property
    def failures(self) -> int:
        """Attempts to write that failed. Each batch is tried until it is written."""
        return self._failures

    def start(self) -> None:
        """Open the file and begin to write.

        Raises:
            OSError: the file cannot be opened, so that the service should not start.
        """
        self._file = _LogFile(self._path)
        self._thread = threading.Thread(target=self._run, name="verdict-log", daemon=True)
        self._thread.start()

    def emit(self, record: Record) -> None:
        """Take a record; never blocks."""
        with self._work:
            if self._closing or len(self._queue) >= self._limits.record_queue_max:
                self._drop(1)
                return
            self._queue.append(record)
            # The writer sleeps on its own between batches; it need not hear of every record.
            if len(self._queue) == 1 or len(self._queue) == self._limits.record_batch_max:
                self._work.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything emitted before is on the disk; False where it is not in time."""
        with self._work:
            self._hurry = True
            self._work.notify_all()
            done = self._settled.wait_for(lambda: not self._queue and not self._unwritten_lines, timeout_s)
            self._hurry = False
            return done

    def close(self) -> None:
        """Write what is queued, then end. Gives up after ``record_close_ms``; what is lost is counted."""
        if self._thread is None:
            return
        with self._work:
            self._closing = True
            self._work.notify_all()
        self._thread.join(self._limits.record_close_ms / 1000)
        with self._work:
            self._given_up = True
            lost = len(self._queue) + self._unwritten_lines
            self._queue.clear()
            if lost:
                self._drop(lost)
        self._thread = None

    # --- the writer's thread ----------------------------------------------------------------

    def _run(self) -> None:
        file = self._file
        if file is None:
            return
        while self._wait():
            self._write_batch(file)
        file.close()

    def _wait(self) -> bool:
        """Until there is a batch to write; False when all is written and the log is closed."""
        with self._work:
            self._work.wait_for(lambda: self._queue or self._unwritten_lines or self._closing)
            if self._given_up or not (self._queue or self._unwritten_lines):
                return False
            # More records come meanwhile, or the disk recovers.
            self._work.wait_for(self._urgent, self._limits.record_flush_ms / 1000)
            return True

    def _urgent(self) -> bool:
        full = len(self._queue) >= self._limits.record_batch_max
        return not self._failing and (self._closing or self._hurry or full)

    def _write_batch(self, file: _LogFile) -> None:
        with self._work:
            if not self._unwritten_lines:
                count = min(len(self._queue), self._limits.record_batch_max)
                batch = [self._queue.popleft() for _ in range(count)]
                self._unwritten_lines = count
            else:
                batch = []  # First what is left of the last one.
        # The one place where lines get their order: sequence number, hash chain and seal belong here.
        lines = [_safe_line(record) for record in batch]
        try:
            file.append(b"".join(lines))
        except OSError as error:
            self._failed(error)
            return
        with self._work:
            if self._failing:
                LOG.warning("the verdict log is written again")
            self._failing = False
            self._unwritten_lines = 0
            self._settled.notify_all()

    def _failed(self, error: OSError) -> None:
        with self._work:
            if not self._failing:
                LOG.error("the verdict log cannot be written: %s", os.strerror(error.errno or 0))
            self._failing = True
            self._failures += 1

    def _drop(self, count: int) -> None:
        if not self._dropped:
            LOG.error("verdict records are lost: the queue is full or the log is closed")
        self._dropped += count


def _safe_line(record: Record) -> bytes:
    """The record's line; nothing where a bug keeps it from having one, so that the others are written."""
    try:
        return line_of(record)
    except Exception as error:  # noqa: BLE001 - the writer's thread must outlive a bad record.
        LOG.error("a verdict record could not be written: %s", type(error).__name__)  # noqa: TRY400 - no text.
        return b""


class _LogFile:
    """The open file. What could not be written is kept and goes first the next time, so no line is torn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten = b""
        # How much of ``_unwritten`` the file has.
        self._written_bytes = 0
        self._descriptor = self._open()

    def append(self, lines: bytes) -> None:
        """Write whole lines and sync. Raises OSError; what was not written is then kept."""
        self._follow_rotation()
        self._unwritten += lines
        while self._written_bytes < len(self._unwritten):
            self._written_bytes += _write(self._descriptor, self._unwritten[self._written_bytes :])
        if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.fsync(self._descriptor)
        self._unwritten, self._written_bytes = b"", 0

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _open(self) -> int:
        descriptor = os.open(self._path, _FLAGS, _MODE)
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size:
            last = os.pread(descriptor, 1, status.st_size - 1)
            if last != b"\n":
                # A process that was killed left half a line: end it, so that ours is not lost with it.
                self._unwritten = b"\n" + self._unwritten
        return descriptor

    def _follow_rotation(self) -> None:
        """Open the path anew where it is no longer the file that is open."""
        current = os.fstat(self._descriptor)
        try:
            named = self._path.lstat()
        except FileNotFoundError:
            pass
        else:
            if (named.st_dev, named.st_ino) == (current.st_dev, current.st_ino):
                return
        # A line that was begun in the old file is written whole in the new one.
        self._unwritten = self._unwritten[self._unwritten.rfind(b"\n", 0, self._written_bytes) + 1 :]
        self._written_bytes = 0
        rotated, self._descriptor = self._descriptor, self._open()
        os.close(rotated)


def _write(descriptor: int, data: bytes) -> int:
    """``os.write`` under a name of its own, so that a test can fill the disk."""
    return os.write(descriptor, data)
