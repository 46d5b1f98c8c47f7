"""With every guard enforced, and nothing to find, clients get what they would get without the filter.

Byte for byte where no text is held back: in whole answers, and in streams whose every event ends where no
rule has begun. Elsewhere a word may move to a later event of its text, and nothing else changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import grpc
import httpx
import pytest
from grpc_calls import Call, infer
from hostile_streams import text_in
from live_traffic import GENERATE, STREAM, says
from real_parts import Gateway, GatewayMaker, StandIn
from tritonclient.grpc import service_pb2 as pb

from extproc.demo.parts import Envoy, OpenAIFront, Valkey
from extproc.redaction.engine import RuleScanner, redact
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import default_mask

MODEL = "vllm_stand_in"
POLICY = """
version: 1
tenants:
  acme: {policy: all, keys: [{id: acme-1, hash: "${ACME_HASH}"}]}
policies:
  all:
    guards:
      admission: {mode: enforce}
      schema: {mode: enforce, models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {mode: enforce, limits: [{window: minute, tokens: 1000000000}]}
      injection: {mode: enforce}
      pii: {mode: enforce}
      secrets: {mode: enforce}
      moderation: {mode: enforce, topics: {weapons: [pipe bomb]}}
      prompt_leak: {mode: enforce}
      links: {mode: enforce, hosts: [example.com]}
      tool_policy: {mode: enforce}
      output_schema: {mode: enforce}
"""
# Each ends where nothing could go on: behind it nothing is held.
RESTING = [
    "Grüße ",
    "from a fox.\n",
    'He said: "so", ',
    "and \\ went \t",
    "😀 ",
    "漢字 ",
    "over some hills. ",
]
# Words, numbers and marks that could all become something, cut anywhere.
MOVING = [
    "The fo",
    "x a",
    "t 4",
    "2, 4111 ",
    "11",
    " of a.",
    "b at ",
    "jane",
    " or",
    " sk-",
    "no @ ",
    "+49",
]
SYSTEM = "You are a gentle helper who tells short stories about animals in the wood."
# What front ends draw anew for each answer; events of responses are numbered, those of the filter too.
OWN = re.compile(rb"\b(?:cmpl|resp|msg|call|chatcmpl|rs|fc)[-_][0-9a-f-]{16,}|\"created(?:_at)?\":[0-9.]+")
NUMBER = re.compile(rb'"sequence_number":[0-9]+')
_TURN = [{"role": "system", "content": SYSTEM}]


def _turns(prompt: str) -> list[dict[str, str]]:
    return [*_TURN, {"role": "user", "content": prompt}]


Body = Callable[[str, bool], dict[str, object]]
WIRES: Mapping[str, tuple[str, Body]] = {
    "chat": (
        "/v1/chat/completions",
        lambda prompt, stream: {"model": MODEL, "messages": _turns(prompt), "stream": stream},
    ),
    "completions": (
        "/v1/completions",
        lambda prompt, stream: {"model": MODEL, "prompt": prompt, "stream": stream},
    ),
    "responses": (
        "/v1/responses",
        # It says again how much it was asked for: a limit that the filter writes in shows.
        lambda prompt, stream: {
            "model": MODEL,
            "input": _turns(prompt),
            "max_output_tokens": 99,
            "stream": stream,
        },
    ),
    "messages": (
        "/v1/messages",
        lambda prompt, stream: {
            "model": MODEL,
            "system": SYSTEM,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 99,
            "stream": stream,
        },
    ),
    "generate": (
        GENERATE,
        lambda prompt, stream: {
            "text_input": prompt,
            "stream": stream,
            "exclude_input_in_output": True,
            "parameters": {"max_tokens": 99},
        },
    ),
}
every_wire = pytest.mark.parametrize("wire", WIRES)


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, openai_front: OpenAIFront, valkey: Valkey
) -> Iterator[Gateway]:
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url, grpc_port=stand_in.triton.grpc_port)
    try:
        yield maker(policy=POLICY, tenants=("acme",), openai_port=openai_front.port)
    finally:
        maker.close()


@pytest.fixture(scope="module")
def both(
    gateway: Gateway, bare_envoy: Envoy, bare_openai: Envoy
) -> Callable[[str, str, bool], list[bytes]]:
    """Asks through the filter, and without it; what came of each, but for what is drawn anew."""

    def ask(wire: str, prompt: str, stream: bool) -> list[bytes]:  # noqa: FBT001 - as the bodies take it.
        path, body = WIRES[wire]
        path = STREAM if wire == "generate" and stream else path
        straight = bare_envoy if wire == "generate" else bare_openai
        with gateway.client() as through, httpx.Client(base_url=straight.url, timeout=60) as direct:
            answers = [one.post(path, json=body(prompt, stream)) for one in (through, direct)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
        return [OWN.sub(b"-", answer.content) for answer in answers]

    return ask


def held_after(tokens: Sequence[str]) -> list[int]:
    """What the rules hold back after each token."""
    automaton = default_automaton()
    scanner = RuleScanner(automaton, mask=default_mask(automaton))
    held = []
    for token in tokens:
        scanner.feed(token)
        held.append(scanner.held_chars)
    return held


def test_the_texts_are_what_they_are_chosen_for():
    automaton = default_automaton()
    for tokens in (RESTING, MOVING):
        assert redact("".join(tokens), automaton, mask=default_mask(automaton)).released == "".join(tokens)
    assert set(held_after(RESTING)) == {0}
    assert sum(map(bool, held_after(MOVING))) > len(MOVING) // 2


@every_wire
@pytest.mark.parametrize("tokens", [RESTING, MOVING], ids=["resting", "moving"])
def test_a_whole_answer_comes_byte_for_byte(tokens, wire, both, stand_in: StandIn):
    seen, expected = both(wire, says(stand_in, tokens), False)
    assert seen == expected
    assert json.dumps("".join(tokens), ensure_ascii=False)[1:-1] in seen.decode()


@every_wire
def test_a_stream_of_which_nothing_is_held_comes_byte_for_byte(wire, both, stand_in: StandIn):
    seen, expected = both(wire, says(stand_in, RESTING), True)
    assert seen == expected
    assert text_in(wire, seen) == "".join(RESTING)


def without_text(wire: str, event: bytes) -> bool:
    return text_in(wire, event) == ""


@every_wire
def test_a_stream_of_which_words_are_held_says_the_same(wire, both, stand_in: StandIn):
    seen, expected = both(wire, says(stand_in, MOVING), True)
    assert text_in(wire, seen) == text_in(wire, expected) == "".join(MOVING)
    assert seen != expected
    streams = [NUMBER.sub(b"", one).split(b"\n\n") for one in (seen, expected)]
    # One event stays one event, with some of its own text or that of others, or none; what is held last
    # comes in one more.
    assert len(streams[0]) - len(streams[1]) in {0, 1}
    beside = [{one for one in events if without_text(wire, one)} for events in streams]
    assert beside[0] >= beside[1]
    # No word comes before its own event.
    said = ["" for _ in streams]
    for ours, theirs in zip(*streams, strict=False):
        said = [text + text_in(wire, one) for text, one in zip(said, (ours, theirs), strict=True)]
        assert said[1].startswith(said[0])


# --- KServe's gRPC -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calls(gateway: Gateway, bare_envoy: Envoy) -> Callable[[Sequence[pb.ModelInferRequest]], list[object]]:
    """Makes a call through the filter, and without it, and asks one request after the other."""

    def ask(requests: Sequence[pb.ModelInferRequest]) -> list[object]:
        came = []
        for url in (gateway.url, bare_envoy.url):
            with grpc.insecure_channel(url.removeprefix("http://")) as channel:
                call = Call(channel, gateway.headers())
                for request in requests:
                    call.ask(request)
                came.append(call.rest_bytes())
        return came

    return ask


def streamed(prompt: str, request_id: str) -> pb.ModelInferRequest:
    return infer(MODEL, prompt, request_id=request_id, parameters={"max_tokens": 99}, flags=("stream",))


def test_a_call_of_which_nothing_is_held_comes_byte_for_byte(calls, stand_in: StandIn):
    seen, expected = calls([streamed(says(stand_in, RESTING), "a")])
    assert seen == expected
    assert grpc_text(seen) == "".join(RESTING)


def test_a_call_of_which_words_are_held_says_the_same(calls, stand_in: StandIn):
    seen, expected = calls([streamed(says(stand_in, MOVING), "a")])
    assert grpc_text(seen) == grpc_text(expected) == "".join(MOVING)
    assert seen != expected
    assert len(seen) - len(expected) in {0, 1}
    beside = [{bare(one) for one in answers} for answers in (seen, expected)]
    assert beside[0] == beside[1]


def grpc_text(answers: Sequence[bytes]) -> str:
    texts = [pb.ModelStreamInferResponse.FromString(one).infer_response for one in answers]
    return "".join(raw[4:].decode() for one in texts for raw in one.raw_output_contents)


def bare(answer: bytes) -> bytes:
    """An answer without what it says."""
    message = pb.ModelStreamInferResponse.FromString(answer)
    for at in range(len(message.infer_response.raw_output_contents)):
        message.infer_response.raw_output_contents[at] = b""
    serialised: bytes = message.SerializeToString(deterministic=True)
    return serialised
