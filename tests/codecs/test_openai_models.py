from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._openai_http import withheld_document
from extproc.codecs.openai_models import CODEC
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Operation
from extproc.domain.verdict import Reason, Refusal

LIST = {"object": "list", "data": [{"id": name, "object": "model", "created": 1} for name in "abc"]}


def head(path: str = "/v1/models", method: str = "GET") -> RequestHead:
    return RequestHead(method=method, path=path)


def answered(body: bytes, *, allowed=None, path: str = "/v1/models", status: int = 200) -> bytes:
    session = CODEC.open(head(path))
    (message,) = session.read_request(b"", eof=True)
    assert (message.operation, message.segments) == (Operation.READ_ONLY, ())
    assert session.write_request(0, RequestEdits(allowed_models=allowed)) == b""
    session.read_response_head(ResponseHead(status=status, headers={}))
    assert session.read_response(body, eof=False) == ()
    (frame,) = session.read_response(b"", eof=True)
    assert (frame.final, frame.error) == (True, status >= 400)
    return session.write_response(frame, tuple(delta.text for delta in frame.deltas))


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/models", ""),
        ("/v1/models/vllm-7b.v1", "vllm-7b.v1"),
        ("/v1/models/org/model-7b", "org/model-7b"),
        ("/v1/models/org/loader", "org/loader"),
    ],
)
def test_paths_give_the_model(path, model):
    assert CODEC.accepts(head(path)) is True
    (message,) = CODEC.open(head(path)).read_request(b"", eof=True)
    assert message.params.model == model


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/models/", "GET"),
        ("/v1/models/x/load", "GET"),
        ("/v1/models/x/unload", "GET"),
        ("/v1/models/x/load", "POST"),
        ("/v1/models/a/b/c", "GET"),
        ("/v1/models/a/", "GET"),
        ("/v1/models/a//b", "GET"),
        ("/v1/models/a/..", "GET"),
        ("/v1/models/a/.b", "GET"),
        ("/v1/models/a/b\n", "GET"),
        ("/v1/models/x", "DELETE"),
        ("/v1/models", "POST"),
        ("/v1/models", "HEAD"),
        ("/v1/models/.x", "GET"),
        ("/v1/models/a%2fb", "GET"),
        ("/v1/models/" + "a" * 129, "GET"),
    ],
)
def test_every_other_path_and_method_is_not_this_codecs(path, method):
    assert CODEC.accepts(head(path, method)) is False


def test_an_open_on_another_path_is_refused():
    with pytest.raises(PeerError):
        CODEC.open(head("/v1/models/"))


@given(st.frozensets(st.sampled_from("abcd")))
def test_the_list_names_what_is_allowed(allowed):
    listed = json.loads(answered(json.dumps(LIST).encode(), allowed=allowed))
    assert listed == {**LIST, "data": [model for model in LIST["data"] if model["id"] in allowed]}


@pytest.mark.parametrize("allowed", [None, frozenset("abcd")])
def test_a_list_of_which_all_is_allowed_keeps_its_bytes(allowed):
    body = json.dumps(LIST, indent=2).encode()
    assert answered(body, allowed=allowed) == body


def test_a_model_without_a_name_is_not_listed():
    body = b'{"object":"list","data":[{"object":"model"},7,{"id":["a"]},{"id":"a"}]}'
    assert answered(body, allowed=frozenset("a")) == b'{"object":"list","data":[{"id":"a"}]}'


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b"{}", b'{"data":{}}', b'{"data":[],"models":["b"]}', b'{"data":[],"data":[]}'],
)
def test_what_is_no_list_is_refused(body):
    if not body:
        assert answered(body, allowed=frozenset("a")) == b""
        return
    with pytest.raises(PeerError) as caught:
        answered(body, allowed=frozenset("a"))
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


def test_one_model_passes_as_it_is():
    body = b'{"id":"a","object":"model"}'
    assert answered(body, allowed=frozenset("a"), path="/v1/models/a") == body


def test_errors_are_judged():
    assert answered(b'{"detail":"no"}', status=404) == b'{"detail":"no"}'
    assert answered(b'{"detail":"/opt/models/x"}', status=404) == withheld_document()


def test_a_refusal_has_openais_shape():
    refusal = Refusal(reason=Reason.MODEL_NOT_ALLOWED, status=404, message="unknown model")
    for wire in (CODEC.refuse(refusal), CODEC.open(head()).refuse(refusal)):
        error = json.loads(wire.body)["error"]
        assert (error["message"], error["code"]) == ("unknown model", "model_not_allowed")
