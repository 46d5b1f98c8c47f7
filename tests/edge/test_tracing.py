"""Spans of records and effects, in the SDK's own memory."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from records import ENTITIES, RECORD, VERDICT, records

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.effects import Classify, FindSpans, Renew, Renewed, Reserve, Settle, Settled
from extproc.domain.errors import FailureKind
from extproc.domain.head import RequestHead
from extproc.domain.identity import Reservation, TokenLimit, Window
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Action, Mode, Reason
from extproc.edge.conventions import SCHEMA_URL
from extproc.edge.tracing import StreamTrace, Tracing, caller_of

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
RESERVATION = Reservation(
    reservation_id="r",
    tenant="team-a",
    tokens=5,
    limits=(TokenLimit(window=Window.MINUTE, tokens=9),),
    lease_ms=1,
)
CLASSIFY = Classify(head="injection", texts=("canary",))
RESERVE = Reserve(reservation=RESERVATION)
SETTLE = Settle(reservation=RESERVATION, tokens=4)
AT_US = 10_000_000


class Bench:
    """One stream's trace and the spans that it made."""

    def __init__(
        self,
        sampler: Sampler | None = None,
        *,
        joins_callers: bool = False,
        traceparent: str | None = None,
    ) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider, joins_callers=joins_callers)
        self.stream: StreamTrace = self.tracing.stream(traceparent)

    def head(self, **headers: str) -> None:
        named = {name: (value,) for name, value in headers.items()}
        head = RequestHead(method="POST", path="/canary", headers=named)
        self.stream.event(ev.RequestHeaders(1, head, end_stream=False))

    def effect(self, effect, outcome, started_us: int, ended_us: int, *, exchange: int = 0) -> None:
        command = cmd.RunEffect(1, effect, 100, exchange)
        self.stream.effect(command, outcome, started_us=started_us, ended_us=ended_us)

    def record(self, record=RECORD) -> None:
        self.stream.event(ev.PeerClosed(AT_US))
        self.stream.record(record)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def since_start_us(bench: Bench, at_ns: int | None) -> int:
    start = bench.spans["text_completion scripted"].start_time
    assert at_ns is not None
    assert start is not None
    return (at_ns - start) // 1000


def test_an_exchange_is_one_span_with_the_conventions_names(bench):
    bench.record()
    span = bench.spans["text_completion scripted"]
    assert span.kind is SpanKind.CLIENT
    assert span.parent is None
    assert span.instrumentation_scope.schema_url == SCHEMA_URL
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "nvidia.triton",
        "gen_ai.request.model": "scripted",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.response.time_to_first_chunk": 0.02,
        "http.response.status_code": 200,
        "headgate.action": "redact",
        "headgate.reason": "pii_found",
        "headgate.guard": "pii",
        "headgate.tenant": "team-a",
        "headgate.key_id": "key-1",
        "headgate.codec": "triton_generate",
        "headgate.request_id": RECORD.request_id,
        "headgate.exchange": 0,
        "headgate.policy_digest": RECORD.policy_digest,
        "headgate.degraded": False,
        "headgate.route": "generate",
        "headgate.unscanned": "audio,image",
        "headgate.cost_usd": 0.000125,
        "headgate.answer_held_chars_max": 19,
    }
    assert since_start_us(bench, span.end_time) == RECORD.total_us
    assert span.status.status_code is StatusCode.UNSET


def test_the_stages_are_spans_within_it(bench):
    start_us = AT_US - RECORD.total_us
    bench.effect(RESERVE, Settled(charged=1, refunded=0), start_us + 100, start_us + 400)
    bench.effect(CLASSIFY, FailureKind.DEADLINE, start_us + 500, start_us + 1_400)
    bench.effect(SETTLE, Settled(charged=1, refunded=0), AT_US - 300, AT_US - 10)
    bench.record()
    spans = bench.spans
    exchange, judge = spans["text_completion scripted"], spans["headgate.judge"]
    assert {name: span.parent.span_id for name, span in spans.items() if span.parent} == {
        "headgate.judge": exchange.context.span_id,
        "headgate.reserve": judge.context.span_id,
        "headgate.classify": judge.context.span_id,
        "headgate.upstream": exchange.context.span_id,
        "headgate.settle": exchange.context.span_id,
    }
    times = {
        name: (since_start_us(bench, span.start_time), since_start_us(bench, span.end_time))
        for name, span in spans.items()
        if span.parent
    }
    assert times == {
        "headgate.judge": (0, 1_500),
        "headgate.reserve": (100, 400),
        "headgate.classify": (500, 1_400),
        "headgate.upstream": (1_500, RECORD.total_us - 300),
        "headgate.settle": (RECORD.total_us - 300, RECORD.total_us - 10),
    }
    assert spans["headgate.classify"].attributes == {"error.type": "deadline"}
    assert spans["headgate.classify"].status.status_code is StatusCode.ERROR
    (first,) = [one for one in spans["headgate.upstream"].events if one.name == "headgate.first_frame"]
    assert since_start_us(bench, first.timestamp) == 21_500


def test_verdicts_and_findings_are_events(bench):
    bench.record()
    (verdict,) = bench.spans["headgate.judge"].events
    assert (verdict.name, dict(verdict.attributes)) == (
        "headgate.verdict",
        {
            "headgate.guard": "injection",
            "headgate.owasp": "LLM01",
            "headgate.mode": "shadow",
            "headgate.action": "block",
            "headgate.reason": "injection_detected",
            "headgate.score": 0.75,
            "headgate.threshold": 0.5,
            "headgate.degraded": False,
        },
    )
    findings = [one for one in bench.spans["headgate.upstream"].events if one.name == "headgate.findings"]
    assert [dict(one.attributes) for one in findings] == [
        {
            "headgate.lane": "response",
            "headgate.guard": "pii",
            "headgate.mode": Mode.ENFORCE,
            "headgate.entity_type": "EMAIL_ADDRESS",
            "headgate.count": 3,
        }
    ]


def test_a_refusal_is_an_error_without_an_upstream(bench):
    refused = replace(
        RECORD,
        action=Action.BLOCK,
        reason=Reason.API_KEY_UNKNOWN,
        operation="",
        model="",
        upstream_status=0,
    )
    bench.record(refused)
    assert set(bench.spans) == {"unread", "headgate.judge"}
    span = bench.spans["unread"]
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "api_key_unknown")


def test_each_exchange_has_its_own_effects(bench):
    bench.effect(RESERVE, Settled(charged=1, refunded=0), 1, 2, exchange=0)
    bench.effect(CLASSIFY, FailureKind.DEADLINE, 3, 4, exchange=1)
    bench.record(replace(RECORD, exchange=1))
    assert "headgate.classify" in bench.spans
    assert "headgate.reserve" not in bench.spans


def test_what_models_are_asked_of_the_answer_is_no_part_of_judging_the_request(bench):
    start_us = AT_US - RECORD.total_us
    bench.effect(CLASSIFY, FailureKind.DEADLINE, start_us + 500, start_us + 1_400)
    bench.effect(
        FindSpans(model="names", texts=("x",)), FailureKind.DEADLINE, start_us + 1_600, AT_US - 400
    )
    bench.record()
    spans = bench.spans
    parents = {name: span.parent.span_id for name, span in spans.items() if span.parent}
    assert parents["headgate.classify"] == spans["headgate.judge"].context.span_id
    assert parents["headgate.find_spans"] == spans["text_completion scripted"].context.span_id


def test_what_ends_after_its_record_is_not_kept(bench):
    for exchange in range(LIMITS.exchanges_open_max * 3):
        bench.effect(RESERVE, Settled(charged=1, refunded=0), 1, 2, exchange=exchange)
    assert len(bench.stream._effects) == LIMITS.exchanges_open_max


def test_effects_are_bounded_and_renewals_left_out(bench):
    for _ in range(LIMITS.trace_effects_max + 5):
        bench.effect(RESERVE, Settled(charged=1, refunded=0), 1, 2)
        bench.effect(Renew(reservation=RESERVATION), Renewed(held=True), 1, 2)
    bench.record()
    made = [span.name for span in bench.exporter.get_finished_spans()]
    assert made.count("headgate.reserve") == LIMITS.trace_effects_max
    assert "headgate.renew" not in made


# --- the caller's trace ----------------------------------------------------------------------


def test_a_client_s_trace_is_linked_to_and_not_joined(bench):
    bench.head(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01", tracestate="canary=1", baggage="canary=2")
    bench.record()
    span = bench.spans["text_completion scripted"]
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" != TRACE_ID
    (link,) = span.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (TRACE_ID, SPAN_ID)
    assert not link.context.trace_state
    assert {one.context.trace_id for one in bench.spans.values()} == {span.context.trace_id}
    assert "canary" not in written(bench)


@pytest.mark.parametrize("flags", ["00", "01"])
@pytest.mark.parametrize(("sampler", "exported"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)])
def test_a_client_does_not_choose_whether_it_is_traced(sampler, exported, flags):
    bench = Bench(ParentBased(sampler))
    bench.head(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    bench.record()
    assert bool(bench.spans) is exported


@pytest.mark.parametrize("joins_callers", [True, False])
def test_envoy_s_own_trace_goes_on_whatever_a_client_sends(joins_callers):
    envoys = f"00-{'a' * 32}-{'b' * 16}-01"
    bench = Bench(traceparent=envoys, joins_callers=joins_callers)
    bench.head(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")
    bench.record()
    span = bench.spans["text_completion scripted"]
    assert f"{span.context.trace_id:032x}-{span.parent.span_id:016x}" == envoys[3:-3]
    (link,) = span.links
    assert f"{link.context.trace_id:032x}" == TRACE_ID


def test_what_envoy_leaves_out_is_left_out():
    bench = Bench(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")
    bench.record()
    assert bench.spans == {}


def test_the_trace_of_a_trusted_caller_goes_on():
    bench = Bench(joins_callers=True)
    bench.head(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01", tracestate="canary=1", baggage="canary=2")
    bench.record()
    span = bench.spans["text_completion scripted"]
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert span.links == ()
    assert not span.context.trace_state
    assert not span.parent.trace_state


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01\n",
        f"00-{TRACE_ID}-{SPAN_ID}-01-canary",
        f"00-{TRACE_ID}-{SPAN_ID}",
        "canary",
        "",
    ],
)
@pytest.mark.parametrize("joins_callers", [True, False])
def test_what_is_no_traceparent_begins_a_new_trace(joins_callers, traceparent):
    bench = Bench(joins_callers=joins_callers)
    bench.head(traceparent=traceparent)
    bench.record()
    span = bench.spans["text_completion scripted"]
    assert (span.parent, span.links) == (None, ())
    assert f"{span.context.trace_id:032x}" != TRACE_ID


_HEX = st.text("0123456789abcdef", min_size=1, max_size=33)


@given(
    st.one_of(
        st.text(max_size=60),
        st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
        st.builds("{}-{}-{}-{}".format, st.sampled_from(["00", "01", "ff"]), _HEX, _HEX, _HEX),
    )
)
def test_a_traceparent_is_read_as_the_sdk_reads_it(traceparent):
    mine = caller_of(traceparent)
    theirs = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    if mine is not None:
        (reference,) = theirs.values()
        reference = reference.get_span_context()
        assert (mine.trace_id, mine.span_id) == (reference.trace_id, reference.span_id)
        assert mine.trace_flags.sampled == reference.trace_flags.sampled


def test_a_trusted_caller_may_have_itself_left_out():
    bench = Bench(ParentBased(ALWAYS_ON), joins_callers=True)
    bench.head(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")
    bench.record()
    assert bench.spans == {}


# --- no text ---------------------------------------------------------------------------------


def written(bench: Bench) -> str:
    return json.dumps([json.loads(span.to_json()) for span in bench.exporter.get_finished_spans()])


def test_a_canary_in_every_header_and_effect_is_nowhere(bench):
    bench.head(
        traceparent="00-canary",
        tracestate="canary=1",
        baggage="canary=1",
        authorization="Bearer canary",
        **{"x-canary": "canary"},
    )
    bench.effect(CLASSIFY, FailureKind.DEADLINE, 1, 2)
    bench.record()
    assert "canary" not in written(bench)


def test_only_names_and_counts_of_a_record_are_in_its_spans():
    """Places and detectors stay in the verdict log; everything else a record names is a name."""
    strings = {one.name for one in fields(RECORD) if type(getattr(RECORD, one.name)) is str}
    bench = Bench()
    bench.record(
        replace(
            RECORD,
            verdicts=(replace(VERDICT, detector="canary"),),
            entities=(replace(ENTITIES, place="canary", detector="canary"),),
            upstream_host="canary",
        )
    )
    assert "canary" not in written(bench)
    assert strings == {
        "request_id", "policy_digest", "tenant", "key_id", "codec", "operation", "model", "guard",
        "upstream_host", "route",
    }  # fmt: skip


@given(records())
def test_an_arbitrary_record_never_raises(record):
    bench = Bench()
    bench.record(replace(record, total_us=max(record.total_us, 0) % 10**12))
    assert len(bench.exporter.get_finished_spans()) >= 2
