import json
from dataclasses import replace

import pytest
from exchanges import exchange, guard_env, read_only, segment
from hypothesis import given
from hypothesis import strategies as st
from judging import cuts, judged, pieces_of

from extproc.domain.errors import SettingError
from extproc.domain.judging import OnAnswer, ToolCall, ToolSpec
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Channel, Origin, Role
from extproc.domain.verdict import Action, Mode, Reason
from extproc.guards import tool_policy
from extproc.guards.tool_policy import OnCall, Settings

SCHEMA = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
WEATHER = ToolSpec("weather", SCHEMA)
CHANNEL = Channel(0, "tool_calls.0.arguments")
NAME = Channel(0, "tool_calls.0.name")
GOOD = '{"city": "Os\nlo"}'


def guard(**settings):
    return tool_policy.GUARD.build(Settings(**settings), guard_env())


def asked(*tools, results=0):
    parts = [
        segment("12 °C", at, role=Role.TOOL, origin=Origin.TOOL_RESULT, place="messages.content")
        for at in range(results)
    ]
    view = exchange(
        *parts, segment("call_1", results, role=Role.TOOL, origin=Origin.TOOL_RESULT, place="messages.*")
    )
    return replace(view, request=replace(view.request, tools=tools))


def judging(*tools, **settings):
    return guard(**settings).scanner(asked(*tools)).judge.begin()


def kinds(*found):
    return [one.entity_type for one in found if one is not None]


def ended(one, text, channel=CHANNEL):
    return judged(lambda: one.open(channel), [text])


def test_it_is_off_until_a_policy_wants_it():
    assert tool_policy.GUARD.mode is Mode.OFF
    assert guard().scanner(read_only()) is None


@pytest.mark.parametrize("answer", OnCall)
def test_a_call_that_is_not_allowed_is_cut_or_flagged(answer):
    watch = guard(answer=answer).scanner(asked())
    assert (watch.on_finding, watch.reason, watch.status) == (
        OnAnswer(answer),
        Reason.TOOL_NOT_ALLOWED,
        403,
    )


def test_a_call_of_a_tool_that_the_request_offers_passes():
    one = judging(WEATHER)
    assert one.call(ToolCall("weather", CHANNEL)) is None
    assert ended(one, GOOD) == (GOOD, ())


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({}, {"weather"}),
        ({"names": ("time",)}, set()),
        ({"names": ("weather", "time")}, {"weather"}),
        ({"names": ("time",), "offered_only": False}, {"time"}),
        # Nobody's list at all is no permission.
        ({"offered_only": False}, set()),
    ],
)
def test_names_that_may_be_called(settings, passes):
    names = ("weather", "time", "")
    found = {name: judging(WEATHER, **settings).call(ToolCall(name)) for name in names}
    assert {name for name, one in found.items() if one is None} == passes
    streamed = {name: ended(judging(WEATHER, **settings), name, NAME) for name in names}
    assert {name for name, one in streamed.items() if one == (name, ())} == passes


@pytest.mark.parametrize(
    "text", ['{"city": 3}', "{}", "", "[]", '{"city": "a"', '{"city": "a", "city": "b"}', "NaN"]
)
def test_arguments_that_are_not_of_the_tools_schema(text):
    one = judging(WEATHER)
    one.call(ToolCall("weather", CHANNEL))
    released, found = ended(one, text)
    assert (released, kinds(*found)) == ("", ["TOOL_ARGUMENTS"])
    assert kinds(judging(WEATHER).call(ToolCall("weather", None, text))) == ["TOOL_ARGUMENTS"]
    free = judging(WEATHER, arguments=False)
    free.call(ToolCall("weather", CHANNEL))
    assert ended(free, text) == (text, ())


@pytest.mark.parametrize(("text", "found"), [("{}", []), ("", []), (' {"zone": 1}', ["TOOL_ARGUMENTS"])])
def test_a_tool_without_a_schema_takes_no_arguments(text, found):
    one = judging(ToolSpec("time"))
    assert kinds(one.call(ToolCall("time", None, text))) == found
    one.call(ToolCall("time", CHANNEL))
    assert kinds(*ended(one, text)[1]) == found
    # Of a tool that nobody offered nobody knows what it takes.
    free = judging(names=("time",), offered_only=False)
    assert kinds(free.call(ToolCall("time", None, text))) == []


def test_a_call_whose_end_comes_without_arguments_has_none():
    one = judging(WEATHER, ToolSpec("time"))
    assert one.call(ToolCall("weather", CHANNEL)) is None
    assert kinds(one.call(ToolCall("weather", CHANNEL, ""))) == ["TOOL_ARGUMENTS"]
    other = Channel(0, "tool_calls.1.arguments")
    assert one.call(ToolCall("time", other)) is None
    assert one.call(ToolCall("time", other, "")) is None


def test_a_call_that_is_told_again_at_its_end_is_judged_by_what_it_says_there():
    one = judging(WEATHER, calls_max=1)
    assert one.call(ToolCall("weather", CHANNEL)) is None
    assert ended(one, GOOD) == (GOOD, ())
    assert one.call(ToolCall("weather", CHANNEL, GOOD)) is None
    assert kinds(one.call(ToolCall("weather", CHANNEL, "{}"))) == ["TOOL_ARGUMENTS"]


def test_a_name_that_was_told_and_streams_too_is_one_call():
    one = judging(names=("time",), offered_only=False, calls_max=1)
    assert one.call(ToolCall("time", CHANNEL, "{}")) is None
    assert ended(one, "time", NAME) == ("time", ())
    assert kinds(*ended(one, "rm", NAME)[1]) == ["TOOL_NAME"]


def test_the_calls_of_one_answer_have_one_room_of_steps():
    dear = ToolSpec("dear", json.dumps({"additionalProperties": {"items": True}}))
    one = judging(dear)
    calls = [json.dumps({str(at): [0] * (LIMITS.schema_steps_max // 3)}) for at in range(4)]
    found = [kinds(one.call(ToolCall("dear", None, text))) for text in calls]
    assert found == [[], [], ["TOOL_ARGUMENTS"], ["TOOL_ARGUMENTS"]]


def test_a_tool_that_takes_text_takes_any():
    one = judging(ToolSpec("shell", takes_text=True))
    one.call(ToolCall("shell", Channel(0, "input")))
    assert ended(one, "ls -l", Channel(0, "input")) == ("ls -l", ())


def test_arguments_of_no_known_call_are_refused():
    assert kinds(*ended(judging(WEATHER), GOOD)[1]) == ["TOOL_NAME"]


def test_arguments_that_came_with_their_call_may_stand_in_a_channel_too():
    one = judging(WEATHER)
    assert one.call(ToolCall("weather", None, '{"city": "\\u004fslo"}')) is None
    assert ended(one, '{"city":"Oslo"}', Channel(3, "arguments")) == ('{"city":"Oslo"}', ())
    assert kinds(*ended(one, '{"city":"Bergen"}', Channel(4, "arguments"))[1]) == ["TOOL_NAME"]


def test_a_name_that_streamed_belongs_to_the_arguments_beside_it():
    one = judging(names=("time",), offered_only=False)
    name, arguments = one.open(NAME), one.open(CHANNEL)
    arguments.feed("{")
    assert name.feed("ti").released == ""
    assert name.feed("me", eof=True).released == "time"
    assert arguments.feed("}", eof=True).released == "{}"


def test_a_call_that_is_told_twice_is_one_and_has_one_name():
    one = judging(WEATHER, ToolSpec("time"), calls_max=1)
    assert one.call(ToolCall("weather", CHANNEL)) is None
    assert one.call(ToolCall("weather", CHANNEL)) is None
    assert kinds(one.call(ToolCall("time", CHANNEL))) == ["TOOL_NAME"]


def test_the_bound_of_calls_is_the_last_that_passes():
    one = judging(WEATHER, calls_max=2)
    found = [one.call(ToolCall("weather", Channel(0, f"tool_calls.{at}.arguments"))) for at in range(3)]
    assert [None if call is None else call.entity_type for call in found] == [None, None, "TOOL_CALLS"]
    assert kinds(judging(WEATHER, calls_max=0).call(ToolCall("weather"))) == ["TOOL_CALLS"]


def test_arguments_that_are_longer_than_may_be_held_are_refused():
    one = judging(ToolSpec("time", "{}"))
    one.call(ToolCall("time", CHANNEL))
    text = json.dumps({"a": "x" * LIMITS.held_chars_max})
    assert kinds(*ended(one, text)[1]) == ["TOOL_ARGUMENTS"]


def test_texts_that_are_no_call_are_not_its_own():
    assert judging(WEATHER).open(Channel(0, "content")) is None
    assert judging(WEATHER).open(Channel(0, "output.once")) is None


def test_the_bound_of_results_is_the_last_that_passes():
    assert guard(results_max=2).judge(asked(results=2), ()).action is Action.ALLOW
    verdict = guard(results_max=2).judge(asked(results=3), ())
    assert (verdict.action, verdict.reason, verdict.status) == (
        Action.BLOCK,
        Reason.TOOL_NOT_ALLOWED,
        403,
    )


@pytest.mark.parametrize(
    "tools",
    [
        (ToolSpec("a", '{"$ref": "https://example.com"}'),),
        (ToolSpec("a", '{"type": "text"}'),),
        (ToolSpec("a", '{"pattern": "(?=a)"}'),),
        (ToolSpec("a", '{"pattern": "a{9999}"}'), ToolSpec("b", '{"pattern": "(a{99}){99}"}')),
        (WEATHER, ToolSpec("weather", "{}")),
    ],
)
def test_a_schema_by_which_no_call_can_be_judged_is_refused_with_the_request(tools):
    verdict = guard().judge(asked(*tools), ())
    assert (verdict.action, verdict.reason, verdict.status) == (
        Action.BLOCK,
        Reason.TOOL_NOT_ALLOWED,
        400,
    )
    assert guard(arguments=False).judge(asked(*tools), ()).action is Action.ALLOW
    # In shadow the request went on all the same.
    one = judging(*tools)
    assert kinds(one.call(ToolCall(tools[0].name, None, "{}"))) == ["TOOL_ARGUMENTS"]


@given(st.sampled_from([GOOD, "{}", '{"city": "a"} x', ""]), cuts)
def test_what_is_decided_does_not_depend_on_the_cuts(text, places):
    one = judging(WEATHER)
    one.call(ToolCall("weather", CHANNEL))
    assert judged(lambda: one.open(CHANNEL), pieces_of(text, places)) == ended(one, text)


@pytest.mark.parametrize(
    "name", ["get weather!", "", "a" * (LIMITS.tool_name_chars_max + 1), "wetter\n", "é"]
)
def test_what_is_no_name_of_a_tool_is_refused(name):
    with pytest.raises(SettingError, match="is no name of a tool") as refused:
        Settings(names=("get_weather", name))
    assert refused.value.place == ("names", 1)
    assert Settings(names=("get_weather", "mcp__server.tool-2", "server:tool/v1")).names
