"""What the demo's front end says to Anthropic's messages; the package itself hears it in tests/e2e."""

from __future__ import annotations

import json
from contextlib import ExitStack
from http import HTTPStatus

import pytest

from extproc.demo.anthropic_front import messages, prompt_of
from extproc.demo.openai_call import Call, Events, Refused, Whole
from extproc.demo.openai_tokens import ModelFailed, Token

TOKENS = [
    "<think>",
    "hm",
    "</think>",
    "So ",
    "it is",
    "<tool_call:f>",
    '{"a":',
    '"b"}',
    "</tool_call>",
    ".",
]


class Says:
    """A Triton that says the given tokens, and breaks after them if it must."""

    def __init__(self, *texts: str, breaks: bool = False) -> None:
        self.texts = texts
        self.breaks = breaks
        self.asked: list[tuple[str, str, dict]] = []

    def tokens(self, model: str, prompt: str, parameters: dict, ends: ExitStack):
        self.asked.append((model, prompt, parameters))
        for at, text in enumerate(self.texts, 1):
            yield Token(text, at == len(self.texts) and not self.breaks, 2, 1)
        if self.breaks:
            raise ModelFailed("engine exploded")


def asked(triton: Says, **members) -> Whole | Events:
    body = {"model": "m", "max_tokens": 90, "messages": [{"role": "user", "content": "hi"}], **members}
    return messages(Call(json.dumps(body).encode(), triton, ("m",), ExitStack()))


def events(answer: Whole | Events) -> list[dict]:
    """The events' data; each event's name is its type."""
    assert isinstance(answer, Events)
    told = []
    for frame in answer.frames:
        name, data, *rest = frame.split(b"\n")
        told.append(json.loads(data.removeprefix(b"data: ")))
        assert (name, rest) == (b"event: " + told[-1]["type"].encode(), [b"", b""])
    return told


def test_blocks_stream_one_after_the_other():
    told = events(asked(Says(*TOKENS), stream=True))
    assert [(one["type"], one.get("index")) for one in told] == [
        ("message_start", None),
        *[(f"content_block_{what}", 0) for what in ("start", "delta", "stop")],
        *[(f"content_block_{what}", 1) for what in ("start", "delta", "delta", "stop")],
        *[(f"content_block_{what}", 2) for what in ("start", "delta", "delta", "stop")],
        *[(f"content_block_{what}", 3) for what in ("start", "delta", "stop")],
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert told[-2]["delta"]["stop_reason"] == "tool_use"
    assert (told[0]["message"]["usage"], told[-2]["usage"]) == (
        {"input_tokens": 2, "output_tokens": 0},
        {"input_tokens": 2, "output_tokens": 10},
    )


def test_a_whole_answer_has_the_same_blocks():
    answer = asked(Says(*TOKENS))
    assert isinstance(answer, Whole)
    thought, text, call, rest = answer.document["content"]
    assert (thought["thinking"], text["text"], rest["text"]) == ("hm", "So it is", ".")
    assert (call["name"], call["input"], answer.document["stop_reason"]) == ("f", {"a": "b"}, "tool_use")
    assert answer.document["usage"] == {"input_tokens": 2, "output_tokens": 10}


def test_an_answer_that_met_its_limit_says_so():
    answer = asked(Says("a", "b"), max_tokens=2)
    assert answer.document["stop_reason"] == "max_tokens"


def test_every_text_of_the_conversation_is_in_the_prompt():
    turns = [
        {"role": "user", "content": "first"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "i", "name": "n", "input": {"a": "é"}}],
        },
        {"role": "user", "content": [{"type": "text", "text": "last"}]},
    ]
    system = [{"type": "text", "text": "be kind"}]
    prompt = prompt_of({"messages": turns, "system": system, "tools": [{"name": "t"}]})
    for text in ("first", '{"a": "é"}', "last", "be kind", '{"name": "t"}'):
        assert text in prompt


def test_the_model_is_asked_with_the_callers_parameters():
    triton = Says("ok")
    asked(triton, temperature=0.5, stop_sequences=["a"], top_k=None)
    assert triton.asked == [("m", "user: hi", {"max_tokens": 90, "temperature": 0.5, "stop": '["a"]'})]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{nope", HTTPStatus.BAD_REQUEST, "JSON decode error"),
        (b'{"model":"m","messages":[]}', HTTPStatus.BAD_REQUEST, "max_tokens: Field required"),
        (
            b'{"model":"x","messages":[],"max_tokens":1}',
            HTTPStatus.NOT_FOUND,
            "The model `x` does not exist.",
        ),
    ],
)
def test_refusals_have_anthropics_shape(body, status, message):
    with pytest.raises(Refused) as caught:
        messages(Call(body, Says(), ("m",), ExitStack()))
    assert (caught.value.status, caught.value.document["type"]) == (status, "error")
    assert caught.value.document["error"]["message"] == message


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_fails_at_once_is_a_500(stream):
    with pytest.raises(Refused) as caught:
        asked(Says(breaks=True), stream=stream)
    assert caught.value.status == HTTPStatus.INTERNAL_SERVER_ERROR


def test_a_model_that_fails_later_is_an_event():
    told = events(asked(Says("a", breaks=True), stream=True))
    assert told[-1] == {"type": "error", "error": {"type": "internal_error", "message": "engine exploded"}}
    assert "message_stop" not in {one["type"] for one in told}
