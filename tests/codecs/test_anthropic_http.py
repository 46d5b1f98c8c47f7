from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._anthropic_http import (
    check_request_head,
    judged_error,
    refusal_document,
    request_head_edits,
    type_of,
)
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Reason, Refusal

WITHHELD = "the model server reported an error; its text was withheld"
REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def head(**headers: str | tuple[str, ...]) -> RequestHead:
    named = {
        name.replace("_", "-"): (one,) if isinstance(one, str) else one for name, one in headers.items()
    }
    return RequestHead(method="POST", path="/v1/messages", headers=named)


def error(kind: str, message: str, **members) -> dict:
    return {"type": "error", "error": {"type": kind, "message": message}, **members}


def judged(document: object, status: int = 400) -> dict:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return json.loads(judged_error(body, status, limits=LIMITS))


# Row H4: the kind of the body is what it is read as.
@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-7",
        "application/json; charset=utf-16",
        "application/json; charset=ibm037",
        "application/json; charset=utf-8; charset=utf-16",
        "application/jsonl",
        "application/json, text/plain",
        "",
        ("application/json", "application/json"),
        ("application/json", "text/plain"),
    ],
)
def test_a_body_of_another_kind_is_refused(kind):
    with pytest.raises(PeerError) as caught:
        check_request_head(head(content_type=kind))
    assert (caught.value.reason, caught.value.status) == (Reason.HEADER_INVALID, 415)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_type": "application/json"},
        {"content_type": "Application/JSON; charset=UTF-8"},
        {"content_type": 'application/json;charset="utf-8"'},
        {"anthropic_version": "2023-06-01", "anthropic_beta": "context-1m-2025-08-07"},
        {"anthropic_version": "2026-10-21"},
    ],
)
def test_what_clients_send_passes(headers):
    check_request_head(head(**headers))


@pytest.mark.parametrize("version", ["2023-01-01", "", "latest", ("2023-06-01", "2023-06-01")])
def test_other_versions_are_refused(version):
    with pytest.raises(PeerError, match="anthropic-version must be 2023-06-01 or 2026-10-21") as caught:
        check_request_head(head(anthropic_version=version))
    assert (caught.value.reason, caught.value.status) == (Reason.HEADER_INVALID, 400)


def test_credentials_and_betas_end_at_the_gateway():
    removed = set(request_head_edits().remove)
    assert {"authorization", "x-api-key", "accept-encoding", "anthropic-beta", "cookie"} <= removed


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "invalid_request_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_the_type_of_an_error_is_its_statuss(status, kind):
    assert type_of(status) == kind


@pytest.mark.parametrize("request_id", ["", REQUEST_ID])
def test_a_refusal_is_in_anthropics_shape(request_id):
    refusal = Refusal(reason=Reason.BUDGET_EXCEEDED, status=429, message='over "budget"')
    shown = f'over "budget" (request {request_id})' if request_id else 'over "budget"'
    known = {"request_id": request_id} if request_id else {}
    assert json.loads(refusal_document(refusal, request_id)) == error("rate_limit_error", shown, **known)


@pytest.mark.parametrize(
    "document",
    [
        error("invalid_request_error", "max_tokens: too large"),
        error("NotFoundError", "The model `x` does not exist."),
        error("overloaded_error", "Overloaded", request_id="req_011CSHoEeqs5C35K2UUqR7Fy"),
    ],
)
def test_an_error_in_anthropics_shape_passes(document):
    assert judged(document) == document


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "no such model", "type": "NotFoundError", "param": None, "code": 404}},
        {"message": "no such model", "type": "NotFoundError"},
        {"detail": "no such model"},
        {"error": {"message": "no such model"}},
        {"type": "error", "error": {"type": "x", "message": "no such model", "param": "model"}},
    ],
)
def test_an_error_in_another_shape_is_told_in_anthropics(document):
    assert judged(document, 404) == error("not_found_error", "no such model")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"[]",
        b'"no"',
        {},
        {"error": "no"},
        {"error": []},
        {"error": {"message": ["no"]}},
        {"detail": [{"msg": "no", "input": "the prompt"}]},
        {"detail": "no", "more": "x"},
        {"error": {"message": "no", "stack": "x"}},
        {"error": {"message": "no"}, "prompt": "x"},
        error("x", "at /usr/lib/python3/site-packages/x.py"),
        error("/usr/lib/x", "no"),
        error("x", "no", request_id="at /usr/lib/x"),
        error("x", "Traceback (most recent call last):"),
    ],
)
def test_any_other_error_is_withheld(document):
    assert judged(document, 404) == error("not_found_error", WITHHELD)


@pytest.mark.parametrize("kind", ["api_error", "internal_error", "InternalServerError"])
def test_a_servers_own_failure_within_a_stream_is_withheld(kind):
    assert judged(error(kind, "it exploded"), 200) == error("api_error", WITHHELD)


@pytest.mark.parametrize(
    ("status", "kind"), [(500, "api_error"), (503, "overloaded_error"), (529, "overloaded_error")]
)
def test_a_servers_own_failures_are_withheld(status, kind):
    assert judged(error("api_error", "it exploded"), status) == error(kind, WITHHELD)


@given(st.binary(max_size=80), st.sampled_from([200, 400, 500]))
def test_whatever_comes_is_an_error_in_anthropics_shape(body, status):
    found = judged(body, status)
    assert (found["type"], found["error"]["message"]) == ("error", WITHHELD)
