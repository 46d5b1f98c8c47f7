"""Protobuf ⇄ events and commands. Pure: no clock, no I/O.

What cannot be said with the functions here cannot be written to Envoy: no continue-and-replace, no mode
override, no buffered body. Whether a reply's turn has come is decided in ``phases``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.verdict import Lane, Reason
from extproc.pb.extproc_wire_pb2 import (
    CommonResponse,
    GrpcStatus,
    HeaderMap,
    HeaderMutation,
    HeadersResponse,
    HeaderValue,
    HeaderValueOption,
    HttpHeaders,
    HttpStatus,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
    TrailersResponse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extproc.domain.head import HeaderEdits
    from extproc.domain.ports import WireRefusal

# The path that Envoy calls; the messages are our own wire-compatible subset of its.
METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

# Attributes come under the filter type's name; the address needs `response_attributes: [upstream.address]`.
_ATTRIBUTES_KEY = "envoy.filters.http.ext_proc"
_UPSTREAM_ADDRESS = "upstream.address"

# Envoy takes it where `metadata_options.receiving_namespaces.untyped` lists it.
_METADATA_NAMESPACE = "headgate"

_FULL_DUPLEX = ProtocolConfiguration.FULL_DUPLEX_STREAMED
_STATUS_MIN = 100
_STATUS_MAX = 599
_PREFLIGHT_STATUSES = frozenset({200, 204})
_ERROR_STATUS_MIN = 400
# RFC 9110, 5.5: a field value has no control character but tab.
_VALUE_FORBIDDEN = frozenset(chr(code) for code in (*range(32), 127)) - {"\t"}
_PATH_FORBIDDEN = frozenset(chr(code) for code in (*range(33), 127)) | {"#"}

__all__ = ["METHOD", "ProcessingRequest", "annotated", "event_of", "reply_bytes"]


# --- from Envoy ------------------------------------------------------------------------------


def event_of(message: ProcessingRequest, at_us: int) -> ev.Event:
    """The event that a message tells of.

    Header values are read as latin-1: every byte is one character, so that nothing is lost, nothing
    raises, and two different values never become equal.

    Raises:
        PeerError: a pseudo header is missing, repeated or malformed, the message is empty, or Envoy is
            not configured as the service needs it (said in the stream's first message).
    """
    match message.WhichOneof("request"):
        case "response_body":
            # The first, since nearly every message is one.
            body = message.response_body
            return ev.ResponseBody(at_us, body.body, body.end_of_stream)
        case "request_body":
            body = message.request_body
            return ev.RequestBody(at_us, body.body, body.end_of_stream)
        case "request_headers":
            _require_configuration(message)
            head = message.request_headers
            return ev.RequestHeaders(at_us, _request_head(head), head.end_of_stream)
        case "response_headers":
            head = message.response_headers
            return ev.ResponseHeaders(
                at_us, _response_head(head), head.end_of_stream, _upstream_host(message)
            )
        case "request_trailers":
            return ev.RequestTrailers(at_us, _names(message.request_trailers.trailers))
        case "response_trailers":
            return ev.ResponseTrailers(at_us, _trailers(message.response_trailers.trailers))
        case _:
            raise PeerError(Reason.INTERNAL, "Envoy sent an empty message", status=500)


def _names(trailers: HeaderMap) -> tuple[str, ...]:
    return tuple(dict.fromkeys(field.key.lower() for field in trailers.headers))


def _trailers(trailers: HeaderMap) -> Mapping[str, tuple[str, ...]]:
    pseudo, plain = _fields(trailers)
    # A pseudo header has no place among trailers: under its name it is taken out like any other.
    return MappingProxyType(plain | {name: tuple(values) for name, values in pseudo.items()})


def _require_configuration(message: ProcessingRequest) -> None:
    """Refuse a stream that Envoy's own configuration would let past us."""
    if message.observability_mode:
        raise PeerError(
            Reason.INTERNAL, "Envoy must not set observability_mode: it ignores replies", status=500
        )
    if not message.HasField("protocol_config"):
        raise PeerError(Reason.INTERNAL, "Envoy sent no protocol_config with the request head", status=500)
    modes = message.protocol_config
    for lane, mode in (("request", modes.request_body_mode), ("response", modes.response_body_mode)):
        if mode != _FULL_DUPLEX:
            raise PeerError(
                Reason.INTERNAL, f"Envoy must set {lane}_body_mode to FULL_DUPLEX_STREAMED", status=500
            )


def _fields(headers: HeaderMap) -> tuple[dict[str, list[str]], dict[str, tuple[str, ...]]]:
    """Pseudo headers, and the others; names in lower case."""
    pseudo: dict[str, list[str]] = {}
    plain: dict[str, list[str]] = {}
    for field in headers.headers:
        name = field.key.lower()
        value = field.raw_value.decode("latin-1") if field.raw_value else field.value
        (pseudo if name.startswith(":") else plain).setdefault(name, []).append(value)
    return pseudo, {name: tuple(values) for name, values in plain.items()}


def _request_head(message: HttpHeaders) -> RequestHead:
    pseudo, headers = _fields(message.headers)
    method = _only(pseudo, ":method")
    target = _only(pseudo, ":path")
    # CONNECT names no path, and no codec has one without: it is refused like any path that is not exposed.
    is_pathless = method == "CONNECT" and ":path" not in pseudo
    if not method or not (target or is_pathless):
        raise PeerError(Reason.HEADER_INVALID, "the request needs exactly one :method and one :path")
    if not target.isascii() or not _PATH_FORBIDDEN.isdisjoint(target):
        raise PeerError(Reason.HEADER_INVALID, "the request's :path has a character that it must not have")
    path, mark, query = target.partition("?")
    return RequestHead(
        method=method, path=path, query=query if mark else None, headers=MappingProxyType(headers)
    )


def _response_head(message: HttpHeaders) -> ResponseHead:
    pseudo, headers = _fields(message.headers)
    status = _only(pseudo, ":status")
    if not (status.isascii() and status.isdigit() and _STATUS_MIN <= int(status) <= _STATUS_MAX):
        raise PeerError(Reason.UPSTREAM_UNREADABLE, "the answer needs exactly one :status", status=502)
    return ResponseHead(status=int(status), headers=MappingProxyType(headers))


def _only(pseudo: Mapping[str, Sequence[str]], name: str) -> str:
    values = pseudo.get(name, ())
    return values[0] if len(values) == 1 else ""


def _upstream_host(message: ProcessingRequest) -> str:
    """The upstream's address as ``ip:port``; empty where Envoy does not say."""
    if _ATTRIBUTES_KEY not in message.attributes:
        return ""
    fields = message.attributes[_ATTRIBUTES_KEY].fields
    return fields[_UPSTREAM_ADDRESS].string_value if _UPSTREAM_ADDRESS in fields else ""


# --- to Envoy --------------------------------------------------------------------------------


def reply_bytes(command: cmd.Command) -> bytes:
    """A reply as a serialised ProcessingResponse.

    Raises:
        ValueError: it is no reply, or has a header or status that must not go out; always a bug.
    """
    match command:
        case cmd.ReplyBody():
            return _body_bytes(command)
        case cmd.ReplyHeaders():
            return _headers_bytes(command)
        case cmd.ReplyTrailers():
            return _trailers_bytes(command)
        case cmd.Refuse():
            return _refusal_bytes(command.refusal, command.reason)
        case (
            cmd.Abort()
            | cmd.Annotate()
            | cmd.RunEffect()
            | cmd.Enter()
            | cmd.SetDeadline()
            | cmd.ClearDeadline()
            | cmd.Emit()
            | cmd.ReportBug()
            | cmd.ReportUnread()
        ):
            raise ValueError(f"{type(command).__name__} is not a reply")
        case _:
            assert_never(command)


def annotated(reply: bytes, annotation: cmd.Annotate) -> bytes:
    """A serialised reply that also carries an annotation, as dynamic metadata of our namespace.

    Two serialised messages one after the other are their merge: the reply itself is not touched.
    """
    note = ProcessingResponse()
    fields = note.dynamic_metadata.fields[_METADATA_NAMESPACE].struct_value.fields
    for name, text in (
        ("action", annotation.action.name.lower()),
        ("reason", annotation.reason),
        ("guard", annotation.guard),
        ("tenant", annotation.tenant),
        ("key_id", annotation.key_id),
        ("model", annotation.model),
        ("policy_digest", annotation.policy_digest),
        ("route", annotation.route),
        ("unscanned", ",".join(annotation.unscanned)),
    ):
        fields[name].string_value = text
    fields["degraded"].bool_value = annotation.degraded
    fields["input_tokens"].number_value = annotation.input_tokens
    fields["output_tokens"].number_value = annotation.output_tokens
    if annotation.cost_usd is not None:
        fields["cost_usd"].number_value = annotation.cost_usd
    return reply + note.SerializeToString()


def _body_bytes(command: cmd.ReplyBody) -> bytes:
    lane, chunk, end_stream = command.lane, command.chunk, command.end_stream
    if not end_stream and 0 < len(chunk) < _BEGINNINGS_BYTES:
        # What stands before the body says nothing but lengths, and the body ends the message.
        return _BEGINNINGS[lane][len(chunk)] + chunk
    if not chunk and end_stream:
        return _END[lane]
    return _body_message(lane, chunk, end_stream=end_stream).SerializeToString()


def _body_message(lane: Lane, chunk: bytes, *, end_stream: bool) -> ProcessingResponse:
    # Filled from outside in: building the five messages from inside out costs three times as much.
    reply = ProcessingResponse()
    body = reply.response_body if lane is Lane.RESPONSE else reply.request_body
    streamed = body.response.body_mutation.streamed_response
    streamed.body = chunk
    streamed.end_of_stream = end_stream
    return reply


def _headers_bytes(command: cmd.ReplyHeaders) -> bytes:
    if not command.edits.set and not command.edits.remove:
        return _HEADERS[command.lane]
    return _headers_message(command.lane, _mutation(command.edits)).SerializeToString()


def _headers_message(lane: Lane, mutation: HeaderMutation | None) -> ProcessingResponse:
    common = CommonResponse() if mutation is None else CommonResponse(header_mutation=mutation)
    reply = HeadersResponse(response=common)
    if lane is Lane.RESPONSE:
        return ProcessingResponse(response_headers=reply)
    return ProcessingResponse(request_headers=reply)


def _trailers_bytes(command: cmd.ReplyTrailers) -> bytes:
    if not command.remove and not command.set:
        return _TRAILERS[command.lane]
    mutation = HeaderMutation(set_headers=_set_headers(command.set), remove_headers=command.remove)
    reply = TrailersResponse(header_mutation=mutation)
    if command.lane is Lane.RESPONSE:
        return ProcessingResponse(response_trailers=reply).SerializeToString()
    return ProcessingResponse(request_trailers=reply).SerializeToString()


def _mutation(edits: HeaderEdits) -> HeaderMutation:
    for name in edits.remove:
        _require_name(name)
    return HeaderMutation(set_headers=_set_headers(edits.set), remove_headers=edits.remove)


def _set_headers(fields: Sequence[tuple[str, str]]) -> list[HeaderValueOption]:
    """Options that replace whatever stands there; of two with one name only the last would stay."""
    if len({name for name, _ in fields}) != len(fields):
        raise ValueError("a header is set twice")
    return [_set_header(name, value) for name, value in fields]


def _set_header(name: str, value: str) -> HeaderValueOption:
    _require_name(name)
    if not _VALUE_FORBIDDEN.isdisjoint(value):
        raise ValueError("a header value has a control character")
    return HeaderValueOption(
        header=HeaderValue(key=name, raw_value=value.encode("latin-1")),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _require_name(name: str) -> None:
    token = name.replace("-", "").replace("_", "")
    if not (token.isascii() and token.isalnum() and name == name.lower()):
        raise ValueError("a header name is not a lower-case token")


def _refusal_bytes(refusal: WireRefusal, reason: Reason) -> bytes:
    # What says CLEAN is the gateway's own word to a preflight: it may say 200, and nothing else.
    is_preflight = reason is Reason.CLEAN and refusal.status in _PREFLIGHT_STATUSES and not refusal.body
    is_error = _ERROR_STATUS_MIN <= refusal.status <= _STATUS_MAX
    # Envoy answers 200 where the status is missing or unknown to it; gRPC's 200 carries its own status.
    if refusal.grpc_status is None and not is_preflight and not is_error:
        raise ValueError("a refusal needs an error status")
    if refusal.grpc_status == 0:
        raise ValueError("a refusal must not say OK")
    reply = ImmediateResponse(
        status=HttpStatus(code=refusal.status),
        headers=HeaderMutation(set_headers=_set_headers(refusal.headers)),
        body=refusal.body,
        grpc_status=None if refusal.grpc_status is None else GrpcStatus(status=refusal.grpc_status),
        # Stands in Envoy's access log.
        details=f"headgate:{reason}",
    )
    return ProcessingResponse(immediate_response=reply).SerializeToString()


def _both_lanes(request: ProcessingResponse, response: ProcessingResponse) -> Mapping[Lane, bytes]:
    return MappingProxyType(
        {Lane.REQUEST: request.SerializeToString(), Lane.RESPONSE: response.SerializeToString()}
    )


_HEADERS = _both_lanes(_headers_message(Lane.REQUEST, None), _headers_message(Lane.RESPONSE, None))
_END = _both_lanes(
    _body_message(Lane.REQUEST, b"", end_stream=True), _body_message(Lane.RESPONSE, b"", end_stream=True)
)
# The beginnings of replies with so many bytes of a body: a token at a time is nearly every answer.
_BEGINNINGS_BYTES = 1_024
_BEGINNINGS = MappingProxyType(
    {
        lane: tuple(
            _body_message(lane, bytes(count), end_stream=False).SerializeToString()[: -count or None]
            for count in range(_BEGINNINGS_BYTES)
        )
        for lane in Lane
    }
)
_TRAILERS = _both_lanes(
    ProcessingResponse(request_trailers=TrailersResponse()),
    ProcessingResponse(response_trailers=TrailersResponse()),
)
