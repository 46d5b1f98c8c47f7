"""One start that may still become a match, and how it moves over what a feed brings.

This is the inner loop: a thread moves alone, as far as it can, and only what happens to it costs more
than two look-ups per character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.automaton import EDGE
from extproc.redaction.transducer import readings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.redaction.automaton import Automaton, State
    from extproc.redaction.rules import Validator

_STRIDE: Final = 64  # characters taken from the text at once; most threads die sooner (measured).


class Piece:
    """What one feed reads.

    Args:
        automaton: The rules.
        buffer: The text that is kept, and the new one after it.
        base: The offset of ``buffer`` in the channel.
        unread: Where in ``buffer`` the new text begins.
        eof: Whether nothing comes after it.
    """

    __slots__ = ("_automaton", "_whole", "base", "buffer", "classes", "eof", "origin", "rules")

    def __init__(self, automaton: Automaton, buffer: str, base: int, unread: int, *, eof: bool) -> None:
        self.buffer = buffer
        self.base = base
        self.origin = base + unread
        self.eof = eof
        self._automaton = automaton
        self._whole: Piece | None = None
        self.rules = automaton.rules
        self.classes: Sequence[int] = automaton.classes.of(buffer[unread:])

    def whole(self) -> Piece:
        """The same as if all of the buffer were new, for what begins in the text that was kept."""
        if self._whole is None:
            self._whole = Piece(self._automaton, self.buffer, self.base, 0, eof=self.eof)
        return self._whole


class Thread:
    """One start that may still become a match.

    ``end`` is its longest match so far, -1 for none, and ``rule`` the one that accepted there;
    ``state`` is None once no rule can accept further on.
    """

    __slots__ = ("end", "rule", "start", "state")

    def __init__(self, start: int, state: State) -> None:
        self.start = start
        self.state: State | None = state
        self.end = -1
        self.rule = -1

    def run(self, piece: Piece, at: int) -> int:
        """Move over ``piece.classes[at:]`` as long as a rule can accept; gives where it stopped.

        ``at`` is 0 for a thread of an earlier feed, which has arrived at its state before.
        """
        state = self.state
        if state is None:
            return at
        classes = piece.classes
        length = len(classes)
        origin = piece.origin
        asked: list[tuple[int, int]] = []
        if at:
            # Once and not again: the text that a validator saw may be gone by the next feed.
            self._arrive(state, piece, at, asked)
        while state.live and at < length:
            for taken in classes[at : at + _STRIDE]:
                state = state[taken]
                at += 1
                if state.eventful:
                    if state.sole >= 0:
                        self.end = origin + at
                        self.rule = state.sole
                    elif state.asks is not None:
                        asked.append((origin + at - 1, state.asks))
                    else:
                        self._arrive(state, piece, at, asked)
                        if not state.live:
                            break
        self._stop(state, piece, at, asked)
        return at

    def _stop(self, state: State, piece: Piece, at: int, asked: list[tuple[int, int]]) -> None:
        self.state = state if state.live else None
        if piece.eof:
            self._accept(state.before(EDGE), piece, at, asked)
            self.state = None
        if asked:
            self._decide(asked, piece)

    def _arrive(self, state: State, piece: Piece, at: int, asked: list[tuple[int, int]]) -> None:
        if state.late:
            self._accept(state.late, piece, at - 1, asked)
        if state.accepts:
            self._accept(state.accepts, piece, at, asked)

    def _accept(self, rules: tuple[int, ...], piece: Piece, at: int, asked: list[tuple[int, int]]) -> None:
        """Let rules accept up to ``at``; those with a validator are asked once the thread has stopped."""
        end = piece.origin + at
        for rule in rules:
            if piece.rules[rule].validator is not None:
                asked.append((end, -rule))
            elif end > self.end or (end == self.end and rule < self.rule):
                self.end = end
                self.rule = rule

    def _decide(self, asked: list[tuple[int, int]], piece: Piece) -> None:
        """The longest end whose validator holds, unless a rule without one has a better."""
        asked.sort(reverse=True)
        read_to = -1
        read_as: tuple[str, ...] = ()
        for end, negated in asked:
            rule = -negated
            if end < self.end or (end == self.end and rule >= self.rule):
                return
            validator = piece.rules[rule].validator
            if end != read_to:
                # Once for all that are asked about it.
                read_to, read_as = end, readings(piece.buffer[self.start - piece.base : end - piece.base])
            if validator is None or _holds(validator, read_as):
                self.end = end
                self.rule = rule
                return


def _holds(validator: Validator, read_as: tuple[str, ...]) -> bool:
    """Whether a value holds in any of its readings."""
    if len(read_as) == 1:
        return validator(read_as[0])
    return any(_holds_as_read(validator, reading) for reading in read_as)


def _holds_as_read(validator: Validator, reading: str) -> bool:
    try:
        return validator(reading)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        # It is not one that the body matches, and validators need not know others.
        return False
