"""The sessions of KServe's gRPC, and whole streams of them through the core."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest
from doubles import SECRET, FakeGuard, Playbook, bound, budget, granted, policy, watching
from grpc_calls import STREAM, UNARY, infer, is_final, texts_by_id
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from extproc.codecs.kserve_grpc import CODEC, KserveGrpcCodec
from extproc.codecs.kserve_grpc_read_only import CODEC as READ_ONLY
from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.effects import Settled
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits, RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ALLOWED, EndsInTrailers, ManyExchanges, RequestEdits, Verdict
from extproc.domain.segment import SegmentEdit
from extproc.domain.verdict import Action, Lane, Reason, Refusal, Stage
from extproc.wire.grpc_frames import framed

REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
HEADERS = {"content-type": ("application/grpc",), "te": ("trailers",), "x-request-id": (REQUEST_ID,)}
ANSWER = ResponseHead(status=200, headers={"content-type": ("application/grpc",)})
OK = {"grpc-status": ("0",)}
SERVICE = "/inference.GRPCInferenceService/"
MODEL = "m"
NO = Refusal(reason=Reason.PII_FOUND, status=403, message="no")


def head(path: str, method: str = "POST") -> RequestHead:
    return RequestHead(method=method, path=path, headers=HEADERS)


def said(key: int, text: str, *, final: bool = False) -> bytes:
    """A response of Triton to what went on as request ``key``."""
    made = pb.ModelInferResponse(model_name=MODEL, model_version="1", id=f"{REQUEST_ID}-{key}")
    made.parameters["triton_final_response"].bool_param = final
    made.outputs.add(name="text_output", datatype="BYTES", shape=[1])
    raw = text.encode()
    made.raw_output_contents.append(len(raw).to_bytes(4, "little") + raw)
    return framed(pb.ModelStreamInferResponse(infer_response=made).SerializeToString())


def unknown(key: int) -> bytes:
    """What Triton says to a decoy."""
    beside = pb.ModelInferResponse(id=f"{REQUEST_ID}-{key}")
    told = "Request for unknown model: 'headgate.refused' is not found"
    return framed(
        pb.ModelStreamInferResponse(error_message=told, infer_response=beside).SerializeToString()
    )


def asks(*requests: pb.ModelInferRequest) -> bytes:
    return b"".join(framed(one.SerializeToString(deterministic=True)) for one in requests)


def messages(stream: bytes, kind: type = pb.ModelStreamInferResponse) -> list:
    found = []
    while stream:
        size = int.from_bytes(stream[1:5], "big")
        found.append(kind.FromString(stream[5 : 5 + size]))
        stream = stream[5 + size :]
    return found


# --- which calls -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "codecs"),
    [
        (UNARY, [CODEC]),
        (STREAM, [CODEC]),
        *((SERVICE + name, [READ_ONLY]) for name in ("ServerLive", "ServerReady", "ServerMetadata")),
        *((SERVICE + name, [READ_ONLY]) for name in ("ModelReady", "ModelMetadata", "ModelConfig")),
        ("/grpc.health.v1.Health/Check", [READ_ONLY]),
        *((SERVICE + name, []) for name in ("ModelStatistics", "RepositoryIndex", "RepositoryModelLoad")),
        *((SERVICE + name, []) for name in ("SystemSharedMemoryRegister", "CudaSharedMemoryStatus")),
        *((SERVICE + name, []) for name in ("TraceSetting", "LogSettings", "modelinfer", "ModelInfer/")),
        ("/grpc.health.v1.Health/Watch", []),
        ("/inference.grpcinferenceservice/ModelInfer", []),
        ("//inference.GRPCInferenceService/ModelInfer", []),
        ("/inference.GRPCInferenceService%2FModelInfer", []),
    ],
)
def test_paths_are_exact(path, codecs):
    assert [one for one in (CODEC, READ_ONLY) if one.accepts(head(path))] == codecs
    assert not any(one.accepts(head(path, "GET")) for one in (CODEC, READ_ONLY))


def test_which_sessions_carry_many_and_which_end_in_trailers():
    for path, many in ((UNARY, False), (STREAM, True)):
        session = CODEC.open(head(path))
        assert isinstance(session, EndsInTrailers)
        assert isinstance(session, ManyExchanges) == many
    assert isinstance(READ_ONLY.open(head(f"{SERVICE}ServerLive")), EndsInTrailers)


# --- one call --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        asks(infer(MODEL, "a"), infer(MODEL, "b")),
        asks(infer(MODEL, "a"))[:-1],
        asks(infer(MODEL, "a")) + b"\x00",
    ],
)
def test_a_unary_call_has_exactly_one_message(body):
    session = CODEC.open(head(UNARY))
    with pytest.raises(PeerError) as caught:
        session.read_request(body, eof=True)
    assert caught.value.status == 400


def answered(session, response: bytes, trailers: Mapping[str, tuple[str, ...]] = OK):
    session.read_request(asks(infer(MODEL, "p", request_id="7")), eof=True)
    session.write_request(0, RequestEdits())
    session.read_response_head(ANSWER)
    first = session.read_response(response, eof=False)
    assert first == ()
    session.read_response_trailers(trailers)
    return session.read_response(b"", eof=True)


GOOD = framed(pb.ModelInferResponse(model_name=MODEL, id="7").SerializeToString())


def test_a_unary_answer_waits_for_its_trailers():
    (frame,) = answered(CODEC.open(head(UNARY)), GOOD)
    assert frame.final


@pytest.mark.parametrize(
    ("response", "trailers"),
    [(b"", OK), (GOOD + GOOD, OK), (GOOD[:-1], OK), (GOOD, {}), (b"\x01" + GOOD[1:], OK)],
)
def test_a_unary_answer_is_one_message_and_a_status(response, trailers):
    with pytest.raises(PeerError) as caught:
        answered(CODEC.open(head(UNARY)), response, trailers)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


def test_an_answer_without_trailers_is_no_end():
    session = CODEC.open(head(UNARY))
    session.read_request(asks(infer(MODEL, "p")), eof=True)
    session.write_request(0, RequestEdits())
    session.read_response_head(ANSWER)
    with pytest.raises(PeerError, match="ends without a status"):
        session.read_response(GOOD, eof=True)


def test_an_answer_goes_on_no_further_than_its_end():
    session = CODEC.open(head(UNARY))
    session.read_request(asks(infer(MODEL, "p")), eof=True)
    session.write_request(0, RequestEdits())
    session.read_response_head(ResponseHead(status=200, headers={**ANSWER.headers, **OK}))
    with pytest.raises(PeerError, match="goes on after its end"):
        session.read_response(GOOD, eof=False)
    with pytest.raises(PeerError, match="ends twice"):
        session.read_response_trailers(OK)


@pytest.mark.parametrize("in_head", [True, False])
def test_the_message_of_a_call_that_failed_is_judged(in_head):
    session = CODEC.open(head(UNARY))
    session.read_request(asks(infer(MODEL, "p")), eof=True)
    session.write_request(0, RequestEdits())
    ended = {"grpc-status": ("5",), "grpc-message": ("ask ann@example.com",), "x-note": ("text",)}
    if in_head:
        session.read_response_head(ResponseHead(status=200, headers={**ANSWER.headers, **ended}))
    else:
        session.read_response_head(ANSWER)
        session.read_response_trailers(ended)
    (frame,) = session.read_response(b"", eof=True)
    assert ([delta.text for delta in frame.deltas], frame.error) == (["ask ann@example.com"], True)
    assert session.write_response(frame, ("ask [EMAIL_ADDRESS]",)) == b""
    edits = session.response_head_edits() if in_head else session.response_trailer_edits()
    assert edits.set == (("grpc-message", "ask [EMAIL_ADDRESS]"),)
    assert "x-note" in edits.remove


def test_a_message_that_no_scanner_read_is_withheld():
    session = CODEC.open(head(STREAM))
    session.read_response_head(ANSWER)
    session.read_response_trailers({"grpc-status": ("14",), "grpc-message": ("EVIL",)})
    assert session.read_response(b"", eof=True) == ()
    assert session.response_trailer_edits().set == (
        ("grpc-message", "the model server reported an error; its text was withheld"),
    )


def test_a_message_of_success_says_nothing():
    session = CODEC.open(head(STREAM))
    session.read_response_head(ANSWER)
    session.read_response_trailers({"grpc-status": ("0",), "grpc-message": ("EVIL",)})
    session.read_response(b"", eof=True)
    assert session.response_trailer_edits() == HeaderEdits(remove=("grpc-message",))


# --- read-only calls -------------------------------------------------------------------------


def question(path: str, body: bytes):
    session = READ_ONLY.open(head(path))
    (message,) = session.read_request(body, eof=True)
    return session, message


def test_a_question_names_its_model():
    payload = framed(pb.ModelMetadataRequest(name="m", version="2").SerializeToString())
    session, message = question(f"{SERVICE}ModelMetadata", payload)
    assert message.params.model == "m"
    assert session.write_request(0, RequestEdits()) == payload
    _, message = question("/grpc.health.v1.Health/Check", framed(b"\x0a\x01m"))
    assert message.params.model == "m"
    _, message = question(f"{SERVICE}ServerLive", framed(b""))
    assert message.params.model == ""


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        (f"{SERVICE}ModelMetadata", b""),
        (f"{SERVICE}ModelMetadata", b"\x0a\x01m\x0a\x01x"),
        (f"{SERVICE}ModelMetadata", b"\x0a\x01m\x12\x03new"),
        (f"{SERVICE}ModelMetadata", b"\x0a\x03../"),
        (f"{SERVICE}ModelConfig", b"\x0a\x01m\x1a\x01x"),
        (f"{SERVICE}ServerLive", b"\x0a\x01m"),
        ("/grpc.health.v1.Health/Check", b"\x0a\x02\xff\xfe"),
    ],
)
def test_a_question_that_could_be_two_is_refused(path, payload):
    with pytest.raises(PeerError) as caught:
        question(path, framed(payload))
    assert caught.value.status == 400


def test_an_answer_with_anything_found_in_it_is_withheld_as_a_whole():
    session, _ = question(f"{SERVICE}ServerMetadata", framed(b""))
    session.read_response_head(ANSWER)
    payload = framed(pb.ServerMetadataResponse(name="ask ann@example.com").SerializeToString())
    session.read_response(payload, eof=False)
    session.read_response_trailers(OK)
    (frame,) = session.read_response(b"", eof=True)
    (delta,) = frame.deltas
    assert "ask ann@example.com" in delta.text
    assert session.write_response(frame, (delta.text,)) == payload
    with pytest.raises(PeerError, match="must not go out"):
        session.write_response(frame, (delta.text.replace("ann@example.com", "[X]"),))


# --- whole streams ---------------------------------------------------------------------------


class Stream(Playbook):
    """A stream through the core, with real Triton's kind of answers."""

    def __init__(self, *guards) -> None:
        super().__init__(policy(*guards), codecs=[CODEC])
        self.send(ev.RequestHeaders(self.tick(), head(STREAM), end_stream=False))

    def begin_answer(self) -> None:
        self.send(ev.ResponseHeaders(self.tick(), ANSWER, end_stream=False))

    def end(self, trailers: Mapping[str, tuple[str, ...]] = OK) -> None:
        self.body(b"", end=True)
        self.send(ev.ResponseTrailers(self.tick(), trailers))

    def forwarded(self) -> list[pb.ModelInferRequest]:
        return messages(self.sent(Lane.REQUEST), pb.ModelInferRequest)

    def told(self) -> list[pb.ModelStreamInferResponse]:
        return messages(self.sent(Lane.RESPONSE))


def in_pieces(body: bytes, places: Iterable[int] | None) -> list[bytes]:
    ends = range(1, len(body) + 1) if places is None else sorted({*places, len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


PROMPTS = [infer(MODEL, f"prompt {number}", request_id="same" if number else "") for number in range(3)]
SPOKEN = [
    *(said(0, "to "), said(1, SECRET[:3]), said(2, "it is "), said(0, SECRET[:4]), said(1, SECRET[3:])),
    *(said(2, SECRET + "!"), said(0, SECRET[4:] + " end", final=True), said(2, "", final=True)),
    said(1, " and on", final=True),
]
ANSWERED = b"".join(SPOKEN)


def played(request_places: Iterable[int] | None, answer_places: Iterable[int] | None) -> Stream:
    stream = Stream(watching())
    for piece in in_pieces(asks(*PROMPTS), request_places):
        stream.body(piece)
    stream.begin_answer()
    for piece in in_pieces(ANSWERED, answer_places):
        stream.answer(piece)
    stream.end()
    return stream


@given(st.lists(st.integers(0, 400), max_size=6), st.lists(st.integers(0, 1_200), max_size=8))
def test_chunk_boundaries_mean_nothing(request_places, answer_places):
    whole, cut = played([], []), played(request_places, answer_places)
    assert cut.sent(Lane.REQUEST) == whole.sent(Lane.REQUEST)
    assert cut.sent(Lane.RESPONSE) == whole.sent(Lane.RESPONSE)
    assert [one.reason for one in cut.records()] == [one.reason for one in whole.records()]


def test_single_bytes_are_as_good_as_any():
    whole, cut = played([], []), played(None, None)
    assert cut.sent(Lane.REQUEST) == whole.sent(Lane.REQUEST)
    assert cut.sent(Lane.RESPONSE) == whole.sent(Lane.RESPONSE)


def test_interleaved_answers_are_redacted_each_by_itself():
    stream = played([], [])
    told = stream.told()
    assert len(told) == len(SPOKEN)
    assert texts_by_id(told) == {"": "to [SECRET] end", "same": "it is [SECRET][SECRET]! and on"}
    assert SECRET.encode() not in stream.sent(Lane.RESPONSE)
    assert [one.entities[0].count for one in stream.records()] == [1, 1, 1]
    assert [type(one) for one in stream.commands if isinstance(one, cmd.REPLIES)][-1] is cmd.ReplyTrailers
    assert stream.stream.done


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_refused_requests_are_answered_in_band_and_their_neighbours_as_ever(order):
    def refuse(exchange, _answers):
        if "bad" in exchange.request.segments[0].text:
            return Verdict(action=Action.BLOCK, reason=Reason.PII_FOUND, status=403, message="no")
        return ALLOWED

    texts = ["fine", "bad", "worse is bad"]
    stream = Stream(bound(FakeGuard(judge_with=refuse)))
    stream.body(asks(*(infer(MODEL, texts[at], request_id=f"c{at}") for at in order)))
    sent = stream.forwarded()
    assert {one.model_name for one in sent} == {MODEL}
    assert [one.inputs[0].name == "text_input" for one in sent] == [texts[at] == "fine" for at in order]
    stream.begin_answer()
    for key, at in enumerate(order):
        stream.answer(said(key, "ok", final=True) if texts[at] == "fine" else unknown(key))
    stream.end()
    refused = f"[no (request {REQUEST_ID})]"
    assert texts_by_id(stream.told()) == {"c0": "ok", "c1": refused, "c2": refused}
    assert all(map(is_final, stream.told()))
    assert sorted(one.status for one in stream.records()) == [200, 403, 403]


def test_a_decoy_names_a_model_that_runs_on_the_stream():
    """Triton 2.51 aborts where it reports an unknown model beside answers of a decoupled one."""
    session = CODEC.open(head(STREAM))
    models = ["secret", "a", "secret", "b", "b"]
    list(session.read_request(asks(*(infer(name, "p") for name in models)), eof=False))
    unknown_model = Refusal(reason=Reason.MODEL_NOT_ALLOWED, status=404, message="none of that name")
    sent = [
        session.refuse_one(0, unknown_model),
        session.write_request(1, RequestEdits()),
        session.refuse_one(2, unknown_model),
        session.write_request(3, RequestEdits()),
        session.refuse_one(4, NO),
    ]
    named = [messages(one, pb.ModelInferRequest)[0].model_name for one in sent]
    assert named == ["headgate.refused", "a", "a", "b", "b"]
    alone = CODEC.open(head(STREAM))
    list(alone.read_request(asks(infer("a", "p")), eof=False))
    (decoyed,) = messages(alone.refuse_one(0, NO), pb.ModelInferRequest)
    assert decoyed.model_name == "a"


def test_a_request_that_cannot_be_written_goes_on_as_a_decoy():
    def judge(exchange, _answers):
        edits = tuple(
            SegmentEdit(segment_index=one.index, start=0, end=16, replacement="<CARD>")
            for one in exchange.request.segments
            if one.text.isdecimal()
        )
        return Verdict(action=Action.REDACT, reason=Reason.REDACTED, edits=edits) if edits else ALLOWED

    bad = infer(MODEL, "again", request_id="bad")
    bad.inputs.add(name="random_seed", datatype="INT64", shape=[1])
    bad.raw_input_contents.append((4111111111111111).to_bytes(8, "little"))
    stream = Stream(bound(FakeGuard(judge_with=judge), name="redact"))
    stream.body(asks(PROMPTS[0], bad, PROMPTS[1]))
    assert [one.inputs[0].name for one in stream.forwarded()] == [
        "text_input",
        "headgate.refused",
        "text_input",
    ]
    stream.begin_answer()
    for answer in (said(0, "ok", final=True), unknown(1), said(2, "ok", final=True)):
        stream.answer(answer)
    stream.end()
    told = texts_by_id(stream.told())
    assert (told[""], told["same"], told["bad"].startswith("[")) == ("ok", "ok", True)
    assert sorted(one.status for one in stream.records()) == [200, 200, 400]


def gzipped(*requests: pb.ModelInferRequest) -> bytes:
    packed = [gzip.compress(one.SerializeToString(deterministic=True), mtime=0) for one in requests]
    return b"".join(b"\x01" + len(one).to_bytes(4, "big") + one for one in packed)


def zipped_head() -> RequestHead:
    return RequestHead(method="POST", path=STREAM, headers={**HEADERS, "grpc-encoding": ("gzip",)})


def test_a_message_is_read_when_it_is_asked_for():
    session = CODEC.open(zipped_head())
    chunk = gzipped(*PROMPTS)
    first_bytes = len(gzipped(PROMPTS[0]))
    read = session.read_request(chunk + b"\x07\x00\x00\x00\x00", eof=False)
    assert next(iter(read)).segments[0].text == "prompt 0"
    assert session.pending_bytes == len(chunk) + 5 - first_bytes
    assert [next(iter(read)).key for _ in PROMPTS[1:]] == [1, 2]
    with pytest.raises(PeerError):
        list(read)


def of_strings(count: int, *, raw: bool, document: str = "") -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name=MODEL, id="big")
    texts = [document.encode()] if document else [b"a"] * count
    tensor = made.inputs.add(name="text_input", datatype="BYTES", shape=[len(texts)])
    if document:
        tensor.name = "sampling_parameters"
    if raw:
        made.raw_input_contents.append(b"".join(len(one).to_bytes(4, "little") + one for one in texts))
    else:
        tensor.contents.bytes_contents.extend(texts)
    return made


@pytest.mark.parametrize(
    "big",
    [
        of_strings(400, raw=False),
        of_strings(400, raw=True),
        of_strings(1, raw=False, document='{"stop":[' + '"a",' * 399 + '"a"]}'),
    ],
    ids=["typed", "raw", "document"],
)
@pytest.mark.parametrize("one_chunk", [True, False])
def test_the_open_requests_of_a_stream_share_one_bound_of_fields(big, one_chunk):
    session = KserveGrpcCodec(limits=replace(LIMITS, protobuf_fields_max=1_000)).open(head(STREAM))
    chunks = [asks(big, big, big)] if one_chunk else [asks(big)] * 3
    read = [one for chunk in chunks for one in session.read_request(chunk, eof=False)]
    reasons = [one.refused and one.refused.reason for one in read]
    assert reasons == [None, None, Reason.BODY_TOO_COMPLEX]
    session.write_request(0, RequestEdits())
    (still,) = session.read_request(asks(big), eof=False)
    assert still.refused is not None
    session.read_response_head(ANSWER)
    (frame,) = session.read_response(said(0, "ok", final=True), eof=False)
    session.write_response(frame, ("ok",))
    (again,) = session.read_request(asks(big), eof=False)
    assert again.refused is None


def test_a_refused_request_takes_no_more_than_it_was_read():
    limits = replace(LIMITS, protobuf_fields_max=200)
    session = KserveGrpcCodec(limits=limits).open(head(STREAM))
    stream = asks(of_strings(400, raw=True), PROMPTS[0])
    reasons = [one.refused and one.refused.reason for one in session.read_request(stream, eof=False)]
    assert reasons == [Reason.BODY_TOO_COMPLEX, None]


def test_every_reservation_is_settled_when_its_exchange_ends():
    stream = Stream(bound(budget(), name="budget", stage=Stage.BUDGET))
    stream.body(asks(*PROMPTS))
    for index in range(3):
        stream.effect(index, granted())
    stream.begin_answer()
    stream.answer(said(1, "one", final=True))
    assert [type(one.effect).__name__ for one in stream.effects()] == ["Reserve"] * 3 + ["Settle"]
    stream.answer(said(0, "one"))
    stream.end({"grpc-status": ("14",), "grpc-message": ("gone",)})
    settles = [one for one in stream.effects() if type(one.effect).__name__ == "Settle"]
    assert [one.exchange for one in settles] == [1, 0, 2]
    for one in settles:
        stream.send(ev.EffectDone(stream.tick(), one.effect_id, Settled(charged=10, refunded=90)))
    assert {one.exchange: one.reason for one in stream.records()} == {
        0: Reason.UPSTREAM_ERROR,
        1: Reason.CLEAN,
        2: Reason.UPSTREAM_ERROR,
    }
    assert all(one.tokens_reserved == one.tokens_settled + one.tokens_refunded for one in stream.records())


def test_what_is_held_of_a_failed_call_never_goes_out():
    stream = Stream(watching())
    stream.body(asks(PROMPTS[0]))
    stream.begin_answer()
    stream.answer(said(0, "it is " + SECRET[:5]))
    stream.end({"grpc-status": ("14",), "grpc-message": (f"gone with {SECRET}",)})
    assert texts_by_id(stream.told()) == {"": "it is "}
    (ended,) = [one for one in stream.of(cmd.ReplyTrailers) if one.lane is Lane.RESPONSE]
    assert ended.set == (("grpc-message", "gone with [SECRET]"),)


NAMED = [infer(MODEL, f"prompt {name}", request_id=name) for name in "abc"]


def errors_by_id(stream: bytes) -> list[tuple[str, str]]:
    return [(one.infer_response.id, one.error_message) for one in messages(stream) if one.error_message]


def test_a_stream_that_breaks_its_protocol_ends_in_a_word_to_each_open_request():
    stream = Stream()
    stream.body(asks(*NAMED))
    stream.begin_answer()
    stream.answer(said(0, "one") + said(1, "two", final=True))
    before = stream.sent(Lane.RESPONSE)
    stream.body(b"\x07")
    stream.body(b"\x00\x00\x00\x00")
    told = errors_by_id(stream.sent(Lane.RESPONSE).removeprefix(before))
    assert [name for name, _ in told] == [NAMED[0].id, NAMED[2].id]
    assert all(word.endswith(f"(request {REQUEST_ID})") for _, word in told)
    assert [one.end_stream for one in stream.of(cmd.ReplyBody) if one.lane is Lane.RESPONSE][-1]
    assert not stream.of(cmd.Abort)
    assert {one.exchange: one.reason for one in stream.records()} == {
        0: Reason.BODY_INVALID,
        1: Reason.CLEAN,
        2: Reason.BODY_INVALID,
    }


def test_an_answer_that_breaks_off_ends_in_a_word_also_for_what_ended_in_the_broken_part():
    stream = Stream()
    stream.body(asks(*NAMED[:2]))
    stream.begin_answer()
    stream.answer(said(0, "one"))
    before = stream.sent(Lane.RESPONSE)
    stream.answer(said(0, "no longer", final=True) + framed(b"\xff\xff"))
    sent = stream.sent(Lane.RESPONSE).removeprefix(before)
    assert [name for name, _ in errors_by_id(sent)] == [NAMED[1].id, NAMED[0].id]
    assert b"no longer" not in sent


def test_a_request_that_was_refused_alone_is_not_told_again():
    session = CODEC.open(head(STREAM))
    assert len(list(session.read_request(asks(*NAMED), eof=False))) == 3
    session.write_request(0, RequestEdits())
    session.write_request(1, RequestEdits())
    session.refuse_one(2, NO)
    session.read_response_head(ANSWER)
    alone = session.end_one(0, NO)
    other = Refusal(reason=Reason.UPSTREAM_UNREADABLE, status=502, message="broken")
    cut = session.refuse_in_answer(0, other)
    assert [name for name, _ in errors_by_id(alone)] == [NAMED[0].id]
    (second, third) = errors_by_id(cut)
    assert second == (NAMED[1].id, f"broken (request {REQUEST_ID})")
    # Its own, which the server's word on its decoy would have become.
    assert third == (NAMED[2].id, f"{NO.message} (request {REQUEST_ID})")


def test_a_stream_without_open_requests_ends_in_a_word_about_itself():
    stream = Stream()
    stream.body(asks(NAMED[0]))
    stream.begin_answer()
    stream.answer(said(0, "one", final=True))
    before = stream.sent(Lane.RESPONSE)
    stream.answer(framed(b"\xff\xff"))
    ((name, word),) = errors_by_id(stream.sent(Lane.RESPONSE).removeprefix(before))
    assert (name, word.endswith(f"(request {REQUEST_ID})")) == ("", True)


def test_before_its_head_is_out_a_whole_stream_is_refused_by_a_status():
    stream = Stream()
    stream.body(asks(PROMPTS[0]) + b"\x07\x00\x00\x00\x00")
    (refused,) = stream.of(cmd.Refuse)
    assert (refused.refusal.grpc_status, refused.refusal.status) == (3, 400)
    assert stream.stream.done


@given(
    st.lists(
        st.sampled_from([*SPOKEN, *(unknown(key) for key in range(4)), b"\x00", b"\xff\xff"])
        | st.binary(max_size=20),
        max_size=8,
    ),
    st.lists(st.integers(0, 600), max_size=4),
)
def test_whatever_comes_ends_in_one_way_and_each_exchange_in_one_record(
    answers: Sequence[bytes], places: Sequence[int]
):
    stream = Stream(watching())
    stream.body(asks(*PROMPTS))
    stream.begin_answer()
    for piece in in_pieces(b"".join(answers), places):
        stream.answer(piece)
    stream.end()
    stream.close()
    assert SECRET.encode() not in stream.sent(Lane.RESPONSE)
    assert sorted(one.exchange for one in stream.records()) == [0, 1, 2]
    ends = [one for one in stream.commands if isinstance(one, cmd.Abort | cmd.Refuse | cmd.ReplyTrailers)]
    cut = [one for one in stream.of(cmd.ReplyBody) if one.lane is Lane.RESPONSE and one.end_stream]
    assert len(ends + cut) == 1
    assert all(messages(stream.sent(Lane.RESPONSE)))
    assert not [one for one in stream.commands if isinstance(one, cmd.ReportBug)]
