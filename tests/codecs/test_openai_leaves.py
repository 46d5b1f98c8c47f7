"""No leaf unseen: a canary in every leaf, key and object of the largest requests and answers, in turn.

It must be judged (in a segment, in a delta, as the model's or a parameter's name) or refused; what repeats
an answer must be gone from it.
"""

from __future__ import annotations

import copy
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from extproc.codecs.openai_chat import CODEC as CHAT
from extproc.codecs.openai_completions import CODEC as COMPLETIONS
from extproc.codecs.openai_embeddings import CODEC as EMBEDDINGS
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.ports import Codec, CodecSession, RequestEdits, ResponseFrame
from extproc.domain.segment import SegmentEdit

PATHS = {
    CHAT.name: "/v1/chat/completions",
    COMPLETIONS.name: "/v1/completions",
    EMBEDDINGS.name: "/v1/embeddings",
}
DONE = b"data: [DONE]\n\n"
# As a name, as prose, and as an account's number.
CANARIES = ["zq_canary_zq", "zq canary of many words", 4_929_123_412_341_234]
PNG = "data:image/png;base64," + b64encode(b"\x89PNG\r\n\x1a\n and more").decode()
PDF = "data:application/pdf;base64," + b64encode(b"%PDF-1.7 and more").decode()
WAV = b64encode(b"RIFF\x10\0\0\0WAVEfmt ").decode()
SCHEMA = {
    "type": "object",
    "title": "a title",
    "description": "what it is",
    "properties": {
        "city": {"type": "string", "description": "a city", "enum": ["Oslo", "New York"], "default": "x"},
        "deep": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/one"}}, {"const": "c"}]},
    },
    "$defs": {"one": {"type": "string", "pattern": "[a-z]", "examples": ["e"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "tells it", "parameters": SCHEMA, "strict": True}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
SAMPLING = {
    "temperature": 0.5,
    "top_p": 0.9,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "seed": 7,
    "n": 2,
    "stop": ["one", "two"],
    "logit_bias": {"50256": -100},
    "guided_choice": ["a", "b"],
    "lora_name": "mine",
    "user": "me",
    "metadata": {"k": "v"},
    "stream": True,
    "stream_options": {"include_usage": True},
}
CHAT_REQUEST = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be kind", "name": "boss"},
        {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
                {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "well"}, {"type": "refusal", "refusal": "no"}],
            "refusal": "never",
            "reasoning_content": "hm",
            "tool_calls": [
                CALL,
                {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "i"}},
                {"id": "call_3", "type": "function", "function": {"name": "f", "arguments": {"a": ["b"]}}},
            ],
            "function_call": {"name": "weather", "arguments": "{}"},
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"say":"so \\u0041"}'},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "more"}]},
        {"role": "function", "name": "weather", "content": "rain"},
    ],
    "tools": [
        {"type": "function", "function": FUNCTION},
        {
            "type": "custom",
            "custom": {
                "name": "c",
                "description": "d",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}},
            },
        },
    ],
    "functions": [FUNCTION],
    "function_call": {"name": "weather"},
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "s", "description": "d", "schema": SCHEMA, "strict": True},
    },
    "prediction": {"type": "content", "content": [{"type": "text", "text": "soon"}]},
    "documents": [{"title": "t", "text": "of a page"}],
    "safety_identifier": "s",
    "prompt_cache_key": "p",
    "modalities": ["text"],
    "reasoning_effort": "low",
    "verbosity": "low",
    "service_tier": "auto",
    "parallel_tool_calls": False,
    "chat_template_kwargs": {"enable_thinking": False},
    "max_tokens": 5,
    "max_completion_tokens": 5,
    **SAMPLING,
}
COMPLETION_REQUEST = {
    "model": "m",
    "prompt": ["one", "two"],
    "suffix": "the end",
    "echo": True,
    "best_of": 2,
    "logprobs": 1,
    "max_tokens": 5,
    "response_format": CHAT_REQUEST["response_format"],
    **SAMPLING,
}
EMBEDDING_REQUEST = {
    "model": "m",
    "input": ["one", "two"],
    "encoding_format": "float",
    "dimensions": 2,
    "user": "me",
    "truncate_prompt_tokens": 4,
}
REQUESTS: list[tuple[Codec, dict[str, Any]]] = [
    (CHAT, CHAT_REQUEST),
    (COMPLETIONS, COMPLETION_REQUEST),
    (COMPLETIONS, {"model": "m", "prompt": "one"}),
    (COMPLETIONS, {"model": "m", "prompt": [1, 2]}),
    (COMPLETIONS, {"model": "m", "prompt": [[1, 2], [3]]}),
    (EMBEDDINGS, EMBEDDING_REQUEST),
    (EMBEDDINGS, {"model": "m", "input": "one"}),
    (EMBEDDINGS, {"model": "m", "input": [1, 2]}),
]

USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
LOGPROBS = {
    "content": [{"token": "a", "bytes": [97], "logprob": -1, "top_logprobs": [{"token": "b"}]}],
    "refusal": None,
}
MESSAGE = {
    "role": "assistant",
    "content": "hello",
    "refusal": "no",
    "reasoning": "r",
    "reasoning_content": "hm",
    "tool_calls": [
        {**CALL, "index": 0},
        {"index": 1, "id": "c", "type": "custom", "custom": {"name": "n", "input": "i"}},
    ],
    "function_call": {"name": "weather", "arguments": "{}"},
    "annotations": [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 1}},
    ],
    "audio": {"id": "a", "transcript": "said", "data": "", "expires_at": 1},
}
ROOT = {
    "id": "chatcmpl-" + "a1B2" * 6,
    "created": 1,
    "model": "m",
    "system_fingerprint": "fp_44709d6fcb",
    "service_tier": "default",
    "usage": USAGE,
    "prompt_logprobs": [{"5": {"decoded_token": "x"}}],
    "metadata": {"k": ["v"]},
}


def chat_answer(kind: str, member: str) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "stop_reason": "END", "logprobs": LOGPROBS}
    return {**ROOT, "object": kind, "choices": [{**choice, member: MESSAGE}, {"index": 1, member: {}}]}


COMPLETION_ANSWER = {
    **ROOT,
    "object": "text_completion",
    "choices": [
        {
            "index": 0,
            "text": "hello",
            "finish_reason": "length",
            "stop_reason": "END",
            "prompt_token_ids": [1],
            "logprobs": {
                "text_offset": [0],
                "token_logprobs": [-1],
                "tokens": ["a"],
                "top_logprobs": [{"a": -1}],
            },
        },
        {"index": 1, "text": "bye", "finish_reason": None, "logprobs": None},
    ],
}
VECTOR = b64encode(b"\0\0\x80\x3f\0\0\0\x40").decode()
EMBEDDING_ANSWER = {
    "object": "list",
    "id": "embd-" + "0123456789abcdef" * 2,
    "created": 1,
    "model": "m",
    "data": [
        {"object": "embedding", "index": 0, "embedding": [0.25, -1e-05]},
        {"object": "embedding", "index": 1, "embedding": VECTOR},
    ],
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}
ANSWERS: list[tuple[Codec, dict[str, Any], bool]] = [
    (CHAT, chat_answer("chat.completion", "message"), False),
    (CHAT, chat_answer("chat.completion.chunk", "delta"), True),
    (COMPLETIONS, COMPLETION_ANSWER, False),
    (COMPLETIONS, COMPLETION_ANSWER, True),
    (EMBEDDINGS, EMBEDDING_ANSWER, False),
]

Path = tuple[str | int, ...]


def places(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every value below a value."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from places(item, (*path, at))


def planted(document: dict[str, Any], canary: str | int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The document with a canary as one leaf, as one key, or as a new member of one object; and where."""
    for path, value in places(document):
        for how in ("extra", "key", "leaf"):
            changed = copy.deepcopy(document)
            parent: Any = changed
            for step in path[:-1]:
                parent = parent[step]
            here = parent[path[-1]] if path else changed
            if how == "extra" and isinstance(value, dict):
                here["x_unknown"] = canary
            elif how == "leaf" and path and not isinstance(value, (dict, list)):
                parent[path[-1]] = canary
            elif how == "key" and path and isinstance(path[-1], str):
                parent[str(canary)] = parent.pop(path[-1])
            else:
                continue
            yield f"{how} {'.'.join(map(str, path))}", changed


def session_of(codec: Codec) -> CodecSession:
    return codec.open(RequestHead(method="POST", path=PATHS[codec.name]))


def asked(codec: Codec, request: dict[str, Any]) -> CodecSession:
    session = session_of(codec)
    session.read_request(json.dumps(request).encode(), eof=True)
    session.write_request(0, RequestEdits())
    return session


def answered(codec: Codec, document: bytes, *, streamed: bool) -> tuple[CodecSession, list[ResponseFrame]]:
    name = "prompt" if codec is COMPLETIONS else "input"
    body = {"model": "m", name: "x", "messages": [{"role": "user", "content": "x"}]}
    session = asked(codec, {key: body[key] for key in body if codec is CHAT or key != "messages"})
    kind = "text/event-stream" if streamed else "application/json"
    session.read_response_head(ResponseHead(status=200, headers={"content-type": (kind,)}))
    stream = b"data: " + document + b"\n\n" + DONE if streamed else document
    return session, [*session.read_response(stream, eof=False), *session.read_response(b"", eof=True)]


@pytest.mark.parametrize(("codec", "request_"), REQUESTS)
def test_the_requests_are_read(codec: Codec, request_: dict[str, Any]):
    (message,) = session_of(codec).read_request(json.dumps(request_).encode(), eof=True)
    assert message.params.model == "m"


def judged_in_request(codec: Codec, request: dict[str, Any]) -> list[str] | None:
    """What guards see of a request; None where it is refused, with a message that repeats no canary."""
    try:
        (message,) = session_of(codec).read_request(json.dumps(request).encode(), eof=True)
    except PeerError as error:
        return None if not says_canary([error.message]) else []
    # The schema guard judges the model and the names of parameters.
    named = [message.params.model, *message.params.sampling]
    return [*named, *(segment.text for segment in message.segments)]


def says_canary(texts: list[str]) -> bool:
    return any(str(canary) in text for text in texts for canary in CANARIES)


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(("codec", "request_"), REQUESTS)
def test_every_leaf_and_key_of_a_request_is_judged_or_refused(
    codec: Codec, request_: dict[str, Any], canary: str | int
):
    seen = {where: judged_in_request(codec, changed) for where, changed in planted(request_, canary)}
    assert [where for where, texts in seen.items() if texts is not None and not says_canary(texts)] == []


def edits_of(text: str, segment_index: int, canary: str) -> Iterator[SegmentEdit]:
    for found in re.finditer(re.escape(canary), text):
        yield SegmentEdit(
            segment_index=segment_index, start=found.start(), end=found.end(), replacement="[X]"
        )


def goes_on(codec: Codec, request: dict[str, Any], canary: str) -> bool:
    """Whether a canary goes upstream although every place at which guards saw it was redacted."""
    session = session_of(codec)
    try:
        (message,) = session.read_request(json.dumps(request).encode(), eof=True)
        if canary in {message.params.model, *message.params.sampling}:
            return False
        edits = [edit for one in message.segments for edit in edits_of(one.text, one.index, canary)]
        written = session.write_request(0, RequestEdits(segments=tuple(edits), ask_usage=False))
    except PeerError:
        return False
    return canary.encode() in written or not isinstance(json.loads(written), dict)


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(("codec", "request_"), REQUESTS)
def test_what_was_found_in_a_request_does_not_go_on(
    codec: Codec, request_: dict[str, Any], canary: str | int
):
    places_ = planted(request_, canary)
    assert [where for where, changed in places_ if goes_on(codec, changed, str(canary))] == []


@pytest.mark.parametrize(("codec", "answer", "streamed"), ANSWERS)
def test_the_answers_are_read_and_pass(codec: Codec, answer: dict[str, Any], *, streamed: bool):
    document = json.dumps(answer).encode()
    session, frames = answered(codec, document, streamed=streamed)
    written = b"".join(
        session.write_response(frame, tuple(delta.text for delta in frame.deltas)) for frame in frames
    )
    assert (frames[-1].final, b"error" in written) == (True, False)


def passes_unseen(codec: Codec, answer: dict[str, Any], *, streamed: bool) -> bool:
    """Whether a canary comes out although guards empty every text that they see."""
    try:
        session, frames = answered(codec, json.dumps(answer).encode(), streamed=streamed)
    except PeerError as error:
        return says_canary([error.message])
    written = b"".join(session.write_response(frame, ("",) * len(frame.deltas)) for frame in frames)
    return says_canary([written.decode()])


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(("codec", "answer", "streamed"), ANSWERS)
def test_every_leaf_and_key_of_an_answer_is_judged_or_gone(
    codec: Codec, answer: dict[str, Any], canary: str | int, *, streamed: bool
):
    unseen = [
        where
        for where, changed in planted(answer, canary)
        if passes_unseen(codec, changed, streamed=streamed)
    ]
    assert unseen == []
