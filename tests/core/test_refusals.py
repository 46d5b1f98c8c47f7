from __future__ import annotations

import json

import pytest

from extproc.core.refusals import (
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    INTERNAL,
    NOT_ALLOWED,
    TOO_MANY_EXCHANGES,
    UPSTREAM_UNREADABLE,
    bare_refusal,
    bug_report,
    from_peer_error,
    from_upstream_error,
    preflight_answer,
    signed,
    upstream_local_reply,
)
from extproc.domain.errors import PeerError
from extproc.domain.head import ResponseHead
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Reason


def cors(status: int = 200, **headers: str) -> ResponseHead:
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return ResponseHead(status=status, headers=named)


ORIGIN = {"access_control_allow_origin": "https://chat.example"}


def test_envoys_answer_to_a_preflight_is_spoken_with_its_own_headers_only():
    head = cors(200, **ORIGIN, x_secret="s", access_control_max_age="5")
    assert preflight_answer(head, has_body=False) == WireRefusal(
        status=200,
        headers=(
            ("access-control-allow-origin", "https://chat.example"),
            ("access-control-max-age", "5"),
        ),
        body=b"",
    )


@pytest.mark.parametrize(
    ("head", "has_body"),
    [
        (cors(200, **ORIGIN), True),
        (cors(301, **ORIGIN), False),
        (cors(200, server="envoy"), False),
        (cors(200, access_control_allow_origin="a\nb"), False),
        (ResponseHead(status=200, headers={"access-control-allow-origin": ("a", "b")}), False),
    ],
    ids=["body", "status", "no header", "unsound", "twice"],
)
def test_what_is_no_answer_to_a_preflight_stays_refused(head, has_body):
    assert preflight_answer(head, has_body=has_body) is None


def test_the_bare_refusal_is_json_with_an_error():
    wire = bare_refusal(signed(NOT_ALLOWED, "id-1"))
    assert wire.status == 403
    assert json.loads(wire.body)["error"].endswith("(request id-1)")
    assert ("content-type", "application/json") in wire.headers
    assert ("x-request-id", "id-1") in wire.headers


def test_every_refusal_of_the_core_has_an_error_status():
    own = (BODY_TIMEOUT, BODY_TOO_LARGE, INTERNAL, NOT_ALLOWED, TOO_MANY_EXCHANGES, UPSTREAM_UNREADABLE)
    assert all(400 <= one.status <= 599 for one in own)


def test_a_peer_error_keeps_its_reason_status_and_message():
    refusal = from_peer_error(PeerError(Reason.BODY_INVALID, "bad at byte 3", status=422))
    assert (refusal.reason, refusal.status, refusal.message) == (
        Reason.BODY_INVALID,
        422,
        "bad at byte 3",
    )


def test_what_the_upstream_sent_is_not_told_to_the_client():
    refusal = from_upstream_error(PeerError(Reason.UPSTREAM_UNREADABLE, "/opt/model.py line 3", status=502))
    assert refusal == UPSTREAM_UNREADABLE


def test_a_local_reply_of_the_gateway_never_becomes_a_success():
    assert upstream_local_reply(408).status == 408
    assert upstream_local_reply(200).status == 502


def test_a_local_reply_says_what_to_check_only_where_the_caller_can_mend_it():
    said = {status: upstream_local_reply(status).message for status in (400, 403, 408, 500)}
    assert [message.partition("guards")[2] for message in said.values()] == [
        ": check the path and headers",
        ": check the path and headers",
        "",
        "",
    ]


def test_a_bug_report_says_where_and_never_what():
    def fails():
        raise ValueError("hunter2")

    try:
        fails()
    except ValueError as error:
        report = bug_report(error)
    assert report.kind == "ValueError"
    assert "fails:" in report.where
    assert "hunter2" not in repr(report)
