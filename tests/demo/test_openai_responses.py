"""Responses of the demo's front end: the events of items, and what the response says of them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from http import HTTPStatus

import pytest

from extproc.demo.openai_call import Call, Events, Refused, Whole
from extproc.demo.openai_responses import prompt_of, responses
from extproc.demo.openai_tokens import ModelFailed, Token


class Says:
    """A Triton that says the given tokens, or fails behind them."""

    def __init__(self, *texts: str, fails: bool = False) -> None:
        self.texts = texts
        self.fails = fails

    def tokens(self, model: str, prompt: str, parameters: dict, ends: ExitStack):
        for at, text in enumerate(self.texts, 1):
            yield Token(text, at == len(self.texts) and not self.fails, 2, 1)
        if self.fails:
            raise ModelFailed("no more")


def asked(triton: Says, **members: object) -> dict | list[dict]:
    body = json.dumps({"model": "m", "input": "x", **members}).encode()
    with ExitStack() as ends:
        reply = responses(Call(body, triton, ("m",), ends))
        if isinstance(reply, Whole):
            return reply.document
        assert isinstance(reply, Events)
        frames = b"".join(reply.frames).decode().split("\n\n")[:-1]
    documents = [json.loads(frame.split("\ndata: ")[1]) for frame in frames]
    assert [frame.split("\n")[0] for frame in frames] == [f"event: {one['type']}" for one in documents]
    assert [one["sequence_number"] for one in documents] == list(range(len(documents)))
    return documents


TOKENS = ("<think>", "h", "m", "</think>", "a", " b", "<tool_call:f>", '{"c"', ":1}", "</tool_call>")


def test_each_run_of_tokens_is_an_item():
    answer = asked(Says(*TOKENS))
    thought, message, call = answer["output"]
    assert (thought["content"][0]["text"], message["content"][0]["text"]) == ("hm", "a b")
    assert (call["name"], call["arguments"]) == ("f", '{"c":1}')
    assert (answer["status"], answer["usage"]["output_tokens"]) == ("completed", len(TOKENS))


def test_a_streams_last_event_is_the_whole_answer():
    events = asked(Says(*TOKENS), stream=True)
    items = [one["item"] for one in events if one["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == items
    assert [one["output_index"] for one in events if one["type"] == "response.output_item.added"] == [
        0,
        1,
        2,
    ]
    said = "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")
    assert said == items[1]["content"][0]["text"] == "a b"


def test_an_answer_at_its_limit_is_incomplete():
    answer = asked(Says("a", "b"), max_output_tokens=2)
    assert (answer["status"], answer["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )


def test_a_model_that_fails_late_is_an_error_event_and_early_a_status():
    events = asked(Says("a", "b", fails=True), stream=True)
    assert (events[-1]["type"], events[-1]["message"]) == ("error", "no more")
    for stream in (False, True):
        with pytest.raises(Refused) as caught:
            asked(Says(fails=True), stream=stream)
        assert caught.value.status == HTTPStatus.INTERNAL_SERVER_ERROR


@pytest.mark.parametrize("members", [{"model": "other"}, {"model": None}])
def test_a_model_that_is_not_served_is_refused(members: dict):
    with pytest.raises(Refused):
        asked(Says("a"), **members)


def test_a_prompt_has_a_line_for_each_text():
    parts = [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "data:"}]
    items = [{"role": "user", "content": parts}, {"type": "function_call_output", "output": "r"}]
    assert prompt_of({"instructions": "be kind", "input": items}).split("\n") == [
        "system: be kind",
        "user: hi<input_image>",
        '{"type": "function_call_output", "output": "r"}',
    ]
