"""A run of frames has the effect of its frames one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from doubles import PRINCIPAL, SECRET, LineSession, Playbook, bound, budget, granted, policy, watching
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import commands as cmd
from extproc.domain.bodies import BodyRule, Keep
from extproc.domain.head import RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta
from extproc.domain.verdict import Action, Lane, Mode, Refusal, Stage


class FrameSession(LineSession):
    """Frames without token counts."""

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        return tuple(frame._replace(usage=None) for frame in super().read_response(chunk, eof=eof))


class RunSession(FrameSession):
    """The same, with runs wherever a frame has a text and nothing else to say."""

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        found: list[ResponseFrame] = []
        for frame in super().read_response(chunk, eof=eof):
            if len(frame.deltas) != 1 or frame.ended or frame.final:
                found.append(frame)
            elif found and found[-1].is_run and found[-1].key == frame.key:
                found[-1] = found[-1]._replace(deltas=found[-1].deltas + frame.deltas)
            else:
                found.append(frame._replace(is_run=True))
        return tuple(found)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        if not frame.is_run:
            return super().write_response(frame, texts)
        return b"".join(f"{frame.key} {text}\n".encode() for text in texts)


class Many:
    """A session in which one answer can be refused while its neighbours go on."""

    @property
    def pending_bytes(self) -> int:
        return 0

    def end_one(self, key: int, refusal: Refusal) -> bytes:
        return f"{key} STOPPED {refusal.reason}\n".encode()


class ManyFrames(Many, FrameSession):
    """Frames of several exchanges."""


class ManyRuns(Many, RunSession):
    """Runs of several exchanges."""


class Codec:
    name = "line"

    def __init__(self, session: type[LineSession]) -> None:
        self._session = session

    def accepts(self, _head: RequestHead) -> bool:
        return True

    def open(self, _head: RequestHead) -> LineSession:
        return self._session(alone=not issubclass(self._session, Many))


def outcome(
    session: type[LineSession],
    snapshot,
    chunks: list[bytes],
    *,
    limits=LIMITS,
    reserves=0,
    requests=b"a\n",
):
    """All that the stream sent, told and recorded; body pieces joined."""
    play = Playbook(snapshot, codecs=[Codec(session)], limits=limits)
    play.head()
    play.body(requests, end=True)
    for number in range(reserves):
        play.effect(number, granted())
    play.answer_head()
    for chunk in chunks:
        play.answer(chunk)
    play.answer(b"", end=True)
    others = [one for one in play.commands if not isinstance(one, cmd.ReplyBody)]
    return play.sent(Lane.RESPONSE), others


POLICIES = {
    "unwatched": policy(),
    "redacts": policy(watching()),
    "shadow": policy(watching(mode=Mode.SHADOW)),
    "blocks": policy(watching(block=True)),
    "blocks in shadow": policy(watching(block=True, mode=Mode.SHADOW)),
}
texts = st.lists(
    st.one_of(
        st.sampled_from([SECRET, SECRET[:3], SECRET[3:], f"a {SECRET} b {SECRET}", "", ";", "x;"]),
        st.text(st.sampled_from("hunter2é "), max_size=8),
    ),
    max_size=12,
)


@pytest.mark.parametrize("name", POLICIES)
@given(texts, st.lists(st.integers(0, 200), max_size=4))
def test_a_run_is_its_frames(name, said, places):
    stream = b"".join(f"0 {text}\n".encode() for text in said if text != ".")
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    chunks = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert outcome(RunSession, POLICIES[name], chunks) == outcome(FrameSession, POLICIES[name], chunks)


def test_a_run_that_is_blocked_in_its_middle_sends_what_came_before():
    chunk = f"0 first\n0 second\n0 my {SECRET}\n0 last\n".encode()
    sent, others = outcome(RunSession, POLICIES["blocks"], [b"0 begun\n", chunk])
    assert sent == b"0 begun\n0 first\n0 second\n0 ERROR secret_found\n"
    (record,) = [one.record for one in others if isinstance(one, cmd.Emit)]
    assert (record.action, record.answer_frames) == (Action.BLOCK, 4)


@pytest.mark.parametrize("name", POLICIES)
@given(
    st.lists(st.tuples(st.integers(0, 2), texts.filter(bool).map(lambda some: some[0])), max_size=16),
    st.lists(st.integers(0, 300), max_size=4),
)
def test_a_run_of_one_exchange_among_several_is_its_frames(name, said, places):
    stream = b"".join(f"{key} {text}\n".encode() for key, text in said)
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    chunks = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    found = outcome(ManyRuns, POLICIES[name], chunks, requests=b"a\nb\nc\n")
    assert found == outcome(ManyFrames, POLICIES[name], chunks, requests=b"a\nb\nc\n")


def test_a_run_that_is_blocked_among_several_ends_alone_and_what_follows_is_counted():
    chunk = f"0 one\n0 two\n0 {SECRET}\n0 more\n0 on\n1 two\n1 end\n0 late\n".encode()
    sent, others = outcome(ManyRuns, POLICIES["blocks"], [b"0 begun\n1 one\n", chunk], requests=b"a\nb\n")
    assert sent == b"0 begun\n1 one\n0 one\n0 two\n0 STOPPED secret_found\n1 two\n1 end\n"
    records = [one.record for one in others if isinstance(one, cmd.Emit)]
    assert [(one.action, one.answer_frames) for one in records] == [(Action.BLOCK, 7), (Action.ALLOW, 3)]


@pytest.mark.parametrize("frames", [5, 9])
def test_a_run_that_outgrows_its_reservation_among_several_ends_alone(frames):
    snapshot = policy(watching(), bound(budget(), name="budget", stage=Stage.BUDGET))
    chunks = [b"0 begun\n1 one\n", b"".join(b"0 %s\n" % (b"x" * 10_000) for _ in range(frames)), b"1 on\n"]
    found = outcome(ManyRuns, snapshot, chunks, reserves=2, requests=b"a\nb\n")
    assert found == outcome(ManyFrames, snapshot, chunks, reserves=2, requests=b"a\nb\n")
    assert (b"0 STOPPED" in found[0]) == (frames > 7)
    assert found[0].endswith(b"1 on\n")


@pytest.mark.parametrize("keep", [Keep.REDACTED, Keep.SEALED])
def test_what_is_kept_of_a_run_is_what_is_kept_of_its_frames(keep):
    rule = BodyRule(
        keep=keep, reviewer_key="", lifetime_days=1, actions=frozenset(Action), required=False, redact=str
    )
    snapshot = replace(policy(watching()), bodies={PRINCIPAL.tenant: rule})
    chunks = [f"0 one\n0 my {SECRET[:4]}\n0 {SECRET[4:]} x\n0 .\n".encode()]
    found = outcome(RunSession, snapshot, chunks)
    assert found == outcome(FrameSession, snapshot, chunks)
    assert any(isinstance(one, cmd.Emit) and one.sample is not None for one in found[1])


@pytest.mark.parametrize("frames", [1, 5, 9, 40])
def test_a_run_is_cut_where_it_outgrows_its_reservation(frames):
    snapshot = policy(watching(), bound(budget(), name="budget", stage=Stage.BUDGET))
    chunks = [b"0 begun\n", b"".join(b"0 %s\n" % (b"x" * 10_000) for _ in range(frames))]
    found = outcome(RunSession, snapshot, chunks, reserves=1)
    assert found == outcome(FrameSession, snapshot, chunks, reserves=1)
    assert (b"ERROR" in found[0]) == (frames > 7)


def test_a_run_that_holds_too_much_back_is_refused():
    limits = replace(LIMITS, held_chars_max=3)
    chunks = [f"0 one\n0 {SECRET[:5]}\n0 {SECRET[5:]}\n".encode()]
    found = outcome(RunSession, POLICIES["redacts"], chunks, limits=limits)
    assert found[0] == outcome(FrameSession, POLICIES["redacts"], chunks, limits=limits)[0] == b""
    assert [one.refusal.status for one in found[1] if isinstance(one, cmd.Refuse)] == [502]


class WholeSession(LineSession):
    """Each line is a text of its own channel: one frame with all of them, which ends them."""

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        texts = chunk.decode().split()
        if not texts:
            return ()
        deltas = tuple(Delta(Channel(at, "whole"), text) for at, text in enumerate(texts))
        ended = tuple(delta.channel for delta in deltas)
        return (ResponseFrame(key=0, deltas=deltas, token=0, ended=ended, final=eof),)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        return " ".join(texts).encode()


@pytest.mark.parametrize("name", ["redacts", "shadow", "blocks"])
def test_texts_that_are_whole_may_be_more_than_there_may_be_channels(name):
    words = [f"w{at}" for at in range(2 * LIMITS.channels_max)]
    sent, _ = outcome(WholeSession, POLICIES[name], [" ".join(words).encode()])
    assert sent.decode().split() == words


def test_each_of_many_whole_texts_is_judged():
    words = ["fine"] * (2 * LIMITS.channels_max) + [SECRET]
    sent, _ = outcome(WholeSession, POLICIES["redacts"], [" ".join(words).encode()])
    assert sent.decode().split() == [*words[:-1], "[SECRET]"]
