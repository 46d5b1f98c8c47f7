"""The state of the process's parts as metrics, read at the moment of a scrape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from extproc.edge.bodies import BodyCounts
    from extproc.edge.policy_source import PolicyStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Where to read. Called from the admin endpoint's threads; none may wait.

    ``ready`` names parts and whether each is ready.
    """

    ready: Callable[[], Mapping[str, bool]]
    streams_open: Callable[[], int]
    request_bodies_bytes: Callable[[], int]
    tasks_running: Callable[[], int]
    classifier_queue_texts: Callable[[], int]
    classifier_threads_busy: Callable[[], int]
    ledger_available: Callable[[], bool]
    verdict_log_queue_records: Callable[[], int]
    verdict_log_dropped: Callable[[], int]
    verdict_log_failures: Callable[[], int]
    policy: Callable[[], PolicyStatus]
    bodies: Callable[[], BodyCounts | None] = lambda: None


class ReadingsCollector(Collector):
    """Makes metrics of readings."""

    def __init__(self, readings: Readings, *, version: str, python: str) -> None:
        self._readings = readings
        self._version = version
        self._python = python

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        read = self._readings
        yield _gauge("headgate_streams_open", "Streams under way.", read.streams_open())
        yield _gauge(
            "headgate_request_bodies_bytes",
            "Request bodies held to be judged.",
            read.request_bodies_bytes(),
        )
        yield _gauge(
            "headgate_tasks_running", "Effects, settlements among them, under way.", read.tasks_running()
        )
        yield _gauge(
            "headgate_classifier_queue_texts",
            "Texts that wait for a thread.",
            read.classifier_queue_texts(),
        )
        yield _gauge(
            "headgate_classifier_threads_busy", "Threads that infer.", read.classifier_threads_busy()
        )
        yield _gauge("headgate_ledger_available", "0 while the circuit is open.", read.ledger_available())
        yield _gauge(
            "headgate_verdict_log_queue_records",
            "Records not yet written.",
            read.verdict_log_queue_records(),
        )
        yield _counter("headgate_verdict_log_dropped", "Records lost.", read.verdict_log_dropped())
        yield _counter("headgate_verdict_log_failures", "Writes that failed.", read.verdict_log_failures())
        ready = GaugeMetricFamily("headgate_ready", "Whether a part is ready.", labels=["part"])
        for part, is_ready in read.ready().items():
            ready.add_metric([part], is_ready)
        yield ready
        yield from self._policy_metrics(read.policy())
        counts = read.bodies()
        if counts is not None:
            yield from _body_metrics(counts)
        yield _labelled("headgate_build_info", "What runs.", version=self._version, python=self._python)

    def _policy_metrics(self, status: PolicyStatus) -> Iterator[Metric]:
        yield _labelled("headgate_policy_info", "The policy of new streams.", digest=status.digest)
        yield _counter("headgate_policy_reloads", "Policies taken, the first included.", status.taken)
        yield _counter(
            "headgate_policy_reload_failures", "Contents of the file that did not check.", status.refused
        )
        yield _gauge("headgate_policy_stale", "1 while the file is not the policy that runs.", status.stale)
        yield _gauge(
            "headgate_policy_loaded_timestamp_seconds",
            "When it was taken.",
            status.loaded_at_unix_ms / 1000,
        )


def _body_metrics(counts: BodyCounts) -> Iterator[Metric]:
    yield _counter("headgate_bodies_kept", "Exchanges whose text was kept.", counts.kept)
    yield _counter("headgate_bodies_lost", "Exchanges whose text could not be kept.", counts.lost)
    yield _counter("headgate_bodies_expired", "Kept texts whose lifetime ended.", counts.expired)
    yield _gauge("headgate_bodies_disk_bytes", "What kept texts have on the disk.", counts.disk_bytes)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _counter(name: str, what: str, value: int) -> Metric:
    return CounterMetricFamily(name, what, value=value)


def _labelled(name: str, what: str, **labels: str) -> Metric:
    metric = GaugeMetricFamily(name, what, labels=list(labels))
    metric.add_metric(list(labels.values()), 1)
    return metric
