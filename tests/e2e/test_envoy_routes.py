"""What Envoy's configuration lets through, changes and refuses: without the filter, and with a dead one."""

from __future__ import annotations

import http.client
import socket

import grpc
import httpx
import pytest
from real_parts import StandIn, running, without_filter

from extproc.demo.parts import Envoy
from extproc.demo.ports import free_port

MODEL_PATH = "/v2/models/vllm_stand_in"
REFUSED = {"error": "this endpoint is not exposed"}


def gateway_error(status: int) -> dict[str, str]:
    return {"error": f"the gateway refused or could not carry the request (status {status})"}


def asked(envoy: Envoy, method: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """One request whose path goes out as it stands: httpx would normalise it."""
    lines = [f"{method} {path} HTTP/1.1", "host: gateway", "connection: close", "content-length: 0"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return sent(envoy, ("\r\n".join(lines) + "\r\n\r\n").encode(), method)


def sent(envoy: Envoy, request: bytes, method: str = "GET") -> httpx.Response:
    """What comes back for these bytes, read as the answer to a request of this method."""
    with socket.create_connection(("127.0.0.1", envoy.port), timeout=30) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        MODEL_PATH,
        f"{MODEL_PATH}/ready",
        f"{MODEL_PATH}/config",
        f"{MODEL_PATH}/versions/1",
        f"{MODEL_PATH}/versions/1/ready",
        f"{MODEL_PATH}/versions/1/config",
        # One spelling per path: these reach Triton as the ones above.
        "/v2//health/ready",
        "/v2/%68ealth/ready",
        "/v2/x/../health/ready",
    ],
)
def test_reading_reaches_triton(bare_envoy: Envoy, path):
    assert asked(bare_envoy, "GET", path).status_code == 200


@pytest.mark.parametrize("path", [f"{MODEL_PATH}/generate", f"{MODEL_PATH}/versions/1/generate"])
def test_generating_reaches_triton(bare_envoy: Envoy, path):
    body = {"text_input": "hello", "exclude_input_in_output": True}
    assert httpx.post(bare_envoy.url + path, json=body, timeout=30).status_code == 200


def test_kserve_reaches_triton(bare_envoy: Envoy):
    # Triton's own words for a model that streams.
    answer = httpx.post(f"{bare_envoy.url}{MODEL_PATH}/infer", json={"inputs": []}, timeout=30)
    assert (answer.status_code, "decoupled" in answer.json()["error"]) == (501, True)
    with grpc.insecure_channel(f"127.0.0.1:{bare_envoy.port}") as channel:
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        # ServerLiveResponse{live: true}
        assert live(b"", timeout=30) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/inference.GRPCInferenceService/RepositoryIndex")(b"", timeout=30)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/v2/models/stats"),
        ("GET", "/v2/models/stats/ready"),
        ("POST", "/v2/models/stats/generate"),
        ("GET", f"{MODEL_PATH}/stats"),
        ("GET", f"{MODEL_PATH}/generate"),
        ("GET", f"{MODEL_PATH}/../stats"),
        ("POST", MODEL_PATH),
        ("POST", f"{MODEL_PATH}/generate/"),
        ("POST", f"{MODEL_PATH}/generate_stream_x"),
        ("POST", f"{MODEL_PATH}/infer_x"),
        ("GET", f"{MODEL_PATH}/infer"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages/"),
        ("POST", "/v1/completions/x"),
        # Not gRPC: the content type says so.
        ("POST", "/inference.GRPCInferenceService/ModelInfer"),
        ("POST", "/inference.GRPCInferenceService/RepositoryModelLoad"),
        ("POST", f"{MODEL_PATH}/Generate"),
        ("POST", f"{MODEL_PATH}/versions/x/generate"),
        ("POST", f"{MODEL_PATH}/trace/setting"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/vllm_stand_in/load"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/cudasharedmemory/status"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/trace/setting"),
        ("GET", "/v2/logging"),
        ("POST", "/v2/logging"),
        ("DELETE", "/v2"),
        ("PUT", f"{MODEL_PATH}/generate"),
        ("HEAD", "/v2/health/ready"),
        ("OPTIONS", f"{MODEL_PATH}/generate"),
        ("TRACE", "/v2"),
    ],
)
def test_everything_else_is_refused_in_tritons_own_shape(bare_envoy: Envoy, method, path):
    answer = asked(bare_envoy, method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/json")
    assert method == "HEAD" or answer.json() == REFUSED


@pytest.mark.parametrize("path", ["/v2/models/..%2flogging", "/v2/models/x%2Fgenerate", "/v2%5clogging"])
def test_a_path_with_two_readings_is_refused(bare_envoy: Envoy, path):
    answer = asked(bare_envoy, "GET", path)
    assert (answer.status_code, answer.json()) == (400, gateway_error(400))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 403),
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n", 404),
        (b"GET /v2 HTTP/1.1\r\nhost: x\r\nx_headgate_tenant: a\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\nhost: x\r\n" + b"x-many: a\r\n" * 70 + b"\r\n", 431),
        (b"GET /v2 HTTP/1.0\r\n\r\n", 426),
        (b"no request at all\r\n\r\n", 400),
        (
            (
                b"POST /v2/models/m/generate HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
                b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v2/logging HTTP/1.1\r\nhost: x\r\n\r\n"
            ),
            400,
        ),
    ],
    ids=["upgrade", "connect", "underscore", "long", "many", "http/1.0", "garbage", "two lengths"],
)
def test_what_could_be_misread_is_refused(bare_envoy: Envoy, request_bytes, status):
    answer = sent(bare_envoy, request_bytes)
    assert (answer.status_code, answer.json()) == (status, gateway_error(status))


def test_both_versions_of_http_are_spoken(bare_envoy: Envoy):
    with httpx.Client(http1=False, http2=True) as client:
        answer = client.get(f"{bare_envoy.url}/v2/health/ready")
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)


def test_a_client_cannot_choose_its_request_id(bare_envoy: Envoy):
    answer = asked(bare_envoy, "GET", "/v2/health/ready", {"x-request-id": "mine"})
    assert len(answer.headers["x-request-id"]) == 36


def test_triton_gone_is_said_in_its_own_shape(tmp_path):
    with running(Envoy(tmp_path, triton_port=free_port(), extproc_port=9, edit=without_filter)) as envoy:
        answer = httpx.get(f"{envoy.url}/v2/health/ready")
    assert (answer.status_code, answer.json()) == (503, gateway_error(503))


@pytest.fixture(scope="module")
def orphaned_envoy(tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn):
    """Envoy whose filter is not there."""
    state = tmp_path_factory.mktemp("orphaned-envoy")
    with running(Envoy(state, triton_port=stand_in.port, extproc_port=free_port())) as envoy:
        yield envoy


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/health/ready"),
        ("GET", f"{MODEL_PATH}/config"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
    ],
)
def test_without_the_filter_nothing_is_answered_but_an_error(orphaned_envoy: Envoy, method, path):
    answer = asked(orphaned_envoy, method, path)
    assert (answer.status_code, answer.json()) == (500, gateway_error(500))


@pytest.mark.parametrize("verb", ["generate", "generate_stream"])
def test_without_the_filter_no_prompt_reaches_the_model(orphaned_envoy: Envoy, stand_in: StandIn, verb):
    prompt = stand_in.says("leaked")
    body = {"text_input": prompt, "stream": verb == "generate_stream"}
    answer = httpx.post(f"{orphaned_envoy.url}{MODEL_PATH}/{verb}", json=body, timeout=30)
    assert (answer.status_code, answer.json()) == (500, gateway_error(500))
    assert stand_in.journal("received", prompt) == []


def test_the_access_log_holds_nothing_that_a_client_wrote(tmp_path, stand_in: StandIn):
    mark = "zq7marker"
    envoy = Envoy(tmp_path, triton_port=stand_in.port, extproc_port=9, edit=without_filter)
    with running(envoy):
        asked(envoy, "GET", f"/v2/{mark}?q={mark}", {"x-secret": mark, "user-agent": mark})
        body = {"text_input": mark, "exclude_input_in_output": True}
        httpx.post(f"{envoy.url}{MODEL_PATH}/generate", json=body, timeout=30)
        httpx.get(f"{envoy.url}/v2/models/{mark}", timeout=30)
    # Envoy writes what it still holds when it ends.
    log = envoy.access_log.read_text()
    assert len(log.splitlines()) == 3
    assert mark not in log
