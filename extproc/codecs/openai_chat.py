"""OpenAI's chat completions, as Triton's own front end and vLLM serve them.

The request: ``_openai_chat_request`` and ``_openai_edits``; the answer: ``_openai_answer``; errors and
refusals: ``_openai_http``. This module is the session that joins them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs import _triton_http as http
from extproc.codecs._openai_answer import AnswerReader
from extproc.codecs._openai_chat_request import ChatRequest, read_chat
from extproc.codecs._openai_edits import write_chat
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

_PATH: Final = "/v1/chat/completions"
_EVENT_STREAM: Final = "text/event-stream"


class ChatSession:
    """One chat completion and its answer."""

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        self._limits = limits
        self._request_id = http.request_id_of(head)
        self._body = BoundedBody(bytes_max=limits.body_bytes_max, reason=Reason.BODY_TOO_LARGE, status=413)
        self._request: ChatRequest | None = None
        self._hide_usage = False
        self._watched = True
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
        self._request = read_chat(body, limits=self._limits)
        message = RequestMessage(
            key=0,
            operation=Operation.CHAT,
            params=self._request.params,
            segments=self._request.segments,
            inspectable_bytes=len(body),
        )
        return (message,)

    def write_request(self, key: int, edits: RequestEdits) -> bytes:  # noqa: ARG002 - the key is always 0.
        """The body with edits spliced in; without any, the client's own bytes."""
        self._watched = edits.answer_watched
        body, self._hide_usage = write_chat(self._need_request(), edits, limits=self._limits)
        return body

    def request_head_edits(self) -> HeaderEdits:
        """What never reaches the server."""
        return http.request_head_edits()

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        """Take the answer's status and kind: events, or one JSON body."""
        http.check_answer_head(head)
        request = self._need_request()
        kind = (head.header("content-type") or "").partition(";")[0].strip().lower()
        streamed = kind == _EVENT_STREAM
        self._answer = AnswerReader(
            model=request.params.model,
            tools=request.tools,
            json_answer=request.json_answer,
            status=head.status,
            streamed=streamed,
            hide_usage=self._hide_usage,
            watched=self._watched,
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
        """An event of this service's own for text that was held when its channel ended."""
        return self._need_answer().write_tail(channel, text)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal with a real status, in OpenAI's error shape."""
        return oai.wire_refusal(refusal, self._request_id)

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - the key is always 0.
        """An error event, at which OpenAI's package raises; None within a JSON answer.

        No ``[DONE]`` follows: the answer is not whole, and a client that overlooks the error must not think
        so.
        """
        if self._answer is None or not self._answer.streamed:
            return None
        return b"data: " + oai.refusal_document(refusal, self._request_id) + b"\n\n"

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:  # noqa: ARG002 - one request per stream.
        """None: there is only one request."""
        return None

    def _need_request(self) -> ChatRequest:
        if self._request is None:
            raise AssertionError("a request is needed before it was read")
        return self._request

    def _need_answer(self) -> AnswerReader:
        if self._answer is None:
            raise AssertionError("an answer's body before its head")
        return self._answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCodec:
    """POST on chat completions."""

    name: str = "openai_chat"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a POST on the path."""
        return head.method == "POST" and head.path == _PATH

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query or an encoded body."""
        if head.path != _PATH:
            raise PeerError(Reason.PATH_NOT_ALLOWED, "the path is not allowed", status=404)
        http.check_request_head(head)
        return ChatSession(head, limits=self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In OpenAI's error shape."""
        return oai.wire_refusal(refusal, "")


CODEC: Codec = ChatCodec()
