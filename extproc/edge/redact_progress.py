"""What ``headgate redact`` shows of a long run: one line on a terminal, written over itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_S: Final = 0.5
# What is done before anybody wonders needs no line.
_QUIET_S: Final = 1.0
_BYTES_PER_MB: Final = 1_000_000
_BYTES_PER_KB: Final = 1_000
# In less a clock tells no speed.
_SPEED_S_MIN: Final = 0.05
_CLEAR_LINE: Final = "\r\x1b[K"


def speed(bytes_read: int, took_s: float) -> str:
    """How much was read, in which time and how fast, for the line at the end."""
    if bytes_read < _BYTES_PER_KB:
        return f"{bytes_read} bytes in {took_s:.3f} s"
    unit, unit_bytes = ("MB", _BYTES_PER_MB) if bytes_read >= _BYTES_PER_MB else ("KB", _BYTES_PER_KB)
    read = bytes_read / unit_bytes
    rate = f", {read / took_s:.1f} {unit}/s" if took_s >= _SPEED_S_MIN else ""
    return f"{read:.1f} {unit} in {took_s:.{1 if took_s >= 1 else 3}f} s{rate}"


class RedactProgress:
    """Shows how far a run is, from its second second on.

    Args:
        out: A terminal.
        size_bytes: All that will be read; None where that is not known, as of a pipe.
        clock: Seconds that only go forward.
    """

    def __init__(self, out: TextIO, *, size_bytes: int | None, clock: Callable[[], float]) -> None:
        self._out = out
        self._size_bytes = size_bytes
        self._clock = clock
        self._began_s = clock()
        self._next_s = self._began_s + _QUIET_S
        self._shown = False

    def read(self, bytes_read: int) -> None:
        """So much has been read by now."""
        now_s = self._clock()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _EVERY_S
        rate = bytes_read / _BYTES_PER_MB / (now_s - self._began_s)
        of = "" if self._size_bytes is None else f" of {self._size_bytes / _BYTES_PER_MB:.1f}"
        done = f"{bytes_read / _BYTES_PER_MB:.1f}{of} MB"
        self._out.write(f"{_CLEAR_LINE}headgate: {done}, {rate:.2f} MB/s")
        self._out.flush()
        self._shown = True

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._out.write(_CLEAR_LINE)
            self._out.flush()
            self._shown = False
