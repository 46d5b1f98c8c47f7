"""A real Valkey for the ledger's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from extproc.demo.parts import Valkey


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One server for the run, for tests that leave it as it is."""
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    valkey.start()
    valkey.wait_ready()
    yield valkey
    valkey.stop()


@pytest.fixture
def valkey(shared_valkey: Valkey) -> Valkey:
    """The shared server, empty."""
    with redis.Redis.from_url(shared_valkey.url) as client:
        client.flushall()
    return shared_valkey


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Callable[..., Valkey]]:
    """Servers of the test's own, to be stopped, killed and changed."""
    started: list[Valkey] = []

    def start(kind: type[Valkey] = Valkey) -> Valkey:
        one = kind(tmp_path / str(len(started)))
        started.append(one)
        one.start()
        one.wait_ready()
        return one

    yield start
    for one in started:
        one.kill()
