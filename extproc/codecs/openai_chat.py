"""OpenAI's chat completions, as Triton's own front end and vLLM serve them.

The request: ``_openai_chat_request`` and ``_openai_edits``; the answer: ``_openai_answer``; errors and
refusals: ``_openai_http``. Where each string stands, and what becomes of it, is said there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs._openai_chat_request import read_chat
from extproc.codecs._openai_session import OpenAISession
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.segment import Operation

if TYPE_CHECKING:
    from extproc.codecs._openai_request import OpenAIRequest
    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec, CodecSession, WireRefusal
    from extproc.domain.verdict import Refusal

_PATH: Final = "/v1/chat/completions"


class ChatSession(OpenAISession):
    """One chat completion and its answer."""

    operation = Operation.CHAT

    def parsed(self, body: bytes) -> OpenAIRequest:
        """What a body says."""
        return read_chat(body, limits=self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCodec:
    """POST on chat completions."""

    name: str = "openai_chat"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a POST on the path."""
        return head.method == "POST" and head.path == _PATH

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query, an encoded body, or one that is no JSON."""
        oai.check_request_head(head, path=_PATH)
        return ChatSession(head, limits=self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In OpenAI's error shape."""
        return oai.wire_refusal(refusal, "")


CODEC: Codec = ChatCodec()
