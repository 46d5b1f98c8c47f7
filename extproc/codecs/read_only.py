"""Triton's read-only operations: health, server and model metadata, model readiness and configuration.

Only GET, only without body and query. Answers carry no model output, but what operators wrote into their
configurations: each of their strings, keys and long numbers is scanned once the answer is whole. An error
is rewritten where it tells of the server's inside. Source: KServe v2 and Triton's HTTP API.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from extproc.codecs import _triton_http as http
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestEdits, RequestMessage, ResponseFrame
from extproc.domain.segment import Channel, Delta, Operation, Params
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.json_leaves import leaves_of
from extproc.wire.splice import Splice, encode_string, splice
from extproc.wire.strict_json import parse

if TYPE_CHECKING:
    from extproc.domain.head import HeaderEdits, RequestHead, ResponseHead
    from extproc.domain.ports import Codec, CodecSession, WireRefusal
    from extproc.domain.verdict import Refusal
    from extproc.wire.strict_json import Text

_SERVER_PATHS = frozenset({"/v2", "/v2/health/live", "/v2/health/ready"})
_MODEL_PATH = re.compile(http.MODEL_PATH + r"(?:/ready|/config)?")


def _model_of(path: str) -> str | None:
    """The model that a path reads, empty for the server itself; None where the path is another's."""
    if path in _SERVER_PATHS:
        return ""
    found = _MODEL_PATH.fullmatch(path)
    if found is None or found["model"] in http.RESERVED_MODELS:
        return None
    return found["model"]


FIELD = "read_only"


class Whole(NamedTuple):
    """The frame's token: the answer and its texts."""

    texts: tuple[Text, ...]
    document: bytes


class ReadOnlySession:
    """One GET and its answer. OpenAI's list of models is one too, in other words."""

    def __init__(self, head: RequestHead, model: str, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._request_id = http.request_id_of(head)
        self._edits = RequestEdits()
        self._status = 0
        self._requested = False
        self._answered = False
        self._body = BoundedBody(
            bytes_max=limits.answer_bytes_max, reason=Reason.UPSTREAM_UNREADABLE, status=502
        )

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        """The one message, at the end of a request that has no body."""
        if chunk:
            raise PeerError(Reason.BODY_INVALID, "a body is not allowed on this path")
        if not eof or self._requested:
            return ()
        self._requested = True
        params = Params(model=self._model, stream=False)
        message = RequestMessage(
            key=0, operation=Operation.READ_ONLY, params=params, segments=(), inspectable_bytes=0
        )
        return (message,)

    def write_request(self, key: int, edits: RequestEdits) -> bytes:  # noqa: ARG002 - the key is always 0.
        """No bytes: there is no body."""
        self._edits = edits
        return b""

    def request_head_edits(self) -> HeaderEdits:
        """What never reaches Triton."""
        return http.request_head_edits()

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        """Take the answer's status."""
        http.check_answer_head(head)
        self._status = head.status
        return http.answer_head_edits(head, streamed=False)

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """The one frame, when the answer is whole.

        Raises:
            PeerError: a good answer that is neither JSON nor empty (UPSTREAM_UNREADABLE, status 502).
        """
        if self._answered:
            return ()
        self._body.feed(chunk)
        if not eof:
            return ()
        self._answered = True
        body = self._body.take()
        failed = self._status >= http.ERROR_STATUS_MIN
        if body:
            body = self.judged_error(body, self._status) if failed else self.judged(body)
        return (self._frame(body, failed=failed),)

    def _frame(self, body: bytes, *, failed: bool) -> ResponseFrame:
        texts = self._texts(body)
        deltas = tuple([Delta(Channel(at, FIELD), text.value) for at, text in enumerate(texts)])
        return ResponseFrame(
            key=0,
            deltas=deltas,
            token=Whole(texts, body),
            ended=tuple([delta.channel for delta in deltas]),
            final=True,
            error=failed,
        )

    def _texts(self, body: bytes) -> tuple[Text, ...]:
        if not body:
            return ()
        try:
            root = parse(body, limits=self._limits)
        except PeerError as error:
            raise http.unreadable(error.message) from None
        found = leaves_of(body, root, keys=True, limits=self._limits)
        return tuple([text for text in found if text.value])

    def judged(self, body: bytes) -> bytes:
        """A good answer as it may go on."""
        return body

    def judged_error(self, body: bytes, status: int) -> bytes:
        """An error as it may go on."""
        return http.judged_error(body, status, limits=self._limits)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """The answer's bytes with ``texts`` in place of its own."""
        whole = frame.token
        if not isinstance(whole, Whole) or len(texts) != len(whole.texts):
            raise AssertionError("a frame of another session")
        edits = [
            Splice(own.start, own.end, encode_string(text))
            for own, text in zip(whole.texts, texts, strict=True)
            if text != own.value
        ]
        return splice(whole.document, edits) if edits else whole.document

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:  # noqa: ARG002 - never legal.
        """Impossible: every channel ends in the frame in which it begins."""
        raise AssertionError("a read-only answer has no tails")

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal with a real status."""
        return http.wire_refusal(refusal, self._request_id)

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - cutting is left.
        """None: half an answer cannot be turned into an error."""
        return None

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - one request per stream.
        """None: there is only one request."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnlyCodec:
    """GET on Triton's read-only paths."""

    name: str = "triton_read_only"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a GET on one of the paths."""
        return head.method == "GET" and _model_of(head.path) is not None

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query or an encoded body."""
        model = _model_of(head.path)
        if model is None:
            raise PeerError(Reason.PATH_NOT_ALLOWED, "the path is not allowed", status=404)
        http.check_request_head(head)
        return ReadOnlySession(head, model, self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In Triton's error shape."""
        return http.wire_refusal(refusal, "")


CODEC: Codec = ReadOnlyCodec()
