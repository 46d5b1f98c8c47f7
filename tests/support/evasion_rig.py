"""One gateway before real models for every wire, and a way to ask it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pytest
import yaml
from evasion_wires import MODEL, OTHERS, SECRETS, SYNC, Wire
from live_traffic import GENERATE
from raw_http import Fields, Frames, Heard, conversation, request_bytes
from real_parts import Gateway, GatewayMaker, StandIn, eventually, running
from triton_models import TritonOf

from extproc.demo.install import install_triton
from extproc.demo.parts import OpenAIFront

STATE: Final = Path(__file__).parents[2] / ".headgate"
POLICY: Final = """
version: 1
tenants:
  acme:
    policy: standard
    keys: [{id: acme-1, hash: "${ACME_HASH}"}]
  owner:
    policy: others
    keys: [{id: owner-1, hash: "${OWNER_HASH}"}]
policies:
  standard:
    guards:
      schema: {models: [vllm_stand_in, sync_vllm], output_tokens_max: 200}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
  others:
    guards:
      schema: {models: [internal_llm], output_tokens_max: 200}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
"""
TENANTS: Final = ("acme", "owner")


@dataclass(frozen=True)
class Rig:
    """The gateway, and the models behind it."""

    gateway: Gateway
    stand_in: StandIn

    @property
    def port(self) -> int:
        return self.gateway.envoy.port

    def fields(self, wire: Wire, tenant: str = "acme") -> Fields:
        """What a sound request says of itself on HTTP/1.1, without the length of its body."""
        own = self.gateway.headers(tenant)
        te = (("te", "trailers"),) if wire.is_grpc else ()
        return (("host", "gateway"), *own.items(), ("content-type", wire.kind), *te)

    def head(
        self, wire: Wire, *, path: str | None = None, method: str = "POST", tenant: str = "acme"
    ) -> list[tuple[str, str]]:
        """The same on HTTP/2."""
        _, *own = self.fields(wire, tenant)
        pseudo = {":method": method, ":scheme": "http", ":authority": "gateway", ":path": path or wire.path}
        return [*pseudo.items(), *own]

    def ask(
        self,
        wire: Wire,
        body: bytes,
        *more: tuple[str, str],
        path: str | None = None,
        method: str = "POST",
        without: str = "",
        tenant: str = "acme",
    ) -> Heard:
        """One request: gRPC's on HTTP/2, any other on HTTP/1.1. A header named ``without`` is left out."""
        if wire.is_grpc:
            head = self.head(wire, path=path, method=method, tenant=tenant)
            fields = [one for one in (*head, *more) if one[0] != without or one in more]
            with Frames(self.port) as client:
                return client.ask(fields, body)
        length = (("content-length", str(len(body))), ("connection", "close"))
        own = [one for one in self.fields(wire, tenant) if one[0] != without]
        sent = request_bytes(method, path or wire.path, [*own, *length, *more], body)
        return only(conversation(self.port, sent))


def only(heard: list[Heard]) -> Heard:
    """The one answer; an empty one where the connection was closed without any."""
    assert len(heard) <= 1
    return heard[0] if heard else Heard()


@contextlib.contextmanager
def rig_of(factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Rig]:
    """A gateway before a Triton and a front end of its own; nothing that was planted is left behind."""
    state = factory.mktemp("evasion")
    scripts, journal = state / "scripts", state / "journal.jsonl"
    scripts.mkdir()
    triton = TritonOf(
        state,
        add=(SYNC,),
        environment_path=install_triton(STATE),
        models=(MODEL, OTHERS),
        scripts=scripts,
        journal=journal,
        pace_ms=1,
    )
    maker = GatewayMaker(factory, triton.port, redis_url, grpc_port=triton.grpc_port)
    front = OpenAIFront(factory.mktemp("front"), triton_port=triton.port, models=(MODEL, OTHERS))
    try:
        with running(triton), running(front):
            gateway = maker(policy=POLICY, tenants=TENANTS, openai_port=front.port, edit=closes_at_once)
            rig = Rig(gateway, StandIn(triton, scripts, journal))
            warm_up(gateway)
            yield rig
            check_nothing_left(gateway, journal)
    finally:
        maker.close()


def warm_up(gateway: Gateway) -> None:
    """Have the filter serve: cold, it may be unwell to Envoy for a moment after its first request."""
    with gateway.client() as client:
        body = {"text_input": "hello there", "exclude_input_in_output": True}

        def answered() -> bool:
            return client.post(GENERATE, json=body).status_code == HTTPStatus.OK

        for _ in range(2):
            assert eventually(answered, within_s=30.0)


def closes_at_once(text: str) -> str:
    """Envoy's configuration, but a connection that it gives up waits no second for its client."""
    configuration = yaml.safe_load(text)
    connection = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    connection["typed_config"]["delayed_close_timeout"] = "0.05s"
    return yaml.safe_dump(configuration)


def check_nothing_left(gateway: Gateway, journal: Path) -> None:
    """What was planted stands in no journal, log or record, and the filter had no bug."""
    log = gateway.headgate.log_path.read_text()
    assert "Traceback" not in log
    told = [one.read_text() for one in (journal, gateway.headgate.verdict_log) if one.exists()]
    assert not any(secret in text for secret in SECRETS for text in (log, *told))
