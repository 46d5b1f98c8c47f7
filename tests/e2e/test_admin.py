"""Triton's administration, opened to one named key; and CORS, which is Envoy's."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import yaml
from real_parts import EXT_PROC, Gateway, GatewayMaker, StandIn

from extproc.demo.assets import asset
from extproc.demo.parts import Valkey

pytestmark = pytest.mark.e2e

# As envoy/README.md has them.
ADMIN = {
    "name": "admin",
    "match": {
        "safe_regex": {"regex": "/v2/(repository/.+|logging|(models/[A-Za-z0-9_.:-]+/)?trace/setting)"}
    },
    "route": {"cluster": "triton", "timeout": "60s"},
}
PREFLIGHT = {
    "name": "preflight",
    "match": {
        "prefix": "/",
        "headers": [{"name": ":method", "string_match": {"exact": "OPTIONS"}}],
    },
    "route": {"cluster": "triton"},
}
CORS = "envoy.filters.http.cors"
ORIGIN = "https://chat.example"


def opened(text: str) -> str:
    """Envoy's configuration with the route, and with CORS."""
    configuration = yaml.safe_load(text)
    connection = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    settings = connection["typed_config"]
    (host,) = settings["route_config"]["virtual_hosts"]
    host["routes"][:0] = [ADMIN, PREFLIGHT]
    kind = "type.googleapis.com/envoy.extensions.filters.http.cors.v3."
    host["typed_per_filter_config"] = {
        CORS: {
            "@type": f"{kind}CorsPolicy",
            "allow_origin_string_match": [{"exact": ORIGIN}],
            "allow_methods": "POST",
            "allow_headers": "authorization, content-type",
        }
    }
    settings["http_filters"].insert(0, {"name": CORS, "typed_config": {"@type": f"{kind}Cors"}})
    assert [one["name"] for one in settings["http_filters"]][:2] == [CORS, EXT_PROC]
    return yaml.safe_dump(configuration)


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey
) -> Iterator[Gateway]:
    policy = asset("extproc/demo/policy.yaml").read_text()
    named = policy.replace('hash: "${ACME_HASH}"', 'hash: "${ACME_HASH}", admin: true')
    assert named != policy
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url)
    yield maker(policy=named, edit=opened)
    maker.close()


def ask(gateway: Gateway, method: str, path: str, tenant: str, body: object = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {gateway.credentials.keys[tenant]}"}
    return httpx.request(method, gateway.envoy.url + path, headers=headers, json=body, timeout=30)


def test_the_named_key_administers(gateway, stand_in):
    index = ask(gateway, "POST", "/v2/repository/index", "acme", {})
    assert (
        index.status_code,
        {"name": stand_in.model, "version": "1", "state": "READY"} in index.json(),
    ) == (
        200,
        True,
    )
    assert "log_verbose_level" in ask(gateway, "GET", "/v2/logging", "acme").json()
    record = gateway.verdict(index.headers["x-request-id"])
    assert (record["operation"], record["action"], record["codec"]) == ("admin", "allow", "triton_admin")


@pytest.mark.parametrize(("method", "path"), [("POST", "/v2/repository/index"), ("GET", "/v2/logging")])
def test_another_key_does_not(gateway, method, path):
    answer = ask(gateway, method, path, "tiny", {} if method == "POST" else None)
    assert answer.status_code == 403
    record = gateway.verdict(answer.headers["x-request-id"])
    assert (record["operation"], record["reason"], record["upstream_status"]) == (
        "admin",
        "path_not_allowed",
        0,
    )


def test_code_in_a_load_request_is_refused_even_then(gateway):
    body = {"parameters": {"file:1/model.py": "cGFzcw=="}}
    answer = ask(gateway, "POST", "/v2/repository/models/m/load", "acme", body)
    assert (answer.status_code, "files are not accepted" in answer.json()["error"]) == (400, True)


def test_preflight_is_answered_by_envoy_and_never_reaches_the_filter(gateway, stand_in):
    url = f"{gateway.envoy.url}/v2/models/{stand_in.model}/generate"
    headers = {"origin": ORIGIN, "access-control-request-method": "POST"}
    # All records of earlier tests are there.
    gateway.verdict(ask(gateway, "GET", "/v2/health/live", "acme").headers["x-request-id"])
    before = len(gateway.verdicts())
    preflight = httpx.options(url, headers=headers, timeout=30)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN)
    # From another origin it is no preflight of anybody's: a request without a key.
    headers["origin"] = "https://other.example"
    stranger = httpx.options(url, headers=headers, timeout=30)
    assert stranger.status_code == 401
    gateway.verdict(stranger.headers["x-request-id"])
    # The record of a later request is there; none of the first preflight is.
    later = httpx.post(
        url,
        headers={"origin": ORIGIN, "authorization": f"Bearer {gateway.credentials.keys['acme']}"},
        json={"text_input": "hi"},
        timeout=30,
    )
    assert (later.status_code, later.headers["access-control-allow-origin"]) == (200, ORIGIN)
    gateway.verdict(later.headers["x-request-id"])
    assert len(gateway.verdicts()) == before + 2
