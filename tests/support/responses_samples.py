"""The largest request and answers of OpenAI's responses: every member that the codec knows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from openai_samples import PDF, PNG, SCHEMA, WAV

PATH = "/v1/responses"
FUNCTION = {"type": "function", "name": "weather", "description": "tells it", "parameters": SCHEMA}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
FORMAT = {"type": "json_schema", "name": "s", "description": "d", "schema": SCHEMA, "strict": True}
# An answer says the request's schemas again, in several events.
SMALL = {"type": "object", "properties": {"city": {"type": "string", "description": "a city"}}}
REQUEST: dict[str, Any] = {
    "model": "m",
    "instructions": "be kind",
    "input": [
        {"role": "system", "content": "be brief"},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be quick"}]},
        {
            "role": "user",
            "status": "completed",
            "content": [
                {"type": "input_text", "text": "look", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_file", "file_data": PDF, "filename": "a.pdf", "detail": "high"},
                {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "status": "completed",
            "summary": [{"type": "summary_text", "text": "in short"}],
            "content": [{"type": "reasoning_text", "text": "at length"}],
            "encrypted_content": None,
        },
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "phase": "final_answer",
            "content": [
                {
                    "type": "output_text",
                    "text": "well",
                    "annotations": [{"type": "url_citation", "url": "u", "title": "t", "start_index": 0}],
                    "logprobs": [{"token": "well", "bytes": [119], "logprob": -1, "top_logprobs": []}],
                },
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city":"Oslo"}',
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": '{"say":"so \\u0041"}'},
        {
            "type": "function_call_output",
            "id": "fco_1",
            "call_id": "call_1",
            "output": [{"type": "input_text", "text": "rain"}, {"type": "input_image", "image_url": PNG}],
        },
        {"type": "custom_tool_call", "call_id": "call_2", "name": "c", "input": "do it"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
    ],
    "tools": [
        {**FUNCTION, "strict": True, "x_more": "more"},
        {"type": "custom", "name": "c", "description": "d", "format": GRAMMAR},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": FORMAT, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto", "generate_summary": "auto"},
    "include": ["message.output_text.logprobs"],
    "max_output_tokens": 50,
    "max_tool_calls": 3,
    "metadata": {"k": "v"},
    "user": "me",
    "safety_identifier": "s",
    "prompt_cache_key": "p",
    "prompt_cache_retention": "24h",
    "parallel_tool_calls": False,
    "background": False,
    "service_tier": "auto",
    "truncation": "auto",
    "store": True,
    "stream": True,
    "stream_options": {"include_obfuscation": True},
    "temperature": 0.5,
    "top_p": 0.9,
    "top_logprobs": 2,
    "lora_name": "mine",
}

MESSAGE_ID, THOUGHT_ID = "msg_" + "0123456789abcdef" * 2, "rs_" + "0123456789abcdef" * 2
CALL_ID, CUSTOM_ID = "fc_" + "0123456789abcdef" * 2, "an own id"
LOGPROBS = [{"token": "a", "bytes": [97], "logprob": -1, "top_logprobs": [{"token": "b"}]}]
CITATION = {"type": "url_citation", "url": "u", "title": "of a page", "start_index": 0, "end_index": 1}
TEXT, REFUSAL = "Hello there", "I will not"
THOUGHT, SUMMARY = "It rains now", "Weather it is"
ARGUMENTS, COMMAND = '{"city":"Oslo"}', "do it now"
OUTPUT: list[dict[str, Any]] = [
    {
        "id": THOUGHT_ID,
        "type": "reasoning",
        "status": "completed",
        "summary": [{"type": "summary_text", "text": SUMMARY}],
        "content": [{"type": "reasoning_text", "text": THOUGHT}],
        "encrypted_content": "gAAAAA",
    },
    {
        "id": MESSAGE_ID,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "phase": "final_answer",
        "content": [
            {"type": "output_text", "text": TEXT, "annotations": [CITATION], "logprobs": LOGPROBS},
            {"type": "refusal", "refusal": REFUSAL},
        ],
    },
    {
        "id": CALL_ID,
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "weather",
        "arguments": ARGUMENTS,
    },
    {"id": CUSTOM_ID, "type": "custom_tool_call", "call_id": "call_2", "name": "made_up", "input": COMMAND},
]
USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 1},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 16,
}
RESPONSE: dict[str, Any] = {
    "id": "resp_" + "0123456789abcdef" * 2,
    "object": "response",
    "created_at": 1764000000.25,
    "completed_at": 1764000001,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": "be kind",
    "model": "m",
    "output": OUTPUT,
    "metadata": {"k": "v"},
    "tools": [{**FUNCTION, "parameters": SMALL}],
    "tool_choice": {"type": "function", "name": "weather"},
    "text": {"format": {"type": "json_schema", "name": "s", "schema": SMALL}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": "p",
    "safety_identifier": "s",
    "service_tier": "default",
    "temperature": 1.0,
    "truncation": "disabled",
    "usage": USAGE,
    "user": "me",
    "x_of_the_server": ["its own"],
}


def response_of(status: str, **members: object) -> dict[str, Any]:
    """The response object, without output where it has not ended."""
    begun: dict[str, Any] = {} if status == "completed" else {"output": [], "usage": None}
    return {**RESPONSE, **begun, "status": status, **members}


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def streamed(kind: str, at: dict[str, Any], member: str, text: str, **more: object) -> list[dict[str, Any]]:
    """The deltas of a text, and its end."""
    deltas = [{"type": f"response.{kind}.delta", **at, "delta": piece, **more} for piece in halves(text)]
    return [*deltas, {"type": f"response.{kind}.done", **at, member: text, **more}]


def parts(kind: str, at: dict[str, Any], part: dict[str, Any], member: str) -> list[dict[str, Any]]:
    """A part's beginning and its end."""
    begun = {**part, member: "", **({"annotations": []} if "annotations" in part else {})}
    return [
        {"type": f"response.{kind}.added", **at, "part": begun},
        {"type": f"response.{kind}.done", **at, "part": part},
    ]


def item(index: int, inside: list[dict[str, Any]], **begun: object) -> list[dict[str, Any]]:
    """An output item's beginning, what is inside, and its end."""
    whole = OUTPUT[index]
    return [
        {"type": "response.output_item.added", "output_index": index, "item": {**whole, **begun}},
        *inside,
        {"type": "response.output_item.done", "output_index": index, "item": whole},
    ]


def around(added_and_done: list[dict[str, Any]], inside: list[dict[str, Any]]) -> list[dict[str, Any]]:
    added, done = added_and_done
    return [added, *inside, done]


def numbered(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def whole_stream() -> list[dict[str, Any]]:
    """Every event that the codec knows."""
    thought = {"item_id": THOUGHT_ID, "output_index": 0}
    said = {"item_id": MESSAGE_ID, "output_index": 1}
    called = {"item_id": CALL_ID, "output_index": 2}
    done = {"item_id": CUSTOM_ID, "output_index": 3}
    summary, reasoning = OUTPUT[0]["summary"][0], OUTPUT[0]["content"][0]
    text, refusal = OUTPUT[1]["content"]
    at_summary, at_first = {**thought, "summary_index": 0}, {**thought, "content_index": 0}
    at_text, at_refusal = {**said, "content_index": 0}, {**said, "content_index": 1}
    cited = {"type": "response.output_text.annotation.added", **at_text, "annotation_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response_of("in_progress")},
        {"type": "response.queued", "response": response_of("queued")},
        {"type": "response.in_progress", "response": response_of("in_progress")},
        *item(
            0,
            [
                *around(
                    parts("reasoning_summary_part", at_summary, summary, "text"),
                    streamed("reasoning_summary_text", at_summary, "text", SUMMARY),
                ),
                *around(
                    parts("reasoning_part", at_first, reasoning, "text"),
                    streamed("reasoning_text", at_first, "text", THOUGHT),
                ),
            ],
            summary=[],
            content=None,
            encrypted_content=None,
        ),
        *item(
            1,
            [
                *around(
                    parts("content_part", at_text, text, "text"),
                    [
                        *streamed("output_text", at_text, "text", TEXT, logprobs=LOGPROBS),
                        {**cited, "annotation": CITATION},
                    ],
                ),
                *around(
                    parts("content_part", at_refusal, refusal, "refusal"),
                    streamed("refusal", at_refusal, "refusal", REFUSAL),
                ),
            ],
            content=[],
        ),
        *item(
            2,
            streamed("function_call_arguments", called, "arguments", ARGUMENTS, obfuscation="aBcD"),
            arguments="",
        ),
        *item(3, streamed("custom_tool_call_input", done, "input", COMMAND), input=""),
        {"type": "response.completed", "response": RESPONSE},
    ]
    return numbered(events)


def event_bytes(document: dict[str, Any]) -> bytes:
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return f"event: {document['type']}\ndata: {data}\n\n".encode()


def stream_bytes(documents: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(map(event_bytes, documents))


def documents_of(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream, whose names and types agree."""
    found = []
    for event in body.split(b"\n\n")[:-1]:
        name, data = event.split(b"\n")
        found.append(json.loads(data.removeprefix(b"data: ")))
        assert name.decode() == f"event: {found[-1]['type']}"
    return found
