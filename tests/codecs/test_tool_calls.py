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


# --- calls in other shapes, and what never comes ---------------------------------------------------


def chatted(*documents, events=True):
    return calls_of(frames(chat_session(), *documents, events=events))


def finished(reason="tool_calls", index=1):
    return ("", {"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})


FIRST = Channel(1, "tool_calls.0.arguments")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"type": "custom", "custom": {"name": "rm", "input": "x"}}, [ToolCall("rm")]),
        ({"type": "mcp", "mcp": {"name": "rm", "arguments": "x"}}, [ToolCall("rm")]),
        ({"custom": {"name": "rm"}}, [ToolCall("rm")]),
        ({"type": "function", "name": "rm", "arguments": "{}"}, [ToolCall("rm")]),
        ({"type": "function", "function": [{"name": "rm", "arguments": "{}"}]}, [ToolCall("rm")]),
        ({"type": "function", "function": "rm"}, [ToolCall("")]),
        ({"type": "other"}, [ToolCall("")]),
        ({"type": 3, "custom": {"name": ["rm"]}}, [ToolCall("")]),
        ({"function": {"name": "weather"}, "name": "rm"}, [ToolCall("rm"), ToolCall("weather", FIRST)]),
        (
            {"function": {"name": "weather", "arguments": {"city": 1}}},
            [ToolCall("weather", FIRST), ToolCall("weather", FIRST, '{"city": 1}')],
        ),
        (
            {"function": {"arguments": [1], "name": "weather"}},
            [ToolCall("weather", FIRST, "[1]"), ToolCall("weather", FIRST)],
        ),
        ({"function": {"name": ["weather"], "arguments": "{}"}}, [ToolCall("")]),
        # Some servers have members of their own.
        (
            {
                "function": {"name": "weather", "arguments": "{}"},
                "type": None,
                "extra": {"google": {"a": 1}},
            },
            [ToolCall("weather", FIRST)],
        ),
    ],
)
def test_whatever_looks_like_a_call_is_one(call, told):
    assert chatted(chunk({"index": 0, "id": "call_1", **call}), finished()) == told
    message = {"role": "assistant", "tool_calls": [call]}
    whole = {"choices": [{"index": 1, "message": message, "finish_reason": "tool_calls"}]}
    assert chatted(whole, events=False) == told


@pytest.mark.parametrize(
    "document",
    [
        {"choices": [{"index": 0, "delta": {"tool_call": {"name": "rm"}}}]},
        {"choices": [{"index": 0, "delta": {"toolCalls": [{}]}}]},
        {"choices": [{"index": 0, "tool_calls": [{}]}]},
        {"function_call": {"name": "rm"}},
    ],
)
def test_a_call_where_none_stands_has_no_name(document):
    assert chatted(("", document)) == [ToolCall("")]
    nothing = json.loads(json.dumps(document).replace('{"name": "rm"}', "null").replace("[{}]", "[]"))
    assert chatted(("", nothing)) == []


def test_the_older_call_of_a_function_is_told_likewise():
    delta = {"function_call": {"name": "weather", "arguments": {"city": 1}}}
    channel = Channel(0, "function_call.arguments")
    assert chatted(("", {"choices": [{"index": 0, "delta": delta}]})) == [
        ToolCall("weather", channel),
        ToolCall("weather", channel, '{"city": 1}'),
    ]


def test_calls_are_told_of_in_every_event_that_is_like_the_one_before():
    words = ("Oslo", "Bergen", "Tromso", "Hamar")
    # A key that answers have: any other is a text too, and is looked at each time.
    arguments = [{"title": word} for word in words]
    named = chunk({"index": 0, "function": {"name": "weather"}})
    argued = [chunk({"index": 0, "function": {"arguments": one}}) for one in arguments]
    told = [ToolCall("weather", FIRST, json.dumps(one)) for one in arguments]
    assert chatted(named, *argued) == [ToolCall("weather", FIRST), *told]
    stray = [("", {"choices": [{"delta": {"content": word}, "tool_calls": [{}]}]}) for word in words]
    assert chatted(*stray) == [ToolCall("")] * len(words)


@pytest.mark.parametrize("end", [finished(), ("", None)])
@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            {"function": {"name": "weather"}},
            [ToolCall("weather", FIRST), ToolCall("weather", FIRST, "")],
        ),
        ({"function": {"name": "drop"}}, [ToolCall("drop", FIRST, "")]),
        ({"type": "function"}, [ToolCall("", FIRST, "")]),
        ({}, [ToolCall("", FIRST, "")]),
    ],
)
def test_a_call_that_ends_without_arguments_says_so(call, told, end):
    session = chat_session()
    found = frames(session, chunk({"index": 0, **call}))
    if end[1] is None:
        found += session.read_response(b"data: [DONE]\n\n", eof=True)
    else:
        found += frames_more(session, end)
    assert calls_of(found) == told


def frames_more(session, *documents):
    return [
        frame
        for _, document in documents
        for frame in session.read_response(f"data: {json.dumps(document)}\n\n".encode(), eof=False)
    ]


def ended_empty(found, field):
    """Choices whose text ends without having begun."""
    empty = [
        one for frame in found for one in frame.deltas if one.text == "" and one.channel.field == field
    ]
    ended = {channel for frame in found for channel in frame.ended}
    return [one.channel.choice for one in empty if one.channel in ended]


def said(index, **delta):
    return ("", {"choices": [{"index": index, "delta": delta}]})


@pytest.mark.parametrize(
    ("documents", "choices"),
    [
        ([said(0, content="a"), finished(index=0)], []),
        ([said(0, role="assistant"), finished(index=0)], [0]),
        ([said(0, content=None), said(1, content="a"), finished(index=0), finished(index=1)], [0]),
        ([said(0, content=[{"type": "text", "text": "a"}]), finished(index=0), finished(index=0)], [0]),
    ],
)
def test_a_choice_without_a_text_ends_an_empty_one(documents, choices):
    session = chat_session()
    found = frames(session, *documents)
    assert ended_empty(found, "content") == choices
    written = b"".join(session.write_response(one, tuple(text for _, text in one.deltas)) for one in found)
    assert written == b"".join(f"data: {json.dumps(one)}\n\n".encode() for _, one in documents)


def test_an_answer_without_any_choice_has_one_without_a_text():
    found = chat_whole({"choices": []})
    assert ended_empty(found, "content") == [0]
    session = chat_session()
    frames(session)
    assert ended_empty(session.read_response(b"data: [DONE]\n\n", eof=True), "content") == [0]
    assert ended_empty(session.read_response(b"", eof=True), "content") == []


def chat_whole(answer):
    return frames(chat_session(), answer, events=False)


def test_a_failure_has_no_text_that_is_missing():
    session = chat_session()
    frames(session, ("", {"error": {"message": "no", "type": "x"}}))
    assert ended_empty(session.read_response(b"data: [DONE]\n\n", eof=True), "content") == []


def anthropic_events(*blocks):
    start = {"type": "message", "role": "assistant", "content": [], "model": "m"}
    found = [("message_start", {"type": "message_start", "message": start})]
    for index, (block, pieces) in enumerate(blocks):
        begin = {"type": "content_block_start", "index": index, "content_block": block}
        found.append(("content_block_start", begin))
        found += [
            ("content_block_delta", {"type": "content_block_delta", "index": index, "delta": piece})
            for piece in pieces
        ]
        found.append(("content_block_stop", {"type": "content_block_stop", "index": index}))
    return [*found, ("message_stop", {"type": "message_stop"})]


USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
USED = Channel(0, "input")


def test_anthropic_tells_of_a_call_that_ends_without_arguments():
    piece = {"type": "input_json_delta", "partial_json": "{}"}
    assert calls_of(frames(anthropic_session(), *anthropic_events((USE, [piece])))) == [
        ToolCall("weather", USED)
    ]
    ended = [ToolCall("weather", USED), ToolCall("weather", USED, "")]
    assert calls_of(frames(anthropic_session(), *anthropic_events((USE, [])))) == ended
    cut = anthropic_session()
    begun = frames(cut, *anthropic_events((USE, []))[:2])
    assert calls_of([*begun, *cut.read_response(b"", eof=True)]) == ended
    answer = {"type": "message", "role": "assistant", "content": [USE], "model": "m"}
    assert calls_of(frames(anthropic_session(), answer, events=False)) == [ToolCall("weather", USED, "")]


def test_a_message_without_a_text_ends_an_empty_one():
    text = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "a"}])
    assert ended_empty(frames(anthropic_session(), *anthropic_events(text)), "text") == []
    assert ended_empty(frames(anthropic_session(), *anthropic_events((USE, []))), "text") == [0]
    answer = {"type": "message", "role": "assistant", "content": [USE], "model": "m"}
    session = anthropic_session()
    found = frames(session, answer, events=False)
    assert ended_empty(found, "text") == [0]
    written = [session.write_response(one, tuple(text for _, text in one.deltas)) for one in found]
    assert b"".join(written) == json.dumps(answer).encode()


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather"}


def responded(*items):
    return {"object": "response", "status": "completed", "output": list(items), "model": "m"}


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({**CALL, "arguments": {"city": 1}}, ToolCall("weather", None, '{"city": 1}')),
        (CALL, ToolCall("weather", None, "")),
        ({**CALL, "arguments": None}, ToolCall("weather", None, "")),
        (
            {"type": "local_shell_call", "action": {"command": ["rm"]}},
            ToolCall("local_shell_call", None, ""),
        ),
        ({"type": "computer_call", "action": {"type": "click"}}, ToolCall("computer_call", None, "")),
        ({"type": "mcp_call", "name": "rm", "arguments": "{}"}, ToolCall("rm", None, "{}")),
        ({"type": "mcp_approval_request", "name": "rm", "arguments": "{}"}, ToolCall("rm", None, "{}")),
        ({"name": "rm"}, ToolCall("rm", None, "")),
    ],
)
def test_whatever_looks_like_a_call_of_a_response_is_one(item, told):
    assert calls_of(frames(responses_session(), responded(item), events=False)) == [told]
    # In a stream, each of the three places where an item is said may be the only one.
    begin, *_, end = response_events(item)
    assert calls_of(frames(responses_session(), begin, end)) == [told]


def test_other_items_of_a_response_are_no_calls():
    items = [{"type": "message", "role": "assistant", "content": []}, {"type": "reasoning", "summary": []}]
    assert calls_of(frames(responses_session(), responded(*items), events=False)) == []


def response_events(item, *between):
    begun = {"object": "response", "status": "in_progress", "output": []}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        *between,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": responded(item)},
    ]
    return [(one["type"], one) for one in events]


STREAMED = Channel(0, "arguments")


def test_a_call_of_a_stream_is_told_where_it_begins_and_where_it_is_done():
    whole = {**CALL, "arguments": ARGUMENTS}
    kind = "response.function_call_arguments.delta"
    delta = {"type": kind, "output_index": 0, "item_id": "fc_1", "delta": ARGUMENTS}
    expected = [ToolCall("weather", STREAMED), ToolCall("weather", STREAMED, ARGUMENTS)]
    assert calls_of(frames(responses_session(), *response_events(whole, delta))) == expected
    other = {**whole, "name": "rm"}
    *events, (_, done), (_, completed) = response_events(whole, delta)
    changed = {**completed, "response": responded(other)}
    found = frames(
        responses_session(),
        *events,
        ("response.output_item.done", done),
        ("response.completed", changed),
    )
    assert calls_of(found) == [*expected, ToolCall("rm", None, ARGUMENTS)]


def test_a_call_of_a_stream_that_ends_without_arguments_says_so():
    ended = [ToolCall("weather", STREAMED), ToolCall("weather", STREAMED, "")]
    assert calls_of(frames(responses_session(), *response_events(CALL))) == ended
    cut = responses_session()
    begun = frames(cut, *response_events(CALL)[:2])
    assert calls_of([*begun, *cut.read_response(b"", eof=True)]) == ended


def test_a_call_of_a_stream_that_is_cut_within_its_arguments_has_some():
    kind = "response.function_call_arguments.delta"
    delta = (kind, {"type": kind, "output_index": 0, "item_id": "fc_1", "delta": '{"ci'})
    cut = responses_session()
    begun = frames(cut, *response_events(CALL)[:2], delta)
    told = calls_of([*begun, *cut.read_response(b"", eof=True)])
    assert told == [ToolCall("weather", STREAMED)]


@pytest.mark.parametrize("kind", ["mcp_call", "mcp_approval_request"])
def test_arguments_that_a_call_has_only_where_it_is_done_are_told_there(kind):
    item = {"type": kind, "name": "rm", "arguments": ARGUMENTS}
    expected = [ToolCall("rm", None, ""), ToolCall("rm", None, ARGUMENTS)]
    assert calls_of(frames(responses_session(), *response_events(item))) == expected
    begin, done, end = response_events(item)[1:]
    begin[1]["item"] = item
    found = frames(responses_session(), response_events(item)[0], begin, done, end)
    assert calls_of(found) == [ToolCall("rm", None, ARGUMENTS)]


@pytest.mark.parametrize(
    ("content", "choices"),
    [
        ([], [0]),
        ([{"type": "output_text", "text": "", "annotations": []}], [0]),
        ([{"type": "output_text", "text": "a", "annotations": []}], []),
        ([{"type": "refusal", "refusal": "no"}], []),
    ],
)
def test_a_response_without_a_text_ends_an_empty_one(content, choices):
    answer = responded({"type": "message", "role": "assistant", "id": "msg_1", "content": content})
    session = responses_session()
    found = frames(session, answer, events=False)
    assert ended_empty(found, "text") == choices
    written = [session.write_response(one, tuple(text for _, text in one.deltas)) for one in found]
    assert b"".join(written) == json.dumps(answer).encode()
