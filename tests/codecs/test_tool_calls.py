"""What the codecs tell of tools that a request offers, of calls in an answer, and of its format."""

from __future__ import annotations

import json

import pytest

from extproc.codecs.anthropic_messages import CODEC as ANTHROPIC
from extproc.codecs.openai_chat import CODEC as CHAT
from extproc.codecs.openai_responses import CODEC as RESPONSES
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.judging import AnswerFormat, ToolCall, ToolSpec
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Channel

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WRITTEN = json.dumps(SCHEMA)
ARGUMENTS = '{"city": "Oslo"}'
CHATTED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PATHS = {CHAT: "/v1/chat/completions", ANTHROPIC: "/v1/messages", RESPONSES: "/v1/responses"}


def opened(codec, body):
    session = codec.open(
        RequestHead(method="POST", path=PATHS[codec], headers={"content-type": ("application/json",)})
    )
    (message,) = session.read_request(json.dumps(body).encode(), eof=True)
    session.write_request(0, RequestEdits())
    return session, message


def frames(session, *documents, events=True):
    kind = "text/event-stream" if events else "application/json"
    session.read_response_head(ResponseHead(status=200, headers={"content-type": (kind,)}))
    if not events:
        return session.read_response(json.dumps(documents[0]).encode(), eof=True)
    found = []
    for name, document in documents:
        named = f"event: {name}\n" if name else ""
        chunk = f"{named}data: {json.dumps(document)}\n\n".encode()
        found += session.read_response(chunk, eof=False)
    return found


def calls_of(frames):
    return [call for frame in frames for call in frame.calls]


# --- requests ------------------------------------------------------------------------------------


def test_a_chat_tells_of_its_tools():
    tools = [
        {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "time"}},
    ]
    _, message = opened(CHAT, {**CHATTED, "tools": tools, "functions": [{"name": "old", "parameters": {}}]})
    assert message.tools == (ToolSpec("weather", WRITTEN), ToolSpec("time"), ToolSpec("old", "{}"))


def test_anthropic_tells_of_its_tools():
    tools = [{"name": "weather", "input_schema": SCHEMA}, {"name": "time", "input_schema": None}]
    _, message = opened(ANTHROPIC, {**CHATTED, "max_tokens": 9, "tools": tools})
    assert message.tools == (ToolSpec("weather", WRITTEN), ToolSpec("time"))


def test_responses_tell_of_their_tools():
    tools = [
        {"type": "function", "name": "weather", "parameters": SCHEMA},
        {"type": "custom", "name": "shell"},
    ]
    _, message = opened(RESPONSES, {"model": "m", "input": "hi", "tools": tools})
    assert message.tools == (ToolSpec("weather", WRITTEN), ToolSpec("shell", takes_text=True))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, AnswerFormat()),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
            AnswerFormat(WRITTEN),
        ),
        ({"guided_json": SCHEMA}, AnswerFormat(WRITTEN)),
    ],
)
def test_a_chat_tells_of_the_format_of_its_answer(asked, told):
    assert opened(CHAT, {**CHATTED, **asked})[1].answer_format == told


def test_the_other_wires_tell_of_it_too():
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    _, message = opened(ANTHROPIC, {**CHATTED, "max_tokens": 9, "output_config": config})
    assert message.answer_format == AnswerFormat(WRITTEN)
    form = {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}
    _, message = opened(RESPONSES, {"model": "m", "input": "hi", "text": form})
    assert message.answer_format == AnswerFormat(WRITTEN)


# --- answers -------------------------------------------------------------------------------------


def chat_session():
    tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    return opened(CHAT, {**CHATTED, "tools": tools})[0]


def chunk(*calls):
    return ("", {"choices": [{"index": 1, "delta": {"tool_calls": list(calls)}}]})


def test_a_chat_tells_of_each_call_with_the_channel_of_its_arguments():
    found = frames(
        chat_session(),
        chunk(
            {
                "index": 0,
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": ""},
            }
        ),
        chunk({"index": 0, "function": {"arguments": ARGUMENTS}}),
        chunk({"index": 2, "function": {"name": "weather", "arguments": "{}"}}),
    )
    assert calls_of(found) == [
        ToolCall("weather", Channel(1, "tool_calls.0.arguments")),
        ToolCall("weather", Channel(1, "tool_calls.2.arguments")),
    ]
    assert [delta for frame in found[1:2] for delta in frame.deltas] == [
        (Channel(1, "tool_calls.0.arguments"), ARGUMENTS)
    ]


def test_a_name_that_a_chat_does_not_offer_is_a_text():
    found = frames(chat_session(), chunk({"index": 0, "function": {"name": "drop", "arguments": "{}"}}))
    assert calls_of(found) == []
    assert (Channel(1, "tool_calls.0.name"), "drop") in found[0].deltas


def test_a_whole_chat_tells_of_its_calls():
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]}
    assert calls_of(frames(chat_session(), answer, events=False)) == [
        ToolCall("weather", Channel(0, "tool_calls.0.arguments"))
    ]


def anthropic_session():
    tools = [{"name": "weather", "input_schema": SCHEMA}]
    return opened(ANTHROPIC, {**CHATTED, "max_tokens": 9, "tools": tools})[0]


@pytest.mark.parametrize("name", ["weather", "drop"])
def test_anthropic_tells_of_each_call_whatever_its_name(name):
    start = {"type": "message", "role": "assistant", "content": [], "model": "m"}
    block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
    found = frames(
        anthropic_session(),
        ("message_start", {"type": "message_start", "message": start}),
        ("content_block_start", {"type": "content_block_start", "index": 1, "content_block": block}),
    )
    assert calls_of(found) == [ToolCall(name, Channel(1, "input"))]


def test_a_whole_message_tells_of_its_calls_with_their_arguments():
    blocks = [
        {"type": "text", "text": "well"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": json.loads(ARGUMENTS)},
    ]
    answer = {"type": "message", "role": "assistant", "content": blocks, "model": "m"}
    assert calls_of(frames(anthropic_session(), answer, events=False)) == [
        ToolCall("weather", Channel(1, "input"), ARGUMENTS)
    ]


def responses_session():
    tools = [{"type": "function", "name": "weather", "parameters": SCHEMA}]
    return opened(RESPONSES, {"model": "m", "input": "hi", "tools": tools})[0]


def test_responses_tell_of_each_call():
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": ""}
    response = {"object": "response", "status": "in_progress", "output": []}
    found = frames(
        responses_session(),
        ("response.created", {"type": "response.created", "response": response}),
        (
            "response.output_item.added",
            {"type": "response.output_item.added", "output_index": 2, "item": item},
        ),
    )
    assert calls_of(found) == [ToolCall("weather", Channel(2, "arguments"))]


def test_a_whole_response_tells_of_its_calls_with_their_arguments():
    item = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": ARGUMENTS}
    answer = {"object": "response", "status": "completed", "output": [item], "model": "m"}
    assert calls_of(frames(responses_session(), answer, events=False)) == [
        ToolCall("weather", None, ARGUMENTS)
    ]
