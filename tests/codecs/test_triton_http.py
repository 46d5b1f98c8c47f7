from __future__ import annotations

import json

import pytest

from extproc.codecs import _triton_http as http
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.verdict import Reason, Refusal

REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def head(query: str | None = None, **headers: tuple[str, ...]) -> RequestHead:
    named = {name.replace("_", "-"): values for name, values in headers.items()}
    return RequestHead(method="POST", path="/v2", query=query, headers=named)


@pytest.mark.parametrize(
    "sound",
    [
        head(),
        head(content_encoding=("identity",)),
        head(content_type=("image/png",)),
        head(accept=("*/*",)),
    ],
)
def test_an_ordinary_head_passes(sound):
    assert http.check_request_head(sound) is None


# Rows H1 and J7 of the evasion catalogue, as far as they show in the head.
@pytest.mark.parametrize(
    ("odd", "reason", "status"),
    [
        (head("a=b"), Reason.PATH_NOT_ALLOWED, 400),
        # The question mark itself would go on, and of some servers' paths be a part.
        (head(""), Reason.PATH_NOT_ALLOWED, 400),
        *(
            (head(content_encoding=values), Reason.ENCODING_UNSUPPORTED, 415)
            for values in [
                ("gzip",),
                ("GZIP",),
                ("br",),
                ("deflate",),
                ("zstd",),
                ("x-gzip",),
                ("gzip, gzip",),
                ("identity, gzip",),
                ("identity", "gzip"),
                ("identity", "identity"),
                ("",),
            ]
        ),
        (head(inference_header_content_length=("5",)), Reason.HEADER_INVALID, 400),
        (head(inference_header_content_length=("5", "9")), Reason.HEADER_INVALID, 400),
    ],
)
def test_a_head_that_makes_two_readers_differ_is_refused(odd, reason, status):
    with pytest.raises(PeerError) as caught:
        http.check_request_head(odd)
    assert (caught.value.reason, caught.value.status) == (reason, status)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_an_encoded_answer_is_unreadable(encoding):
    with pytest.raises(PeerError) as caught:
        http.check_answer_head(ResponseHead(status=200, headers={"content-encoding": (encoding,)}))
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


def test_credentials_and_accept_encoding_never_reach_the_model_server():
    removed = set(http.request_head_edits().remove)
    assert {"accept-encoding", "authorization", "x-api-key", "cookie", "proxy-authorization"} <= removed


JSON_SET = (("content-type", "application/json"),)
EVENTS_SET = (("content-type", "text/event-stream"),)


@pytest.mark.parametrize(
    ("kind", "streamed", "status", "expected"),
    [
        ("application/json", False, 200, ()),
        ("application/json; charset=utf-8", False, 200, ()),
        ("text/plain", False, 200, ()),
        ("text/plain", False, 400, JSON_SET),
        ("application/json", False, 400, ()),
        ("text/html", False, 200, JSON_SET),
        ("text/event-stream", False, 200, JSON_SET),
        ("application/json; charset=utf-7; x=219-09-9999", False, 200, JSON_SET),
        ("text/event-stream", True, 200, ()),
        ("text/event-stream;charset=UTF-8", True, 200, ()),
        ("text/event-stream; charset=utf-7", True, 200, EVENTS_SET),
        ("text/event-stream; x=219-09-9999", True, 400, EVENTS_SET),
        (None, False, 200, JSON_SET),
    ],
)
def test_the_kind_of_an_answer_is_the_one_it_was_read_as(kind, streamed, status, expected):
    headers = {} if kind is None else {"content-type": (kind,)}
    edits = http.answer_head_edits(ResponseHead(status=status, headers=headers), streamed=streamed)
    assert (edits.set, edits.remove) == (expected, ())


def test_an_empty_answer_has_no_kind():
    empty = ResponseHead(status=200, headers={"content-length": ("0",)})
    assert http.answer_head_edits(empty, streamed=False).set == ()


@pytest.mark.parametrize(
    ("name", "values", "goes_on"),
    [
        ("content-length", ("20",), True),
        ("transfer-encoding", ("chunked",), True),
        ("cache-control", ("no-cache",), True),
        ("cache-control", ("private, x=jane",), False),
        ("retry-after", ("7",), True),
        ("retry-after", ("7", "8"), False),
        ("retry-after", ("4111111111111111",), False),
        ("x-envoy-upstream-service-time", ("12",), True),
        ("x-envoy-upstream-service-time", ("jane",), False),
        *(
            (name, ("219-09-9999",), False)
            for name in [
                "x-leak",
                "set-cookie",
                "location",
                "link",
                "server",
                "date",
                "etag",
                "x-request-id",
                "content-disposition",
                "access-control-allow-origin",
                "nv-status",
                "x-envoy-decorator-operation",
            ]
        ),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_only_headers_of_a_closed_list_go_on(name, values, goes_on, streamed):
    edits = http.answer_head_edits(ResponseHead(status=200, headers={name: values}), streamed=streamed)
    assert edits.remove == (() if goes_on else (name,))


@pytest.mark.parametrize("name", ["", "x.y", "x!y", "X"])
def test_a_header_that_could_not_be_taken_out_makes_the_answer_unreadable(name):
    with pytest.raises(PeerError) as caught:
        http.answer_head_edits(ResponseHead(status=200, headers={name: ("x",)}), streamed=False)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((REQUEST_ID,), REQUEST_ID),
        ((REQUEST_ID, REQUEST_ID), ""),
        (("my text",), ""),
        ((), ""),
        ((REQUEST_ID + "x",), ""),
    ],
)
def test_only_a_uuid_is_a_request_id(values, expected):
    assert http.request_id_of(head(x_request_id=values)) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no", f"no (request {REQUEST_ID})"),
        (f"no (request {REQUEST_ID})", f"no (request {REQUEST_ID})"),
        ("no (request another)", "no (request another)"),
    ],
)
def test_a_refusal_names_the_request_once(message, expected):
    refusal = Refusal(reason=Reason.PII_FOUND, status=403, message=message, headers=(("retry-after", "1"),))
    wire = http.wire_refusal(refusal, REQUEST_ID)
    assert json.loads(wire.body) == {"error": expected}
    assert (wire.status, wire.headers) == (
        403,
        (("content-type", "application/json"), ("retry-after", "1")),
    )


@pytest.mark.parametrize(
    "text",
    [
        "Request for unknown model: 'nope' is not found",
        "Error generating stream: engine exploded mid-stream",
        "parameter 'foo' has invalid type. It should be either 'int', 'bool', or 'string'.",
        "HTTP end point doesn't support models with decoupled transaction policy",
        "use text/event-stream and/or try again",
    ],
)
def test_harmless_errors_are_shown(text):
    assert http.must_withhold(text, 400) is False
    assert http.must_withhold(text, 500) is True
