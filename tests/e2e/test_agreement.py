"""What the filter judged is what the real Triton's models received: a slice of `make agreement`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import agreement
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
