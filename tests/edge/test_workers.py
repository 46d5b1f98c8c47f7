"""The parent of workers, with small programs in their place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.limits import LIMITS
from extproc.edge.workers import Deaths, Workers, WorkersError

QUICK = replace(LIMITS, worker_pause_first_ms=1, worker_pause_max_ms=4)

# Notes its start and each signal in a file of its own, and ends at SIGTERM or with its parent.
PROGRAM = """
import os, select, signal, sys
note = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
def say(word): os.write(note, (word + "\\n").encode())
signal.signal(signal.SIGHUP, lambda *_: say("hup"))
def term(*_):
    say("term")
    sys.exit(0)
if "stubborn" not in sys.argv:
    signal.signal(signal.SIGTERM, term)
else:
    signal.signal(signal.SIGTERM, lambda *_: say("no"))
say(f"pid {os.getpid()}")
while not select.select([0], [], [], None)[0]: pass
say("leash")
"""


class Bench:
    """Workers that keep notes."""

    def __init__(
        self, folder: Path, count: int = 3, *, words=(), stop_ms: int = 20_000, command=None
    ) -> None:
        self._folder = folder
        self._words = words
        self.workers = Workers(command or self.command, count, stop_ms=stop_ms, limits=QUICK)

    def command(self, worker: int) -> tuple[str, ...]:
        return (sys.executable, "-c", PROGRAM, str(self._folder / str(worker)), *self._words)

    def notes(self, worker: int) -> list[str]:
        path = self._folder / str(worker)
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def pids(self, worker: int) -> list[int]:
        return [int(note.split()[1]) for note in self.notes(worker) if note.startswith("pid")]

    async def until(self, look) -> None:
        while not look():  # noqa: ASYNC110 - other processes write the notes.
            await asyncio.sleep(0.01)


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_each_worker_is_started_hears_signals_and_ends(tmp_path):
    async def test():
        bench = Bench(tmp_path)
        whole = asyncio.create_task(bench.workers.run())
        await bench.until(lambda: all(bench.pids(one) for one in range(3)))
        os.kill(os.getpid(), signal.SIGHUP)
        await bench.until(lambda: all("hup" in bench.notes(one) for one in range(3)))
        os.kill(os.getpid(), signal.SIGTERM)
        await whole
        assert [bench.notes(one)[1:] for one in range(3)] == [["hup", "term"]] * 3

    run(test)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ends_is_started_again_and_the_others_are_left_alone(how, tmp_path):
    async def test():
        bench = Bench(tmp_path)
        whole = asyncio.create_task(bench.workers.run())
        await bench.until(lambda: all(bench.pids(one) for one in range(3)))
        os.kill(bench.pids(1)[0], how)
        await bench.until(lambda: len(bench.pids(1)) == 2)
        assert [len(bench.pids(one)) for one in range(3)] == [1, 2, 1]
        os.kill(os.getpid(), signal.SIGTERM)
        await whole
        assert [bench.notes(one)[-1] for one in range(3)] == ["term"] * 3

    run(test)


def test_a_crash_loop_ends_all_with_a_clear_error(tmp_path):
    async def test():
        bench = Bench(tmp_path)

        def command(worker: int) -> tuple[str, ...]:
            if worker == 2:
                return (sys.executable, "-c", "import os; os.abort()")
            return bench.command(worker)

        bench.workers = Bench(tmp_path, command=command).workers
        with pytest.raises(WorkersError, match=r"worker 2 died 5 times within 120 s, at last with SIGABRT"):
            await bench.workers.run()
        for one in range(2):
            assert bench.notes(one)[-1:] in ([], ["term"])
            assert not any(alive(pid) for pid in bench.pids(one))

    run(test)


@pytest.mark.parametrize("code", [1, 2])
def test_a_worker_that_refuses_to_start_ends_all_at_once(code, tmp_path):
    async def test():
        starts = tmp_path / "starts"
        program = f"import sys; open({str(starts)!r}, 'a').write('x'); sys.exit({code})"
        workers = Workers(lambda _: (sys.executable, "-c", program), 1, stop_ms=1000, limits=QUICK)
        with pytest.raises(WorkersError, match="worker 0 refused to start"):
            await workers.run()
        assert starts.read_text() == "x"

    run(test)


def test_a_worker_that_does_not_end_is_killed(tmp_path):
    async def test():
        bench = Bench(tmp_path, count=1, words=("stubborn",), stop_ms=50)
        whole = asyncio.create_task(bench.workers.run())
        await bench.until(lambda: bench.pids(0))
        os.kill(os.getpid(), signal.SIGTERM)
        await whole
        assert not alive(bench.pids(0)[0])

    run(test)


def test_workers_learn_that_their_parent_is_gone(tmp_path):
    parent = f"""
import asyncio, sys
sys.path[:0] = {sys.path!r}
from extproc.edge.workers import Workers
program = {PROGRAM!r}
folder = {str(tmp_path)!r}
command = lambda n: (sys.executable, "-c", program, folder + "/" + str(n))
asyncio.run(Workers(command, 2, stop_ms=1000).run())
"""

    async def test():
        bench = Bench(tmp_path, count=2)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent)
        await bench.until(lambda: bench.pids(0) and bench.pids(1))
        process.kill()
        await process.wait()
        await bench.until(lambda: [bench.notes(one)[-1] for one in range(2)] == ["leash"] * 2)

    run(test)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- what counts as a crash loop -------------------------------------------------------------


def test_pauses_double_up_to_the_last_death():
    deaths = Deaths(LIMITS)
    assert [deaths.pause_ms(at) for at in (0, 1000, 2000, 3000, 4000)] == [250, 500, 1000, 2000, None]


@given(gap=st.integers(LIMITS.worker_deaths_within_ms, 10**9), count=st.integers(1, 50))
def test_deaths_that_are_far_apart_are_no_loop(gap, count):
    deaths = Deaths(LIMITS)
    assert {deaths.pause_ms(index * gap) for index in range(count)} == {LIMITS.worker_pause_first_ms}


@given(gaps=st.lists(st.integers(0, 60_000), max_size=40))
def test_it_is_a_loop_exactly_when_so_many_deaths_lie_within_the_time(gaps):
    deaths = Deaths(LIMITS)
    at, seen = 0, []
    for gap in gaps:
        at += gap
        seen.append(at)
        recent = [one for one in seen if one > at - LIMITS.worker_deaths_within_ms]
        expected_loop = len(recent) >= LIMITS.worker_deaths_max
        pause_ms = deaths.pause_ms(at)
        assert (pause_ms is None) is expected_loop
        assert pause_ms is None or pause_ms <= LIMITS.worker_pause_max_ms
