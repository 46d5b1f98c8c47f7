"""The largest requests and answers of OpenAI's wires: every member that the codecs know, once at least."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from extproc.codecs.openai_chat import CODEC as CHAT
from extproc.codecs.openai_completions import CODEC as COMPLETIONS
from extproc.codecs.openai_embeddings import CODEC as EMBEDDINGS
from extproc.domain.ports import Codec

PATHS = {
    CHAT.name: "/v1/chat/completions",
    COMPLETIONS.name: "/v1/completions",
    EMBEDDINGS.name: "/v1/embeddings",
}
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
    (COMPLETIONS, {"model": "m", "prompt": "one", "echo": True}),
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
