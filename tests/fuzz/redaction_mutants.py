"""Puts one bug after the other into the redaction engine, its kernel included: do the fast tests notice?

make mutants                       every seeded bug, as a table, with the kill rate; 1 where one survives
make mutants MUTANTS='--only kernel'
make mutants MUTANTS=--write       and keep what noticed each in tests/bench/mutants.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from readme_sections import paragraph, put  # noqa: E402 - it stands in a folder that only tests know.
from redaction_bugs import Bug, bugs, tree  # noqa: E402 - as above.

REPORT = ROOT / "tests" / "bench" / "mutants.json"
SECTION = "mutants"

_SLICE = "test_a_batch_has_every_kind_of_document_and_every_check_and_no_difference"
# In this order, each only if the one before noticed nothing; seconds to a minute each. The tests of the
# seeded bugs themselves are none of them.
STAGES = {
    "fuzz of small rules": [
        "test_fuzz.py::test_small_random_rules_differ_nowhere",
        "test_fuzz.py::test_more_live_starts_than_the_kernel_has_room_for",
    ],
    "fuzz of shipped rules": [f"test_fuzz.py::{_SLICE}"],
    "tests of the kernel": ["test_kernel.py"],
    "tests of the engine": ["test_automaton.py", "test_prefilter.py", "test_watches.py", "test_engine.py"],
    "tests of values": ["test_naming.py", "test_growing.py", "test_operators.py"],
    "tests of escapes": ["test_escaped.py"],
}
_LIMIT_S = 900
_CRASHED = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT}


def main() -> int:
    """Run; 1 where a bug survives or its place has moved."""
    arguments = parsed()
    chosen = [bug for bug in bugs() if re.search(arguments.only, f"{bug.file} {bug.name}")]
    moved = [bug.name for bug in chosen if not bug.there()]
    for name in moved:
        print(f"its place has moved: {name}")  # noqa: T201 - a command.
    began = time.monotonic()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        if noticed_by(None, STAGES):
            print("the tests fail without any bug")  # noqa: T201 - a command.
            return 1
        noticed: dict[str, str] = {}
        found = pool.map(lambda bug: (bug, noticed_by(bug, STAGES)), [bug for bug in chosen if bug.there()])
        for bug, stage in found:
            noticed[bug.name] = stage
            print(f"{bug.file:<14} {bug.name:<52} {stage or 'SURVIVES'}", flush=True)  # noqa: T201 - a command.
    killed = sum(map(bool, noticed.values()))
    took_s = time.monotonic() - began
    print(f"{killed} of {len(noticed)} killed ({killed / max(len(noticed), 1):.0%}) in {took_s:.0f} s")  # noqa: T201 - a command.
    if arguments.write:
        write(noticed)
    return 0 if killed == len(chosen) else 1


def write(noticed: Mapping[str, str]) -> None:
    """Keep what noticed each bug; those that did not run keep what is known of them."""
    kept = json.loads(REPORT.read_text(encoding="utf-8"))["noticed_by"] if REPORT.exists() else {}
    every = {bug.name: {**kept, **noticed}.get(bug.name, "") for bug in bugs()}
    report = {"bugs": len(every), "killed": sum(map(bool, every.values())), "noticed_by": every}
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    put(SECTION, section(report))


def section(report: Mapping[str, Any]) -> str:
    """What stands in the README."""
    stages = Counter(report["noticed_by"].values())
    fuzzed = sum(count for stage, count in stages.items() if stage.startswith("fuzz"))
    bugs_count, killed = report["bugs"], report["killed"]
    return paragraph(
        f"Of {bugs_count} bugs seeded into the engine and its kernel, one by one (`make mutants`), the",
        f"fast tests notice {killed} ({killed / bugs_count:.0%}), {fuzzed} of them by a slice of this fuzz",
        "([`mutants.json`](tests/bench/mutants.json)).",
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="bugs whose file and name match this expression")
    parser.add_argument("--write", action="store_true", help="into tests/bench/mutants.json")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def noticed_by(bug: Bug | None, stages: Mapping[str, Sequence[str]]) -> str:
    """The first stage that fails with the bug; empty where none does."""
    with tempfile.TemporaryDirectory() as folder:
        tree(Path(folder), bug)
        return next((stage for stage, tests in stages.items() if not passes(Path(folder), tests)), "")


def passes(folder: Path, tests: Sequence[str]) -> bool:
    """Whether these tests of tests/redaction pass in a tree."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    command += [f"tests/redaction/{test}" for test in tests]
    # Only the tree's own modules; what is installed elsewhere has no part in it.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(  # noqa: S603 - our own tests.
            command, cwd=folder, env=environment, capture_output=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    # 1: tests failed, 2: a module could not even be read, or it crashed; all else says nothing of the bug.
    if ended.returncode not in {0, 1, 2, *_CRASHED}:
        raise RuntimeError(f"pytest ended with {ended.returncode}")
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
