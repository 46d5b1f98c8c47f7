"""What the filter judged is what the real Triton's models received: a slice of `make agreement`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import agreement
import agreement_streams
import pytest
from agreement_cases import Forwarded
from agreement_wires import WIRES
from echo_triton import EchoTriton

CASES = 5_000
SEED = 20_260
SHOWN_MAX = 3


@pytest.mark.parametrize("wire", WIRES)
def test_no_request_means_one_thing_to_the_filter_and_another_to_triton(wire: str, echo_triton: EchoTriton):
    grammar, link_to = WIRES[wire]
    with closing(link_to(echo_triton)) as link:
        tally = agreement.run(grammar, link, seed=SEED, cases=CASES)
    assert tally.differences[:SHOWN_MAX] == []
    # The slice says something only where enough of it is let through, and taken.
    assert tally.accepted - tally.declined > CASES / 10
    assert tally.refused > CASES / 10


INTERLEAVED = 2_000


def test_requests_of_one_stream_are_each_their_own(echo_triton: EchoTriton):
    tally = agreement_streams.run(echo_triton, seed=SEED, cases=INTERLEAVED)
    assert tally.differences[:SHOWN_MAX] == []
    assert tally.accepted - tally.declined > INTERLEAVED / 10
    assert tally.refused > INTERLEAVED / 10


def one_for_another(stream: agreement_streams.Stream) -> None:
    """Say of each request what was judged of another."""
    keys = [*stream.judged]
    stream.judged = dict(zip(keys, [stream.judged[key] for key in [*keys[1:], *keys[:1]]], strict=True))


def a_refused_one_goes_on(stream: agreement_streams.Stream) -> None:
    """Take one that was judged and went on for one that was refused."""
    for key in [*stream.judged][:1]:
        del stream.judged[key]
        stream.refused.add(key)


def a_payload_for_another(stream: agreement_streams.Stream) -> None:
    """Take each request for the one before, and so its id."""
    stream.payloads = [*stream.payloads[1:], *stream.payloads[:1]]


@pytest.mark.parametrize(
    ("overlooks", "found"),
    [
        (one_for_another, "a text was not judged"),
        (a_refused_one_goes_on, "a model received what had been refused, or twice"),
        (a_payload_for_another, "an answer came under another id"),
        (a_payload_for_another, "a refusal came under another id"),
    ],
)
def test_what_a_stream_mixes_up_is_found(overlooks, found: str, echo_triton: EchoTriton):
    seen = agreement_streams.run(echo_triton, seed=SEED, cases=500, overlooks=overlooks).differences
    assert found in {difference.partition(":")[0] for difference in seen}


def without_a_segment(one: Forwarded) -> Forwarded:
    return replace(one, message=replace(one.message, segments=one.message.segments[1:]))


def without_a_field(one: Forwarded) -> Forwarded:
    sampling = dict([*one.message.params.sampling.items()][1:])
    return replace(one, message=replace(one.message, params=replace(one.message.params, sampling=sampling)))


def with_fewer_answers(one: Forwarded) -> Forwarded:
    params = replace(one.message.params, choices_count=one.message.params.choices_count - 1)
    return replace(one, message=replace(one.message, params=params))


def with_everything_scanned(one: Forwarded) -> Forwarded:
    return replace(one, message=replace(one.message, unscanned=frozenset()))


def with_a_lower_cap(one: Forwarded) -> Forwarded:
    return replace(one, edits=replace(one.edits, cap_output_tokens=(one.edits.cap_output_tokens or 9) - 1))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("overlooks", "found"),
    [
        (without_a_segment, "a text was not judged"),
        (without_a_field, "the policy was shown other fields"),
        (with_fewer_answers, "answers are more"),
        (with_everything_scanned, "content was not reported as unscanned"),
        (with_a_lower_cap, "the limit is not the cap"),
    ],
)
def test_what_a_codec_overlooks_is_found(overlooks, found: str, wire: str, echo_triton: EchoTriton):
    grammar, link_to = WIRES[wire]
    with closing(link_to(echo_triton)) as link:
        seen = agreement.run(grammar, link, seed=SEED, cases=500, overlooks=overlooks).differences
    assert found in {difference.partition(":")[0] for difference in seen}
