from __future__ import annotations

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import (
    FULL_DUPLEX,
    REQUEST_HEAD,
    request_body,
    request_headers,
    request_trailers,
    response_body,
    response_headers,
    response_trailers,
)

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits, RequestHead, ResponseHead
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Lane, Reason
from extproc.edge.translate import METHOD, event_of, reply_bytes
from extproc.pb.extproc_wire_pb2 import (
    HeaderMap,
    HeaderValue,
    HeaderValueOption,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)


def head_of(*fields: tuple[str, bytes]) -> RequestHead:
    event = event_of(request_headers(fields), 5)
    assert isinstance(event, ev.RequestHeaders)
    return event.head


def reply(command: cmd.Command) -> ProcessingResponse:
    return ProcessingResponse.FromString(reply_bytes(command))


# --- from Envoy ------------------------------------------------------------------------------


def test_a_request_head():
    fields = (*REQUEST_HEAD, (":authority", b"a"), ("content-type", b"application/json"))
    assert event_of(request_headers(fields, end_stream=True), 5) == ev.RequestHeaders(
        5,
        RequestHead(
            method="POST",
            path="/v2/models/m/generate",
            query=None,
            headers={"content-type": ("application/json",)},
        ),
        end_stream=True,
    )


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [(b"/a", "/a", None), (b"/a?", "/a", ""), (b"/a?b=c?d", "/a", "b=c?d"), (b"?x", "", "x")],
)
def test_the_query_stands_apart(target, path, query):
    head = head_of((":method", b"GET"), (":path", target))
    assert (head.path, head.query) == (path, query)


def test_a_tunnel_names_no_path():
    head = head_of((":method", b"CONNECT"), (":authority", b"elsewhere:443"))
    assert (head.method, head.path, head.query) == ("CONNECT", "", None)


def test_a_repeated_header_keeps_all_its_values_in_order():
    head = head_of(*REQUEST_HEAD, ("Accept", b"a"), ("accept", b"b"))
    assert (head.headers["accept"], head.header("accept")) == (("a", "b"), None)


def test_header_bytes_that_are_no_utf8_are_kept_one_by_one():
    assert head_of(*REQUEST_HEAD, ("x", b"\xff\xc3\xa9")).header("x") == "\xff\xc3\xa9"


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_two_header_values_are_equal_only_where_their_bytes_are(one, other):
    values = [head_of(*REQUEST_HEAD, ("x", value)).header("x") for value in (one, other)]
    assert (values[0] == values[1]) == (one == other)


def test_value_is_read_where_raw_value_is_empty():
    fields = [HeaderValue(key=name, value=value.decode()) for name, value in REQUEST_HEAD]
    message = ProcessingRequest(
        request_headers=HttpHeaders(headers=HeaderMap(headers=fields)), protocol_config=FULL_DUPLEX
    )
    event = event_of(message, 0)
    assert isinstance(event, ev.RequestHeaders)
    assert event.head.method == "POST"


@pytest.mark.parametrize(
    "fields",
    [
        ((":method", b"GET"),),
        ((":path", b"/"),),
        ((":method", b""), (":path", b"/")),
        ((":method", b"GET"), (":path", b"")),
        ((":method", b"CONNECT"), (":path", b"")),
        ((":method", b"CONNECT"), (":path", b"/a"), (":path", b"/b")),
        ((":method", b"GET"), (":method", b"POST"), (":path", b"/")),
        ((":method", b"GET"), (":path", b"/a"), (":path", b"/b")),
        ((":method", b"GET"), (":path", b"/a#b")),
        ((":method", b"GET"), (":path", b"/a b")),
        ((":method", b"GET"), (":path", b"/a\r\nb")),
        ((":method", b"GET"), (":path", b"/\xc3\xa9")),
    ],
)
def test_a_request_head_without_one_method_and_one_clean_path_is_refused(fields):
    with pytest.raises(PeerError) as caught:
        event_of(request_headers(fields), 0)
    assert (caught.value.reason, caught.value.status) == (Reason.HEADER_INVALID, 400)


def test_an_answers_head_names_its_upstream():
    message = response_headers(((":status", b"503"), ("x", b"y")), end_stream=True)
    attributes = struct_pb2.Struct()
    attributes["upstream.address"] = "127.0.0.1:8000"
    message.attributes["envoy.filters.http.ext_proc"].CopyFrom(attributes)
    assert event_of(message, 5) == ev.ResponseHeaders(
        5,
        ResponseHead(status=503, headers={"x": ("y",)}),
        end_stream=True,
        upstream_host="127.0.0.1:8000",
    )


@pytest.mark.parametrize("attribute", [None, "other"])
def test_an_upstream_that_is_not_said_is_empty(attribute):
    message = response_headers()
    if attribute is not None:
        message.attributes["envoy.filters.http.ext_proc"].fields[attribute].string_value = "x"
    event = event_of(message, 0)
    assert isinstance(event, ev.ResponseHeaders)
    assert (event.upstream_host, "envoy.filters.http.ext_proc" in message.attributes) == (
        "",
        attribute is not None,
    )


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ((":status", b""),),
        ((":status", b"abc"),),
        ((":status", b"99"),),
        ((":status", b"600"),),
        ((":status", b"\xb2\xb2\xb2"),),
        ((":status", b"200"), (":status", b"500")),
    ],
)
def test_an_answer_without_one_status_is_unreadable(fields):
    with pytest.raises(PeerError) as caught:
        event_of(response_headers(fields), 0)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (request_body(b"a"), ev.RequestBody(5, b"a", end_stream=False)),
        (request_body(b"", end_stream=True), ev.RequestBody(5, b"", end_stream=True)),
        (response_body(b"a"), ev.ResponseBody(5, b"a", end_stream=False)),
        (response_body(b"b", end_stream=True), ev.ResponseBody(5, b"b", end_stream=True)),
        (request_trailers(), ev.RequestTrailers(5, ("x-end",))),
        (response_trailers(), ev.ResponseTrailers(5, {"x-end": ("1",)})),
    ],
)
def test_bodies_and_trailers(message, event):
    assert event_of(message, 5) == event


def test_an_empty_message_is_refused():
    with pytest.raises(PeerError):
        event_of(ProcessingRequest(), 0)


@pytest.mark.parametrize("lane", ["request", "response"])
@pytest.mark.parametrize(
    "mode", [mode for mode in ProtocolConfiguration.BodySendMode.values() if mode != 4]
)
def test_any_other_body_mode_is_refused(lane, mode):
    config = ProtocolConfiguration()
    config.CopyFrom(FULL_DUPLEX)
    setattr(config, f"{lane}_body_mode", mode)
    with pytest.raises(PeerError, match=f"{lane}_body_mode to FULL_DUPLEX_STREAMED"):
        event_of(request_headers(config=config), 0)


def test_a_stream_without_its_configuration_is_refused():
    with pytest.raises(PeerError, match="no protocol_config"):
        event_of(request_headers(config=None), 0)


def test_a_stream_that_ignores_replies_is_refused():
    with pytest.raises(PeerError, match="observability_mode"):
        event_of(request_headers(observability=True), 0)


@given(st.binary(max_size=60))
def test_no_error_quotes_what_came(value):
    fields = ((":method", b"GET"), (":path", b"/canary" + value + b"\n"))
    with pytest.raises(PeerError) as caught:
        event_of(request_headers(fields), 0)
    assert "canary" not in str(caught.value)


# --- to Envoy --------------------------------------------------------------------------------


def test_a_head_goes_on_unedited():
    assert reply(cmd.ReplyHeaders(Lane.REQUEST, HeaderEdits())).WhichOneof("response") == "request_headers"
    assert (
        reply(cmd.ReplyHeaders(Lane.RESPONSE, HeaderEdits())).WhichOneof("response") == "response_headers"
    )


@pytest.mark.parametrize("lane", Lane)
def test_head_edits(lane):
    edits = HeaderEdits(remove=("accept-encoding",), set=(("x-a", "1"), ("x-b", "")))
    message = reply(cmd.ReplyHeaders(lane, edits))
    mutation = getattr(message, f"{lane}_headers").response.header_mutation
    assert list(mutation.remove_headers) == ["accept-encoding"]
    assert [(one.header.key, one.header.raw_value, one.header.value) for one in mutation.set_headers] == [
        ("x-a", b"1", ""),
        ("x-b", b"", ""),
    ]
    assert {one.append_action for one in mutation.set_headers} == {
        HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    }


@pytest.mark.parametrize(
    "edits",
    [
        HeaderEdits(set=(("x", "a\r\nb"),)),
        HeaderEdits(set=(("x", "a\x00"),)),
        HeaderEdits(set=(("x", "\u20ac"),)),
        HeaderEdits(set=(("X-Upper", "a"),)),
        HeaderEdits(set=((":path", "/"),)),
        HeaderEdits(set=(("", "a"),)),
        HeaderEdits(set=(("x", "1"), ("x", "2"))),
        HeaderEdits(remove=("a b",)),
    ],
)
def test_a_header_that_must_not_go_out_is_a_bug(edits):
    with pytest.raises(ValueError, match=r"header|latin-1"):
        reply_bytes(cmd.ReplyHeaders(Lane.REQUEST, edits))


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize(("chunk", "end_stream"), [(b"a", False), (b"a", True), (b"", True), (b"", False)])
def test_body_pieces(lane, chunk, end_stream):
    message = reply(cmd.ReplyBody(lane, chunk, end_stream))
    assert message.WhichOneof("response") == f"{lane}_body"
    mutation = getattr(message, f"{lane}_body").response.body_mutation
    assert mutation.WhichOneof("mutation") == "streamed_response"
    streamed = mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (chunk, end_stream)


@pytest.mark.parametrize("lane", Lane)
def test_a_piece_of_any_length_is_the_message_as_it_is_built(lane):
    """Short ones are put together from bytes that were made before."""
    for length in (*range(1, 1_100), 16_383, 16_384, 62_000):
        chunk = b"x" * length
        built = ProcessingResponse()
        body = built.request_body if lane is Lane.REQUEST else built.response_body
        body.response.body_mutation.streamed_response.body = chunk
        assert reply_bytes(cmd.ReplyBody(lane, chunk, end_stream=False)) == built.SerializeToString()


@pytest.mark.parametrize("lane", Lane)
def test_trailers_that_nobody_judged_are_taken_out(lane):
    replied = reply(cmd.ReplyTrailers(lane, ("x-note", "x-other")))
    mutation = getattr(replied, f"{lane}_trailers").header_mutation
    assert list(mutation.remove_headers) == ["x-note", "x-other"]


@pytest.mark.parametrize("lane", list(Lane))
def test_trailers_that_were_judged_are_set(lane):
    replied = reply(cmd.ReplyTrailers(lane, ("x-note",), (("grpc-message", "no%0A"),)))
    mutation = getattr(replied, f"{lane}_trailers").header_mutation
    assert list(mutation.remove_headers) == ["x-note"]
    (option,) = mutation.set_headers
    assert (option.header.key, option.header.raw_value) == ("grpc-message", b"no%0A")


@pytest.mark.parametrize("lane", list(Lane))
def test_trailers_go_on(lane):
    assert reply(cmd.ReplyTrailers(lane)).WhichOneof("response") == f"{lane}_trailers"


def test_a_refusal():
    refusal = WireRefusal(status=429, headers=(("retry-after", "3"),), body=b"{}")
    told = reply(cmd.Refuse(refusal, Reason.BUDGET_EXCEEDED)).immediate_response
    assert (told.status.code, told.body, told.details) == (429, b"{}", "headgate:budget_exceeded")
    assert [(one.header.key, one.header.raw_value) for one in told.headers.set_headers] == [
        ("retry-after", b"3")
    ]
    assert not told.HasField("grpc_status")


def test_a_refusal_for_a_grpc_client():
    refusal = WireRefusal(status=200, headers=(), body=b"no", grpc_status=8)
    told = reply(cmd.Refuse(refusal, Reason.BUDGET_EXCEEDED)).immediate_response
    assert (told.status.code, told.grpc_status.status) == (200, 8)


@pytest.mark.parametrize(
    ("status", "grpc_status"), [(0, None), (200, None), (302, None), (600, None), (200, 0)]
)
def test_a_refusal_that_says_success_is_a_bug(status, grpc_status):
    refusal = WireRefusal(status=status, headers=(), body=b"", grpc_status=grpc_status)
    with pytest.raises(ValueError, match="refusal"):
        reply_bytes(cmd.Refuse(refusal, Reason.INTERNAL))


@pytest.mark.parametrize(("status", "body"), [(200, b"text"), (302, b""), (206, b"")])
def test_nor_does_a_clean_one_but_for_the_answer_to_a_preflight(status, body):
    with pytest.raises(ValueError, match="refusal"):
        reply_bytes(cmd.Refuse(WireRefusal(status=status, headers=(), body=body), Reason.CLEAN))
    told = reply(cmd.Refuse(WireRefusal(status=204, headers=(), body=b""), Reason.CLEAN))
    assert told.immediate_response.status.code == 204


@pytest.mark.parametrize("command", [cmd.Abort("why"), cmd.ReportBug("X", "y:1")])
def test_what_is_no_reply_has_no_bytes(command):
    with pytest.raises(ValueError, match="not a reply"):
        reply_bytes(command)


def test_the_method_is_envoys():
    assert METHOD == "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
