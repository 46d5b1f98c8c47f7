"""Nothing planted comes out: the shipped rules, real values in form, any string, any spelling, any cut."""

from __future__ import annotations

import copy
import json
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from doubles import FakeGuard, Playbook, bound, policy
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.codecs._anthropic_request import read_messages
from extproc.codecs.anthropic_messages import CODEC
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Lane
from extproc.policies import new_redactor

SCRIPTS = Path(__file__).parents[2] / "extproc" / "demo" / "models" / "vllm_stand_in" / "1" / "scripts.py"
VALUES = sorted(runpy.run_path(str(SCRIPTS))["made_up_person"]().values())
BODY = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"stream":true}'
WATCHES = [
    bound(FakeGuard(watch=RuleWatch(pack=pack, entity_types=frozenset())), name=pack)
    for pack in ("pii", "secrets")
]
POLICY = replace(policy(*WATCHES), scanner=new_redactor(b"0" * 32))
CANARY = "jane.roe@example.com"
SHAPES = {
    "text": ({"type": "text", "text": ""}, "text_delta", "text"),
    "thinking": ({"type": "thinking", "thinking": ""}, "thinking_delta", "thinking"),
    "input": ({"type": "tool_use", "id": "", "name": "f", "input": {}}, "input_json_delta", "partial_json"),
}


def answered(chunks: list[bytes], *, kind: str = "text/event-stream") -> bytes:
    """What the client gets of an answer; nothing of it where it is refused as a whole."""
    play = Playbook(POLICY, codecs=[CODEC])
    play.head("/v1/messages")
    play.body(BODY, end=True)
    play.answer_head(content_type=kind)
    for at, chunk in enumerate(chunks):
        if not play.stream.done:
            play.answer(chunk, end=at == len(chunks) - 1)
    return play.sent(Lane.RESPONSE)


def event(document: dict) -> bytes:
    return f"event: {document['type']}\ndata: {json.dumps(document)}\n\n".encode()


def spelled(text: str, escapes: list[int]) -> str:
    """A text in JSON, with some of its characters written as escapes."""
    return "".join(
        f"\\u{ord(one):04x}" if at in escapes else one.replace("/", "\\/") for at, one in enumerate(text)
    )


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def leaves(value: object, path: tuple = ()) -> Iterator[tuple]:
    """The path of every string below a value, and of every key as a path that ends in None."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from leaves(item, (*path, at))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key, None)
            yield from leaves(item, (*path, key))


def planted(value: object, path: tuple) -> object:
    """The value with the canary in a string's or a key's place."""
    whole = copy.deepcopy(value)
    *steps, last = path[:-1] if path[-1] is None else path
    inner = whole
    for step in steps:
        inner = inner[step]
    if path[-1] is None:
        inner[CANARY] = inner.pop(last)
    else:
        inner[last] = CANARY
    return whole


# --- the answer ------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(SHAPES)),
    st.sampled_from(VALUES),
    st.lists(st.integers(0, 60), max_size=4),
    st.lists(st.integers(0, 120), max_size=6),
    st.booleans(),
)
def test_a_value_in_a_stream_is_redacted(kind, value, escapes, places, ends):
    block, name, member = SHAPES[kind]
    text = f"So it is {value} now."
    if kind == "input":
        text = '{"a b": "' + spelled(text, escapes) + '"}'
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"}
    stream = [
        event({"type": "message_start", "message": message}),
        event({"type": "content_block_start", "index": 0, "content_block": block}),
        *(
            event({"type": "content_block_delta", "index": 0, "delta": {"type": name, member: one}})
            for one in cut(text, places)
        ),
    ]
    if ends:
        stream += [event({"type": "content_block_stop", "index": 0}), event({"type": "message_stop"})]
    body = answered([*stream, b""])
    told = [json.loads(one.split(b"data: ")[1]) for one in body.split(b"\n\n")[:-1]]
    came = "".join(one["delta"][member] for one in told if one["type"] == "content_block_delta")
    if kind == "input":
        came = json.loads(came)["a b"]
    assert value not in body.decode()
    assert (came.startswith("So it is ["), came.endswith("] now.")) == (True, True)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(VALUES), st.lists(st.integers(0, 60), max_size=4))
def test_a_value_in_a_whole_answer_is_redacted(value, escapes):
    text = f"So it is {value} now."
    blocks = [
        {"type": "thinking", "thinking": text, "signature": text},
        {"type": "text", "text": "@@", "citations": [{"type": "char_location", "cited_text": text}]},
        {"type": "tool_use", "id": text, "name": text, "input": {"a b": [text, {text: 1}]}},
    ]
    document = {"id": text, "type": "message", "content": blocks, "model": text, "stop_sequence": text}
    raw = json.dumps({**document, "remark": text}).replace("@@", spelled(text, escapes))
    body = json.loads(answered([raw.encode()], kind="application/json"))
    assert value not in json.dumps(body)
    assert json.dumps(body).count("So it is [") == 12


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {
            "type": "text",
            "text": "well",
            "citations": [
                {"type": "char_location", "cited_text": "a", "document_title": "b", "file_id": "c"}
            ],
        },
        {
            "type": "tool_use",
            "id": "toolu_1",
            "name": "f",
            "input": {"a": ["b", {"c": "d"}]},
            "caller": {"type": "direct"},
        },
    ],
    "container": {"id": "e", "expires_at": "f", "skills": [{"skill_id": "g"}]},
    "stop_reason": "refusal",
    "stop_sequence": "h",
    "stop_details": {"type": "refusal", "category": "bio", "explanation": "i"},
    "usage": {"input_tokens": 1, "output_tokens": 2, "service_tier": "standard", "inference_geo": "j"},
    "kv_transfer_params": {"k": ["l"]},
    "made_up": {"m": "n"},
}
EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": []}},
    {"type": "ping", "made_up": "a"},
    {"type": "content_block_start", "index": 0, "content_block": MESSAGE["content"][0]},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "a"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "a"}},
    {"type": "content_block_stop", "index": 0, "made_up": {"a": "b"}},
    {"type": "content_block_start", "index": 1, "content_block": MESSAGE["content"][1]},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "citations_delta", "citation": MESSAGE["content"][1]["citations"][0]},
    },
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": MESSAGE["content"][2], "made_up": "a"},
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": "{}"},
    },
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {
            name: MESSAGE[name] for name in ("stop_reason", "stop_sequence", "stop_details", "container")
        },
        "usage": MESSAGE["usage"],
        "context_management": {"applied_edits": [{"type": "a"}]},
    },
    {"type": "message_stop", "made_up": "a"},
]
FAILURE = {"type": "error", "error": {"type": "a", "message": "b"}, "request_id": "c"}


@pytest.mark.parametrize("path", [*leaves(MESSAGE)], ids=str)
def test_no_string_of_a_message_is_left_unseen(path):
    body = json.dumps(planted(MESSAGE, path)).encode()
    assert CANARY.encode() not in answered([body], kind="application/json")


@pytest.mark.parametrize("path", [*leaves(EVENTS)], ids=str)
def test_no_string_of_a_stream_is_left_unseen(path):
    # The event keeps its name: what is planted is its data's.
    names = [one["type"].encode() for one in EVENTS]
    told = planted(EVENTS, path)
    stream = [
        b"event: " + name + b"\ndata: " + json.dumps(one).encode() + b"\n\n"
        for name, one in zip(names, told, strict=True)
    ]
    assert CANARY.encode() not in answered([*stream, b""])


@pytest.mark.parametrize("path", [*leaves(FAILURE)], ids=str)
def test_no_string_of_a_failure_is_left_unseen(path):
    told = b"event: error\ndata: " + json.dumps(planted(FAILURE, path)).encode() + b"\n\n"
    assert CANARY.encode() not in answered([event(EVENTS[0]), told])


def test_the_canaries_would_be_seen_where_nobody_looks():
    play = Playbook(policy(), codecs=[CODEC])
    play.head("/v1/messages")
    play.body(BODY, end=True)
    play.answer_head(content_type="application/json")
    play.answer(json.dumps(planted(MESSAGE, ("content", 1, "text"))).encode(), end=True)
    assert CANARY.encode() in play.sent(Lane.RESPONSE)


# --- the request -----------------------------------------------------------------------------------------

TEXT = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "5m"}}
PAGE = {"type": "text", "media_type": "text/plain", "data": "b"}
REQUEST = {
    "model": "m",
    "max_tokens": 4_096,
    "stream": True,
    "system": [TEXT, {**TEXT, "citations": [{"type": "char_location", "cited_text": "c"}]}],
    "messages": [
        {"role": "user", "content": "d"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "e", "signature": "f"},
                TEXT,
                {
                    "type": "tool_use",
                    "id": "g",
                    "name": "h",
                    "input": {"i": ["j", {"k": "l"}]},
                    "caller": {"type": "direct"},
                },
            ],
        },
        {
            "role": "user",
            "note": {"m": ["n"]},
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "g",
                    "content": [TEXT, {"type": "tool_reference", "tool_name": "o"}],
                    "made_up": "p",
                },
                {"type": "tool_result", "tool_use_id": "g", "content": "q"},
                {
                    "type": "document",
                    "source": PAGE,
                    "title": "r",
                    "context": "s",
                    "citations": {"enabled": True},
                },
                {"type": "document", "source": {"type": "content", "content": [TEXT]}},
                {"type": "search_result", "source": "t", "title": "u", "content": [TEXT]},
            ],
        },
    ],
    "tools": [
        {
            "type": "custom",
            "name": "v",
            "description": "w",
            "input_schema": {"type": "object", "properties": {"x": {"enum": ["y"], "description": "z"}}},
            "input_examples": [{"x": "y"}],
            "allowed_callers": ["direct"],
            "cache_control": {"type": "ephemeral"},
        }
    ],
    "tool_choice": {"type": "tool", "name": "v"},
    "thinking": {"type": "enabled", "budget_tokens": 1_024, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"title": "1"}}},
    "metadata": {"user_id": "2"},
    "stop_sequences": ["3"],
    "service_tier": "auto",
    "cache_control": {"type": "ephemeral"},
    "chat_template_kwargs": {"enable_thinking": True},
    "made_up": {"4": ["5"]},
}


@pytest.mark.parametrize("path", [*leaves(REQUEST)], ids=str)
def test_no_string_of_a_request_is_left_unseen(path):
    body = json.dumps(planted(REQUEST, path)).encode()
    try:
        request = read_messages(body, limits=LIMITS)
    except PeerError as error:
        assert CANARY not in error.message  # noqa: PT017 - it need not raise.
        return
    params = request.params
    judged = "\n".join([*(segment.text for segment in request.segments), params.model, *params.sampling])
    assert CANARY in judged


def test_the_request_of_the_canaries_is_one():
    assert len(read_messages(json.dumps(REQUEST).encode(), limits=LIMITS).segments) == 27
