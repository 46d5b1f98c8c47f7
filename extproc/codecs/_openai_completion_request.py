"""The request of completions: its prompts, and where each text stands.

A prompt is a text, several, token ids or arrays of them; token ids are reported as unscanned. ``suffix``
and every string that is not of a closed vocabulary are segments. Members of chats, which some servers
would read here too, are refused. ``echo`` brings the prompt back in the answer, once, where it is scanned
as any text of it. Sources: OpenAI's API reference; vLLM's and Triton's servers, which take 16 output tokens
where a request names no limit, and no limit at all where it names null.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_fields as names
from extproc.codecs._openai_request import CALLER, OpenAIRequest, Reading
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Constant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member

_OUTPUT_TOKENS_DEFAULT: Final = 16


def read_completion(body: bytes, *, limits: Limits) -> OpenAIRequest:
    """Read a request's body.

    Raises:
        PeerError: it is no JSON object of this schema, is ambiguous, or holds what cannot be inspected.
    """
    return _CompletionReading(body, named=_NAMED, limits=limits).result()


class _CompletionReading(Reading):
    """The state of reading one completion's request."""

    required = (names.MODEL, "prompt")
    foreign = frozenset({"messages", "tools", "functions", "input", names.MAX_COMPLETION_TOKENS})

    def reader_of(self, name: str) -> Callable[[Member], None] | None:
        """What reads a member."""
        read = _READERS.get(name)
        return None if read is None else partial(read, self)

    def output_tokens_default(self) -> int | None:
        """What a server sets where there is no limit; null says that there is none."""
        return None if names.MAX_TOKENS in self.root.members else _OUTPUT_TOKENS_DEFAULT

    def result(self) -> OpenAIRequest:
        """What was read.

        Raises:
            PeerError: an echo in several choices: what an answer may weigh counts each prompt once.
        """
        request = super().result()
        if "echo" in request.params.sampling and request.params.choices_count > self.prompts_count:
            raise self.fields.fault(
                self.root.members["echo"],
                "is allowed with one choice only",
                reason=Reason.PARAMETER_NOT_ALLOWED,
            )
        return request

    def suffix(self, member: Member) -> None:
        """What comes after the text that is asked for."""
        self.found.prose(self.fields.text(member), "suffix", CALLER)

    def logprobs(self, member: Member) -> None:
        """How many probabilities beside each token's own: zero asks for that one."""
        if not isinstance(member.value, Constant) or member.value.value:
            self.named_parameter(member, "parameters.*")


_READERS: Final[Mapping[str, Callable[[_CompletionReading, Member], None]]] = MappingProxyType(
    {
        names.MODEL: _CompletionReading.model,
        "prompt": _CompletionReading.texts,
        "suffix": _CompletionReading.suffix,
        names.STREAM: _CompletionReading.stream,
        names.STREAM_OPTIONS: _CompletionReading.stream_options,
        names.MAX_TOKENS: _CompletionReading.limit,
        "logprobs": _CompletionReading.logprobs,
        "response_format": _CompletionReading.response_format,
        "stop": _CompletionReading.stop,
        "user": _CompletionReading.label,
        "metadata": _CompletionReading.labels,
    }
)
_NAMED: Final = frozenset(_READERS) | names.NAMED | _CompletionReading.foreign
