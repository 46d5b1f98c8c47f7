from __future__ import annotations

import sys

import pytest

from extproc.edge.otel import TracesUnavailable, open_tracing, traces_wanted

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", **ENDPOINT}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", **ENDPOINT}, False),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **ENDPOINT}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_only_the_standard_variables_switch_traces_on(environment, wanted):
    assert traces_wanted(environment) is wanted


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **ENDPOINT}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", **ENDPOINT}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
    ],
)
def test_what_cannot_be_had_is_said_at_the_start(environment, named):
    with pytest.raises(TracesUnavailable, match=named):
        traces_wanted(environment)


def test_nothing_is_imported_or_opened_where_nothing_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "extproc.edge.tracing", None)
    assert open_tracing({}) is None


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "extproc.edge.tracing", None)
    with pytest.raises(TracesUnavailable, match=r"headgate\[otel\]"):
        open_tracing(ENDPOINT)


def test_a_tracing_that_is_opened_can_be_closed():
    tracing = open_tracing(ENDPOINT)
    assert tracing is not None
    tracing.close()
