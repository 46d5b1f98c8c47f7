"""What the codecs of OpenAI's wire share: the shape of an error, and which errors of a server may pass.

Refusals have OpenAI's own shape, so that its package raises its ordinary exceptions. Errors of servers come
in that shape (vLLM) or in FastAPI's (Triton's front end), and pass unless they tell of the server's inside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.domain.errors import PeerError
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Reason
from extproc.wire.splice import encode_string, remove_members, splice
from extproc.wire.strict_json import Array, Constant, Object, Text, parse, texts_of

if TYPE_CHECKING:
    from extproc.domain.head import RequestHead
    from extproc.domain.limits import Limits
    from extproc.domain.verdict import Refusal
    from extproc.wire.splice import Splice
    from extproc.wire.strict_json import Value

# FastAPI reads a body without any kind as JSON; no charset but UTF-8 is one of JSON's.
_JSON_KIND: Final = re.compile(r"application/json *(?:; *charset=(?:utf-8|\"utf-8\"))?", re.IGNORECASE)
_UNSUPPORTED_STATUS: Final = 415

ERROR: Final = "error"
DETAIL: Final = "detail"

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ERROR_MEMBERS: Final = frozenset({"message", "type", "param", "code", "object"})
# What FastAPI repeats of the request beside its finding.
_REPEATED: Final = frozenset({"input", "ctx", "url"})
_FINDING_MEMBERS: Final = frozenset({"type", "loc", "msg"}) | _REPEATED
# Keys of errors that say nothing by themselves.
ERROR_KEYS: Final = frozenset({ERROR, DETAIL}) | _ERROR_MEMBERS | _FINDING_MEMBERS


def check_request_head(head: RequestHead, *, path: str) -> None:
    """Refuse what would make this service and the server read different bodies.

    Raises:
        PeerError: another path, a query, a content-encoding, or a body that says it is no JSON in UTF-8.
    """
    if head.path != path:
        raise PeerError(Reason.PATH_NOT_ALLOWED, "the path is not allowed", status=404)
    http.check_request_head(head)
    kinds = head.headers.get("content-type", ())
    if len(kinds) > 1 or any(_JSON_KIND.fullmatch(kind) is None for kind in kinds):
        message = "content-type must be application/json, in UTF-8"
        raise PeerError(Reason.HEADER_INVALID, message, status=_UNSUPPORTED_STATUS)


def error_document(message: str, kind: str, code: str) -> bytes:
    """OpenAI's error shape."""
    members = (("message", message), ("type", kind), ("param", None), ("code", code))
    inside = b",".join(
        encode_string(name) + b":" + (b"null" if value is None else encode_string(value))
        for name, value in members
    )
    return b'{"error":{' + inside + b"}}"


def withheld_document() -> bytes:
    """What stands in place of an error that may not be shown."""
    return error_document(http.WITHHELD, "server_error", "upstream_error")


def refusal_document(refusal: Refusal, request_id: str) -> bytes:
    """A refusal; its code is the reason by which records name it."""
    kind = _TYPES.get(refusal.status)
    if kind is None:
        server = refusal.status >= http.SERVER_ERROR_STATUS_MIN
        kind = "server_error" if server else "invalid_request_error"
    return error_document(http.message_of(refusal, request_id), kind, str(refusal.reason))


def wire_refusal(refusal: Refusal, request_id: str) -> WireRefusal:
    """A refusal with its own status."""
    return WireRefusal(
        status=refusal.status,
        headers=(("content-type", http.JSON_TYPE), *refusal.headers),
        body=refusal_document(refusal, request_id),
    )


def is_error(root: Object) -> bool:
    """Whether a document reports a failure: success is never inferred from the status."""
    for name in (ERROR, DETAIL):
        member = root.members.get(name)
        if member is not None and not (isinstance(member.value, Constant) and member.value.value is None):
            return True
    kind = root.members.get("object")
    return kind is not None and isinstance(kind.value, Text) and kind.value.value == ERROR


def judged_error(body: bytes, status: int, *, limits: Limits) -> bytes:
    """An error's body as it may go on: itself less what it repeats of the request, or a closed text."""
    try:
        root = parse(body, limits=limits)
    except PeerError:
        return withheld_document()
    if not isinstance(root, Object) or not _is_known(root):
        return withheld_document()
    edits = _repeated(root)
    if edits:
        body = splice(body, edits)
        root = parse(body, limits=limits)
    if any(http.must_withhold(text.value, status) for text in texts_of(root)):
        return withheld_document()
    return body


def _is_known(root: Object) -> bool:
    """Whether it is an error of a known shape: nothing else would be read as one."""
    if list(root.members) == [DETAIL]:
        detail = root.members[DETAIL].value
        if isinstance(detail, Array):
            return all(
                isinstance(item, Object) and item.members.keys() <= _FINDING_MEMBERS
                for item in detail.items
            )
        return isinstance(detail, Text)
    if list(root.members) == [ERROR]:
        error = root.members[ERROR].value
        return isinstance(error, Text) or _is_error_object(error)
    return _is_error_object(root)


def _is_error_object(value: Value) -> bool:
    if not isinstance(value, Object) or not value.members.keys() <= _ERROR_MEMBERS:
        return False
    message = value.members.get("message")
    return message is not None and isinstance(message.value, Text)


def _repeated(root: Object) -> list[Splice]:
    detail = root.members.get(DETAIL)
    if detail is None or not isinstance(detail.value, Array):
        return []
    items = [item for item in detail.value.items if isinstance(item, Object)]
    return [edit for item in items for edit in remove_members(item, _REPEATED)]
