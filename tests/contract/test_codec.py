"""What every codec keeps, shown on real Triton's own bytes: a new codec brings its golden files.

A golden file is one recorded exchange: request, what a codec reads in it, answer, and its frames.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from frames import spread
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from extproc.codecs import codec_for, discover
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.ports import (
    Codec,
    CodecSession,
    EndsInTrailers,
    RequestEdits,
    ResponseFrame,
    WireRefusal,
    has_many_exchanges,
)
from extproc.domain.verdict import Reason, Refusal

GOLDEN = Path(__file__).parent.parent / "golden" / "codecs"
SAMPLES = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(GOLDEN.glob("*/*.json"))
}
REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
REFUSAL = Refusal(
    reason=Reason.BUDGET_EXCEEDED, status=429, message="over budget", headers=(("retry-after", "7"),)
)
RESOURCE_EXHAUSTED = 8
CODECS = {codec.name: codec for codec in discover()}
every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
samples = st.sampled_from(list(SAMPLES.values()))
cuts = st.lists(st.integers(0, 3_000), max_size=6)


def head_of(sample: dict) -> RequestHead:
    headers = {"x-request-id": (REQUEST_ID,)}
    headers |= {name: (value,) for name, value in sample.get("request_headers", {}).items()}
    return RequestHead(method=sample["method"], path=sample["path"], headers=headers)


def session_of(sample: dict) -> CodecSession:
    codec = codec_for(discover(), head_of(sample))
    assert codec is not None
    return codec.open(head_of(sample))


def pieces(body: bytes, places: list[int] | None) -> list[bytes]:
    """The body cut at the given places; in single bytes where there are none."""
    ends = list(range(1, len(body) + 1)) if places is None else sorted({*places, len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def ask(session: CodecSession, body: bytes, places: list[int] | None = None):
    messages = [one for chunk in pieces(body, places) for one in session.read_request(chunk, eof=False)]
    return [*messages, *session.read_request(b"", eof=True)]


def answer(session: CodecSession, sample: dict, places: list[int] | None = None) -> list[ResponseFrame]:
    begin_answer(session, sample)
    body = bytes_of(sample, "response")
    frames = [one for chunk in pieces(body, places) for one in session.read_response(chunk, eof=False)]
    end_answer(session, sample)
    return [*frames, *session.read_response(b"", eof=True)]


def bytes_of(sample: dict, name: str) -> bytes:
    """What a sample says of bytes: as text in UTF-8 or, where they are none, with a character for each."""
    return sample[name].encode(sample.get("encoding", "utf-8"))


def forward(session: CodecSession, sample: dict) -> None:
    """The request goes on: an answer belongs to one that did."""
    for message in ask(session, bytes_of(sample, "request")):
        session.write_request(message.key, RequestEdits())


def begin_answer(session: CodecSession, sample: dict) -> None:
    headers = {name: (value,) for name, value in sample["response_headers"].items()}
    session.read_response_head(ResponseHead(status=sample["status"], headers=headers))


def end_answer(session: CodecSession, sample: dict) -> None:
    """Trailers come before the end is read, where the wire has any."""
    if isinstance(session, EndsInTrailers) and "response_trailers" in sample:
        trailers = {name: (value,) for name, value in sample["response_trailers"].items()}
        session.read_response_trailers(trailers)


def same_texts(session: CodecSession, frames: list[ResponseFrame]) -> bytes:
    return b"".join(
        session.write_response(frame, tuple(delta.text for delta in frame.deltas)) for frame in frames
    )


def described(frames: list[ResponseFrame]) -> list[dict]:
    return [
        {
            "deltas": [[*delta.channel, delta.text] for delta in frame.deltas],
            "usage": list(frame.usage) if frame.usage else None,
            "final": frame.final,
            "error": frame.error,
            **({"ended": [list(channel) for channel in frame.ended]} if frame.ended else {}),
        }
        for frame in spread(frames)
    ]


def message_of(document: bytes) -> str:
    """The message of an error: Triton's is a string, OpenAI's an object."""
    error = json.loads(document)["error"]
    return error if isinstance(error, str) else error["message"]


def shown(wire: WireRefusal) -> tuple[int, str, dict[str, str]]:
    """Status, message and headers of a refusal: of gRPC Envoy makes the kind and the status' header."""
    headers = dict(wire.headers)
    if wire.grpc_status is not None:
        assert wire.grpc_status == RESOURCE_EXHAUSTED
        return wire.status, wire.body.decode(), headers
    assert headers.pop("content-type") == "application/json"
    return wire.status, message_of(wire.body), headers


@every_codec
def test_every_codec_has_recorded_exchanges(codec: Codec):
    own = [name for name in SAMPLES if name.startswith(f"{codec.name}/")]
    assert own
    assert all(codec.accepts(head_of(SAMPLES[name])) for name in own)


@every_sample
def test_exactly_one_codec_accepts_a_request(sample):
    assert sum(codec.accepts(head_of(sample)) for codec in CODECS.values()) == 1


@every_sample
def test_the_request_is_read_as_recorded(sample):
    (message,) = ask(session_of(sample), bytes_of(sample, "request"))
    params = message.params
    assert sample["params"] == {
        "model": params.model,
        "stream": params.stream,
        "max_output_tokens": params.max_output_tokens,
        "choices_count": params.choices_count,
        "sampling": dict(params.sampling),
    }
    assert [[segment.place, segment.text] for segment in message.segments] == sample["segments"]


@every_sample
def test_the_answer_is_read_as_recorded_and_passes_unchanged(sample):
    session = session_of(sample)
    ask(session, bytes_of(sample, "request"))
    # What a codec has to change in any case, as ids on a stream of many requests, is recorded too.
    forwarded = bytes_of(sample, "forwarded" if "forwarded" in sample else "request")
    assert session.write_request(0, RequestEdits(ask_usage=False)) == forwarded
    frames = answer(session, sample)
    assert described(frames) == sample["frames"]
    passed = bytes_of(sample, "passed" if "passed" in sample else "response")
    assert same_texts(session, frames) == passed


@given(samples, cuts, cuts)
def test_chunk_boundaries_mean_nothing(sample, request_places, answer_places):
    cut, whole = session_of(sample), session_of(sample)
    request = bytes_of(sample, "request")
    assert ask(cut, request, request_places) == ask(whole, request, [])
    assert cut.write_request(0, RequestEdits()) == whole.write_request(0, RequestEdits())
    frames, expected = answer(cut, sample, answer_places), answer(whole, sample, [])
    assert spread(frames) == spread(expected)
    assert same_texts(cut, frames) == same_texts(whole, expected)


@given(samples, cuts)
def test_nothing_that_a_scanner_takes_back_goes_out(sample, places):
    session = session_of(sample)
    ask(session, bytes_of(sample, "request"))
    session.write_request(0, RequestEdits())
    frames = answer(session, sample, places)
    try:
        written = b"".join(session.write_response(frame, ("",) * len(frame.deltas)) for frame in frames)
    except PeerError as error:
        # Some answers cannot be mended: they go out as they are or not at all.
        assert error.reason is Reason.UPSTREAM_UNREADABLE  # noqa: PT017 - it need not raise.
        return
    for frame in frames:
        for delta in frame.deltas:
            assert len(delta.text) < 4 or delta.text.encode() not in written


@given(samples, st.binary(max_size=80), st.integers(0, 400))
def test_a_request_with_noise_in_it_raises_nothing_but_peer_error(sample, noise, at):
    body = bytes_of(sample, "request")
    session = session_of(sample)
    try:
        for message in ask(session, body[:at] + noise + body[at:], []):
            if message.refused is None:
                session.write_request(message.key, RequestEdits(cap_output_tokens=1))
    except PeerError as error:
        assert 400 <= error.status < 500  # noqa: PT017 - it need not raise.


@given(samples, st.binary(max_size=80), st.integers(0, 400))
def test_an_answer_with_noise_in_it_raises_nothing_but_peer_error(sample, noise, at):
    session = session_of(sample)
    forward(session, sample)
    body = bytes_of(sample, "response")
    begin_answer(session, sample)
    end_answer(session, sample)
    try:
        same_texts(session, list(session.read_response(body[:at] + noise + body[at:], eof=True)))
    except PeerError as error:
        assert (error.reason, error.status) == (Reason.UPSTREAM_UNREADABLE, 502)  # noqa: PT017 - as above.


@every_sample
def test_a_refusal_parses_as_the_client_would_and_carries_the_request_id(sample):
    wire = session_of(sample).refuse(REFUSAL)
    assert shown(wire) == (429, f"over budget (request {REQUEST_ID})", {"retry-after": "7"})


@every_sample
def test_a_refusal_within_the_answer_is_an_event_of_it_or_impossible(sample):
    session = session_of(sample)
    forward(session, sample)
    streamed = "event-stream" in sample["response_headers"].get("content-type", "")
    answer(session, sample)
    refused = session.refuse_in_answer(0, REFUSAL)
    if has_many_exchanges(session):
        assert refused is not None
        told = pb.ModelStreamInferResponse.FromString(refused[5:])
        assert told.error_message == f"over budget (request {REQUEST_ID})"
        return
    assert (refused is not None) == streamed
    if refused is not None:
        # Wires whose events have names say one before the data.
        payload = refused[refused.index(b"data: ") :].removeprefix(b"data: ").removesuffix(b"\n\n")
        assert message_of(payload) == f"over budget (request {REQUEST_ID})"


@every_codec
def test_a_refusal_without_a_session_is_in_the_same_shape(codec: Codec):
    assert shown(codec.refuse(REFUSAL)) == (429, "over budget", {"retry-after": "7"})


@every_sample
def test_credentials_and_compression_end_at_the_gateway(sample):
    removed = set(session_of(sample).request_head_edits().remove)
    assert {"accept-encoding", "authorization", "x-api-key"} <= removed


@every_sample
def test_a_compressed_answer_is_refused(sample):
    session = session_of(sample)
    ask(session, bytes_of(sample, "request"))
    with pytest.raises(PeerError) as caught:
        session.read_response_head(ResponseHead(status=200, headers={"content-encoding": ("gzip",)}))
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)
