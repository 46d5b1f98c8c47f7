"""The request of embeddings: its inputs, and where each text stands.

An input is a text, several, token ids or arrays of them; token ids are reported as unscanned. Every string
that is not of a closed vocabulary is a segment. There is no limit of output tokens. Members of chats and
completions, which some servers would read here too, are refused. Sources: OpenAI's API reference; vLLM.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_fields as names
from extproc.codecs._openai_request import OpenAIRequest, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member

_ENCODINGS: Final = frozenset({"float", "base64"})


def read_embedding(body: bytes, *, limits: Limits) -> tuple[OpenAIRequest, int | None]:
    """Read a request's body; beside it, how many numbers each vector shall have, where it says so.

    Raises:
        PeerError: it is no JSON object of this schema, is ambiguous, or holds what cannot be inspected.
    """
    reading = _EmbeddingReading(body, named=_NAMED, limits=limits)
    return reading.result(), reading.dimensions_count


class _EmbeddingReading(Reading):
    """The state of reading one embedding's request."""

    required = (names.MODEL, "input")
    foreign = frozenset(
        {
            *("messages", "prompt", "suffix", "tools", "functions", "response_format"),
            *(names.STREAM, names.STREAM_OPTIONS, names.MAX_TOKENS, names.MAX_COMPLETION_TOKENS),
        }
    )
    dimensions_count: int | None = None

    def reader_of(self, name: str) -> Callable[[Member], None] | None:
        """What reads a member."""
        read = _READERS.get(name)
        return None if read is None else partial(read, self)

    def inputs(self, member: Member) -> None:
        """What to embed. Each is priced by its own length, so that their number multiplies nothing."""
        self.texts(member)
        self.prompts_count = 1

    def encoding(self, member: Member) -> None:
        """How the numbers are written."""
        self.fields.one_of(member, _ENCODINGS)

    def dimensions(self, member: Member) -> None:
        """How many numbers a vector has."""
        self.dimensions_count = self.fields.count(member)


_READERS: Final[Mapping[str, Callable[[_EmbeddingReading, Member], None]]] = MappingProxyType(
    {
        names.MODEL: _EmbeddingReading.model,
        "input": _EmbeddingReading.inputs,
        "encoding_format": _EmbeddingReading.encoding,
        "dimensions": _EmbeddingReading.dimensions,
        "user": _EmbeddingReading.label,
    }
)
_NAMED: Final = frozenset(_READERS) | names.NAMED | _EmbeddingReading.foreign
