"""What the guards that judge answers share."""

from collections.abc import Callable
from typing import Annotated, Final

from annotated_types import Len

from extproc.domain.judging import Judged, ToolCall
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Finding

Canned = Annotated[str, Len(1, 1_000)]
CANNED: Final = "This part of the answer was withheld."


class NoCalls:
    """A judging to which tool calls as such say nothing."""

    __slots__ = ()

    def call(self, call: ToolCall) -> Finding | None:
        """None: it judges texts."""
        del call
        return None


def finding(entity_type: str, start: int, end: int, detector: str, *, score: float = 1.0) -> Finding:
    """What a judge found."""
    return Finding(entity_type=entity_type, start=start, end=end, score=score, detector=detector)


class WholeText:
    """Holds a channel to its end, and decides on all of it at once.

    Args:
        decide: What is wrong with a whole text.
        too_long: What is found in one that is longer than may be held.
    """

    __slots__ = ("_chars", "_decide", "_over", "_pieces", "_too_long")

    def __init__(self, decide: Callable[[str], Finding | None], too_long: Finding) -> None:
        self._decide = decide
        self._too_long = too_long
        self._pieces: list[str] = []
        self._chars = 0
        self._over = False

    @property
    def held_chars(self) -> int:
        """Code points that wait for the end."""
        return self._chars

    def drop(self) -> None:
        """Forget what is held."""
        self._pieces.clear()
        self._chars = 0

    def feed(self, text: str, *, eof: bool = False) -> Judged:
        """Take more text; with ``eof`` all of it is decided. After a finding all passes."""
        if self._over:
            return Judged(text)
        self._pieces.append(text)
        self._chars += len(text)
        wrong: Finding | None = None
        if self._chars > LIMITS.held_chars_max:
            wrong = self._too_long
        elif not eof:
            return _NOTHING
        whole = "".join(self._pieces)
        self.drop()
        if wrong is None:
            wrong = self._decide(whole)
        if wrong is None:
            return Judged(whole)
        self._over = True
        return Judged("", (wrong,))


_NOTHING: Final = Judged("")
