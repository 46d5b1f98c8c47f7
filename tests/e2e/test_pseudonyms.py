"""Values that stand as tokens before a real Triton's model, and come back to the client through Envoy."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator

import pytest
from live_traffic import GENERATE, STREAM, ask, leaks, noted, planted_mail, text_of
from real_parts import Gateway, GatewayMaker, StandIn

from extproc.demo.parts import Valkey

POLICY = """
version: 1
tenants:
  acme:
    policy: standard
    keys: [{id: acme-1, hash: "${ACME_HASH}"}]
policies:
  standard:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
      injection: {mode: off}
      pii: {operators: {EMAIL_ADDRESS: pseudonym}}
"""
TOKEN = re.compile(r"\[EMAIL_ADDRESS_[a-z]{10}\]")


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey
) -> Iterator[Gateway]:
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url)
    try:
        yield maker(policy=POLICY, tenants=("acme",))
    finally:
        maker.close()


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_the_model_sees_tokens_and_the_client_his_values(gateway, stand_in, path):
    first, second = planted_mail(), planted_mail()
    name = secrets.token_hex(8)
    said = f"{name}: from {first} to {second}, copy to {first}."
    seen = ask(gateway, f"echo: {said}", path=path)
    assert seen.status == 200
    answer = text_of(seen.body) if path == STREAM else json.loads(seen.body)["text_output"]
    assert said in answer
    (asked,) = noted(stand_in, "received", name)
    assert not leaks(str(asked), first)
    assert not leaks(str(asked), second)
    tokens = TOKEN.findall(str(asked))
    assert (len(tokens), tokens[0] == tokens[2], tokens[0] == tokens[1]) == (3, True, False)
    again = ask(gateway, f"echo: {name}-again {tokens[0]} {first},", path=STREAM)
    assert f"{tokens[0]} {first}," in text_of(again.body)
