"""The session of OpenAI's wires: one request, and one answer that is read as the wire says."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs._one_exchange import OneExchange
from extproc.codecs._openai_answer import AnswerReader
from extproc.codecs._openai_edits import write_request
from extproc.domain.ports import RequestMessage
from extproc.wire.json_leaves import bare_bytes
from extproc.wire.strict_json import Object

if TYPE_CHECKING:
    from extproc.codecs import _one_exchange as one
    from extproc.codecs._openai_request import OpenAIRequest
    from extproc.domain.head import RequestHead
    from extproc.domain.limits import Limits
    from extproc.domain.ports import RequestEdits
    from extproc.domain.segment import Operation
    from extproc.domain.verdict import Refusal

_NO_ROOT: Final = Object({}, 0, 0)


class OpenAISession(OneExchange):
    """One request and its answer, which is made of choices unless a wire says otherwise."""

    operation: Operation

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._request: OpenAIRequest | None = None
        self._hide_usage = False
        self._watched = True
        self._replacements: frozenset[str] = frozenset()

    @abstractmethod
    def parsed(self, body: bytes) -> OpenAIRequest:
        """What a body says."""

    def read_body(self, body: bytes) -> RequestMessage:
        """The message of a whole body."""
        self._request = self.parsed(body)
        return RequestMessage(
            key=0,
            operation=self.operation,
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
        body, self._hide_usage = write_request(self.need_request(), edits, limits=self.limits)
        self.forget_body()
        return body

    def answer_reader(self, *, status: int, streamed: bool) -> one.AnswerReader:
        """What reads the answer."""
        request = self.need_request()
        return AnswerReader(
            model=request.params.model,
            tools=request.tools,
            json_answer=request.json_answer,
            status=status,
            streamed=streamed,
            hide_usage=self._hide_usage,
            watched=self._watched,
            replacements=self._replacements,
            limits=self.limits,
        )

    def refusal_document(self, refusal: Refusal) -> bytes:
        """A refusal in OpenAI's error shape.

        Within events it is one at which OpenAI's package raises. No ``[DONE]`` follows: the answer is not
        whole, and a client that overlooks the error must not think so.
        """
        return oai.refusal_document(refusal, self.request_id)

    def forget_body(self) -> None:
        """Let go of what only writing needs: a body's tree takes many times the body's own room."""
        self._request = replace(self.need_request(), body=b"", root=_NO_ROOT, segments=(), places=())

    def need_request(self) -> OpenAIRequest:
        """The request, once it was read; without its body once it was written."""
        if self._request is None:
            raise AssertionError("a request is needed before it was read")
        return self._request
