from __future__ import annotations

import errno
import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from records import RECORD

from extproc.domain.limits import LIMITS
from extproc.domain.verdict import OnError
from extproc.edge import verdict_log
from extproc.edge.verdict_line import line_of
from extproc.edge.verdict_log import VerdictLog

WAIT_S = 20.0
LINE = line_of(RECORD)


class Disk:
    """Stands for ``os.write``: takes everything, or has room for so many bytes."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.refused = threading.Event()
        self.busy = threading.Event()
        self.ready = threading.Event()
        self.ready.set()

    def write(self, descriptor: int, data: bytes) -> int:
        self.busy.set()
        assert self.ready.wait(WAIT_S)
        if self.room is None:
            return os.write(descriptor, data)
        taken = data[: self.room]
        if not taken:
            self.refused.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(taken)
        return os.write(descriptor, taken)


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(verdict_log, "_write", disk.write)
    return disk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "verdicts.jsonl"


@pytest.fixture
def log(path):
    log = VerdictLog(path)
    log.start()
    yield log
    log.close()


def exchanges(path: Path) -> list[int]:
    return [json.loads(line)["exchange"] for line in path.read_bytes().splitlines()]


def emit(log: VerdictLog, *numbers: int) -> None:
    for number in numbers:
        log.emit(replace(RECORD, exchange=number))


def test_records_are_appended_in_order(log, path):
    emit(log, *range(500))
    assert log.flush(WAIT_S)
    assert exchanges(path) == list(range(500))


def test_a_record_reaches_the_disk_unasked(log, path):
    emit(log, 1)
    never = threading.Event()
    while not path.read_bytes().endswith(b"\n"):
        assert not never.wait(0.01)
    assert exchanges(path) == [1]


def test_records_of_many_threads_are_whole_lines(log, path):
    threads = [threading.Thread(target=emit, args=(log, *range(n, 800, 8))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.flush(WAIT_S)
    assert sorted(exchanges(path)) == list(range(800))


def test_closing_writes_what_is_queued(path):
    log = VerdictLog(path)
    log.start()
    emit(log, *range(50))
    log.close()
    assert exchanges(path) == list(range(50))
    assert (log.dropped, log.healthy) == (0, False)


def test_a_record_after_closing_is_counted(path):
    log = VerdictLog(path)
    log.start()
    log.close()
    emit(log, 1)
    assert log.dropped == 1


def test_a_new_file_is_for_its_owner_alone(log, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_continued(path):
    path.write_bytes(LINE)
    log = VerdictLog(path)
    log.start()
    emit(log, 7)
    log.close()
    assert exchanges(path) == [0, 7]


def test_half_a_line_of_a_killed_process_does_not_spoil_the_next(path):
    path.write_bytes(LINE[:20])
    log = VerdictLog(path)
    log.start()
    emit(log, 7)
    log.close()
    assert path.read_bytes() == LINE[:20] + b"\n" + line_of(replace(RECORD, exchange=7))


def test_a_symbolic_link_is_refused(tmp_path, path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        VerdictLog(path).start()


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path):
    with pytest.raises(FileNotFoundError):
        VerdictLog(tmp_path / "missing" / "verdicts.jsonl").start()


def test_it_is_unhealthy_until_it_runs(path):
    log = VerdictLog(path)
    assert not log.healthy
    log.start()
    assert log.healthy
    log.close()


def test_a_rotated_file_is_followed(log, path):
    emit(log, 1)
    assert log.flush(WAIT_S)
    rotated = path.rename(path.with_suffix(".1"))
    emit(log, 2)
    assert log.flush(WAIT_S)
    assert (exchanges(rotated), exchanges(path)) == ([1], [2])


def test_a_full_disk_makes_it_unhealthy_until_there_is_room(log, path, disk):
    disk.room = 0
    emit(log, 1, 2)
    assert disk.refused.wait(WAIT_S)
    assert not log.flush(0)
    assert (log.healthy, log.dropped) == (False, 0)
    disk.room = None
    assert log.flush(WAIT_S)
    assert (log.healthy, log.failures > 0) == (True, True)
    assert exchanges(path) == [1, 2]


def test_a_disk_that_fills_within_a_line_tears_none(log, path, disk):
    disk.room = len(LINE) + 10
    emit(log, 0, 1, 2)
    assert disk.refused.wait(WAIT_S)
    disk.room = None
    assert log.flush(WAIT_S)
    assert exchanges(path) == [0, 1, 2]


def test_a_line_that_was_begun_before_the_rotation_is_whole_after_it(log, path, disk):
    disk.room = len(LINE) + 10
    emit(log, 0, 1, 2)
    assert disk.refused.wait(WAIT_S)
    path.unlink()
    disk.room = None
    assert log.flush(WAIT_S)
    assert exchanges(path) == [1, 2]


def test_the_kernels_full_disk():
    log = VerdictLog(Path("/dev/full"), limits=replace(LIMITS, record_close_ms=1))
    log.start()
    emit(log, 1)
    never = threading.Event()
    while not log.failures:
        assert not never.wait(0.01)
    assert not log.healthy
    log.close()
    assert log.dropped == 1


def test_a_service_may_choose_to_run_without_a_trace(path, disk):
    log = VerdictLog(path, limits=replace(LIMITS, record_close_ms=1), on_failure=OnError.ALLOW)
    log.start()
    disk.room = 0
    emit(log, 1)
    assert disk.refused.wait(WAIT_S)
    assert log.healthy
    log.close()
    assert log.dropped == 1


def test_a_queue_that_is_half_full_takes_no_new_stream_and_a_full_one_drops(path, disk):
    limits = replace(LIMITS, record_queue_max=8, record_batch_max=1, record_close_ms=1)
    log = VerdictLog(path, limits=limits)
    log.start()
    disk.room = 0
    emit(log, 0)
    assert disk.refused.wait(WAIT_S)  # The writer has taken the first one, and keeps it.
    emit(log, *range(1, 9))
    assert (log.healthy, log.dropped) == (False, 0)
    emit(log, 9)
    assert log.dropped == 1
    log.close()
    assert log.dropped == 10


def test_a_slow_disk_makes_it_unhealthy_once_half_of_the_queue_waits(path, disk):
    log = VerdictLog(path, limits=replace(LIMITS, record_queue_max=8, record_batch_max=1))
    log.start()
    disk.ready.clear()
    emit(log, 0)
    assert disk.busy.wait(WAIT_S)
    emit(log, 1, 2, 3)
    assert log.healthy
    emit(log, 4)
    assert not log.healthy
    disk.ready.set()
    assert log.flush(WAIT_S)
    assert log.healthy
    log.close()
    assert exchanges(path) == [0, 1, 2, 3, 4]


def test_a_bad_record_does_not_stop_the_others(log, path):
    emit(log, 1)
    log.emit(None)  # type: ignore[arg-type]
    emit(log, 2)
    assert log.flush(WAIT_S)
    assert exchanges(path) == [1, 2]


def test_nothing_of_a_record_reaches_the_services_own_log(log, path, disk, caplog):
    canary = "write to jo@example.com"
    disk.room = 0
    log.emit(replace(RECORD, tenant=canary))
    log.emit(canary)  # type: ignore[arg-type]
    assert disk.refused.wait(WAIT_S)
    disk.room = None
    assert log.flush(WAIT_S)
    assert canary not in caplog.text
    assert canary.encode() not in path.read_bytes()
