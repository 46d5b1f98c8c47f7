"""The line that a long run of ``headgate redact`` shows."""

from __future__ import annotations

import io

import pytest

from extproc.edge.redact_progress import RedactProgress, speed


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(size_bytes: int | None, *steps: tuple[float, int]) -> list[str]:
    clock, out = Clock(), io.StringIO()
    progress = RedactProgress(out, size_bytes=size_bytes, clock=clock)
    for at_s, bytes_read in steps:
        clock.now = at_s
        progress.read(bytes_read)
    progress.end()
    return [part for part in out.getvalue().split("\r\x1b[K") if part]


def test_a_short_run_shows_nothing():
    assert shown(None, (0.2, 1), (0.9, 2)) == []


@pytest.mark.parametrize(("size_bytes", "of"), [(None, ""), (10_000_000, " of 10.0")])
def test_a_long_one_shows_how_much_and_how_fast_now_and_then(size_bytes, of):
    steps = ((1.0, 2_000_000), (1.1, 2_100_000), (2.0, 5_000_000))
    assert shown(size_bytes, *steps) == [
        f"headgate: 2.0{of} MB, 2.00 MB/s",
        f"headgate: 5.0{of} MB, 2.50 MB/s",
    ]


@pytest.mark.parametrize(
    ("bytes_read", "took_s", "says"),
    [
        (0, 0.0, "0 bytes in 0.000 s"),
        (999, 0.049, "999 bytes in 0.049 s"),
        (1_000, 0.049, "1.0 KB in 0.049 s"),
        (21_700, 0.05, "21.7 KB in 0.050 s, 434.0 KB/s"),
        (999_900, 1.0, "999.9 KB in 1.0 s, 999.9 KB/s"),
        (1_000_000, 2.0, "1.0 MB in 2.0 s, 0.5 MB/s"),
        (1_000_000_000, 125.0, "1000.0 MB in 125.0 s, 8.0 MB/s"),
    ],
)
def test_at_the_end_it_says_how_fast_it_was(bytes_read, took_s, says):
    assert speed(bytes_read, took_s) == says
