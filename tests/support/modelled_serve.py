"""``headgate`` with the stand-in that finds names in answers; for tests alone. What it does is in a file.

The file holds a number of milliseconds that it takes, or a word: ``hang`` or ``fail``. Without the file it
answers at once.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from pathlib import Path

from span_model import MODEL, spans_for

from extproc import app, policies
from extproc.domain.effects import FindSpans, Spans
from extproc.domain.errors import DependencyError, FailureKind
from extproc.edge.runner import Services

CONDUCT_VARIABLE = "HEADGATE_TEST_CONDUCT"


class StandInFinder:
    """Finds what the stand-in knows, when its file says so."""

    def __init__(self, conduct: Path) -> None:
        self._conduct = conduct

    async def find(self, effect: FindSpans, *, deadline_ms: int) -> Spans:
        word = self._conduct.read_text(encoding="utf-8") if self._conduct.exists() else "0"
        if word == "fail":
            raise DependencyError(FailureKind.UNAVAILABLE, "stand-in")
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                await (asyncio.Event().wait() if word == "hang" else asyncio.sleep(int(word) / 1000))
        except TimeoutError:
            raise DependencyError(FailureKind.DEADLINE, "stand-in") from None
        return spans_for(effect)


if __name__ == "__main__":
    from extproc.cli import main

    finder = StandInFinder(Path(os.environ[CONDUCT_VARIABLE]))
    # Where the composition root takes it from.
    vars(app)["Services"] = functools.partial(Services, spans=finder)
    policies.SPAN_MODELS = frozenset({MODEL})
    sys.exit(main())
