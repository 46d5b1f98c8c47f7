"""The long differential fuzz: what the filter judged is what a real Triton's models received.

make agreement                                  all grammars, 100,000 requests each
make agreement AGREEMENT='--grammar generate --cases 5000 --seed 7'
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import agreement  # noqa: E402 - it stands in a folder that only tests know.
import agreement_streams  # noqa: E402 - as above.
from agreement_wires import WIRES  # noqa: E402 - as above.
from echo_triton import EchoTriton  # noqa: E402 - as above.
from real_parts import running  # noqa: E402 - as above.

from extproc.demo.install import install_triton  # noqa: E402 - stands with the others.

NAMES = (*WIRES, agreement_streams.NAME)
_SHOWN_MAX = 20
_TOLD_EVERY = 5_000


def main() -> int:
    """Run the grammars; 1 where any found a difference."""
    arguments = parsed()
    names = arguments.grammar or [*NAMES]
    found = 0
    with (
        tempfile.TemporaryDirectory() as state,
        running(EchoTriton(Path(state), environment_path=install_triton(ROOT / ".headgate"))) as triton,
    ):
        for name in names:
            began = time.monotonic()
            tally = tried(name, triton, arguments)
            took_s = time.monotonic() - began
            print(f"{name}: seed {arguments.seed}: {tally} ({tally.cases / took_s:.0f} a second)")  # noqa: T201 - a command.
            for difference in tally.differences[:_SHOWN_MAX]:
                print(f"  {difference}")  # noqa: T201 - a command.
            found += len(tally.differences)
    return 1 if found else 0


def tried(name: str, triton: EchoTriton, arguments: argparse.Namespace) -> agreement.Tally:
    """What became of one grammar's requests."""
    seed, cases, told = arguments.seed, arguments.cases, teller(arguments.cases)
    if name == agreement_streams.NAME:
        return agreement_streams.run(triton, seed=seed, cases=cases, told=told)
    grammar, link_to = WIRES[name]
    with closing(link_to(triton)) as link:
        return agreement.run(grammar, link, seed=seed, cases=cases, told=told)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--grammar", action="append", choices=NAMES, help="all unless given")
    parser.add_argument("--cases", type=int, default=100_000, help="of each grammar")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def teller(cases: int) -> Callable[[agreement.Tally], None]:
    """Tells how far it is, now and then."""
    told_at = 0

    def tell(tally: agreement.Tally) -> None:
        nonlocal told_at
        if tally.cases - told_at >= _TOLD_EVERY:
            told_at = tally.cases
            print(f"  {tally.cases} of {cases}; {len(tally.differences)} differences", flush=True)  # noqa: T201 - a command.

    return tell


if __name__ == "__main__":
    sys.exit(main())
