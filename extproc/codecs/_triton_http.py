"""What the codecs of Triton's HTTP endpoint share: paths, heads, and the shape of an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Reason
from extproc.wire.splice import encode_string
from extproc.wire.strict_json import Object, Text, parse

if TYPE_CHECKING:
    from extproc.domain.head import RequestHead, ResponseHead
    from extproc.domain.verdict import Refusal

# A model's name is a directory's name; it begins with no dot and is bounded.
MODEL_PATH = (
    r"/v2/models/(?P<model>[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127})(?:/versions/(?P<version>[0-9]{1,10}))?"
)
# Names that Triton's own routes use where a model's name would stand.
RESERVED_MODELS = frozenset({"stats"})

JSON_TYPE = "application/json"
EVENTS_TYPE = "text/event-stream"
ERROR_STATUS_MIN = 400
SERVER_ERROR_STATUS_MIN = 500
WITHHELD = "the model server reported an error; its text was withheld"

# Credentials end here, and an answer that comes compressed could not be inspected.
_REQUEST_REMOVALS = (
    "accept-encoding",
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
)
# The headers of an answer that go on, and in which form. Of the kind of the body see below.
_ANSWER_HEADERS = {
    "cache-control": re.compile(r"no-cache|no-store"),
    "content-encoding": re.compile(r"identity"),
    "content-length": re.compile(r"[0-9]{1,10}"),
    "content-type": re.compile(r".*", re.DOTALL),
    "retry-after": re.compile(r"[0-9]{1,6}"),
    "transfer-encoding": re.compile(r"chunked"),
    "x-envoy-upstream-service-time": re.compile(r"[0-9]{1,10}"),
}
_HEADER_NAME = re.compile(r"[a-z0-9_-]{1,256}")
# Kinds that keep their spelling: any other charset would make another text of the same bytes.
_SOUND_JSON = re.compile(r"(?:application/json|text/plain)(?:; ?charset=utf-8)?", re.IGNORECASE)
_SOUND_EVENTS = re.compile(r"text/event-stream(?:; ?charset=utf-8)?", re.IGNORECASE)
_REQUEST_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# What a stack trace, a source position, an address or a path of the server's file system looks like.
_INTERNAL = re.compile(
    r"Traceback|\n|\bAt:|\b0x[0-9a-fA-F]{4,}"
    r"|[\w.-]*/[\w.-]+/[\w.-]+|(?<![\w.])~?/[\w.-]+|[A-Za-z]:\\"
    r"|\.(?:py|pyc|cc|cpp|cu|h|hpp|so|dll)\b"
)


def check_request_head(head: RequestHead) -> None:
    """Refuse what would make this service and Triton read different bodies.

    Raises:
        PeerError: a query, a content-encoding, or the header that splits a body in two.
    """
    if head.query is not None:
        raise PeerError(Reason.PATH_NOT_ALLOWED, "a query is not allowed on this path")
    encodings = head.headers.get("content-encoding", ())
    if encodings and encodings != ("identity",):
        raise PeerError(Reason.ENCODING_UNSUPPORTED, "content-encoding must be identity", status=415)
    if "inference-header-content-length" in head.headers:
        raise PeerError(
            Reason.HEADER_INVALID, "inference-header-content-length is not allowed on this path"
        )


def check_answer_head(head: ResponseHead) -> None:
    """Refuse an answer that cannot be read.

    Raises:
        PeerError: the upstream compressed its answer although nobody had asked.
    """
    if head.headers.get("content-encoding", ()) not in ((), ("identity",)):
        raise PeerError(Reason.UPSTREAM_UNREADABLE, "the model server's answer is encoded", status=502)


def request_head_edits() -> HeaderEdits:
    """What never reaches Triton."""
    return HeaderEdits(remove=_REQUEST_REMOVALS)


def answer_head_edits(head: ResponseHead, *, streamed: bool) -> HeaderEdits:
    """What of an answer's head goes on: its kind, as it was read, and what a closed list has.

    Any other header is text that nobody judged. Date, server and request id are Envoy's own.

    Raises:
        PeerError: a name that none has, which Envoy would not take out.
    """
    if not all(_HEADER_NAME.fullmatch(name) for name in head.headers):
        raise unreadable("a header has a name that none has")
    remove = tuple([name for name, values in head.headers.items() if not _goes_on(name, values)])
    kind = head.header("content-type")
    sound = _SOUND_EVENTS if streamed else _SOUND_JSON
    if kind is not None and sound.fullmatch(kind) is not None:
        failed = head.status >= ERROR_STATUS_MIN and not streamed
        # An error is always JSON here, which Triton labels ``text/plain`` now and then.
        if not failed or kind.lower().startswith(JSON_TYPE):
            return HeaderEdits(remove=remove)
    elif kind is None and "content-type" not in head.headers and head.header("content-length") == "0":
        return HeaderEdits(remove=remove)
    return HeaderEdits(remove=remove, set=(("content-type", EVENTS_TYPE if streamed else JSON_TYPE),))


def _goes_on(name: str, values: tuple[str, ...]) -> bool:
    sound = _ANSWER_HEADERS.get(name)
    return sound is not None and len(values) == 1 and sound.fullmatch(values[0]) is not None


def request_id_of(head: RequestHead) -> str:
    """Envoy's request id where it is a UUID, else empty: anything else is the client's own text."""
    value = head.header("x-request-id") or ""
    return value if _REQUEST_ID.fullmatch(value) else ""


def error_document(message: str) -> bytes:
    """Triton's error shape."""
    return b'{"error":' + encode_string(message) + b"}"


def message_of(refusal: Refusal, request_id: str) -> str:
    """A refusal's message; it names the request."""
    message = refusal.message
    if request_id and "(request " not in message:
        message = f"{message} (request {request_id})"
    return message


def refusal_document(refusal: Refusal, request_id: str) -> bytes:
    """A refusal in Triton's error shape."""
    return error_document(message_of(refusal, request_id))


def wire_refusal(refusal: Refusal, request_id: str) -> WireRefusal:
    """A refusal with its own status, as ``tritonclient`` turns it into its ordinary exception."""
    return WireRefusal(
        status=refusal.status,
        headers=(("content-type", JSON_TYPE), *refusal.headers),
        body=refusal_document(refusal, request_id),
    )


def unreadable(what: str) -> PeerError:
    """The upstream's answer is not what its protocol says."""
    return PeerError(Reason.UPSTREAM_UNREADABLE, f"the model server's answer: {what}", status=502)


def must_withhold(text: str, status: int) -> bool:
    """Whether an error's text tells of the server's inside: paths, source positions, stack traces.

    Python backends put all of these into errors of status 500, so that those are withheld altogether.
    """
    return status >= SERVER_ERROR_STATUS_MIN or _INTERNAL.search(text) is not None


def judged_error(body: bytes, status: int, *, limits: Limits = LIMITS) -> bytes:
    """The body of an error answer as it may go on: itself, or the closed message in its place."""
    try:
        document = parse(body, limits=limits)
    except PeerError:
        return error_document(WITHHELD)
    if isinstance(document, Object) and list(document.members) == ["error"]:
        value = document.members["error"].value
        if isinstance(value, Text) and not must_withhold(value.value, status):
            return body
    return error_document(WITHHELD)
