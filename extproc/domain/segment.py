"""What a codec finds on the wire: text with its origin, sampling parameters, usage."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import StrEnum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Role(StrEnum):
    """Who a segment speaks as."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Origin(StrEnum):
    """How a segment came into the conversation; indirect origins deserve less trust."""

    DIRECT = "direct"
    TOOL_RESULT = "tool_result"
    TOOL_DESCRIPTION = "tool_description"
    DOCUMENT = "document"


class Operation(StrEnum):
    """What a request asks the upstream to do; names as the OTel GenAI conventions have them."""

    TEXT_COMPLETION = "text_completion"
    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    READ_ONLY = "read_only"
    ADMIN = "admin"

    @property
    def asks_a_model(self) -> bool:
        """Whether a model reads text of the request."""
        return self not in {Operation.READ_ONLY, Operation.ADMIN}


class Backend(StrEnum):
    """The request schema that a model behind Triton speaks: where its limit and its counts stand.

    NONE honours no limit of output tokens and gives no counts: embeddings, classifiers.
    """

    VLLM = "vllm"
    TENSORRTLLM = "tensorrtllm"
    LLMAPI = "llmapi"
    NONE = "none"


class Unscanned(StrEnum):
    """Content of a request that no guard can read as text."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    FILE = "file"
    TOKEN_IDS = "token_ids"  # noqa: S105 - ids of a model's vocabulary.
    TENSOR = "tensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Inspectable text of a request.

    ``index`` is the segment's position among the exchange's segments. ``place`` is a name of the
    codec's own closed vocabulary (``text_input``), never a key that the caller chose, so that it may
    stand in a record. ``seams`` are where parts of the text meet, in code points, ascending: servers put
    them together with nothing between them, or with a line end, and a value or an attack may show in one of
    the two alone.
    """

    index: int
    text: str
    role: Role
    origin: Origin
    place: str
    seams: tuple[int, ...] = ()

    @property
    def apart(self) -> str:
        """The text with a line end at every seam."""
        ends = (*self.seams, len(self.text))
        return "\n".join(self.text[start:end] for start, end in zip((0, *self.seams), ends, strict=True))

    def place_of(self, position: int) -> int:
        """Where in the text a position of ``apart`` stands."""
        # Before the line end of seam k stand k others.
        passed = bisect_left(range(len(self.seams)), position, key=lambda seam: self.seams[seam] + seam)
        return position - passed


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentEdit:
    """Replace ``[start, end)`` (code points) of one segment's text."""

    segment_index: int
    start: int
    end: int
    replacement: str


class ParamPlace(StrEnum):
    """The part of a request in which a sampling field stands."""

    BODY = "the body"
    PARAMETERS = auto()
    SAMPLING_PARAMETERS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What the caller asked of the model.

    ``max_output_tokens`` is None where the caller set no limit. ``choices_count`` is n x best_of x
    beam width: by how much the answer's cost multiplies. ``sampling`` holds every other sampling
    field by the name it has on the wire; ``sampling_places`` says where those stand that are not at the
    top of the body.
    """

    model: str
    stream: bool
    max_output_tokens: int | None = None
    choices_count: int = 1
    sampling: Mapping[str, str | int | float | bool] = field(default_factory=lambda: MappingProxyType({}))
    sampling_places: Mapping[str, ParamPlace] = field(default_factory=lambda: MappingProxyType({}))


class Usage(NamedTuple):
    """Tokens as the upstream reports them, accumulated over an exchange."""

    input_tokens: int
    output_tokens: int


class Channel(NamedTuple):
    """One run of output text: the choice it belongs to and the field that carries it."""

    choice: int
    field: str


class Delta(NamedTuple):
    """New text of one channel."""

    channel: Channel
    text: str
