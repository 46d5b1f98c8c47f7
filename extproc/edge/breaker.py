"""A circuit breaker: what is known to be gone is not asked, so that it costs nothing to find out again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Breaker:
    """Opens after ``failures_max`` failures in a row; then lets one call per ``open_ms`` through to try.

    Every call that was admitted must end in exactly one of ``succeeded``, ``failed`` and ``abandoned``.
    ``clock`` gives seconds and never goes back.
    """

    def __init__(
        self, *, failures_max: int, open_ms: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures_max = failures_max
        self._open_s = open_ms / 1000
        self._clock = clock
        self._failures = 0
        self._next_try_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are being kept away."""
        return self._failures >= self._failures_max

    def admit(self) -> bool:
        """Whether a call may go through now."""
        if not self.is_open:
            return True
        if self._clock() < self._next_try_s:
            return False
        # The call that is admitted here is the only one until it ends, or has had its time.
        self._next_try_s = self._clock() + self._open_s
        return True

    def succeeded(self) -> None:
        """An answer came."""
        self._failures = 0

    def failed(self) -> None:
        """No answer came."""
        self._failures += 1
        self._next_try_s = self._clock() + self._open_s

    def abandoned(self) -> None:
        """The caller left before it was known; the next call may try at once."""
        self._next_try_s = 0.0
