import os
import stat
from datetime import UTC, datetime

import pytest

from extproc.edge.body_files import BodyFolder, probe, write_file

HOUR_MS = 3_600_000
NOON_MS = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "deep" / "bodies"


def folder(root, worker=0):
    made = BodyFolder(root, worker)
    made.make()
    return made


def put(folder, expires_ms, content=b"x"):
    path = folder.new_file(expires_ms)
    write_file(path, content)
    return path


def test_folders_and_files_are_the_owners_alone(root):
    path = put(folder(root), NOON_MS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(one.stat().st_mode) for one in (root, root / "0", path.parent)} == {0o700}


@pytest.mark.parametrize("exists", [True, False])
def test_a_worker_s_folder_that_is_a_link_is_refused(root, tmp_path, exists):
    """Samples in it would never be found, nor deleted."""
    elsewhere = tmp_path / "elsewhere"
    if exists:
        elsewhere.mkdir()
    root.mkdir(parents=True)
    (root / "0").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"0 in it is a link|File exists"):
        folder(root)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_worker_s_folder_that_others_may_write_in_is_refused(root, mode):
    own = root / "0"
    own.mkdir(parents=True)
    own.chmod(mode)
    with pytest.raises(PermissionError, match="others may write in its folder 0"):
        folder(root)


@pytest.mark.parametrize(("mode", "said"), [(0o700, 0), (0o755, 0), (0o2775, 1), (0o777, 1)])
def test_a_root_that_others_may_write_in_is_told(root, caplog, mode, said):
    root.mkdir(parents=True)
    root.chmod(mode)
    folder(root)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * said


def test_a_name_is_random_but_for_the_hour(root):
    one, other = (put(folder(root, 3), NOON_MS + 1) for _ in range(2))
    assert one.parent == other.parent == root / "3" / "20260301T12"
    assert one.name != other.name


def test_what_is_past_its_lifetime_goes_for_every_worker(root):
    ends = [NOON_MS - 1, NOON_MS, NOON_MS + HOUR_MS - 1, NOON_MS + HOUR_MS]
    files = [put(folder(root, worker), end) for worker in (0, 1) for end in ends]
    assert folder(root).purge(NOON_MS + 5) == 6
    assert [file.exists() for file in files] == [False, False, False, True] * 2
    assert not files[0].parent.exists()


def test_none_lives_longer_than_its_lifetime_and_none_less_by_an_hour(root):
    end = NOON_MS + 59 * 60_000
    path = put(folder(root), end)
    assert folder(root).purge(end - HOUR_MS) == 0
    assert folder(root).purge(end) == 1
    assert not path.exists()


def test_all_can_be_deleted(root):
    put(folder(root), NOON_MS)
    put(folder(root, 1), NOON_MS)
    assert folder(root).purge(None) == 2


def test_nothing_else_is_touched(root, tmp_path):
    own = folder(root)
    path = put(own, NOON_MS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ("0" * 32 + ".sample")).write_bytes(b"x")
    (root / "0" / "20200101T00").symlink_to(elsewhere)
    (path.parent / "note.txt").write_bytes(b"x")
    (path.parent / ("1" * 32 + ".sample")).symlink_to(elsewhere / ("0" * 32 + ".sample"))
    assert own.purge(None) == 1
    assert sorted(one.name for one in path.parent.iterdir()) == ["1" * 32 + ".sample", "note.txt"]
    assert len(list(elsewhere.iterdir())) == 1


def test_a_worker_counts_its_own_bytes(root):
    put(folder(root), NOON_MS, b"x" * 10)
    put(folder(root), NOON_MS + HOUR_MS, b"x" * 5)
    put(folder(root, 1), NOON_MS, b"x" * 100)
    assert folder(root).disk_bytes() == 15
    assert len(list(folder(root).samples())) == 3


def test_an_empty_folder_holds_nothing(tmp_path):
    empty = BodyFolder(tmp_path / "not there")
    assert (list(empty.samples()), empty.purge(None), empty.disk_bytes()) == ([], 0, 0)


def test_a_file_is_written_whole_or_not_at_all(root, monkeypatch):
    own = folder(root)
    room = [5]

    def short(descriptor, content):
        taken = content[: room[0]]
        if not taken:
            raise OSError(28, "full")
        room[0] -= len(taken)
        return os.write(descriptor, taken)

    monkeypatch.setattr("extproc.edge.body_files._write", short)
    path = own.new_file(NOON_MS)
    with pytest.raises(OSError, match="full"):
        write_file(path, b"0123456789")
    assert not path.exists()
    room[0] = 20
    write_file(path, b"0123456789")
    assert path.read_bytes() == b"0123456789"
    with pytest.raises(FileExistsError):
        write_file(path, b"")
    assert path.read_bytes() == b"0123456789"


def test_a_probe_leaves_nothing(root):
    own = folder(root)
    probe(own.own)
    assert list(own.own.iterdir()) == []
