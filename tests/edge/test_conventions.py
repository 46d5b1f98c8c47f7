"""Our names against the package that the conventions' own repository generates."""

from __future__ import annotations

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics as metrics
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.schemas import Schemas

from extproc.domain.segment import Operation
from extproc.edge import conventions as names


def test_the_names_are_the_conventions():
    ours = [
        names.OPERATION_NAME,
        names.PROVIDER_NAME,
        names.REQUEST_MODEL,
        names.TOKEN_TYPE,
        names.USAGE_INPUT_TOKENS,
        names.USAGE_OUTPUT_TOKENS,
        names.TIME_TO_FIRST_CHUNK,
        names.METRIC_TOKEN_USAGE,
        names.METRIC_OPERATION_DURATION,
        names.METRIC_TIME_TO_FIRST_CHUNK,
        names.ERROR_TYPE,
    ]
    assert ours == [
        attributes.GEN_AI_OPERATION_NAME,
        attributes.GEN_AI_PROVIDER_NAME,
        attributes.GEN_AI_REQUEST_MODEL,
        attributes.GEN_AI_TOKEN_TYPE,
        attributes.GEN_AI_USAGE_INPUT_TOKENS,
        attributes.GEN_AI_USAGE_OUTPUT_TOKENS,
        attributes.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
        metrics.GEN_AI_CLIENT_TOKEN_USAGE,
        metrics.GEN_AI_CLIENT_OPERATION_DURATION,
        metrics.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK,
        ERROR_TYPE,
    ]


def test_the_pinned_version_is_one():
    assert names.SCHEMA_URL in {schema.value for schema in Schemas}


def test_operations_that_the_conventions_know_have_their_names():
    known = {one.value for one in attributes.GenAiOperationNameValues}
    assert {one.value for one in Operation} - known == {Operation.READ_ONLY.value, Operation.ADMIN.value}


def test_prometheus_spells_names_in_its_own_way():
    assert names.prometheus_name("gen_ai.a.b") == "gen_ai_a_b"
    assert names.prometheus_name("gen_ai.a.b", "seconds") == "gen_ai_a_b_seconds"


def test_buckets_rise():
    for buckets in (names.TOKEN_BUCKETS, names.DURATION_BUCKETS, names.FIRST_CHUNK_BUCKETS):
        assert list(buckets) == sorted(set(buckets))
