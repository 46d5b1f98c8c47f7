"""Chat completions of the demo's OpenAI front end: its chunks are those of Triton's own.

Beyond it: ``n`` choices, tool calls, reasoning and log probabilities.
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING

from extproc.demo.openai_call import (
    DONE,
    Call,
    Delivery,
    Events,
    Whole,
    detail,
    event,
    parameters_of,
    read_request,
    usage_of,
)
from extproc.demo.openai_tokens import Choice, ModelFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from extproc.demo.openai_tokens import Json


def chat_completions(call: Call) -> Whole | Events:
    """POST /v1/chat/completions."""
    request = read_request(call, required=("messages",))
    delivery = Delivery.of(request)
    prompt, model = prompt_of(request), str(request["model"])
    tokens = [
        call.triton.tokens(model, prompt, parameters_of(request), call.ends)
        for _ in range(delivery.choices_count)
    ]
    choices = [Choice(index, one) for index, one in enumerate(tokens)]
    answer = Answer(model, choices, delivery, logprobs=bool(request.get("logprobs")))
    try:
        if not delivery.stream:
            return Whole(answer.whole())
        chunks = answer.chunks()
        # Role and first token: a model that fails at once still gets a status.
        first = list(itertools.islice(chunks, delivery.choices_count + 1))
    except ModelFailed as failed:
        raise detail(HTTPStatus.INTERNAL_SERVER_ERROR, str(failed)) from None
    return Events(itertools.chain(map(event, itertools.chain(first, chunks)), [DONE]))


def prompt_of(request: Mapping[str, object]) -> str:
    """A chat template, such as it is: a line for each text."""
    lines = [f"tools: {json.dumps(request['tools'])}"] if request.get("tools") else []
    messages = request["messages"]
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        lines.append(f"{message['role']}: {content}")
        lines += [f"called: {json.dumps(call)}" for call in message.get("tool_calls") or ()]
    return "\n".join(lines)


class Answer:
    """The documents of one answer."""

    def __init__(
        self, model: str, choices: Sequence[Choice], delivery: Delivery, *, logprobs: bool
    ) -> None:
        self._model = model
        self._choices = choices
        self._delivery = delivery
        self._logprobs = logprobs
        # As Triton's: chat completions too are called cmpl.
        self._id = f"cmpl-{uuid.uuid1()}"
        self._created = int(time.time())

    def whole(self) -> Json:
        """The one document of an answer that does not stream."""
        said: dict[int, list[str]] = {choice.index: [] for choice in self._choices}
        for choice in self._choices:
            while choice.finish is None:
                said[choice.index] += [
                    str(delta["content"]) for delta in choice.deltas() if "content" in delta
                ]
        choices: list[Json] = [
            {
                "finish_reason": choice.finish,
                "index": choice.index,
                "message": {
                    "content": choice.texts.pop("content", ""),
                    "tool_calls": choice.calls or None,
                    "role": "assistant",
                    "function_call": None,
                    **choice.texts,
                },
                "logprobs": self._said(said[choice.index]),
            }
            for choice in self._choices
        ]
        return self._document("chat.completion", choices, usage=self._usage())

    def chunks(self) -> Iterator[Json]:
        """The documents of an answer that streams: a token of each choice in turn."""
        for choice in self._choices:
            yield self._chunk(choice, {"content": "", "function_call": None, "role": "assistant"})
        speaking = list(self._choices)
        while speaking:
            for choice in speaking:
                for delta in choice.deltas():
                    yield self._chunk(
                        choice, {"content": None, "function_call": None, "role": None, **delta}
                    )
            speaking = [choice for choice in speaking if choice.finish is None]
        if self._delivery.include_usage:
            yield self._document("chat.completion.chunk", [], usage=self._usage())

    def _chunk(self, choice: Choice, delta: Json) -> Json:
        content = delta["content"]
        told: Json = {
            "delta": delta,
            "logprobs": self._said([content]) if isinstance(content, str) and content else None,
            "finish_reason": choice.finish,
            "index": choice.index,
        }
        return self._document("chat.completion.chunk", [told], usage=None)

    def _said(self, tokens: Sequence[str]) -> Json | None:
        """Tokens with made-up probabilities, where they were asked for."""
        if not self._logprobs:
            return None
        told: list[Json] = [
            {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}
            for token in tokens
        ]
        return {"content": told, "refusal": None}

    def _document(self, kind: str, choices: Sequence[Json], *, usage: Json | None) -> Json:
        return {
            "id": self._id,
            "choices": choices,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": None,
            "object": kind,
            "usage": usage,
        }

    def _usage(self) -> Json:
        prompt = self._choices[0].prompt_tokens
        return usage_of(prompt, sum(choice.completion_tokens for choice in self._choices))
