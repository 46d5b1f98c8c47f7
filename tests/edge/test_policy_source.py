"""When the policy file is read, taken and refused: a real file, and ``look`` in place of the thread."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from doubles import policy

from extproc.domain.errors import PolicyError
from extproc.domain.limits import LIMITS
from extproc.edge.policy_source import PolicySource
from extproc.policy.snapshot import RoutedPolicy


@dataclass
class Loads:
    """Makes a policy of ``digest [routes…]``, refuses what begins with ``bad``, keeps what it was asked."""

    pepper: Path

    def __post_init__(self):
        self.contents = []
        self.during = lambda: None

    def __call__(self, content: bytes) -> RoutedPolicy:
        self.contents.append(content)
        self.during()
        text = content.decode()
        if text.startswith("bad"):
            raise PolicyError(f"policy.yaml:1: {text}; write another\npolicy.yaml:2: and more; write less")
        if text.startswith("bug"):
            raise ValueError(text)
        if not self.pepper.exists():
            raise PolicyError("policy.yaml: pepper: No such file or directory")
        digest, *routes = text.split("#")[0].split()
        snapshot = replace(policy(), digest=digest)
        return RoutedPolicy(
            digest=digest,
            unrouted=snapshot,
            routes=dict.fromkeys(routes, snapshot),
            refusing=replace(snapshot, pipelines={}),
            pepper_mark=f"mark of {self.pepper.read_text()}",
        )


@pytest.fixture
def bench(tmp_path, caplog):
    """A source whose file says ``one``, already read at rest."""
    caplog.set_level(logging.INFO, "headgate.policy")
    path = tmp_path / "policy.yaml"
    path.write_text("one")
    pepper = tmp_path / "pepper"
    pepper.write_text("old")
    loads = Loads(pepper)
    clock = iter(range(1_000, 100_000, 1_000))
    source = PolicySource(path, loads, beside=(pepper,), now_unix_ms=lambda: next(clock))

    def looks(times=2):
        for _ in range(times):
            source.look()

    def replaced(text):
        """As an editor does it: a new file, renamed over the old one."""
        other = tmp_path / "new.yaml"
        other.write_text(text)
        other.replace(path)

    looks()
    loads.contents.clear()
    return SimpleNamespace(
        source=source,
        path=path,
        pepper=pepper,
        loads=loads,
        looks=looks,
        replaced=replaced,
        digest=lambda: source.on(()).digest,
        log=lambda: [(record.levelname, record.getMessage()) for record in caplog.records],
    )


def test_a_service_does_not_begin_without_a_policy(tmp_path):
    path = tmp_path / "policy.yaml"
    with pytest.raises(PolicyError, match="No such file"):
        PolicySource(path, Loads(path))
    path.write_text("bad")
    with pytest.raises(PolicyError, match="write another"):
        PolicySource(path, Loads(path))


def test_a_file_that_stays_is_not_read_again(bench):
    bench.looks(5)
    assert bench.loads.contents == []
    assert bench.source.status.taken == 1


def test_a_good_file_is_taken_once_it_rests(bench):
    begun = bench.source.on(())
    bench.replaced("two")
    bench.looks(1)
    assert (bench.digest(), bench.loads.contents) == ("one", [])
    bench.looks(3)
    assert (bench.digest(), bench.loads.contents) == ("two", [b"two"])
    assert begun.digest == "one"
    status = bench.source.status
    assert (status.digest, status.taken, status.refused, status.stale) == ("two", 2, 0, False)
    assert status.loaded_at_unix_ms == 2_000
    assert bench.log() == [("INFO", "policy loaded, digest two; streams that run keep theirs")]


def test_a_file_that_is_still_written_waits(bench):
    with bench.path.open("w") as file:
        for piece in ("bad", " half", " a", " policy"):
            file.write(piece)
            file.flush()
            bench.looks(1)
    bench.path.write_text("two")
    bench.looks(1)
    assert bench.loads.contents == []
    bench.looks(1)
    assert bench.digest() == "two"


def test_a_file_that_changes_while_it_is_read_is_read_again(bench, monkeypatch):
    read_content = PolicySource.look.__globals__["read_content"]

    def interrupted(path):
        content = read_content(path)
        bench.replaced("three")
        monkeypatch.undo()
        return content

    bench.replaced("two")
    bench.looks(1)
    monkeypatch.setitem(PolicySource.look.__globals__, "read_content", interrupted)
    bench.looks(1)
    assert bench.loads.contents == []
    bench.looks(2)
    assert bench.loads.contents == [b"three"]
    assert bench.digest() == "three"


def test_a_bad_file_leaves_the_policy_and_is_told_once(bench):
    bench.replaced("bad one")
    bench.looks(4)
    os.utime(bench.path)
    bench.looks(4)
    assert bench.digest() == "one"
    said = (
        "policy refused, one stays: policy.yaml:1: bad one; write another | "
        "policy.yaml:2: and more; write less"
    )
    assert bench.log() == [("ERROR", said)]
    assert (bench.source.status.refused, bench.source.status.stale) == (1, True)


def test_each_distinct_bad_content_is_told(bench):
    for text in ("bad one", "bad two", "bad one"):
        bench.replaced(text)
        bench.looks()
    assert len(bench.log()) == bench.source.status.refused == 3


def test_a_bad_file_that_becomes_the_running_one_again_is_settled(bench):
    for text in ("bad", "one", "bad"):
        bench.replaced(text)
        bench.looks()
    assert [level for level, _ in bench.log()] == ["ERROR", "INFO", "ERROR"]
    bench.replaced("one")
    bench.looks()
    assert bench.source.status.stale is False
    assert bench.loads.contents == [b"bad", b"one", b"bad", b"one"]
    assert bench.source.status.taken == 1


def test_a_file_that_is_gone_leaves_the_policy(bench):
    bench.path.unlink()
    bench.looks(4)
    assert bench.digest() == "one"
    said = (
        "policy refused, one stays: policy.yaml:1:1: No such file or directory; "
        "check the path and its permissions"
    )
    assert bench.log() == [("ERROR", said)]
    bench.replaced("two")
    bench.looks()
    assert (bench.digest(), bench.source.status.stale) == ("two", False)


def test_a_change_of_comments_is_no_new_policy(bench):
    begun = bench.source.on(())
    bench.replaced("one # with a comment")
    bench.looks()
    assert bench.source.on(()) is begun
    assert bench.source.status.taken == 1
    assert "its meaning did not" in bench.log()[0][1]


def test_a_bug_while_loading_is_a_refusal_without_its_text(bench):
    bench.replaced("bug: hunter2")
    bench.looks(4)
    assert bench.digest() == "one"
    ((level, said),) = bench.log()
    assert level == "ERROR"
    assert "bug: ValueError at Loads.__call__" in said
    assert "hunter2" not in said


class TestPepper:
    """The pepper of the keys' hashes, which stands in a file beside."""

    def test_one_that_comes_after_its_policy_is_taken(self, bench):
        bench.replaced("two")
        bench.looks()
        begun = bench.source.on(())
        bench.pepper.write_text("new")
        bench.looks(1)
        assert bench.source.on(()) is begun
        bench.looks(2)
        assert bench.source.on(()) is not begun
        assert bench.source._policy.pepper_mark == "mark of new"
        assert (bench.source.status.taken, bench.source.status.digest) == (3, "two")
        assert bench.log()[1:] == [
            ("INFO", "policy loaded with another pepper, digest two; streams that run keep theirs")
        ]

    def test_one_that_comes_with_its_policy_is_taken_with_it(self, bench):
        bench.pepper.write_text("new")
        bench.replaced("two")
        bench.looks()
        assert bench.source._policy.identity == ("two", "mark of new")
        assert bench.source.status.taken == 2

    def test_the_same_one_written_anew_is_no_new_policy(self, bench):
        begun = bench.source.on(())
        os.utime(bench.pepper)
        bench.looks(3)
        assert bench.source.on(()) is begun
        assert bench.log() == []

    def test_a_policy_refused_for_want_of_one_is_loaded_when_it_is_there(self, bench):
        bench.pepper.unlink()
        bench.replaced("two")
        bench.looks(4)
        assert (bench.digest(), bench.source.status.refused, bench.source.status.stale) == ("one", 1, True)
        bench.pepper.write_text("old")
        bench.looks()
        assert (bench.digest(), bench.source.status.stale) == ("two", False)


class TestAsked:
    def test_it_is_read_at_once(self, bench):
        bench.replaced("two")
        bench.source.reload_soon()
        bench.looks(1)
        assert bench.digest() == "two"

    def test_a_bad_file_is_told_to_everyone_who_asks(self, bench):
        bench.replaced("bad")
        for _ in range(2):
            bench.source.reload_soon()
            bench.looks(3)
        assert [level for level, _ in bench.log()] == ["ERROR", "ERROR"]

    def test_an_unchanged_file_is_said_to_be_one(self, bench):
        bench.source.reload_soon()
        bench.looks(3)
        assert bench.log() == [("INFO", "policy unchanged, digest one")]

    def test_an_unchanged_file_is_loaded_all_the_same(self, bench, monkeypatch):
        """What is beside it may have changed where no signature shows it."""
        signatures = bench.source._signatures()
        monkeypatch.setattr(bench.source, "_signatures", lambda: signatures)
        bench.pepper.write_text("new")
        bench.looks(3)
        assert bench.source._policy.pepper_mark == "mark of old"
        bench.source.reload_soon()
        bench.looks(1)
        assert bench.source._policy.pepper_mark == "mark of new"

    def test_it_is_read_once_more_at_rest(self, bench, monkeypatch):
        """A second change within the clock's grain, with the same length, looks like none."""
        bench.replaced("two")
        bench.source.reload_soon()
        bench.looks(1)
        signatures = bench.source._signatures()
        monkeypatch.setattr(bench.source, "_signatures", lambda: signatures)
        bench.path.write_text("six")
        bench.looks(1)
        assert bench.digest() == "six"


def test_the_swap_of_a_mounted_config_map_is_seen(bench, tmp_path):
    for version in ("one", "two", "three"):
        folder = tmp_path / f"..{version}"
        folder.mkdir()
        (folder / "policy.yaml").write_text(version)
    link = tmp_path / "..data"
    link.symlink_to("..one")
    bench.path.unlink()
    bench.path.symlink_to("..data/policy.yaml")
    bench.looks()
    for version in ("two", "three"):
        (tmp_path / "..data_tmp").symlink_to(f"..{version}")
        (tmp_path / "..data_tmp").replace(link)
        bench.looks()
        assert bench.digest() == version


class TestRoutes:
    def test_a_route_that_is_not_in_the_file_is_closed_and_told_once(self, bench):
        bench.replaced("two listed")
        bench.looks()
        assert bench.source.on(("listed",)).pipelines
        for names in (("forgotten",), ("forgotten",), ("listed", "listed"), ("a\nb",)):
            assert bench.source.on(names).pipelines == {}
        assert bench.log()[1:] == [
            ("ERROR", "route forgotten is not in the policy file: its requests are refused"),
            ("ERROR", "a stream names several routes: it is refused"),
            ("ERROR", "route (unprintable name) is not in the policy file: its requests are refused"),
        ]

    def test_the_log_of_routes_is_bounded_and_begins_anew_with_a_policy(self, bench):
        bench.replaced("two listed")
        bench.looks()
        for number in range(LIMITS.routes_reported_max + 10):
            bench.source.on((f"r{number}",))
        assert len(bench.log()) == LIMITS.routes_reported_max + 1
        bench.replaced("three listed")
        bench.looks()
        bench.source.on(("r0",))
        assert "route r0 is not" in bench.log()[-1][1]


def test_the_thread_loads_when_it_is_asked_and_ends_when_it_is_closed(bench):
    loaded = threading.Event()
    bench.loads.during = loaded.set
    bench.source.start()
    bench.replaced("two")
    bench.source.reload_soon()
    assert loaded.wait(30)
    bench.source.close()
    assert bench.digest() == "two"
    assert not bench.source._thread.is_alive()
    assert all(thread.name != "headgate-policy" for thread in threading.enumerate())
