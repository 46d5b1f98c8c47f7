from __future__ import annotations

import fcntl
import json
import os
import signal
from types import SimpleNamespace

import pytest

from extproc.demo import command
from extproc.demo.install import InstallFailed
from extproc.demo.play import Row
from extproc.demo.process import PartFailed


class Parts:
    """Stands in for the running parts."""

    def __init__(self) -> None:
        self.stopped = False
        self.on_watch = lambda: None
        self.on_stop = lambda: None

    def watch(self, *, until):
        self.on_watch()

    def stop(self):
        self.on_stop()
        self.stopped = True


class OneRow:
    fault = ""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def play(self, told):
        told("a")
        values = {"name": "a", "sent": "b", "got": "c", "status": 200, "decision": "allow"}
        return (Row(**values, reason="clean", added_ms=None, fault=self.fault),)


@pytest.fixture
def parts(monkeypatch):
    running = Parts()
    monkeypatch.setattr(command, "install_triton", lambda *_: None)
    monkeypatch.setattr(command, "start_stack", lambda *_, **__: running)
    monkeypatch.setattr(command.screen, "show_running", lambda *_: None)
    monkeypatch.setattr(command, "Player", OneRow)
    return running


def run(state, **options) -> int:
    return command.run_demo(state=state, port=0, **{"once": False, "as_json": False, **options})


def interrupt(number: signal.Signals):
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_asked_for_end_stops_everything_and_is_no_failure(parts, tmp_path, number, capsys):
    parts.on_watch = interrupt(number)
    before = signal.getsignal(number)
    assert (run(tmp_path), parts.stopped, signal.getsignal(number)) == (0, True, before)
    assert capsys.readouterr().err.endswith("stopped\n")


def test_a_second_interrupt_does_not_keep_parts_alive(parts, tmp_path):
    parts.on_watch = parts.on_stop = interrupt(signal.SIGINT)
    assert (run(tmp_path), parts.stopped) == (0, True)


def test_a_part_that_dies_is_named_and_ends_the_rest(parts, tmp_path, capsys):
    def die():
        raise PartFailed(part="triton", why="ended", log_tail=["last words"], log_path=tmp_path / "a.log")

    parts.on_watch = die
    assert (run(tmp_path), parts.stopped) == (1, True)
    error = capsys.readouterr().err
    assert "headgate: triton: ended\n  last words\n" in error


def test_an_installation_that_fails_is_said(parts, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise InstallFailed("no ensurepip")

    monkeypatch.setattr(command, "install_triton", fail)
    assert run(tmp_path) == 1
    assert capsys.readouterr().err == "headgate: no ensurepip\n"


def test_a_second_demo_in_one_folder_is_refused(parts, tmp_path, capsys):
    with (tmp_path / "demo.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert run(tmp_path) == 1
    assert "--state" in capsys.readouterr().err


def test_json_is_all_of_standard_output(parts, tmp_path, capsys):
    assert run(tmp_path, once=True, as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [set(row) for row in rows] == [{"name", "ok", "status", "decision", "reason", "added_ms"}]
    assert parts.stopped


def test_a_row_that_is_not_as_expected_is_a_failure(parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(OneRow, "fault", "status is 500, expected 200")
    assert run(tmp_path, once=True) == 1
    assert "0 of 1 as expected" in capsys.readouterr().out


def test_json_without_once_is_a_usage_error(tmp_path):
    assert run(tmp_path, as_json=True) == 2


def test_an_interrupted_play_is_no_success(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(OneRow, "play", lambda *_: interrupt(signal.SIGINT)())
    assert (run(tmp_path, once=True), parts.stopped) == (130, True)


def test_the_stand_ins_journal_holds_prompts_and_is_written_while_playing_only(
    parts, tmp_path, monkeypatch
):
    journals = []

    def start(*_, journal, **__):
        journals.append(journal)
        return SimpleNamespace(watch=parts.watch, stop=parts.stop)

    monkeypatch.setattr(command, "start_stack", start)
    parts.on_watch = interrupt(signal.SIGINT)
    run(tmp_path)
    run(tmp_path, once=True)
    assert [journal is None for journal in journals] == [True, False]
