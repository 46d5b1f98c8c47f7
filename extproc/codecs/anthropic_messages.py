"""Anthropic's messages, as vLLM and other servers before Triton offer them.

The request: ``_anthropic_request``, ``_anthropic_blocks``, ``_anthropic_media`` and ``_anthropic_edits``;
the answer: ``_anthropic_answer``, ``_anthropic_message`` and ``_anthropic_frame``; errors, refusals and
heads: ``_anthropic_http``. This module is the session that joins them. Unknown strings of a request are
scanned, unknown events, blocks and deltas of an answer refused. ``anthropic-beta`` is taken out on the way
and ``?beta=true`` refused: betas would change what the bodies mean. Counting tokens and batches are other
paths, which no codec accepts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from extproc.codecs import _anthropic_http as anthropic
from extproc.codecs._anthropic_answer import AnswerReader
from extproc.codecs._anthropic_edits import write_messages
from extproc.codecs._anthropic_message import Facts
from extproc.codecs._anthropic_request import MessagesRequest, read_messages
from extproc.codecs._one_exchange import OneExchange
from extproc.codecs._triton_http import JSON_TYPE
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage, WireRefusal
from extproc.domain.segment import Operation
from extproc.domain.verdict import Reason
from extproc.wire.json_leaves import bare_bytes

if TYPE_CHECKING:
    from extproc.domain.head import HeaderEdits, RequestHead
    from extproc.domain.ports import Codec, CodecSession, RequestEdits
    from extproc.domain.verdict import Refusal

_PATH: Final = "/v1/messages"


class MessagesSession(OneExchange):
    """One message and its answer."""

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._request: MessagesRequest | None = None
        self._watched = True
        self._replacements: frozenset[str] = frozenset()

    def read_body(self, body: bytes) -> RequestMessage:
        """The message of a body."""
        self._request = read_messages(body, limits=self.limits)
        return RequestMessage(
            key=0,
            operation=Operation.CHAT,
            params=self._request.params,
            segments=self._request.segments,
            inspectable_bytes=len(body),
            unscanned=self._request.unscanned,
            tools=self._request.offered,
            answer_format=self._request.answer_format,
            bare_bytes=bare_bytes(body),
        )

    def write_body(self, edits: RequestEdits) -> bytes:
        """The body with edits spliced in."""
        self._watched, self._replacements = edits.answer_watched, edits.replacements
        request = self._need_request()
        body = write_messages(request, edits, limits=self.limits)
        # What only writing needs: what was read of a body takes many times the body's own room.
        self._request = replace(request, body=b"", segments=(), places=())
        return body

    def request_head_edits(self) -> HeaderEdits:
        """What never reaches the server."""
        return anthropic.request_head_edits()

    def answer_reader(self, *, status: int, streamed: bool) -> AnswerReader:
        """What reads the answer."""
        request = self._need_request()
        facts = Facts(
            request.params.model, request.tools, request.json_answer, self._watched, self._replacements
        )
        return AnswerReader(facts, status=status, streamed=streamed, limits=self.limits)

    def refusal_document(self, refusal: Refusal) -> bytes:
        """A refusal in Anthropic's error shape."""
        return anthropic.refusal_document(refusal, self.request_id)

    def refusal_frame(self, refusal: Refusal) -> bytes:
        """An error event, at which Anthropic's package raises; the message is not stopped after it."""
        return b"event: error\ndata: " + self.refusal_document(refusal) + b"\n\n"

    def _need_request(self) -> MessagesRequest:
        if self._request is None:
            raise AssertionError("a request is needed before it was read")
        return self._request


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesCodec:
    """POST on messages."""

    name: str = "anthropic_messages"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a POST on the path."""
        return head.method == "POST" and head.path == _PATH

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query, an encoded body, another kind or version."""
        if head.path != _PATH:
            raise PeerError(Reason.PATH_NOT_ALLOWED, "the path is not allowed", status=404)
        anthropic.check_request_head(head)
        return MessagesSession(head, limits=self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In Anthropic's error shape."""
        return WireRefusal(
            status=refusal.status,
            headers=(("content-type", JSON_TYPE), *refusal.headers),
            body=anthropic.refusal_document(refusal, ""),
        )


CODEC: Codec = MessagesCodec()
