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
        head(""),
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
