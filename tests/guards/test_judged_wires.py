"""Guards of calls and of JSON on the wires themselves: what answers say in any shape, and what not."""

from __future__ import annotations

import json

import pytest
from doubles import Playbook, bound, policy
from exchanges import guard_env

from extproc.codecs import discover
from extproc.core import commands
from extproc.domain.verdict import Lane, Stage
from extproc.guards import output_schema, tool_policy

CODECS = discover()
CITY = {"type": "object", "properties": {"city": {"type": "string", "pattern": "^[A-Z][a-z]+$"}}}
CITY = {**CITY, "required": ["city"], "additionalProperties": False}
CALLED = "weather"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CHAT = {
    **ASKED,
    "stream": True,
    "tools": [
        {"type": "function", "function": {"name": CALLED, "parameters": CITY}},
        {"type": "function", "function": {"name": "time"}},
    ],
}
JSON = {**ASKED, "stream": True, "response_format": {"type": "json_object"}}
DONE = b"data: [DONE]\n\n"


def guard(module, **settings):
    spec = module.GUARD
    return bound(spec.build(module.Settings(**settings), guard_env()), name=spec.name, stage=Stage.TOOLS)


def played(guard, path, request, *chunks, kind="text/event-stream"):
    """Whether an answer was refused, and what of it went out."""
    play = Playbook(policy(guard), codecs=CODECS)
    play.head(path, content_type="application/json")
    play.body(json.dumps(request).encode(), end=True)
    play.answer_head(200, content_type=kind)
    for chunk in chunks:
        play.answer(chunk, end=chunk is chunks[-1])
    sent = play.sent(Lane.RESPONSE)
    stopped = any(isinstance(one, commands.Refuse | commands.Abort) for one in play.commands)
    return stopped or b'"error"' in sent, sent


def event(delta, finish=None, index=0):
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return (
        b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
    )


def call(name=CALLED, arguments='{"city": "Oslo"}', **members):
    function = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
    return event(
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function, **members}]}
    )


END = (event({}, "tool_calls"), DONE)


def is_call_refused(*chunks):
    return played(guard(tool_policy), "/v1/chat/completions", CHAT, *chunks)[0]


def test_a_call_that_is_allowed_passes():
    answer = (call(), *END)
    assert played(guard(tool_policy), "/v1/chat/completions", CHAT, *answer)[0] is False
    assert is_call_refused(call("time", None), *END) is False


@pytest.mark.parametrize(
    "chunk",
    [
        call(arguments='{"city": "../etc"}'),
        call(arguments={"city": "../etc"}),
        call(arguments=None),
        call("time", '{"zone": 1}'),
        call(type="custom", custom={"name": "rm", "input": "x"}),
        call(function=[{"name": "rm", "arguments": "{}"}]),
        call(name="rm", arguments=None),
        event({"function_call": {"name": CALLED, "arguments": {"city": 1}}}),
        event({"tool_calls": [{"index": 0, "id": "c", "name": "rm", "arguments": "{}"}]}),
    ],
)
def test_a_call_in_any_shape_is_judged(chunk):
    assert is_call_refused(chunk, *END) is True


def is_item_refused(item):
    tools = [{"type": "function", "name": CALLED, "parameters": CITY}]
    body = {"object": "response", "status": "completed", "model": "m", "output": [item]}
    request = {"model": "m", "input": "hi", "tools": tools}
    kind = "application/json"
    return played(guard(tool_policy), "/v1/responses", request, json.dumps(body).encode(), kind=kind)[0]


ITEM = {"type": "function_call", "id": "fc", "call_id": "c", "name": CALLED}


@pytest.mark.parametrize(
    ("item", "refused"),
    [
        ({**ITEM, "arguments": '{"city": "Oslo"}'}, False),
        ({**ITEM, "arguments": {"city": 1}}, True),
        (ITEM, True),
        ({"type": "local_shell_call", "id": "x", "call_id": "c", "action": {"command": ["rm"]}}, True),
        ({"type": "computer_call", "id": "x", "call_id": "c", "action": {"type": "click"}}, True),
    ],
)
def test_an_item_of_any_type_is_judged(item, refused):
    assert is_item_refused(item) is refused


def formed(*chunks, hold=True):
    return played(guard(output_schema, hold=hold), "/v1/chat/completions", JSON, *chunks)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(
    ("chunks", "refused"),
    [
        ([event({"content": "{}"}), event({}, "stop"), DONE], False),
        ([event({"role": "assistant"}), event({}, "stop"), DONE], True),
        ([event({"content": None}, "stop"), DONE], True),
        ([event({"content": [{"type": "text", "text": "{}"}]}, "stop"), DONE], True),
        ([DONE], True),
        ([call(), event({}, "tool_calls"), DONE], False),
        ([call(), event({}, "tool_calls"), event({"content": " "}, "stop", index=1), DONE], True),
        ([event({"refusal": "No."}), event({}, "stop"), DONE], False),
        ([event({"content": '{"a":' + "1" * 100 + "}"}, "stop"), DONE], True),
    ],
)
def test_an_answer_that_must_be_json_is_there(chunks, refused, hold):
    assert formed(*chunks, hold=hold)[0] is refused


@pytest.mark.parametrize("hold", [True, False])
def test_what_passes_can_be_read_by_every_client(hold):
    refused, sent = formed(event({"content": '{"a":"x\ny"}'}), event({}, "stop"), DONE, hold=hold)
    chunks = [json.loads(one.removeprefix(b"data: ")) for one in sent.split(b"\n\n") if b"{" in one]
    text = "".join([one["choices"][0]["delta"].get("content", "") for one in chunks])
    assert (refused, json.loads(text)) == (False, {"a": "x\ny"})


USE = {"type": "tool_use", "id": "toolu_1", "name": CALLED, "input": {}}


@pytest.mark.parametrize(
    ("judge", "block", "refused"),
    [
        (tool_policy, USE, True),
        (tool_policy, {**USE, "input": {"city": "Oslo"}}, False),
        (output_schema, USE, False),
        (output_schema, {"type": "thinking", "thinking": "hm", "signature": ""}, True),
    ],
)
def test_a_message_is_judged_by_what_it_lacks(judge, block, refused):
    request = {
        **ASKED,
        "max_tokens": 9,
        "tools": [{"name": CALLED, "input_schema": CITY}],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }
    body = {"type": "message", "id": "msg_1", "role": "assistant", "content": [block], "model": "m"}
    answer = json.dumps(body).encode()
    assert played(guard(judge), "/v1/messages", request, answer, kind="application/json")[0] is refused
