"""OpenAI's chat completions, as Triton's own front end and vLLM serve them.

The request: ``_openai_chat_request`` and ``_openai_edits``; the answer: ``_openai_answer``; errors and
refusals: ``_openai_http``. This module is the session that joins them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs import _triton_http as http
from extproc.codecs._one_exchange import OneExchange
from extproc.codecs._openai_answer import AnswerReader
from extproc.codecs._openai_chat_request import ChatRequest, read_chat
from extproc.codecs._openai_edits import write_chat
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage
from extproc.domain.segment import Operation
from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec, CodecSession, RequestEdits, WireRefusal
    from extproc.domain.verdict import Refusal

_PATH: Final = "/v1/chat/completions"


class ChatSession(OneExchange):
    """One chat completion and its answer."""

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._request: ChatRequest | None = None
        self._hide_usage = False
        self._watched = True

    def read_body(self, body: bytes) -> RequestMessage:
        """The message of a whole body."""
        self._request = read_chat(body, limits=self.limits)
        return RequestMessage(
            key=0,
            operation=Operation.CHAT,
            params=self._request.params,
            segments=self._request.segments,
            inspectable_bytes=len(body),
        )

    def write_body(self, edits: RequestEdits) -> bytes:
        """The body with edits spliced in."""
        self._watched = edits.answer_watched
        body, self._hide_usage = write_chat(self._need_request(), edits, limits=self.limits)
        return body

    def answer_reader(self, *, status: int, streamed: bool) -> AnswerReader:
        """What reads the answer."""
        request = self._need_request()
        return AnswerReader(
            model=request.params.model,
            tools=request.tools,
            json_answer=request.json_answer,
            status=status,
            streamed=streamed,
            hide_usage=self._hide_usage,
            watched=self._watched,
            limits=self.limits,
        )

    def refusal_document(self, refusal: Refusal) -> bytes:
        """A refusal in OpenAI's error shape.

        Within events it is one at which OpenAI's package raises. No ``[DONE]`` follows: the answer is not
        whole, and a client that overlooks the error must not think so.
        """
        return oai.refusal_document(refusal, self.request_id)

    def _need_request(self) -> ChatRequest:
        if self._request is None:
            raise AssertionError("a request is needed before it was read")
        return self._request


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
