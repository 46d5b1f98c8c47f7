from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from extproc.edge.bodies import BodyCounts
from extproc.edge.policy_source import PolicyStatus
from extproc.edge.readings import Readings, _body_metrics
from extproc.edge.telemetry import Telemetry


def samples(telemetry: Telemetry) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(telemetry.exposition("")[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_bodies_are_counted_where_any_may_be_kept():
    yes = {
        metric.name: metric.samples[0].value
        for metric in _body_metrics(BodyCounts(kept=1, lost=2, expired=3, disk_bytes=4))
    }
    assert yes == {
        "headgate_bodies_kept": 1,
        "headgate_bodies_lost": 2,
        "headgate_bodies_expired": 3,
        "headgate_bodies_disk_bytes": 4,
    }


def test_the_state_is_read_at_each_scrape():
    state = {"streams": 1, "digest": "a" * 64, "redis": True}
    telemetry = Telemetry()
    telemetry.watch(
        Readings(
            ready=lambda: {"serving": True, "redis": state["redis"]},
            streams_open=lambda: state["streams"],
            request_bodies_bytes=lambda: 10,
            tasks_running=lambda: 2,
            classifier_queue_texts=lambda: 3,
            classifier_threads_busy=lambda: 4,
            ledger_available=lambda: state["redis"],
            verdict_log_queue_records=lambda: 5,
            verdict_log_dropped=lambda: 6,
            verdict_log_failures=lambda: 7,
            policy=lambda: PolicyStatus(
                digest=state["digest"], loaded_at_unix_ms=1_500, taken=8, refused=9, stale=True
            ),
        )
    )
    seen = samples(telemetry)
    values = {
        name: of[0][1]
        for name, of in seen.items()
        if name.startswith("headgate_") and not of[0][0] and not name.startswith("headgate_answer")
    }
    assert values == {
        "headgate_series_folded_total": 0,
        "headgate_streams_open": 1,
        "headgate_request_bodies_bytes": 10,
        "headgate_tasks_running": 2,
        "headgate_classifier_queue_texts": 3,
        "headgate_classifier_threads_busy": 4,
        "headgate_ledger_available": 1,
        "headgate_verdict_log_queue_records": 5,
        "headgate_verdict_log_dropped_total": 6,
        "headgate_verdict_log_failures_total": 7,
        "headgate_policy_reloads_total": 8,
        "headgate_policy_reload_failures_total": 9,
        "headgate_policy_stale": 1,
        "headgate_policy_loaded_timestamp_seconds": 1.5,
    }
    assert seen["headgate_ready"] == [({"part": "serving"}, 1), ({"part": "redis"}, 1)]
    assert seen["headgate_policy_info"] == [({"digest": "a" * 64}, 1)]
    assert [set(labels) for labels, _ in seen["headgate_build_info"]] == [{"version", "python"}]

    state.update(streams=0, digest="b" * 64, redis=False)
    seen = samples(telemetry)
    assert seen["headgate_streams_open"] == [({}, 0)]
    assert seen["headgate_ready"] == [({"part": "serving"}, 1), ({"part": "redis"}, 0)]
    # The policy before leaves no series behind.
    assert seen["headgate_policy_info"] == [({"digest": "b" * 64}, 1)]
