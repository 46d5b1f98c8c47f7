"""Anthropic's error shape, and which errors of a server may pass.

Refusals have Anthropic's own shape, so that its package raises its ordinary exceptions. Errors of servers
come in that shape, in OpenAI's (what vLLM's middleware says) or in FastAPI's; the client gets Anthropic's,
with the server's message unless it tells of the server's inside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits
from extproc.domain.verdict import Reason
from extproc.wire.json_leaves import leaves_of
from extproc.wire.splice import encode_string
from extproc.wire.strict_json import Constant, Object, Text, parse

if TYPE_CHECKING:
    from extproc.domain.head import RequestHead
    from extproc.domain.limits import Limits
    from extproc.domain.verdict import Refusal

ERROR: Final = "error"
_MESSAGE: Final = "message"
_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# A server's own failures, by whatever it calls them: within a stream there is no status that says so.
_SERVER_TYPES: Final = frozenset({"api_error", "internal_error", "server_error", "InternalServerError"})
_ROOT_MEMBERS: Final = frozenset({"type", ERROR, "request_id"})
_ERROR_MEMBERS: Final = frozenset({"type", _MESSAGE})
_OPENAI_MEMBERS: Final = _ERROR_MEMBERS | {"param", "code"}
# Keys of errors that say nothing by themselves.
ERROR_KEYS: Final = _ROOT_MEMBERS | _ERROR_MEMBERS
# Versions of the API whose requests and answers are those that are read here. The later one takes less: no
# sampling, no citations from the user. Any other may mean something else by the same bytes.
_VERSIONS: Final = ("2023-06-01", "2026-10-21")
_VERSION_HEADER: Final = "anthropic-version"
_BETA_HEADER: Final = "anthropic-beta"
_SOUND_TYPE: Final = re.compile(r"application/json(?: ?; ?charset=\"?utf-8\"?)?", re.IGNORECASE)


def check_request_head(head: RequestHead) -> None:
    """Refuse what would make this service and the server read different bodies.

    Raises:
        PeerError: a query, an encoded body, another kind of body, or another version of the API.
    """
    http.check_request_head(head)
    kinds = head.headers.get("content-type", ())
    if kinds and (len(kinds) > 1 or _SOUND_TYPE.fullmatch(kinds[0]) is None):
        what = "content-type must be application/json in UTF-8"
        raise PeerError(Reason.HEADER_INVALID, what, status=415)
    if _VERSION_HEADER in head.headers and head.header(_VERSION_HEADER) not in _VERSIONS:
        raise PeerError(Reason.HEADER_INVALID, f"{_VERSION_HEADER} must be {' or '.join(_VERSIONS)}")


def request_head_edits() -> HeaderEdits:
    """What never reaches the server: credentials, and betas, which would change what the bodies mean."""
    return HeaderEdits(remove=(*http.request_head_edits().remove, _BETA_HEADER))


def type_of(status: int) -> str:
    """The type of an error, by its status."""
    kind = _TYPES.get(status)
    if kind is None:
        server = status >= http.SERVER_ERROR_STATUS_MIN
        kind = "api_error" if server else "invalid_request_error"
    return kind


def error_document(message: str, kind: str, request_id: str = "") -> bytes:
    """Anthropic's error shape; an empty ``request_id`` is left out."""
    inside = b'{"type":' + encode_string(kind) + b',"message":' + encode_string(message) + b"}"
    known = b',"request_id":' + encode_string(request_id) if request_id else b""
    return b'{"type":"error","error":' + inside + known + b"}"


def refusal_document(refusal: Refusal, request_id: str) -> bytes:
    """A refusal."""
    return error_document(http.message_of(refusal, request_id), type_of(refusal.status), request_id)


def is_error(root: Object) -> bool:
    """Whether a document reports a failure: success is never inferred from the status."""
    error, kind = root.members.get(ERROR), root.members.get("type")
    if error is not None and not (isinstance(error.value, Constant) and error.value.value is None):
        return True
    return kind is not None and isinstance(kind.value, Text) and kind.value.value == ERROR


def judged_error(body: bytes, status: int, *, limits: Limits) -> bytes:
    """An error's body as it may go on: itself, its message in Anthropic's shape, or a closed text."""
    try:
        root = parse(body, limits=limits)
    except PeerError:
        return _withheld(status)
    if not isinstance(root, Object):
        return _withheld(status)
    said = _said(root)
    leaves = [text.value for text in leaves_of(body, root, keys=True, limits=limits)]
    if said is None or not _SERVER_TYPES.isdisjoint(leaves):
        return _withheld(status)
    if any(http.must_withhold(text, status) for text in leaves):
        return _withheld(status)
    return body if _is_own(root) else error_document(said, type_of(status))


def _withheld(status: int) -> bytes:
    failed = status if status >= http.ERROR_STATUS_MIN else http.SERVER_ERROR_STATUS_MIN
    return error_document(http.WITHHELD, type_of(failed))


def _is_own(root: Object) -> bool:
    """Whether it is Anthropic's shape, and has no more than that."""
    error = root.members.get(ERROR)
    return (
        {"type", ERROR} <= root.members.keys() <= _ROOT_MEMBERS
        and error is not None
        and isinstance(error.value, Object)
        and error.value.members.keys() == _ERROR_MEMBERS
    )


def _said(root: Object) -> str | None:
    """The message of an error of a known shape; None where it is none."""
    if list(root.members) == ["detail"]:
        message = root.members["detail"].value
    else:
        error = root.members[ERROR].value if ERROR in root.members else root
        if not isinstance(error, Object) or not error.members.keys() <= _OPENAI_MEMBERS:
            return None
        member = error.members.get(_MESSAGE)
        if member is None or not root.members.keys() <= _ROOT_MEMBERS | _OPENAI_MEMBERS:
            return None
        message = member.value
    return message.value if isinstance(message, Text) else None
