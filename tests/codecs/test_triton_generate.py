from __future__ import annotations

import json
from dataclasses import replace

import pytest

from extproc.codecs.triton_generate import CODEC, GenerateCodec
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Backend, Operation, Unscanned
from extproc.domain.verdict import Reason, Refusal

REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
REFUSAL = Refusal(reason=Reason.SECRET_FOUND, status=403, message="withheld")
EVENTS = {"content-type": ("text/event-stream; charset=utf-8",)}


def head(path: str = "/v2/models/m/generate_stream", **parts) -> RequestHead:
    return RequestHead(**{"method": "POST", "path": path, **parts})


def opened(path: str = "/v2/models/m/generate_stream", **parts):
    return CODEC.open(head(path, **parts))


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v2/models/m/generate", "m", False),
        ("/v2/models/m/generate_stream", "m", True),
        ("/v2/models/vllm_llm-7b.v1/versions/12/generate", "vllm_llm-7b.v1", False),
        ("/v2/models/" + "a" * 128 + "/generate", "a" * 128, False),
    ],
)
def test_paths_give_model_and_stream(path, model, stream):
    assert CODEC.accepts(head(path)) is True
    (message,) = opened(path).read_request(b'{"text_input":"x","stream":true}', eof=True)
    assert (message.params.model, message.params.stream) == (model, stream)
    assert (message.key, message.operation, message.inspectable_bytes) == (0, Operation.TEXT_COMPLETION, 32)


# Row H5 of the evasion catalogue, and Triton's other paths.
@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/stats/generate",
        "/v2/models/m/generate/",
        "/v2/models/m/generate;x",
        "/v2/models/m/generate\n",
        "/v2/models/m/Generate",
        "/v2//models/m/generate",
        "/v2/models/../generate",
        "/v2/models/./generate",
        "/v2/models/.m/generate",
        "/v2/models/a b/generate",
        "/v2/models/a%20b/generate",
        "/v2/models/é/generate",
        "/v2/models//generate",
        "/v2/models/" + "a" * 129 + "/generate",
        "/v2/models/m/versions//generate",
        "/v2/models/m/versions/a/generate",
        "/v2/models/m/versions/4111111111111111/generate",
        "/v2/models/m/versions/\u0661/generate",
        "/v2/models/m/infer",
        "/v2/models/m/trace/setting",
        "/v2/repository/models/m/load",
        "/v2/models/m/generate_stream2",
        "http://host/v2/models/m/generate",
        "",
    ],
)
def test_every_other_path_is_not_this_codecs(path):
    assert CODEC.accepts(head(path)) is False
    with pytest.raises(PeerError) as caught:
        opened(path)
    assert (caught.value.reason, caught.value.status) == (Reason.PATH_NOT_ALLOWED, 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "post", "HEAD", "CONNECT", ""])
def test_only_post_is_accepted(method):
    assert CODEC.accepts(head(method=method)) is False


def test_a_query_and_an_encoded_body_are_refused_by_the_head_alone():
    for parts in ({"query": "x=1"}, {"headers": {"content-encoding": ("gzip",)}}):
        with pytest.raises(PeerError):
            opened(**parts)


def test_content_type_decides_nothing():
    session = opened(headers={"content-type": ("image/png",)})
    assert len(session.read_request(b'{"text_input":"x"}', eof=True)) == 1


def test_a_request_without_body_is_refused():
    with pytest.raises(PeerError, match="the request has no body"):
        opened().read_request(b"", eof=True)


def test_a_request_is_bounded():
    session = GenerateCodec(limits=replace(LIMITS, body_bytes_max=10)).open(head())
    with pytest.raises(PeerError) as caught:
        session.read_request(b"a" * 11, eof=False)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)


def test_a_second_end_of_the_request_is_ignored():
    session = opened()
    session.read_request(b'{"text_input":"x"}', eof=True)
    assert session.read_request(b'{"text_input":"x"}', eof=True) == ()


def test_counts_are_asked_for_and_hidden_through_the_session():
    session = opened()
    session.read_request(b'{"text_input":"x"}', eof=True)
    assert b'"return_num_output_tokens":true' in session.write_request(0, RequestEdits())
    session.read_response_head(ResponseHead(status=200, headers=EVENTS))
    sent = b'data: {"num_input_tokens":1,"num_output_tokens":1,"text_output":"a"}\n\n'
    (frame,) = session.read_response(sent, eof=False)
    assert (frame.usage, frame.final) == ((1, 1), False)
    assert session.write_response(frame, ("a",)) == b'data: {"text_output":"a"}\n\n'


@pytest.mark.parametrize(
    ("content_type", "streamed"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream;charset=utf-8", True),
        ("application/json", False),
        ("text/plain", False),
    ],
)
def test_the_answers_kind_decides_how_it_can_still_be_refused(content_type, streamed):
    session = opened(headers={"x-request-id": (REQUEST_ID,)})
    assert session.refuse_in_answer(0, REFUSAL) is None
    session.read_response_head(ResponseHead(status=200, headers={"content-type": (content_type,)}))
    expected = f'data: {{"error":"withheld (request {REQUEST_ID})"}}\n\n'.encode()
    assert session.refuse_in_answer(0, REFUSAL) == (expected if streamed else None)


def test_an_error_is_labelled_json_whatever_triton_calls_it():
    edits = opened().read_response_head(ResponseHead(status=404, headers={"content-type": ("text/plain",)}))
    assert edits.set == (("content-type", "application/json"),)
    assert opened().read_response_head(ResponseHead(status=400, headers=EVENTS)).set == ()


def test_a_refusal_has_tritons_shape_and_the_request_id():
    wire = opened(headers={"x-request-id": (REQUEST_ID,)}).refuse(REFUSAL)
    assert (wire.status, json.loads(wire.body)) == (403, {"error": f"withheld (request {REQUEST_ID})"})
    assert opened().refuse_one(0, REFUSAL) is None


def test_calls_out_of_order_are_bugs():
    with pytest.raises(AssertionError):
        opened().write_request(0, RequestEdits())
    with pytest.raises(AssertionError):
        opened().read_response(b"", eof=True)


ANSWERS = {
    Backend.TENSORRTLLM: {
        "batch_index": 0,
        "context_logits": 0.0,
        "cum_log_probs": [-0.5, -1.25],
        "generation_logits": [0.5],
        "model_name": "m",
        "model_version": "1",
        "output_log_probs": [0.0, -0.125],
        "sequence_end": False,
        "sequence_id": 0,
        "sequence_index": 0,
        "sequence_start": False,
        "text_output": ["one", "two"],
    },
    Backend.LLMAPI: {
        "cumulative_logprob": -0.5,
        "finish_reason": ["stop", "length"],
        "model_name": "m",
        "model_version": "1",
        "text_output": ["one", "two"],
    },
}


@pytest.mark.parametrize("backend", ANSWERS)
@pytest.mark.parametrize("streamed", [True, False])
def test_what_tensorrt_llm_tells_beside_its_texts_is_no_text(backend, streamed):
    session = opened()
    session.read_request(b'{"text_input":"x","max_tokens":5}', eof=True)
    session.write_request(0, RequestEdits(backend=backend, answer_watched=False))
    session.read_response_head(ResponseHead(status=200, headers=EVENTS if streamed else {}))
    document = json.dumps(ANSWERS[backend], separators=(",", ":")).encode()
    sent = b"data: " + document + b"\n\n" if streamed else document
    (frame,) = session.read_response(sent, eof=True)
    assert [(*delta.channel, delta.text) for delta in frame.deltas] == [
        (0, "text_output", "one"),
        (1, "text_output", "two"),
    ]
    assert session.write_response(frame, ("one", "two")) == sent
    redacted = session.write_response(frame, ("[X]", "two"))
    assert redacted == sent.replace(b'"one"', b'"[X]"')


def test_why_an_answer_stopped_may_be_the_callers_own_word_and_is_scanned():
    session = opened()
    session.read_request(b'{"text_input":"x"}', eof=True)
    session.write_request(0, RequestEdits(backend=Backend.LLMAPI))
    session.read_response_head(ResponseHead(status=200))
    (frame,) = session.read_response(b'{"stop_reason":"EVIL","text_output":"x"}', eof=True)
    assert [delta.text for delta in frame.deltas] == ["EVIL", "x"]


def test_content_that_no_guard_can_read_is_reported():
    (message,) = opened().read_request(b'{"text_input":"x","input_ids":[1,2]}', eof=True)
    assert message.unscanned == {Unscanned.TOKEN_IDS}


@pytest.mark.parametrize("watched", [True, False])
def test_outputs_that_spell_the_text_in_numbers_go_where_it_is_watched(watched):
    session = opened()
    session.read_request(b'{"text_input":"x","max_tokens":5}', eof=True)
    session.write_request(0, RequestEdits(answer_watched=watched))
    session.read_response_head(ResponseHead(status=200, headers={}))
    spelled = {"output_ids": [1, 2], "context_logits": 0.5, "generation_logits": [[0.5]]}
    (frame,) = session.read_response(json.dumps({"text_output": "x", **spelled}).encode(), eof=True)
    left = json.loads(session.write_response(frame, ("x",)))
    assert left == ({"text_output": "x"} if watched else {"text_output": "x", **spelled})


def test_a_request_is_forgotten_once_it_was_written():
    session = opened()
    session.read_request(b'{"text_input":"x"}', eof=True)
    session.write_request(0, RequestEdits())
    with pytest.raises(AssertionError):
        session.write_request(0, RequestEdits())
