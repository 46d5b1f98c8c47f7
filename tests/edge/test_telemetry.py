"""What the metrics say of records and effects, and that no text can get into them."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from records import ENTITIES, RECORD, VERDICT, records

from extproc.domain.effects import Classify, FindSpans, Renew, Reserve, Scores, Settle, Settled, TextScore
from extproc.domain.errors import FailureKind
from extproc.domain.identity import Reservation, TokenLimit, Window
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Operation, Unscanned
from extproc.domain.verdict import Action, GuardRecord, Lane, Mode, Reason
from extproc.edge.telemetry import Telemetry

MODEL = {
    "gen_ai_operation_name": "text_completion",
    "gen_ai_provider_name": "nvidia.triton",
    "gen_ai_request_model": "scripted",
}
RESERVATION = Reservation(
    reservation_id="r",
    tenant="team-a",
    tokens=5,
    limits=(TokenLimit(window=Window.MINUTE, tokens=9),),
    lease_ms=1,
)


def exposition(telemetry: Telemetry) -> str:
    return telemetry.exposition("")[0].decode()


def samples(telemetry: Telemetry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample that counts something, by name and labels; not the process's own."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition(telemetry))
        for sample in family.samples
        if not sample.name.startswith("process_") and sample.value
    }


class Seen:
    """What a fresh telemetry shows of some records."""

    def __init__(self, *some, limits=LIMITS) -> None:
        self.telemetry = Telemetry(limits=limits)
        for record in some:
            self.telemetry.record(record)
        self.samples = samples(self.telemetry)

    def value(self, metric: str, **labels: str) -> float:
        return self.samples.get((metric, frozenset(labels.items())), 0.0)

    def names(self) -> set[str]:
        return {name for name, _ in self.samples}


@pytest.fixture(scope="module")
def redacted() -> Seen:
    return Seen(replace(RECORD, tokens_refunded=40))


def test_an_exchange_is_counted_by_what_became_of_it(redacted):
    assert (
        redacted.value(
            "headgate_exchanges_total",
            codec="triton_generate",
            operation="text_completion",
            tenant="team-a",
            action="redact",
        )
        == 1
    )
    assert redacted.value("headgate_decisions_total", action="redact", reason="pii_found", guard="pii") == 1
    assert "headgate_refusals_total" not in redacted.names()


def test_cost_is_counted_by_tenant_and_model():
    labels = {"tenant": "team-a", "gen_ai_request_model": "scripted"}
    seen = Seen(RECORD, RECORD, replace(RECORD, cost_usd=None), replace(RECORD, cost_usd=math.nan))
    assert seen.value("headgate_cost_usd_total", **labels) == 0.00025
    assert "headgate_cost_usd_total" not in Seen(replace(RECORD, cost_usd=None)).names()


def test_what_no_guard_could_read_is_counted_by_its_kind(redacted):
    for content in ("audio", "image"):
        labels = {"tenant": "team-a", "content": content}
        assert redacted.value("headgate_unscanned_exchanges_total", **labels) == 1


def test_a_guard_s_verdict_is_counted_with_its_mode_and_score(redacted):
    labels = {"guard": "injection", "mode": "shadow"}
    assert (
        redacted.value("headgate_verdicts_total", action="block", reason="injection_detected", **labels)
        == 1
    )
    assert redacted.value("headgate_score_bucket", le="0.7", **labels) == 0
    assert redacted.value("headgate_score_bucket", le="0.8", **labels) == 1


def test_findings_are_counted_by_entity_type(redacted):
    labels = {"lane": "response", "guard": "pii", "mode": "enforce", "entity_type": "EMAIL_ADDRESS"}
    assert redacted.value("headgate_findings_total", **labels) == 3


def test_tokens_are_counted_as_the_books_have_them(redacted):
    flows = {
        flow: redacted.value("headgate_budget_tokens_total", tenant="team-a", flow=flow)
        for flow in ("reserved", "settled", "refunded")
    }
    assert flows == {"reserved": 100, "settled": 60, "refunded": 40}
    assert "headgate_unsettled_reservations_total" not in redacted.names()


def test_usage_and_times_have_the_conventions_names(redacted):
    assert redacted.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input", **MODEL) == 10
    assert redacted.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output", **MODEL) == 50
    assert redacted.value("gen_ai_client_operation_duration_seconds_sum", error_type="", **MODEL) == 0.9
    assert redacted.value("gen_ai_client_operation_time_to_first_chunk_seconds_sum", **MODEL) == 0.02


def test_sizes_are_measured(redacted):
    operation = {"operation": "text_completion"}
    assert redacted.value("headgate_request_chars_sum", **operation) == 42
    assert redacted.value("headgate_answer_chars_sum", **operation) == 420
    assert redacted.value("headgate_answer_held_chars_max_sum") == 19
    assert redacted.value("headgate_judge_duration_seconds_sum", codec="triton_generate") == 0.0015


def test_a_refusal_that_never_reached_the_model():
    seen = Seen(
        replace(
            RECORD,
            action=Action.BLOCK,
            reason=Reason.INJECTION_DETECTED,
            guard="injection",
            upstream_status=0,
            answer_frames=0,
            answer_chars_unread=0,
            usage_reported=False,
        )
    )
    assert seen.value("headgate_refusals_total", reason="injection_detected", tenant="team-a") == 1
    assert not {name for name in seen.names() if name.startswith("gen_ai")}
    assert not {name for name in seen.names() if name.startswith("headgate_answer")}


def test_an_answer_of_one_frame_has_no_first_chunk():
    seen = Seen(replace(RECORD, answer_frames=1))
    assert "gen_ai_client_operation_time_to_first_chunk_seconds_count" not in seen.names()


def test_tokens_that_the_upstream_did_not_count_are_not_reported():
    assert "gen_ai_client_token_usage_count" not in Seen(replace(RECORD, usage_reported=False)).names()


def test_an_upstream_s_failure_is_the_operation_s():
    seen = Seen(replace(RECORD, action=Action.ALLOW, reason=Reason.UPSTREAM_ERROR))
    name = "gen_ai_client_operation_duration_seconds_count"
    assert seen.value(name, error_type="upstream_error", **MODEL) == 1


def test_a_degraded_verdict_says_which_guard_and_what_it_did():
    verdict = replace(VERDICT, mode=Mode.ENFORCE, action=Action.ALLOW, degraded=True, score=None)
    seen = Seen(replace(RECORD, verdicts=(verdict,), degraded=True))
    name = "headgate_degraded_decisions_total"
    assert seen.value(name, guard="injection", mode="enforce", action="allow") == 1
    assert seen.value(name, guard="", mode="", action="redact") == 0


def test_open_books_are_degraded_without_a_guard():
    seen = Seen(replace(RECORD, degraded=True, tokens_settled=None))
    assert seen.value("headgate_degraded_decisions_total", guard="", mode="", action="redact") == 1
    assert seen.value("headgate_unsettled_reservations_total", tenant="team-a") == 1


def test_a_score_that_is_no_number_spoils_nothing():
    broken = tuple(replace(VERDICT, score=score) for score in (float("nan"), float("inf"), -1.0))
    seen = Seen(replace(RECORD, verdicts=(*broken, VERDICT)))
    assert seen.value("headgate_score_count", guard="injection", mode="shadow") == 1
    assert seen.value("headgate_score_sum", guard="injection", mode="shadow") == 0.75


@pytest.mark.parametrize(
    ("effect", "name"),
    [
        (Classify(head="injection", texts=("x",)), "classify"),
        (FindSpans(model="names", texts=("x",)), "find_spans"),
        (Reserve(reservation=RESERVATION), "reserve"),
        (Settle(reservation=RESERVATION, tokens=1), "settle"),
        (Renew(reservation=RESERVATION), "renew"),
    ],
)
def test_effects_are_timed_and_their_failures_counted(effect, name):
    telemetry = Telemetry()
    telemetry.effect(effect, Settled(charged=1, refunded=0), 2_000)
    telemetry.effect(effect, FailureKind.OVERLOADED, 1_000)
    seen = samples(telemetry)
    assert seen["headgate_effect_duration_seconds_sum", frozenset({("effect", name)})] == 0.003
    failures = frozenset({("effect", name), ("kind", "overloaded")})
    assert seen["headgate_effect_failures_total", failures] == 1


def test_what_a_model_had_not_read_is_counted():
    seen = Seen(RECORD, replace(RECORD, answer_chars_unread=0))
    assert seen.value("headgate_answer_unread_chars_total", tenant="team-a") == RECORD.answer_chars_unread


def test_windows_of_an_inference_are_counted():
    telemetry = Telemetry()
    score = TextScore(score=0.5, windows=3, tokens=1, start=0, end=1)
    scores = Scores(head="injection", model="m", scores=(score, score))
    telemetry.effect(Classify(head="injection", texts=("x", "y")), scores, 1)
    assert samples(telemetry)["headgate_classifier_windows_sum", frozenset({("head", "injection")})] == 6


# --- no text, and not too much of it ---------------------------------------------------------


def test_a_name_that_has_not_the_form_of_one_is_counted_under_other():
    seen = Seen(replace(RECORD, tenant="two words"))
    labels = dict.fromkeys(("codec", "operation", "tenant", "action"), "other")
    assert seen.value("headgate_exchanges_total", **labels) == 1
    assert "two words" not in exposition(seen.telemetry)
    assert seen.value("headgate_series_folded_total") == 7


def test_more_series_than_allowed_are_counted_together():
    limits = replace(LIMITS, metric_series_max=3)
    seen = Seen(*(replace(RECORD, tenant=f"team-{number}") for number in range(10)), limits=limits)
    exchanges = [labels for name, labels in seen.samples if name == "headgate_exchanges_total"]
    assert len(exchanges) == 4
    labels = dict.fromkeys(("codec", "operation", "tenant", "action"), "other")
    assert seen.value("headgate_exchanges_total", **labels) == 7


def test_a_canary_in_every_text_of_a_record_is_nowhere():
    canary = "canary 4111 1111 1111 1111"
    texts = {one.name: canary for one in fields(RECORD) if type(getattr(RECORD, one.name)) is str}
    verdict = replace(VERDICT, guard=canary, owasp=canary, detector=canary)
    entities = replace(ENTITIES, guard=canary, entity_type=canary, detector=canary, place=canary)
    seen = Seen(replace(RECORD, **texts, verdicts=(verdict,), entities=(entities,)))
    assert len(texts) >= 9
    assert "canary" not in exposition(seen.telemetry)
    assert "4111" not in exposition(seen.telemetry)


ENUMS = {str(value) for kind in (Reason, Mode, Lane, Operation, Unscanned) for value in kind}
ENUMS |= {action.name.lower() for action in Action} | {"input", "output", "other", "nvidia.triton", ""}
ENUMS |= {"reserved", "settled", "refunded"}


@given(st.lists(records(), max_size=5))
def test_arbitrary_records_leave_only_names_in_labels(some):
    telemetry = Telemetry()
    for record in some:
        telemetry.record(record)
    named = {text for record in some for text in names_in(record)}
    for family in text_string_to_metric_families(exposition(telemetry)):
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert label == "le" or value in ENUMS or (value in named and " " not in value)


def names_in(record) -> set[str]:
    """Every string of a record that is a name of ours or of the policy's."""
    guards = [verdict.guard for verdict in record.verdicts if isinstance(verdict, GuardRecord)]
    entities = [text for one in record.entities for text in (one.guard, one.entity_type)]
    own = [record.codec, record.operation, record.tenant, record.model, record.guard]
    return {str(text) for text in (*own, *guards, *entities)}


def test_the_format_follows_the_accept_header():
    telemetry = Telemetry()
    plain, plain_type = telemetry.exposition("")
    metrics, metrics_type = telemetry.exposition("application/openmetrics-text; version=1.0.0")
    assert plain_type.startswith("text/plain")
    assert metrics_type.startswith("application/openmetrics-text")
    assert metrics.endswith(b"# EOF\n")
    assert not plain.endswith(b"# EOF\n")
