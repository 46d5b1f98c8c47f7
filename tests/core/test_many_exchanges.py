"""Streams of many exchanges: one refused among several in either lane, trailers, what is forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from doubles import (
    PRINCIPAL,
    SECRET,
    FakeGuard,
    LineSession,
    Playbook,
    bound,
    budget,
    granted,
    policy,
    watching,
)

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.bodies import BodyRule, Keep
from extproc.domain.effects import Settled
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits, RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ALLOWED, Verdict, WireRefusal
from extproc.domain.segment import SegmentEdit
from extproc.domain.verdict import Action, Lane, Reason, Refusal, Stage

UNREADABLE = Refusal(reason=Reason.BODY_INVALID, status=400, message="not a line of ours")


class ManySession(LineSession):
    """Lines that begin with ``?`` cannot be accepted; answers end in trailers."""

    def __init__(self) -> None:
        super().__init__(alone=False)
        self.trailers: Mapping[str, tuple[str, ...]] = {}

    @property
    def pending_bytes(self) -> int:
        return len(self._request)

    def _message(self, line: bytes):
        message = super()._message(line)
        return replace(message, refused=UNREADABLE) if line.startswith(b"?") else message

    def end_one(self, key: int, refusal: Refusal) -> bytes:
        return f"{key} STOPPED {refusal.reason}\n".encode()

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:
        return None

    def read_response_trailers(self, trailers: Mapping[str, tuple[str, ...]]) -> None:
        if "status" not in trailers:
            raise PeerError(Reason.UPSTREAM_UNREADABLE, "no status", status=502)
        self.trailers = trailers

    def response_head_edits(self) -> HeaderEdits:
        return HeaderEdits(remove=("head",))

    def response_trailer_edits(self) -> HeaderEdits:
        return HeaderEdits(remove=("other",), set=(("status", self.trailers["status"][0] + "!"),))


class ManyCodec:
    name = "many"

    def accepts(self, head: RequestHead) -> bool:
        return head.path == "/line"

    def open(self, head: RequestHead) -> ManySession:
        return ManySession()

    def refuse(self, refusal: Refusal) -> WireRefusal:
        return ManySession().refuse(refusal)


def play(*guards, limits=LIMITS) -> Playbook:
    book = Playbook(policy(*guards), limits=limits, codecs=[ManyCodec()])
    book.head()
    return book


def trailers(book: Playbook, **fields: str) -> list[cmd.Command]:
    return book.send(ev.ResponseTrailers(book.tick(), {name: (value,) for name, value in fields.items()}))


def deadlines(book: Playbook) -> list[type[cmd.Command]]:
    kinds = (cmd.SetDeadline, cmd.ClearDeadline)
    return [
        type(one)
        for one in book.commands
        if isinstance(one, kinds) and one.kind is ev.DeadlineKind.REQUEST_BODY
    ]


# --- the answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("blocked", [0, 1, 2])
def test_an_answer_that_is_blocked_ends_alone(blocked):
    book = play(watching(block=True))
    book.body(b"a\nb\nc\n")
    book.answer_head()
    for key in range(3):
        book.answer(f"{key} one \n".encode())
    book.answer(f"{blocked} {SECRET}\n{blocked} more\n".encode())
    for key in range(3):
        book.answer(f"{key} two\n{key} .\n".encode())
    book.body(b"", end=True)
    trailers(book, status="0")
    sent = book.sent(Lane.RESPONSE).decode()
    assert SECRET not in sent
    lines = [line for line in sent.splitlines() if line.startswith(f"{blocked} ")]
    assert lines == [f"{blocked} one ", f"{blocked} STOPPED secret_found"]
    for key in {0, 1, 2} - {blocked}:
        assert [line for line in sent.splitlines() if line[0] == str(key)][-2:] == [
            f"{key} two",
            f"{key} .",
        ]
    records = {one.exchange: one for one in book.records()}
    assert [records[key].reason is Reason.SECRET_FOUND for key in range(3)] == [
        key == blocked for key in range(3)
    ]
    # What the model went on to say is counted.
    assert [records[key].output_tokens for key in range(3)] == [
        4 if key == blocked else 2 for key in range(3)
    ]
    assert book.stream.done


def test_an_answer_that_is_blocked_at_once_releases_the_head_for_its_neighbours():
    book = play(watching(block=True))
    book.body(b"a\nb\n")
    book.answer_head()
    commands = book.answer(f"0 {SECRET}\n".encode())
    assert isinstance(next(one for one in commands if isinstance(one, cmd.ReplyHeaders)), cmd.ReplyHeaders)
    assert book.sent(Lane.RESPONSE) == b"0 STOPPED secret_found\n"
    assert not book.of(cmd.Refuse)


def test_a_reservation_of_a_blocked_answer_is_settled_when_its_upstream_ends():
    book = play(watching(block=True), bound(budget(), name="budget", stage=Stage.BUDGET))
    book.body(b"a\n")
    book.effect(0, granted())
    book.answer_head()
    book.answer(f"0 {SECRET}\n0 x\n".encode())
    assert [type(one.effect).__name__ for one in book.effects()] == ["Reserve"]
    book.answer(b"0 y\n0 .\n")
    assert [type(one.effect).__name__ for one in book.effects()] == ["Reserve", "Settle"]
    book.effect(1, Settled(charged=60, refunded=40))
    (record,) = book.records()
    assert (record.output_tokens, record.reason) == (3, Reason.SECRET_FOUND)
    assert record.tokens_reserved == record.tokens_settled + record.tokens_refunded


def test_an_answer_to_an_exchange_that_is_over_cuts_the_stream():
    book = play()
    book.body(b"a\n")
    book.answer_head()
    book.answer(b"0 one\n0 .\n")
    book.answer(b"0 again\n")
    assert book.of(cmd.Abort)
    assert b"again" not in book.sent(Lane.RESPONSE)


# --- trailers --------------------------------------------------------------------------------


def test_trailers_go_on_as_the_codec_says():
    book = play()
    book.body(b"a\n", end=True)
    book.answer_head()
    book.answer(b"0 one\n0 .\n")
    trailers(book, status="0", other="text")
    assert book.of(cmd.ReplyTrailers) == [
        cmd.ReplyTrailers(Lane.RESPONSE, ("other",), (("status", "0!"),)),
    ]
    assert book.stream.done


def test_a_request_that_the_upstream_never_had_is_no_clean_one():
    book = play(bound(budget(), name="budget", stage=Stage.BUDGET))
    book.body(b"a\nb\n")
    book.effect(0, granted())
    book.answer_head()
    book.answer(b"0 one\n0 .\n")
    trailers(book, status="14")
    book.effect(1, granted())
    for at, one in enumerate(book.effects()):
        if type(one.effect).__name__ == "Settle":
            book.effect(at, Settled(charged=one.effect.tokens, refunded=100 - one.effect.tokens))
    records = {one.exchange: one for one in book.records()}
    assert [records[key].reason for key in (0, 1)] == [Reason.CLEAN, Reason.UPSTREAM_ERROR]
    assert records[1].tokens_settled == 0


def test_trailers_that_cannot_be_read_are_no_end():
    book = play()
    book.body(b"a\n", end=True)
    book.answer_head()
    trailers(book, other="text")
    (refused,) = book.of(cmd.Refuse)
    assert (refused.refusal.status, refused.reason) == (502, Reason.UPSTREAM_UNREADABLE)
    assert not book.of(cmd.ReplyTrailers)


# --- the request -----------------------------------------------------------------------------


def test_a_message_that_cannot_be_accepted_is_refused_alone_and_no_guard_is_asked():
    seen = FakeGuard()
    book = play(bound(seen))
    book.body(b"a\n?b\nc\n")
    assert book.sent(Lane.REQUEST) == b"a\n!1\nc\n"
    assert [one.request.segments[0].text for one in seen.seen] == ["a", "c"]
    (record,) = book.records()
    assert (record.exchange, record.action, record.reason, record.status, record.guard) == (
        1,
        Action.BLOCK,
        Reason.BODY_INVALID,
        400,
        "",
    )
    book.answer_head()
    assert book.answer(b"1 x\n")
    assert book.sent(Lane.RESPONSE) == b"1 REFUSED\n"


def test_between_messages_a_client_may_take_its_time():
    book = play()
    assert deadlines(book) == []
    book.body(b"half of")
    assert deadlines(book) == [cmd.SetDeadline]
    book.body(b" it\n")
    assert deadlines(book) == [cmd.SetDeadline, cmd.ClearDeadline]
    book.body(b"more\n")
    book.body(b"again ha")
    assert deadlines(book) == [cmd.SetDeadline, cmd.ClearDeadline, cmd.SetDeadline]
    book.send(ev.DeadlineReached(book.tick(), ev.DeadlineKind.REQUEST_BODY))
    (refused,) = book.of(cmd.Refuse)
    assert refused.reason is Reason.BODY_TIMEOUT


def test_a_message_that_is_whole_gives_the_next_one_its_own_time():
    book = play()
    book.body(b"ha")
    book.body(b"lf\nha")
    assert deadlines(book) == [cmd.SetDeadline, cmd.SetDeadline]
    book.body(b"l")
    assert deadlines(book) == [cmd.SetDeadline, cmd.SetDeadline]
    book.body(b"f\n")
    assert deadlines(book) == [cmd.SetDeadline, cmd.SetDeadline, cmd.ClearDeadline]


def spoiling(exchange, _answers):
    """An edit that makes two lines of one, which no session can write."""
    if exchange.request.segments[0].text != "bad":
        return ALLOWED
    edit = SegmentEdit(segment_index=0, start=1, end=2, replacement="\n")
    return Verdict(action=Action.REDACT, reason=Reason.REDACTED, edits=(edit,))


def test_a_request_that_cannot_be_written_is_refused_alone():
    redact = bound(FakeGuard(judge_with=spoiling), name="redact")
    book = play(redact, bound(budget(), name="budget", stage=Stage.BUDGET))
    book.body(b"a\nbad\nc\n")
    # All three are released at once.
    for at in (2, 1, 0):
        book.effect(at, granted())
    assert book.sent(Lane.REQUEST) == b"a\n!1\nc\n"
    (settle,) = book.effects()[3:]
    assert (settle.exchange, settle.effect.tokens) == (1, 0)
    book.answer_head()
    book.answer(b"1 x\n0 one\n0 .\n")
    assert book.sent(Lane.RESPONSE) == b"1 REFUSED\n0 one\n0 .\n"
    book.effect(3, Settled(charged=0, refunded=100))
    (record,) = [one for one in book.records() if one.exchange == 1]
    assert (record.action, record.reason, record.guard) == (
        Action.BLOCK,
        Reason.BODY_INVALID,
        "redact",
    )


@pytest.mark.parametrize("fault", [PeerError(Reason.BODY_INVALID, "no"), KeyError("bug")])
def test_where_one_request_ends_the_stream_its_neighbours_were_not_forwarded(fault):
    class Ending(ManySession):
        def write_request(self, key, edits):
            if key:
                raise fault
            return super().write_request(key, edits)

        def refuse_one(self, key, refusal):
            return None

    class EndingCodec(ManyCodec):
        def open(self, head: RequestHead) -> ManySession:
            return Ending()

    guards = bound(budget(), name="budget", stage=Stage.BUDGET)
    book = Playbook(policy(guards), limits=LIMITS, codecs=[EndingCodec()])
    book.head()
    book.body(b"a\nb\n")
    book.effect(1, granted())
    book.effect(0, granted())
    assert book.of(cmd.Refuse)
    assert book.sent(Lane.REQUEST) == b""
    assert [(one.exchange, one.effect.tokens) for one in book.effects()[2:]] == [(0, 0), (1, 0)]


def test_a_request_that_must_be_kept_and_is_too_long_is_refused_alone():
    rule = BodyRule(
        keep=Keep.REDACTED, actions=frozenset(Action), lifetime_days=1, required=True, redact=str
    )
    kept = replace(policy(), bodies={PRINCIPAL.tenant: rule})
    limits = replace(LIMITS, sample_bytes_max=12, sample_answer_bytes_max=6)
    book = Playbook(kept, limits=limits, codecs=[ManyCodec()])
    book.head()
    book.body(b"a\n1234567\nc\n")
    assert book.sent(Lane.REQUEST) == b"a\n!1\nc\n"
    assert [(one.exchange, one.reason) for one in book.records()] == [(1, Reason.BODY_TOO_LARGE)]


def test_a_stream_without_any_message_goes_on_as_it_is():
    book = play()
    book.body(b"", end=True)
    assert [type(one) for one in book.commands if isinstance(one, cmd.REPLIES)] == [
        cmd.Annotate,
        cmd.ReplyHeaders,
        cmd.ReplyBody,
    ]
    book.answer_head()
    trailers(book, status="0")
    assert (book.stream.done, [one.action for one in book.records()]) == (True, [Action.ALLOW])


def test_more_requests_than_may_be_open_are_refused_alone_and_far_more_end_the_stream():
    book = play(limits=replace(LIMITS, exchanges_open_max=2))
    book.body(b"a\nb\nc\nd\n")
    assert book.sent(Lane.REQUEST) == b"a\nb\n!2\n!3\n"
    assert [one.reason for one in book.records()] == [Reason.OVERLOADED] * 2
    assert not book.of(cmd.Refuse)
    book.body(b"e\n")
    (refused,) = book.of(cmd.Refuse)
    assert (refused.refusal.status, refused.reason) == (429, Reason.OVERLOADED)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (replace(LIMITS, exchanges_open_max=1), Reason.OVERLOADED),
        (replace(LIMITS, body_bytes_max=20), Reason.BODY_TOO_LARGE),
    ],
)
def test_no_message_is_read_beyond_a_bound(limits, reason):
    """Of a chunk whose messages are larger than it is, as compressed ones are."""
    read = []

    class Lazy(ManySession):
        def read_request(self, chunk, *, eof):
            for line in super().read_request(chunk, eof=eof):
                read.append(line.key)
                yield replace(line, inspectable_bytes=9)

    class LazyCodec(ManyCodec):
        def open(self, head: RequestHead) -> ManySession:
            return Lazy()

    book = Playbook(policy(), limits=limits, codecs=[LazyCodec()])
    book.head()
    book.body(b"\n" * 8)
    (refused,) = book.of(cmd.Refuse)
    assert (refused.reason, read) == (reason, [0, 1, 2])


def test_a_stream_may_bring_more_over_time_than_one_request_may_have():
    limits = replace(LIMITS, body_bytes_max=20, exchanges_open_max=4)
    book = play(limits=limits)
    for key in range(50):
        book.body(b"0123456789\n")
        assert book.stream.body_bytes == 10 + LIMITS.part_bytes
        if not key:
            book.answer_head()
        book.answer(f"{key} ok\n{key} .\n".encode())
        assert book.stream.body_bytes == 0
    assert len(book.records()) == 50
    assert not book.of(cmd.Refuse)
    book.body(b"0123456789\n")
    book.body(b"0123456789\n0")
    assert book.of(cmd.Abort)


def test_what_is_over_is_forgotten_but_for_what_the_access_log_says():
    deny = bound(
        FakeGuard(
            judge_with=lambda exchange, _: (
                Verdict(action=Action.BLOCK, reason=Reason.PII_FOUND, status=403, message="no")
                if exchange.request.segments[0].text == "bad"
                else ALLOWED
            )
        ),
        name="pii",
    )
    book = play(deny)
    book.body(b"a\nbad\nc\n")
    book.answer_head()
    for key in range(3):
        book.answer(f"{key} one\n{key} .\n".encode() if key != 1 else b"1 x\n")
    assert book.stream._request.exchanges == {}
    book.body(b"", end=True)
    trailers(book, status="0")
    last = book.of(cmd.Annotate)[-1]
    assert (last.action, last.reason, last.guard, last.output_tokens, last.tenant) == (
        Action.BLOCK,
        Reason.PII_FOUND,
        "pii",
        2,
        PRINCIPAL.tenant,
    )
    assert [one.exchange for one in sorted(book.records(), key=lambda one: one.exchange)] == [0, 1, 2]
    assert [one.chars_judged for one in sorted(book.records(), key=lambda one: one.exchange)] == [1, 3, 1]
