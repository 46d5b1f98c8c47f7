"""The stand-in model through Envoy without the filter: the very bytes that Triton sends for vLLM."""

from __future__ import annotations

import json

import httpx
import pytest
from real_parts import StandIn, eventually

from extproc.demo.parts import Envoy


@pytest.fixture
def client(bare_envoy: Envoy):
    with httpx.Client(base_url=bare_envoy.url, timeout=60) as one:
        yield one


def events(body: bytes) -> list[bytes]:
    assert body.endswith(b"\n\n")
    return body.split(b"\n\n")[:-1]


def test_a_stream_is_one_event_per_token(client, stand_in: StandIn):
    prompt = stand_in.says("Hello", " wörld", ' "quoted"', " 😀", "\n")
    body = {"text_input": prompt, "stream": True}
    answer = client.post("/v2/models/vllm_stand_in/generate_stream", json=body)
    head = b'data: {"model_name":"vllm_stand_in","model_version":"1","text_output":'
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert events(answer.content) == [
        head + b'"Hello"}',
        head + '" wörld"}'.encode(),
        head + rb'" \"quoted\""}',
        head + '" 😀"}'.encode(),
        head + rb'"\n"}',
    ]


def test_a_whole_answer_begins_with_its_prompt_unless_told_otherwise(client, stand_in: StandIn):
    prompt = stand_in.says("A", " B")
    path = "/v2/models/vllm_stand_in/generate"
    plain = client.post(path, json={"text_input": prompt})
    excluded = client.post(path, json={"text_input": prompt, "exclude_input_in_output": True})
    assert plain.content == (
        b'{"model_name":"vllm_stand_in","model_version":"1","text_output":"' + prompt.encode() + b'A B"}'
    )
    assert excluded.content == b'{"model_name":"vllm_stand_in","model_version":"1","text_output":"A B"}'


def test_a_stream_with_its_prompt_is_refused_as_vllm_does(client):
    body = {"text_input": "x", "stream": True, "exclude_input_in_output": False}
    answer = client.post("/v2/models/vllm_stand_in/generate_stream", json=body)
    assert answer.status_code == 400
    assert answer.content == (
        b'data: {"error":"Error generating stream: When streaming, '
        b'`exclude_input_in_output` = False is not allowed."}\n\n'
    )


def test_counts_and_the_reason_of_the_end_come_where_asked_for(client, stand_in: StandIn):
    body = {
        "text_input": stand_in.says("a", "b", "c"),
        "stream": True,
        "parameters": {"max_tokens": 2},
        "return_finish_reason": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    }
    answer = client.post("/v2/models/vllm_stand_in/generate_stream", json=body)
    seen = [json.loads(event.removeprefix(b"data: ")) for event in events(answer.content)]
    assert [(one["text_output"], one["finish_reason"], one["num_output_tokens"]) for one in seen] == [
        ("a", "None", 1),
        ("b", "length", 1),
    ]
    assert {one["num_input_tokens"] for one in seen} == {seen[0]["num_input_tokens"]}


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({}, 16),
        ({"parameters": {"max_tokens": 3}}, 3),
        ({"sampling_parameters": '{"max_tokens": 4}'}, 4),
        ({"sampling_parameters": '{"max_tokens": 4}', "parameters": {"max_tokens": 3}}, 4),
        ({"sampling_parameters": "{}", "parameters": {"max_tokens": 3}}, 16),
    ],
    ids=["default", "parameters", "tensor", "tensor wins", "tensor wins without a number"],
)
def test_the_limit_of_tokens_is_where_vllm_looks_for_it(client, limits, count):
    body = {"text_input": "a story of 30 words", "stream": True, **limits}
    answer = client.post("/v2/models/vllm_stand_in/generate_stream", json=body)
    assert len(events(answer.content)) == count


def test_a_failure_in_a_stream_is_its_last_event(client):
    body = {"text_input": "boom", "stream": True}
    answer = client.post("/v2/models/vllm_stand_in/generate_stream", json=body)
    assert answer.status_code == 200
    assert events(answer.content)[-1] == (
        b'data: {"error":"Error generating stream: engine exploded mid-stream"}'
    )


def test_a_failure_of_a_whole_answer_has_an_error_status(client):
    answer = client.post("/v2/models/vllm_stand_in/generate", json={"text_input": "boom"})
    assert answer.status_code == 400
    assert answer.json() == {"error": "Error generating stream: engine exploded mid-stream"}


def test_a_client_that_leaves_cancels_the_model(client, stand_in: StandIn):
    prompt = f"{stand_in.says('x')} Then a story of 100000 words, one every 2 ms"
    body = {"text_input": prompt, "stream": True, "parameters": {"max_tokens": 100_000}}
    with client.stream("POST", "/v2/models/vllm_stand_in/generate_stream", json=body) as answer:
        next(answer.iter_raw())
    ended = eventually(lambda: stand_in.journal("ended", prompt))
    assert [one["cancelled"] for one in ended] == [True]


def test_a_second_model_is_the_same_under_another_name(client, stand_in: StandIn):
    body = {"text_input": stand_in.says("x"), "exclude_input_in_output": True}
    answer = client.post(f"/v2/models/{stand_in.other_model}/generate", json=body)
    assert answer.json() == {"model_name": stand_in.other_model, "model_version": "1", "text_output": "x"}
