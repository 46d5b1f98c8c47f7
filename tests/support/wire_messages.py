"""Messages as Envoy sends them, built short."""

from __future__ import annotations

from collections.abc import Iterable

from extproc.pb.extproc_wire_pb2 import (
    HeaderMap,
    HeaderValue,
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProtocolConfiguration,
)

FULL_DUPLEX = ProtocolConfiguration(
    request_body_mode=ProtocolConfiguration.FULL_DUPLEX_STREAMED,
    response_body_mode=ProtocolConfiguration.FULL_DUPLEX_STREAMED,
)
REQUEST_HEAD = ((":method", b"POST"), (":path", b"/v2/models/m/generate"))


def header_map(fields: Iterable[tuple[str, bytes]]) -> HeaderMap:
    return HeaderMap(headers=[HeaderValue(key=name, raw_value=value) for name, value in fields])


def request_headers(
    fields: Iterable[tuple[str, bytes]] = REQUEST_HEAD,
    *,
    end_stream: bool = False,
    config: ProtocolConfiguration | None = FULL_DUPLEX,
    observability: bool = False,
) -> ProcessingRequest:
    return ProcessingRequest(
        request_headers=HttpHeaders(headers=header_map(fields), end_of_stream=end_stream),
        protocol_config=config,
        observability_mode=observability,
    )


def response_headers(
    fields: Iterable[tuple[str, bytes]] = ((":status", b"200"),), *, end_stream: bool = False
) -> ProcessingRequest:
    return ProcessingRequest(
        response_headers=HttpHeaders(headers=header_map(fields), end_of_stream=end_stream)
    )


def request_body(chunk: bytes = b"x", *, end_stream: bool = False) -> ProcessingRequest:
    return ProcessingRequest(request_body=HttpBody(body=chunk, end_of_stream=end_stream))


def response_body(chunk: bytes = b"x", *, end_stream: bool = False) -> ProcessingRequest:
    return ProcessingRequest(response_body=HttpBody(body=chunk, end_of_stream=end_stream))


def request_trailers() -> ProcessingRequest:
    return ProcessingRequest(request_trailers=HttpTrailers(trailers=header_map([("x-end", b"1")])))


def response_trailers() -> ProcessingRequest:
    return ProcessingRequest(response_trailers=HttpTrailers(trailers=header_map([("x-end", b"1")])))
