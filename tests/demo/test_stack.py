from __future__ import annotations

import sys
from pathlib import Path

import pytest

from extproc.demo import stack as stacks
from extproc.demo.process import Part, PartFailed

SLEEPS = "import time; time.sleep(600)"
PORT_TAKEN = "import sys; print('Address already in use'); sys.exit(1)"


class Double(Part):
    """A part that needs nothing installed."""

    def __init__(self, state: Path, name: str, source: str = SLEEPS) -> None:
        self.name = name
        super().__init__(state)
        self.source = source
        self.stopped = False

    def command(self):
        return [sys.executable, "-c", self.source]

    def finds_filter(self) -> bool:
        return True

    def probe(self):
        return self.source == SLEEPS

    def stop(self):
        super().stop()
        self.stopped = True


def assembled(state: Path, **sources: str) -> stacks.Stack:
    names = ("triton", "openai", "valkey", "filter", "envoy")
    doubles = (Double(state, name, sources.get(name, SLEEPS)) for name in names)
    triton, openai, valkey, headgate, envoy = doubles
    return stacks.Stack(triton=triton, openai=openai, valkey=valkey, headgate=headgate, envoy=envoy)


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Starts the given stacks, one per attempt; ends what still runs."""
    made: list[stacks.Stack] = []

    def run(*attempts, **options):
        made.extend(attempts)
        left = iter(attempts)
        monkeypatch.setattr(stacks, "_assemble", lambda *_: next(left))
        monkeypatch.setattr(stacks, "Triton", lambda *_, **__: None)
        return stacks.start_stack(tmp_path, triton_environment=tmp_path, credentials=None, **options)

    yield run
    for stack in made:
        stacks.stop_all(stack.parts)


def test_all_parts_start_and_each_says_so(start, tmp_path):
    told = []
    stack = start(assembled(tmp_path), told=lambda part, what: told.append((part.name, what)))
    names = ["triton", "openai", "valkey", "filter", "envoy"]
    assert told[:5] == [(name, "starting") for name in names]
    assert sorted(told[5:]) == sorted((name, "ready") for name in names)
    assert all(part.pid is not None for part in stack.parts)


def test_a_part_that_does_not_start_ends_the_others(start, tmp_path):
    broken = assembled(tmp_path, filter="import sys; print('no policy'); sys.exit(1)")
    with pytest.raises(PartFailed) as failed:
        start(broken)
    assert (failed.value.part, failed.value.log_tail) == ("filter", ("no policy",))
    assert all(part.stopped for part in broken.parts)


def test_a_port_that_was_lost_is_tried_again_with_others(start, tmp_path):
    lost, good = assembled(tmp_path / "1", triton=PORT_TAKEN), assembled(tmp_path / "2")
    assert start(lost, good) is good
    assert all(part.stopped for part in lost.parts)


def test_a_port_that_was_given_is_not_tried_again(start, tmp_path):
    with pytest.raises(PartFailed, match="ended with exit code 1"):
        start(assembled(tmp_path, envoy=PORT_TAKEN), port=1)


def test_ports_are_not_tried_for_ever(start, tmp_path):
    with pytest.raises(PartFailed):
        start(*(assembled(tmp_path / str(number), triton=PORT_TAKEN) for number in range(3)))


def test_a_part_that_dies_later_ends_the_watch(start, tmp_path):
    stack = start(assembled(tmp_path))
    stack.watch(until=lambda: True)
    stack.valkey._process.kill()
    with pytest.raises(PartFailed, match="valkey: ended by Killed"):
        stack.watch(until=lambda: False)


def test_a_part_that_cannot_be_ended_does_not_keep_the_others(tmp_path, monkeypatch):
    stack = assembled(tmp_path)

    def fail():
        raise RuntimeError("stuck")

    with monkeypatch.context() as broken:
        broken.setattr(stack.envoy, "stop", fail)
        with pytest.raises(ExceptionGroup):
            stack.stop()
    assert [part.stopped for part in stack.parts] == [True, True, True, True, False]
