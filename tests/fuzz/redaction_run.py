"""The long fuzz of the redaction engine: any text, cut anywhere, comes out as the whole text redacted.

make exactness                                       ten million documents on all cores
make exactness EXACTNESS='--documents 200000 --seed 7'
make exactness EXACTNESS='--seed 7 --show 12:345'    print one document, to look at a difference

Every document is read whole by the engine alone and in pieces with the kernel; a share of them in pieces by
the engine alone, and a share by the oracle, which is written another way. The summary says how many.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import redaction_fuzz  # noqa: E402 - it stands in a folder that only tests know.
from redaction_fuzz import Tally  # noqa: E402 - as above.

from extproc.redaction import kernel  # noqa: E402 - stands with the others.
from extproc.redaction.packs import ALL_RULES  # noqa: E402 - as above.

_BATCH = 10_000
_SHOWN_MAX = 20
_TOLD_EVERY_S = 10.0


def main() -> int:
    """Run the batches; 1 where any document differed."""
    arguments = parsed()
    if arguments.show:
        return show(arguments.seed, arguments.show)
    began = time.monotonic()
    tally = run(arguments.seed, arguments.documents, arguments.jobs, arguments.limit_s)
    took_s = time.monotonic() - began
    print(report(tally, arguments.seed, arguments.jobs, took_s))  # noqa: T201 - a command.
    return 1 if tally.differences else 0


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="begin nothing after this long")
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
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for tally in _in_turn(pool, seed, wanted, jobs + 1):
            total.add(tally)
            now = time.monotonic()
            if now - told_at > _TOLD_EVERY_S:
                told_at = now
                rate = total.documents / (now - began)
                told = f"{total.documents:,} of {documents:,}, {rate:,.0f} a second"
                print(f"  {told}; {len(total.differences)} differences", flush=True)  # noqa: T201 - a command.
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


def report(tally: Tally, seed: int, jobs: int, took_s: float) -> str:
    """What was compared, for people."""
    read = f"{tally.documents:,} documents ({tally.chars:,} characters in {tally.events:,} events)"
    over = f"{tally.over_many_events:,} of them over more than {redaction_fuzz.MANY_EVENTS} events"
    lines = [
        f"{read}, seed {seed}, {len(ALL_RULES)} shipped rules, {kernel.describe()}",
        f"  {tally.findings:,} findings, {over}",
        "  read whole by the engine alone: every one; held against that:",
        *(f"    {name}: {count:,}" for name, count in sorted(tally.checks.items())),
        "  of these kinds: "
        + ", ".join(f"{name} {count:,}" for name, count in sorted(tally.by_family.items())),
        f"  {took_s:,.0f} s on {jobs} processes, {tally.documents / took_s:,.0f} documents a second",
        f"{len(tally.differences)} differences",
        *(f"  {difference}" for difference in sorted(tally.differences)[:_SHOWN_MAX]),
    ]
    return "\n".join(lines)


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
