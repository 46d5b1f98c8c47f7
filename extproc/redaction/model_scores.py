"""A text that streams, judged by a model window by window: what goes out is what was judged.

The windows are cut where the text alone says, and count in their order however their scores come. So what
was released before a finding is the same for any cut and any delay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from extproc.domain.limits import LIMITS
from extproc.redaction.windows import Windows

if TYPE_CHECKING:
    from extproc.domain.reading import Window


class Scored(NamedTuple):
    """What scores let go; ``wrong`` is the place of a window that is over the threshold, and its score."""

    released: str
    wrong: tuple[int, int, float] | None = None


_NOTHING = Scored("")


class ScoredScanner:
    """Holds one channel until a model has judged it.

    Args:
        threshold: The score from which on a window is wrong. With the first such window it is over.
    """

    __slots__ = ("_base", "_ended", "_kept", "_open", "_scores", "_threshold", "_windows", "unread_chars")

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._windows = Windows(LIMITS.judge_left_chars, 0)
        self._open: dict[int, Window] = {}
        self._scores: dict[int, float | None] = {}
        self._kept = ""
        self._base = 0
        self._ended = False
        # Code points that went out unjudged.
        self.unread_chars = 0

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text or for the model."""
        return len(self._kept)

    @property
    def waits(self) -> bool:
        """Whether a score may yet let something go."""
        return bool(self._open)

    @property
    def done(self) -> bool:
        """Whether the end has come and nothing is held."""
        return self._ended and not self._kept

    def asks(self, number: int) -> bool:
        """Whether a window's score is still of use."""
        return number in self._open and number not in self._scores

    def feed(self, text: str, *, eof: bool = False) -> tuple[Window, ...]:
        """Take more text; give the windows that the model must be asked about."""
        self._kept += text
        self._ended = eof
        if len(self._kept) > LIMITS.held_chars_max:
            # Whoever asks drops what is too much to hold: it is not worth cutting.
            return ()
        asked = tuple(self._windows.feed(text, eof=eof))
        self._open |= {window.number: window for window in asked}
        return asked

    def answer(self, number: int, score: float | None) -> Scored:
        """Take a window's score; give what may go out now. None lets it go unjudged, and counts it."""
        if number not in self._open:
            return _NOTHING
        self._scores[number] = score
        out: list[str] = []
        while self._open and (first := next(iter(self._open))) in self._scores:
            window, judged = self._open.pop(first), self._scores.pop(first)
            end = window.decides_to
            # Written so that a score that is no number is a finding.
            if judged is not None and not judged < self._threshold:
                self.drop()
                return Scored("".join(out), (window.decides_from, end, judged))
            if judged is None:
                self.unread_chars += end - window.decides_from
            out.append(self._kept[: end - self._base])
            self._kept = self._kept[end - self._base :]
            self._base = end
        return Scored("".join(out))

    def drop(self) -> None:
        """Forget what is held."""
        self._kept = ""
        self._open.clear()
        self._scores.clear()
