from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import ENTITIES, RECORD, VERDICT, records

from extproc.domain.verdict import Action, EntityCount, GuardRecord, Lane, Mode, Reason, Record
from extproc.edge.verdict_line import SCHEMA_VERSION, fields_of, line_of

CANARY = "my number is 123-45-6789, write to jo@example.com"


def parsed(record: Record) -> dict[str, Any]:
    line = line_of(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    fields = json.loads(line)
    assert isinstance(fields, dict)
    return fields


def test_a_record_as_a_line():
    line = parsed(RECORD)
    assert (line["schema_version"], line["ts"], line["at_unix_ms"]) == (
        SCHEMA_VERSION,
        "2026-01-02T03:04:05.678Z",
        1_767_323_045_678,
    )
    assert (line["action"], line["reason"], line["status"]) == ("redact", "pii_found", 200)
    assert (line["tokens_reserved"], line["tokens_refunded"]) == (100, None)
    assert line["withheld"] == []


def test_a_guards_verdict_in_it():
    assert parsed(RECORD)["verdicts"] == [
        {
            "guard": "injection",
            "owasp": "LLM01",
            "mode": "shadow",
            "action": "block",
            "reason": "injection_detected",
            "score": 0.75,
            "threshold": 0.5,
            "detector": "stackone-defender/0.9.4",
            "windows": 2,
            "degraded": False,
        }
    ]


def test_entity_counts_in_it():
    assert parsed(RECORD)["entities"] == [
        {
            "lane": "response",
            "guard": "pii",
            "mode": "enforce",
            "entity_type": "EMAIL_ADDRESS",
            "detector": "pii/email",
            "place": "text_output",
            "count": 3,
        }
    ]


def string_fields(kind: type[Record | GuardRecord | EntityCount]) -> list[str]:
    return [field.name for field in fields(kind) if "str" in str(field.type)]


@pytest.mark.parametrize("name", string_fields(Record))
def test_no_string_of_a_record_can_carry_text(name):
    line = parsed(replace(RECORD, **{name: CANARY}))
    assert (line[name], line["withheld"]) == ("", [name])
    assert "6789" not in json.dumps(line)


@pytest.mark.parametrize("name", string_fields(GuardRecord))
def test_no_string_of_a_verdict_can_carry_text(name):
    line = parsed(replace(RECORD, verdicts=(replace(VERDICT, **{name: CANARY}),)))
    assert (line["verdicts"][0][name], line["withheld"]) == ("", [f"verdicts.{name}"])
    assert "6789" not in json.dumps(line)


@pytest.mark.parametrize("name", string_fields(EntityCount))
def test_no_string_of_an_entity_count_can_carry_text(name):
    line = parsed(replace(RECORD, entities=(replace(ENTITIES, **{name: CANARY}),)))
    assert (line["entities"][0][name], line["withheld"]) == ("", [f"entities.{name}"])
    assert "6789" not in json.dumps(line)


@pytest.mark.parametrize("field", fields(Record), ids=lambda field: field.name)
def test_a_value_of_another_type_is_left_out(field):
    wrong: Any = () if field.name in {"verdicts", "entities"} else [CANARY]
    if field.name == "unscanned":
        wrong = (CANARY,)
    line = parsed(replace(RECORD, **{field.name: wrong}))
    expected = [] if wrong == () else [field.name]
    assert line["withheld"] == expected
    assert "6789" not in json.dumps(line)


@pytest.mark.parametrize("kind", [Reason, Mode, Lane])
def test_every_enum_name_is_a_lower_case_word(kind):
    assert [member.value for member in kind] == [member.name.lower() for member in kind]


def test_an_unknown_action_counts_as_a_block():
    line = parsed(replace(RECORD, action=7))  # type: ignore[arg-type]
    assert (line["action"], line["withheld"]) == ("block", ["action"])


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1, 1.1, True])
def test_a_score_outside_its_range_is_left_out(score):
    line = parsed(replace(RECORD, verdicts=(replace(VERDICT, score=score),)))
    assert (line["verdicts"][0]["score"], line["withheld"]) == (None, ["verdicts.score"])


@pytest.mark.parametrize("count", [-1, 2**63, True])
def test_a_count_outside_its_range_is_left_out(count):
    line = parsed(replace(RECORD, chars_judged=count))
    assert (line["chars_judged"], line["withheld"]) == (0, ["chars_judged"])


@pytest.mark.parametrize("cost", [-0.1, math.nan, math.inf, True])
def test_a_cost_that_is_none_is_left_out(cost):
    line = parsed(replace(RECORD, cost_usd=cost))
    assert (line["cost_usd"], line["withheld"]) == (None, ["cost_usd"])


def test_route_cost_and_what_was_not_scanned_are_in_it():
    line = parsed(RECORD)
    assert (line["route"], line["cost_usd"]) == ("generate", 0.000125)
    assert line["unscanned"] == ["audio", "image"]
    line = parsed(replace(RECORD, route="", cost_usd=None, unscanned=()))
    assert (line["route"], line["cost_usd"], line["unscanned"], line["withheld"]) == ("", None, [], [])


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "[::1]:8000", "/run/triton.sock"])
def test_an_upstreams_address_goes_through(host):
    assert parsed(replace(RECORD, upstream_host=host))["upstream_host"] == host


@given(records())
def test_any_record_is_one_line_of_the_same_fields(record):
    assert list(parsed(record)) == list(fields_of(RECORD))


@given(st.sampled_from(Action))
def test_an_action_is_its_name(action):
    assert parsed(replace(RECORD, action=action))["action"] == action.name.lower()
