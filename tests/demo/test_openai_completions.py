from __future__ import annotations

import base64
import json
import struct
from contextlib import ExitStack

import pytest

from extproc.demo.openai_call import Call, Events, Refused, Whole
from extproc.demo.openai_completions import completions, texts_of
from extproc.demo.openai_embeddings import embeddings, vector_of
from extproc.demo.openai_tokens import Token


class Says:
    """A Triton that says the given tokens."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def tokens(self, model: str, prompt: str, parameters: dict, ends: ExitStack):
        for at, text in enumerate(self.texts, 1):
            yield Token(text, at == len(self.texts), 2, 1)


def asked(route, *texts: str, **members) -> dict | list[dict]:
    body = json.dumps({"model": "vllm_llm", **members}).encode()
    with ExitStack() as ends:
        reply = route(Call(body, Says(*(texts or ("a", " b"))), ("vllm_llm",), ends))
        if isinstance(reply, Whole):
            return reply.document
        assert isinstance(reply, Events)
        frames = b"".join(reply.frames).decode().split("\n\n")[:-1]
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], ["#1 #2"]), ([[1, 2], [3]], ["#1 #2", "#3"])],
)
def test_a_prompt_has_four_shapes(prompt, texts):
    assert texts_of(prompt) == texts


@pytest.mark.parametrize("prompt", [None, [], {}, 1])
def test_a_prompt_of_another_shape_is_refused(prompt):
    with pytest.raises(Refused):
        texts_of(prompt)


def test_every_prompt_has_its_choices():
    answer = asked(completions, prompt=["x", "y"], n=2, echo=True)
    assert [(one["index"], one["text"], one["finish_reason"]) for one in answer["choices"]] == [
        (0, "xa b", "stop"),
        (1, "xa b", "stop"),
        (2, "ya b", "stop"),
        (3, "ya b", "stop"),
    ]
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 12, "completion_tokens": 8}


def test_choices_stream_in_turn():
    events = asked(completions, prompt="x", n=2, stream=True, stream_options={"include_usage": True})
    told = [(one["index"], one["text"], one["finish_reason"]) for e in events for one in e["choices"]]
    assert told == [(0, "a", None), (1, "a", None), (0, " b", "stop"), (1, " b", "stop")]
    assert events[-1]["usage"]["completion_tokens"] == 4


def test_log_probabilities_repeat_the_text():
    (choice,) = asked(completions, prompt="x", logprobs=0)["choices"]
    assert choice["logprobs"] == {
        "text_offset": [0, 1],
        "token_logprobs": [-0.5, -0.5],
        "tokens": ["a", " b"],
        "top_logprobs": [{"a": -0.5}, {" b": -0.5}],
    }


def test_equal_texts_have_equal_embeddings_in_both_encodings():
    plain = asked(embeddings, input=["x", "y", "x"], dimensions=3)
    vectors = [one["embedding"] for one in plain["data"]]
    assert vectors == [vector_of("x", 3), vector_of("y", 3), vector_of("x", 3)]
    packed = asked(embeddings, input="x", dimensions=3, encoding_format="base64")["data"][0]["embedding"]
    assert list(struct.unpack("<3f", base64.b64decode(packed))) == vector_of("x", 3)
    with pytest.raises(Refused):
        asked(embeddings, input="x", dimensions=0.5)
