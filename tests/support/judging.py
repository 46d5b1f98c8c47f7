"""Judge scanners over texts that come in any pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from extproc.domain.judging import JudgeScanner
from extproc.domain.verdict import Finding

cuts = st.lists(st.integers(0, 400), max_size=12)


def pieces_of(text: str, places: Sequence[int]) -> list[str]:
    """A text cut at some of its places."""
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def judged(make: Callable[[], JudgeScanner], pieces: Sequence[str]) -> tuple[str, tuple[Finding, ...]]:
    """What a scanner released up to its first findings, and these."""
    scanner = make()
    released = ""
    for piece in pieces:
        scan = scanner.feed(piece)
        released += scan.released
        if scan.findings:
            return released, scan.findings[:1]
    scan = scanner.feed("", eof=True)
    assert scanner.held_chars == 0
    return released + scan.released, scan.findings[:1]
