"""``headgate redact`` on a pipe that carries much: its memory is that of its first megabytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_MB = 1_000_000
_FIRST_MB, _MORE_MB = 1, 4
# What the allocator may still take: a fraction of what goes through.
_GROWTH_MAX_KB = 1_000
_PROSE = "the model streams its answer in small pieces, and every piece should reach its reader. "
_VALUES = "write to ann@example.com, pay with 4111 1111 1111 1111, call +49 30 901820, from 10.1.2.3\n"


def peak_kb(process: subprocess.Popen[bytes]) -> int:
    """The most memory that the process held since it began, by the kernel's own count."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        pytest.param("", _PROSE * 9 + _VALUES, id="prose with values"),
        pytest.param("", "a", id="no place to cut"),
        pytest.param("Authorization: Bearer a1", "b2", id="a value without end"),
    ],
)
def test_memory_is_the_same_after_much_text(head, unit):
    block = (unit * (_MB // len(unit) + 1))[:_MB].encode()
    command = [sys.executable, "-m", "extproc.cli", "redact"]
    with subprocess.Popen(  # noqa: S603 - our own command.
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(head.encode())
        # All but what stands in the pipe has been read once a write returns.
        for _ in range(_FIRST_MB):
            process.stdin.write(block)
        process.stdin.flush()
        first = peak_kb(process)
        for _ in range(_MORE_MB):
            process.stdin.write(block)
        process.stdin.flush()
        last = peak_kb(process)
        process.stdin.close()
        said = process.stderr.read().decode()
    assert process.returncode == 0
    assert f"headgate: {len(head) + (_FIRST_MB + _MORE_MB) * _MB} characters" in said
    assert last - first < _GROWTH_MAX_KB
