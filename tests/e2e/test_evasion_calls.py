"""Rows H7, H9, J9 of the evasion catalogue: gRPC's frames, who a caller says it is, whose models it names.

Whatever is sent, it is refused, or what the model got is what was judged.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from evasion_rig import Rig, only
from evasion_wires import (
    GRPC_WIRES,
    HTTP_WIRES,
    OTHERS,
    WIRES,
    Question,
    Wire,
    check_judged,
    check_refused,
    frame_of,
    ids,
    question,
    received,
    shows,
)
from grpc_calls import infer
from raw_http import Fields, Frames, Heard, conversation, request_bytes
from real_parts import StandIn
from tritonclient.grpc import service_pb2 as pb

from extproc.codecs._grpc_http import grpc_status

every_wire = pytest.mark.parametrize("wire", WIRES, ids=ids(WIRES))
every_grpc_wire = pytest.mark.parametrize("wire", GRPC_WIRES, ids=ids(GRPC_WIRES))
UNARY, STREAM = GRPC_WIRES
INFER = HTTP_WIRES[2]


@pytest.fixture
def stand_in(rig: Rig) -> StandIn:
    return rig.stand_in


@pytest.fixture
def asked(stand_in: StandIn) -> Question:
    return question(stand_in)


def errors_in(heard: Heard) -> list[str]:
    """The errors that a stream's responses say."""
    found, body = [], heard.body
    while body:
        size = int.from_bytes(body[1:5], "big")
        found.append(pb.ModelStreamInferResponse.FromString(body[5 : 5 + size]).error_message)
        body = body[5 + size :]
    return [one for one in found if one]


def check_call_refused(
    wire: Wire, heard: Heard, asked: Question, stand_in: StandIn, *, status: int, is_in_band: bool
) -> None:
    """By a status; on a stream what is wrong with one message is said in its place."""
    if wire is STREAM and is_in_band:
        assert (heard.status, heard.grpc_status, len(errors_in(heard))) == (200, 0, 1)
        assert not shows(heard.everything, asked)
        assert received(stand_in, asked) == []
        return
    assert (heard.status, heard.grpc_status) == (200, grpc_status(status))
    check_refused(heard, asked, stand_in)


# --- H7: frames --------------------------------------------------------------------------------------

BOMB_BYTES = 9 * 1024 * 1024


def flagged(payload: bytes) -> bytes:
    return frame_of(payload, flag=1)


@dataclass(frozen=True)
class Framed:
    """How a message is framed, as DATA frames; which headers come with it, and the status; None passes."""

    frames: Callable[[bytes], Sequence[bytes]]
    fields: Fields = ()
    status: int | None = None
    is_in_band: bool = False


def whole(write: Callable[[bytes], bytes]) -> Callable[[bytes], Sequence[bytes]]:
    return lambda payload: (write(payload),)


def encoding(name: str) -> Fields:
    return (("grpc-encoding", name),)


def by_byte(payload: bytes) -> Sequence[bytes]:
    framed = frame_of(payload)
    return [framed[at : at + 1] for at in range(len(framed))]


FRAMES = {
    "a byte in each DATA frame": Framed(by_byte),
    "empty DATA frames": Framed(
        lambda payload: (b"", frame_of(payload)[:3], b"", frame_of(payload)[3:], b"")
    ),
    "gzip": Framed(whole(lambda payload: flagged(gzip.compress(payload))), encoding("gzip")),
    "deflate": Framed(whole(lambda payload: flagged(zlib.compress(payload))), encoding("deflate")),
    "gzip that is not flagged": Framed(whole(frame_of), encoding("gzip")),
    "flagged without an encoding": Framed(whole(lambda one: flagged(gzip.compress(one))), (), 400),
    "flagged as it is": Framed(whole(flagged), encoding("identity"), 400),
    "gzip and not flagged": Framed(
        whole(lambda one: frame_of(gzip.compress(one))), encoding("gzip"), 400, is_in_band=True
    ),
    "gzip that is deflate": Framed(whole(lambda one: flagged(zlib.compress(one))), encoding("gzip"), 400),
    "gzip twice": Framed(whole(lambda one: flagged(gzip.compress(one) * 2)), encoding("gzip"), 400),
    "gzip cut short": Framed(whole(lambda one: flagged(gzip.compress(one)[:-4])), encoding("gzip"), 400),
    "a bomb": Framed(
        whole(lambda one: flagged(gzip.compress(one + bytes(BOMB_BYTES)))), encoding("gzip"), 413
    ),
    "an unknown encoding": Framed(whole(flagged), encoding("snappy"), 415),
    "two encodings": Framed(whole(frame_of), (*encoding("identity"), *encoding("gzip")), 415),
    "an unknown flag": Framed(whole(lambda one: frame_of(one, flag=2)), (), 400),
    "trailers of grpc-web": Framed(whole(lambda one: frame_of(one, flag=128)), (), 400),
    "a length beyond the end": Framed(whole(lambda one: frame_of(one, length=len(one) + 1)), (), 400),
    "a length of 4 GB": Framed(whole(lambda one: frame_of(one, length=2**32 - 1)), (), 413),
    "half a frame behind it": Framed(whole(lambda one: frame_of(one) + b"\0\0"), (), 400),
    "a message of 9 MB": Framed(whole(lambda one: frame_of(one + bytes(BOMB_BYTES))), (), 413),
    "zeros behind the message": Framed(whole(lambda one: frame_of(one + b"\0")), (), 400, is_in_band=True),
    "an empty message": Framed(whole(lambda _: frame_of(b"")), (), 400, is_in_band=True),
    "a time": Framed(whole(frame_of), (("grpc-timeout", "99999999H"),)),
    "a time that is none": Framed(whole(frame_of), (("grpc-timeout", "soon"),), 400),
    "a time below zero": Framed(whole(frame_of), (("grpc-timeout", "-1S"),), 400),
    "a time of nine digits": Framed(whole(frame_of), (("grpc-timeout", "123456789S"),), 400),
    "two times": Framed(whole(frame_of), (("grpc-timeout", "1S"), ("grpc-timeout", "1H")), 400),
    # Envoy makes one of both.
    "te twice": Framed(whole(frame_of), (("te", "trailers"),)),
}


@every_grpc_wire
@pytest.mark.parametrize("name", FRAMES)
def test_h7_frames(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    case = FRAMES[name]
    payload = wire.body(asked.text)[5:]
    with Frames(rig.port) as client:
        heard = client.ask([*rig.head(wire), *case.fields], *case.frames(payload))
    if case.status is None:
        check_judged(wire, heard, asked, stand_in)
    else:
        check_call_refused(wire, heard, asked, stand_in, status=case.status, is_in_band=case.is_in_band)


def test_h7_two_messages_of_a_unary_call(rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(UNARY, UNARY.body(asked.text) * 2)
    check_call_refused(UNARY, heard, asked, stand_in, status=400, is_in_band=False)


def test_h7_each_message_of_a_stream_is_judged(rig: Rig, asked: Question, stand_in: StandIn):
    second = question(stand_in)
    heard = rig.ask(STREAM, STREAM.body(asked.text) + STREAM.body(second.text))
    check_judged(STREAM, heard, asked, stand_in)
    check_judged(STREAM, heard, second, stand_in)


@every_grpc_wire
def test_h7_no_message_at_all(wire: Wire, rig: Rig):
    with Frames(rig.port) as client:
        heard = client.ask(rig.head(wire))
    assert (heard.status, heard.body) == (200, b"")
    assert heard.grpc_status == (0 if wire is STREAM else grpc_status(400))


@every_grpc_wire
def test_h7_trailers_of_a_client(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    trailers = (("grpc-status", "0"), ("authorization", "Bearer other"), ("x-team", "owner"))
    with Frames(rig.port) as client:
        heard = client.ask(rig.head(wire), wire.body(asked.text), trailers=trailers)
    check_judged(wire, heard, asked, stand_in)


@every_grpc_wire
@pytest.mark.parametrize(
    "kind",
    ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "text/plain"],
)
def test_h7_what_only_looks_like_grpc(kind: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    body = wire.body(asked.text)
    sent = base64.b64encode(body) if kind.endswith("text") else body
    heard = rig.ask(wire, sent, ("content-type", kind), without="content-type")
    assert heard.status == 415
    check_refused(heard, asked, stand_in)


@every_grpc_wire
@pytest.mark.parametrize("kind", ["application/json", "application/grpc+json"])
def test_h7_json_for_a_call(kind: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    document = {"model_name": wire.model, "inputs": [{"name": "text_input", "data": [asked.text]}]}
    heard = rig.ask(wire, json.dumps(document).encode(), ("content-type", kind), without="content-type")
    assert heard.status == 415 or heard.grpc_status == grpc_status(415)
    check_refused(heard, asked, stand_in)


@every_grpc_wire
def test_h7_a_call_on_http_1(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    # Envoy speaks HTTP/2 to Triton whatever the client speaks: the message is judged like any other.
    body = wire.body(asked.text)
    fields = [*rig.fields(wire), ("content-length", str(len(body))), ("connection", "close")]
    heard = only(conversation(rig.port, request_bytes("POST", wire.path, fields, body)))
    assert heard.status == 200
    assert not shows(heard.everything, asked)
    assert received(stand_in, asked) == [asked.judged]


def test_h7_a_time_that_is_over_as_it_begins(rig: Rig, asked: Question, stand_in: StandIn):
    with Frames(rig.port) as client:
        heard = client.ask([*rig.head(UNARY), ("grpc-timeout", "1n")], UNARY.body(asked.text))
    # Triton looks at its clock now and then: CANCELLED, DEADLINE_EXCEEDED, or an answer all the same.
    assert heard.grpc_status in {0, 1, 4}
    assert not shows(heard.everything, asked)
    assert set(received(stand_in, asked)) <= {asked.judged}


# --- H9: what a client says of itself ----------------------------------------------------------------

CLAIMS: dict[str, Fields] = {
    "x-team": (("x-team", "owner"), ("x-tenant", "owner"), ("x-key", "owner-1"), ("x-user", "owner")),
    "x-headgate": (("x-headgate-tenant", "owner"), ("x-headgate-route", "read_only")),
    "x-headgate in capitals": (("X-Headgate-Tenant", "owner"), ("X-HEADGATE-ROUTE", "read_only")),
    "x-forwarded": (
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "owner"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-client-cert", "By=spiffe://owner"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
    ),
    "x-envoy": (
        ("x-envoy-internal", "true"),
        ("x-envoy-original-path", "/v2/logging"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-max-retries", "9"),
        ("x-envoy-external-address", "127.0.0.1"),
        ("x-envoy-downstream-service-cluster", "owner"),
    ),
    "traceparent": (
        ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
        ("tracestate", "owner=1"),
        ("baggage", "tenant=owner"),
    ),
    "rewrites": (("x-original-url", "/v2/logging"), ("x-rewrite-url", "/v2/logging")),
    "a request id": (("x-request-id", "owner"),),
    "a cookie": (("cookie", "tenant=owner"),),
}
UNDERSCORED: dict[str, Fields] = {
    "an underscore": (("x_headgate_tenant", "owner"),),
    "too many": tuple((f"x-{at}", "b") for at in range(80)),
    "too long": (("x-a", "b" * 40_000),),
}


def claimed(wire: Wire, fields: Fields) -> Fields:
    """On HTTP/2 a name has small letters."""
    return [(name.lower(), value) for name, value in fields] if wire.is_grpc else fields


@every_wire
@pytest.mark.parametrize("name", CLAIMS)
def test_h9_a_caller_is_whose_key_it_brings(
    name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn
):
    heard = rig.ask(wire, wire.body(asked.text), *claimed(wire, CLAIMS[name]))
    if heard.status in {500, 503}:
        # A busy machine: it refused rather than let anything pass. Asked again it must answer.
        heard = rig.ask(wire, wire.body(asked.text), *claimed(wire, CLAIMS[name]))
    check_judged(wire, heard, asked, stand_in)
    assert heard.field("x-request-id") != "owner"


@every_wire
def test_h9_the_record_names_the_keys_tenant(wire: Wire, rig: Rig, asked: Question):
    claims = [one for fields in CLAIMS.values() for one in fields]
    heard = rig.ask(wire, wire.body(asked.text), *claimed(wire, claims))
    record = rig.gateway.verdict(heard.field("x-request-id") or "")
    assert (record["tenant"], record["key_id"]) == ("acme", "acme-1")


@every_wire
@pytest.mark.parametrize("name", CLAIMS)
def test_h9_a_claim_opens_no_model(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(
        wire, wire.body(asked.text, OTHERS), *claimed(wire, CLAIMS[name]), path=wire.path_of(OTHERS)
    )
    check_model_refused(wire, heard, asked, stand_in, status=404)


@every_wire
@pytest.mark.parametrize("name", UNDERSCORED)
def test_h9_headers_that_are_not_read(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(wire, wire.body(asked.text), *UNDERSCORED[name])
    assert heard.status in {0, 400, 431} or heard.grpc_status
    check_refused(heard, asked, stand_in)


# --- models that are not the caller's ----------------------------------------------------------------


def check_model_refused(
    wire: Wire, heard: Heard, asked: Question, stand_in: StandIn, *, status: int
) -> None:
    if wire.is_grpc:
        check_call_refused(wire, heard, asked, stand_in, status=status, is_in_band=True)
        return
    assert heard.status == status
    check_refused(heard, asked, stand_in)


@every_wire
@pytest.mark.parametrize("model", [OTHERS, "unheard_of"])
def test_a_model_or_a_step_of_one_that_is_not_listed(
    model: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn
):
    heard = rig.ask(wire, wire.body(asked.text, model), path=wire.path_of(model))
    check_model_refused(wire, heard, asked, stand_in, status=404)


# The model streams: infer and ModelInfer answer once.
STREAMED = [one for one in WIRES if one not in (INFER, UNARY)]


@pytest.mark.parametrize("wire", STREAMED, ids=ids(STREAMED))
def test_its_owner_reaches_it(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    """So that the tests above are not about a model that nobody serves."""
    body = wire.body(asked.text, OTHERS)
    check_judged(wire, rig.ask(wire, body, path=wire.path_of(OTHERS), tenant="owner"), asked, stand_in)


@every_wire
@pytest.mark.parametrize("model", ["stats", "headgate.refused", "../vllm_stand_in", ".hidden", ""])
def test_a_name_that_no_model_has(model: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    body = wire.write(model, asked.text)
    heard = rig.ask(wire, body, path=wire.path_of(model))
    if wire.is_grpc:
        check_call_refused(wire, heard, asked, stand_in, status=400, is_in_band=True)
        return
    assert heard.status in {400, 403, 404}
    check_refused(heard, asked, stand_in)


# --- J9: shared memory -------------------------------------------------------------------------------

PLACES = ("an input", "an output")
REGION = {"shared_memory_region": "region", "shared_memory_byte_size": 64, "shared_memory_offset": 0}


def shared(wire: Wire, text: str, place: str) -> bytes:
    """A request one of whose tensors stands in shared memory."""
    if not wire.is_grpc:
        document = json.loads(wire.body(text))
        if place == PLACES[1]:
            document["outputs"] = [{"name": "text_output", "parameters": REGION}]
        else:
            tensor = {
                "name": "sampling_parameters",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": REGION,
            }
            document["inputs"].append(tensor)
        return json.dumps(document).encode()
    request = infer(wire.model, text, raw=False, outputs=("text_output",))
    held = request.outputs[0] if place == PLACES[1] else request.inputs[0]
    for name, value in REGION.items():
        setattr(held.parameters[name], "string_param" if isinstance(value, str) else "int64_param", value)
    return frame_of(request.SerializeToString())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wire", [INFER, *GRPC_WIRES], ids=lambda one: one.name)
def test_j9_tensors_in_shared_memory(place: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(wire, shared(wire, asked.text, place))
    check_model_refused(wire, heard, asked, stand_in, status=400)


@every_wire
def test_j9_no_other_place_is_named(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    """Of every wire a parameter that would name one: for the schema guard, or refused by the codec."""
    if wire.is_grpc:
        request = infer(wire.model, asked.text, parameters={"shared_memory_region": "region"})
        heard = rig.ask(wire, frame_of(request.SerializeToString()))
    else:
        document = {**json.loads(wire.body(asked.text)), "shared_memory_region": "region"}
        heard = rig.ask(wire, json.dumps(document).encode())
    check_model_refused(wire, heard, asked, stand_in, status=400)
