"""Rows H1 and H3 to H7, H9 of the evasion catalogue, on every wire, against the real parts.

Whatever is done to how a request is carried, it is refused, or what the model got is what was judged.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from evasion_rig import Rig, only
from evasion_wires import (
    GRPC_WIRES,
    HTTP_WIRES,
    WIRES,
    Question,
    Wire,
    check_judged,
    check_refused,
    ids,
    question,
    received,
)
from raw_http import Fields, Frames, Heard, conversation, request_bytes
from real_parts import StandIn

from extproc.codecs._grpc_http import grpc_status

every_wire = pytest.mark.parametrize("wire", WIRES, ids=ids(WIRES))
every_http_wire = pytest.mark.parametrize("wire", HTTP_WIRES, ids=ids(HTTP_WIRES))
every_grpc_wire = pytest.mark.parametrize("wire", GRPC_WIRES, ids=ids(GRPC_WIRES))


@pytest.fixture
def stand_in(rig: Rig) -> StandIn:
    return rig.stand_in


@pytest.fixture
def asked(stand_in: StandIn) -> Question:
    return question(stand_in)


def check_status(wire: Wire, heard: Heard, status: int) -> None:
    """A refusal of the filter's: its status, which gRPC says in a word of its own."""
    seen = (heard.status, heard.grpc_status)
    assert seen == ((200, grpc_status(status)) if wire.is_grpc else (status, None))


@every_wire
def test_a_sound_request_is_judged(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    check_judged(wire, rig.ask(wire, wire.body(asked.text)), asked, stand_in)


# --- H1: encodings of the request --------------------------------------------------------------------

BOMB_BYTES = 10_000_000


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-15)


def bomb(body: bytes) -> bytes:
    """A request that is sound, and has many blanks."""
    return gzip.compress(body[:-1] + b" " * BOMB_BYTES + body[-1:])


def same(body: bytes) -> bytes:
    return body


@dataclass(frozen=True)
class Encoded:
    """Labels, how the body is encoded, and the statuses: for those who decode nothing, for infer, for gRPC.

    None is a request that passes.
    """

    labels: Sequence[str]
    encode: Callable[[bytes], bytes]
    status: int | None = 415
    decoded: int | None = 415
    grpc: int | None = 415


ENCODINGS = {
    "gzip": Encoded(["gzip"], gzip.compress, decoded=None),
    "deflate": Encoded(["deflate"], zlib.compress, decoded=None),
    "deflate without a header": Encoded(["deflate"], raw_deflate),
    "br": Encoded(["br"], same),
    "zstd": Encoded(["zstd"], lambda body: b"\x28\xb5\x2f\xfd" + body),
    "x-gzip": Encoded(["x-gzip"], gzip.compress),
    "capitals": Encoded(["GZIP"], gzip.compress),
    "stacked": Encoded(["gzip, gzip"], lambda body: gzip.compress(gzip.compress(body))),
    "two headers": Encoded(["identity", "gzip"], gzip.compress),
    "identity and gzip": Encoded(["identity, gzip"], gzip.compress),
    "identity": Encoded(["identity"], same, None, None, None),
    "identity that is gzip": Encoded(["identity"], gzip.compress, 400, 400, 413),
    "no label": Encoded([], gzip.compress, 400, 400, 413),
    "gzip that is plain": Encoded(["gzip"], same),
    "deflate that is gzip": Encoded(["deflate"], gzip.compress),
    "an empty label": Encoded([""], same),
    "a charset": Encoded(["utf-16"], same),
    "aws-chunked": Encoded(["aws-chunked"], same),
    "a bomb": Encoded(["gzip"], bomb, decoded=413),
    "two streams": Encoded(["gzip"], lambda body: gzip.compress(body) * 2, decoded=400),
    "cut short": Encoded(["gzip"], lambda body: gzip.compress(body)[:-5], decoded=400),
}


@every_wire
@pytest.mark.parametrize("name", ENCODINGS)
def test_h1_an_encoded_request(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    case = ENCODINGS[name]
    labels = [("content-encoding", label) for label in case.labels]
    heard = rig.ask(wire, case.encode(wire.body(asked.text)), *labels)
    status = case.grpc if wire.is_grpc else case.decoded if wire.decodes else case.status
    if status is None:
        check_judged(wire, heard, asked, stand_in)
    else:
        check_status(wire, heard, status)
        check_refused(heard, asked, stand_in)


# --- H3: where a body ends ---------------------------------------------------------------------------

CLOSE = ("connection", "close")


@dataclass(frozen=True)
class Carried:
    """A request, and a second one that stands behind it or within it."""

    wire: Wire
    fields: Fields
    body: bytes
    second: bytes

    @property
    def length(self) -> tuple[str, str]:
        return ("content-length", str(len(self.body)))

    def request(self, *fields: tuple[str, str], body: bytes | None = None, method: str = "POST") -> bytes:
        sent = self.body if body is None else body
        return request_bytes(method, self.wire.path, [*self.fields, *fields], sent)

    def chunked(self, *fields: tuple[str, str], line: bytes = b"%x\r\n%b\r\n", end: bytes = b"0\r\n\r\n"):
        body = line % (len(self.body), self.body) + end
        return self.request(("transfer-encoding", "chunked"), *fields, body=body)


def carried(rig: Rig, wire: Wire, asked: Question, second: Question) -> Carried:
    body = wire.body(second.text)
    behind = [*rig.fields(wire), ("content-length", str(len(body))), CLOSE]
    smuggled = request_bytes("POST", wire.path, behind, body)
    return Carried(wire, rig.fields(wire), wire.body(asked.text), smuggled)


def te(value: str) -> tuple[str, str]:
    return ("transfer-encoding", value)


def length(value: object) -> tuple[str, str]:
    return ("content-length", str(value))


# Envoy ends the connection, with a 400 or without a word; of the filter's own there is a 400.
UNSOUND: dict[str, Callable[[Carried], bytes]] = {
    "a length too short": lambda it: it.request(length(len(it.body) - 3)),
    "a length over the next request": lambda it: it.request(length(len(it.body + it.second))) + it.second,
    "no length": lambda it: it.request(CLOSE),
    "two lengths": lambda it: it.request(it.length, it.length) + it.second,
    "two lengths that differ": lambda it: it.request(it.length, length(5)) + it.second,
    "a list of lengths": lambda it: it.request(length(f"{len(it.body)}, {len(it.body)}")) + it.second,
    "a length with a sign": lambda it: it.request(length(f"+{len(it.body)}"), CLOSE),
    "a length in hexadecimal": lambda it: it.request(length(hex(len(it.body))), CLOSE),
    "CL.TE": lambda it: it.request(it.length, te("chunked"), body=b"0\r\n\r\n" + it.second),
    "TE.CL": lambda it: it.chunked(length(4)) + it.second,
    "chunked twice": lambda it: it.chunked(te("chunked")) + it.second,
    "chunked and chunked": lambda it: it.request(te("chunked, chunked"), it.length),
    "gzip and chunked": lambda it: it.request(te("gzip, chunked"), it.length),
    "TE identity": lambda it: it.request(te("identity"), it.length, CLOSE),
    "TE unheard of": lambda it: it.request(te("xchunked"), it.length, CLOSE),
    "TE behind a tab": lambda it: it.request(te("\x0bchunked"), it.length, CLOSE),
    "TE on a line of its own": lambda it: it.request(te("\r\n chunked"), it.length, CLOSE),
    "TE before a space": lambda it: it.request(("transfer-encoding ", "chunked"), it.length, CLOSE),
    "chunks after line feeds": lambda it: it.chunked(CLOSE, line=b"%x\n%b\n", end=b"0\n\n"),
    "a chunk in C's hexadecimal": lambda it: it.chunked(CLOSE, line=b"0x%x\r\n%b\r\n"),
    "a chunk beyond all numbers": lambda it: it.chunked(CLOSE, line=b"1%016x\r\n%b\r\n"),
    "a zero in a header": lambda it: it.request(it.length, CLOSE, ("x-a", "b\0c")),
}
# A second reader could not take these otherwise: Envoy writes all of it anew.
SOUND: dict[str, Callable[[Carried], bytes]] = {
    "TE in capitals": lambda it: it.chunked(CLOSE).replace(b" chunked", b" CHUNKED"),
    "a length on a line of its own": lambda it: it.request(length(f"\r\n {len(it.body)}"), CLOSE),
    "a header over two lines": lambda it: it.request(it.length, CLOSE, ("x-a", "b\r\n c")),
    "an extension of a chunk": lambda it: it.chunked(CLOSE, line=b"%x;a=b\r\n%b\r\n"),
    "chunks with zeros in front": lambda it: it.chunked(CLOSE, line=b"%012x\r\n%b\r\n"),
    "chunks of a byte": lambda it: it.request(
        te("chunked"), CLOSE, body=b"".join(b"1\r\n%c\r\n" % one for one in it.body) + b"0\r\n\r\n"
    ),
    "trailers": lambda it: it.chunked(CLOSE, end=b"0\r\ncontent-length: 5\r\nx-team: owner\r\n\r\n"),
    "line feeds": lambda it: it.request(it.length, CLOSE).replace(b"\r\n", b"\n"),
    "empty lines in front": lambda it: b"\r\n\r\n" + it.request(it.length, CLOSE),
    "a length that connection names": lambda it: it.request(
        it.length, ("connection", "close, content-length")
    ),
}


@every_http_wire
@pytest.mark.parametrize("name", UNSOUND)
def test_h3_a_body_whose_end_is_doubtful(
    name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn
):
    second = question(stand_in)
    heard = conversation(rig.port, UNSOUND[name](carried(rig, wire, asked, second)))
    assert [one.status for one in heard] in ([], [400], [400, 400])
    for one in (asked, second):
        check_refused(only(heard[:1]), one, stand_in)


@every_http_wire
@pytest.mark.parametrize("name", SOUND)
def test_h3_a_body_whose_end_is_odd_and_certain(
    name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn
):
    heard = only(conversation(rig.port, SOUND[name](carried(rig, wire, asked, asked))))
    check_judged(wire, heard, asked, stand_in)


@every_http_wire
def test_h3_a_body_that_never_ends(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    body = wire.body(asked.text)
    sent = carried(rig, wire, asked, asked).request(length(len(body) + 3))
    assert conversation(rig.port, sent, is_half_closed=True) == []
    assert received(stand_in, asked) == []


@every_http_wire
@pytest.mark.parametrize("more", [(), (("x-http-method-override", "POST"),)], ids=["plain", "override"])
def test_h3_a_body_on_get(*, more: Fields, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(wire, wire.body(asked.text), *more, method="GET")
    assert heard.status == 403
    check_refused(heard, asked, stand_in)


@pytest.mark.parametrize("path", ["/v2", "/v2/models/vllm_stand_in/config", "/v1/models"])
def test_h3_a_body_on_what_is_only_read(path: str, rig: Rig, asked: Question, stand_in: StandIn):
    wire = HTTP_WIRES[0]
    heard = rig.ask(wire, wire.body(asked.text), method="GET", path=path)
    assert heard.status == 400
    check_refused(heard, asked, stand_in)


MISFRAMED: dict[str, Fields] = {
    "H2.CL shorter": (length(3),),
    "H2.CL longer": (length(9_999),),
    "H2.CL twice": (length(3), length(4)),
    "H2.TE": (te("chunked"),),
    "connection": (("connection", "close"),),
    "upgrade": (("upgrade", "websocket"),),
    "a line break in a value": (("x-a", "b\r\ntransfer-encoding: chunked"),),
    "a zero in a value": (("x-a", "b\0"),),
    "a line break in a name": (("x-a: b\r\nx-b", "c"),),
    "capitals in a name": (("X-A", "b"),),
    "a space in a name": (("x a", "b"),),
    "a second path": ((":path", "/v2/repository/index"),),
    "a second method": ((":method", "GET"),),
    "an unknown pseudo header": ((":team", "owner"),),
    "extended CONNECT": ((":protocol", "websocket"),),
}


@every_wire
@pytest.mark.parametrize("name", MISFRAMED)
def test_h3_what_http2_must_not_carry(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    head = rig.head(wire)
    pseudo = [one for one in head if one[0].startswith(":")]
    added = MISFRAMED[name]
    fields = [*pseudo, *(one for one in added if one[0].startswith(":")), *head[len(pseudo) :]]
    with Frames(rig.port) as client:
        heard = client.ask(
            [*fields, *(one for one in added if not one[0].startswith(":"))], wire.body(asked.text)
        )
    assert heard.status in {0, 400, 403} or heard.grpc_status
    check_refused(heard, asked, stand_in)


# --- H4: content types -------------------------------------------------------------------------------

KINDS: dict[str, Fields] = {
    "text": (("content-type", "text/plain"),),
    "multipart": (("content-type", "multipart/form-data; boundary=x"),),
    "form": (("content-type", "application/x-www-form-urlencoded"),),
    "utf-16": (("content-type", "application/json; charset=utf-16"),),
    "utf-7": (("content-type", "application/json; charset=utf-7"),),
    "ibm037": (("content-type", "application/json; charset=ibm037"),),
    "two in one": (("content-type", "application/json, text/plain"),),
    "two headers": (("content-type", "application/json"), ("content-type", "text/plain")),
    "the same twice": (("content-type", "application/json"),) * 2,
    "empty": (("content-type", ""),),
}


@every_wire
@pytest.mark.parametrize("name", KINDS)
def test_h4_a_body_of_another_kind(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(wire, wire.body(asked.text), *KINDS[name], without="content-type")
    if wire.checks_kind or wire.is_grpc:
        assert heard.status == 415
        check_refused(heard, asked, stand_in)
    else:
        # Triton reads JSON in UTF-8 whatever a body is called, and so does the filter.
        check_judged(wire, heard, asked, stand_in)


@every_wire
def test_h4_a_body_of_no_kind(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(wire, wire.body(asked.text), without="content-type")
    if wire.is_grpc:
        assert heard.status == 415
        check_refused(heard, asked, stand_in)
    else:
        check_judged(wire, heard, asked, stand_in)


@every_http_wire
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp037", "utf-8-sig"])
def test_h4_a_body_in_another_encoding(
    encoding: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn
):
    body = wire.body(asked.text).decode().encode(encoding)
    heard = rig.ask(wire, body)
    assert heard.status == 400
    check_refused(heard, asked, stand_in)


# --- H5: paths ---------------------------------------------------------------------------------------


def at_last_slash(path: str, mark: str) -> str:
    return mark.join(path.rsplit("/", 1))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "two slashes": lambda path: path.replace("/", "//"),
    "a dot": lambda path: f"/.{path}",
    "up and down": lambda path: f"/x/..{path}",
    "up and down, encoded": lambda path: f"/x/%2e%2E{path}",
    "a backslash": lambda path: at_last_slash(path, "\\"),
    "an encoded letter": lambda path: f"{path[:-1]}%{ord(path[-1]):02x}",
}
# The status; None where Envoy ends the connection or says 400 in its own words.
ELSEWHERE: dict[str, tuple[Callable[[str], str], int | None]] = {
    "an encoded slash": (lambda path: at_last_slash(path, "%2f"), None),
    "an encoded backslash": (lambda path: at_last_slash(path, "%5C"), None),
    "a fragment": (lambda path: f"{path}#x", None),
    "an encoded zero": (lambda path: f"{path}%00", None),
    "no slash": (lambda path: path[1:], None),
    "a byte beyond ASCII": (lambda path: f"{path}\xff", None),
    "a query": (lambda path: f"{path}?x=1", 400),
    "an empty query": (lambda path: f"{path}?", 400),
    "a parameter": (lambda path: f"{path};x", 403),
    "a parameter within": (lambda path: at_last_slash(path, ";x/"), 403),
    "a slash behind it": (lambda path: f"{path}/", 403),
    "capitals": (str.upper, 403),
    "one capital": (lambda path: path[:-1] + path[-1].upper(), 403),
    "encoded twice": (lambda path: f"{path[:-1]}%25{ord(path[-1]):02x}", 403),
    "an encoded space": (lambda path: f"{path}%20", 403),
    "an encoded line feed": (lambda path: f"{path}%0a", 403),
    "an invisible letter": (lambda path: f"{path}%e2%80%8b", 403),
    "a dot in UTF-8 that is too long": (lambda path: f"/x/%c0%ae%c0%ae{path}", 403),
    "another path behind it": (lambda path: f"{path}/../../../../../v2/logging", 403),
}


@every_wire
@pytest.mark.parametrize("name", SPELLINGS)
def test_h5_another_spelling_of_a_path(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(wire, wire.body(asked.text), path=SPELLINGS[name](wire.path))
    check_judged(wire, heard, asked, stand_in)


@every_wire
@pytest.mark.parametrize("name", ELSEWHERE)
def test_h5_another_path(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    spell, status = ELSEWHERE[name]
    heard = rig.ask(wire, wire.body(asked.text), path=spell(wire.path))
    if status is None:
        assert heard.status in {0, 400} or heard.grpc_status
    elif not wire.is_grpc:
        assert heard.status == status
    check_refused(heard, asked, stand_in)


@every_http_wire
def test_h5_a_path_with_another_host_in_front(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = rig.ask(wire, wire.body(asked.text), path=f"http://elsewhere{wire.path}")
    check_judged(wire, heard, asked, stand_in)


@pytest.mark.parametrize(
    "wire", [one for one in WIRES if one.names_model_in_path], ids=lambda one: one.name
)
@pytest.mark.parametrize(
    ("version", "status"), [("1", 200), ("-1", 403), ("1.0", 403), ("%31", 200), ("", 403), ("9" * 11, 403)]
)
def test_h5_versions(
    *, version: str, status: int, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn
):
    path = at_last_slash(wire.path, f"/versions/{version}/")
    heard = rig.ask(wire, wire.body(asked.text), path=path)
    assert heard.status == status
    if status == 200:
        check_judged(wire, heard, asked, stand_in)
    else:
        check_refused(heard, asked, stand_in)


# --- H6: protocols -----------------------------------------------------------------------------------

WEBSOCKET = (
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "MTIzNDU2Nzg5MDEyMzQ1Ng=="),
)
H2C = (
    ("connection", "upgrade, http2-settings, close"),
    ("upgrade", "h2c"),
    ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
)


def of_version(it: Carried, version: bytes) -> bytes:
    return it.request(it.length, CLOSE).replace(b"HTTP/1.1", version, 1)


# The status of the answer, 0 where there is none.
NOT_SPOKEN: dict[str, tuple[Callable[[Carried], bytes], set[int]]] = {
    "WebSocket": (lambda it: it.request(it.length, *WEBSOCKET), {403}),
    "CONNECT to a path": (lambda it: it.request(it.length, CLOSE, method="CONNECT"), {0, 400}),
    "a method in small letters": (lambda it: it.request(it.length, CLOSE, method="post"), {0, 400}),
    "HTTP/0.9": (lambda it: f"POST {it.wire.path}\r\n".encode() + it.body, {0, 400}),
    "HTTP/1.0": (lambda it: of_version(it, b"HTTP/1.0"), {0, 426}),
    "HTTP/1.2": (lambda it: of_version(it, b"HTTP/1.2"), {0, 400}),
    "HTTP/2.0 in a line": (lambda it: of_version(it, b"HTTP/2.0"), {0, 400}),
    # Connection names headers that do not go on: here the key.
    "a key of one hop": (lambda it: it.request(it.length, ("connection", "close, authorization")), {401}),
}
SPOKEN: dict[str, Callable[[Carried], bytes]] = {
    "100-continue": lambda it: it.request(it.length, CLOSE, ("expect", "100-continue")),
    "another expectation": lambda it: it.request(it.length, CLOSE, ("expect", "200-ok")),
    # Envoy stays with HTTP/1.1.
    "h2c": lambda it: it.request(it.length, *H2C),
    "early data": lambda it: it.request(it.length, CLOSE, ("early-data", "1")),
    "a range": lambda it: it.request(it.length, CLOSE, ("range", "bytes=0-3")),
    "TE": lambda it: it.request(it.length, CLOSE, ("te", "trailers, deflate")),
    "a proxy's connection": lambda it: it.request(it.length, CLOSE, ("proxy-connection", "keep-alive")),
}


@every_http_wire
@pytest.mark.parametrize("name", NOT_SPOKEN)
def test_h6_what_is_not_spoken(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    write, statuses = NOT_SPOKEN[name]
    heard = conversation(rig.port, write(carried(rig, wire, asked, asked)))
    assert (heard[0].status if heard else 0) in statuses
    check_refused(only(heard[:1]), asked, stand_in)


@pytest.mark.parametrize("tenant", ["acme", None])
def test_h6_a_tunnel_is_refused_with_a_record(tenant: str | None, rig: Rig):
    key = rig.gateway.headers(tenant).items() if tenant else ()
    sent = request_bytes("CONNECT", "elsewhere:443", [("host", "elsewhere:443"), *key])
    heard = only(conversation(rig.port, sent))
    assert heard.status == (403 if tenant else 401)
    record = rig.gateway.verdict(heard.field("x-request-id") or "")
    assert record["reason"] == ("path_not_allowed" if tenant else "api_key_missing")


@every_http_wire
@pytest.mark.parametrize("name", SPOKEN)
def test_h6_what_changes_nothing(name: str, wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    heard = only(conversation(rig.port, SPOKEN[name](carried(rig, wire, asked, asked))))
    check_judged(wire, heard, asked, stand_in)


@every_http_wire
def test_h6_each_of_a_pipeline_is_judged(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    second = question(stand_in)
    it = carried(rig, wire, asked, second)
    first, last = conversation(rig.port, it.request(it.length) + it.second)
    check_judged(wire, first, asked, stand_in)
    check_judged(wire, last, second, stand_in)


@every_wire
def test_h6_streams_that_are_opened_and_broken_off(wire: Wire, rig: Rig, stand_in: StandIn):
    many = [question(stand_in) for _ in range(60)]
    with Frames(rig.port) as client:
        for one in many:
            number = client.open(rig.head(wire))
            client.send(number, wire.body(one.text), is_last=True)
            client.connection.reset_stream(number)
            client.flush()
    asked = question(stand_in)
    check_judged(wire, rig.ask(wire, wire.body(asked.text)), asked, stand_in)
    assert not any(text != wire.prefix + one.judged for one in many for text in received(stand_in, one))


HEADERS, CONTINUATION = 1, 9


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of stream 1 without any flag."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + (1).to_bytes(4, "big") + payload


@every_wire
def test_h6_a_head_without_end(wire: Wire, rig: Rig, asked: Question, stand_in: StandIn):
    # A field of HPACK that is not indexed: the length of its name, its name, and the same of its value.
    field = b"\x00\x03x-a\x64" + b"b" * 100
    with Frames(rig.port) as client:
        client.send_bytes(frame(HEADERS, field) + frame(CONTINUATION, field) * 2_000)
        client.heard[1] = Heard()
        client.rest(1)
        assert client.closed or client.heard[1].status == 431
    check_judged(wire, rig.ask(wire, wire.body(asked.text)), asked, stand_in)
