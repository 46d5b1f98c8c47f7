"""OpenTelemetry traces: one span per exchange, made when it ends, from its record and its effects.

Needs ``headgate[otel]`` and is imported only where ``otel.traces_wanted``. Nothing that the caller wrote
enters a span, save the ids of its ``traceparent``: ``tracestate`` and ``baggage`` are free text and end
here.

Envoy's own tracing says in the gRPC call's metadata, where no client can write, which span an exchange
belongs to: it is the parent. A request's ``traceparent`` is linked to and no more: continued, it would let
clients choose whether they are traced, and put spans into traces of others.
"""

from __future__ import annotations

import re
import threading
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

from extproc.core import events as ev
from extproc.domain.effects import Renew, Settle
from extproc.domain.errors import FailureKind
from extproc.domain.limits import LIMITS, Limits
from extproc.edge import conventions as names
from extproc.edge.telemetry import action_name, effect_name, error_type, streamed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

    from extproc.core.commands import RunEffect
    from extproc.domain.effects import Answer
    from extproc.domain.verdict import Record

_NS_PER_US: Final = 1_000
_US_PER_S: Final = 1_000_000
_SERVICE: Final = "headgate"
# W3C Trace Context, version 00; a later version begins with the same fields.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)

_Attributes = dict[str, str | bool | int | float]


def caller_of(traceparent: str | None) -> SpanContext | None:
    """The span that a ``traceparent`` names; None where it is missing or malformed."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if found is None:
        return None
    return SpanContext(
        trace_id=int(found["trace"], 16),
        span_id=int(found["span"], 16),
        is_remote=True,
        # Of the flags only "sampled" has a meaning for us.
        trace_flags=TraceFlags(int(found["flags"], 16) & TraceFlags.SAMPLED),
    )


class Tracing:
    """Makes spans. The provider says where they go, and how many.

    ``joins_callers`` says that a request's ``traceparent`` never comes from a client: spans are then part
    of the trace that it names, and sampled with it.
    """

    def __init__(
        self, provider: TracerProvider, *, joins_callers: bool = False, limits: Limits = LIMITS
    ) -> None:
        self._provider = provider
        self._joins_callers = joins_callers
        self._limits = limits
        self._tracer = provider.get_tracer(_SERVICE, version("headgate"), schema_url=names.SCHEMA_URL)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, joins_callers: bool = False) -> Tracing:
        """Tracing as the standard OTEL_* variables say; the service is called headgate unless they name it.

        The exporter, its batches, the sampler and the resource read theirs by themselves.
        """
        # Names of processes and hosts are the operator's to add, with OTEL_RESOURCE_ATTRIBUTES.
        named = environment.get("OTEL_SERVICE_NAME") or _SERVICE
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: named}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider, joins_callers=joins_callers)

    def stream(self, traceparent: str | None = None) -> StreamTrace:
        """The trace of a stream that begins now; ``traceparent`` is Envoy's own, where it traces."""
        parent = caller_of(traceparent)
        return StreamTrace(self._tracer, self._limits, parent=parent, joins_callers=self._joins_callers)

    def close(self) -> None:
        """Send what is left, and wait no longer than ``trace_close_ms``. Not for the event loop."""
        # The SDK's own bound does not count its retries, so that a dead collector would hold the process.
        closing = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(self._limits.trace_close_ms / 1000)


class _Effect:
    """An effect that ended: when, on the monotonic clock, and how."""

    __slots__ = ("ended_us", "name", "outcome", "settles", "started_us")

    def __init__(
        self, command: RunEffect, outcome: Answer | FailureKind, started_us: int, ended_us: int
    ) -> None:
        self.name = effect_name(command.effect)
        self.settles = isinstance(command.effect, Settle)
        self.outcome = outcome.value if isinstance(outcome, FailureKind) else ""
        self.started_us = started_us
        self.ended_us = ended_us


class StreamTrace:
    """What one stream's spans are made of. Used from the event loop."""

    __slots__ = (
        "_at_us",
        "_caller",
        "_effects",
        "_joins_callers",
        "_limits",
        "_offset_us",
        "_parent",
        "_tracer",
    )

    def __init__(
        self, tracer: Tracer, limits: Limits, *, parent: SpanContext | None, joins_callers: bool
    ) -> None:
        self._tracer = tracer
        self._limits = limits
        self._parent = parent
        self._joins_callers = joins_callers
        self._caller: SpanContext | None = None
        self._at_us = 0
        self._effects: dict[int, list[_Effect]] = {}
        # From the monotonic clock to the wall's.
        self._offset_us = (time.time_ns() - time.monotonic_ns()) // _NS_PER_US

    def event(self, event: ev.Event) -> None:
        """Look at an event before the core does."""
        self._at_us = event.at_us
        if isinstance(event, ev.RequestHeaders):
            self._caller = caller_of(event.head.header("traceparent"))

    def effect(
        self, command: RunEffect, outcome: Answer | FailureKind, *, started_us: int, ended_us: int
    ) -> None:
        """Note an effect that ended. Renewals are many and say nothing."""
        effects = self._effects.setdefault(command.exchange, [])
        if len(self._effects) > self._limits.exchanges_open_max:
            # What ended after its exchange's record, whose number does not come again.
            del self._effects[next(iter(self._effects))]
        if not isinstance(command.effect, Renew) and len(effects) < self._limits.trace_effects_max:
            effects.append(_Effect(command, outcome, started_us, ended_us))

    def record(self, record: Record) -> None:
        """Make the spans of an exchange that ended with the last event."""
        at_us = self._at_us
        effects = self._effects.pop(record.exchange, [])
        started_us = at_us - record.total_us
        parent = self._parent or (self._caller if self._joins_callers else None)
        linked = None if self._caller is parent else self._caller
        span = self._tracer.start_span(
            _span_name(record),
            context=_within(parent),
            links=[] if linked is None else [Link(linked)],
            kind=SpanKind.CLIENT,
            attributes=_attributes(record),
            start_time=self._ns(started_us),
        )
        if span.is_recording():
            inside = trace.set_span_in_context(span)
            judged_us = started_us + record.judge_us
            # What models were asked about the answer, and its settlement.
            after = [one for one in effects if one.settles or one.started_us > judged_us]
            self._judge_span(record, [one for one in effects if one not in after], inside, started_us)
            self._upstream_span(record, effects, inside, started_us, at_us)
            for effect in after:
                self._effect_span(effect, inside)
            if failure := error_type(record):
                span.set_status(Status(StatusCode.ERROR, failure))
        span.end(self._ns(at_us))

    def _judge_span(self, record: Record, effects: list[_Effect], inside: Context, started_us: int) -> None:
        """The request's way through the guards; each verdict is an event at its end."""
        judged_us = started_us + record.judge_us
        span = self._tracer.start_span("headgate.judge", context=inside, start_time=self._ns(started_us))
        within = trace.set_span_in_context(span)
        for effect in effects:
            self._effect_span(effect, within)
        for verdict in record.verdicts:
            attributes: _Attributes = {
                "headgate.guard": verdict.guard,
                "headgate.mode": verdict.mode.value,
                "headgate.action": action_name(verdict.action),
                "headgate.reason": verdict.reason.value,
                "headgate.owasp": verdict.owasp,
                "headgate.degraded": verdict.degraded,
            }
            if verdict.score is not None:
                attributes["headgate.score"] = verdict.score
            if verdict.threshold is not None:
                attributes["headgate.threshold"] = verdict.threshold
            span.add_event("headgate.verdict", attributes, self._ns(judged_us))
        span.end(self._ns(judged_us))

    def _upstream_span(
        self, record: Record, effects: list[_Effect], inside: Context, started_us: int, at_us: int
    ) -> None:
        """From the request's release to the answer's end, which is where its tokens are settled."""
        if not record.upstream_status:
            return
        released_us = started_us + record.judge_us
        settled = [effect.started_us for effect in effects if effect.settles]
        span = self._tracer.start_span(
            "headgate.upstream",
            context=inside,
            start_time=self._ns(released_us),
            attributes={"http.response.status_code": record.upstream_status},
        )
        if record.upstream_first_us:
            span.add_event("headgate.first_frame", None, self._ns(released_us + record.upstream_first_us))
        for one in record.entities:
            found: _Attributes = {
                "headgate.lane": one.lane.value,
                "headgate.guard": one.guard,
                "headgate.mode": one.mode.value,
                "headgate.entity_type": one.entity_type,
                "headgate.count": one.count,
            }
            span.add_event("headgate.findings", found, self._ns(at_us))
        span.end(self._ns(max(released_us, min([at_us, *settled]))))

    def _effect_span(self, effect: _Effect, inside: Context) -> None:
        span: Span = self._tracer.start_span(
            f"headgate.{effect.name}", context=inside, start_time=self._ns(effect.started_us)
        )
        if effect.outcome:
            span.set_attribute(names.ERROR_TYPE, effect.outcome)
            span.set_status(Status(StatusCode.ERROR, effect.outcome))
        span.end(self._ns(effect.ended_us))

    def _ns(self, at_us: int) -> int:
        return (at_us + self._offset_us) * _NS_PER_US


def _within(parent: SpanContext | None) -> Context:
    """The context of a span's child; without one, of a new trace."""
    return Context() if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), Context())


def _span_name(record: Record) -> str:
    return f"{record.operation or 'unread'} {record.model}".rstrip()


def _attributes(record: Record) -> _Attributes:
    attributes: _Attributes = {
        names.OPERATION_NAME: record.operation,
        names.PROVIDER_NAME: names.PROVIDER,
        names.REQUEST_MODEL: record.model,
        names.ERROR_TYPE: error_type(record),
        "headgate.action": action_name(record.action),
        "headgate.reason": record.reason.value,
        "headgate.guard": record.guard,
        "headgate.tenant": record.tenant,
        "headgate.key_id": record.key_id,
        "headgate.codec": record.codec,
        "headgate.request_id": record.request_id,
        "headgate.exchange": record.exchange,
        "headgate.policy_digest": record.policy_digest,
        "headgate.route": record.route,
        "headgate.unscanned": ",".join(record.unscanned),
        "headgate.degraded": record.degraded,
        "headgate.answer_held_chars_max": record.held_chars_max,
        "http.response.status_code": record.status,
    }
    if record.usage_reported:
        attributes[names.USAGE_INPUT_TOKENS] = record.input_tokens
        attributes[names.USAGE_OUTPUT_TOKENS] = record.output_tokens
    if record.cost_usd is not None:
        attributes["headgate.cost_usd"] = record.cost_usd
    if streamed(record):
        attributes[names.TIME_TO_FIRST_CHUNK] = record.upstream_first_us / _US_PER_S
    # A name that is empty says nothing.
    return {name: value for name, value in attributes.items() if value != ""}
