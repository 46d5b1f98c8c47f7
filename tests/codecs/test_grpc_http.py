"""Heads, trailers and refusals of gRPC: rows of H7, of how transport could carry something past."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs import _grpc_http as grpc
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits, RequestHead, ResponseHead
from extproc.domain.verdict import Reason, Refusal

SOUND = {"content-type": ("application/grpc",), "te": ("trailers",)}
ANSWER = {"content-type": ("application/grpc",)}
WITHHELD = "the model server reported an error; its text was withheld"


def head(query: str | None = None, **headers: tuple[str, ...]) -> RequestHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead(method="POST", path="/x/Y", query=query, headers={**SOUND, **named})


def answer(status: int = 200, **headers: tuple[str, ...]) -> ResponseHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseHead(status=status, headers={**ANSWER, **named})


# --- the request -----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
def test_an_encoding_that_can_be_read_is_told(encoding):
    assert grpc.check_request_head(head(grpc_encoding=(encoding,))) == encoding


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto"])
@pytest.mark.parametrize("timeout", ["1H", "99999999n", "10S", "5m", "7M", "3u"])
def test_what_every_client_sends_is_accepted(kind, timeout):
    assert grpc.check_request_head(head(content_type=(kind,), grpc_timeout=(timeout,))) == "identity"


@pytest.mark.parametrize(
    ("changes", "reason", "status"),
    [
        ({"query": "a=1"}, Reason.PATH_NOT_ALLOWED, 400),
        ({"query": ""}, Reason.PATH_NOT_ALLOWED, 400),
        ({"content_type": ("application/grpc-web",)}, Reason.HEADER_INVALID, 415),
        ({"content_type": ("application/grpc-web+proto",)}, Reason.HEADER_INVALID, 415),
        ({"content_type": ("application/grpc-web-text",)}, Reason.HEADER_INVALID, 415),
        ({"content_type": ("application/grpc+json",)}, Reason.HEADER_INVALID, 415),
        ({"content_type": ("application/json",)}, Reason.HEADER_INVALID, 415),
        ({"content_type": ("application/grpc; charset=x",)}, Reason.HEADER_INVALID, 415),
        ({"content_type": ("application/grpc", "application/grpc")}, Reason.HEADER_INVALID, 415),
        ({"content_type": ()}, Reason.HEADER_INVALID, 415),
        ({"te": ()}, Reason.HEADER_INVALID, 400),
        ({"te": ("gzip",)}, Reason.HEADER_INVALID, 400),
        ({"te": ("trailers", "gzip")}, Reason.HEADER_INVALID, 400),
        ({"content_encoding": ("gzip",)}, Reason.ENCODING_UNSUPPORTED, 415),
        ({"grpc_encoding": ("snappy",)}, Reason.ENCODING_UNSUPPORTED, 415),
        ({"grpc_encoding": ("gzip", "gzip")}, Reason.ENCODING_UNSUPPORTED, 415),
        ({"grpc_encoding": ("gzip, deflate",)}, Reason.ENCODING_UNSUPPORTED, 415),
        ({"grpc_encoding": ("",)}, Reason.ENCODING_UNSUPPORTED, 415),
        ({"grpc_timeout": ("soon",)}, Reason.HEADER_INVALID, 400),
        ({"grpc_timeout": ("100000000S",)}, Reason.HEADER_INVALID, 400),
        ({"grpc_timeout": ("-1S",)}, Reason.HEADER_INVALID, 400),
        ({"grpc_timeout": ("1S", "1S")}, Reason.HEADER_INVALID, 400),
    ],
    ids=str,
)
def test_what_two_sides_could_read_differently_is_refused(changes, reason, status):
    with pytest.raises(PeerError) as caught:
        grpc.check_request_head(head(**changes))
    assert (caught.value.reason, caught.value.status) == (reason, status)


def test_what_never_reaches_triton():
    assert {
        "authorization",
        "cookie",
        "grpc-accept-encoding",
        "grpc-encoding",
        "triton_grpc_error",
        "x-api-key",
    } <= set(grpc.request_head_edits().remove)


# --- the answer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        answer(status=503),
        answer(content_type=("text/html",)),
        answer(content_type=()),
        answer(grpc_encoding=("gzip",)),
        answer(content_encoding=("gzip",)),
        ResponseHead(status=200, headers={**ANSWER, "no name": ("x",)}),
    ],
    ids=str,
)
def test_an_answer_that_is_not_plain_grpc_is_refused(changed):
    with pytest.raises(PeerError) as caught:
        grpc.check_answer_head(changed)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


def test_of_an_answers_head_a_closed_list_goes_on():
    sound = answer(
        grpc_accept_encoding=("identity, deflate, gzip",),
        grpc_encoding=("identity",),
        grpc_status=("5",),
        grpc_message=("judged apart",),
    )
    grpc.check_answer_head(sound)
    assert grpc.answer_head_edits(sound) == HeaderEdits()
    loose = answer(
        grpc_accept_encoding=("IDENTITY, what ever",), x_note=("text",), grpc_status_details_bin=("AAAA",)
    )
    assert set(grpc.answer_head_edits(loose).remove) == {
        "grpc-accept-encoding",
        "x-note",
        "grpc-status-details-bin",
    }


# --- trailers --------------------------------------------------------------------------------


def trailers(**fields: str) -> dict[str, tuple[str, ...]]:
    return {name.replace("_", "-"): (value,) for name, value in fields.items()}


@pytest.mark.parametrize(
    "given_trailers",
    [
        {},
        trailers(grpc_status="x"),
        trailers(grpc_status="17"),
        trailers(grpc_status="000"),
        trailers(grpc_status=""),
        trailers(grpc_status="٣"),
        {"grpc-status": ("0", "0")},
        {"grpc-status": ("3",), "grpc-message": ("a", "b")},
        trailers(grpc_status="3", grpc_message="%ff"),
        {"grpc-status": ("0",), "no name": ("x",)},
        {"grpc-status": ("0",), ":status": ("200",)},
    ],
    ids=str,
)
def test_trailers_that_do_not_say_how_it_ended_are_refused(given_trailers):
    with pytest.raises(PeerError) as caught:
        grpc.status_of(given_trailers)
    assert caught.value.reason is Reason.UPSTREAM_UNREADABLE


@given(st.text(max_size=60))
def test_a_message_is_read_as_it_is_written(text):
    written = grpc.percent_encoded(text)
    assert written.isascii()
    assert all(" " <= one <= "~" for one in written)
    assert grpc.status_of(trailers(grpc_status="3", grpc_message=written)).message == text


def test_a_message_that_stays_keeps_its_spelling():
    status = grpc.status_of(trailers(grpc_status="3", grpc_message="%41 b", x_note="text"))
    assert status.message == "A b"
    assert grpc.trailer_edits(status, "A b") == HeaderEdits(remove=("x-note",))
    assert grpc.trailer_edits(status, "ü 5%") == HeaderEdits(
        remove=("grpc-message", "x-note"), set=(("grpc-message", "%C3%BC 5%25"),)
    )
    assert grpc.trailer_edits(status, "") == HeaderEdits(remove=("grpc-message", "x-note"))


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        (5, "Request for unknown model: 'x' is not found", "Request for unknown model: 'x' is not found"),
        (3, "unexpected inference input 'y'", "unexpected inference input 'y'"),
        (3, "failed in /opt/model.py", WITHHELD),
        (13, "engine exploded", WITHHELD),
        (2, "engine exploded", WITHHELD),
        (15, "engine exploded", WITHHELD),
        (13, "", ""),
    ],
)
def test_what_shows_the_servers_inside_is_reworded(code, message, told):
    assert grpc.judged_message(grpc.Status(code, message, ())) == told


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((400, 3), (401, 16), (403, 7), (404, 5), (405, 12), (408, 4), (413, 8), (415, 12), (429, 8)),
        *((500, 13), (502, 13), (503, 14), (504, 4), (418, 2)),
    ],
)
def test_a_refusal_has_a_status_of_grpc(status, code):
    refusal = Refusal(reason=Reason.INTERNAL, status=status, message="no", headers=(("retry-after", "1"),))
    wire = grpc.wire_refusal(refusal, "the-id")
    assert (wire.status, wire.grpc_status, wire.body) == (status, code, b"no (request the-id)")
    # Envoy itself says what kind of answer it is: another kind would not be gRPC's.
    assert wire.headers == (("retry-after", "1"),)
