"""One part as a child process: in a session of its own, probed until ready, ended with its children."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WORD = re.compile(r"[A-Za-z]{3}")
_PICTURE = re.compile(r"##|oO0OoO")
_TETHER = Path(__file__).with_name("tether.py")
_LOG_TAIL_LINES = 15
_LOG_TAIL_BYTES_MAX = 16_384
_PROBE_PAUSE_S = 0.05


class PartFailed(Exception):  # noqa: N818 - reads as what it says.
    """A part did not start, did not become ready, or ended by itself.

    Attributes:
        part: Its name.
        why: What happened, without a full stop.
        log_tail: The last lines of its log.
        log_path: The whole log.
    """

    def __init__(self, *, part: str, why: str, log_tail: Sequence[str], log_path: Path) -> None:
        self.part = part
        self.why = why
        self.log_tail = tuple(log_tail)
        self.log_path = log_path
        lines = [f"{part}: {why}", *(f"  {line}" for line in log_tail), f"  (whole log: {log_path})"]
        super().__init__("\n".join(lines))


class Part(ABC):
    """A server of its own process.

    Start it from a thread that lives as long as the part should: the kernel ends the part with the *thread*
    that started it.
    """

    # What a reader calls it.
    name: str
    # How long it may take to become ready, and to end after SIGTERM.
    ready_within_s: float = 20.0
    stop_within_s: float = 5.0
    # What the kernel sends it when the starting process dies. SIGTERM where the part has children to end.
    death_signal: signal.Signals = signal.SIGKILL

    def __init__(self, state: Path) -> None:
        self.state = state.resolve()
        self.state.mkdir(parents=True, exist_ok=True)
        self.log_path = self.state / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._started_before = False

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What to run; the first is an absolute path. May write files into ``state`` first."""

    @abstractmethod
    def probe(self) -> bool:
        """Whether it answers as a part that is ready does; never raises for one that is not."""

    def environment(self) -> Mapping[str, str]:
        """Variables that differ from this process's own."""
        return {}

    @property
    def pid(self) -> int | None:
        """The process id; None unless it runs."""
        process = self._process
        return None if process is None or _how_it_ended(process) else process.pid

    def start(self) -> None:
        """Start it and return at once.

        Raises:
            PartFailed: what to run is missing.
        """
        if self.pid is not None:
            raise AssertionError(f"{self.name} runs already")
        with self.log_path.open("ab" if self._started_before else "wb") as log:
            self._started_before = True
            tether = [sys.executable, "-I", "-S", _TETHER, os.getpid(), self.death_signal.value]
            command = [str(word) for word in (*tether, *self.command())]
            self._process = subprocess.Popen(  # noqa: S603 - parts of this package; no shell.
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment()},
                cwd=self.state,
                start_new_session=True,
            )

    def wait_ready(self, within_s: float | None = None) -> None:
        """Wait until it is ready.

        Raises:
            PartFailed: it ended, or is not ready in time.
        """
        limit_s = self.ready_within_s if within_s is None else within_s
        end = time.monotonic() + limit_s
        while True:
            self.check()
            if self.probe():
                return
            if time.monotonic() >= end:
                raise self.failure(f"not ready within {limit_s:g} s")
            time.sleep(_PROBE_PAUSE_S)

    def check(self) -> None:
        """Do nothing while it runs.

        Raises:
            PartFailed: it does not.
        """
        process = self._process
        if process is None:
            raise self.failure("was not started")
        how = _how_it_ended(process)
        if how:
            raise self.failure(how)

    def stop(self) -> None:
        """End it and its children: politely, then by force. Does nothing if it does not run."""
        self._end(self.stop_within_s, signal.SIGTERM)

    def kill(self) -> None:
        """End it and its children by SIGKILL, as a crash would."""
        self._end(0.0, signal.SIGKILL)

    def clean(self) -> None:  # noqa: B027 - most parts leave nothing.
        """Remove what it left behind outside its folder; called once it has ended."""

    def failure(self, why: str) -> PartFailed:
        """The error that says so, with the end of the log."""
        return PartFailed(part=self.name, why=why, log_tail=tail(self.log_path), log_path=self.log_path)

    def _end(self, within_s: float, first: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if not _how_it_ended(process):
            # Only the leader: it ends its own children in their order.
            process.send_signal(first)
            end = time.monotonic() + within_s
            while not _how_it_ended(process) and time.monotonic() < end:
                time.sleep(_PROBE_PAUSE_S)
        if process.returncode is None:
            # The leader is not reaped yet, so its group's id cannot be another's.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.clean()


def tail(path: Path, lines_max: int = _LOG_TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a log file; none if there is no file."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _LOG_TAIL_BYTES_MAX))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(deque((line for line in text.splitlines() if _tells(line)), maxlen=lines_max))


def _tells(line: str) -> bool:
    """Whether a log's line says something: pictures, as Valkey draws at its start, and rules do not."""
    return _WORD.search(line) is not None and _PICTURE.search(line) is None


def _how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """How it ended, empty while it runs. It stays unreaped, so that its group's id stays its own."""
    if process.returncode is not None:
        return f"ended with {process.returncode}"
    try:
        end = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return "ended"
    if end is None:
        return ""
    if end.si_code == os.CLD_EXITED:
        return f"ended with exit code {end.si_status}"
    return f"ended by {signal.strsignal(end.si_status) or end.si_status}"
