"""The README's table of wires, row by row against the codecs: what it says is what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc_calls import add_tensor, infer
from kserve_bodies import Made, body_of
from tritonclient.grpc import service_pb2 as pb

from extproc.codecs import codec_for, discover
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.ports import CodecSession, RequestEdits, RequestMessage
from extproc.domain.segment import Backend
from extproc.domain.verdict import Reason, Refusal

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COLUMNS = ("wire", "origins", "unknown", "limit", "counts", "before", "within")
PATH = re.compile(r"`(GET|POST) ([^`]+)`")
NAMES = re.compile(r"`([^`]+)`")
REFUSAL = Refusal(reason=Reason.INJECTION_DETECTED, status=403, message="not here", headers=())
ASKED, CAP = 999_999, 7
REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def table() -> list[dict[str, str]]:
    _, rest = README.split("<!-- wires: begin")
    lines = rest.split("<!-- wires: end")[0].splitlines()[3:]
    return [
        dict(zip(COLUMNS, (cell.strip() for cell in line.strip("|").split(" | ")), strict=True))
        for line in lines
        if line.startswith("|")
    ]


ROWS = {f"{method} {path}": row for row in table() for method, path in PATH.findall(row["wire"])}


@dataclass(frozen=True)
class Wire:
    """How the test speaks a wire: a request with fields in it, by the names of the table.

    ``largest`` has text of every origin, ``unknown`` a string that the codec does not know. ``backends``
    are the ones that honour a limit of that name; ``headers`` go with every request. ``hidden`` stands in
    a request that asks for counts.
    """

    request: Callable[[Mapping[str, object]], bytes]
    unknown: bytes
    largest: bytes = b""
    headers: Mapping[str, str] | None = None
    hidden: bytes = b""
    stream: str = "text/event-stream"
    backends: Mapping[str, Backend] | None = None


def dumped(**members: object) -> bytes:
    return json.dumps(members, ensure_ascii=False).encode()


TRITON = {
    "sampling_parameters.max_tokens": Backend.VLLM,
    "max_tokens": Backend.TENSORRTLLM,
    "sampling_param_max_tokens": Backend.LLMAPI,
}
DOCUMENT = "sampling_parameters"


def generate(limits: Mapping[str, object]) -> bytes:
    members: dict[str, object] = {"text_input": "hi", "stream": True}
    for name, value in limits.items():
        holder, _, inner = name.partition(".")
        members[holder] = json.dumps({inner: value}) if inner else value
    return dumped(**members)


def infer_http(limits: Mapping[str, object]) -> bytes:
    tensors = [Made("text_input", ["hi"])]
    for name, value in limits.items():
        holder, _, inner = name.partition(".")
        one = Made(holder, [json.dumps({inner: value})]) if inner else Made(holder, [value], "INT32")
        tensors.append(one)
    return body_of(*tensors)[0]


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def infer_grpc(limits: Mapping[str, object]) -> bytes:
    request = infer("m", "hi")
    for name, value in limits.items():
        holder, _, inner = name.partition(".")
        if inner:
            add_tensor(request, holder, "BYTES", json.dumps({inner: value}).encode(), raw=True)
        else:
            assert isinstance(value, int)
            add_tensor(request, holder, "INT32", value, raw=True)
    return framed(request.SerializeToString())


def openai(**members: object) -> Callable[[Mapping[str, object]], bytes]:
    return lambda limits: dumped(model="m", **members, **limits)


TOOL = {"type": "function", "function": {"name": "f", "description": "tells", "parameters": {}}}
CHAT = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
MESSAGES = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
GRPC = {"content-type": "application/grpc", "te": "trailers"}
# Field 4711 of a ModelInferRequest, which Triton's proto does not have.
STRANGE_FIELD = b"\xba\xa6\x02\x05EVIL!"
WIRES = {
    "POST /v2/models/m/generate": Wire(
        generate,
        dumped(text_input="hi", strange="EVIL!"),
        hidden=b"return_num_output_tokens",
        backends=TRITON,
    ),
    "POST /v2/models/m/infer": Wire(
        infer_http,
        body_of(Made("text_input", ["hi"]), strange="EVIL!")[0],
        hidden=b"return_num_output_tokens",
        stream="application/json",
        backends=TRITON,
    ),
    "POST /inference.GRPCInferenceService/ModelStreamInfer": Wire(
        infer_grpc,
        framed(infer("m", "hi").SerializeToString() + STRANGE_FIELD),
        headers=GRPC,
        hidden=b"return_num_output_tokens",
        stream="application/grpc",
        backends=TRITON,
    ),
    "POST /v1/chat/completions": Wire(
        openai(**CHAT),
        dumped(model="m", strange="EVIL!", **CHAT),
        dumped(
            model="m",
            messages=[
                {"role": "user", "content": "hi"},
                {"role": "tool", "content": "a result", "tool_call_id": "c"},
            ],
            tools=[TOOL],
            documents=[{"text": "a document"}],
        ),
        hidden=b"include_usage",
    ),
    "POST /v1/completions": Wire(
        openai(prompt="hi", stream=True),
        dumped(model="m", prompt="hi", strange="EVIL!"),
        hidden=b"include_usage",
    ),
    "POST /v1/embeddings": Wire(
        openai(input="hi"), dumped(model="m", input="hi", strange="EVIL!"), stream="application/json"
    ),
    "POST /v1/responses": Wire(
        openai(input="hi", stream=True, store=False),
        dumped(model="m", input="hi", strange="EVIL!"),
        dumped(
            model="m",
            input=[
                {"role": "user", "content": "hi"},
                {"type": "function_call_output", "call_id": "c", "output": "a result"},
            ],
            tools=[{"type": "function", "name": "f", "description": "tells", "parameters": {}}],
        ),
    ),
    "POST /v1/messages": Wire(
        lambda limits: dumped(model="m", **{"max_tokens": ASKED, **MESSAGES, **limits}),
        dumped(model="m", max_tokens=5, strange="EVIL!", **MESSAGES),
        dumped(
            model="m",
            max_tokens=5,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hi"},
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "a document"},
                        },
                        {"type": "tool_result", "tool_use_id": "t", "content": "a result"},
                    ],
                }
            ],
            tools=[{"name": "f", "description": "tells", "input_schema": {"type": "object"}}],
        ),
    ),
}
# Two paths of one codec and one row.
SERVICE = "POST /inference.GRPCInferenceService/"
SAME = {
    "POST /v2/models/m/generate_stream": "POST /v2/models/m/generate",
    f"{SERVICE}ModelInfer": f"{SERVICE}ModelStreamInfer",
}
every_wire = pytest.mark.parametrize("path", WIRES)


def head_of(path: str) -> RequestHead:
    method, _, bare = path.partition(" ")
    wire = WIRES.get(SAME.get(path, path))
    headers = {"x-request-id": REQUEST_ID, **((wire and wire.headers) or {})}
    return RequestHead(
        method=method, path=bare, headers={name: (value,) for name, value in headers.items()}
    )


def opened(path: str) -> CodecSession:
    codec = codec_for(discover(), head_of(path))
    assert codec is not None
    return codec.open(head_of(path))


def read(path: str, body: bytes) -> tuple[CodecSession, RequestMessage]:
    session = opened(path)
    (message,) = session.read_request(body, eof=True)
    return session, message


# --- the table as a whole --------------------------------------------------------------------


def test_every_codec_has_its_row():
    codecs = discover()
    named = {codec_for(codecs, head_of(path)) for path in ROWS}
    assert {codec.name for codec in codecs} == {codec.name for codec in named if codec}
    assert None not in named


def test_every_row_with_text_is_held():
    assert {path for path, row in ROWS.items() if row["origins"] != "no text"} == {*WIRES, *SAME}
    assert all(ROWS[path] is ROWS[other] for path, other in SAME.items())


# --- requests --------------------------------------------------------------------------------


@every_wire
def test_origins_are_those_of_the_row(path):
    wire = WIRES[path]
    _, message = read(path, wire.largest or wire.request({}))
    assert ", ".join(sorted({segment.origin for segment in message.segments})) == ROWS[path]["origins"]


@every_wire
def test_what_is_not_known_is_treated_as_the_row_says(path):
    match ROWS[path]["unknown"]:
        case "refused":
            assert is_refused(path, WIRES[path].unknown)
        case "scanned":
            _, message = read(path, WIRES[path].unknown)
            assert any("EVIL!" in segment.text for segment in message.segments)
        case other:
            raise AssertionError(other)


def is_refused(path: str, body: bytes) -> bool:
    try:
        _, message = read(path, body)
    except PeerError:
        return True
    # On a stream of many requests one is refused alone.
    return message.refused is not None


@every_wire
def test_limits_are_lowered_where_they_stand(path):
    names = NAMES.findall(ROWS[path]["limit"])
    assert bool(names) == (ROWS[path]["limit"] != "no output")
    for name in names:
        session, message = read(path, WIRES[path].request({name: ASKED}))
        assert message.params.max_output_tokens == ASKED
        backend = (WIRES[path].backends or {}).get(name, Backend.VLLM)
        written = session.write_request(0, RequestEdits(cap_output_tokens=CAP, backend=backend))
        assert holds(written, CAP)
        assert not holds(written, ASKED)


@every_wire
def test_a_limit_is_written_where_there_is_none(path):
    wire = WIRES[path]
    names = NAMES.findall(ROWS[path]["limit"])
    for name in names:
        backend = (wire.backends or {}).get(name, Backend.VLLM)
        session, _ = read(path, wire.request({}))
        written = session.write_request(0, RequestEdits(cap_output_tokens=CAP, backend=backend))
        assert holds(written, CAP)
        if wire.backends and "." not in name:
            assert name.encode() in written


def holds(body: bytes, number: int) -> bool:
    """Whether a number stands in a body: as digits, or as four bytes of a tensor."""
    digits = re.search(rb"(?<![0-9])%d(?![0-9])" % number, body) is not None
    return digits or number.to_bytes(4, "little") in body or varint(number) in body


def varint(number: int) -> bytes:
    """As an int64 parameter of protobuf: field 2 of InferParameter."""
    request = pb.ModelInferRequest()
    request.parameters["x"].int64_param = number
    return request.parameters["x"].SerializeToString()


@every_wire
def test_counts_are_asked_for_where_the_row_says_so(path):
    wire = WIRES[path]
    asked = ROWS[path]["counts"] == "asked for, hidden"
    assert asked == bool(wire.hidden)
    body = wire.request({})
    session, _ = read(path, body)
    if asked:
        assert wire.hidden not in body
        assert wire.hidden in session.write_request(0, RequestEdits(ask_usage=True))
    else:
        assert session.write_request(0, RequestEdits(ask_usage=True)) == body


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path, row in ROWS.items() if row["before"] != "as its wire"])
def test_a_refusal_before_the_answer_has_the_rows_shape(path):
    wire = opened(path).refuse(REFUSAL)
    match NAMES.findall(ROWS[path]["before"]):
        case ["grpc-status"]:
            assert wire.grpc_status == 7
        case [shape]:
            assert (wire.status, wire.grpc_status) == (403, None)
            assert shape_of(json.loads(wire.body)) == shape_of(json.loads(shape_text(shape)))
        case other:
            raise AssertionError(other)


def shape_text(shape: str) -> str:
    return shape.replace("{…}", '{"…": 0}')


def shape_of(document: dict[str, object]) -> dict[str, str]:
    """The kinds of a document's members; an id of the request may stand beside them."""
    return {name: type(value).__name__ for name, value in document.items() if name != "request_id"}


@every_wire
def test_a_refusal_within_the_answer_is_as_the_row_says(path):
    wire = WIRES[path]
    session, _ = read(path, wire.request({}))
    session.write_request(0, RequestEdits())
    session.read_response_head(ResponseHead(status=200, headers={"content-type": (wire.stream,)}))
    said = session.refuse_in_answer(0, REFUSAL)
    match NAMES.findall(ROWS[path]["within"]):
        case []:
            assert (ROWS[path]["within"], said) == ("none: held", None)
        case ["error_message"]:
            # The whole stream, and one of many on it, where the others go on.
            for one in (said, session.end_one(0, REFUSAL)):
                assert pb.ModelStreamInferResponse.FromString(one[5:]).error_message.startswith("not here")
        case ["event: error"]:
            assert said is not None
            assert said.startswith(b"event: error\n")
        case [shape]:
            assert said is not None
            assert said.startswith(b"data: ")
            expected = json.loads(shape_text(shape.removeprefix("data: ")))
            assert shape_of(json.loads(said.removeprefix(b"data: "))) == shape_of(expected)
