"""Completions of the demo's OpenAI front end, as Triton's own writes them.

Beyond it: several prompts, ``n`` choices of each, ``echo`` and log probabilities. A prompt of token ids is
read as the words ``#7 #8``: the stand-in has no vocabulary.
"""

from __future__ import annotations

import itertools
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
from extproc.demo.openai_tokens import ModelFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extproc.demo.openai_tokens import Json, Token


def completions(call: Call) -> Whole | Events:
    """POST /v1/completions."""
    request = read_request(call, required=("prompt",))
    delivery = Delivery.of(request)
    model, parameters = str(request["model"]), parameters_of(request)
    prompts = [prompt for prompt in texts_of(request["prompt"]) for _ in range(delivery.choices_count)]
    tokens = [call.triton.tokens(model, prompt, parameters, call.ends) for prompt in prompts]
    answer = Answer(model, request, delivery, list(zip(prompts, tokens, strict=True)))
    try:
        if not delivery.stream:
            return Whole(answer.whole())
        chunks = answer.chunks()
        # The first token: a model that fails at once still gets a status.
        first = list(itertools.islice(chunks, 1))
    except ModelFailed as failed:
        raise detail(HTTPStatus.INTERNAL_SERVER_ERROR, str(failed)) from None
    return Events(itertools.chain(map(event, itertools.chain(first, chunks)), [DONE]))


def texts_of(value: object) -> list[str]:
    """The texts of a prompt or an input, in any of its four shapes.

    Raises:
        Refused: it has none of them.
    """
    match value:
        case str():
            return [value]
        case [int(), *_]:
            return [_ids(value)]
        case [str() | list(), *_]:
            return [_ids(one) if isinstance(one, list) else str(one) for one in value]
        case _:
            raise detail(HTTPStatus.BAD_REQUEST, "only strings and token ids are supported")


def _ids(value: Sequence[object]) -> str:
    return " ".join(f"#{one}" for one in value)


class Answer:
    """The documents of one answer."""

    def __init__(
        self, model: str, request: Json, delivery: Delivery, runs: list[tuple[str, Iterator[Token]]]
    ) -> None:
        self._model = model
        self._delivery = delivery
        self._runs = runs
        self._echo = bool(request.get("echo"))
        # Zero asks for them too, without alternatives.
        self._logprobs = request.get("logprobs") is not None and request.get("logprobs") is not False
        self._id = f"cmpl-{uuid.uuid1()}"
        self._created = int(time.time())
        self._prompt_tokens = [0] * len(runs)
        self._completion_tokens = 0

    def whole(self) -> Json:
        """The one document of an answer that does not stream."""
        choices = []
        for index, (prompt, tokens) in enumerate(self._runs):
            said = [self._counted(index, token) for token in tokens]
            pieces = ([prompt] if self._echo else []) + [token.text for token in said]
            choices.append(self._choice(index, pieces, said[-1].finish if said else "stop"))
        return self._document(choices, usage=self._usage())

    def chunks(self) -> Iterator[Json]:
        """The documents of an answer that streams: a token of each choice in turn."""
        speaking = list(enumerate(self._runs))
        if self._echo:
            for index, (prompt, _) in speaking:
                yield self._document([self._choice(index, [prompt], None)], usage=None)
        while speaking:
            still = []
            for index, (prompt, tokens) in speaking:
                token = self._counted(index, next(tokens))
                yield self._document([self._choice(index, [token.text], token.finish)], usage=None)
                if not token.last:
                    still.append((index, (prompt, tokens)))
            speaking = still
        if self._delivery.include_usage:
            yield self._document([], usage=self._usage())

    def _counted(self, index: int, token: Token) -> Token:
        self._prompt_tokens[index] = token.prompt_tokens
        self._completion_tokens += token.completion_tokens
        return token

    def _choice(self, index: int, pieces: Sequence[str], finish: str | None) -> Json:
        return {
            "finish_reason": finish,
            "index": index,
            "logprobs": self._said(pieces),
            "text": "".join(pieces),
        }

    def _said(self, pieces: Sequence[str]) -> Json | None:
        """Tokens with made-up probabilities, where they were asked for."""
        if not self._logprobs:
            return None
        offsets = itertools.accumulate((len(piece) for piece in pieces), initial=0)
        return {
            "text_offset": [offset for offset, _ in zip(offsets, pieces, strict=False)],
            "token_logprobs": [-0.5 for _ in pieces],
            "tokens": list(pieces),
            "top_logprobs": [{piece: -0.5} for piece in pieces],
        }

    def _document(self, choices: Sequence[Json], *, usage: Json | None) -> Json:
        return {
            "id": self._id,
            "choices": choices,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": None,
            "object": "text_completion",
            "usage": usage,
        }

    def _usage(self) -> Json:
        # Each prompt once, however many answers it has.
        prompt = sum(self._prompt_tokens[:: self._delivery.choices_count])
        return usage_of(prompt, self._completion_tokens)
