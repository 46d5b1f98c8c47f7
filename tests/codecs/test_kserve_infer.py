"""The session: heads in both directions, with the length of the document kept right."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve_bodies import Made, binary, body_of

from extproc.codecs.kserve_infer import CODEC, InferCodec
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import LateHead, RequestEdits
from extproc.domain.segment import Operation, SegmentEdit, Unscanned
from extproc.domain.verdict import Reason, Refusal

LENGTH = "inference-header-content-length"
PATH = "/v2/models/m/infer"
PLAIN = RequestEdits(ask_usage=False)
HEADS = {"x-request-id": ("0f8fad5b-d9cb-469f-a165-70867728950e",)}


def head(path: str = PATH, **parts) -> RequestHead:
    return RequestHead(**{"method": "POST", "path": path, **parts})


def opened(**headers: str):
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return CODEC.open(head(headers={**HEADS, **named}))


def asked(*made: Made, encoding: str | None = None, **members: object):
    """A session that has read a request, and its message."""
    body, length = body_of(*made, **members)
    headers = {} if length is None else {LENGTH: str(length)}
    if encoding is not None:
        headers["content-encoding"] = encoding
        body = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    session = opened(**headers)
    (message,) = session.read_request(body, eof=True)
    return session, message


def answered(session, status: int, headers: dict[str, str], body: bytes, change=lambda text: text):
    """The answer as it goes on: what is set on its head, what is removed, and its body."""
    named = {name: (value,) for name, value in headers.items()}
    session.read_response_head(ResponseHead(status=status, headers=named))
    frames = session.read_response(body, eof=True)
    texts = [tuple(change(delta.text) for delta in frame.deltas) for frame in frames]
    written = b"".join(session.write_response(*pair) for pair in zip(frames, texts, strict=True))
    edits = session.response_head_edits()
    return dict(edits.set), set(edits.remove), written


# --- paths and heads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model"),
    [(PATH, "m"), ("/v2/models/llm-7b.v1/versions/12/infer", "llm-7b.v1"), ("/v2/models/a:b/infer", "a:b")],
)
def test_a_path_gives_the_model(path, model):
    assert CODEC.accepts(head(path)) is True
    (message,) = CODEC.open(head(path)).read_request(b'{"inputs":[]}', eof=True)
    assert (message.params.model, message.params.stream) == (model, False)
    assert (message.key, message.operation, message.inspectable_bytes) == (0, Operation.TEXT_COMPLETION, 13)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/stats/infer",
        "/v2/models/m/infer/",
        "/v2/models/m/Infer",
        "/v2/models/m/infer2",
        "/v2/models/m/infer;x",
        "/v2//models/m/infer",
        "/v2/models//infer",
        "/v2/models/../infer",
        "/v2/models/.m/infer",
        "/v2/models/a%20b/infer",
        "/v2/models/m/versions/x/infer",
        "/v2/models/m/versions//infer",
        "/v2/repository/models/m/infer",
        "/v2/models/m/generate",
        "",
    ],
)
def test_every_other_path_is_not_this_codecs(path):
    assert CODEC.accepts(head(path)) is False
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(path))
    assert (caught.value.reason, caught.value.status) == (Reason.PATH_NOT_ALLOWED, 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "post", ""])
def test_only_post_is_accepted(method):
    assert CODEC.accepts(head(method=method)) is False


@pytest.mark.parametrize("query", ["x=1", ""])
def test_a_query_is_refused(query):
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(query=query))
    assert caught.value.reason is Reason.PATH_NOT_ALLOWED


@pytest.mark.parametrize(
    "values",
    [
        ("0",),
        ("-1",),
        ("+5",),
        (" 5",),
        ("5 ",),
        ("0x5",),
        ("5.0",),
        ("",),
        ("\u0665",),
        ("5", "5"),
        ("1" * 11,),
    ],
)
def test_a_length_that_is_none_is_refused(values):
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(headers={LENGTH: values}))
    assert (caught.value.reason, caught.value.status) == (Reason.HEADER_INVALID, 400)


@pytest.mark.parametrize("content_type", ["image/png", "text/plain; charset=utf-16", ""])
def test_content_type_decides_nothing(content_type):
    session = opened(content_type=content_type)
    assert len(session.read_request(b'{"inputs":[]}', eof=True)) == 1


def test_a_request_is_bounded():
    session = InferCodec(limits=replace(LIMITS, body_bytes_max=10)).open(head())
    with pytest.raises(PeerError) as caught:
        session.read_request(b"a" * 11, eof=False)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)


def test_a_request_without_body_is_refused():
    with pytest.raises(PeerError, match="the request has no body"):
        opened().read_request(b"", eof=True)


def test_a_second_end_of_the_request_is_ignored():
    session, _ = asked(Made("text_input", ["x"]), encoding="gzip")
    assert session.read_request(b"more", eof=True) == ()


# --- the request's head ----------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("kind", [Made, binary], ids=["json", "binary"])
def test_a_clean_request_goes_on_as_it_was_before_it_was_compressed(kind, encoding):
    made = kind("text_input", ["hello €", "two"])
    body, length = body_of(made)
    session, message = asked(made, encoding=encoding)
    assert [one.text for one in message.segments] == ["hello €", "two"]
    assert message.inspectable_bytes == len(body)
    assert session.write_request(0, PLAIN) == body
    edits = session.request_head_edits()
    assert ("content-encoding" in edits.remove) is (encoding is not None)
    assert {"accept-encoding", "authorization"} <= set(edits.remove)
    assert dict(edits.set) == ({} if length is None else {LENGTH: str(length)})


def test_the_length_of_the_document_follows_its_edits():
    session, _ = asked(binary("text_input", ["hello Jane, how are you?"]))
    edit = SegmentEdit(segment_index=0, start=6, end=10, replacement="[PERSON]" * 20)
    body = session.write_request(0, RequestEdits(segments=(edit,), cap_output_tokens=5))
    length = int(dict(session.request_head_edits().set)[LENGTH])
    again = opened(**{LENGTH: str(length)})
    (message,) = again.read_request(body, eof=True)
    assert [one.text for one in message.segments] == [f"hello {'[PERSON]' * 20}, how are you?"]
    assert message.params.max_output_tokens == 5


def test_content_that_is_no_text_is_reported():
    _, message = asked(Made("text_input", ["x"]), binary("pixels", [0.5], "FP32"))
    assert message.unscanned == {Unscanned.TENSOR}


# --- the answer's head -----------------------------------------------------------------------

BINARY_HEAD = {"content-type": "application/octet-stream", "content-length": "9"}


def test_the_length_in_the_answers_head_follows_its_edits():
    session, _ = asked(Made("text_input", ["x"]))
    session.write_request(0, PLAIN)
    body, length = body_of(binary("text_output", ["secret"]), under="outputs")
    headers = {**BINARY_HEAD, LENGTH: str(length)}
    put, removed, written = answered(session, 200, headers, body, lambda _: "x" * 50)
    assert put["content-type"] == "application/octet-stream"
    assert written[int(put[LENGTH]) :] == binary("x", ["x" * 50]).tail
    assert LENGTH in removed
    assert isinstance(session, LateHead)


def test_a_json_answer_has_no_length_in_its_head():
    session, _ = asked(Made("text_input", ["x"]))
    session.write_request(0, PLAIN)
    body, _ = body_of(Made("text_output", ["x"]), under="outputs")
    put, _, written = answered(session, 200, {"content-type": "application/json"}, body)
    assert (put, written) == ({}, body)


def test_an_error_goes_on_as_json_whatever_its_head_says():
    session, _ = asked(Made("text_input", ["x"]))
    session.write_request(0, PLAIN)
    headers = {"content-type": "text/plain", "x-secret": "1", LENGTH: "3"}
    put, removed, written = answered(session, 500, headers, b'{"error":"in /opt/a/b.py"}')
    assert put == {"content-type": "application/json"}
    assert {"x-secret", LENGTH} <= removed
    assert b"withheld" in written


@pytest.mark.parametrize("values", [("0",), ("x",), ("",), ("5", "5")])
def test_a_length_of_the_answer_that_is_none_is_unreadable(values):
    session, _ = asked(Made("text_input", ["x"]))
    session.write_request(0, PLAIN)
    with pytest.raises(PeerError) as caught:
        session.read_response_head(ResponseHead(status=200, headers={LENGTH: values}))
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


@pytest.mark.parametrize("values", [("gzip",), ("deflate",), ("br",), ("identity", "gzip"), ("",)])
def test_an_encoded_answer_is_refused(values):
    session, _ = asked(Made("text_input", ["x"]))
    session.write_request(0, PLAIN)
    with pytest.raises(PeerError) as caught:
        session.read_response_head(ResponseHead(status=200, headers={"content-encoding": values}))
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


def test_counts_are_asked_for_and_hidden_through_the_session():
    session, _ = asked(Made("text_input", ["x"]), id="r1")
    assert b"return_num_output_tokens" in session.write_request(0, RequestEdits())
    made = [Made("text_output", ["y"]), Made("num_output_tokens", [3], "UINT32")]
    body, _ = body_of(*made, under="outputs", id="r1")
    _, _, written = answered(session, 200, {"content-type": "application/json"}, body)
    assert b"num_output_tokens" not in written


def test_an_id_that_was_redacted_is_known_again():
    session, message = asked(Made("text_input", ["x"]), id="jane.roe")
    edit = SegmentEdit(segment_index=0, start=0, end=8, replacement="[X]")
    assert message.segments[0].place == "id"
    session.write_request(0, RequestEdits(segments=(edit,), ask_usage=False))
    body, _ = body_of(under="outputs", id="[X]")
    session.read_response_head(ResponseHead(status=200, headers={}))
    (frame,) = session.read_response(body, eof=True)
    assert frame.deltas == ()


# --- properties ------------------------------------------------------------------------------

bodies = st.lists(
    st.builds(
        lambda name, values, is_binary: (binary if is_binary else Made)(name, values),
        st.sampled_from(["text_input", "note", "stop_words"]),
        st.lists(st.text(max_size=6), max_size=3),
        st.booleans(),
    ),
    max_size=3,
    unique_by=lambda made: made.name,
)


@given(bodies, st.lists(st.integers(0, 400), max_size=6), st.sampled_from([None, "gzip", "deflate"]))
def test_a_request_is_the_same_however_it_is_cut(made, cuts, encoding):
    body, length = body_of(*made)
    sent = {None: body, "gzip": gzip.compress(body), "deflate": zlib.compress(body)}[encoding]
    headers = {} if length is None else {LENGTH: str(length)}
    session = opened(**headers, **({} if encoding is None else {"content-encoding": encoding}))
    ends = [*sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    messages = [
        one
        for start, end in zip([0, *ends], ends, strict=False)
        for one in session.read_request(sent[start:end], eof=False)
    ]
    (message,) = [*messages, *session.read_request(b"", eof=True)]
    assert [one.text for one in message.segments] == [text for one in made for text in one.values]
    assert session.write_request(0, PLAIN) == body


@given(bodies, st.binary(max_size=20), st.integers(0, 400), st.integers(-3, 3))
def test_whatever_comes_raises_nothing_but_peer_error(made, noise, at, off):
    body, length = body_of(*made, parameters={"max_tokens": 3})
    try:
        session = opened(**({} if length is None else {LENGTH: str(length + off)}))
        session.read_request(body[:at] + noise + body[at:], eof=True)
        session.write_request(0, RequestEdits(cap_output_tokens=1))
    except PeerError as error:
        assert 400 <= error.status < 500  # noqa: PT017 - it need not raise.


# --- refusals --------------------------------------------------------------------------------


def test_a_refusal_is_in_tritons_shape_and_has_no_place_within_an_answer():
    session, _ = asked(Made("text_input", ["x"]))
    session.write_request(0, PLAIN)
    refusal = Refusal(reason=Reason.SECRET_FOUND, status=403, message="withheld")
    wire = session.refuse(refusal)
    assert (wire.status, dict(wire.headers)) == (403, {"content-type": "application/json"})
    assert wire.body == b'{"error":"withheld (request 0f8fad5b-d9cb-469f-a165-70867728950e)"}'
    session.read_response_head(ResponseHead(status=200, headers={}))
    assert session.refuse_in_answer(0, refusal) is None
    assert session.refuse_one(0, refusal) is None
