"""Judge models of the operator's own before a real Envoy: on a real Triton, and from a directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live_traffic import GENERATE, body_of, fresh_word, harmless, noted
from real_parts import Gateway, GatewayMaker, StandIn, eventually, running
from tiny_classifier import write_directory
from triton_models import TritonOf

from extproc.demo.install import install_triton
from extproc.demo.parts import Triton, Valkey
from extproc.judges import JudgePlace, open_judges

STATE = Path(__file__).parents[2] / ".headgate"
POLICY = """
version: 1
tenants:
  acme: {policy: judged, keys: [{id: acme-1, hash: "${ACME_HASH}"}]}
  watched: {policy: watched, keys: [{id: watched-1, hash: "${WATCHED_HASH}"}]}
  plain: {policy: plain, keys: [{id: plain-1, hash: "${PLAIN_HASH}"}]}
policies:
  judged:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
      injection: {mode: off}
      moderation: {mode: enforce, head: toxic}
  watched:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
      injection: {mode: off}
      moderation: {mode: shadow, head: toxic}
  plain:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
"""
TENANTS = ("acme", "watched", "plain")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton of its own: a test ends it."""
    state = tmp_path_factory.mktemp("judge-triton")
    triton = TritonOf(
        state, environment_path=install_triton(STATE), models=(), add=("text_judge", "token_judge")
    )
    with running(triton):
        yield triton


@pytest.fixture(scope="module")
def make(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey
) -> Iterator[GatewayMaker]:
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url)
    yield maker
    maker.close()


@pytest.fixture(scope="module")
def gateway(make: GatewayMaker, judge: Triton) -> Gateway:
    place = f"triton://127.0.0.1:{judge.grpc_port}/text_judge/1?labels=Toxic,Spam"
    return make(policy=POLICY, tenants=TENANTS, options=("--judge-model", place))


def prompt_with(words: str) -> tuple[str, str]:
    """A prompt that has these words, and one of it that stands in no other."""
    word = fresh_word()
    return f"tell me of the garden {word} {words}", word


def ask(gateway: Gateway, prompt: str, tenant: str = "acme") -> httpx.Response:
    with gateway.client(tenant) as client:
        return client.post(GENERATE, json=body_of(prompt, stream=False))


def moderation_of(gateway: Gateway, answer: httpx.Response) -> dict[str, object]:
    record = gateway.verdict(answer.headers["x-request-id"])
    (found,) = [one for one in record["verdicts"] if one["guard"] == "moderation"]
    return found


def test_its_scores_decide_what_reaches_the_model(gateway: Gateway, stand_in: StandIn) -> None:
    fine, word = prompt_with("and the pond")
    assert ask(gateway, fine).status_code == 200
    assert len(noted(stand_in, "received", word)) == 1
    bad, word = prompt_with("and the rubbish")
    answer = ask(gateway, bad)
    assert (answer.status_code, "about a topic that is not allowed" in answer.text) == (403, True)
    assert noted(stand_in, "received", word) == []
    assert "triton/text_judge/1" in json.dumps(gateway.verdict(answer.headers["x-request-id"]))
    assert moderation_of(gateway, answer)["score"] == pytest.approx(0.9)


def test_the_end_of_a_long_prompt_is_judged_too(gateway: Gateway, stand_in: StandIn) -> None:
    bad, word = prompt_with("and the pond " * 300 + "and the rubbish")
    assert ask(gateway, bad).status_code == 403
    assert noted(stand_in, "received", word) == []


def test_in_shadow_it_is_recorded_alone(gateway: Gateway) -> None:
    answer = ask(gateway, prompt_with("and the rubbish")[0], "watched")
    assert answer.status_code == 200
    assert moderation_of(gateway, answer)["score"] == pytest.approx(0.9)


def test_a_score_that_is_no_number_is_no_pass(gateway: Gateway, stand_in: StandIn) -> None:
    bad, word = prompt_with("and the casino")
    assert ask(gateway, bad).status_code == 503
    assert noted(stand_in, "received", word) == []


def test_token_ids_are_judged_with_a_tokenizer_that_is_here(judge: Triton, tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "house", weights=None)
    place = f"triton://127.0.0.1:{judge.grpc_port}/token_judge"
    judges = open_judges(JudgePlace(model=place, tokenizer=folder), threads=1)
    texts = ["a garden", "garden " * 200 + "rubbish", "a casino"]
    found = {
        name: [one.score > 0.9 for one in head.score(texts, windows_max=None, proceed=lambda: True)]
        for name, head in judges.heads.items()
    }
    assert found == {"toxic": [False, True, False], "spam_ads": [False, False, True]}


def not_ready(gateway: Gateway) -> list[str]:
    parts = httpx.get(f"http://127.0.0.1:{gateway.headgate.admin_port}/readyz").json()
    return [name for name, ready in parts.items() if not ready]


def test_without_it_what_it_judges_is_refused_until_it_is_back(gateway: Gateway, judge: Triton) -> None:
    fine = harmless(lambda: prompt_with("and the pond")[0])
    judge.stop()
    assert ask(gateway, fine).status_code == 503
    assert ask(gateway, fine, "plain").status_code == 200
    assert eventually(lambda: not_ready(gateway) == ["judge"], within_s=30)
    judge.start()
    judge.wait_ready()
    assert eventually(lambda: not_ready(gateway) == [], within_s=60)
    assert ask(gateway, fine).status_code == 200
    log = gateway.headgate.log_path.read_text(encoding="utf-8")
    assert "judge model triton/text_judge/1 on 127.0.0.1:" in log
    assert "heads toxic, spam (none)" in log
    assert "not ready: judge (text_judge at 127.0.0.1:" in log
    # Neither a prompt nor what a server says of one.
    assert "pond" not in log


def test_a_directory_is_judged_with_in_process(
    make: GatewayMaker, stand_in: StandIn, tmp_path: Path
) -> None:
    folder = write_directory(tmp_path / "house")
    gateway = make(policy=POLICY, tenants=TENANTS, options=("--judge-model", str(folder)))
    bad, word = prompt_with("and the rubbish")
    assert ask(gateway, bad).status_code == 403
    assert noted(stand_in, "received", word) == []
    assert ask(gateway, prompt_with("and the pond")[0]).status_code == 200
    log = gateway.headgate.log_path.read_text(encoding="utf-8")
    assert "judge model house:" in log
    assert "heads toxic, spam_ads (sigmoid)" in log
