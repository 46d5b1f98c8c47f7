import json
from dataclasses import replace

import pytest
from exchanges import exchange, guard_env, read_only
from hypothesis import given
from hypothesis import strategies as st
from judging import cuts, judged, pieces_of

from extproc.domain.judging import AnswerFormat, OnAnswer, ToolCall
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Channel
from extproc.domain.verdict import Action, Mode, Reason
from extproc.guards import output_schema
from extproc.guards.output_schema import OnInvalid, Settings

CONTENT = Channel(0, "content")
CITY = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
GOOD = '{"city": "Oslo"}'


def guard(**settings):
    return output_schema.GUARD.build(Settings(**settings), guard_env())


def asked(wanted=None):
    view = exchange("hi")
    return replace(view, request=replace(view.request, answer_format=wanted))


def judging(wanted=None, **settings):
    return guard(**settings).scanner(asked(wanted)).judge.begin()


def decided(text, wanted=None, **settings):
    one = judging(wanted, **settings)
    released, found = judged(lambda: one.open(CONTENT), [text])
    return released, [finding.entity_type for finding in found]


def test_it_is_off_until_a_policy_wants_it():
    assert output_schema.GUARD.mode is Mode.OFF


def test_answers_that_need_not_be_json_are_not_read():
    assert guard().scanner(asked()) is None
    assert guard().scanner(read_only()) is None
    assert guard(requested=False).scanner(asked(AnswerFormat())) is None


@pytest.mark.parametrize("answer", OnInvalid)
def test_a_client_may_try_again(answer):
    watch = guard(answer=answer).scanner(asked(AnswerFormat()))
    assert (watch.on_finding, watch.reason, watch.status) == (
        OnAnswer(answer),
        Reason.OUTPUT_INVALID,
        502,
    )
    assert watch.message.endswith("try again")


@pytest.mark.parametrize("text", ["{}", ' {"a": [1]}\n', '{"a": "one\ntwo"}'])
def test_an_object_is_what_was_asked_for(text):
    assert decided(text, AnswerFormat()) == (text, [])


@pytest.mark.parametrize(
    "text", ["", "[1]", "3", "Sure: {}", '{"a": 1', '{"a": 1, "a": 2}', "```json\n{}\n```"]
)
def test_anything_else_is_not(text):
    assert decided(text, AnswerFormat()) == ("", ["OUTPUT_JSON"])


def test_it_must_be_of_the_schema_that_was_asked_for():
    assert decided(GOOD, AnswerFormat(CITY)) == (GOOD, [])
    assert decided("{}", AnswerFormat(CITY)) == ("", ["OUTPUT_SCHEMA"])
    assert decided("[3]", AnswerFormat('{"items": {"const": 3}}')) == ("[3]", [])


def test_a_policys_schema_holds_for_every_answer_and_beside_the_requests():
    assert decided(GOOD, schema=CITY) == (GOOD, [])
    assert decided("{}", schema=CITY) == ("", ["OUTPUT_SCHEMA"])
    assert decided(GOOD, AnswerFormat('{"maxProperties": 0}'), schema=CITY) == ("", ["OUTPUT_SCHEMA"])


def test_an_answer_that_calls_a_tool_may_say_nothing():
    one = judging(AnswerFormat())
    one.call(ToolCall("weather"))
    assert judged(lambda: one.open(CONTENT), [" "]) == (" ", ())
    one = judging(AnswerFormat())
    assert one.open(Channel(0, "tool_calls.0.arguments")) is None
    assert judged(lambda: one.open(CONTENT), [""]) == ("", ())


@pytest.mark.parametrize(
    "field", ["refusal", "reasoning", "thinking", "output.once", "error", "audio.transcript"]
)
def test_other_texts_need_not_be_json(field):
    assert judging(AnswerFormat()).open(Channel(0, field)) is None


def test_an_answer_that_is_longer_than_may_be_held_is_refused():
    text = json.dumps({"a": "x" * LIMITS.held_chars_max})
    for hold in (True, False):
        assert decided(text, AnswerFormat(), hold=hold)[1] == ["OUTPUT_JSON"]


def test_without_holding_an_answer_ends_where_it_goes_wrong():
    assert decided('{"a": 1, b', AnswerFormat(), hold=False) == ('{"a": 1, ', ["OUTPUT_JSON"])
    assert decided("{}", AnswerFormat(CITY), hold=False) == ("{}", ["OUTPUT_SCHEMA"])
    one = judging(AnswerFormat(), hold=False).open(CONTENT)
    assert one.feed('{"a').released == '{"a'
    assert one.held_chars == 0


texts = st.sampled_from([GOOD, "{}", "", '{"a": 1, b', "[1", '{"a": 1, "a": 2}', '"a\\', "01 "])


@given(texts, cuts, st.booleans(), st.sampled_from([None, CITY]))
def test_what_is_decided_and_released_does_not_depend_on_the_cuts(text, places, hold, schema):
    def one():
        return judging(AnswerFormat(schema), hold=hold).open(CONTENT)

    assert judged(one, pieces_of(text, places)) == judged(one, [text])


@pytest.mark.parametrize("schema", ['{"$ref": "https://example.com"}', '{"type": "text"}'])
def test_a_schema_by_which_nothing_can_be_judged_is_refused_with_the_request(schema):
    verdict = guard().judge(asked(AnswerFormat(schema)), ())
    assert (verdict.action, verdict.reason, verdict.status) == (Action.BLOCK, Reason.OUTPUT_INVALID, 400)
    # In shadow the request went on all the same.
    assert decided(GOOD, AnswerFormat(schema)) == ("", ["OUTPUT_SCHEMA"])
    assert guard().judge(asked(AnswerFormat(CITY)), ()).action is Action.ALLOW
    with pytest.raises(ValueError, match="schema must be a JSON schema"):
        Settings(schema=schema)
