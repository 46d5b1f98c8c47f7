from __future__ import annotations

import json
from dataclasses import replace

import pytest

from extproc.codecs._triton_http import WITHHELD
from extproc.codecs.read_only import CODEC, ReadOnlyCodec
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Channel, Delta, Operation
from extproc.domain.verdict import Reason, Refusal


def head(path: str, **parts) -> RequestHead:
    return RequestHead(**{"method": "GET", "path": path, **parts})


def answered(status: int, body: bytes):
    session = CODEC.open(head("/v2"))
    session.read_request(b"", eof=True)
    edits = session.read_response_head(ResponseHead(status=status))
    (frame,) = session.read_response(body, eof=True)
    return edits, frame, session.write_response(frame, tuple(delta.text for delta in frame.deltas))


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v2", ""),
        ("/v2/health/live", ""),
        ("/v2/health/ready", ""),
        ("/v2/models/m", "m"),
        ("/v2/models/m/ready", "m"),
        ("/v2/models/m/config", "m"),
        ("/v2/models/m/versions/3", "m"),
        ("/v2/models/m/versions/3/ready", "m"),
        ("/v2/models/m/versions/3/config", "m"),
    ],
)
def test_read_only_paths_give_one_message_without_text(path, model):
    assert CODEC.accepts(head(path)) is True
    session = CODEC.open(head(path))
    (message,) = session.read_request(b"", eof=True)
    assert (message.operation, message.params.model, message.segments) == (Operation.READ_ONLY, model, ())
    assert session.read_request(b"", eof=True) == ()
    assert session.write_request(0, RequestEdits()) == b""


# Triton's administration, seen open on a default server.
@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/stats",
        "/v2/models/stats/config",
        "/v2/models/m/stats",
        "/v2/models/m/trace/setting",
        "/v2/trace/setting",
        "/v2/logging",
        "/v2/repository/index",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/status",
        "/v2/models",
        "/v2/models/",
        "/v2/",
        "/v2/health",
        "/v2/health/live/",
        "/metrics",
        "/",
        "/v2/models/m/versions",
        "/v2/models/m/generate",
    ],
)
def test_every_other_path_is_not_this_codecs(path):
    assert CODEC.accepts(head(path)) is False
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(path))
    assert (caught.value.reason, caught.value.status) == (Reason.PATH_NOT_ALLOWED, 404)


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE", "OPTIONS"])
def test_only_get_is_accepted(method):
    assert CODEC.accepts(head("/v2", method=method)) is False


def test_a_body_and_a_query_are_refused():
    with pytest.raises(PeerError, match="a body is not allowed"):
        CODEC.open(head("/v2")).read_request(b"x", eof=False)
    with pytest.raises(PeerError, match="a query is not allowed"):
        CODEC.open(head("/v2", query="a"))


@pytest.mark.parametrize("body", [b"", b'{"name":"triton"}'])
def test_a_good_answer_passes_as_it_is(body):
    edits, frame, written = answered(200, body)
    assert (edits.set, edits.remove) == ((("content-type", "application/json"),), ())
    assert (frame.final, frame.error, written) == (True, False, body)


def test_every_string_key_and_long_number_is_a_text_that_is_whole():
    body = b'{"name":"m", "secret\\u0041":["s",{"n":4111111111111111,"k":16}],"v":"2.51.0","e":""}'
    session = CODEC.open(head("/v2/models/m/config"))
    session.read_response_head(ResponseHead(status=200))
    (frame,) = session.read_response(body, eof=True)
    texts = ["name", "m", "secretA", "s", "n", "4111111111111111", "k", "v", "2.51.0", "e"]
    assert frame.deltas == tuple(Delta(Channel(at, "read_only"), text) for at, text in enumerate(texts))
    assert frame.ended == tuple(delta.channel for delta in frame.deltas)
    changed = ["name", "m", "[K]", "[S]", "n", "[N]", *texts[6:]]
    assert session.write_response(frame, tuple(changed)) == (
        b'{"name":"m", "[K]":["[S]",{"n":"[N]","k":16}],"v":"2.51.0","e":""}'
    )


def test_texts_may_be_more_than_there_may_be_channels():
    words = [f"w{at}" for at in range(3 * LIMITS.channels_max)]
    session = CODEC.open(head("/v2"))
    session.read_response_head(ResponseHead(status=200))
    (frame,) = session.read_response(json.dumps(words).encode(), eof=True)
    assert [delta.text for delta in frame.deltas] == words
    assert session.write_response(frame, tuple("x" * len(words))) == json.dumps(["x"] * len(words)).encode()


@pytest.mark.parametrize(
    "body", [b"<html>", b"{", b'{"a":1,"a":2}', b'{"a":1} x', b"219-09-9999 x", b"\xff"]
)
def test_a_good_answer_that_is_no_json_is_unreadable(body):
    with pytest.raises(PeerError) as caught:
        answered(200, body)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


def test_an_errors_text_is_scanned_too():
    _, frame, _ = answered(404, b'{"error":"no jane@example.com"}')
    assert "no jane@example.com" in [delta.text for delta in frame.deltas]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b'{"error":"unknown model"}', {"error": "unknown model"}),
        (500, b'{"error":"unknown model"}', {"error": WITHHELD}),
        (400, b'{"error":"see /opt/models/m"}', {"error": WITHHELD}),
        (502, b"<html>", {"error": WITHHELD}),
        (404, b'{"error":"unknown model","detail":"more"}', {"error": WITHHELD}),
        (404, b'{"error":["unknown model"]}', {"error": WITHHELD}),
    ],
)
def test_an_error_has_tritons_shape_and_tells_nothing_of_the_inside(status, body, expected):
    edits, frame, written = answered(status, body)
    assert (frame.error, json.loads(written)) == (True, expected)
    assert edits.set == (("content-type", "application/json"),)


def test_the_answer_is_bounded():
    session = ReadOnlyCodec(limits=replace(LIMITS, answer_bytes_max=5)).open(head("/v2"))
    session.read_response_head(ResponseHead(status=200))
    with pytest.raises(PeerError, match="exceeds 5 bytes"):
        session.read_response(b"123456", eof=False)


def test_half_an_answer_cannot_be_refused_in_band_and_has_no_tail():
    session = CODEC.open(head("/v2"))
    refusal = Refusal(reason=Reason.INTERNAL, status=500, message="no")
    assert (session.refuse_in_answer(0, refusal), session.refuse_one(0, refusal)) == (None, None)
    with pytest.raises(AssertionError):
        session.write_tail(0, Channel(0, "x"), "y")
