"""Nothing planted comes out: the shipped rules, real values in form, any field, any spelling, any cut."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

from doubles import FakeGuard, Playbook, bound, policy
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.codecs.openai_chat import CODEC
from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Lane
from extproc.policies import new_redactor

SCRIPTS = Path(__file__).parents[2] / "extproc" / "demo" / "models" / "vllm_stand_in" / "1" / "scripts.py"
VALUES = sorted(runpy.run_path(str(SCRIPTS))["made_up_person"]().values())
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
WATCHES = [
    bound(FakeGuard(watch=RuleWatch(pack=pack, entity_types=frozenset())), name=pack)
    for pack in ("pii", "secrets")
]
POLICY = replace(policy(*WATCHES), scanner=new_redactor(b"0" * 32))


def answered(chunks: list[bytes], *, kind: str) -> bytes:
    play = Playbook(POLICY, codecs=[CODEC])
    play.head("/v1/chat/completions")
    play.body(BODY, end=True)
    play.answer_head(content_type=kind)
    for chunk in chunks[:-1]:
        play.answer(chunk)
    play.answer(chunks[-1], end=True)
    return play.sent(Lane.RESPONSE)


def spelled(text: str, escapes: list[int]) -> str:
    """A text in JSON, with some of its characters written as escapes."""
    return "".join(
        f"\\u{ord(one):04x}" if at in escapes else one.replace("/", "\\/") for at, one in enumerate(text)
    )


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def delta(field: str, piece: str) -> dict:
    if field == "arguments":
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    return {"audio": {"transcript": piece}} if field == "audio" else {field: piece}


def read_back(field: str, body: bytes) -> str:
    """What a client puts together: of arguments, after reading their JSON."""
    texts = []
    for event in body.split(b"\n\n")[:-1]:
        data = event.removeprefix(b"data: ")
        for choice in json.loads(data)["choices"] if data != b"[DONE]" else ():
            found = choice["delta"]
            if field == "arguments":
                texts += [call["function"]["arguments"] for call in found.get("tool_calls", ())]
            elif field == "audio":
                texts.append(found.get("audio", {}).get("transcript", ""))
            else:
                texts.append(found.get(field) or "")
    whole = "".join(texts)
    return json.loads(whole)["a b"] if field == "arguments" else whole


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        ["content", "refusal", "reasoning", "reasoning_content", "audio", "arguments", "made_up"]
    ),
    st.sampled_from(VALUES),
    st.lists(st.integers(0, 60), max_size=4),
    st.lists(st.integers(0, 120), max_size=6),
    st.sampled_from(["stop", None]),
)
def test_in_a_stream(field, value, escapes, places, finish):
    text = f"So it is {value} now."
    if field == "arguments":
        text = '{"a b": "' + spelled(text, escapes) + '"}'
    stream = [
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta(field, piece)}]}).encode() + b"\n\n"
        for piece in cut(text, places)
    ]
    if finish:
        ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        stream.append(b"data: " + json.dumps(ended).encode() + b"\n\n")
    body = answered([*stream, b"data: [DONE]\n\n"], kind="text/event-stream")
    came = read_back(field, body)
    assert value not in came
    assert (came.startswith("So it is ["), came.endswith("] now.")) == (True, True)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(VALUES), st.lists(st.integers(0, 60), max_size=4))
def test_in_a_whole_answer(value, escapes):
    text = f"So it is {value} now."
    message = {
        "role": "assistant",
        "content": text,
        "refusal": text,
        "annotations": [{"type": "url_citation", "url_citation": {"title": text}}],
        "made_up": {"deep": [text]},
        "tool_calls": [
            {"id": text, "function": {"name": text, "arguments": f'"{spelled(text, escapes)}"'}}
        ],
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": [text]}}
    document = {"id": text, "choices": [choice], "remark": text}
    body = json.loads(answered([json.dumps(document).encode()], kind="application/json"))
    (call,) = body["choices"][0]["message"]["tool_calls"]
    call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert value not in json.dumps(body)
    assert json.dumps(body).count("So it is [") == 9
