"""A policy's own text in the place of a JSON number, in tool arguments of every wire that has them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from doubles import Playbook, bound, policy
from exchanges import guard_env
from responses_samples import event_bytes, numbered, response_of

from extproc.codecs import anthropic_messages, openai_chat, openai_responses
from extproc.domain.verdict import Lane
from extproc.guards import pii
from extproc.policies import new_redactor

REDACTOR = new_redactor(b"0" * 32)
CARD = "4111111111111111"
TEXTS = ["gone", "[card] removed", "<a, b>", "1 of 2", "{}", "Karte: weg"]
ARGUMENTS = f'{{"card": {CARD}, "count": 3, "also": [{CARD},{CARD}], "note": "was {CARD}"}}'

CALLED = {"id": "i", "type": "function_call", "call_id": "c", "name": "pay", "arguments": ARGUMENTS}


def playbook(text, codec, path, body):
    guard = pii.GUARD.build(
        pii.Settings(operators={"CREDIT_CARD": f"replace:{text}"}),
        replace(guard_env(), find=REDACTOR.find),
    )
    play = Playbook(replace(policy(bound(guard, name="pii")), scanner=REDACTOR), codecs=[codec])
    play.head(path, content_type="application/json")
    play.body(json.dumps(body).encode(), end=True)
    return play


def pieces(size):
    return [ARGUMENTS[at : at + size] for at in range(0, len(ARGUMENTS), size)]


def sent(play, events, *, kind="text/event-stream"):
    play.answer_head(content_type=kind)
    for one in events:
        play.answer(one)
    play.answer(b"", end=True)
    return play.sent(Lane.RESPONSE)


def documents(stream):
    lines = [line.removeprefix(b"data: ") for line in stream.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def expected(text):
    return {"card": text, "count": 3, "also": [text, text], "note": f"was {text}"}


def chat(text, size):
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "pay"}]}
    play = playbook(text, openai_chat.CODEC, "/v1/chat/completions", body)
    events = [
        {
            "choices": [
                {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}}
            ]
        }
        for piece in pieces(size)
    ]
    events[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] = "pay"
    written = [b"data: %b\n\n" % json.dumps(one).encode() for one in events]
    found = documents(sent(play, [*written, b"data: [DONE]\n\n"]))
    calls = [call for one in found for choice in one["choices"] for call in choice["delta"]["tool_calls"]]
    return "".join(call["function"].get("arguments", "") for call in calls)


def messages(text, size):
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "pay"}]}
    play = playbook(text, anthropic_messages.CODEC, "/v1/messages", body)
    block = {"type": "tool_use", "id": "t", "name": "pay", "input": {}}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    events = [
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 1, "output_tokens": 0}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": piece},
            }
            for piece in pieces(size)
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    written = [
        b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in events
    ]
    found = documents(sent(play, written))
    return "".join(one["delta"]["partial_json"] for one in found if one["type"] == "content_block_delta")


def responses(text, size):
    body = {"model": "m", "stream": True, "input": "pay"}
    play = playbook(text, openai_responses.CODEC, "/v1/responses", body)
    at = {"item_id": "i", "output_index": 0}
    events = [
        {"type": "response.created", "response": response_of("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": {**CALLED, "arguments": ""}},
        *(
            {"type": "response.function_call_arguments.delta", **at, "delta": piece}
            for piece in pieces(size)
        ),
        {"type": "response.function_call_arguments.done", **at, "arguments": ARGUMENTS},
    ]
    written = list(map(event_bytes, numbered(events)))
    found = documents(sent(play, written))
    deltas = [one["delta"] for one in found if one["type"].endswith("arguments.delta")]
    assert found[-1]["arguments"] == "".join(deltas)
    return "".join(deltas)


@pytest.mark.parametrize("size", [1, 5, 1_000])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("wire", [chat, messages, responses])
def test_arguments_that_stream_stay_json(wire, text, size):
    assert json.loads(wire(text, size)) == expected(text)


@pytest.mark.parametrize("text", TEXTS)
def test_whole_answers_stay_json(text):
    body = {"model": "m", "messages": [{"role": "user", "content": "pay"}]}
    play = playbook(text, openai_chat.CODEC, "/v1/chat/completions", body)
    call = {"id": "1", "type": "function", "function": {"name": "pay", "arguments": ARGUMENTS}}
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}}
    answered = json.loads(sent(play, [json.dumps({"choices": [choice]}).encode()], kind="application/json"))
    said = answered["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(said) == expected(text)
    play = playbook(text, openai_responses.CODEC, "/v1/responses", {"model": "m", "input": "pay"})
    whole = response_of("completed", output=[CALLED])
    answered = json.loads(sent(play, [json.dumps(whole).encode()], kind="application/json"))
    assert json.loads(answered["output"][0]["arguments"]) == expected(text)


@pytest.mark.parametrize("text", TEXTS)
def test_requests_stay_json(text):
    call = {"id": "1", "type": "function", "function": {"name": "pay", "arguments": ARGUMENTS}}
    said = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    play = playbook(text, openai_chat.CODEC, "/v1/chat/completions", {"model": "m", "messages": said})
    asked = json.loads(play.sent(Lane.REQUEST))["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(asked) == expected(text)


def test_a_number_may_stand_for_a_number():
    assert json.loads(chat("0", 5))["card"] == 0
