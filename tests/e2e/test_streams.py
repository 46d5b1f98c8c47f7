"""Long, short, slow, broken and many: what a stream may do to the gateway."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
import redis
from dribble import Dribble
from live_traffic import (
    GENERATE,
    STREAM,
    Reading,
    Seen,
    all_settled,
    ask,
    body_of,
    events_of,
    noted,
    open_tokens,
    pieces,
    plant,
    planted_key,
    says,
    serves,
    text_of,
)
from real_parts import Gateway, GatewayMaker, StandIn, eventually

from extproc.demo.parts import Valkey

REDACTED = "[AWS_ACCESS_KEY]"
MEGABYTE = 1024 * 1024
# Of the slow reader's answer.
EVENTS = 1_600

# Long prompts need a policy that says so: the classifier could not read them in time.
POLICY = """
version: 1
tenants:
  acme:
    policy: standard
    keys: [{id: acme-1, hash: "${ACME_HASH}"}]
  long:
    policy: long
    keys: [{id: long-1, hash: "${LONG_HASH}"}]
  huge:
    policy: huge
    keys: [{id: huge-1, hash: "${HUGE_HASH}"}]
policies:
  standard:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
  long:
    guards:
      admission: {prompt_chars_max: 8000000}
      injection: {mode: "off"}
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
  # No model writes 64 kB a token; under a budget such an answer is cut as longer than its reservation.
  huge:
    guards:
      budget: {mode: "off"}
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
"""


@pytest.fixture(scope="module")
def maker(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey
) -> Iterator[GatewayMaker]:
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url)
    yield maker
    maker.close()


@pytest.fixture(scope="module")
def gateway(maker: GatewayMaker) -> Gateway:
    return maker(policy=POLICY, tenants=("acme", "long", "huge"))


def post(gateway: Gateway, content: object, *, path: str = STREAM, tenant: str = "acme") -> Seen:
    with (
        gateway.client(tenant) as client,
        client.stream("POST", path, content=content, timeout=100) as response,
    ):
        return Reading(response).rest()


# --- chunks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STREAM, GENERATE])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 65_536])
def test_a_request_may_come_in_any_chunks(chunk_bytes: int, path: str, gateway: Gateway, stand_in: StandIn):
    question = plant(stand_in)
    secret = planted_key()
    prompt = f"{question.prompt} and keep {secret}" + " padding" * (10_000 if chunk_bytes > 7 else 1)
    body = json.dumps(body_of(prompt, stream=path == STREAM)).encode()
    chunks = (body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes))
    seen = post(gateway, chunks, path=path)

    assert (seen.status, seen.cut) == (200, False)
    text = text_of(seen.body) if path == STREAM else json.loads(seen.body)["text_output"]
    assert text == question.redacted
    [received] = noted(stand_in, "received", question.name)
    assert received["prompt"] == prompt.replace(secret, REDACTED)


@pytest.mark.parametrize("path", [STREAM, GENERATE])
@pytest.mark.parametrize("piece_bytes", [1, 65_536])
def test_an_answer_may_come_in_any_chunks(
    piece_bytes: int, path: str, maker: GatewayMaker, stand_in: StandIn
):
    question = plant(stand_in, before=[" ü", "😀", "\n"], after=["x" * 100_000] if piece_bytes > 1 else [])
    with Dribble(stand_in.port, piece_bytes=piece_bytes) as relay:
        behind_relay = maker(policy=POLICY, tenants=("acme", "long", "huge"), upstream_port=relay.port)
        seen = ask(behind_relay, question.prompt, path=path)

    assert (seen.status, seen.cut) == (200, False)
    text = text_of(seen.body) if path == STREAM else json.loads(seen.body)["text_output"]
    assert text == question.redacted


# --- lengths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_a_prompt_of_5_mb_passes_where_the_policy_says_so(path: str, gateway: Gateway, stand_in: StandIn):
    question = plant(stand_in)
    secret = planted_key()
    prompt = question.prompt + " padding" * 650_000 + f" {secret} end"
    body = json.dumps(body_of(prompt, stream=path == STREAM)).encode()
    assert len(body) > 5_000_000
    seen = post(gateway, body, path=path, tenant="long")

    assert (seen.status, seen.cut) == (200, False)
    text = text_of(seen.body) if path == STREAM else json.loads(seen.body)["text_output"]
    assert text == question.redacted
    [received] = noted(stand_in, "received", question.name)
    # Compared apart, so that a failure does not print five megabytes.
    assert len(str(received["prompt"])) == len(prompt) - len(secret) + len(REDACTED)
    assert (received["prompt"] == prompt.replace(secret, REDACTED)) is True


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_a_prompt_of_5_mb_is_refused_where_the_policy_does_not(
    path: str, gateway: Gateway, stand_in: StandIn
):
    question = plant(stand_in)
    body = json.dumps(body_of(question.prompt + " padding" * 650_000, stream=path == STREAM)).encode()
    seen = post(gateway, body, path=path)

    assert (seen.status, seen.cut) == (413, False)
    assert seen.error == (
        f"the prompt is too long: at most 100000 characters are accepted (request {seen.request_id})"
    )
    assert gateway.verdict(seen.request_id)["reason"] == "prompt_too_long"
    assert noted(stand_in, "received", question.name) == []


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_beyond_the_bound_is_refused_before_it_is_whole(
    *, chunked: bool, gateway: Gateway, stand_in: StandIn
):
    question = plant(stand_in)
    body = json.dumps(body_of(question.prompt + " padding" * 1_200_000)).encode()
    assert len(body) > 9_000_000
    seen = post(gateway, iter([body]) if chunked else body, tenant="long")

    assert (seen.status, seen.cut) == (413, False)
    assert seen.error.startswith("the request body is larger than allowed")
    assert gateway.verdict(seen.request_id)["reason"] == "body_too_large"
    assert noted(stand_in, "received", question.name) == []


def test_an_answer_of_10_000_events_is_whole_in_order_and_redacted(
    gateway: Gateway, stand_in: StandIn, books: redis.Redis
):
    keys = [planted_key() for _ in range(20)]
    tokens: list[str] = []
    for number in range(10_000):
        if number % 500 == 250:
            tokens += [" ", *pieces(keys[number // 500], 5), " "]
        tokens.append(f" w{number}")
    tokens = tokens[:10_000]
    whole = "".join(tokens)
    for key in keys:
        whole = whole.replace(key, REDACTED)
    seen = ask(gateway, f"{says(stand_in, tokens)}, one word every 1 ms")

    assert (seen.status, seen.cut) == (200, False)
    assert (text_of(seen.body) == whole) is True
    assert len(events_of(seen.body)) in {10_000, 10_001}
    record = gateway.verdict(seen.request_id)
    assert (record["answer_frames"], record["output_tokens"], record["tokens_settled"]) == (
        10_000,
        10_000,
        record["input_tokens"] + 10_000,
    )
    assert all_settled(books)


# --- clients that leave, and clients that wait -----------------------------------------------


def test_a_client_that_leaves_ends_the_models_work_and_pays_for_what_was_seen(
    gateway: Gateway, stand_in: StandIn, books: redis.Redis
):
    words = [f" w{number}" for number in range(400)]
    prompt = says(stand_in, words)
    name = prompt.split()[1]
    body = body_of(f"{prompt}, one word every 25 ms")
    with gateway.client() as client, client.stream("POST", STREAM, json=body) as response:
        request_id = response.headers["x-request-id"]
        Reading(response).until(events=20)

    [ended] = eventually(lambda: noted(stand_in, "ended", name))
    assert ended["cancelled"] is True
    record = gateway.verdict(request_id)
    assert (record["action"], record["reason"], record["status"]) == ("allow", "peer_closed", 200)
    # What the model said until it noticed, less what was on its way.
    assert 20 <= record["output_tokens"] <= ended["tokens"] <= record["output_tokens"] + 10
    assert record["tokens_settled"] == record["input_tokens"] + record["output_tokens"]
    assert record["tokens_reserved"] == record["tokens_settled"] + record["tokens_refunded"]
    assert all_settled(books)


def test_a_client_that_leaves_before_a_whole_answer_is_settled(
    gateway: Gateway, stand_in: StandIn, books: redis.Redis
):
    # Triton goes on with it: it notices only when it writes.
    question = plant(stand_in, before=[f" w{number}" for number in range(80)])
    body = body_of(f"{question.prompt}, one word every 25 ms", stream=False)
    before = {record["request_id"] for record in gateway.verdicts()}
    with gateway.client() as client, pytest.raises(httpx.ReadTimeout):
        client.post(GENERATE, json=body, timeout=0.5)

    [record] = eventually(lambda: [one for one in gateway.verdicts() if one["request_id"] not in before])
    assert (record["action"], record["reason"], record["status"]) == ("allow", "peer_closed", 0)
    # The model writes it to its end all the same, so all of it is owed.
    assert (record["tokens_settled"], record["tokens_refunded"]) == (record["tokens_reserved"], 0)
    assert all_settled(books)


def test_a_slow_reader_costs_bounded_memory(gateway: Gateway, stand_in: StandIn):
    serves(gateway, stand_in)
    filter_process, envoy_process = psutil.Process(gateway.headgate.pid), psutil.Process(gateway.envoy.pid)
    secret = planted_key()
    # 100 MB in events of 64 kB, which Triton holds for the reader.
    event = "some ordinary prose " * 3_200
    tokens = [event] * EVENTS + [" ", *pieces(secret), " end"]
    prompt = says(stand_in, tokens)
    name = prompt.split()[1]
    before = filter_process.memory_info().rss, envoy_process.memory_info().rss
    with gateway.client("huge") as client:
        body = body_of(f"{prompt}, one word every 0 ms")
        with client.stream("POST", STREAM, json=body, timeout=100) as response:
            reading = Reading(response)
            reading.until(events=1)
            # The model is through, so whatever is not held back has come as far as the stalled reader.
            assert eventually(lambda: noted(stand_in, "ended", name), within_s=60)
            peak = filter_process.memory_info().rss, envoy_process.memory_info().rss
            seen = reading.rest()

    assert peak[0] - before[0] < 64 * MEGABYTE
    assert peak[1] - before[1] < 64 * MEGABYTE
    assert (seen.status, seen.cut) == (200, False)
    text = text_of(seen.body)
    assert len(text) == len(event) * EVENTS + len(f" {REDACTED} end")
    assert text.endswith(f" {REDACTED} end")
    assert gateway.verdict(seen.request_id)["reason"] == "redacted"


def test_an_answer_that_outgrows_its_reservation_is_cut(
    gateway: Gateway, stand_in: StandIn, books: redis.Redis
):
    serves(gateway, stand_in)
    prompt = says(stand_in, ["some ordinary prose " * 3_200] * 60)
    seen = post(gateway, json.dumps(body_of(prompt, parameters={"max_tokens": 8})).encode())
    assert seen.status == 200
    assert b"longer than was reserved" in seen.body
    assert len(seen.body) < 300_000
    record = gateway.verdict(seen.request_id)
    assert (record["action"], record["reason"]) == ("block", "output_too_long")
    assert all_settled(books)


# --- many ------------------------------------------------------------------------------------


STREAMS = 200
# Opening them all in one instant would only measure how many a small machine can judge a second.
OPENED_AT_ONCE = 16


def test_200_streams_at_once_are_each_whole(gateway: Gateway, stand_in: StandIn, books: redis.Redis):
    words = [f" w{number}" for number in range(12)]
    questions = [plant(stand_in, before=words, after=words) for _ in range(STREAMS)]
    opening = threading.Semaphore(OPENED_AT_ONCE)
    all_open = threading.Barrier(STREAMS)
    limits = httpx.Limits(max_connections=STREAMS)
    headers = gateway.headers()
    with (
        httpx.Client(base_url=gateway.url, headers=headers, timeout=60, limits=limits) as client,
        ThreadPoolExecutor(STREAMS) as pool,
    ):

        def play(prompt: str) -> Seen:
            # Slowly: Triton's own HTTP server loses events where hundreds wait for one of its threads.
            body = body_of(f"{prompt}, one word every 250 ms")
            with opening:
                response = client.send(client.build_request("POST", STREAM, json=body), stream=True)
                reading = Reading(response)
                reading.until(events=1)
            all_open.wait(timeout=40)
            seen = reading.rest()
            response.close()
            return seen

        answers = list(pool.map(play, [question.prompt for question in questions]))

    assert [(seen.status, seen.cut) for seen in answers] == [(200, False)] * STREAMS
    whole = [
        text_of(seen.body) == question.redacted for seen, question in zip(answers, questions, strict=True)
    ]
    assert whole == [True] * STREAMS
    ids = {seen.request_id for seen in answers}
    assert len(ids) == STREAMS

    def records() -> list[dict[str, object]]:
        return [record for record in gateway.verdicts() if record["request_id"] in ids]

    assert eventually(lambda: len(records()) == STREAMS)
    balanced = [
        record["tokens_reserved"] == record["tokens_settled"] + record["tokens_refunded"]
        for record in records()
    ]
    assert balanced == [True] * STREAMS
    assert {record["reason"] for record in records()} == {"redacted"}
    assert all_settled(books)
    assert open_tokens(books) == 0
