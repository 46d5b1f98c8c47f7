"""Triton's generate and generate_stream with the schemas of its LLM backends.

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
from extproc.codecs._one_exchange import OneExchange
from extproc.codecs._triton_fields import SPELLED_OUTPUTS
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage
from extproc.domain.segment import Operation
from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec, CodecSession, RequestEdits, WireRefusal
    from extproc.domain.verdict import Refusal

_PATH = re.compile(http.MODEL_PATH + r"/generate(?P<stream>_stream)?")


def _match(path: str) -> re.Match[str] | None:
    found = _PATH.fullmatch(path)
    return None if found is None or found["model"] in http.RESERVED_MODELS else found


class GenerateSession(OneExchange):
    """One generate request and its answer."""

    def __init__(self, head: RequestHead, *, model: str, stream: bool, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._model = model
        self._stream = stream
        self._request: GenerateRequest | None = None
        self._hidden: frozenset[str] = frozenset()
        self._sent_id = ""

    def read_body(self, body: bytes) -> RequestMessage:
        """The message of a whole body."""
        self._request = read_generate(body, model=self._model, stream=self._stream, limits=self.limits)
        return RequestMessage(
            key=0,
            operation=Operation.TEXT_COMPLETION,
            params=self._request.params,
            segments=self._request.segments,
            inspectable_bytes=len(body),
            unscanned=self._request.unscanned,
        )

    def write_body(self, edits: RequestEdits) -> bytes:
        """The body with edits spliced in."""
        if self._request is None:
            raise AssertionError("a request is written that is not there")
        body, hidden = write_generate(self._request, edits)
        self._hidden = hidden | SPELLED_OUTPUTS if edits.answer_watched else hidden
        self._sent_id = sent_id(self._request, edits)
        # The answer needs nothing of it, and it takes many times the body's own room.
        self._request = None
        return body

    def answer_reader(self, *, status: int, streamed: bool) -> AnswerReader:
        """What reads the answer."""
        return AnswerReader(
            model=self._model,
            sent_id=self._sent_id,
            status=status,
            streamed=streamed,
            hidden=self._hidden,
            limits=self.limits,
        )

    def refusal_document(self, refusal: Refusal) -> bytes:
        """A refusal in Triton's error shape."""
        return http.refusal_document(refusal, self.request_id)


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
