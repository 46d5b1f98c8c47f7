"""Where a model reads a text that streams: at places that the text alone determines.

The text is cut behind the first sentence end that is far enough from the last cut, else behind the last
space of the longest window, else where that ends. A model reads from some way before what is undecided up
to a cut. Where it finds entities, what begins within the longest entity's length of a cut may go on behind
it, and is left to the next window; so every place of the text is decided by exactly one window, and always
by the same one.
"""

from __future__ import annotations

import re
from typing import Final

from extproc.domain.limits import LIMITS
from extproc.domain.reading import Window

_SENTENCE_END: Final = re.compile(
    "[.!?\u2026\u061f][\"'\u201d\u2019)\\]\u00bb]{0,4}\\s|[\u3002\uff01\uff1f\u0964]|\n"
)


class Windows:
    """Cuts one text into windows as it comes.

    Args:
        left_chars: What a window shows of the text before the part that it decides.
        undecided_chars: What it shows behind that part.
    """

    __slots__ = ("_base", "_cut", "_decided", "_kept", "_left_chars", "_number", "_undecided_chars")

    def __init__(
        self,
        left_chars: int = LIMITS.model_left_chars,
        undecided_chars: int = LIMITS.model_entity_chars_max,
    ) -> None:
        self._left_chars = left_chars
        self._undecided_chars = undecided_chars
        self._kept = ""
        self._base = 0  # where ``_kept`` begins
        self._cut = 0
        self._decided = 0
        self._number = 0

    def feed(self, text: str, *, eof: bool = False) -> list[Window]:
        """Take more text; give the windows that it completes, with ``eof`` the last one too."""
        self._kept += text
        found: list[Window] = []
        while (cut := self._next_cut()) is not None:
            self._cut = cut
            found += self._window(cut, cut - self._undecided_chars)
        if eof:
            end = self._base + len(self._kept)
            found += self._window(end, end)
        # Once for all of them: a long text has many.
        keep = max(self._decided - self._left_chars, self._base)
        self._kept = self._kept[keep - self._base :]
        self._base = keep
        return found

    def _next_cut(self) -> int | None:
        at = self._cut - self._base
        stop = at + LIMITS.model_window_chars_max
        found = _SENTENCE_END.search(self._kept, at + LIMITS.model_window_chars_min, stop)
        if found is not None:
            return self._base + found.end()
        if len(self._kept) < stop:
            return None
        space = self._kept.rfind(" ", at, stop)
        return self._base + (stop if space < 0 else space + 1)

    def _window(self, end: int, decides_to: int) -> list[Window]:
        """The window that ends at a cut; none where nothing is decided by it."""
        if decides_to <= self._decided:
            return []
        start = max(self._decided - self._left_chars, 0)
        text = self._kept[start - self._base : end - self._base]
        window = Window(self._number, start, text, self._decided, decides_to)
        self._number += 1
        self._decided = decides_to
        return [window]
