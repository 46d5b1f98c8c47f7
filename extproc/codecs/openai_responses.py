"""OpenAI's responses, as vLLM and other servers before Triton offer them.

The request: ``_responses_request`` and ``_responses_items``; the answer: ``_responses_answer``,
``_responses_events``, ``_responses_walk``, ``_responses_frame`` and ``_responses_runs``; errors and
refusals: ``_openai_http``. Where each string stands, and what becomes of it, is said there. Unknown strings
of a request and of an answer's objects are scanned; unknown items, parts and tools of a request and unknown
events of an answer are refused. Only POST on this one path is accepted: what a server keeps
(``/v1/responses/{id}``, its ``cancel`` and ``input_items``) would be answers that nobody judges here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs._openai_session import OpenAISession
from extproc.codecs._responses_answer import AnswerReader, error_event
from extproc.codecs._responses_request import read_responses, write_responses
from extproc.codecs._responses_walk import Facts
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.segment import Operation

if TYPE_CHECKING:
    from extproc.codecs import _one_exchange as one
    from extproc.codecs._openai_request import OpenAIRequest
    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec, CodecSession, RequestEdits, WireRefusal
    from extproc.domain.verdict import Refusal

_PATH: Final = "/v1/responses"


class ResponsesSession(OpenAISession):
    """One request and its answer."""

    operation = Operation.CHAT

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._reader: AnswerReader | None = None

    def parsed(self, body: bytes) -> OpenAIRequest:
        """What a body says."""
        return read_responses(body, limits=self.limits)

    def write_body(self, edits: RequestEdits) -> bytes:
        """The body with edits spliced in."""
        self._watched, self._replacements = edits.answer_watched, edits.replacements
        body = write_responses(self.need_request(), edits, limits=self.limits)
        self.forget_body()
        return body

    def answer_reader(self, *, status: int, streamed: bool) -> one.AnswerReader:
        """What reads the answer."""
        request = self.need_request()
        facts = Facts(
            request.params.model, request.tools, request.json_answer, self._watched, self._replacements
        )
        self._reader = AnswerReader(facts, status=status, streamed=streamed, limits=self.limits)
        return self._reader

    def refusal_frame(self, refusal: Refusal) -> bytes:
        """An error event, at which OpenAI's package raises; the response is not completed after it."""
        number = None if self._reader is None else self._reader.own_number()
        return b"event: error\ndata: " + error_event(self.refusal_document(refusal), number) + b"\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesCodec:
    """POST on responses."""

    name: str = "openai_responses"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a POST on the path."""
        return head.method == "POST" and head.path == _PATH

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query, an encoded body, or one that is no JSON."""
        oai.check_request_head(head, path=_PATH)
        return ResponsesSession(head, limits=self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In OpenAI's error shape."""
        return oai.wire_refusal(refusal, "")


CODEC: Codec = ResponsesCodec()
