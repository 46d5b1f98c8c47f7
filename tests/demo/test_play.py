from __future__ import annotations

from dataclasses import replace

import pytest

from extproc.demo import play
from extproc.demo.cases import CASES, Answer, Seen, _made_up_values
from extproc.demo.prompts import MAIL

BY_NAME = {case.name: case for case in CASES}


def seen(text="", **answer) -> Seen:
    return Seen(answer=Answer(status=200, text=text, **answer), received=())


def test_cases_have_names_of_their_own_and_are_enough():
    assert len(BY_NAME) == len(CASES) >= 8


def test_a_row_is_as_expected_only_if_all_of_it_is():
    case = BY_NAME["generate"]
    good = seen("once upon a time")
    assert play._fault(case, good, "allow", "clean") == ""
    assert play._fault(case, good, "block", "clean") == "decision is block, expected allow"
    assert play._fault(case, good, "allow", "") == "reason is missing, expected clean"
    assert play._fault(case, seen("else"), "allow", "clean") == "the answer is not the model's"
    wrong = replace(good, answer=replace(good.answer, status=500))
    assert play._fault(case, wrong, "allow", "clean") == "status is 500, expected 200"


@pytest.mark.parametrize("value", _made_up_values(), ids=range(len(_made_up_values())))
def test_one_leaked_value_is_a_fault(value):
    assert BY_NAME["answer-redacted"].check(seen(f"[EMAIL_ADDRESS] {value}")) != ""


def test_an_answer_without_anything_redacted_is_a_fault():
    assert BY_NAME["answer-redacted"].check(seen("nothing here")) != ""
    assert BY_NAME["answer-redacted"].check(seen("Mail: [EMAIL_ADDRESS].")) == ""


def test_a_prompt_counts_as_redacted_by_what_the_model_received():
    check = BY_NAME["prompt-redacted"].check
    assert check(replace(seen(), received=("Write to [EMAIL_ADDRESS]",))) == ""
    assert check(replace(seen(), received=(f"Write to {MAIL}",))) == "the model received the address"
    assert check(seen()) == "the model did not receive the prompt"


def test_a_refused_prompt_must_not_reach_the_model():
    check = BY_NAME["injection"].check
    assert check(seen()) == ""
    assert check(replace(seen(), received=("x",))) == "the model received the prompt"


def test_over_budget_says_when_to_come_back():
    check = BY_NAME["over-budget"].check
    assert [check(seen(retry_after=value)) for value in ("30", "", "soon")] == [
        "",
        "there is no retry-after",
        "there is no retry-after",
    ]


def test_metadata_is_shown_in_short():
    document = '{"name": "m", "inputs": [{"name": "text_input"}, {"name": "stream"}]}'
    assert BY_NAME["metadata"].got(seen(document)) == "m: 2 inputs"


def test_json_has_exactly_the_documented_fields():
    row = play.Row(
        name="a", sent="b", got="c", status=200, decision="allow", reason="clean", added_ms=1.5, fault="x"
    )
    assert row.as_json() == {
        "name": "a",
        "ok": False,
        "status": 200,
        "decision": "allow",
        "reason": "clean",
        "added_ms": 1.5,
    }


def test_a_line_that_is_still_being_written_is_not_read(tmp_path):
    log = tmp_path / "log.jsonl"
    assert play._lines(log) == []
    log.write_text('{"a":1}\n{"b":')
    assert play._lines(log) == [{"a": 1}]
