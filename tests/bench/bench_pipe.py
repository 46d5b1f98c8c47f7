"""What ``headgate redact`` makes of a long text on a pipe: its speed, and its memory on the way.

    make pipe                            100 MB and 1 GB, and 100 MB without the kernel: minutes
    make pipe PIPE=--write               and keep them in pipe.json and in the README
    make pipe PIPE='--mb 10 --plain 5'   other amounts

The text is made from a seed at run time: four answers of five are prose without values, the others letters,
tables, code, logs and so on, full of them. Without the kernel it runs as where none was built. Its memory
is what the system says of the process: resident now, and at its highest.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from bench_answers import KINDS  # noqa: E402 - in a folder that only the benchmark knows.
from bench_report import environment  # noqa: E402 - as above.
from readme_sections import put  # noqa: E402 - as above.

FIGURES = Path(__file__).with_name("pipe.json")
SECTION = "pipe"
_KERNEL, _PLAIN = "compiled kernel", "pure Python"
ENGINES = {_KERNEL: "", _PLAIN: "sys.modules['extproc.redaction._kernel'] = None; "}
_COMMAND = "import sys; {without}from extproc.cli import main; main(['redact'])"
_MB = 1_000_000
_BLOCKS, _ANSWERS_EACH = 64, 140  # some 100 KB each
_SUMMARY = re.compile(rb"(\d+) characters, (.*); .* in ([0-9.]+) s(?:, ([0-9.]+) MB/s)?")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run; memory in MB, after the first bytes, half of them, and all, and at its highest."""

    read_mb: int
    took_s: float
    mb_per_s: float
    findings: int
    first_mb: float
    half_mb: float
    all_mb: float
    highest_mb: float


def blocks(seed: int) -> list[bytes]:
    """Texts as assistants write them."""
    chance = random.Random(f"{seed} pipe")
    plain, *others = KINDS.values()
    makers = [*[plain] * (4 * len(others)), *others]
    return [
        "\n\n".join(chance.choice(makers)(chance) for _ in range(_ANSWERS_EACH)).encode() + b"\n\n"
        for _ in range(_BLOCKS)
    ]


def resident_mb(pid: int, name: str) -> float:
    """What the system says of a process's memory: VmRSS now, VmHWM at its highest."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return round(int(found[1]) * 1024 / _MB, 1)


def _discard(source: IO[bytes]) -> None:
    while source.read(1 << 20):
        pass


def measure(read_mb: int, texts: Sequence[bytes], *, without: str = "", seed: int = 0) -> Run:
    """Send so much through the command."""
    chance = random.Random(f"{seed} order")
    command = [sys.executable, "-c", _COMMAND.format(without=without)]
    with subprocess.Popen(  # noqa: S603 - the command of this checkout.
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        reader = threading.Thread(target=_discard, args=(running.stdout,))
        reader.start()
        sent, memory = 0, []
        marks = [0, read_mb * _MB // 2]
        while sent < read_mb * _MB:
            sent += running.stdin.write(chance.choice(texts))
            if len(memory) < len(marks) and sent > marks[len(memory)]:
                memory.append(resident_mb(running.pid, "VmRSS"))
        running.stdin.flush()
        memory += [resident_mb(running.pid, name) for name in ("VmRSS", "VmHWM")]
        running.stdin.close()
        told = running.stderr.read()
        reader.join()
    said = _SUMMARY.search(told)
    if running.returncode or said is None:
        raise RuntimeError(f"headgate redact ended with {running.returncode}")
    took_s = float(said[3])
    first, half, every, highest = memory
    return Run(
        read_mb=read_mb,
        took_s=took_s,
        mb_per_s=float(said[4] or 0),
        findings=sum(map(int, re.findall(rb"(\d+) [A-Z]", said[2]))),
        first_mb=first,
        half_mb=half,
        all_mb=every,
        highest_mb=highest,
    )


def section(results: Mapping[str, Any]) -> str:
    """What stands in the README."""
    before, rows = results["before"], []
    for engine, runs in results["runs"].items():
        for run in runs:
            memory = " / ".join(f"{run[f'{when}_mb']:.0f}" for when in ("half", "all", "highest"))
            cells = [
                engine,
                f"{run['read_mb']:,}",
                f"{run['findings']:,}",
                memory,
                f"{run['mb_per_s']:.1f}",
            ]
            rows.append(f"| {' | '.join(cells)} |")
    machine = f"{before['cores']} shared cores ({before['cpu']}), load average {before['load_1min']}"
    return "\n".join(
        [
            f"`headgate redact` on a pipe (`make pipe`, on {machine}):",
            "",
            "|  | text, MB | findings | resident at half / at its end / at most, MB | MB/s |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def main() -> None:
    """Measure; print; with ``--write`` keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mb", type=int, nargs="+", default=[100, 1_000], help="with the kernel")
    parser.add_argument("--plain", type=int, nargs="+", default=[100], help="MB without it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="into pipe.json and README.md")
    arguments = parser.parse_args()
    texts = blocks(arguments.seed)
    results: dict[str, Any] = {"seed": arguments.seed, "before": environment(), "runs": {}}
    for engine, without in ENGINES.items():
        runs = results["runs"][engine] = []
        for read_mb in {_KERNEL: arguments.mb, _PLAIN: arguments.plain}[engine]:
            runs.append(asdict(measure(read_mb, texts, without=without, seed=arguments.seed)))
            print(engine, runs[-1], flush=True)  # noqa: T201 - a command's output.
    if arguments.write:
        FIGURES.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        put(SECTION, section(results))


if __name__ == "__main__":
    main()
