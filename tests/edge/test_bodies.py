from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace

import pytest
from records import RECORD
from samples import KEYS, REDACTED, SEALED

from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Kept
from extproc.edge import body_files
from extproc.edge.bodies import BodyKeeper
from extproc.edge.body_files import BodyFolder, write_file
from extproc.edge.sample_file import read_sample

WAIT_S = 20.0
DAY_MS = 86_400_000
QUICK = replace(LIMITS, sample_retry_ms=10, sample_close_ms=200)


class Disk:
    """Stands for ``os.write``: can be full, and can hang."""

    def __init__(self) -> None:
        self.full = False
        self.busy = threading.Event()
        self.ready = threading.Event()
        self.ready.set()

    def write(self, descriptor: int, content: bytes) -> int:
        self.busy.set()
        assert self.ready.wait(WAIT_S)
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, content)


class Bench:
    def __init__(self, folder, limits=QUICK, **options):
        self.folder = BodyFolder(folder)
        self.records = []
        self.came = threading.Condition()
        self.keeper = BodyKeeper(
            folder, self.take, limits=limits, now_unix_ms=lambda: REDACTED.at_unix_ms, **options
        )

    def take(self, record):
        with self.came:
            self.records.append(record)
            self.came.notify_all()

    def keep(self, *numbers, sample=REDACTED):
        for number in numbers:
            self.keeper.keep(
                replace(sample, exchange=number),
                replace(RECORD, exchange=number, bodies=Kept(sample.keep.value)),
            )

    def words(self, count):
        """What the records say, once so many are written."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.records) >= count, WAIT_S)
        return {record.exchange: record.bodies for record in self.records}

    def kept(self):
        return sorted(read_sample(path.read_bytes(), KEYS[0])["exchange"] for path in self.folder.samples())


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(body_files, "_write", disk.write)
    yield disk
    disk.ready.set()


@pytest.fixture
def make(tmp_path):
    made = []

    def start(**options):
        bench = Bench(tmp_path / "bodies", **options)
        bench.keeper.start()
        made.append(bench)
        return bench

    yield start
    for bench in made:
        bench.keeper.close()


def test_a_sample_is_on_the_disk_before_its_record_says_so(make):
    bench = make()
    seen = []
    take = bench.take

    def look(record):
        seen.append(bench.kept())
        take(record)

    bench.keeper._emit = look
    bench.keep(7)
    assert bench.words(1) == {7: Kept.REDACTED}
    assert seen == [[7]]
    counts = bench.keeper.counts
    assert (counts.kept, counts.lost, counts.disk_bytes) == (1, 0, bench.folder.disk_bytes())


def test_what_is_sealed_is_kept_as_ciphertext(make):
    bench = make()
    bench.keep(1, sample=SEALED)
    assert bench.words(1) == {1: Kept.SEALED}
    (path,) = bench.folder.samples()
    assert b"an answer" not in path.read_bytes()
    assert bench.kept() == [1]


def test_a_full_disk_loses_counts_and_comes_back_by_itself(make, disk, caplog):
    bench = make()
    disk.full = True
    bench.keep(1, 2)
    assert bench.words(2) == {1: Kept.LOST, 2: Kept.LOST}
    assert (bench.kept(), bench.keeper.counts.lost, bench.keeper.healthy) == ([], 2, False)
    disk.full = False
    pause = threading.Event()
    while not bench.keeper.healthy:
        assert not pause.wait(0.005)
    bench.keep(3)
    assert bench.words(3)[3] is Kept.REDACTED
    assert bench.kept() == [3]
    assert os.strerror(errno.ENOSPC) in caplog.text
    assert "an answer" not in caplog.text


def test_the_disk_space_of_one_process_is_bounded(make):
    bench = make(limits=replace(QUICK, samples_disk_bytes_max=1))
    bench.keep(1)
    bench.words(1)
    assert not bench.keeper.healthy
    bench.keep(2)
    assert bench.words(2) == {1: Kept.REDACTED, 2: Kept.LOST}
    bench.folder.purge(None)
    pause = threading.Event()
    while not bench.keeper.healthy:
        assert not pause.wait(0.005)
    assert bench.keeper.counts.disk_bytes == 0


@pytest.mark.parametrize(
    "limits",
    [replace(QUICK, sample_queue_max=2), replace(QUICK, sample_queue_bytes_max=2 * REDACTED.size_bytes)],
    ids=["count", "bytes"],
)
def test_what_finds_no_room_in_the_queue_is_lost_at_once(make, disk, limits):
    bench = make(limits=limits)
    disk.busy.clear()
    disk.ready.clear()
    bench.keep(0)
    assert disk.busy.wait(WAIT_S)
    bench.keep(1, 2, 3)
    assert bench.words(1) == {3: Kept.LOST}
    disk.ready.set()
    assert bench.words(4) == {0: Kept.REDACTED, 1: Kept.REDACTED, 2: Kept.REDACTED, 3: Kept.LOST}


def fails(text):
    raise RuntimeError(text)


@pytest.mark.parametrize(
    "bad",
    [replace(SEALED, reviewer_key="hgpub_" + "0" * 64), replace(REDACTED, redact=fails)],
    ids=["seal", "redact"],
)
def test_a_sample_that_cannot_be_made_is_lost_and_the_next_is_kept(make, caplog, bad):
    bench = make()
    bench.keep(1, sample=bad)
    bench.keep(2)
    assert bench.words(2) == {1: Kept.LOST, 2: Kept.REDACTED}
    assert "an answer" not in caplog.text


def test_closing_keeps_what_is_queued(make):
    bench = make()
    bench.keep(*range(20))
    bench.keeper.close()
    assert bench.words(20) == dict.fromkeys(range(20), Kept.REDACTED)
    assert bench.kept() == list(range(20))
    bench.keep(20)
    assert bench.words(21)[20] is Kept.LOST


def test_a_disk_that_hangs_takes_no_record_along_and_gives_none_twice(make, disk):
    bench = make()
    disk.busy.clear()
    disk.ready.clear()
    bench.keep(0, 1)
    assert disk.busy.wait(WAIT_S)
    thread = bench.keeper._thread
    bench.keeper.close()
    assert bench.words(2) == {0: Kept.LOST, 1: Kept.LOST}
    disk.ready.set()
    thread.join(WAIT_S)
    assert len(bench.records) == 2


def test_it_does_not_start_where_it_cannot_write(make, disk):
    disk.full = True
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        make()


@pytest.mark.parametrize("worker", [0, 1])
def test_what_is_past_its_lifetime_is_deleted_at_the_start(tmp_path, make, worker):
    folder = BodyFolder(tmp_path / "bodies", worker)
    folder.make()
    for days in (-1, 0, 1):
        write_file(folder.new_file(REDACTED.at_unix_ms + days * DAY_MS), b"x")
    bench = make()
    assert bench.keeper.counts.expired == 2
    assert len(list(bench.folder.samples())) == 1


def test_what_is_past_its_lifetime_is_deleted_while_it_runs(make):
    bench = make(limits=replace(QUICK, sample_purge_ms=10))
    write_file(bench.folder.new_file(REDACTED.at_unix_ms), b"x")
    pause = threading.Event()
    while not bench.keeper.counts.expired:
        assert not pause.wait(0.005)
    assert list(bench.folder.samples()) == []
