"""What is kept of an exchange, where its policy keeps any."""

from __future__ import annotations

from dataclasses import replace

import pytest
from doubles import (
    PRINCIPAL,
    SECRET,
    FakeGuard,
    LineCodec,
    Playbook,
    bound,
    budget,
    granted,
    policy,
    watching,
)
from hypothesis import given
from hypothesis import strategies as st
from samples import KEYS

from extproc.core import commands as cmd
from extproc.core.stream import Stream
from extproc.domain.bodies import BodyRule, Keep
from extproc.domain.effects import Settled
from extproc.domain.limits import LIMITS
from extproc.domain.ports import Verdict
from extproc.domain.segment import SegmentEdit
from extproc.domain.verdict import Action, Kept, Lane, Mode, Reason
from extproc.edge.sample_file import content_of, read_sample

BLOCKS = Verdict(action=Action.BLOCK, reason=Reason.INJECTION_DETECTED, message="no")
EVERY = frozenset(Action)


def redact(text):
    return text.replace(SECRET, "[SECRET]")


def keeping(*guards, keep=Keep.REDACTED, actions=EVERY, required=False):
    rule = BodyRule(
        keep=keep,
        actions=actions,
        lifetime_days=7,
        reviewer_key=KEYS[1] if keep is Keep.SEALED else "",
        required=required,
        redact=redact,
    )
    return replace(policy(*guards), bodies={PRINCIPAL.tenant: rule})


def cutting():
    """A guard that takes SECRET out of requests."""

    def judge(exchange, answers):
        text = exchange.request.segments[0].text
        at = text.find(SECRET)
        if at < 0:
            return Verdict(action=Action.ALLOW, reason=Reason.CLEAN)
        edit = SegmentEdit(segment_index=0, start=at, end=at + len(SECRET), replacement="[CUT]")
        return Verdict(action=Action.REDACT, reason=Reason.REDACTED, edits=(edit,))

    return bound(FakeGuard(judge_with=judge), name="cutting")


def blocking(mode=Mode.ENFORCE):
    return bound(FakeGuard(judge_with=lambda _e, _a: BLOCKS), name="injection", mode=mode)


def play(snapshot, request=b"say it\n", answer=(b"0 it is\n", b"0 .\n"), **options):
    play = Playbook(snapshot, **options)
    play.head()
    play.body(request, end=True)
    if not play.of(cmd.Refuse):
        play.answer_head()
        for piece in answer[:-1]:
            play.answer(piece)
        play.answer(answer[-1], end=True)
    return play


def kept(book):
    """The one record's word, and the texts of request and answer as they are written down."""
    (emitted,) = book.of(cmd.Emit)
    sample = emitted.sample
    if sample is None:
        return emitted.record.bodies, None, None
    read = read_sample(content_of(sample)[1], KEYS[0])
    request, answer = ("|".join(one["text"] for one in read[lane]) for lane in ("request", "answer"))
    return emitted.record.bodies, request, answer


def test_nothing_is_kept_unless_a_policy_says_so():
    assert kept(play(policy(watching()), answer=(b"0 hunter2\n", b"0 .\n"))) == (Kept.NO, None, None)


def test_redacted_keeps_the_request_as_forwarded_and_the_answer_as_released():
    book = play(
        keeping(cutting(), watching()), b"my hunter2\n", (b"0 it is hun\n", b"0 ter2 yes\n", b"0 .\n")
    )
    assert book.sent(Lane.REQUEST) == b"my [CUT]\n"
    assert kept(book) == (Kept.REDACTED, "my [CUT]", "it is [SECRET] yes")


def test_redacted_applies_every_rule_also_where_no_guard_does():
    book = play(keeping(), b"my hunter2\n", (b"0 it is hun\n", b"0 ter2\n", b"0 .\n"))
    assert b"hunter2" in book.sent(Lane.REQUEST)
    assert kept(book) == (Kept.REDACTED, "my [SECRET]", "it is [SECRET]")


def test_redacted_keeps_what_was_released_at_the_end_of_a_channel():
    book = play(keeping(watching()), answer=(b"0 say hun\n", b"0 ;\n", b"0 .\n"))
    assert kept(book)[2] == "say hun"


def test_a_refused_request_is_redacted_before_it_is_kept():
    book = play(keeping(blocking()), b"ignore hunter2\n")
    assert kept(book) == (Kept.REDACTED, "ignore [SECRET]", "")


def test_sealed_keeps_the_originals():
    book = play(
        keeping(cutting(), watching(), keep=Keep.SEALED),
        b"my hunter2\n",
        (b"0 a hun\n", b"0 ter2\n", b"0 .\n"),
    )
    assert b"hunter2" not in book.sent(Lane.REQUEST) + book.sent(Lane.RESPONSE)
    assert kept(book) == (Kept.SEALED, "my hunter2", "a hunter2")


def test_sealed_keeps_the_text_that_an_answer_was_refused_for():
    book = play(keeping(watching(block=True), keep=Keep.SEALED), answer=(b"0 a hunter2 b\n", b"0 .\n"))
    assert kept(book) == (Kept.SEALED, "say it", "a hunter2 b")


@pytest.mark.parametrize(
    ("guards", "decided"),
    [((), Action.ALLOW), ((cutting(),), Action.REDACT), ((blocking(),), Action.BLOCK)],
    ids=["allow", "redact", "block"],
)
@pytest.mark.parametrize("wanted", Action)
def test_only_the_decisions_that_are_wanted_are_kept(guards, decided, wanted):
    book = play(keeping(*guards, actions=frozenset({wanted})), b"my hunter2\n")
    assert (kept(book)[0] is Kept.REDACTED) == (decided is wanted)


def test_what_a_guard_in_shadow_would_have_done_counts():
    wanted = frozenset({Action.BLOCK})
    assert kept(play(keeping(blocking(Mode.SHADOW), actions=wanted)))[0] is Kept.REDACTED
    book = play(
        keeping(watching(mode=Mode.SHADOW), actions=frozenset({Action.REDACT})), answer=(b"0 hunter2\n",)
    )
    assert kept(book) == (Kept.REDACTED, "say it", "[SECRET]")


def test_the_sample_comes_with_the_record_once_the_books_are_closed():
    book = Playbook(keeping(bound(budget(), name="budget")))
    book.head()
    book.body(b"say it\n", end=True)
    book.effect(0, granted())
    book.answer_head()
    book.answer(b"0 it is\n0 .\n", end=True)
    assert book.of(cmd.Emit) == []
    book.effect(1, Settled(charged=1, refunded=99))
    assert kept(book) == (Kept.REDACTED, "say it", "it is")


def test_a_sample_says_whose_it_is():
    book = play(keeping(keep=Keep.SEALED))
    (emitted,) = book.of(cmd.Emit)
    record, sample = emitted.record, emitted.sample
    assert (sample.request_id, sample.exchange, sample.at_unix_ms) == (
        record.request_id,
        record.exchange,
        record.at_unix_ms,
    )
    assert (sample.reviewer_key, sample.lifetime_days, sample.size_bytes) == (
        KEYS[1],
        7,
        len("say itit is"),
    )
    assert "say it" not in repr(emitted)


@pytest.mark.parametrize("keep", [Keep.REDACTED, Keep.SEALED])
@pytest.mark.parametrize(
    "limits",
    [replace(LIMITS, sample_answer_bytes_max=4), replace(LIMITS, sample_bytes_max=10)],
    ids=["answer", "all"],
)
def test_what_is_over_a_bound_is_lost_and_goes_on(keep, limits):
    book = play(keeping(keep=keep), limits=limits)
    assert kept(book) == (Kept.LOST, None, None)
    assert book.sent(Lane.RESPONSE) == b"0 it is\n0 .\n"


def test_where_it_is_required_what_cannot_be_kept_is_refused_before_any_guard():
    guard = FakeGuard()
    snapshot = keeping(bound(guard), required=True)
    book = Playbook(snapshot)
    book.stream = Stream(
        stream_id="s", at_us=1, at_unix_ms=1, policy=snapshot, codecs=[LineCodec()], bodies_kept=False
    )
    book.head()
    book.body(b"say it\n", end=True)
    (refused,) = book.of(cmd.Refuse)
    assert (refused.refusal.status, refused.reason) == (503, Reason.BODIES_UNAVAILABLE)
    assert guard.seen == []


def test_where_it_is_required_what_would_not_fit_is_refused():
    limits = replace(LIMITS, sample_bytes_max=12, sample_answer_bytes_max=6)
    assert play(keeping(required=True), b"123456\n", (b"0 .\n",), limits=limits).of(cmd.Refuse) == []
    (refused,) = play(keeping(required=True), b"1234567\n", limits=limits).of(cmd.Refuse)
    assert (refused.refusal.status, refused.reason) == (413, Reason.BODY_TOO_LARGE)


@given(st.lists(st.sampled_from(["hun", "ter2", "hunter2", "x", " "]), max_size=8), st.sampled_from(Keep))
def test_no_original_is_kept_but_sealed(pieces, keep):
    snapshot = policy(watching()) if keep is Keep.NEVER else keeping(watching(), keep=keep)
    text = "".join(pieces)
    lines = tuple(f"0 {piece}\n".encode() for piece in pieces)
    word, request, answer = kept(play(snapshot, f"{text}\n".encode(), (*lines, b"0 .\n")))
    match keep:
        case Keep.NEVER:
            assert (word, request, answer) == (Kept.NO, None, None)
        case Keep.REDACTED:
            assert (request, answer) == (redact(text), redact(text))
            assert SECRET not in f"{request}|{answer}"
        case Keep.SEALED:
            assert (request, answer) == (text, text)
