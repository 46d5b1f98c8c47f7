"""Rows H2 and H8 of the evasion catalogue, and errors that tell of a server's inside, on every wire.

The server has been taken over. Whatever it writes, the client reads what was judged, or an error.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest
from evasion_rig import POLICY, TENANTS, closes_at_once, only, warm_up
from evasion_wires import GRPC_WIRES, HTTP_WIRES, Wire, ids
from hostile_grpc import SOUND, HostileGrpc, Told
from hostile_streams import STREAMS, WHOLE, Event, event, text_in, written
from hostile_upstream import HostileUpstream, whole
from live_traffic import leaks
from raw_http import Frames, Heard, conversation, request_bytes
from real_parts import Gateway, GatewayMaker
from tritonclient.grpc import service_pb2 as pb

from extproc.demo.parts import Valkey

# Put together here, so that no file holds a value in the form of a real key.
KEY = "AK" + "IA" + "Q7ZJ4XW2M9TR5KD3"
SECRET = KEY.encode()
TOKENS = ("here", " is ", KEY[:5], KEY[5:9], KEY[9:14], KEY[14:], " for", " you")
TEXT = "".join(TOKENS)
SAID = "here is [AWS_ACCESS_KEY] for you"
WITHHELD = "the model server reported an error; its text was withheld"
INSIDE = {
    "a stack trace": f'Traceback (most recent call last):\n  File "/opt/triton/model.py", line 3, {KEY}',
    "a place in a source": f"failed At: model.py(33): execute {KEY}",
    "a path": f"cannot open /mnt/weights/llama/model.safetensors {KEY}",
    "a Windows path": f"cannot open C:\\weights\\{KEY}",
    "an address": f"segfault at 0x7ffd31c2 {KEY}",
    "a library": f"undefined symbol in libtorch.so {KEY}",
}
STREAMED = [one for one in HTTP_WIRES if one.name in STREAMS]
ANSWERING = [one for one in HTTP_WIRES if one.name in WHOLE]
every_stream = pytest.mark.parametrize("wire", STREAMED, ids=ids(STREAMED))
every_answer = pytest.mark.parametrize("wire", ANSWERING, ids=ids(ANSWERING))
every_http_wire = pytest.mark.parametrize("wire", HTTP_WIRES, ids=ids(HTTP_WIRES))
every_grpc_wire = pytest.mark.parametrize("wire", GRPC_WIRES, ids=ids(GRPC_WIRES))
UNARY, STREAM = GRPC_WIRES


@pytest.fixture(scope="module")
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def calls() -> Iterator[HostileGrpc]:
    with HostileGrpc() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, upstream: HostileUpstream, calls: HostileGrpc, valkey: Valkey
) -> Iterator[Gateway]:
    maker = GatewayMaker(tmp_path_factory, upstream.port, valkey.url, grpc_port=calls.port)
    try:
        gateway = maker(policy=POLICY, tenants=TENANTS, openai_port=upstream.port, edit=closes_at_once)
        upstream.answers[HTTP_WIRES[0].path] = whole(WHOLE["generate"]("hello"))
        warm_up(gateway)
        yield gateway
        log = gateway.headgate.log_path.read_text()
        assert "Traceback" not in log
        assert KEY not in log + gateway.headgate.verdict_log.read_text()
    finally:
        maker.close()


def ask(gateway: Gateway, wire: Wire, *fields: tuple[str, str], stream: bool = False) -> Heard:
    """What comes of a harmless question."""
    own = [*gateway.headers().items(), ("content-type", wire.kind), *fields]
    body = wire.body("hello there")
    if wire.is_grpc:
        pseudo = {":method": "POST", ":scheme": "http", ":authority": "gateway", ":path": wire.path}
        with Frames(gateway.envoy.port) as client:
            return client.ask([*pseudo.items(), *own, ("te", "trailers")], body)
    document = json.loads(body)
    document.pop("stream", None)
    body = json.dumps({**document, "stream": True} if stream else document).encode()
    head = [("host", "gateway"), *own, ("content-length", str(len(body))), ("connection", "close")]
    return only(conversation(gateway.envoy.port, request_bytes("POST", wire.path, head, body)))


def check_nothing_shows(heard: Heard) -> None:
    assert not leaks(heard.everything, KEY)
    assert not any(
        one in heard.everything for one in (b"/opt", b"/mnt", b"weights", b"0x7ffd", b"model.py")
    )


# --- H2: answers that come encoded -------------------------------------------------------------------


def gzipped(body: bytes) -> tuple[bytes, ...]:
    return (gzip.compress(body), b"content-encoding: gzip")


ENCODED: dict[str, Callable[[bytes], tuple[bytes, ...]]] = {
    "gzip": gzipped,
    "deflate": lambda body: (zlib.compress(body), b"content-encoding: deflate"),
    "br": lambda body: (body, b"content-encoding: br"),
    "zstd": lambda body: (body, b"content-encoding: zstd"),
    "x-gzip": lambda body: (gzip.compress(body), b"content-encoding: x-gzip"),
    "stacked": lambda body: (gzip.compress(gzip.compress(body)), b"content-encoding: gzip, gzip"),
    "two headers": lambda body: (*gzipped(body), b"content-encoding: identity"),
    "an empty label": lambda body: (body, b"content-encoding: "),
    "gzip that is called identity": lambda body: (gzip.compress(body), b"content-encoding: identity"),
    "gzip that is called nothing": lambda body: (gzip.compress(body),),
}


@every_answer
def test_h2_a_plain_answer_is_read(wire: Wire, gateway: Gateway, upstream: HostileUpstream):
    upstream.answers[wire.path] = whole(WHOLE[wire.name](TEXT))
    heard = ask(gateway, wire)
    check_nothing_shows(heard)
    assert (heard.status, b"[AWS_ACCESS_KEY]" in heard.body) == (200, True)


@every_answer
@pytest.mark.parametrize("name", ENCODED)
def test_h2_an_encoded_answer(name: str, wire: Wire, gateway: Gateway, upstream: HostileUpstream):
    upstream.answers[wire.path] = whole(*ENCODED[name](WHOLE[wire.name](TEXT)))
    heard = ask(gateway, wire, ("accept-encoding", "gzip, deflate, br, zstd"))
    assert heard.status == 502
    check_nothing_shows(heard)
    assert b"accept-encoding" not in upstream.asked[-1].lower()


@every_stream
@pytest.mark.parametrize("name", ENCODED)
def test_h2_an_encoded_stream(name: str, wire: Wire, gateway: Gateway, upstream: HostileUpstream):
    body = written(STREAMS[wire.name].events(TOKENS))
    upstream.answers[wire.path] = whole(*ENCODED[name](body), kind=b"text/event-stream")
    heard = ask(gateway, wire, stream=True)
    assert heard.status == 502
    check_nothing_shows(heard)


@every_http_wire
def test_h9_what_nobody_judged_does_not_go_up(wire: Wire, gateway: Gateway, upstream: HostileUpstream):
    upstream.answers[wire.path] = whole(b"{}")
    named = ("authorization", "proxy-authorization", "cookie", "x-api-key", "accept-encoding")
    gone = ("x-headgate-team", "x-envoy-retry-on", "x-envoy-original-path", "traceparent", "baggage")
    mark = "zq7marker"
    ask(gateway, wire, *((name, mark) for name in (*gone, *named[1:3], "accept-encoding")))
    head = upstream.asked[-1].partition(b"\r\n\r\n")[0].lower().decode()
    assert mark not in head
    assert not [name for name in named if f"\n{name}:" in head]


# --- H8: streams -------------------------------------------------------------------------------------

PLAIN, REFUSED, CUT = "said", "refused", "cut"


@dataclass(frozen=True)
class Trick:
    """How events are written, and what comes of it; ``said_by`` are wires that read it all the same."""

    write: Callable[[Sequence[Event]], bytes]
    outcome: str = PLAIN
    said_by: frozenset[str] = frozenset()


def each(more: bytes) -> Callable[[Sequence[Event]], bytes]:
    return lambda events: b"".join(event(one, more=[more]) for one in events)


def changed(change: Callable[[bytes], bytes]) -> Callable[[Sequence[Event]], bytes]:
    return lambda events: written([(name, change(said)) for name, said in events])


def before(prefix: bytes) -> Callable[[Sequence[Event]], bytes]:
    return lambda events: prefix + written(events)


def behind(suffix: bytes) -> Callable[[Sequence[Event]], bytes]:
    return lambda events: written(events) + suffix


NAMED = frozenset({"messages", "responses"})
TRICKS = {
    "carriage returns": Trick(lambda events: written(events, end=b"\r")),
    "both": Trick(lambda events: written(events, end=b"\r\n")),
    "no space": Trick(lambda events: written(events, prefix=b"data:")),
    "two spaces": Trick(
        lambda events: written(events, prefix=b"data:  "), REFUSED, NAMED | {"generate_stream"}
    ),
    "several lines": Trick(changed(lambda said: said.replace(b",", b",\ndata: ", 1))),
    "a line end within a string": Trick(
        changed(lambda said: said.replace(b"here", b"he\ndata: re", 1)), REFUSED
    ),
    "names of the server's": Trick(
        lambda events: written([(name or "message", said) for name, said in events]), REFUSED, NAMED
    ),
    "names that hold a value": Trick(lambda events: written([(KEY, said) for _, said in events]), REFUSED),
    "comments": Trick(each(b": " + SECRET)),
    "a comment by itself": Trick(before(b": " + SECRET + b"\n\n")),
    "ids": Trick(each(b"id: " + SECRET), REFUSED),
    "pauses": Trick(each(b"retry: " + SECRET), REFUSED),
    "unknown fields": Trick(each(SECRET + b": x"), REFUSED),
    "lines without a colon": Trick(each(SECRET), REFUSED),
    "a byte order mark": Trick(before(b"\xef\xbb\xbf")),
    "one that comes later": Trick(before(b"\n\n\xef\xbb\xbf"), REFUSED),
    "one in each event": Trick(lambda events: written(events, prefix=b"data: \xef\xbb\xbf"), REFUSED),
    "no blank line at the end": Trick(lambda events: written(events)[:-1], CUT),
    "no end of the last line": Trick(lambda events: written(events)[:-2], CUT),
    "an event that is not whole": Trick(behind(b"data: " + SECRET), CUT),
    "bytes behind the end": Trick(behind(SECRET), CUT),
    "an event behind the end": Trick(behind(b"data: " + SECRET + b"\n\n"), REFUSED),
    "an empty event": Trick(before(b"data:\n\n"), REFUSED),
    "an event of one word": Trick(before(b"data\n\n"), REFUSED),
    "an event that is no JSON": Trick(before(b"data: " + SECRET + b"\n\n"), REFUSED),
    "an end in front": Trick(before(b"data: [DONE]\n\n"), REFUSED),
    "a zero": Trick(before(b"\0"), REFUSED),
    "two documents in one": Trick(changed(lambda said: said + said), REFUSED),
    "keys that stand twice": Trick(
        changed(
            lambda said: said[:1] + said[1:].replace(b'":', b'":"x",' + said[1 : said.find(b":") + 1], 1)
        ),
        REFUSED,
    ),
    "an event beyond the bound": Trick(before(b"data: " + b" " * 1_100_000 + b"\n\n"), REFUSED),
    "UTF-16": Trick(lambda events: written(events).decode().encode("utf-16"), REFUSED),
}
OUTCOMES = {PLAIN: 200, CUT: 200, REFUSED: 502}


def check_outcome(wire: Wire, heard: Heard, outcome: str, tokens: Sequence[str] = TOKENS) -> None:
    check_nothing_shows(heard)
    assert heard.status == OUTCOMES[outcome]
    said = text_in(wire.name, heard.body)
    if outcome == PLAIN:
        assert said == "".join(tokens).replace(KEY, "[AWS_ACCESS_KEY]")
    elif outcome == CUT:
        assert (SAID.startswith(said), b'"error"' in heard.body) == (True, True)
    else:
        assert said == ""


@every_stream
@pytest.mark.parametrize("name", TRICKS)
def test_h8_events(name: str, wire: Wire, gateway: Gateway, upstream: HostileUpstream):
    trick = TRICKS[name]
    body = trick.write(STREAMS[wire.name].events(TOKENS))
    upstream.answers[wire.path] = whole(body, kind=b"text/event-stream")
    outcome = PLAIN if wire.name in trick.said_by else trick.outcome
    check_outcome(wire, ask(gateway, wire, stream=True), outcome)


@every_stream
def test_h8_a_value_over_many_events(wire: Wire, gateway: Gateway, upstream: HostileUpstream):
    tokens = ("here is ", *KEY, " for you")
    upstream.answers[wire.path] = whole(
        written(STREAMS[wire.name].events(tokens)), kind=b"text/event-stream"
    )
    check_outcome(wire, ask(gateway, wire, stream=True), PLAIN, tokens)


def chunked(body: bytes, size: int, *fields: bytes, kind: bytes = b"text/event-stream") -> bytes:
    """An answer in chunks."""
    head = (b"HTTP/1.1 200 OK", b"content-type: " + kind, b"transfer-encoding: chunked", *fields, b"", b"")
    cut = [body[at : at + size] for at in range(0, len(body), size)]
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in cut)
    return b"\r\n".join(head) + pieces + b"0\r\n\r\n"


def events_of_kind(body: bytes, kind: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    return whole(body, *fields, kind=kind, status=status)


EVENTS = b"text/event-stream"
HEADS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a byte in each chunk": (lambda body: chunked(body, 1), PLAIN),
    "trailers": (
        lambda body: chunked(body, 50, b"trailer: x-leak")[:-2] + b"x-leak: " + SECRET + b"\r\n\r\n",
        PLAIN,
    ),
    "103": (
        lambda body: (
            b"HTTP/1.1 103 Early Hints\r\nlink: " + SECRET + b"\r\n\r\n" + events_of_kind(body, EVENTS)
        ),
        PLAIN,
    ),
    "utf-7": (lambda body: events_of_kind(body, EVENTS + b"; charset=utf-7"), PLAIN),
    "capitals": (lambda body: events_of_kind(body, b"Text/Event-Stream"), PLAIN),
    "called JSON": (lambda body: events_of_kind(body, b"application/json"), REFUSED),
    "called text": (lambda body: events_of_kind(body, b"text/plain"), REFUSED),
    "two kinds": (lambda body: events_of_kind(body, EVENTS, b"content-type: application/json"), REFUSED),
    "204": (lambda _: b"HTTP/1.1 204 No Content\r\nx-leak: " + SECRET + b"\r\n\r\n", REFUSED),
    "204 with a body": (lambda body: events_of_kind(body, EVENTS, status=b"204 No Content"), REFUSED),
    "304": (lambda _: b"HTTP/1.1 304 Not Modified\r\netag: " + SECRET + b"\r\n\r\n", REFUSED),
    "a length too short": (
        lambda body: (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5\r\n\r\n" + body
        ),
        REFUSED,
    ),
    "a length and chunks": (lambda body: chunked(body, 50, b"content-length: 5"), REFUSED),
    "gzip and chunks": (
        lambda body: chunked(gzip.compress(body), 50).replace(b": chunked", b": gzip, chunked"),
        REFUSED,
    ),
}


@every_stream
@pytest.mark.parametrize("name", HEADS)
def test_h8_how_a_stream_is_carried(name: str, wire: Wire, gateway: Gateway, upstream: HostileUpstream):
    write, outcome = HEADS[name]
    upstream.answers[wire.path] = write(written(STREAMS[wire.name].events(TOKENS)))
    check_outcome(wire, ask(gateway, wire, stream=True), outcome)


# --- errors that tell of the inside ------------------------------------------------------------------

SHAPES: dict[str, Callable[[str], tuple[bytes, bytes]]] = {
    "Triton's": lambda text: (json.dumps({"error": text}).encode(), b"application/json"),
    "FastAPI's": lambda text: (json.dumps({"detail": text}).encode(), b"application/json"),
    "OpenAI's": lambda text: (
        json.dumps({"error": {"message": text, "type": "x", "code": None}}).encode(),
        b"application/json",
    ),
    "Anthropic's": lambda text: (
        json.dumps({"type": "error", "error": {"type": "api_error", "message": text}}).encode(),
        b"application/json",
    ),
    "plain": lambda text: (text.encode(), b"text/plain"),
    "HTML": lambda text: (f"<html><pre>{text}</pre></html>".encode(), b"text/html"),
}


STATUSES = [b"400 Bad Request", b"404 Not Found", b"422 No", b"429 Busy", b"500 Oh", b"503 No"]


def inside_of(*turn: int) -> str:
    """A text that tells of the inside: over the rows of a table each has its turn in each column."""
    return list(INSIDE.values())[sum(turn) % len(INSIDE)]


@every_http_wire
@pytest.mark.parametrize("status", STATUSES, ids=lambda one: one[:3].decode())
@pytest.mark.parametrize("shape", SHAPES)
def test_an_error_that_tells_of_the_inside_is_reworded(
    shape: str, status: bytes, wire: Wire, gateway: Gateway, upstream: HostileUpstream
):
    body, kind = SHAPES[shape](inside_of([*SHAPES].index(shape), STATUSES.index(status)))
    upstream.answers[wire.path] = whole(body, status=status, kind=kind)
    heard = ask(gateway, wire)
    assert heard.status == int(status[:3])
    check_nothing_shows(heard)
    assert WITHHELD in heard.body.decode()
    assert heard.field("content-type") == "application/json"


@every_stream
@pytest.mark.parametrize("inside", INSIDE)
def test_an_error_within_a_stream_is_reworded(
    inside: str, wire: Wire, gateway: Gateway, upstream: HostileUpstream
):
    stream = STREAMS[wire.name]
    sent = [*stream.events(TOKENS)[:3], stream.failure(INSIDE[inside])]
    upstream.answers[wire.path] = whole(written(sent), kind=EVENTS)
    heard = ask(gateway, wire, stream=True)
    assert heard.status == 200
    check_nothing_shows(heard)
    assert WITHHELD in heard.body.decode()


# --- the same by gRPC --------------------------------------------------------------------------------


def framed(message: pb.ModelInferResponse | pb.ModelStreamInferResponse, *, flag: int = 0) -> bytes:
    payload = message.SerializeToString()
    payload = gzip.compress(payload) if flag else payload
    return bytes([flag]) + len(payload).to_bytes(4, "big") + payload


def response(wire: Wire, text: str) -> pb.ModelInferResponse | pb.ModelStreamInferResponse:
    """An answer to the only request. On a stream its id is the one that the filter made."""
    answer = pb.ModelInferResponse(model_name=wire.model, model_version="1")
    answer.outputs.add(name="text_output", datatype="BYTES", shape=[1])
    raw = text.encode()
    answer.raw_output_contents.append(len(raw).to_bytes(4, "little") + raw)
    return pb.ModelStreamInferResponse(infer_response=answer) if wire is STREAM else answer


def stream_messages(body: bytes) -> list[pb.ModelStreamInferResponse]:
    found = []
    while body:
        end = 5 + int.from_bytes(body[1:5], "big")
        found.append(pb.ModelStreamInferResponse.FromString(body[5:end]))
        body = body[end:]
    return found


def status(code: object, message: str = "") -> tuple[tuple[str, str], ...]:
    told = (("grpc-message", message.replace("\n", "%0A")),) if message else ()
    return (("grpc-status", str(code)), *told)


def test_h2_a_plain_call_is_read(gateway: Gateway, calls: HostileGrpc):
    calls.answer = Told(data=[framed(response(UNARY, TEXT))])
    heard = ask(gateway, UNARY)
    check_nothing_shows(heard)
    assert (heard.grpc_status, SAID.encode() in heard.body) == (0, True)


UNREADABLE: dict[str, Callable[[Wire], Told]] = {
    "compressed": lambda wire: Told(
        (*SOUND, ("grpc-encoding", "gzip")), [framed(response(wire, TEXT), flag=1)]
    ),
    "compressed without a word": lambda wire: Told(SOUND, [framed(response(wire, TEXT), flag=1)]),
    "content-encoding": lambda wire: Told(
        (*SOUND, ("content-encoding", "gzip")), [framed(response(wire, TEXT))]
    ),
    "HTML": lambda _: Told(((":status", "200"), ("content-type", "text/html")), [SECRET]),
    "an HTTP error": lambda _: Told(((":status", "500"), ("content-type", "text/plain")), [SECRET], ()),
    "an unknown flag": lambda wire: Told(SOUND, [b"\x02" + framed(response(wire, TEXT))[1:]]),
    "a length beyond the end": lambda wire: Told(SOUND, [framed(response(wire, TEXT))[:-3]]),
    "no protobuf": lambda _: Told(SOUND, [b"\0\0\0\0" + bytes([len(SECRET)]) + SECRET]),
    "no status": lambda wire: Told(SOUND, [framed(response(wire, TEXT))], ()),
    "a status that is text": lambda wire: Told(SOUND, [framed(response(wire, TEXT))], status(KEY)),
    "a status of its own": lambda wire: Told(SOUND, [framed(response(wire, TEXT))], status(99)),
}


@every_grpc_wire
@pytest.mark.parametrize("name", UNREADABLE)
def test_h2_a_call_whose_answer_cannot_be_read(name: str, wire: Wire, gateway: Gateway, calls: HostileGrpc):
    calls.answer = UNREADABLE[name](wire)
    heard = ask(gateway, wire)
    assert heard.grpc_status not in {None, 0} or heard.status in {0, 502}
    check_nothing_shows(heard)
    assert not {"accept-encoding", "grpc-accept-encoding", "authorization"} & calls.heads[-1].keys()


def test_a_stream_whose_head_is_out_ends_in_a_word_where_its_answer_cannot_be_read(
    gateway: Gateway, calls: HostileGrpc
):
    """Its trailers come after a message that went out: too late for a status of this service's own."""

    def told(head: Mapping[str, str]) -> Told:
        said = response(STREAM, TEXT)
        said.infer_response.id = f"{head['x-request-id']}-0"
        return Told(SOUND, [framed(said)], status(99))

    calls.answer = told
    heard = ask(gateway, STREAM)
    check_nothing_shows(heard)
    *said, cut = stream_messages(heard.body)
    assert [one.error_message for one in said] == [""]
    request_id = calls.heads[-1]["x-request-id"]
    assert cut.error_message.endswith(f"(request {request_id})")
    assert (heard.status, heard.ended, heard.grpc_status) == (200, True, None)


CODES = range(1, 17)


@every_grpc_wire
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("where", ["head", "trailers"])
def test_a_status_that_tells_of_the_inside_is_reworded(
    where: str, code: int, wire: Wire, gateway: Gateway, calls: HostileGrpc
):
    more = (("x-leak", KEY), ("grpc-status-details-bin", KEY))
    told = (*status(code, inside_of(code, GRPC_WIRES.index(wire))), *more)
    calls.answer = Told((*SOUND, *told), (), ()) if where == "head" else Told(SOUND, (), told)
    heard = ask(gateway, wire)
    check_nothing_shows(heard)
    assert (heard.status, heard.grpc_status) == (200, code)
    assert heard.field("grpc-message") == WITHHELD
    assert heard.field("x-leak") is None


@pytest.mark.parametrize("inside", INSIDE)
def test_an_error_of_one_request_is_reworded(inside: str, gateway: Gateway, calls: HostileGrpc):
    calls.answer = Told(data=[framed(pb.ModelStreamInferResponse(error_message=INSIDE[inside]))])
    heard = ask(gateway, STREAM)
    check_nothing_shows(heard)
    assert heard.status == 200
