"""Triton's administration: the repository, statistics, trace and log settings. For named keys only.

Core refuses an ADMIN operation of every key that the policy does not call ``admin``, whatever guards say.
What would carry code or text past every judge stays closed to all: files in a load request, and shared
memory. A request is one strict JSON object or empty, and an answer is judged as a read-only one. By gRPC
nothing of this is open. Source: Triton's HTTP API and its extensions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.codecs.read_only import ReadOnlySession
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage
from extproc.domain.segment import Operation, Params
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.strict_json import Object, keys_of, parse

if TYPE_CHECKING:
    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec, CodecSession, RequestEdits, WireRefusal
    from extproc.domain.verdict import Refusal

_MODEL: Final = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}"
_PATHS: Final = {
    "GET": re.compile(
        rf"/v2/(?:models/stats|models/{_MODEL}(?:/versions/[0-9]{{1,10}})?/stats"
        rf"|(?:models/{_MODEL}/)?trace/setting|logging)"
    ),
    "POST": re.compile(
        rf"/v2/(?:repository/(?:index|models/{_MODEL}/(?:load|unload))"
        rf"|(?:models/{_MODEL}/)?trace/setting|logging)"
    ),
}
# A load request may bring a model's files with it, and so code that Triton runs.
_FILE: Final = "file:"


def _accepts(head: RequestHead) -> bool:
    pattern = _PATHS.get(head.method)
    return pattern is not None and pattern.fullmatch(head.path) is not None


class AdminSession(ReadOnlySession):
    """One administrative request and its answer."""

    def __init__(self, head: RequestHead, limits: Limits) -> None:
        super().__init__(head, "", limits)
        self._posted = head.method == "POST"
        self._request = BoundedBody(
            bytes_max=limits.body_bytes_max, reason=Reason.BODY_TOO_LARGE, status=413
        )
        self._sent = b""
        self._read = False

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        """The one message, when the body is whole."""
        if self._read:
            return ()
        if chunk and not self._posted:
            raise PeerError(Reason.BODY_INVALID, "a body is not allowed on this path")
        self._request.feed(chunk)
        if not eof:
            return ()
        self._read = True
        self._sent = self._request.take()
        self._check(self._sent)
        message = RequestMessage(
            key=0,
            operation=Operation.ADMIN,
            params=Params(model="", stream=False),
            segments=(),
            inspectable_bytes=len(self._sent),
        )
        return (message,)

    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        """The body as it came."""
        super().write_request(key, edits)
        return self._sent

    def _check(self, body: bytes) -> None:
        if not body:
            return
        root = parse(body, limits=self._limits)
        if not isinstance(root, Object):
            raise PeerError(Reason.BODY_INVALID, "the body must be a JSON object")
        if any(key.startswith(_FILE) for key in keys_of(root)):
            raise PeerError(
                Reason.PARAMETER_NOT_ALLOWED, "a model's files are not accepted by this gateway"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminCodec:
    """GET and POST on Triton's administrative paths."""

    name: str = "triton_admin"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is one of the paths, by its method."""
        return _accepts(head)

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query or an encoded body."""
        if not _accepts(head):
            raise PeerError(Reason.PATH_NOT_ALLOWED, "the path is not allowed", status=404)
        http.check_request_head(head)
        return AdminSession(head, self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In Triton's error shape."""
        return http.wire_refusal(refusal, "")


CODEC: Codec = AdminCodec()
