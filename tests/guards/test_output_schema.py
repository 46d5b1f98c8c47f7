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


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(
    ("call", "excused"),
    [
        (Channel(0, "tool_calls.3.arguments"), [0]),
        (Channel(1, "function_call.arguments"), [1]),
        (Channel(1, "tool_calls.0.name"), [1]),
        # On other wires a channel counts items of the only answer.
        (Channel(5, "arguments"), [0, 1]),
        (Channel(5, "input"), [0, 1]),
    ],
)
def test_a_choice_that_calls_a_tool_may_say_nothing(hold, call, excused):
    told, opened = (judging(AnswerFormat(), hold=hold) for _ in range(2))
    told.call(ToolCall("weather", call))
    assert opened.open(call) is None
    for one in (told, opened):
        found = [judged(lambda at=at, one=one: one.open(Channel(at, "content")), [" "])[1] for at in (0, 1)]
        assert [at for at in (0, 1) if not found[at]] == excused


def test_an_answer_that_calls_a_tool_may_say_nothing():
    one = judging(AnswerFormat())
    one.call(ToolCall("weather"))
    assert judged(lambda: one.open(CONTENT), [" "]) == (" ", ())
    assert judged(lambda: one.open(CONTENT), ["Sure."])[1] != ()


@pytest.mark.parametrize(("said", "found"), [("No.", []), (" ", ["OUTPUT_JSON"])])
def test_a_choice_that_refuses_may_say_nothing_else(said, found):
    one = judging(AnswerFormat())
    assert judged(lambda: one.open(Channel(0, "refusal")), [said]) == (said, ())
    assert [wrong.entity_type for wrong in judged(lambda: one.open(CONTENT), [""])[1]] == found
    assert judged(lambda: one.open(Channel(1, "content")), [""])[1] != ()


@pytest.mark.parametrize(
    "field", ["1.transcript", "reasoning", "thinking", "output.once", "error", "audio.transcript"]
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


near = st.text(st.sampled_from('{}[]:,"\\ \n01.-etrufalsn'), max_size=30)
numbers = st.integers(1, 80).map(lambda count: '{"a":' + "1" * count + "}")
deep = st.integers(60, 70).map(lambda depth: '{"a":' + "[" * depth + "]" * depth + "}")


@given(texts | near | numbers | deep, cuts, st.sampled_from([None, CITY, "true"]))
def test_both_ways_decide_the_same(text, places, schema):
    held, streamed = (
        judged(
            lambda hold=hold: judging(AnswerFormat(schema), hold=hold).open(CONTENT),
            pieces_of(text, places),
        )
        for hold in (True, False)
    )
    assert held[1] == streamed[1]
    assert held[0] == ("" if held[1] else streamed[0])


@pytest.mark.parametrize("schema", ['{"$ref": "https://example.com"}', '{"type": "text"}'])
def test_a_schema_by_which_nothing_can_be_judged_is_refused_with_the_request(schema):
    verdict = guard().judge(asked(AnswerFormat(schema)), ())
    assert (verdict.action, verdict.reason, verdict.status) == (Action.BLOCK, Reason.OUTPUT_INVALID, 400)
    # In shadow the request went on all the same.
    assert decided(GOOD, AnswerFormat(schema)) == ("", ["OUTPUT_SCHEMA"])
    assert guard().judge(asked(AnswerFormat(CITY)), ()).action is Action.ALLOW
    with pytest.raises(ValueError, match="is no JSON schema"):
        Settings(schema=schema)
