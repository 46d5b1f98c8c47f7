"""The differential fuzz: what a codec judged is what a real Triton's model received, or it was refused.

A grammar makes requests of one wire, valid ones and ones that are not quite; its link sends what the codec
forwards to a Triton whose models tell what they received (``echo_triton``). Whatever they received that
the codec had not judged, any limit above the cap, and any field that the policy was not shown is a
difference: see ``agreement_rules``. Another wire plugs in as a ``Grammar`` with its ``Link``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from agreement_cases import Case, Forwarded, Grammar, Link
from agreement_rules import difference

from extproc.codecs import codec_for, discover
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.ports import Codec, RequestEdits, RequestMessage
from extproc.domain.segment import Backend, SegmentEdit

# Requests that are under way at once.
_BATCH: Final = 16


@dataclass
class Tally:
    """What became of the cases. ``differences`` say where, and quote nothing but made-up requests."""

    cases: int = 0
    refused: int = 0
    accepted: int = 0
    declined: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cases} requests: {self.refused} refused by the codec, {self.accepted} forwarded,"
            f" {self.declined} of these declined by Triton; {len(self.differences)} differences"
        )


def run(
    grammar: Grammar,
    link: Link,
    *,
    seed: int,
    cases: int,
    told: Callable[[Tally], None] = lambda _tally: None,
    overlooks: Callable[[Forwarded], Forwarded] = lambda one: one,
) -> Tally:
    """Try so many cases of a grammar. The same seed makes the same cases.

    ``overlooks`` is for those who test this: what a codec with a fault would say that it judged.
    """
    tally = Tally()
    forwarded = _forwarded(grammar, seed, cases, tally)
    while batch := tuple(islice(forwarded, _BATCH)):
        for one, echo in zip(batch, link.exchange(batch), strict=True):
            if echo is None:
                tally.declined += 1
            elif found := difference(overlooks(one), echo):
                tally.differences.append(f"{found}: {one.case.path} {one.case.body!r} -> {one.body!r}")
        told(tally)
    return tally


def _forwarded(grammar: Grammar, seed: int, cases: int, tally: Tally) -> Iterator[Forwarded]:
    codecs = discover()
    for number in range(cases):
        # One generator for each case: any of them can be made again by itself.
        rng = random.Random(f"{grammar.name} {seed} {number}")
        one = judge(codecs, grammar.case(rng), rng)
        tally.cases += 1
        if one is None:
            tally.refused += 1
        else:
            tally.accepted += 1
            yield one


# --- what the filter judges ------------------------------------------------------------------


def judge(codecs: Sequence[Codec], case: Case, rng: random.Random) -> Forwarded | None:
    """Let the codec read and write a case, with edits now and then; None where it refuses."""
    head = RequestHead(
        method="POST", path=case.path, headers={name: (value,) for name, value in case.headers.items()}
    )
    codec = codec_for(codecs, head)
    if codec is None:
        return None
    try:
        session = codec.open(head)
        cut = rng.randrange(len(case.body) + 1)
        messages = [
            *session.read_request(case.body[:cut], eof=False),
            *session.read_request(case.body[cut:], eof=True),
        ]
        if len(messages) != 1 or messages[0].refused is not None:
            # Of several requests in one stream each is judged by itself: see ``agreement_streams``.
            return None
        edits = edits_of(messages[0], case.backend, rng)
        body = session.write_request(0, edits)
    except PeerError:
        return None
    changes = session.request_head_edits()
    kept = {name: value for name, value in case.headers.items() if name not in changes.remove}
    return Forwarded(
        case=case, body=body, headers={**kept, **dict(changes.set)}, message=messages[0], edits=edits
    )


def edits_of(message: RequestMessage, backend: Backend, rng: random.Random) -> RequestEdits:
    """What guards could want of a request, drawn."""
    asked = message.params.max_output_tokens
    cap = rng.choice((None, 1, 7, 300))
    # What core makes of it: the smaller of the two, or whichever there is.
    cap = asked if cap is None else cap if asked is None else min(cap, asked)
    edits = []
    if rng.random() < 0.3:
        for segment in message.segments:
            if segment.text and rng.random() < 0.5:
                start = rng.randrange(len(segment.text))
                end = rng.randint(start + 1, len(segment.text))
                replacement = rng.choice(("", "[X]", 'é"\\\n', "😀"))
                if segment.place == "id":
                    replacement = "X"
                edits.append(
                    SegmentEdit(segment_index=segment.index, start=start, end=end, replacement=replacement)
                )
    return RequestEdits(
        segments=tuple(edits), cap_output_tokens=cap, ask_usage=rng.random() < 0.5, backend=backend
    )
