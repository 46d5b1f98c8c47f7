"""KServe v2's infer over HTTP: tensors in JSON or in Triton's binary extension.

Reading and editing the request: ``_kserve_request`` and ``_kserve_plan``, on what ``_kserve_reading`` makes
of inputs; the answer: ``_kserve_answer``. This module is the session that joins them, and keeps the length
that a header tells of the JSON part right in both directions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.codecs._kserve_answer import InferAnswer
from extproc.codecs._kserve_encoding import ContentDecoder
from extproc.codecs._kserve_plan import plan_edits
from extproc.codecs._kserve_request import InferRequest, read_infer, write_infer
from extproc.codecs._kserve_tensors import split_body
from extproc.codecs._one_exchange import OneExchange
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import RequestMessage
from extproc.domain.segment import Operation
from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from extproc.domain.head import RequestHead, ResponseHead
    from extproc.domain.ports import Codec, CodecSession, RequestEdits, WireRefusal
    from extproc.domain.verdict import Refusal

DOCUMENT_LENGTH: Final = "inference-header-content-length"
_BINARY_TYPE: Final = "application/octet-stream"
_PATH: Final = re.compile(http.MODEL_PATH + r"/infer")
_LENGTH: Final = re.compile(r"[0-9]{1,10}")


def _match(path: str) -> re.Match[str] | None:
    found = _PATH.fullmatch(path)
    return None if found is None or found["model"] in http.RESERVED_MODELS else found


def _document_length(values: tuple[str, ...]) -> int | None:
    """What the header says, None where it is absent; -1 where it says nothing sound."""
    if not values:
        return None
    return int(values[0]) if len(values) == 1 and _LENGTH.fullmatch(values[0]) else -1


class InferSession(OneExchange):
    """One infer request and its answer."""

    def __init__(self, head: RequestHead, *, model: str, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        if head.query is not None:
            raise PeerError(Reason.PATH_NOT_ALLOWED, "a query is not allowed on this path")
        self._decoder = ContentDecoder(head, limits=limits)
        self._request_length = _document_length(head.headers.get(DOCUMENT_LENGTH, ()))
        if self._request_length is not None and self._request_length < 1:
            raise PeerError(Reason.HEADER_INVALID, f"{DOCUMENT_LENGTH} must be one length in bytes")
        self._model = model
        self._request: InferRequest | None = None
        self._sent_id = ""
        self._hidden: frozenset[str] = frozenset()
        self._watched = True
        self._answer_length: int | None = None
        self._head_edits = HeaderEdits()
        self._infer_answer: InferAnswer | None = None

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        """The one message, when the body is whole; whatever comes after that is ignored."""
        if self._is_read:
            return ()
        return super().read_request(self._decoder.feed(chunk, eof=eof), eof=eof)

    def read_body(self, body: bytes) -> RequestMessage:
        """The message of a whole body."""
        parts = split_body(body, self._request_length)
        self._request = read_infer(parts, model=self._model, limits=self.limits)
        inputs = self._request.inputs
        return RequestMessage(
            key=0,
            operation=Operation.TEXT_COMPLETION,
            params=inputs.params,
            segments=inputs.segments,
            inspectable_bytes=len(body),
            unscanned=inputs.unscanned,
        )

    def write_body(self, edits: RequestEdits) -> bytes:
        """The body with edits spliced in."""
        request = self._request
        if request is None:
            raise AssertionError("a request is written that is not there")
        plan = plan_edits(request.inputs, edits, outputs=request.outputs)
        self._sent_id = request.client_id if plan.request_id is None else plan.request_id
        self._hidden, self._watched = plan.hidden, edits.answer_watched
        body = write_infer(request, plan)
        self._request_length = len(body.document) if body.split else None
        # The answer needs nothing of it, and it takes many times the body's own room.
        self._request = None
        return body.whole

    def request_head_edits(self) -> HeaderEdits:
        """What never reaches Triton; the body goes on as it was judged, not compressed."""
        edits = http.request_head_edits()
        remove = (*edits.remove, "content-encoding") if self._decoder.decodes else edits.remove
        if self._request_length is None:
            return HeaderEdits(remove=remove, set=edits.set)
        return HeaderEdits(remove=remove, set=(*edits.set, (DOCUMENT_LENGTH, str(self._request_length))))

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        """Take the answer's status, and where its document ends."""
        length = _document_length(head.headers.get(DOCUMENT_LENGTH, ()))
        if length is not None and length < 1:
            raise http.unreadable(f"{DOCUMENT_LENGTH} is no length")
        self._answer_length = length
        super().read_response_head(head)
        self._head_edits = http.answer_head_edits(head, streamed=False)
        return self._head_edits

    def response_head_edits(self) -> HeaderEdits:
        """What changes on the answer's head, now that the answer is written."""
        length = None if self._infer_answer is None else self._infer_answer.document_bytes
        if length is None:
            return self._head_edits
        kept = tuple([one for one in self._head_edits.set if one[0] != "content-type"])
        return HeaderEdits(
            remove=self._head_edits.remove,
            set=(*kept, ("content-type", _BINARY_TYPE), (DOCUMENT_LENGTH, str(length))),
        )

    def answer_reader(self, *, status: int, streamed: bool) -> InferAnswer:  # noqa: ARG002 - it never is.
        """What reads the answer."""
        self._infer_answer = InferAnswer(
            model=self._model,
            sent_id=self._sent_id,
            status=status,
            header_bytes=self._answer_length,
            hidden=self._hidden,
            watched=self._watched,
            limits=self.limits,
        )
        return self._infer_answer

    def refusal_document(self, refusal: Refusal) -> bytes:
        """A refusal in Triton's error shape."""
        return http.refusal_document(refusal, self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferCodec:
    """POST on infer."""

    name: str = "kserve_infer"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a POST on the path."""
        return head.method == "POST" and _match(head.path) is not None

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query, an unknown encoding or a length that is none."""
        found = _match(head.path)
        if found is None:
            raise PeerError(Reason.PATH_NOT_ALLOWED, "the path is not allowed", status=404)
        return InferSession(head, model=found["model"], limits=self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In Triton's error shape."""
        return http.wire_refusal(refusal, "")


CODEC: Codec = InferCodec()
