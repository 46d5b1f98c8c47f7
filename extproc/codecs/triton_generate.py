"""Triton's generate and generate_stream with vllm_backend's schema.

Reading and editing the request: ``_generate_request`` and ``_generate_edits``; the answer:
``_generate_answer``. This module is the session that joins them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from extproc.codecs import _triton_http as http
from extproc.codecs._generate_answer import AnswerReader
from extproc.codecs._generate_edits import sent_id, write_generate
from extproc.codecs._generate_request import GenerateRequest, read_generate
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage
from extproc.domain.segment import Operation
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody

if TYPE_CHECKING:
    from extproc.domain.head import HeaderEdits, RequestHead, ResponseHead
    from extproc.domain.ports import (
        Codec,
        CodecSession,
        RequestEdits,
        ResponseFrame,
        WireRefusal,
    )
    from extproc.domain.segment import Channel
    from extproc.domain.verdict import Refusal

_PATH = re.compile(http.MODEL_PATH + r"/generate(?P<stream>_stream)?")
_EVENT_STREAM = "text/event-stream"


def _match(path: str) -> re.Match[str] | None:
    found = _PATH.fullmatch(path)
    return None if found is None or found["model"] in http.RESERVED_MODELS else found


class GenerateSession:
    """One generate request and its answer."""

    def __init__(self, head: RequestHead, *, model: str, stream: bool, limits: Limits) -> None:
        self._model = model
        self._stream = stream
        self._limits = limits
        self._request_id = http.request_id_of(head)
        self._body = BoundedBody(bytes_max=limits.body_bytes_max, reason=Reason.BODY_TOO_LARGE, status=413)
        self._request: GenerateRequest | None = None
        self._hidden: frozenset[str] = frozenset()
        self._sent_id = ""
        self._answer: AnswerReader | None = None

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        """The one message, when the body is whole."""
        if self._request is not None:
            return ()
        self._body.feed(chunk)
        if not eof:
            return ()
        body = self._body.take()
        if not body:
            raise PeerError(Reason.BODY_INVALID, "the request has no body")
        self._request = read_generate(body, model=self._model, stream=self._stream, limits=self._limits)
        message = RequestMessage(
            key=0,
            operation=Operation.TEXT_COMPLETION,
            params=self._request.params,
            segments=self._request.segments,
            inspectable_bytes=len(body),
        )
        return (message,)

    def write_request(self, key: int, edits: RequestEdits) -> bytes:  # noqa: ARG002 - the key is always 0.
        """The body with edits spliced in; without any, the client's own bytes."""
        if self._request is None:
            raise AssertionError("a request is written before it was read")
        body, self._hidden = write_generate(self._request, edits)
        self._sent_id = sent_id(self._request, edits)
        return body

    def request_head_edits(self) -> HeaderEdits:
        """What never reaches Triton."""
        return http.request_head_edits()

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        """Take the answer's status and kind: events, or one JSON body."""
        http.check_answer_head(head)
        kind = (head.header("content-type") or "").partition(";")[0].strip().lower()
        streamed = kind == _EVENT_STREAM
        self._answer = AnswerReader(
            model=self._model,
            sent_id=self._sent_id,
            status=head.status,
            streamed=streamed,
            hidden=self._hidden,
            limits=self._limits,
        )
        return http.answer_head_edits(head, streamed=streamed)

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """One frame per event; of a JSON answer one final frame at its end."""
        return self._need_answer().read(chunk, eof=eof)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas."""
        return self._need_answer().write(frame, texts)

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:  # noqa: ARG002 - the key is always 0.
        """An event of this service's own for text that was held when the answer ended."""
        return self._need_answer().write_tail(channel, text)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal with a real status, in Triton's error shape."""
        return http.wire_refusal(refusal, self._request_id)

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - the key is always 0.
        """Triton's own error event; None within a JSON answer, which cannot be mended."""
        if self._answer is None or not self._answer.streamed:
            return None
        return b"data: " + http.refusal_document(refusal, self._request_id) + b"\n\n"

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - one request per stream.
        """None: there is only one request."""
        return None

    def _need_answer(self) -> AnswerReader:
        if self._answer is None:
            raise AssertionError("an answer's body before its head")
        return self._answer


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateCodec:
    """POST on generate and generate_stream."""

    name: str = "triton_generate"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a POST on one of the two paths."""
        return head.method == "POST" and _match(head.path) is not None

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query or an encoded body."""
        found = _match(head.path)
        if found is None:
            raise PeerError(Reason.PATH_NOT_ALLOWED, "the path is not allowed", status=404)
        http.check_request_head(head)
        return GenerateSession(
            head, model=found["model"], stream=found["stream"] is not None, limits=self.limits
        )

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In Triton's error shape."""
        return http.wire_refusal(refusal, "")


CODEC: Codec = GenerateCodec()
