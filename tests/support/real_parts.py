"""The real parts as the end-to-end tests see them; tests/e2e/conftest.py starts them."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import yaml

from extproc.demo.assets import asset
from extproc.demo.credentials import Credentials, issue
from extproc.demo.parts import Envoy, Headgate, Triton
from extproc.demo.process import Part
from extproc.demo.stack import MODEL, OTHER_MODEL

_T = TypeVar("_T")
_P = TypeVar("_P", bound=Part)

EXT_PROC = "envoy.filters.http.ext_proc"


def eventually(look: Callable[[], _T], *, within_s: float = 10.0) -> _T:
    """What ``look`` gives once it is true; its last value when time is up."""
    end = time.monotonic() + within_s
    while not (seen := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return seen


@contextlib.contextmanager
def running(part: _P) -> Iterator[_P]:
    """A part, ready; ended afterwards."""
    try:
        part.start()
        part.wait_ready()
        yield part
    finally:
        part.stop()


# --- Triton ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StandIn:
    """The running Triton; what its model is told, and what it tells of itself."""

    triton: Triton
    scripts_path: Path
    journal_path: Path
    model: str = MODEL
    other_model: str = OTHER_MODEL

    @property
    def port(self) -> int:
        return self.triton.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, *tokens: str) -> str:
        """A prompt, used by nobody else, at which the model says exactly these tokens."""
        name = f"script-{secrets.token_hex(6)}"
        (self.scripts_path / f"{name}.json").write_text(json.dumps(tokens), encoding="utf-8")
        return f"Please recite {name} to me."

    def journal(self, event: str, prompt_part: str = "") -> list[dict[str, object]]:
        """What it noted so far in this run: the entries of one event whose prompt has this text in it.

        ``received``: model, id, prompt, stream, max_tokens, parameters.
        ``ended``: prompt, tokens, cancelled.
        """
        if not self.journal_path.exists():
            return []
        lines = self.journal_path.read_text(encoding="utf-8").split("\n")[:-1]
        entries = [json.loads(line) for line in lines]
        return [one for one in entries if one["event"] == event and prompt_part in one["prompt"]]


# --- a gateway: Envoy and the filter ---------------------------------------------------------


@dataclass(frozen=True)
class Gateway:
    """An Envoy with its filter in front of an upstream."""

    envoy: Envoy
    headgate: Headgate
    credentials: Credentials

    @property
    def url(self) -> str:
        return self.envoy.url

    def headers(self, tenant: str = "acme") -> dict[str, str]:
        return {"authorization": f"Bearer {self.credentials.keys[tenant]}"}

    def client(self, tenant: str | None = "acme", *, http2: bool = False) -> httpx.Client:
        """A client that brings the tenant's key, or none."""
        headers = {} if tenant is None else self.headers(tenant)
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, http1=not http2, http2=http2)

    def verdicts(self) -> list[dict[str, object]]:
        """Every record so far."""
        if not self.headgate.verdict_log.exists():
            return []
        lines = self.headgate.verdict_log.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def verdict(self, request_id: str, *, within_s: float = 10.0) -> dict[str, object]:
        """The record of a request, once it is written."""

        def of_request() -> list[dict[str, object]]:
            return [record for record in self.verdicts() if record["request_id"] == request_id]

        found = eventually(of_request, within_s=within_s)
        assert len(found) == 1, f"{len(found)} records for the request"
        return found[0]

    def access(self) -> list[dict[str, object]]:
        """Envoy's access log so far. Envoy writes it out every second."""
        if not self.envoy.access_log.exists():
            return []
        lines = self.envoy.access_log.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]


MakeGateway = Callable[..., Gateway]


class GatewayMaker:
    """Starts gateways and ends them together."""

    def __init__(
        self,
        factory: pytest.TempPathFactory,
        upstream_port: int,
        redis_url: str,
        *,
        grpc_port: int | None = None,
    ) -> None:
        self._factory = factory
        self._upstream_port = upstream_port
        self._grpc_port = grpc_port
        self._redis_url = redis_url
        self._stack = contextlib.ExitStack()

    def __call__(
        self,
        *,
        policy: str | None = None,
        tenants: tuple[str, ...] = ("acme", "tiny"),
        upstream_port: int | None = None,
        openai_port: int | None = None,
        grpc_port: int | None = None,
        redis_url: str | None = None,
        options: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
        concurrency: int = 1,
        edit: Callable[[str], str] | None = None,
        headgate_type: type[Headgate] = Headgate,
    ) -> Gateway:
        """A running gateway.

        ``policy`` is the text of a policy file with ``${ACME_HASH}`` and so on for ``tenants``; the demo's
        unless given. ``upstream_port``, ``grpc_port`` and ``openai_port`` stand for Triton's HTTP and gRPC
        port and a front end's. ``edit`` changes Envoy's configuration; ``headgate_type`` is how the filter
        is run.
        """
        state = self._factory.mktemp("gateway")
        template = asset("extproc/demo/policy.yaml").read_text() if policy is None else policy
        credentials = issue(state, template=template, tenants=tenants)
        headgate = headgate_type(
            state,
            policy=credentials.policy_file,
            pepper=credentials.pepper_file,
            redis_url=redis_url or self._redis_url,
            verdict_log=state / "verdicts.jsonl",
            options=options,
            variables=variables,
        )
        envoy = Envoy(
            state,
            triton_port=upstream_port or self._upstream_port,
            triton_grpc_port=grpc_port or self._grpc_port,
            openai_port=openai_port,
            extproc_port=headgate.port,
            concurrency=concurrency,
            edit=edit,
        )
        # One after the other: Envoy listens once its first health check of the filter is through.
        for part in (headgate, envoy):
            self._stack.callback(part.stop)
            part.start()
            part.wait_ready()
        return Gateway(envoy, headgate, credentials)

    def close(self) -> None:
        self._stack.close()


# --- Envoy alone -----------------------------------------------------------------------------


def without_filter(text: str) -> str:
    """Envoy's configuration without the filter: for what is said of Envoy and Triton alone."""
    configuration = yaml.safe_load(text)
    connection = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    settings = connection["typed_config"]
    settings["http_filters"] = [one for one in settings["http_filters"] if one["name"] != EXT_PROC]
    for host in settings["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            route.pop("typed_per_filter_config", None)
    return yaml.safe_dump(configuration)
