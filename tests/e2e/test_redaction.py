"""Redaction of real streams: what the client joins is the whole text redacted, however it was cut."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import httpx
import pytest
from live_traffic import (
    GENERATE,
    STREAM,
    ask,
    body_of,
    events_of,
    leaks,
    noted,
    planted_key,
    planted_mail,
    says,
    text_of,
)
from real_parts import Gateway, GatewayMaker, StandIn

from extproc.demo.parts import Valkey
from extproc.redaction.engine import RuleScanner
from extproc.redaction.escaped import EscapedScanner
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import default_mask

POLICY = """
version: 1
tenants:
  acme:
    policy: standard
    keys: [{id: acme-1, hash: "${ACME_HASH}"}]
  watched:
    policy: shadow
    keys: [{id: watched-1, hash: "${WATCHED_HASH}"}]
policies:
  standard:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
  shadow:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
      pii: {mode: shadow}
      secrets: {mode: shadow}
"""
SEEDS = range(30)
WORDS = [
    "the",
    "a.b",
    "Grüße",
    "to",
    "1",
    "22",
    "::",
    "--",
    "😀",
    "007",
    "über",
    "\n",
    "\t",
    '"quoted"',
    "\\n",
    "漢字",
    "</s>",
]


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey
) -> Iterator[Gateway]:
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url)
    try:
        yield maker(policy=POLICY, tenants=("acme", "watched"))
    finally:
        maker.close()


def whole_redacted(text: str) -> str:
    automaton = default_automaton()
    scanner = RuleScanner(automaton, mask=default_mask(automaton))
    return EscapedScanner(scanner).feed(text, eof=True).released


def planted_card(chance: random.Random) -> str:
    """A number with the check digit of a card."""
    digits = [4, *(chance.randint(0, 9) for _ in range(14))]
    doubled = [
        digit * 2 - 9 * (digit > 4) if place % 2 == 0 else digit for place, digit in enumerate(digits)
    ]
    number = "".join(map(str, [*digits, -sum(doubled) % 10]))
    return " ".join(number[at : at + 4] for at in range(0, 16, 4))


def planted_phone(chance: random.Random) -> str:
    return f"+49 30 {chance.randint(100_000, 999_999)} {chance.randint(10, 99)}"


PLANTED = (planted_key, planted_mail, planted_card, planted_phone)


def cut(text: str, chance: random.Random) -> list[str]:
    """A text in tokens of one to nine characters."""
    tokens = []
    while text:
        length = chance.choice([1, 1, 1, 2, 3, 5, 9])
        tokens.append(text[:length])
        text = text[length:]
    return tokens


@pytest.mark.parametrize("make", PLANTED, ids=lambda make: make.__name__)
def test_a_value_is_redacted_wherever_its_tokens_are_cut(make, gateway: Gateway, stand_in: StandIn):
    values, tokens = [], []
    for at in range(1, len(make(random.Random(0)))):
        value = make(random.Random(at))
        values.append(value)
        tokens += ["It is ", value[:at], value[at:], ", and so on. "]
    seen = ask(gateway, says(stand_in, tokens))

    assert (seen.status, seen.cut) == (200, False)
    assert [leaks(seen.body, value, chars=8) for value in values] == [False] * len(values)
    assert (text_of(seen.body) == whole_redacted("".join(tokens))) is True
    assert text_of(seen.body).count("[") == len(values)


def test_a_value_is_redacted_in_json_within_the_answer_at_every_level(gateway: Gateway, stand_in: StandIn):
    chance = random.Random(5)
    values = [make(chance) for make in (planted_mail, planted_card) for _ in range(3)]
    document: object = "\n".join(f"no. {at}\n{value}" for at, value in enumerate(values))
    escaped = str(document)
    for _ in range(3):
        # As a tool would write it within a tool's answer: each level escapes the one within.
        document = {"text": escaped}
        escaped = json.dumps(document).replace("@", "\\u0040")
        seen = ask(gateway, says(stand_in, cut(escaped, chance)))

        assert (seen.status, seen.cut) == (200, False)
        assert [leaks(seen.body, value, chars=8) for value in values] == [False] * len(values)
        assert (text_of(seen.body) == whole_redacted(escaped)) is True
        told = json.loads(text_of(seen.body))["text"]
        assert told.count("[EMAIL_ADDRESS]") == told.count("[CREDIT_CARD]") == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_is_the_whole_text_redacted(seed: int, gateway: Gateway, stand_in: StandIn):
    chance = random.Random(seed)
    values = [chance.choice(PLANTED)(chance) for _ in range(6)]
    parts = [part for value in values for part in (*chance.choices(WORDS, k=chance.randint(0, 4)), value)]
    text = chance.choice(["", " "]).join([" ".join(parts), chance.choice(WORDS)])
    tokens = cut(text, chance)
    seen = ask(gateway, says(stand_in, tokens))

    assert (seen.status, seen.cut) == (200, False)
    expected = whole_redacted(text)
    assert (text_of(seen.body) == expected) is True
    # A value that ran into its neighbour may be none to the rules; what they hide is nowhere in the answer.
    hidden = [value for value in values if not leaks(expected, value, chars=8)]
    assert len(hidden) >= 4
    assert [leaks(seen.body, value, chars=8) for value in hidden] == [False] * len(hidden)
    # One event stays one event; what was held at the end comes in one of its own.
    assert len(events_of(seen.body)) - len(tokens) in {0, 1}


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_answer_is_the_whole_text_redacted(seed: int, gateway: Gateway, stand_in: StandIn):
    chance = random.Random(seed)
    values = [make(chance) for make in PLANTED]
    tokens = cut(" and ".join(values) + ".", chance)
    seen = ask(gateway, says(stand_in, tokens), path=GENERATE)

    assert seen.status == 200
    assert [leaks(seen.body, value, chars=8) for value in values] == [False] * len(values)
    assert f'"text_output":"{whole_redacted("".join(tokens))}"' in seen.body.decode()


def direct(stand_in: StandIn, prompt: str, path: str) -> bytes:
    """What Triton itself answers."""
    body = body_of(prompt, stream=path == STREAM)
    return httpx.post(f"{stand_in.url}{path}", json=body, timeout=60).content


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_shadow_changes_no_byte_and_counts_what_it_found(path: str, gateway: Gateway, stand_in: StandIn):
    chance = random.Random(7)
    values = [make(chance) for make in PLANTED]
    prompt = says(stand_in, cut("😀 ".join(values) + " end", chance)) + f" for {values[1]}"
    seen = ask(gateway, prompt, path=path, tenant="watched")

    assert (seen.status, seen.cut) == (200, False)
    assert (seen.body == direct(stand_in, prompt, path)) is True
    assert noted(stand_in, "received", prompt.split()[1])[0]["prompt"] == prompt
    record = gateway.verdict(seen.request_id)
    assert (record["action"], record["reason"]) == ("allow", "clean")
    found = {(one["lane"], one["mode"], one["entity_type"]) for one in record["entities"]}
    assert found == {
        ("request", "shadow", "EMAIL_ADDRESS"),
        ("response", "shadow", "AWS_ACCESS_KEY"),
        ("response", "shadow", "EMAIL_ADDRESS"),
        ("response", "shadow", "CREDIT_CARD"),
        ("response", "shadow", "PHONE_NUMBER"),
    }


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_is_found_the_text_is_the_models_own(seed: int, gateway: Gateway, stand_in: StandIn):
    chance = random.Random(seed)
    text = " ".join(
        chance.choices(["once", "upon", "Grüße", "😀", "a.b", "--", "漢字", "so", '"q"', "\n"], k=200)
    )
    tokens = cut(text, chance)
    seen = ask(gateway, says(stand_in, tokens))

    assert (seen.status, seen.cut) == (200, False)
    assert text_of(seen.body) == text
    assert len(events_of(seen.body)) - len(tokens) in {0, 1}
    assert gateway.verdict(seen.request_id)["reason"] == "clean"


def test_a_whole_answer_without_findings_is_the_models_own_bytes(gateway: Gateway, stand_in: StandIn):
    prompt = says(stand_in, ["Grüße", " 😀", ' "q"', "\n", " end"])
    seen = ask(gateway, prompt, path=GENERATE)
    assert seen.body == direct(stand_in, prompt, GENERATE)


def test_what_is_planted_in_a_prompt_does_not_reach_the_model(gateway: Gateway, stand_in: StandIn):
    chance = random.Random(11)
    values = [make(chance) for make in PLANTED]
    question = says(stand_in, ["fine"])
    prompt = f"{question} for {', '.join(values)}"
    seen = ask(gateway, prompt)

    assert seen.status == 200
    [received] = noted(stand_in, "received", question.split()[1])
    assert [leaks(str(received["prompt"]), value) for value in values] == [False] * len(values)
    assert received["prompt"] == whole_redacted(prompt)
    record = gateway.verdict(seen.request_id)
    assert sum(one["count"] for one in record["entities"] if one["lane"] == "request") == len(values)
