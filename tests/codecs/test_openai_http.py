from __future__ import annotations

import json

import pytest

from extproc.codecs._openai_http import is_error, judged_error, wire_refusal, withheld_document
from extproc.codecs._triton_http import WITHHELD
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Reason, Refusal
from extproc.wire.strict_json import parse

REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_a_refusal_has_openais_shape(status, kind):
    refusal = Refusal(
        reason=Reason.OVERLOADED, status=status, message="no", headers=(("retry-after", "1"),)
    )
    wire = wire_refusal(refusal, REQUEST_ID)
    assert json.loads(wire.body) == {
        "error": {
            "message": f"no (request {REQUEST_ID})",
            "type": kind,
            "param": None,
            "code": "overloaded",
        }
    }
    assert wire.status == status
    assert wire.headers == (("content-type", "application/json"), ("retry-after", "1"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"detail":"Unknown model: nope"}',
        b'{"error":"no"}',
        b'{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}',
        b'{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}',
        b'{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"}]}',
    ],
)
def test_errors_of_servers_pass_as_they_are(body):
    assert judged_error(body, 400, limits=LIMITS) == body


def test_what_a_finding_repeats_of_the_request_goes():
    body = (
        b'{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":{"a":"b"}},'
        b'{"input":"x","type":"json_invalid","loc":["body",1],"msg":"bad","ctx":{"error":"y"}}]}'
    )
    assert json.loads(judged_error(body, 422, limits=LIMITS)) == {
        "detail": [
            {"type": "missing", "loc": ["body"], "msg": "Field required"},
            {"type": "json_invalid", "loc": ["body", 1], "msg": "bad"},
        ]
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Internal Server Error",
        b'"text"',
        b'{"detail":"cannot open /opt/models/m/1/weights"}',
        b'{"detail":"Traceback (most recent call last)"}',
        b'{"detail":{"a":"b"}}',
        b'{"detail":["a"]}',
        b'{"detail":[{"type":"missing","path":"x"}]}',
        b'{"detail":"a","more":"b"}',
        b'{"error":{"message":"m","stack":"s"}}',
        b'{"error":{"type":"t"}}',
        b'{"error":{"message":"in engine.cc","type":"t"}}',
        b'{"error":null}',
    ],
)
def test_any_other_error_is_withheld(body):
    assert judged_error(body, 400, limits=LIMITS) == withheld_document()
    assert json.loads(withheld_document())["error"]["message"] == WITHHELD


def test_server_errors_are_withheld_altogether():
    assert judged_error(b'{"detail":"no"}', 500, limits=LIMITS) == withheld_document()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'{"error":{"message":"x"}}', True),
        (b'{"error":"x","choices":[]}', True),
        (b'{"detail":"x"}', True),
        (b'{"object":"error","message":"x"}', True),
        (b'{"error":null,"choices":[]}', False),
        (b'{"object":"chat.completion"}', False),
        (b"{}", False),
    ],
)
def test_a_failure_is_known_by_its_document(document, expected):
    assert is_error(parse(document)) is expected
