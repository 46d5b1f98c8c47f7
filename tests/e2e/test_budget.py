"""Token budgets with a real Valkey: reserved before the model runs, settled once, never overspent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis
from live_traffic import (
    GENERATE,
    STREAM,
    Reading,
    all_settled,
    ask,
    events_of,
    fresh_word,
    noted,
    open_tokens,
    says,
)
from real_parts import Gateway, GatewayMaker, StandIn, eventually

from extproc.demo.parts import Valkey

# The prompts of these tests take about a hundred tokens, and their answers as many as they ask for.
POLICY = """
version: 1
tenants:
  roomy:
    policy: roomy
    keys: [{id: roomy-1, hash: "${ROOMY_HASH}"}]
  tight:
    policy: tight
    keys: [{id: tight-1, hash: "${TIGHT_HASH}"}]
  firm:
    policy: firm
    keys: [{id: firm-1, hash: "${FIRM_HASH}"}]
  many:
    policy: many
    keys: [{id: many-1, hash: "${MANY_HASH}"}]
policies:
  roomy:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 300}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
  tight:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 300}
      budget: {limits: [{window: hour, tokens: 400}, {window: day, tokens: 100000}]}
  firm:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 300}
      budget: {limits: [{window: hour, tokens: 400}], over_limit_status: 403}
  many:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 300}
      budget: {limits: [{window: day, tokens: 2000}]}
"""
TENANTS = ("roomy", "tight", "firm", "many")


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey
) -> Iterator[Gateway]:
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url)
    try:
        yield maker(policy=POLICY, tenants=TENANTS)
    finally:
        maker.close()


def limit(tokens: int) -> dict[str, object]:
    return {"parameters": {"max_tokens": tokens}}


# --- over the limit --------------------------------------------------------------------------


@pytest.mark.parametrize(("tenant", "status"), [("tight", 429), ("firm", 403)])
@pytest.mark.parametrize("path", [GENERATE, STREAM])
def test_over_budget_is_refused_with_when_and_why(
    *, path: str, tenant: str, status: int, gateway: Gateway, stand_in: StandIn, books: redis.Redis
):
    words = [f" w{number}" for number in range(250)]
    spent = ask(gateway, says(stand_in, words), tenant=tenant, path=path, **limit(250))
    assert spent.status == 200
    record = gateway.verdict(spent.request_id)
    assert record["output_tokens"] == 250
    left = 400 - record["tokens_settled"]
    prompt = says(stand_in, words)
    seen = ask(gateway, prompt, tenant=tenant, path=path, **limit(250))

    assert (seen.status, seen.headers["content-type"], seen.cut) == (status, "application/json", False)
    assert seen.error == (
        f"the token budget of 400 a hour has {left} tokens left, too few for this request and its longest "
        f"answer; try again later (request {seen.request_id})"
    )
    assert seen.headers["x-ratelimit-limit-tokens"] == "400"
    assert seen.headers["x-ratelimit-remaining-tokens"] == str(left)
    # Within the two windows that a charge counts in.
    assert 1 <= int(seen.headers["retry-after"]) <= 7_200
    assert 1 <= int(seen.headers["x-ratelimit-reset-tokens"]) <= 7_200
    assert noted(stand_in, "received", prompt.split()[1]) == []
    refused = gateway.verdict(seen.request_id)
    assert (refused["reason"], refused["tokens_reserved"]) == ("budget_exceeded", None)
    # What still fits passes.
    assert ask(gateway, says(stand_in, ["ok"]), tenant=tenant, path=path, **limit(1)).status == 200
    assert all_settled(books, tenant)


def test_what_can_never_fit_says_so(gateway: Gateway, stand_in: StandIn, books: redis.Redis):
    prompt = says(stand_in, ["ok"]) + " word" * 400
    seen = ask(gateway, prompt, tenant="tight", **limit(250))
    assert (seen.status, "retry-after" in seen.headers) == (413, False)
    assert "more than the whole token budget of 400 a hour" in seen.error
    assert noted(stand_in, "received", prompt.split()[1]) == []
    assert open_tokens(books, "tight") == 0


def test_of_50_at_once_exactly_those_that_fit_are_admitted(
    gateway: Gateway, stand_in: StandIn, books: redis.Redis
):
    # The model stays silent until its client leaves, so that all that are admitted hold their tokens.
    prompt = f"A question about {fresh_word()} and silence"
    name = prompt.split()[3]
    body = {"text_input": prompt, "stream": True, **limit(200)}
    with gateway.client("roomy") as probe, pytest.raises(httpx.ReadTimeout):
        probe.post(STREAM, json=body, timeout=1)
    [record] = eventually(lambda: [r for r in gateway.verdicts() if r["reason"] == "peer_closed"][-1:])
    assert len(noted(stand_in, "received", name)) == 1
    each = int(record["tokens_reserved"])
    fitting = 2_000 // each
    assert 1 < fitting < 50

    def statuses() -> list[int]:
        return [one["status"] for one in gateway.verdicts() if one["tenant"] == "many"]

    def play(client: httpx.Client) -> int:
        try:
            return client.post(STREAM, json=body, timeout=8).status_code
        except httpx.ReadTimeout:
            return 0

    limits = httpx.Limits(max_connections=50)
    headers = gateway.headers("many")
    with (
        httpx.Client(base_url=gateway.url, headers=headers, limits=limits) as client,
        ThreadPoolExecutor(50) as pool,
    ):
        answers = [pool.submit(play, client) for _ in range(50)]
        assert eventually(lambda: statuses().count(429) == 50 - fitting)
        assert eventually(lambda: len(noted(stand_in, "received", name)) == 1 + fitting)
        assert open_tokens(books, "many") == fitting * each
        got = sorted(answer.result() for answer in answers)

    assert got == [0] * fitting + [429] * (50 - fitting)
    assert len(noted(stand_in, "received", name)) == 1 + fitting
    assert eventually(lambda: len(statuses()) == 50)
    assert all_settled(books, "many")
    settled = [one for one in gateway.verdicts() if one["tenant"] == "many" and one["status"] != 429]
    assert [one["tokens_reserved"] for one in settled] == [each] * fitting
    assert [one["tokens_settled"] + one["tokens_refunded"] for one in settled] == [each] * fitting


# --- what is reserved, used and given back ---------------------------------------------------


@pytest.mark.parametrize("path", [GENERATE, STREAM])
@pytest.mark.parametrize("said", [0, 1, 40, 100])
def test_what_is_reserved_is_settled_or_given_back(
    said: int, path: str, gateway: Gateway, stand_in: StandIn, books: redis.Redis
):
    seen = ask(gateway, says(stand_in, [" w"] * said), tenant="roomy", path=path, **limit(100))
    assert seen.status == 200
    record = gateway.verdict(seen.request_id)
    assert (record["usage_reported"], record["output_tokens"]) == (True, said)
    assert record["input_tokens"] > 0
    assert record["tokens_settled"] == record["input_tokens"] + said
    assert record["tokens_reserved"] == record["tokens_settled"] + record["tokens_refunded"]
    assert record["tokens_reserved"] >= record["input_tokens"] + 100
    assert all_settled(books, "roomy")


# --- max_tokens ------------------------------------------------------------------------------

IN_STRING = "sampling_parameters"
LIMITS_ASKED = [
    # Sent by the client, and what the model must have got: its limit, and where it stands.
    ({}, 300, {"max_tokens": 300}),
    ({"parameters": {}}, 300, {"max_tokens": 300}),
    ({"parameters": {"temperature": 0.5}}, 300, {"max_tokens": 300, "temperature": 0.5}),
    ({"parameters": {"max_tokens": 9_000}}, 300, {"max_tokens": 300}),
    ({"parameters": {"max_tokens": 7}}, 7, {"max_tokens": 7}),
    ({"max_tokens": 9_000}, 300, {"max_tokens": 300}),
    ({"max_tokens": 7}, 7, {"max_tokens": 7}),
    ({IN_STRING: "{}"}, 300, {}),
    ({IN_STRING: '{"max_tokens": 9000}'}, 300, {}),
    ({IN_STRING: '{"max_tokens": 7}'}, 7, {}),
    ({IN_STRING: '{"temperature": 0.5}'}, 300, {}),
    # The string is what the backend obeys; a limit beside it is the caller's all the same.
    ({IN_STRING: "{}", "parameters": {"max_tokens": 7}}, 7, {"max_tokens": 7}),
    ({IN_STRING: "{}", "parameters": {"max_tokens": 9_000}}, 300, {"max_tokens": 300}),
    ({IN_STRING: '{"max_tokens": 7}', "parameters": {"max_tokens": 7}}, 7, {"max_tokens": 7}),
]


@pytest.mark.parametrize("path", [GENERATE, STREAM])
@pytest.mark.parametrize(("asked", "allowed", "parameters"), LIMITS_ASKED)
def test_the_model_gets_the_limit(
    *,
    asked: dict[str, object],
    allowed: int,
    parameters: dict[str, object],
    path: str,
    gateway: Gateway,
    stand_in: StandIn,
):
    prompt = says(stand_in, [" w"] * 400)
    body = {"text_input": prompt, "stream": path == STREAM, "exclude_input_in_output": True, **asked}
    with gateway.client("roomy") as client, client.stream("POST", path, json=body) as response:
        seen = Reading(response).rest()
    assert seen.status == 200
    [received] = noted(stand_in, "received", prompt.split()[1])
    assert received["max_tokens"] == allowed
    assert received["parameters"] == parameters
    record = gateway.verdict(seen.request_id)
    assert record["output_tokens"] == allowed


# --- the upstream's counts -------------------------------------------------------------------


@pytest.mark.parametrize("path", [GENERATE, STREAM])
@pytest.mark.parametrize(
    "asked",
    [
        (),
        ("return_num_input_tokens",),
        ("return_num_output_tokens",),
        ("return_num_input_tokens", "return_num_output_tokens"),
    ],
)
@pytest.mark.parametrize("in_parameters", [True, False])
def test_counts_are_shown_to_those_who_asked(
    *,
    asked: tuple[str, ...],
    path: str,
    in_parameters: bool,
    gateway: Gateway,
    stand_in: StandIn,
):
    flags = dict.fromkeys(asked, True)
    members = {"parameters": {"max_tokens": 5, **flags}} if in_parameters else {**limit(5), **flags}
    # After a mark nothing is held at the end, so that there is no event of our own.
    seen = ask(gateway, says(stand_in, [" w"] * 4 + ["!"]), tenant="roomy", path=path, **members)

    assert seen.status == 200
    shown = {flag.removeprefix("return_") for flag in asked}
    answers = events_of(seen.body) if path == STREAM else [json.loads(seen.body)]
    assert [set(answer) & {"num_input_tokens", "num_output_tokens"} for answer in answers] == [shown] * len(
        answers
    )
    assert gateway.verdict(seen.request_id)["usage_reported"] is True


def test_a_client_that_declines_counts_does_not_get_them(gateway: Gateway, stand_in: StandIn):
    flags = {"return_num_input_tokens": False, "return_num_output_tokens": False}
    seen = ask(gateway, says(stand_in, [" w"] * 4 + ["!"]), tenant="roomy", **flags)
    assert [set(event) for event in events_of(seen.body)] == [
        {"model_name", "model_version", "text_output"}
    ] * 5
    assert gateway.verdict(seen.request_id)["output_tokens"] == 5
