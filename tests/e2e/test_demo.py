"""``headgate demo`` as a newcomer runs it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from real_parts import eventually

from extproc.demo.cases import CASES
from extproc.demo.install import install_triton

HEADGATE = Path(sysconfig.get_path("scripts")) / "headgate"
PARTS = {"tritonserver", "extproc.demo.openai_front", "valkey-server", "headgate", "envoy"}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Triton's environment is there already, and nothing else."""
    folder = tmp_path_factory.mktemp("state")
    environment = install_triton(Path(__file__).parents[2] / ".headgate")
    (folder / "triton-venv").symlink_to(environment, target_is_directory=True)
    return folder


@dataclass(frozen=True)
class Demo:
    process: subprocess.Popen[str]
    output: list[str]

    def parts(self) -> dict[str, psutil.Process]:
        """Its children by the name of their program."""
        children = psutil.Process(self.process.pid).children()
        return {program(child): child for child in children}

    def gateway_port(self) -> int:
        (line,) = [line for line in self.output if line.startswith("  gateway ")]
        return int(line.rpartition(":")[2])

    def ended(self) -> tuple[int, str]:
        """The exit code, and what it said on standard error."""
        _, error = self.process.communicate(timeout=60)
        return self.process.returncode, error


def program(process: psutil.Process) -> str:
    """Its part: some run under an interpreter, and some write all of their title into one word."""
    names = (Path(word).name for word in " ".join(process.cmdline()).split())
    return next((name for name in names if name in PARTS), "")


@contextlib.contextmanager
def demo(state: Path) -> Iterator[Demo]:
    """A demo that is up."""
    process = subprocess.Popen(  # noqa: S603 - the command under test.
        [HEADGATE, "demo", "--state", state],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            output.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                break
        yield Demo(process, output)
    finally:
        process.kill()
        process.communicate()


def all_gone(processes: list[psutil.Process]) -> bool:
    def look() -> bool:
        return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)

    return eventually(look, within_s=20)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_every_fixed_request_is_as_expected(state):
    command = [HEADGATE, "demo", "--once", "--json", "--state", state]
    played = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)  # noqa: S603 - as above.
    rows = json.loads(played.stdout)["rows"]
    assert [row["name"] for row in rows] == [case.name for case in CASES]
    assert [row["name"] for row in rows if not row["ok"]] == [], played.stderr
    assert played.returncode == 0


def test_it_stays_up_until_ctrl_c_and_leaves_nothing_behind(state):
    with demo(state) as running:
        assert set(running.parts()) == PARTS
        everything = descendants(running.process)
        running.process.send_signal(signal.SIGINT)
        code, error = running.ended()
        assert (code, "Traceback" in error) == (0, False)
        assert all_gone(everything)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the screen's lines are for curl")
def test_the_three_lines_on_the_screen_do_what_they_say(state):
    with demo(state) as running:
        before = "\n".join(line for line in running.output if line.startswith(("KEY=", "URL=")))
        lines = [line for line in running.output if line.startswith("curl ")]
        answers = [
            subprocess.run(  # noqa: S602 - lines that people paste into their shell.
                f"{before}\n{line} --silent",
                shell=True,
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
            for line in lines
        ]
    story, card, injection = answers
    assert story.count("data: ") >= 30
    assert "[EMAIL_ADDRESS]" in card
    assert "@" not in card
    assert list(json.loads(injection)) == ["error"]


def test_a_part_that_dies_ends_the_demo_by_name(state):
    with demo(state) as running:
        everything = descendants(running.process)
        running.parts()["valkey-server"].kill()
        code, error = running.ended()
        assert code == 1
        assert "headgate: valkey: ended by Killed" in error
        assert "Ready to accept connections" in error
        assert all_gone(everything)


def test_a_demo_that_is_killed_takes_its_parts_along(state):
    with demo(state) as running:
        everything = descendants(running.process)
        running.process.kill()
        assert all_gone(everything)


def test_a_port_that_is_taken_is_said(state):
    with demo(state) as running:
        port = running.gateway_port()
        command = [HEADGATE, "demo", "--state", state.parent / "other", "--port", str(port)]
        (state.parent / "other").mkdir()
        (state.parent / "other" / "triton-venv").symlink_to(state / "triton-venv", target_is_directory=True)
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - as above.
    assert second.returncode == 1
    assert "headgate: envoy: ended" in second.stderr
    assert "in use" in second.stderr
