"""A model server that was taken over, behind the real Envoy: nothing of it passes that nobody judged."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from hostile_upstream import HostileUpstream, events, whole
from live_traffic import raw
from real_parts import Gateway, GatewayMaker, StandIn

from extproc.demo.parts import Valkey

MODEL_PATH = "/v2/models/vllm_stand_in"
GENERATE, STREAM = f"{MODEL_PATH}/generate", f"{MODEL_PATH}/generate_stream"
CONFIG = f"{MODEL_PATH}/config"
SSN, MAIL, CARD = b"219-09-9999", b"jane@example.com", b"4111111111111111"
KEY = b"hf_" + b"a1" * 17
PLANTED = re.compile(
    b"|".join([SSN, MAIL, CARD, KEY, rb"219-09", rb"4111111", rb"charset=utf-7", rb"219\+"])
)
OWN_HEADERS = {"content-type", "date", "server", "x-request-id", "transfer-encoding", "content-length"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, upstream: HostileUpstream, valkey: Valkey
) -> Iterator[Gateway]:
    maker = GatewayMaker(tmp_path_factory, upstream.port, valkey.url)
    try:
        gateway = maker(tenants=("acme", "tiny"))
        yield gateway
        assert "Traceback" not in gateway.headgate.log_path.read_text()
    finally:
        maker.close()


def ask(gateway: Gateway, path: str, body: dict[str, object] | None = None) -> httpx.Response:
    with gateway.client() as client:
        return (
            client.get(path) if path == CONFIG else client.post(path, json=body or {"text_input": "hello"})
        )


def everything(answer: httpx.Response) -> bytes:
    fields = b"\n".join(name + b": " + value for name, value in answer.headers.raw)
    return answer.reason_phrase.encode() + b"\n" + fields + b"\n\n" + answer.content


HI = b'{"text_output":"hi"}'


@pytest.mark.parametrize(
    ("path", "status", "sent"),
    [
        (GENERATE, 200, whole(HI, b"x-leak: " + SSN, b"set-cookie: a=" + MAIL, b"x-envoy-leak: " + CARD)),
        (GENERATE, 200, whole(HI, b"location: http://evil/" + SSN, b"server: " + MAIL, b"date: " + SSN)),
        (GENERATE, 200, whole(HI, b"x-request-id: " + SSN, b"cache-control: x=" + MAIL, b"etag: " + CARD)),
        (GENERATE, 200, whole(HI, kind=b"application/json; charset=utf-7; x=" + SSN)),
        (GENERATE, 200, whole(HI, status=b"200 " + SSN)),
        (GENERATE, 502, whole(b"", b"location: http://" + SSN, status=b"302 Found")),
        (GENERATE, 502, whole(b'{"text_output":' + CARD + b"}")),
        (GENERATE, 502, whole(b'{"' + MAIL + b'":1,"text_output":"hi"}')),
        (GENERATE, 502, whole(b'{"text_output":"hi","num_output_tokens":' + b"9" * 60 + b"}")),
        (GENERATE, 200, whole(b'{"' + KEY + b'":' + CARD + b',"text_output":"hi"}')),
        (GENERATE, 200, whole(b'{"text_output":"hi","model_version":"' + CARD + b'"}')),
        (STREAM, 200, events(HI, b'{"model_version":"' + CARD + b'","text_output":"hi"}')),
        (STREAM, 200, events(HI, b'{"' + KEY + b'":"x","text_output":"hi"}')),
        (CONFIG, 200, whole(b'{"secret":"' + SSN + b" " + KEY + b'","n":' + CARD + b',"' + MAIL + b'":1}')),
        (CONFIG, 502, whole(SSN + b" as it is", kind=b"text/plain")),
        (CONFIG, 404, whole(b'{"error":"bad ' + SSN + b'"}', status=b"404 Not Found", kind=b"text/plain")),
    ],
    ids=range(16),
)
def test_nothing_planted_comes_out(
    path: str, status: int, sent: bytes, gateway: Gateway, upstream: HostileUpstream
):
    upstream.answers[path] = sent
    answer = ask(gateway, path)
    assert answer.status_code == status
    assert PLANTED.search(everything(answer)) is None
    assert {name.lower() for name in answer.headers} <= OWN_HEADERS


@pytest.mark.parametrize(
    "early",
    [
        b"HTTP/1.1 103 Early Hints\r\nlink: <" + SSN + b">\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nx-leak: " + SSN + b"\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\nx-leak: " + SSN + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\nx-leak: "
        + SSN
        + b"\r\n\r\n",
    ],
    ids=["103", "100", "102", "101"],
)
def test_heads_before_the_answers_own_carry_nothing(
    early: bytes, gateway: Gateway, upstream: HostileUpstream
):
    upstream.answers[GENERATE] = early + whole(HI)
    body = '{"text_input":"hi"}'
    fields = {**gateway.headers(), "host": "a", "connection": "close", "content-length": str(len(body))}
    lines = [f"POST {GENERATE} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", body]
    seen = raw(gateway.envoy.port, "\r\n".join(lines).encode(), timeout_s=3.0)
    assert seen.startswith(b"HTTP/1.1 ")
    assert PLANTED.search(seen) is None


def test_what_nobody_judged_does_not_go_up(gateway: Gateway, upstream: HostileUpstream):
    upstream.answers[GENERATE] = whole(HI)
    for body, status in (
        ({"text_input": "hi", "id": CARD.decode()}, 200),
        ({"text_input": "hi", "id": KEY.decode()}, 200),
        ({"text_input": "hi", "parameters": {"temperature": 0.4111111111111111}}, 200),
        ({"text_input": "hi", "parameters": {"seed": int(CARD)}}, 400),
    ):
        assert ask(gateway, GENERATE, body).status_code == status
    assert PLANTED.search(b"".join(upstream.asked)) is None


def test_real_metadata_and_configuration_pass_as_they_are(make_gateway, stand_in: StandIn):
    gateway = make_gateway(upstream_port=stand_in.port)
    paths = ["/v2", "/v2/health/live", "/v2/health/ready"]
    paths += [MODEL_PATH, f"{MODEL_PATH}/versions/1", CONFIG, f"{MODEL_PATH}/ready"]
    with gateway.client() as client:
        for path in paths:
            through, direct = client.get(path), httpx.get(stand_in.url + path, timeout=30)
            assert (through.status_code, through.content) == (direct.status_code, direct.content)
            assert through.headers.get("content-type") == direct.headers.get("content-type")
