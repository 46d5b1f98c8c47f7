"""Whatever a well-behaved Envoy sends and whatever the effects answer, the core replies in turn."""

from __future__ import annotations

from collections import Counter

from doubles import FakeGuard, Playbook, bound, budget, granted, policy, watching
from hypothesis import given, target
from hypothesis import strategies as st
from wire_messages import (
    request_body,
    request_headers,
    request_trailers,
    response_body,
    response_headers,
    response_trailers,
)

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.effects import Answer, Classify, Scores, Settled, TextScore
from extproc.domain.errors import FailureKind
from extproc.domain.verdict import Lane, Stage
from extproc.edge.phases import PhaseTable
from extproc.edge.translate import event_of, reply_bytes
from extproc.pb.extproc_wire_pb2 import ProcessingRequest

SCORES = Scores(
    head="injection", model="m", scores=(TextScore(score=0.1, windows=1, tokens=1, start=0, end=1),)
)
ANSWERS: list[Answer | FailureKind] = [
    granted(),
    granted(yes=False),
    SCORES,
    Settled(charged=1, refunded=1),
    FailureKind.DEADLINE,
]
HEAD = ((":method", b"POST"), (":path", b"/line"))
REQUEST_CHUNKS = [b"", b"a\n", b"a\nb\n", b"\xff\n", b"half"]
ANSWER_CHUNKS = [b"", b"0 hunter2\n", b"0 hun", b"ter2\n", b"0 x\n", b"1 y\n", b"0 .\n", b"zz\n"]

Lane_ = list[ProcessingRequest]


@st.composite
def requests(draw: st.DrawFn) -> Lane_:
    """A request as Envoy shows it, to its end; at times with the second end of envoy#46237."""
    chunks = [request_body(chunk) for chunk in draw(st.lists(st.sampled_from(REQUEST_CHUNKS), max_size=3))]
    ends = [
        [request_headers(HEAD, end_stream=True)],
        [request_headers(HEAD), *chunks, request_body(b"", end_stream=True)],
        [request_headers(HEAD), *chunks, request_body(b"z\n", end_stream=True)],
        [request_headers(HEAD), *chunks, request_body(b"", end_stream=True), request_body(end_stream=True)],
        [request_headers(HEAD), *chunks, request_trailers()],
    ]
    return draw(st.sampled_from(ends))


@st.composite
def answers(draw: st.DrawFn) -> Lane_:
    """An answer as Envoy shows it, to its end."""
    status = ((":status", draw(st.sampled_from([b"200", b"404", b"503"]))),)
    chunks = [response_body(chunk) for chunk in draw(st.lists(st.sampled_from(ANSWER_CHUNKS), max_size=4))]
    ends = [
        [response_headers(status, end_stream=True)],
        [response_headers(status), *chunks, response_body(b"", end_stream=True)],
        [response_headers(status), *chunks, response_body(b"0 .\n", end_stream=True)],
        [response_headers(status), *chunks, response_trailers()],
    ]
    return draw(st.sampled_from(ends))


class Conversation:
    """A core stream, the phase table, and an Envoy that keeps to its own rules."""

    def __init__(self, request: Lane_, answer: Lane_, *, alone: bool, block: bool) -> None:
        self.play = Playbook(
            policy(
                bound(budget(), name="budget", stage=Stage.BUDGET),
                bound(FakeGuard(effects=(Classify(head="injection", texts=("x",)),)), name="injection"),
                watching(block=block),
            ),
            alone=alone,
        )
        self.table = PhaseTable()
        self.to_come = {Lane.REQUEST: request, Lane.RESPONSE: answer}
        self.sent: Counter[str] = Counter()
        self.answered: set[int] = set()

    def message(self, lane: Lane) -> None:
        """Envoy's next message of a lane; an answer comes only to a request that it was given."""
        over = self.sent["Refuse"] or self.sent["Abort"]
        unasked = lane is Lane.RESPONSE and not self.sent["ReplyHeaders"]
        if over or unasked or not self.to_come[lane]:
            return
        message = self.to_come[lane].pop(0)
        self.table.opened(message)
        self.perform(self.play.send(event_of(message, self.play.tick())))

    def effect(self, answer: Answer | FailureKind) -> None:
        """The oldest open effect is answered, rightly or not."""
        open_ids = [one.effect_id for one in self.play.effects() if one.effect_id not in self.answered]
        if not open_ids:
            return
        self.answered.add(open_ids[0])
        at_us = self.play.tick()
        if isinstance(answer, FailureKind):
            self.perform(self.play.send(ev.EffectFailed(at_us, open_ids[0], answer)))
        else:
            self.perform(self.play.send(ev.EffectDone(at_us, open_ids[0], answer)))

    def event(self, event: ev.Event) -> None:
        """Something of the edge's own."""
        self.perform(self.play.send(event))

    def perform(self, commands: list[cmd.Command]) -> None:
        """What the runner does with them; raises IllegalReply."""
        for command in commands:
            self.table.check(command)
            if isinstance(command, cmd.ReplyHeaders | cmd.ReplyBody | cmd.ReplyTrailers | cmd.Refuse):
                reply_bytes(command)
            self.sent[type(command).__name__] += 1


STEPS = st.one_of(
    st.sampled_from(Lane),
    st.sampled_from(Lane),
    st.sampled_from(ANSWERS),
    st.builds(ev.DeadlineReached, st.just(1), st.sampled_from(ev.DeadlineKind)),
    st.builds(ev.Crashed, st.just(1)),
)


@given(requests(), answers(), st.lists(STEPS, max_size=30), st.booleans(), st.booleans())
def test_the_core_replies_in_turn(request_lane, answer_lane, steps, alone, block):
    talk = Conversation(list(request_lane), list(answer_lane), alone=alone, block=block)
    for step in steps:
        if isinstance(step, Lane):
            talk.message(step)
        elif isinstance(step, ev.DeadlineReached | ev.Crashed):
            talk.event(step)
        else:
            talk.effect(step)
    target(sum(talk.sent.values()), label="commands")
    if talk.table.may_end_cleanly:
        assert talk.play.stream.done


def test_a_whole_exchange_is_in_turn_and_may_end_cleanly():
    talk = Conversation(
        [request_headers(HEAD), request_body(b"a\n", end_stream=True)],
        [response_headers(), response_body(b"0 x\n"), response_body(b"0 .\n", end_stream=True)],
        alone=True,
        block=False,
    )
    for answer in (None, None, granted(), SCORES):
        talk.message(Lane.REQUEST) if answer is None else talk.effect(answer)
    for _ in range(3):
        talk.message(Lane.RESPONSE)
    assert (talk.table.may_end_cleanly, talk.play.stream.done) == (True, True)
