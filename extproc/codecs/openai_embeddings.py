"""OpenAI's embeddings, as Triton's own front end and vLLM serve them.

The request: ``_openai_embedding_request``; the answer: ``_openai_vectors``; errors and refusals:
``_openai_http``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs import _triton_http as http
from extproc.codecs._openai_embedding_request import read_embedding
from extproc.codecs._openai_session import OpenAISession
from extproc.codecs._openai_vectors import VectorReader
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.segment import Operation

if TYPE_CHECKING:
    from extproc.codecs._openai_request import OpenAIRequest
    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec, CodecSession, RequestEdits, WireRefusal
    from extproc.domain.verdict import Refusal

_PATH: Final = "/v1/embeddings"


class EmbeddingSession(OpenAISession):
    """One request for embeddings and its answer."""

    operation = Operation.EMBEDDINGS

    def __init__(self, head: RequestHead, *, limits: Limits) -> None:
        super().__init__(head, limits=limits)
        self._dimensions_count: int | None = None

    def parsed(self, body: bytes) -> OpenAIRequest:
        """What a body says."""
        request, self._dimensions_count = read_embedding(body, limits=self.limits)
        return request

    def write_body(self, edits: RequestEdits) -> bytes:
        """The body with text replaced: there is no limit to cap, and counts come by themselves."""
        return super().write_body(replace(edits, cap_output_tokens=None, ask_usage=False))

    def answer_reader(self, *, status: int, streamed: bool) -> VectorReader:
        """What reads the answer."""
        if streamed:
            raise http.unreadable("embeddings do not come as events")
        return VectorReader(
            model=self.need_request().params.model,
            dimensions_count=self._dimensions_count,
            status=status,
            limits=self.limits,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingCodec:
    """POST on embeddings."""

    name: str = "openai_embeddings"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a POST on the path."""
        return head.method == "POST" and head.path == _PATH

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query, an encoded body, or one that is no JSON."""
        oai.check_request_head(head, path=_PATH)
        return EmbeddingSession(head, limits=self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In OpenAI's error shape."""
        return oai.wire_refusal(refusal, "")


CODEC: Codec = EmbeddingCodec()
