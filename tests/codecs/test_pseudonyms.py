"""A token of the request comes back as its value on the wires, in any field, any spelling, any cut."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from doubles import Playbook, bound, policy
from exchanges import guard_env
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.codecs import anthropic_messages, openai_chat, openai_responses, triton_generate
from extproc.domain.verdict import Lane
from extproc.guards import pii
from extproc.policies import new_redactor

REDACTOR = new_redactor(b"0" * 32)
GUARD = pii.GUARD.build(
    pii.Settings(operators={"EMAIL_ADDRESS": "pseudonym", "CREDIT_CARD": "pseudonym"}),
    replace(guard_env(), find=REDACTOR.find),
)
POLICY = replace(policy(bound(GUARD, name="pii")), scanner=REDACTOR)
MAIL, OTHER, CARD = "ann@example.com", "bob@example.com", "4111111111111111"
TOKEN = re.compile(r"\[(?:EMAIL_ADDRESS|CREDIT_CARD)_[a-z]{10}\]")


class Talk:
    def __init__(self, codec, path, body):
        self.play = Playbook(POLICY, codecs=[codec])
        self.play.head(path, content_type="application/json")
        self.play.body(json.dumps(body).encode(), end=True)
        self.asked = self.play.sent(Lane.REQUEST).decode()
        self.tokens = TOKEN.findall(self.asked)

    def answered(self, body, *, kind="text/event-stream"):
        self.play.answer_head(content_type=kind)
        for piece in body if isinstance(body, list) else [body]:
            self.play.answer(piece)
        self.play.answer(b"", end=True)
        return self.play.sent(Lane.RESPONSE)


def chat(content=f"write to {MAIL}", **more):
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **more}
    return Talk(openai_chat.CODEC, "/v1/chat/completions", body)


def cut(text, places):
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def event(document):
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def spelled(text, escapes):
    return "".join(f"\\u{ord(one):04x}" if at in escapes else one for at, one in enumerate(text))


def chat_delta(field, piece):
    if field == "arguments":
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    return {field: piece}


def chat_text(field, body):
    pieces = []
    for one in body.split(b"\n\n")[:-1]:
        data = one.removeprefix(b"data: ")
        for choice in json.loads(data)["choices"] if data != b"[DONE]" else ():
            delta = choice["delta"]
            if field == "arguments":
                pieces += [call["function"]["arguments"] for call in delta.get("tool_calls", ())]
            else:
                pieces.append(delta.get(field) or "")
    return "".join(pieces)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(["content", "reasoning_content", "arguments"]),
    st.lists(st.integers(0, 60), max_size=4),
    st.lists(st.integers(0, 120), max_size=8),
)
def test_in_a_stream_of_chat(field, escapes, places):
    talk = chat(stream=True)
    (token,) = talk.tokens
    text = f"Sent to {token} and {OTHER} now."
    if field == "arguments":
        text = '{"a": "' + spelled(text, escapes) + '"}'
    stream = [
        event({"choices": [{"index": 0, "delta": chat_delta(field, piece)}]}) for piece in cut(text, places)
    ]
    said = chat_text(field, talk.answered([*stream, b"data: [DONE]\n\n"]))
    if field == "arguments":
        said = json.loads(said)["a"]
    assert said == f"Sent to {MAIL} and [EMAIL_ADDRESS] now."


def test_in_a_whole_chat_answer():
    talk = chat()
    (token,) = talk.tokens
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "mail", "arguments": json.dumps({"to": token, "from": OTHER})},
    }
    message = {"role": "assistant", "content": f"to {token}", "tool_calls": [call]}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    answered = json.loads(talk.answered(json.dumps(body).encode(), kind="application/json"))
    said = answered["choices"][0]["message"]
    assert said["content"] == f"to {MAIL}"
    arguments = json.loads(said["tool_calls"][0]["function"]["arguments"])
    assert arguments == {"to": MAIL, "from": "[EMAIL_ADDRESS]"}


def test_a_number_in_the_arguments_of_an_earlier_call_becomes_a_string():
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "pay", "arguments": f'{{"card": {CARD}}}'},
    }
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    talk = Talk(openai_chat.CODEC, "/v1/chat/completions", {"model": "m", "messages": messages})
    (token,) = talk.tokens
    asked = json.loads(talk.asked)["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(asked) == {"card": token}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_in_a_stream_of_triton(size):
    body = {"text_input": f"write to {MAIL}", "stream": True, "max_tokens": 9}
    talk = Talk(triton_generate.CODEC, "/v2/models/m/generate_stream", body)
    (token,) = talk.tokens
    text = f"Sent to {token}, not {OTHER}."
    stream = b"".join(
        event({"model_name": "m", "text_output": text[at : at + size]}) for at in range(0, len(text), size)
    )
    events = talk.answered(stream).split(b"\n\n")[:-1]
    said = "".join(json.loads(one.removeprefix(b"data: "))["text_output"] for one in events)
    assert said == f"Sent to {MAIL}, not [EMAIL_ADDRESS]."


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_in_the_tool_input_of_anthropics_stream(size):
    messages = [{"role": "user", "content": f"write to {MAIL}"}]
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": messages}
    talk = Talk(anthropic_messages.CODEC, "/v1/messages", body)
    (token,) = talk.tokens
    text = json.dumps({"to": token})
    usage = {"input_tokens": 1, "output_tokens": 1}
    start = {"id": "1", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": usage}
    block = {"type": "tool_use", "id": "t", "name": "mail", "input": {}}
    said = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": text[at : at + size]},
            }
            for at in range(0, len(text), size)
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
        {"type": "message_stop"},
    ]
    stream = b"".join(b"event: %s\n" % one["type"].encode() + event(one) for one in said)
    events = [json.loads(one.partition(b"data: ")[2]) for one in talk.answered(stream).split(b"\n\n")[:-1]]
    pieces = [one["delta"]["partial_json"] for one in events if one["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"to": MAIL}


def test_in_every_place_of_a_whole_response():
    body = {"model": "m", "input": f"write to {MAIL}"}
    talk = Talk(openai_responses.CODEC, "/v1/responses", body)
    (token,) = talk.tokens
    part = {"type": "output_text", "text": f"to {token}", "annotations": []}
    message = {"type": "message", "id": "1", "role": "assistant", "status": "completed", "content": [part]}
    answer = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": [message]}
    answered = json.loads(talk.answered(json.dumps(answer).encode(), kind="application/json"))
    assert answered["output"][0]["content"][0]["text"] == f"to {MAIL}"
