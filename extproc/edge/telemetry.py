"""Metrics for Prometheus: counted from a record when its exchange ends, never while an answer streams.

No label can hold text of a request or an answer: label values are enum names, names of guards, codecs and
entity types, and the policy's own names of tenants and models. What is none of these, or more of them than
``metric_series_max``, is counted under ``other``.
"""

from __future__ import annotations

import math
import re
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from extproc.domain.effects import Classify, FindSpans, Renew, Reserve, Scores, Settle
from extproc.domain.errors import FailureKind
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.verdict import Action, Reason
from extproc.edge import conventions as names
from extproc.edge.conventions import prometheus_name
from extproc.edge.readings import ReadingsCollector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.domain.effects import Answer, Effect
    from extproc.domain.verdict import Record
    from extproc.edge.readings import Readings

_Metric = TypeVar("_Metric", Counter, Histogram)

OTHER: Final = "other"
_US_PER_S: Final = 1_000_000
# A name of ours or of the policy's; empty where there is none, as for a caller whom nobody knows.
_LABEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}|")

_MODEL_LABELS: Final = (names.OPERATION_NAME, names.PROVIDER_NAME, names.REQUEST_MODEL)
# What the filter itself takes: below a millisecond without a classifier, up to its deadline with one.
_JUDGE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_EFFECT_BUCKETS: Final = (0.0001, 0.00025, *_JUDGE_BUCKETS)
_SCORE_BUCKETS: Final = (0.01, 0.05, *(tenth / 10 for tenth in range(1, 10)), 0.95, 0.99, 1.0)
_CHAR_BUCKETS: Final = tuple(4.0**power for power in range(2, 12))
_HELD_BUCKETS: Final = (0.0, *(2.0**power for power in range(2, 17, 2)))
_WINDOW_BUCKETS: Final = tuple(2.0**power for power in range(8))


def action_name(action: Action) -> str:
    """An action as it stands in labels and attributes."""
    return action.name.lower()


def error_type(record: Record) -> str:
    """What class of error an exchange ended with; empty where it did not."""
    failed = record.action is Action.BLOCK or record.reason is Reason.UPSTREAM_ERROR
    return record.reason.value if failed else ""


def streamed(record: Record) -> bool:
    """Whether the answer came in pieces: an answer of one frame has no first one worth timing."""
    return record.answer_frames > 1


class _Series(Generic[_Metric]):
    """A metric and its series by label values. Made once each, which is much of what counting costs."""

    __slots__ = ("_folded", "_labels_count", "_limits", "_metric", "_series")

    def __init__(self, metric: _Metric, labels_count: int, *, folded: Counter, limits: Limits) -> None:
        self._metric: _Metric = metric
        self._labels_count = labels_count
        self._folded = folded
        self._limits = limits
        self._series: dict[tuple[str, ...], _Metric] = {}

    def of(self, *labels: str) -> _Metric:
        """The series with these label values."""
        series = self._series.get(labels)
        return series if series is not None else self._new(labels)

    def _new(self, labels: tuple[str, ...]) -> _Metric:
        if not labels:
            return self._metric
        full = len(self._series) >= self._limits.metric_series_max
        if full or not all(_LABEL.fullmatch(label) for label in labels):
            self._folded.inc()
            return self._metric.labels(*(OTHER,) * self._labels_count)
        series = self._series[labels] = self._metric.labels(*labels)
        return series


class Telemetry:
    """The metrics of one process. ``record`` and ``effect`` are called from one thread."""

    def __init__(self, *, limits: Limits = LIMITS) -> None:
        # A second series per counter that says when it began; nobody here asks.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client
        self._limits = limits
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._folded = Counter(
            "headgate_series_folded",
            "Counts whose labels were none that are known, or one too many.",
            registry=self._registry,
        )
        self._declare_outcomes()
        self._declare_amounts()

    def watch(self, readings: Readings) -> None:
        """Show the state of the process's parts, read anew at each scrape. Once."""
        release = version("headgate")
        self._registry.register(ReadingsCollector(readings, version=release, python=python_version()))

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics, and their content type, in the format that an Accept header asks for."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    # --- what is counted --------------------------------------------------------------------

    def record(self, record: Record) -> None:
        """Count an exchange that ended."""
        self._count_decision(record)
        self._count_verdicts(record)
        self._count_budget(record)
        self._count_cost(record)
        self._measure_sizes(record)
        if record.upstream_status:
            self._measure_operation(record)

    def effect(self, effect: Effect, outcome: Answer | FailureKind, duration_us: int) -> None:
        """Count an effect that ended."""
        name = effect_name(effect)
        self._effect_duration.of(name).observe(duration_us / _US_PER_S)
        if isinstance(outcome, FailureKind):
            self._effect_failures.of(name, outcome.value).inc()
        elif isinstance(outcome, Scores):
            self._windows.of(outcome.head).observe(sum(score.windows for score in outcome.scores))

    def _count_decision(self, record: Record) -> None:
        action, reason = action_name(record.action), record.reason.value
        self._exchanges.of(record.codec, record.operation, record.tenant, action).inc()
        self._decisions.of(action, reason, record.guard).inc()
        if record.action is Action.BLOCK:
            self._refusals.of(reason, record.tenant).inc()

    def _count_verdicts(self, record: Record) -> None:
        guards_degraded = False
        for verdict in record.verdicts:
            action = action_name(verdict.action)
            self._verdicts.of(verdict.guard, verdict.mode.value, action, verdict.reason.value).inc()
            # Written so that a score that is no number is left out: a sum never recovers from one.
            if verdict.score is not None and 0 <= verdict.score <= 1:
                self._scores.of(verdict.guard, verdict.mode.value).observe(verdict.score)
            if verdict.degraded:
                guards_degraded = True
                self._degraded.of(verdict.guard, verdict.mode.value, action).inc()
        if record.degraded and not guards_degraded:
            # No guard went without its answer: it is the books that are open.
            self._degraded.of("", "", action_name(record.action)).inc()
        for one in record.entities:
            findings = self._findings.of(one.lane.value, one.guard, one.mode.value, one.entity_type)
            findings.inc(max(one.count, 0))

    def _count_budget(self, record: Record) -> None:
        for flow, tokens in (
            ("reserved", record.tokens_reserved),
            ("settled", record.tokens_settled),
            ("refunded", record.tokens_refunded),
        ):
            if tokens is not None:
                self._tokens.of(record.tenant, flow).inc(max(tokens, 0))
        if record.tokens_reserved is not None and record.tokens_settled is None:
            self._unsettled.of(record.tenant).inc()

    def _count_cost(self, record: Record) -> None:
        cost_usd = record.cost_usd
        # Written so that a cost that is no number is left out: a sum never recovers from one.
        if cost_usd is not None and 0 <= cost_usd < math.inf:
            self._cost.of(record.tenant, record.model).inc(cost_usd)
        for kind in record.unscanned:
            self._unscanned.of(record.tenant, kind.value).inc()

    def _measure_sizes(self, record: Record) -> None:
        if record.segments_judged:
            self._request_chars.of(record.operation).observe(record.chars_judged)
        if record.judge_us:
            self._judge.of(record.codec).observe(record.judge_us / _US_PER_S)
        if record.answer_frames:
            self._answer_chars.of(record.operation).observe(record.answer_chars_judged)
            self._held_chars.of().observe(record.held_chars_max)
        if record.answer_chars_unread > 0:
            self._unread_chars.of(record.tenant).inc(record.answer_chars_unread)

    def _measure_operation(self, record: Record) -> None:
        labels = (record.operation, names.PROVIDER, record.model)
        self._duration.of(*labels, error_type(record)).observe(record.total_us / _US_PER_S)
        if streamed(record):
            self._first_chunk.of(*labels).observe(record.upstream_first_us / _US_PER_S)
        if record.usage_reported:
            self._usage.of(*labels, names.INPUT).observe(record.input_tokens)
            self._usage.of(*labels, names.OUTPUT).observe(record.output_tokens)

    # --- declarations -----------------------------------------------------------------------

    def _declare_outcomes(self) -> None:
        self._exchanges = self._counter(
            "headgate_exchanges", "Exchanges that ended.", "codec", "operation", "tenant", "action"
        )
        self._decisions = self._counter(
            "headgate_decisions",
            "Decisions on exchanges, by the guard that took them.",
            "action",
            "reason",
            "guard",
        )
        self._refusals = self._counter("headgate_refusals", "Exchanges refused.", "reason", "tenant")
        self._verdicts = self._counter(
            "headgate_verdicts", "Verdicts of guards on requests.", "guard", "mode", "action", "reason"
        )
        self._degraded = self._counter(
            "headgate_degraded_decisions",
            "Verdicts given without the answer that the guard had asked for; without a guard, open books.",
            "guard", "mode", "action",
        )  # fmt: skip
        self._findings = self._counter(
            "headgate_findings", "What rules and models found.", "lane", "guard", "mode", "entity_type"
        )
        self._tokens = self._counter(
            "headgate_budget_tokens", "Tokens reserved, settled and refunded.", "tenant", "flow"
        )
        self._unsettled = self._counter(
            "headgate_unsettled_reservations", "Reservations left to their lease to be charged.", "tenant"
        )
        self._cost = self._counter(
            "headgate_cost_usd",
            "What exchanges cost by the policy's prices, in US dollars.",
            "tenant",
            names.REQUEST_MODEL,
        )
        self._unscanned = self._counter(
            "headgate_unscanned_exchanges",
            "Exchanges of which the model got content that no guard can read.",
            "tenant",
            "content",
        )
        self._unread_chars = self._counter(
            "headgate_answer_unread_chars",
            "Code points of answers that a model should have read, and had not in time.",
            "tenant",
        )
        self._effect_failures = self._counter(
            "headgate_effect_failures", "Effects without an answer.", "effect", "kind"
        )

    def _declare_amounts(self) -> None:
        self._usage = self._histogram(
            prometheus_name(names.METRIC_TOKEN_USAGE),
            "Tokens as the upstream counts them.", names.TOKEN_BUCKETS, *_MODEL_LABELS, names.TOKEN_TYPE,
        )  # fmt: skip
        self._duration = self._histogram(
            prometheus_name(names.METRIC_OPERATION_DURATION, "seconds"),
            "Whole exchanges.", names.DURATION_BUCKETS, *_MODEL_LABELS, names.ERROR_TYPE,
        )  # fmt: skip
        self._first_chunk = self._histogram(
            prometheus_name(names.METRIC_TIME_TO_FIRST_CHUNK, "seconds"),
            "From a request's release to the first frame of its streamed answer.",
            names.FIRST_CHUNK_BUCKETS, *_MODEL_LABELS,
        )  # fmt: skip
        self._scores = self._histogram(
            "headgate_score", "Scores of a guard's classifier head.", _SCORE_BUCKETS, "guard", "mode"
        )
        self._judge = self._histogram(
            "headgate_judge_duration_seconds",
            "From a request's head to its decision.",
            _JUDGE_BUCKETS,
            "codec",
        )
        self._effect_duration = self._histogram(
            "headgate_effect_duration_seconds", "Effects, failed ones too.", _EFFECT_BUCKETS, "effect"
        )
        self._windows = self._histogram(
            "headgate_classifier_windows", "Windows of one inference.", _WINDOW_BUCKETS, "head"
        )
        self._request_chars = self._histogram(
            "headgate_request_chars",
            "Code points of a request that were judged.",
            _CHAR_BUCKETS,
            "operation",
        )
        self._answer_chars = self._histogram(
            "headgate_answer_chars",
            "Code points of an answer that were judged.",
            _CHAR_BUCKETS,
            "operation",
        )
        self._held_chars = self._histogram(
            "headgate_answer_held_chars_max",
            "The most code points that an answer held back.",
            _HELD_BUCKETS,
        )

    def _counter(self, name: str, what: str, *labels: str) -> _Series[Counter]:
        metric = Counter(name, what, _label_names(labels), registry=self._registry)
        return _Series(metric, len(labels), folded=self._folded, limits=self._limits)

    def _histogram(
        self, name: str, what: str, buckets: Sequence[float], *labels: str
    ) -> _Series[Histogram]:
        metric = Histogram(name, what, _label_names(labels), buckets=buckets, registry=self._registry)
        return _Series(metric, len(labels), folded=self._folded, limits=self._limits)


def effect_name(effect: Effect) -> str:
    """An effect's kind, as it stands in labels and span names."""
    match effect:
        case Classify():
            return "classify"
        case FindSpans():
            return "find_spans"
        case Reserve():
            return "reserve"
        case Settle():
            return "settle"
        case Renew():
            return "renew"


def _label_names(labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(prometheus_name(label) for label in labels)
