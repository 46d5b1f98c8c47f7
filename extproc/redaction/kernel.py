"""The compiled inner loop, where this build has it: moves threads over texts in which nothing is found.

It is a copy of what the automaton knows, filled as texts need it, and decides nothing. Where something
happens that the engine must look at, above all where a rule accepts, it stops before that text, and the
engine reads the text itself. So the engine alone is the reference, and all that runs without a kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.domain.limits import LIMITS
from extproc.redaction.transducer import is_shaded

try:
    from extproc.redaction import _kernel as compiled
except ImportError:
    # There was no compiler when the package was built.
    compiled = None  # type: ignore[assignment]  # a module else

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.redaction.automaton import Automaton, State
    from extproc.redaction.thread import Thread

AVAILABLE: Final = compiled is not None


def describe() -> str:
    """Which engine runs, for the start-up line."""
    return "compiled kernel" if AVAILABLE else "pure Python: no kernel was built with this package"


class Quick(NamedTuple):
    """What the kernel read.

    Args:
        texts_read: How many texts; the engine must read the one after them.
        released: What may go out after each.
        kept: What the engine keeps, from the oldest thread's start on, or else the last character.
        threads: Start within ``kept`` and state of each thread that lives.
        read_chars: The texts' length.
        held_chars_max: The most that was held after any of them.
    """

    texts_read: int
    released: list[str]
    kept: str
    threads: list[tuple[int, State]]
    read_chars: int
    held_chars_max: int


class Kernel:
    """The part of an automaton that a mask can reach, as numbers. Not safe to share between threads."""

    def __init__(self, automaton: Automaton, mask: int) -> None:
        self._automaton = automaton
        self._mask = mask
        self._full = False
        self._forget()

    def _forget(self) -> None:
        self._full = False
        # By number. A state that is numbered must live, since ids of dead objects are given out again.
        self._states: list[State] = []
        self._numbers: dict[int, int] = {}
        self._table = compiled.Table(self._step, self._begin, self._classify)

    def scan(
        self, texts: tuple[str, ...], first: int, kept: str, threads: Sequence[Thread], base: int
    ) -> Quick:
        """Read texts from ``first`` on, as far as nothing is found in them.

        ``threads`` stand in ``kept``, which begins at ``base``; none of them has accepted.
        """
        if self._full:
            self._forget()
        standing = []
        for thread in threads:
            number = None if thread.state is None else self._stand(thread.state)
            if number is None or len(threads) > compiled.THREADS_MAX:
                return Quick(0, [], kept, [], 0, 0)
            standing.append((thread.start - base, number))
        following, released, kept, found, read_chars, held_chars_max = self._table.scan(
            texts, first, kept, tuple(standing)
        )
        states = self._states
        live = [(start, states[number - compiled.FIRST]) for start, number in found]
        return Quick(following - first, released, kept, live, read_chars, held_chars_max)

    def _stand(self, state: State) -> int | None:
        """The number of a state on which a thread stands; None where there is no room for it."""
        number = self._numbers.get(id(state))
        if number is None:
            number = len(self._states) + compiled.FIRST
            if number >= LIMITS.kernel_states_max:
                self._full = True
                return None
            self._numbers[id(state)] = number
            self._states.append(state)
        return number

    def _arrive(self, state: State) -> int:
        """What a thread's arrival at a state means."""
        if state.accepts or state.late:
            return compiled.STOP
        if not state.live:
            return compiled.DEAD
        number = self._stand(state)
        return compiled.STOP if number is None else number

    def _step(self, number: int, taken: int) -> int:
        return self._arrive(self._states[number - compiled.FIRST][taken])

    def _begin(self, before: int, taken: int) -> int:
        return self._arrive(self._automaton.start(before, taken, self._mask))

    def _classify(self, code_point: int) -> int:
        if is_shaded(code_point):
            return 0
        number = self._automaton.classes[chr(code_point)]
        return number if number < compiled.CLASSES else 0
