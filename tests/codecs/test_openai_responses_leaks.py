"""Nothing planted comes out, and each text is the same in its deltas, at its end and in the whole response.

By the shipped rules, on real values in form, in any kind of text, any spelling, any cut.
"""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

from doubles import FakeGuard, Playbook, bound, policy
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_samples import PATH, RESPONSE, documents_of, event_bytes, numbered, response_of

from extproc.codecs.openai_responses import CODEC
from extproc.domain.ports import PolicySnapshot
from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Lane
from extproc.policies import new_redactor

SCRIPTS = Path(__file__).parents[2] / "extproc" / "demo" / "models" / "vllm_stand_in" / "1" / "scripts.py"
VALUES = sorted(runpy.run_path(str(SCRIPTS))["made_up_person"]().values())
WATCHES = [
    bound(FakeGuard(watch=RuleWatch(pack=pack, entity_types=frozenset())), name=pack)
    for pack in ("pii", "secrets")
]
POLICY = replace(policy(*WATCHES), scanner=new_redactor(b"0" * 32))
ITEM_ID = "msg_" + "0123456789abcdef" * 2
# Of each kind of text: what its events are called, the member that has all of it, and what holds it.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "text": ("output_text", "text", {"type": "output_text", "annotations": []}),
    "refusal": ("refusal", "refusal", {"type": "refusal"}),
    "reasoning": ("reasoning_text", "text", {"type": "reasoning_text"}),
    "summary": ("reasoning_summary_text", "text", {"type": "summary_text"}),
    "arguments": ("function_call_arguments", "arguments", {}),
    "input": ("custom_tool_call_input", "input", {}),
    "json": ("output_text", "text", {"type": "output_text", "annotations": []}),
}
INSIDE = {"text": "content", "json": "content", "refusal": "content", "reasoning": "content"}


def asked(kind: str) -> bytes:
    text = {"text": {"format": {"type": "json_object"}}} if kind == "json" else {}
    return json.dumps({"model": "m", "input": "hi", "stream": True, **text}).encode()


def answered(
    body: bytes,
    kind: str,
    places: list[int],
    *,
    content_type: str = "text/event-stream",
    snapshot: PolicySnapshot = POLICY,
) -> bytes:
    """What the client gets of an answer that comes in pieces."""
    play = Playbook(snapshot, codecs=[CODEC])
    play.head(PATH)
    play.body(asked(kind), end=True)
    play.answer_head(content_type=content_type)
    ends = sorted({*(place for place in places if place < len(body)), len(body)})
    for start, end in zip([0, *ends], ends, strict=False):
        play.answer(body[start:end])
    play.answer(b"", end=True)
    return play.sent(Lane.RESPONSE)


def spelled(text: str, escapes: list[int]) -> str:
    """A text in JSON, with some of its characters written as escapes."""
    return "".join(
        f"\\u{ord(one):04x}" if at in escapes else one.replace("/", "\\/") for at, one in enumerate(text)
    )


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def held(kind: str, text: str) -> dict[str, Any]:
    """An output item with a text."""
    _, member, part = KINDS[kind]
    match kind:
        case "arguments":
            item = {"type": "function_call", "call_id": "c", "name": "f", member: text}
        case "input":
            item = {"type": "custom_tool_call", "call_id": "c", "name": "f", member: text}
        case "reasoning" | "summary":
            item = {"type": "reasoning", "summary": [], "content": None}
            item[INSIDE.get(kind, "summary")] = [{**part, member: text}]
        case _:
            item = {"type": "message", "role": "assistant", "content": [{**part, member: text}]}
    return {"id": ITEM_ID, "status": "completed", **item}


def stream_of(kind: str, pieces: list[str], ends: list[str]) -> list[dict[str, Any]]:
    """A stream with one text, whose end is told by some of the events that may do so."""
    name, member, part = KINDS[kind]
    text = "".join(pieces)
    place = {"item_id": ITEM_ID, "output_index": 0}
    if kind not in {"arguments", "input"}:
        place["summary_index" if kind == "summary" else "content_index"] = 0
    told = {
        "text": {"type": f"response.{name}.done", **place, member: text},
        "part": {"type": "response.content_part.done", **place, "part": {**part, member: text}},
        "item": {"type": "response.output_item.done", "output_index": 0, "item": held(kind, text)},
        "whole": {"type": "response.completed", "response": {**RESPONSE, "output": [held(kind, text)]}},
    }
    if kind in {"arguments", "input", "summary"}:
        told.pop("part")
    return numbered(
        [
            {"type": "response.created", "response": response_of("in_progress")},
            *({"type": f"response.{name}.delta", **place, "delta": piece} for piece in pieces),
            *(told[end] for end in told if end in ends),
        ]
    )


def texts_in(kind: str, document: dict[str, Any]) -> list[str]:
    """The text of an event that says all of it."""
    name, member, _ = KINDS[kind]
    items = document.get("response", {}).get("output", [])
    items = [*items, document["item"]] if "item" in document else items
    parts = [document["part"]] if "part" in document else []
    parts += [part for item in items for part in (item.get(INSIDE.get(kind, "summary")) or [item])]
    if document["type"] == f"response.{name}.done":
        parts.append(document)
    return [part[member] for part in parts]


ends = st.sets(st.sampled_from(["text", "part", "item", "whole"]), min_size=1)


@settings(max_examples=250)
@given(
    st.sampled_from(list(KINDS)),
    st.sampled_from(VALUES),
    st.lists(st.integers(0, 60), max_size=4),
    st.lists(st.integers(0, 120), max_size=6),
    st.lists(st.integers(0, 9_000), max_size=8),
    ends,
)
def test_a_text_is_redacted_and_the_same_wherever_it_stands(  # noqa: PLR0917 - each is drawn apart.
    kind, value, escapes, cuts, places, ends
):
    text = f"It says: {value}; so."
    is_json = kind in {"arguments", "json"}
    if is_json:
        text = '{"a b": "' + spelled(text, escapes) + '"}'
    body = b"".join(map(event_bytes, stream_of(kind, cut(text, cuts), sorted(ends))))
    told = documents_of(answered(body, kind, places))
    came = "".join(one["delta"] for one in told if one["type"].endswith(".delta"))
    shown = json.loads(came)["a b"] if is_json else came
    assert value not in json.dumps(told, ensure_ascii=False)
    assert (shown.startswith("It says: ["), shown.endswith("]; so.")) == (True, True)
    assert {text for one in told for text in texts_in(kind, one)} <= {came}
    assert [one["sequence_number"] for one in told] == list(range(len(told)))


@settings(max_examples=80)
@given(
    st.text(max_size=40),
    st.sampled_from(list(KINDS)),
    st.lists(st.integers(0, 60), max_size=6),
    st.lists(st.integers(0, 9_000), max_size=8),
    ends,
)
def test_what_no_guard_watches_passes_byte_for_byte(text, kind, cuts, places, ends):
    body = b"".join(map(event_bytes, stream_of(kind, cut(text, cuts), sorted(ends))))
    assert answered(body, kind, places, snapshot=policy()) == body


@settings(max_examples=60)
@given(st.sampled_from(list(KINDS)), st.sampled_from(VALUES), st.lists(st.integers(0, 60), max_size=4))
def test_a_whole_answer_is_redacted_in_every_string(kind, value, escapes):
    text = f"It says: {value}; so."
    inside = '{"a b": "' + spelled(text, escapes) + '"}' if kind in {"arguments", "json"} else text
    item = {**held(kind, inside), "id": text, "x_more": {"deep": [text]}}
    document = {**RESPONSE, "output": [item], "metadata": {"k": text}, "instructions": text, "user": text}
    body = json.loads(answered(json.dumps(document).encode(), kind, [], content_type="application/json"))
    (shown,) = texts_in(kind, {"type": "", "response": body})
    if kind in {"arguments", "json"}:
        shown = json.loads(shown)["a b"]
    assert value not in json.dumps(body, ensure_ascii=False)
    assert (shown.startswith("It says: ["), shown.endswith("]; so.")) == (True, True)
    assert json.dumps(body).count("It says: [") == 6
