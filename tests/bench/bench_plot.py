"""The plot of the hold-back, as SVG: how much each way holds back, and what it lets out all the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from xml.sax.saxutils import escape

_WIDTH, _ROW, _TOP, _BOTTOM = 860, 46, 74, 58
_LEFT, _RIGHT = 300, 690
_GOOD, _BAD, _INK, _PALE = "#1a7f37", "#cf222e", "#57606a", "#d0d7de"
_TICKS = (0, 1, 10, 100, 1_000, 10_000)
_FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


def _x(held_bytes: float) -> float:
    """Zero stands at the left edge, and each power of ten as far from the one before."""
    share = 0.0 if held_bytes < 1 else (math.log10(held_bytes) + 1) / (math.log10(_TICKS[-1]) + 1)
    return round(_LEFT + share * (_RIGHT - _LEFT), 1)


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = _INK, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}"{more}>{escape(text)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], stroke: str, width: float = 1) -> str:
    places = f'x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"'
    return f'<line {places} stroke="{stroke}" stroke-width="{width}"/>'


def _axis(bottom: float) -> Iterable[str]:
    for tick in _TICKS:
        yield _line((_x(tick), _TOP - 12), (_x(tick), bottom), _PALE)
        yield _text(_x(tick), bottom + 18, f"{tick:,}", anchor="middle")
    middle = (_LEFT + _RIGHT) / 2
    yield _text(middle, bottom + 40, "bytes held back: median, 99th percentile, most", anchor="middle")
    yield _text(_WIDTH - 16, _TOP - 24, "values that came out", anchor="end")


def _row(name: str, figures: Mapping[str, float], y: float) -> Iterable[str]:
    leaked = figures["leaked"]
    colour = _BAD if leaked else _GOOD
    bold = ' font-weight="600"' if name == "Headgate" else ""
    p50, p99, most = (_x(figures[f"held_{which}_bytes"]) for which in ("p50", "p99", "max"))
    yield _text(_LEFT - 22, y + 5, name, anchor="end", fill="#24292f", more=bold)
    yield _line((p50, y), (p99, y), colour, 6)
    yield _line((p99, y), (most, y), colour, 2)
    yield _line((most, y - 6), (most, y + 6), colour, 2)
    yield f'<circle cx="{p50}" cy="{y}" r="7" fill="{colour}" stroke="#ffffff" stroke-width="2"/>'
    said = f"{leaked:,.0f} of {figures['values']:,.0f}"
    yield _text(_WIDTH - 16, y + 5, said, anchor="end", fill=colour, more=bold)


def plot(figures: Mapping[str, Mapping[str, float]]) -> str:
    """The whole picture, one row for each way; it stands on white on dark pages, too."""
    height = _TOP + _ROW * len(figures) + _BOTTOM
    bottom = height - _BOTTOM
    title = "Held back by each way to redact a stream, and what came out unredacted"
    box = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="{_FONT}" font-size="14" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        _text(16, 30, title, fill="#24292f", more=' font-size="16" font-weight="600"'),
        *_axis(bottom),
    ]
    for number, (name, one) in enumerate(figures.items()):
        parts += _row(name, one, _TOP + _ROW * (number + 0.4))
    return "\n".join([*parts, "</svg>", ""])
