"""The real parts: Triton with the stand-in model, Valkey, Envoy and the filter, each its own process.

Triton and Valkey live as long as the run; a gateway (an Envoy and its filter) as long as a test, or as a
module where its tests leave it as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from echo_triton import EchoTriton
from evasion_rig import Rig, rig_of
from real_parts import Gateway, GatewayMaker, MakeGateway, StandIn, running, without_filter

from extproc.demo.install import install_triton
from extproc.demo.parts import Envoy, OpenAIFront, Triton, Valkey
from extproc.demo.stack import MODEL, OTHER_MODEL

# Where `headgate demo` keeps Triton's environment too, so that it is installed once.
STATE = Path(__file__).parents[2] / ".headgate"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """Triton with the stand-in model under two names."""
    state = tmp_path_factory.mktemp("triton")
    scripts = state / "scripts"
    scripts.mkdir()
    journal = state / "journal.jsonl"
    triton = Triton(
        state,
        environment_path=install_triton(STATE),
        models=(MODEL, OTHER_MODEL),
        scripts=scripts,
        journal=journal,
        pace_ms=1,
    )
    with running(triton):
        yield StandIn(triton, scripts, journal)


@pytest.fixture(scope="session")
def echo_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoTriton]:
    """Triton with models that answer with what they received."""
    state = tmp_path_factory.mktemp("echo-triton")
    with running(EchoTriton(state, environment_path=install_triton(STATE))) as triton:
        yield triton


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One for the whole run. A test that ends it makes one of its own."""
    with running(Valkey(tmp_path_factory.mktemp("valkey"))) as part:
        yield part


@pytest.fixture
def books(valkey: Valkey) -> Iterator[redis.Redis]:
    """A client of Valkey, empty at the start of the test."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def make_gateway(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey, books: redis.Redis
) -> Iterator[MakeGateway]:
    """Makes gateways of the test's own, with empty books; see ``GatewayMaker``."""
    del books
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url, grpc_port=stand_in.triton.grpc_port)
    yield maker
    maker.close()


@pytest.fixture
def gateway(make_gateway: MakeGateway) -> Gateway:
    """A gateway of the test's own with the demo's policy: the test may break it."""
    return make_gateway()


@pytest.fixture(scope="module")
def shared_gateway(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey
) -> Iterator[Gateway]:
    """A gateway with the demo's policy for tests that leave it as it was."""
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url, grpc_port=stand_in.triton.grpc_port)
    yield maker()
    maker.close()


@pytest.fixture(scope="session")
def openai_front(tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn) -> Iterator[OpenAIFront]:
    """The small OpenAI front end before Triton."""
    state = tmp_path_factory.mktemp("openai")
    models = (stand_in.model, stand_in.other_model)
    with running(OpenAIFront(state, triton_port=stand_in.port, models=models)) as part:
        yield part


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[Rig]:
    """A gateway with every wire behind it, for tests that leave it as it was."""
    with rig_of(tmp_path_factory, valkey.url) as one:
        yield one


@pytest.fixture(scope="session")
def bare_openai(tmp_path_factory: pytest.TempPathFactory, openai_front: OpenAIFront) -> Iterator[Envoy]:
    """Envoy in front of the OpenAI front end without the filter."""
    state = tmp_path_factory.mktemp("bare-openai")
    with running(Envoy(state, triton_port=openai_front.port, extproc_port=9, edit=without_filter)) as envoy:
        yield envoy


@pytest.fixture(scope="session")
def bare_envoy(tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn) -> Iterator[Envoy]:
    """Envoy in front of Triton without the filter."""
    state = tmp_path_factory.mktemp("bare-envoy")
    triton = stand_in.triton
    envoy = Envoy(
        state,
        triton_port=triton.port,
        triton_grpc_port=triton.grpc_port,
        extproc_port=9,
        edit=without_filter,
    )
    with running(envoy):
        yield envoy
