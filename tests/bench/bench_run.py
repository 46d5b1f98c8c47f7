"""`make bench`: measures the filter beside Envoy alone and beside a no-op filter of the same kind.

All configurations run at once and take turns, round by round, so that a noisy minute hits all of them.
What is added is the difference to Envoy alone within the same round; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import bench_holdback  # noqa: E402 - the folders above are where it finds what it imports.
import bench_wires  # noqa: E402 - the folders above are where it finds what it imports.
import bench_work  # noqa: E402 - the folders above are where it finds what it imports.
from bench_parts import Bench, Setup  # noqa: E402
from bench_report import environment, table, wires_table, write_readme  # noqa: E402
from bench_texts import OPENAI_PLANTS, TRITON_PLANTS  # noqa: E402

ALONE = "envoy"
SETUPS = (ALONE, "noop", "output", "output x2", "everything")
RESULTS = ROOT / "tests" / "bench" / "figures.json"
Figures = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    rounds: int
    burst_s: float
    streams_few: int
    streams_many: int
    bursts: tuple[int, ...]
    held: int
    work_rounds: int


FULL = Size(
    rounds=7, burst_s=2.0, streams_few=8, streams_many=50, bursts=(16, 50), held=1000, work_rounds=30
)
TINY = Size(rounds=1, burst_s=0.2, streams_few=2, streams_many=3, bursts=(2,), held=5, work_rounds=2)


class Run:
    """One run over all configurations."""

    def __init__(
        self, bench: Bench, setups: Sequence[Setup], size: Size, say: Callable[[str], None]
    ) -> None:
        self._clients = bench.clients
        self._setups = setups
        self._size = size
        self._say = say

    def all(self) -> Figures:
        """Every measurement, in turn."""
        size = self._size
        self._warm_up()
        figures: Figures = {}
        for wire in ("openai", "triton"):
            figures[f"{wire}, paced, {size.streams_few} streams"] = self._paced(wire, size.streams_few)
        figures[f"openai, paced, {size.streams_many} streams"] = self._paced("openai", size.streams_many)
        for streams in size.bursts:
            figures[f"openai, no gap, {streams} streams"] = self._burst(streams)
        figures["leaks"] = self._leaks()
        figures["open streams"] = self._hold()
        return figures

    def _warm_up(self) -> None:
        for setup in self._setups:
            self._say(f"warm-up: {setup.name}")
            self._clients.do("burst", setup.target(), streams=4, seconds=self._size.burst_s / 2)
            for wire in ("openai", "triton"):
                self._clients.do("paced", setup.target(wire=wire), streams=2)

    def _turns(self, what: str, one: Callable[[Setup], Figures]) -> dict[str, list[Figures]]:
        """Rounds in which the configurations take turns, each round beginning with another one."""
        found: dict[str, list[Figures]] = {setup.name: [] for setup in self._setups}
        for number in range(self._size.rounds):
            self._say(f"{what}: round {number + 1} of {self._size.rounds}")
            shift = number % len(self._setups)
            for setup in (*self._setups[shift:], *self._setups[:shift]):
                found[setup.name].append(one(setup))
        return found

    def _paced(self, wire: str, streams: int) -> Figures:
        def one(setup: Setup) -> Figures:
            return _with_cost(
                setup,
                lambda: self._clients.do("paced", setup.target(wire=wire), streams=streams),
                lambda _: streams,
            )

        rounds = self._turns(f"{wire}, {streams} streams at the pace of a model", one)
        return {name: _paced_figures(mine, rounds[ALONE]) for name, mine in rounds.items()}

    def _burst(self, streams: int) -> Figures:
        def one(setup: Setup) -> Figures:
            return _with_cost(
                setup,
                lambda: self._clients.do(
                    "burst", setup.target(), streams=streams, seconds=self._size.burst_s
                ),
                lambda result: _number(result["answers"]),
            )

        rounds = self._turns(f"{streams} streams without gaps", one)
        return {
            name: {
                "per_s": _median(mine, "per_s"),
                "per_s_best": max(_number(one["per_s"]) for one in mine),
                "failed": sum(_number(one["failed"]) for one in mine),
                **_costs(mine),
            }
            for name, mine in rounds.items()
        }

    def _leaks(self) -> Figures:
        found: Figures = {}
        for wire, names in (("openai", OPENAI_PLANTS), ("triton", TRITON_PLANTS)):
            for name in names:
                self._say(f"planted values: {wire}, {name}")
                found[f"{wire}, {name}"] = {
                    setup.name: self._clients.do("plants", setup.target(wire=wire, script=name))
                    for setup in self._setups
                }
        return found

    def _hold(self) -> Figures:
        found: Figures = {}
        for setup in self._setups:
            if setup.service is None:
                continue
            self._say(f"{self._size.held} open streams: {setup.name}")
            before = setup.rss_bytes()
            opened = self._clients.do("hold", setup.target(), streams=self._size.held)
            grown = setup.rss_bytes() - before
            ended = self._clients.do("release", setup.target())
            found[setup.name] = {
                "rss_before_mb": round(before / 1e6, 1),
                "rss_grown_mb": round(grown / 1e6, 1),
                "kb_per_stream": round(grown / 1e3 / self._size.held, 1),
                **opened,
                **ended,
            }
        return found


def _with_cost(
    setup: Setup, work: Callable[[], Figures], answers_of: Callable[[Figures], float]
) -> Figures:
    """A result with what it cost in CPU time and messages."""
    messages, (service_s, envoy_s) = setup.messages(), setup.cpu_s()
    result = work()
    service_s_after, envoy_s_after = setup.cpu_s()
    if result.get("failed") is True:
        raise RuntimeError(f"{setup.name}: an answer failed")
    answers = max(answers_of(result), 1)
    spent_s = service_s_after - service_s
    received = setup.messages() - messages
    return {
        **result,
        "service_ms_per_answer": spent_s * 1e3 / answers,
        "service_us_per_message": spent_s * 1e6 / received if received else 0.0,
        "envoy_ms_per_answer": (envoy_s_after - envoy_s) * 1e3 / answers,
        "messages_per_answer": received / answers,
    }


def _costs(rounds: Sequence[Figures]) -> Figures:
    names = (
        "service_ms_per_answer",
        "service_us_per_message",
        "envoy_ms_per_answer",
        "messages_per_answer",
    )
    return {name: _median(rounds, name) for name in names}


def _paced_figures(mine: Sequence[Figures], alone: Sequence[Figures]) -> Figures:
    figures: Figures = {}
    for delay in ("first_byte", "first_text", "event", "character"):
        seen = [_part(one, delay, "p50") for one in mine]
        added = [
            one - other for one, other in zip(seen, (_part(o, delay, "p50") for o in alone), strict=True)
        ]
        figures[delay] = {
            "p50_ms": round(statistics.median(seen), 3),
            "added_p50_ms": round(statistics.median(added), 3),
            "added_rounds_ms": [round(one, 2) for one in added],
            "p99_ms": round(statistics.median(_part(one, delay, "p99") for one in mine), 3),
        }
    prompt = statistics.median(_part(one, "character", "prompt") for one in mine)
    return {**figures, "characters_with_their_event": round(prompt, 3), **_costs(mine)}


def _part(figures: Figures, name: str, part: str) -> float:
    inner = figures[name]
    if not isinstance(inner, dict):
        raise TypeError(name)
    return _number(inner[part])


def _number(value: object) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError("no number")
    return value


def _median(rounds: Sequence[Figures], name: str) -> float:
    return round(statistics.median(_number(one[name]) for one in rounds), 2)


def measure(size: Size, names: Sequence[str], seed: int, say: Callable[[str], None]) -> Figures:
    """All figures, with where and how they were measured."""
    began = environment()
    say("the filter's own work, in process")
    work = bench_work.measure(seed, rounds=size.work_rounds)
    say("what a wire costs, in process")
    wires = bench_wires.measure(seed, rounds=size.work_rounds)
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as folder:
        bench = Bench(Path(folder), seed)
        try:
            setups = []
            for setup in bench.setups(names):
                say(f"started: {setup.name}")
                setups.append(setup)
            figures = Run(bench, setups, size, say).all()
        finally:
            bench.close()
    return {
        "command": shlex.join(["tests/bench/bench_run.py", *sys.argv[1:]]),
        "size": {name: getattr(size, name) for name in size.__slots__}
        if hasattr(size, "__slots__")
        else vars(size),
        "seed": seed,
        "before": began,
        "after": environment(),
        "own_work_us_per_event": work,
        "wires": wires,
        "figures": figures,
    }


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)  # noqa: T201 - its progress.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one tiny round: whether it works, no figures")
    parser.add_argument("--rounds", type=int, default=FULL.rounds)
    parser.add_argument("--write", action="store_true", help="into README.md and figures.json")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--redaction", action="store_true", help="only the hold-back, without Envoy")
    parser.add_argument("--answers", type=int, default=700, help="of the hold-back")
    options = parser.parse_args()
    if options.redaction:
        bench_holdback.bench(ROOT, seed=options.seed, answers_count=options.answers, write=options.write)
        return
    size = TINY if options.quick else Size(**{**vars(FULL), "rounds": options.rounds})
    results = measure(size, SETUPS, options.seed, _say)
    text = json.dumps(results, indent=1) + "\n"
    print(table(results), wires_table(results), sep="\n\n")  # noqa: T201 - its output.
    target = RESULTS if options.write else ROOT / ".headgate" / "figures.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"\nall figures: {target.relative_to(ROOT)}")  # noqa: T201 - its output.
    if options.write:
        write_readme(ROOT / "README.md", results)


if __name__ == "__main__":
    main()
