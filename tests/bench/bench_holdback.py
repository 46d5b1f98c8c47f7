"""What redacting a stream costs its reader, and what it lets out: five ways to do it, on the same answers.

make bench BENCH='--redaction --write'     the table and the plot of the README
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_answers import KINDS, answers
from bench_plot import plot
from bench_report import environment

from extproc.domain.scanning import RuleWatch, Scan, Scanner
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import Redactor

TOKEN_MS = 20.0  # 50 tokens a second
LEAK_CHARS = 6  # so many raw characters in a row of a value that the whole text's redaction takes out
SENTENCE_CHARS, WINDOW_CHARS = 80, 128
_END = re.compile(r"[.!?]\s+\Z|\n\Z")

Step = tuple[str, int]
"""What goes out after a token, and how many characters of the answer are then settled."""
Strategy = Callable[[Callable[[], Scanner], Sequence[str]], Iterator[Step]]


def _whole(scanner: Callable[[], Scanner], text: str) -> Scan:
    return scanner().feed(text, eof=True)


def per_delta(scanner: Callable[[], Scanner], pieces: Sequence[str]) -> Iterator[Step]:
    """Each token by itself."""
    settled = 0
    for piece in pieces:
        settled += len(piece)
        yield _whole(scanner, piece).released, settled
    yield "", settled


def per_sentence(scanner: Callable[[], Scanner], pieces: Sequence[str]) -> Iterator[Step]:
    """What has come, at each sentence's end or after 80 characters."""
    settled, waiting = 0, ""
    for piece in pieces:
        waiting += piece
        if len(waiting) >= SENTENCE_CHARS or _END.search(waiting):
            settled += len(waiting)
            yield _whole(scanner, waiting).released, settled
            waiting = ""
        else:
            yield "", settled
    yield _whole(scanner, waiting).released, settled + len(waiting)


def window(scanner: Callable[[], Scanner], pieces: Sequence[str]) -> Iterator[Step]:
    """All but the last 128 characters, and no match in two."""
    waiting, settled = "", 0
    for piece in pieces:
        waiting += piece
        end = max(0, len(waiting) - WINDOW_CHARS)
        out, at = [], 0
        scan = _whole(scanner, waiting)
        for finding, replacement in zip(scan.findings, scan.replacements, strict=True):
            if finding.start >= end:
                break
            if finding.end > end:
                end = finding.start
                break
            out += [waiting[at : finding.start], replacement]
            at = finding.end
        out.append(waiting[at:end])
        waiting = waiting[end:]
        settled += end
        yield "".join(out), settled
    yield _whole(scanner, waiting).released, settled + len(waiting)


def whole_buffer(scanner: Callable[[], Scanner], pieces: Sequence[str]) -> Iterator[Step]:
    """Nothing before the end."""
    for _ in pieces:
        yield "", 0
    text = "".join(pieces)
    yield _whole(scanner, text).released, len(text)


def exact(scanner: Callable[[], Scanner], pieces: Sequence[str]) -> Iterator[Step]:
    """As the filter does it."""
    mine, fed = scanner(), 0
    for piece in pieces:
        fed += len(piece)
        scan = mine.feed(piece)
        yield scan.released, fed - mine.held_chars
    yield mine.feed("", eof=True).released, fed


STRATEGIES: dict[str, Strategy] = {
    "each token by itself": per_delta,
    "at a sentence's end or 80 characters": per_sentence,
    "a window of 128 characters": window,
    "the whole answer": whole_buffer,
    "Headgate": exact,
}


@dataclass
class Seen:
    """What one strategy did over all answers."""

    held_bytes: list[int] = field(default_factory=list)
    added_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    cpu_ns: int = 0
    tokens: int = 0
    values: int = 0
    leaked: int = 0
    answers: int = 0
    differing: int = 0


def observe(strategy: Strategy, scanner: Callable[[], Scanner], pieces: Sequence[str], seen: Seen) -> None:
    """Run a strategy over one answer, token by token."""
    text = "".join(pieces)
    ends = [0]
    for char in text:
        ends.append(ends[-1] + len(char.encode()))
    out: list[str] = []
    last_out = fed = token = 0
    waiting: list[tuple[int, int]] = []
    steps = strategy(scanner, pieces)
    for number in range(1, len(pieces) + 2):
        began = time.process_time_ns()
        released, settled = next(steps)
        spent_ns = time.process_time_ns() - began
        seen.cpu_ns += spent_ns
        out.append(released)
        if number <= len(pieces):
            fed += len(pieces[number - 1])
            token += 1
            waiting.append((fed, number))
            seen.held_bytes.append(ends[fed] - ends[settled])
        # The end comes right behind the last token.
        at = min(number, len(pieces))
        own_ms = spent_ns / 1e6
        while waiting and waiting[0][0] <= settled:
            seen.late_ms.append((at - waiting.pop(0)[1]) * TOKEN_MS + own_ms)
        if released:
            seen.added_ms.append(max(0, at - last_out - 1) * TOKEN_MS + own_ms)
            last_out = at
    seen.tokens += token
    seen.answers += 1
    _judge("".join(out), text, _whole(scanner, text), seen)


def _judge(out: str, text: str, whole: Scan, seen: Seen) -> None:
    seen.differing += out != whole.released
    for finding in whole.findings:
        value = text[finding.start : finding.end]
        parts = {value[at : at + LEAK_CHARS] for at in range(len(value) - LEAK_CHARS + 1)}
        seen.values += 1
        # What stands elsewhere in the answer, too, is no leak.
        seen.leaked += any(part in out and part not in whole.released for part in parts)


def _percentile(values: Sequence[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def measure(seed: int, count: int) -> dict[str, dict[str, float]]:
    """The figures of every strategy over the same answers."""
    redactor = Redactor(default_automaton(), hash_key=b"")
    watches = [RuleWatch(pack=pack, entity_types=frozenset()) for pack in ("pii", "secrets")]

    def scanner() -> Scanner:
        return redactor(watches)

    streams = [pieces for _, pieces in answers(seed, count)]
    # The automaton and the kernel learn at first.
    for strategy in STRATEGIES.values():
        for pieces in streams[:60]:
            observe(strategy, scanner, pieces, Seen())
    return {name: _figures(strategy, scanner, streams) for name, strategy in STRATEGIES.items()}


def _figures(
    strategy: Strategy, scanner: Callable[[], Scanner], streams: Sequence[Sequence[str]]
) -> dict[str, float]:
    seen = Seen()
    for pieces in streams:
        observe(strategy, scanner, pieces, seen)
    return {
        "answers": seen.answers,
        "tokens": seen.tokens,
        "values": seen.values,
        "leaked": seen.leaked,
        "differing": seen.differing,
        "held_p50_bytes": round(_percentile(seen.held_bytes, 50)),
        "held_p99_bytes": round(_percentile(seen.held_bytes, 99)),
        "held_max_bytes": max(seen.held_bytes),
        "added_p50_ms": round(_percentile(seen.added_ms, 50), 3),
        "added_p99_ms": round(_percentile(seen.added_ms, 99), 3),
        "late_p50_ms": round(_percentile(seen.late_ms, 50), 3),
        "late_p99_ms": round(_percentile(seen.late_ms, 99), 3),
        "cpu_us_per_token": round(seen.cpu_ns / 1000 / seen.tokens, 1),
    }


# --- for people -----------------------------------------------------------------------------------

BEGIN, END = "<!-- hold-back: begin (make bench BENCH='--redaction --write') -->", "<!-- hold-back: end -->"
PLOT = "tests/bench/holdback.svg"
_COLUMNS = (
    "held back, bytes",
    "added between outputs, ms",
    "a token comes later by, ms",
    "CPU per token, us",
)


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """One row for each way."""
    rows = [
        ["", *_COLUMNS, "values that came out", "answers unlike the whole text's"],
        ["", "p50 / p99 / max", "p50 / p99", "p50 / p99", "", "", ""],
    ]
    for name, one in figures.items():
        held = " / ".join(f"{one[f'held_{which}_bytes']:,.0f}" for which in ("p50", "p99", "max"))
        added, late = (
            f"{one[f'{what}_p50_ms']:,.2f} / {one[f'{what}_p99_ms']:,.0f}" for what in ("added", "late")
        )
        leaked = f"{one['leaked']:,.0f} of {one['values']:,.0f}"
        differing = f"{one['differing']:,.0f} of {one['answers']:,.0f}"
        rows.append([name, held, added, late, f"{one['cpu_us_per_token']:.1f}", leaked, differing])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def section(results: Mapping[str, Any]) -> str:
    """What stands in the README between the markers."""
    figures, before = results["figures"], results["before"]
    some = next(iter(figures.values()))
    machine = f"{before['cores']} shared cores ({before['cpu']}), load average {before['load_1min']}"
    amount = f"{some['answers']:,.0f} answers of {len(KINDS)} kinds in {some['tokens']:,.0f} tokens"
    text = f"""\
`make bench BENCH=--redaction` on {machine};
redaction with {before["redaction"]}. {amount}, {TOKEN_MS:.0f} ms apart:
prose, letters, tables, code, logs, tool arguments, settings with long keys. Waits are counted in tokens,
and the CPU's time is added. A value came out if {LEAK_CHARS} of its characters in a row did.
Of {results["rules"]} shipped rules those count that do where a policy names none.

{table(figures)}

![Bytes held back by each way, and values that came out]({PLOT})"""
    return f"{BEGIN}\n{text}\n{END}"


def write_readme(path: Path, results: Mapping[str, Any]) -> None:
    """Put the section in place of the one between the markers.

    Raises:
        ValueError: the README has no such markers.
    """
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("README.md has no markers for the hold-back")
    path.write_text(before + section(results) + after, encoding="utf-8")


def bench(root: Path, *, seed: int, answers_count: int, write: bool) -> None:
    """Measure, print the table, and with ``write`` put table and plot into the checkout."""
    rules = len(default_automaton().rules)
    results = {
        "seed": seed,
        "rules": rules,
        "before": environment(),
        "figures": measure(seed, answers_count),
    }
    print(table(results["figures"]))  # noqa: T201 - its output.
    if write:
        (root / PLOT).write_text(plot(results["figures"]), encoding="utf-8")
        (root / "tests/bench/holdback.json").write_text(
            json.dumps(results, indent=1) + "\n", encoding="utf-8"
        )
        write_readme(root / "README.md", results)
