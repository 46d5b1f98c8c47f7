"""The long fuzz of the redaction engine: any text, cut anywhere, comes out as the whole text redacted.

make exactness                                       ten million documents on all cores
make exactness EXACTNESS='--documents 200000 --seed 7'
make exactness EXACTNESS=--write                     and keep the report in tests/bench/exactness.json
make exactness EXACTNESS='--seed 7 --show 12:345'    print one document, to look at a difference

Ten million take about 40 minutes on two cores that have nothing else to do.

Every document is read whole by the engine alone and in pieces with the kernel; a share of them in pieces by
the engine alone, and a share by the oracle, which is written another way. The summary says how many.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import redaction_fuzz  # noqa: E402 - it stands in a folder that only tests know.
from readme_sections import paragraph, put  # noqa: E402 - as above.
from redaction_fuzz import Tally  # noqa: E402 - as above.

from extproc.redaction import kernel  # noqa: E402 - stands with the others.
from extproc.redaction.packs import default_automaton  # noqa: E402 - as above.

REPORT = ROOT / "tests" / "bench" / "exactness.json"
SECTION = "exactness"

_BATCH = 10_000
_SHOWN_MAX = 20
_TOLD_EVERY_S = 60.0
# The engine's states are many and live long: looking through them for garbage all the time finds none.
_COLLECTED = (50_000, 20, 20)


def main() -> int:
    """Run the batches; 1 where any document differed."""
    arguments = parsed()
    if arguments.show:
        return show(arguments.seed, arguments.show)
    began = time.monotonic()
    tally = run(arguments.seed, arguments.documents, arguments.jobs, arguments.limit_s)
    report = reported(tally, arguments.seed, arguments.jobs, time.monotonic() - began)
    print(told(report))  # noqa: T201 - a command.
    if arguments.write:
        REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        put(SECTION, section(report))
    return 1 if tally.differences else 0


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="begin nothing after this long")
    parser.add_argument(
        "--write", action="store_true", help="into tests/bench/exactness.json and README.md"
    )
    parser.add_argument("--show", metavar="BATCH:DOCUMENT", help="print this document instead of running")
    return parser.parse_args()


def run(seed: int, documents: int, jobs: int, limit_s: float) -> Tally:
    """All batches that begin within the limit; what is in each depends on seed and number alone."""
    total = Tally()
    told_at = began = time.monotonic()
    wanted = (
        (batch, min(_BATCH, documents - batch * _BATCH))
        for batch in range(-(-documents // _BATCH))
        if time.monotonic() - began < limit_s
    )
    # Not forked: a process of its own starts with empty tables.
    context = get_context("spawn")
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=gc.set_threshold, initargs=_COLLECTED
    ) as pool:
        for tally in _in_turn(pool, seed, wanted, jobs + 1):
            total.add(tally)
            now = time.monotonic()
            if now - told_at > _TOLD_EVERY_S:
                told_at = now
                rate = total.documents / (now - began)
                left_min = (documents - total.documents) / rate / 60
                line = (
                    f"{total.documents:,} of {documents:,}, {rate:,.0f} a second, {left_min:.0f} min left"
                )
                print(f"  {line}; {len(total.differences)} differences", flush=True)  # noqa: T201 - a command.
    return total


def _in_turn(
    pool: ProcessPoolExecutor, seed: int, wanted: Iterator[tuple[int, int]], at_once: int
) -> Iterator[Tally]:
    """The batches' tallies as they end, never with more than so many waiting."""
    waiting: set[Future[Tally]] = set()
    while True:
        for batch, count in islice(wanted, at_once - len(waiting)):
            waiting.add(pool.submit(redaction_fuzz.run, seed, batch, count))
        if not waiting:
            return
        ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in ended:
            yield future.result()


def reported(tally: Tally, seed: int, jobs: int, took_s: float) -> dict[str, Any]:
    """What was compared, to be kept."""
    families: dict[str, dict[str, int]] = defaultdict(dict)
    for (family, check), count in sorted(tally.checks_by_family.items()):
        families[family][check] = count
    automaton = default_automaton()
    return {
        "seed": seed,
        "documents": tally.documents,
        "cuts": tally.events - tally.documents,
        "chars": tally.chars,
        "findings": tally.findings,
        "findings_over_many_events": tally.over_many_events,
        "checks": dict(sorted(tally.checks.items())),
        "families": {
            family: {"documents": count, **families[family]}
            for family, count in sorted(tally.by_family.items())
        },
        "differences": len(tally.differences),
        "first_differences": sorted(tally.differences)[:_SHOWN_MAX],
        "seconds": round(took_s),
        "processes": jobs,
        "documents_per_second": round(tally.documents / took_s),
        "rules": len(automaton.rules),
        "rules_digest": automaton.digest,
        "versions": {
            "python": platform.python_version(),
            "engine": kernel.describe(),
            "kernel_source": kernel.compiled.SOURCE_DIGEST if kernel.AVAILABLE else "",
        },
    }


def told(report: Mapping[str, Any]) -> str:
    """The same for people."""
    read = f"{report['documents']:,} documents ({report['chars']:,} characters, {report['cuts']:,} cuts)"
    many = f"{report['findings_over_many_events']:,} over more than {redaction_fuzz.MANY_EVENTS} events"
    kinds = ", ".join(f"{family} {one['documents']:,}" for family, one in report["families"].items())
    speed = f"{report['documents_per_second']:,} documents a second"
    lines = [
        f"{read}, seed {report['seed']}, {report['rules']} shipped rules, {report['versions']['engine']}",
        f"  {report['findings']:,} findings, {many}",
        "  read whole by the engine alone: every one; held against that:",
        *(f"    {name}: {count:,}" for name, count in report["checks"].items()),
        f"  of these kinds: {kinds}",
        f"  {report['seconds']:,} s on {report['processes']} processes, {speed}",
        f"{report['differences']} differences",
        *(f"  {difference}" for difference in report["first_differences"]),
    ]
    return "\n".join(lines)


def section(report: Mapping[str, Any]) -> str:
    """What stands in the README."""
    checks = report["checks"]
    pieces = sum(count for name, count in checks.items() if name.startswith("kernel"))
    alone, oracle = checks["engine alone, split, event by event"], checks["oracle, whole"]
    return paragraph(
        f"`make exactness` read {report['documents']:,} random documents: values, near misses, and what",
        f"may stand beside them, cut at {report['cuts']:,} places. Each was read whole by the engine",
        f"alone; held against that: {pieces:,} in pieces by the kernel, {alone:,} event by event by the",
        f"engine alone, and {oracle:,} by an oracle that is written another way.",
        f"**{report['differences']:,} differences.**",
    )


def show(seed: int, place: str) -> int:
    """Print one document and how it was cut, for whoever looks at a difference."""
    batch, number = map(int, place.split(":"))
    for document in redaction_fuzz.documents(seed, batch, _BATCH):
        if document.number == number:
            rules = document.arena.rules if document.arena.name == "toys" else document.arena.name
            print(document.family, rules, document.pieces, sep="\n")  # noqa: T201 - a command.
            print(redaction_fuzz.compare(document, Tally()) or "no difference")  # noqa: T201 - a command.
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
