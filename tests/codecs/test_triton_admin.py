from __future__ import annotations

import pytest

from extproc.codecs import codec_for, discover
from extproc.codecs.triton_admin import CODEC
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Operation
from extproc.domain.verdict import Reason


def head(method: str, path: str, **parts) -> RequestHead:
    return RequestHead(method=method, path=path, **parts)


def asked(body: bytes, path: str = "/v2/repository/index"):
    session = CODEC.open(head("POST", path))
    assert session.read_request(body, eof=False) == ()
    return session, session.read_request(b"", eof=True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/m/load"),
        ("POST", "/v2/repository/models/m/unload"),
        ("GET", "/v2/models/stats"),
        ("GET", "/v2/models/m/stats"),
        ("GET", "/v2/models/m/versions/1/stats"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/trace/setting"),
        ("GET", "/v2/models/m/trace/setting"),
        ("POST", "/v2/models/m/trace/setting"),
        ("GET", "/v2/logging"),
        ("POST", "/v2/logging"),
    ],
)
def test_administration_is_this_codecs_alone(method, path):
    found = codec_for(discover(), head(method, path))
    assert found is not None
    assert found.name == "triton_admin"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        # Nothing could inspect what stands in shared memory.
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/r/register"),
        ("POST", "/v2/cudasharedmemory/unregister"),
        ("GET", "/v2/repository/index"),
        ("DELETE", "/v2/repository/models/m/load"),
        ("POST", "/v2/repository/models/../load"),
        ("POST", "/v2/repository/models/m/load/"),
        ("POST", "/v2/models/stats"),
    ],
)
def test_what_is_open_to_nobody_has_no_codec(method, path):
    assert codec_for(discover(), head(method, path)) is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready":true}'])
def test_a_request_goes_on_as_it_came(body):
    session, (message,) = asked(body)
    assert (message.operation, message.segments, message.params.model) == (Operation.ADMIN, (), "")
    assert session.write_request(0, RequestEdits()) == body
    assert session.read_request(b"again", eof=True) == ()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", Reason.BODY_INVALID),
        (b"{", Reason.BODY_INVALID),
        (b'{"ready":true,"ready":false}', Reason.BODY_INVALID),
        (b'{"parameters":{"file:1/model.py":"aW1wb3J0"}}', Reason.PARAMETER_NOT_ALLOWED),
        (b'{"parameters":{"\\u0066ile:1/model.py":"aW1wb3J0"}}', Reason.PARAMETER_NOT_ALLOWED),
        (b" " * (LIMITS.body_bytes_max + 1), Reason.BODY_TOO_LARGE),
    ],
    ids=["array", "broken", "twice", "file", "file escaped", "too large"],
)
def test_what_is_refused_in_a_body(body, reason):
    with pytest.raises(PeerError) as refused:
        asked(body, "/v2/repository/models/m/load")
    assert refused.value.reason is reason


def test_a_get_has_no_body():
    session = CODEC.open(head("GET", "/v2/logging"))
    with pytest.raises(PeerError, match="a body is not allowed"):
        session.read_request(b"x", eof=False)


def test_a_query_is_refused():
    with pytest.raises(PeerError, match="query"):
        CODEC.open(head("GET", "/v2/logging", query="a=b"))


def test_an_answer_is_judged_string_by_string():
    session, _ = asked(b"{}")
    session.write_request(0, RequestEdits())
    session.read_response_head(ResponseHead(status=200))
    (frame,) = session.read_response(b'[{"name":"m"}]', eof=True)
    assert [delta.text for delta in frame.deltas] == ["name", "m"]
    assert session.write_response(frame, ("name", "[X]")) == b'[{"name":"[X]"}]'
