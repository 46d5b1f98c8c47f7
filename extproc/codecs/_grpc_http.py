"""What the codecs of Triton's gRPC port share: heads, trailers, and how a refusal looks.

A refusal before the answer's head is a status and a message in headers alone: every gRPC library makes its
ordinary exception of it. Of the upstream's own metadata only a closed list goes on; its ``grpc-message``
is text like any other error, judged and reworded where it shows paths or stack traces.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from extproc.codecs import _triton_http as http
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Reason
from extproc.wire.grpc_frames import ENCODINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.head import RequestHead, ResponseHead
    from extproc.domain.verdict import Refusal

SERVICE: Final = "/inference.GRPCInferenceService/"
GRPC_OK: Final = 0
_GRPC_UNKNOWN: Final = 2
_GRPC_INTERNAL: Final = 13
_GRPC_DATA_LOSS: Final = 15
_GRPC_STATUS_MAX: Final = 16
# HTTP's statuses as a gRPC server would have said them. UNAVAILABLE is only for what a retry can mend.
_STATUS_OF: Final[Mapping[int, int]] = MappingProxyType(
    {
        400: 3,  # INVALID_ARGUMENT
        401: 16,  # UNAUTHENTICATED
        403: 7,  # PERMISSION_DENIED
        404: 5,  # NOT_FOUND
        405: 12,  # UNIMPLEMENTED
        408: 4,  # DEADLINE_EXCEEDED
        413: 8,  # RESOURCE_EXHAUSTED
        415: 12,
        429: 8,
        500: _GRPC_INTERNAL,
        502: _GRPC_INTERNAL,
        503: 14,  # UNAVAILABLE
        504: 4,
    }
)
_CONTENT_TYPES: Final = frozenset({"application/grpc", "application/grpc+proto"})
_TIMEOUT: Final = re.compile(r"[0-9]{1,8}[HMSmun]")
# Credentials end here; an answer must come as it can be read; and an error must not end its neighbours.
_REQUEST_REMOVALS: Final = (
    "accept-encoding",
    "authorization",
    "cookie",
    "grpc-accept-encoding",
    "grpc-encoding",
    "proxy-authorization",
    "triton_grpc_error",
    "x-api-key",
)
# The headers of an answer that go on, and in which form.
_ANSWER_HEADERS: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "content-type": re.compile(r"application/grpc(?:\+proto)?"),
        "grpc-accept-encoding": re.compile(r"[a-z]{1,16}(?:, ?[a-z]{1,16}){0,7}"),
        "grpc-encoding": re.compile(r"identity"),
        "grpc-status": re.compile(r"[0-9]{1,2}"),
        "x-envoy-upstream-service-time": re.compile(r"[0-9]{1,10}"),
    }
)
_NAME: Final = re.compile(r"[a-z0-9_-]{1,256}")
# What needs no percent sign in grpc-message: printable ASCII but the sign itself.
_MESSAGE_SAFE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class Status(NamedTuple):
    """How an answer ended: ``message`` is None where none was given, ``names`` are all of its trailers."""

    code: int
    message: str | None
    names: tuple[str, ...]


# --- the request -----------------------------------------------------------------------------


def check_request_head(head: RequestHead) -> str:
    """The request's ``grpc-encoding``.

    Raises:
        PeerError: it is not gRPC with protobuf as this service and Triton both read it.
    """
    if head.query is not None:
        raise PeerError(Reason.PATH_NOT_ALLOWED, "a query is not allowed on this path")
    if head.header("content-type") not in _CONTENT_TYPES:
        raise PeerError(Reason.HEADER_INVALID, "content-type must be application/grpc", status=415)
    if head.header("te") != "trailers":
        raise PeerError(Reason.HEADER_INVALID, "te must be trailers")
    if head.headers.get("content-encoding", ()) not in ((), ("identity",)):
        raise PeerError(Reason.ENCODING_UNSUPPORTED, "content-encoding must be identity", status=415)
    if "grpc-timeout" in head.headers and _TIMEOUT.fullmatch(head.header("grpc-timeout") or "") is None:
        raise PeerError(Reason.HEADER_INVALID, "grpc-timeout is no time")
    if "grpc-encoding" not in head.headers:
        return "identity"
    encoding = head.header("grpc-encoding")
    if encoding not in ENCODINGS:
        raise PeerError(
            Reason.ENCODING_UNSUPPORTED, "grpc-encoding must be identity, gzip or deflate", status=415
        )
    return encoding


def request_head_edits() -> HeaderEdits:
    """What never reaches Triton."""
    return HeaderEdits(remove=_REQUEST_REMOVALS)


# --- the answer ------------------------------------------------------------------------------


def check_answer_head(head: ResponseHead) -> None:
    """Refuse an answer that is not gRPC, or compressed.

    Raises:
        PeerError: UPSTREAM_UNREADABLE, status 502.
    """
    if head.status != 200 or head.header("content-type") not in _CONTENT_TYPES:  # noqa: PLR2004 - gRPC's only status.
        raise http.unreadable("it is not gRPC")
    for name in ("grpc-encoding", "content-encoding"):
        if head.headers.get(name, ()) not in ((), ("identity",)):
            raise http.unreadable("it is encoded")
    if not all(map(_NAME.fullmatch, head.headers)):
        raise http.unreadable("a header has a name that none has")


def answer_head_edits(head: ResponseHead) -> HeaderEdits:
    """Takes out of an answer's head all that is not on the closed list; its message is judged apart."""
    return HeaderEdits(
        remove=tuple([name for name, values in head.headers.items() if not _goes_on(name, values)])
    )


def _goes_on(name: str, values: tuple[str, ...]) -> bool:
    if name == "grpc-message":
        return True
    sound = _ANSWER_HEADERS.get(name)
    return sound is not None and len(values) == 1 and sound.fullmatch(values[0]) is not None


def status_of(trailers: Mapping[str, tuple[str, ...]]) -> Status:
    """How an answer ended, by its trailers.

    Raises:
        PeerError: they do not say it (UPSTREAM_UNREADABLE, status 502).
    """
    if not all(map(_NAME.fullmatch, trailers)):
        raise http.unreadable("a trailer has a name that none has")
    codes = trailers.get("grpc-status", ())
    if len(codes) != 1 or not (codes[0].isascii() and codes[0].isdecimal() and len(codes[0]) <= 2):  # noqa: PLR2004 - digits.
        raise http.unreadable("it ends without a status")
    if int(codes[0]) > _GRPC_STATUS_MAX:
        raise http.unreadable("it ends with a status that gRPC does not have")
    messages = trailers.get("grpc-message", ())
    if len(messages) > 1:
        raise http.unreadable("it ends with two messages")
    return Status(int(codes[0]), _told(messages[0]) if messages else None, tuple(trailers))


def judged_message(status: Status) -> str:
    """The message of an error as it may go on: itself, or the closed one in its place.

    What a backend's own code reports has one of these statuses, and shows the server's inside.
    """
    message = status.message or ""
    inner = status.code in {_GRPC_UNKNOWN, _GRPC_INTERNAL, _GRPC_DATA_LOSS}
    return http.WITHHELD if message and http.must_withhold(message, 500 if inner else 200) else message


def trailer_edits(status: Status, message: str) -> HeaderEdits:
    """What changes on trailers, or on a head that has them, so that they say ``message``."""
    kept = {"grpc-status", "grpc-message"} if message == status.message else {"grpc-status"}
    edits = HeaderEdits(remove=tuple([name for name in status.names if name not in kept]))
    if message and message != status.message:
        edits = HeaderEdits(remove=edits.remove, set=(("grpc-message", percent_encoded(message)),))
    return edits


def percent_encoded(message: str) -> str:
    """A message as it stands in ``grpc-message``."""
    return quote_from_bytes(message.encode(), safe=_MESSAGE_SAFE)


def _told(value: str) -> str:
    """The text of a ``grpc-message``."""
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeError:
        raise http.unreadable("it ends with a message that is no UTF-8") from None


# --- refusals --------------------------------------------------------------------------------


def wire_refusal(refusal: Refusal, request_id: str) -> WireRefusal:
    """A refusal as a status and a message. Envoy makes ``grpc-message`` of the body.

    Where the request was not gRPC at all, its client sees the same text under HTTP's status.
    """
    return WireRefusal(
        status=refusal.status,
        headers=refusal.headers,
        body=http.message_of(refusal, request_id).encode(),
        grpc_status=grpc_status(refusal.status),
    )


def grpc_status(status: int) -> int:
    """GRPC's word for one of HTTP's statuses."""
    return _STATUS_OF.get(status, _GRPC_UNKNOWN)
