from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extproc.demo.process import Part, PartFailed, tail

# A part that says that it runs, by a file that holds its process id, and then does as it is told.
RUNS = "import os, pathlib, sys, time; pathlib.Path('pid').write_text(str(os.getpid())); "


class Script(Part):
    name = "script"
    ready_within_s = 20.0
    stop_within_s = 10.0

    def __init__(self, state: Path, source: str) -> None:
        super().__init__(state)
        self.source = source

    def command(self):
        return [sys.executable, "-c", RUNS + self.source]

    def probe(self):
        return (self.state / "pid").exists()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def ends_within(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.fixture
def script(tmp_path):
    made = []

    def make(source):
        part = Script(tmp_path, source)
        made.append(part)
        return part

    yield make
    for part in made:
        part.kill()


def test_a_part_is_ready_runs_and_ends(script):
    part = script("time.sleep(600)")
    part.start()
    part.wait_ready()
    pid = part.pid
    assert pid is not None
    assert is_running(pid)
    part.stop()
    assert (is_running(pid), part.pid) == (False, None)


def test_a_part_that_ends_by_itself_is_named_with_the_end_of_its_log(script):
    part = script("(pathlib.Path('pid').unlink(), [print('line', n) for n in range(40)], sys.exit(3))")
    part.start()
    with pytest.raises(PartFailed) as failed:
        part.wait_ready()
    error = failed.value
    assert (error.part, error.why) == ("script", "ended with exit code 3")
    assert error.log_tail == tuple(f"line {number}" for number in range(25, 40))
    assert str(error).splitlines()[0] == "script: ended with exit code 3"
    assert str(error).splitlines()[-1] == f"  (whole log: {part.log_path})"


def test_a_part_that_is_killed_is_named_with_the_signal(script):
    part = script("time.sleep(600)")
    part.start()
    part.wait_ready()
    os.kill(part.pid, signal.SIGKILL)
    assert ends_within(int((part.state / "pid").read_text()))
    with pytest.raises(PartFailed, match="ended by Killed"):
        part.check()


def test_a_part_that_is_not_ready_in_time_is_a_failure(script, monkeypatch):
    part = script("time.sleep(600)")
    monkeypatch.setattr(part, "probe", lambda: False)
    part.start()
    with pytest.raises(PartFailed, match=r"not ready within 0\.2 s"):
        part.wait_ready(0.2)


def test_a_part_that_was_not_started_is_a_failure(script):
    with pytest.raises(PartFailed, match="was not started"):
        script("").check()


def test_children_of_a_part_end_with_it_even_if_they_ignore_it(script, tmp_path):
    child = (
        "import signal, time, os, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "pathlib.Path('child').write_text(str(os.getpid())); time.sleep(600)"
    )
    part = script(
        f"import subprocess; subprocess.Popen([sys.executable, '-c', {child!r}]); "
        "exec('while not os.path.exists(\"child\"): time.sleep(0.01)'); "
        "pathlib.Path('grown').touch(); time.sleep(600)"
    )
    part.probe = (tmp_path / "grown").exists
    part.start()
    part.wait_ready()
    part.stop()
    assert ends_within(int((tmp_path / "child").read_text()))


def test_children_of_a_part_that_died_end_when_it_is_stopped(script, tmp_path):
    part = script(
        "child = __import__('subprocess').Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "pathlib.Path('child').write_text(str(child.pid)); os.kill(os.getpid(), 9)"
    )
    part.start()
    pid = part.pid
    assert ends_within(pid)
    with pytest.raises(PartFailed, match="ended by Killed"):
        part.check()
    part.stop()
    assert ends_within(int((tmp_path / "child").read_text()))


def test_a_part_dies_with_the_process_that_started_it(tmp_path):
    # The tests' own folder is where this class can be imported from.
    starter = (
        f"import sys, pathlib, time; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        "from test_process import Script; "
        f"part = Script(pathlib.Path({str(tmp_path)!r}), 'time.sleep(600)'); part.start(); "
        "part.wait_ready(); "
        "print('up', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", starter]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:  # noqa: S603 - written above.
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        pid = int((tmp_path / "pid").read_text())
        assert is_running(pid)
        parent.kill()
    assert ends_within(pid)


def test_a_part_that_is_started_again_adds_to_its_log(script):
    part = script("print('hello', flush=True); time.sleep(600)")
    for _ in range(2):
        (part.state / "pid").unlink(missing_ok=True)
        part.start()
        part.wait_ready()
        end = time.monotonic() + 10
        while not tail(part.log_path) and time.monotonic() < end:
            time.sleep(0.02)
        part.kill()
    assert set(tail(part.log_path)) == {"hello"}


def test_a_part_cannot_be_started_twice(script):
    part = script("time.sleep(600)")
    part.start()
    with pytest.raises(AssertionError, match="runs already"):
        part.start()


def test_the_tail_of_no_log_is_empty(tmp_path):
    assert tail(tmp_path / "none.log") == ()


def test_the_tail_of_a_log_skips_empty_lines_and_survives_any_bytes(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"first\n\n \nlast \xff\n")
    assert tail(log) == ("first", "last \N{REPLACEMENT CHARACTER}")


def test_the_tail_of_a_log_skips_pictures(tmp_path):
    log = tmp_path / "a.log"
    log.write_text(
        "1:M * oO0OoO0OoO0Oo Valkey is starting oO0OoO0OoO0Oo\n"
        "        .+########+.           Valkey 9.1.2 (00000000/0) 64 bit\n"
        " |###|   .+###+.   |###|    PID: 1\n"
        "      '+###+'\n"
        "+------+\n"
        "| model | UNAVAILABLE: no such file |\n"
        "1:M # Could not create server TCP listening socket\n"
    )
    assert tail(log) == (
        "| model | UNAVAILABLE: no such file |",
        "1:M # Could not create server TCP listening socket",
    )
