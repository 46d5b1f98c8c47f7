"""Sections of the README that commands write, each between two comments."""

from __future__ import annotations

import textwrap
from pathlib import Path

_LINE_CHARS = 120
ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin (", f"<!-- {name}: end -->"


def _parts(path: Path, name: str) -> tuple[str, str, str]:
    """What stands up to the section, in it, and from its end on. ValueError where there is none."""
    begin, end = _marks(name)
    before, mark, rest = path.read_text(encoding="utf-8").partition(begin)
    how, line, rest = rest.partition("\n")
    inner, mark_end, after = rest.partition(end)
    if not mark or not mark_end:
        raise ValueError(f"{path.name} has no section {name}")
    return before + mark + how + line, inner, mark_end + after


def paragraph(*sentences: str) -> str:
    """Sentences in the README's lines."""
    return textwrap.fill(" ".join(sentences), _LINE_CHARS, break_long_words=False, break_on_hyphens=False)


def kept(name: str, path: Path = README) -> str:
    """A section as it stands."""
    return _parts(path, name)[1].strip("\n")


def put(name: str, text: str, path: Path = README) -> None:
    """Put a text in the place of a section."""
    before, _, after = _parts(path, name)
    path.write_text(f"{before}{text}\n{after}", encoding="utf-8")
