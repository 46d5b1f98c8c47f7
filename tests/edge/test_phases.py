from __future__ import annotations

import pytest
from hypothesis import given
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
from extproc.core.events import DeadlineKind
from extproc.domain.head import HeaderEdits
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Lane, Reason
from extproc.edge.phases import IllegalReply, PhaseTable
from extproc.pb.extproc_wire_pb2 import ProcessingRequest

HEAD = {lane: cmd.ReplyHeaders(lane, HeaderEdits()) for lane in Lane}
PIECE = {lane: cmd.ReplyBody(lane, b"x", False) for lane in Lane}
END = {lane: cmd.ReplyBody(lane, b"", True) for lane in Lane}
TRAILERS = {lane: cmd.ReplyTrailers(lane) for lane in Lane}
REFUSE = cmd.Refuse(WireRefusal(status=403, headers=(), body=b""), Reason.INTERNAL)
REPLIES = [*HEAD.values(), *PIECE.values(), *END.values(), *TRAILERS.values(), REFUSE]
REQUEST, RESPONSE = Lane.REQUEST, Lane.RESPONSE

Step = ProcessingRequest | cmd.Command


def after(*steps: Step) -> PhaseTable:
    """The table after messages and replies that are all in turn."""
    table = PhaseTable()
    for step in steps:
        if isinstance(step, ProcessingRequest):
            table.opened(step)
        else:
            table.check(step)
    return table


def why_not(table: PhaseTable, command: cmd.Command) -> str:
    with pytest.raises(IllegalReply) as caught:
        table.check(command)
    return str(caught.value)


SENT = (request_headers(), request_body(end_stream=True), HEAD[REQUEST], END[REQUEST])
ANSWERING = (*SENT, response_headers(), HEAD[RESPONSE], response_body())


def test_an_exchange_in_turn_may_end_cleanly():
    table = after(*ANSWERING, PIECE[RESPONSE], response_body(end_stream=True), END[RESPONSE])
    assert table.may_end_cleanly


def test_an_exchange_with_trailers_may_end_cleanly():
    table = after(
        *(request_headers(), request_body(), request_trailers()),
        *(HEAD[REQUEST], PIECE[REQUEST], TRAILERS[REQUEST]),
        *(response_headers(), response_body(), response_trailers()),
        *(HEAD[RESPONSE], PIECE[RESPONSE], TRAILERS[RESPONSE]),
    )
    assert table.may_end_cleanly


def test_heads_without_bodies_are_their_whole_lanes():
    table = after(
        request_headers(end_stream=True),
        HEAD[REQUEST],
        response_headers(end_stream=True),
        HEAD[RESPONSE],
    )
    assert table.may_end_cleanly
    assert why_not(table, END[RESPONSE]) == "a reply after its lane's end"


def test_replies_may_interleave_with_what_still_arrives():
    table = after(
        *(request_headers(), HEAD[REQUEST], request_body(), PIECE[REQUEST], PIECE[REQUEST]),
        *(request_body(end_stream=True), PIECE[REQUEST], END[REQUEST]),
    )
    assert not table.may_end_cleanly


@pytest.mark.parametrize("command", REPLIES, ids=repr)
def test_nothing_may_be_said_before_the_request(command):
    why_not(PhaseTable(), command)


@pytest.mark.parametrize(
    ("steps", "reply", "why"),
    [
        ((request_headers(), HEAD[REQUEST]), HEAD[REQUEST], "a second head"),
        ((request_headers(),), HEAD[RESPONSE], "a head that Envoy has not sent"),
        ((request_headers(), response_headers()), HEAD[RESPONSE], "an answer's head before the request's"),
        ((request_headers(), request_body()), PIECE[REQUEST], "a body before its head"),
        ((request_headers(), HEAD[REQUEST]), PIECE[REQUEST], "a body that Envoy has not sent"),
        ((request_headers(end_stream=True),), END[REQUEST], "a body before its head"),
        (
            (request_headers(), HEAD[REQUEST], request_body()),
            END[REQUEST],
            "an end of the request before Envoy's",
        ),
        (
            (request_headers(), HEAD[REQUEST], request_body(), request_trailers()),
            END[REQUEST],
            "an end of the request where trailers follow",
        ),
        ((request_headers(), HEAD[REQUEST]), TRAILERS[REQUEST], "trailers that Envoy has not sent"),
        ((request_headers(), request_trailers()), TRAILERS[REQUEST], "trailers before their head"),
        (SENT, PIECE[REQUEST], "a reply after its lane's end"),
        (SENT, TRAILERS[REQUEST], "a reply after its lane's end"),
        (SENT, TRAILERS[RESPONSE], "trailers before their head"),
        (ANSWERING, TRAILERS[RESPONSE], "trailers that Envoy has not sent"),
        (ANSWERING, HEAD[RESPONSE], "a second head"),
        (ANSWERING, REFUSE, "a refusal after the answer's head went out"),
        ((*ANSWERING, END[RESPONSE]), PIECE[RESPONSE], "a reply after its lane's end"),
        ((request_headers(), REFUSE), REFUSE, "a reply after a refusal"),
        ((request_headers(), REFUSE), HEAD[REQUEST], "a reply after a refusal"),
    ],
)
def test_a_reply_out_of_turn_is_a_bug(steps, reply, why):
    assert why_not(after(*steps), reply) == why


@pytest.mark.parametrize(
    "steps",
    [
        (request_headers(),),
        (request_headers(), request_body(), HEAD[REQUEST], PIECE[REQUEST]),
        SENT,
        (*SENT, response_headers(), response_body(end_stream=True)),
    ],
)
def test_a_refusal_is_in_turn_until_the_answers_head_is_out(steps):
    table = after(*steps, REFUSE)
    assert table.may_end_cleanly


@pytest.mark.parametrize("ending", [response_body(end_stream=True), response_trailers()])
def test_an_answer_may_be_cut_short(ending):
    assert after(*ANSWERING, END[RESPONSE]).may_end_cleanly
    assert after(*ANSWERING, ending, END[RESPONSE]).may_end_cleanly


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (request_headers(), HEAD[REQUEST]),
        SENT,
        ANSWERING,
        (*ANSWERING, response_body(end_stream=True)),
    ],
)
def test_a_clean_end_before_all_is_replied_would_be_a_bypass(steps):
    assert not after(*steps).may_end_cleanly


def test_an_early_answer_does_not_end_the_request():
    table = after(
        *(request_headers(), HEAD[REQUEST], request_body()),
        *(response_headers(), HEAD[RESPONSE], response_body(end_stream=True), END[RESPONSE]),
    )
    assert not table.may_end_cleanly


@pytest.mark.parametrize("extra", [response_body(end_stream=True), response_trailers(), response_body()])
def test_what_comes_after_a_lanes_end_opens_nothing(extra):
    table = after(*ANSWERING, response_body(end_stream=True), extra)
    assert why_not(table, TRAILERS[RESPONSE]) == "trailers that Envoy has not sent"
    table.check(END[RESPONSE])
    table.opened(extra)
    assert why_not(table, END[RESPONSE]) == "a reply after its lane's end"


def test_an_illegal_reply_leaves_the_table_as_it_was():
    table = after(request_headers())
    why_not(table, TRAILERS[REQUEST])
    table.check(HEAD[REQUEST])


@pytest.mark.parametrize(
    "command", [cmd.Abort("why"), cmd.ClearDeadline(DeadlineKind.LEASE), cmd.ReportBug("X", "y:1")]
)
def test_what_is_no_reply_passes(command):
    PhaseTable().check(command)


def test_an_empty_message_opens_nothing():
    table = after(ProcessingRequest())
    why_not(table, REFUSE)


MESSAGES = [
    request_headers(),
    request_headers(end_stream=True),
    request_body(),
    request_body(end_stream=True),
    request_trailers(),
    response_headers(),
    response_headers(end_stream=True),
    response_body(),
    response_body(end_stream=True),
    response_trailers(),
]


@given(st.lists(st.sampled_from([*MESSAGES, *REPLIES]), max_size=40))
def test_whatever_happens_the_written_replies_are_in_order(steps):
    """Of any jumble, what the table lets through is head, pieces, one end per lane, or one refusal last."""
    table, written = PhaseTable(), []
    for step in steps:
        if isinstance(step, ProcessingRequest):
            table.opened(step)
            continue
        try:
            table.check(step)
        except IllegalReply:
            continue
        written.append(step)
    assert REFUSE not in written[:-1]
    for lane in Lane:
        replies = [one for one in written if one is not REFUSE and one.lane is lane]
        kinds = [
            "head" if one is HEAD[lane] else "piece" if one is PIECE[lane] else "end" for one in replies
        ]
        assert kinds == sorted(kinds, key=["head", "piece", "end"].index)
        assert kinds.count("head") == bool(kinds)
        assert kinds.count("end") <= 1
