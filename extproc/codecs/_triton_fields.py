"""What the names of Triton's LLM backends mean: one table for generate, infer and gRPC alike.

A name means the same in every place where a backend could find it, a tensor or a request parameter: the
codecs of all three wires look it up by :func:`meaning_of`. Where a limit has to stand, and what can be
asked for, depends on the backend: :data:`FIELDS_OF`. A name that stands in no table is ``PARAMETER``: named
for the schema guard, which allows a closed list, and its text is scanned.

Sources: vllm_backend, tensorrtllm_backend (ensemble, tensorrt_llm_bls, its single steps) and TensorRT-LLM's
llmapi model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.domain.segment import Backend, Unscanned

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_ID: Final = "id"
TEXT_INPUT: Final = "text_input"
PARAMETERS: Final = "parameters"
SAMPLING: Final = "sampling_parameters"
MAX_TOKENS: Final = "max_tokens"
SAMPLING_PARAM: Final = "sampling_param_"
COUNT_MAX: Final = 2**31 - 1
"""Limits and multipliers are tensors of 32 bits, or Python integers that a backend takes for such."""


class Kind(StrEnum):
    """What to do with a value of a name."""

    # Text that the model answers: every string is a segment.
    PROMPT = auto()
    # A string that holds a JSON document: see ``_sampling_document``.
    SAMPLING = auto()
    # The most output tokens of one answer: an integer from 1 to COUNT_MAX.
    LIMIT = auto()
    # An integer by which the answer's cost multiplies.
    MULTIPLIER = auto()
    # A boolean that changes nothing of what is judged.
    FLAG = auto()
    # A boolean that may only be false.
    FLAG_OFF = auto()
    # Content that is no text: the policy decides.
    UNSCANNED = auto()
    # The same as an address: only ``data:`` may pass, as the server would fetch any other from where
    # the caller cannot reach (SSRF).
    ADDRESS = auto()
    # Never allowed: what reads the server's files or memory, or steers its scheduler.
    REFUSED = auto()
    # Any other: for the schema guard under ``Meaning.sampling_name``; its strings are scanned.
    PARAMETER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a name means.

    ``sampling_name`` is the name under which a policy knows the field: llmapi's prefix says nothing.
    ``unscanned`` is set for UNSCANNED and ADDRESS.
    """

    kind: Kind
    sampling_name: str
    unscanned: Unscanned | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFields:
    """Where a backend looks for its limit, and what it can be asked for.

    ``limit`` is the field that it honours, None where it has none; ``limit_datatype`` is the type of the
    tensor that it is, None where it is a request parameter. With ``sampling_document`` the document within
    ``sampling_parameters`` is, where it stands, the only place that is looked at.
    ``usage_flags`` are BOOL tensors by which token counts are asked for.
    """

    limit: str | None = None
    limit_datatype: str | None = None
    sampling_document: bool = False
    usage_flags: tuple[str, ...] = ()


USAGE_FLAGS: Final = ("return_num_input_tokens", "return_num_output_tokens")
"""Each asks for the output of its own name without ``return_``."""

FIELDS_OF: Final[Mapping[Backend, BackendFields]] = MappingProxyType(
    {
        Backend.VLLM: BackendFields(limit=MAX_TOKENS, sampling_document=True, usage_flags=USAGE_FLAGS),
        Backend.TENSORRTLLM: BackendFields(
            limit=MAX_TOKENS, limit_datatype="INT32", usage_flags=USAGE_FLAGS
        ),
        Backend.LLMAPI: BackendFields(limit=f"{SAMPLING_PARAM}{MAX_TOKENS}", limit_datatype="INT32"),
        Backend.NONE: BackendFields(),
    }
)

LIMITS_OF_OUTPUT: Final = frozenset({MAX_TOKENS, f"{SAMPLING_PARAM}{MAX_TOKENS}", "request_output_len"})
"""Every limit of every schema; the last is that of the engine within tensorrtllm's ensemble. A request that
names two of them is ambiguous: reading comes before the backend is known."""

MULTIPLIERS: Final = frozenset({"n", "best_of", "beam_width", "num_return_sequences"})

NOT_BOOLEAN: Final = frozenset({"stop"})
"""PARAMETERs that may be no boolean. TensorRT-LLM's models have a tensor ``stop`` that cancels whatever
request has the same id, which is any caller's to choose."""

SPELLED_OUTPUTS: Final = frozenset({"output_ids", "generation_logits", "context_logits"})
"""Outputs that say the text again in numbers, where no scanner follows: gone where a guard may redact."""
REPEATED_OUTPUTS: Final = frozenset({"logprobs", "prompt_logprobs", "top_logprobs"})
"""Outputs that repeat the text token by token, where no scanner could follow an entity."""

FLAGS_OF_STREAM: Final = frozenset({"stream", "streaming"})
"""What tells the model to answer piece by piece; a path or a call alone does not."""

_PROMPTS: Final = frozenset({TEXT_INPUT, "decoder_text_input"})
_FLAGS: Final = frozenset(
    {
        *FLAGS_OF_STREAM,
        *("exclude_input_in_output", f"{SAMPLING_PARAM}exclude_input_from_output"),
        *("return_finish_reason", "return_stop_reason", "return_cumulative_logprob"),
        *USAGE_FLAGS,
    }
)
# Log probabilities repeat the answer token by token, where no scanner could follow an entity.
_FLAGS_OFF: Final = frozenset({"return_logprobs"})
_UNSCANNED: Final[Mapping[str, Unscanned]] = MappingProxyType(
    {
        "input_ids": Unscanned.TOKEN_IDS,
        "decoder_input_ids": Unscanned.TOKEN_IDS,
        "draft_input_ids": Unscanned.TOKEN_IDS,
        "encoder_input_ids": Unscanned.TOKEN_IDS,
        "prompt_token_ids": Unscanned.TOKEN_IDS,
        "token_ids": Unscanned.TOKEN_IDS,
        "image": Unscanned.IMAGE,
        "image_bytes": Unscanned.IMAGE,
        "image_bytes_input": Unscanned.IMAGE,
        "video_bytes": Unscanned.VIDEO,
        "video_bytes_input": Unscanned.VIDEO,
        "audio": Unscanned.AUDIO,
        "audio_bytes": Unscanned.AUDIO,
        "audio_bytes_input": Unscanned.AUDIO,
        "encoder_input_features": Unscanned.TENSOR,
        "prompt_embedding_table": Unscanned.TENSOR,
        "prompt_embeds": Unscanned.TENSOR,
    }
)
_ADDRESSES: Final[Mapping[str, Unscanned]] = MappingProxyType(
    {
        "image_url": Unscanned.IMAGE,
        "image_url_input": Unscanned.IMAGE,
        "video_url": Unscanned.VIDEO,
        "video_url_input": Unscanned.VIDEO,
        "audio_url": Unscanned.AUDIO,
        "audio_url_input": Unscanned.AUDIO,
    }
)
_REFUSED: Final = frozenset(
    {
        *("binary_data", "binary_data_output", "binary_data_size"),
        # A request within a string that only some versions read.
        "embedding_request",
        # Files on the server, and weights that are uploaded to it.
        *("lora_config", "lora_path", "lora_weights"),
        *("priority", "request_type", "timeout"),
    }
)
_REFUSED_PREFIXES: Final = (
    "audio",
    "image",
    "multi_modal",
    "sequence_",
    "shared_memory_",
    "triton_",
    "video",
)

FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What a field's name can be: anything else is the caller's own text where nobody would look for it."""

KNOWN_NAMES: Final = frozenset(
    {
        *(REQUEST_ID, PARAMETERS, SAMPLING),
        *_PROMPTS,
        *LIMITS_OF_OUTPUT,
        *MULTIPLIERS,
        *(f"{SAMPLING_PARAM}{name}" for name in MULTIPLIERS),
        *_FLAGS,
        *_FLAGS_OFF,
        *_UNSCANNED,
        *_ADDRESSES,
        *_REFUSED,
    }
)
"""The names that a message to the client may repeat; any other may be its own text."""


def _fixed() -> Mapping[str, Meaning]:
    kinds: dict[str, Kind] = {
        SAMPLING: Kind.SAMPLING,
        **dict.fromkeys(_PROMPTS, Kind.PROMPT),
        **dict.fromkeys(LIMITS_OF_OUTPUT, Kind.LIMIT),
        **dict.fromkeys(_FLAGS, Kind.FLAG),
        **dict.fromkeys(_FLAGS_OFF, Kind.FLAG_OFF),
        **dict.fromkeys(_UNSCANNED, Kind.UNSCANNED),
        **dict.fromkeys(_ADDRESSES, Kind.ADDRESS),
        **dict.fromkeys(_REFUSED, Kind.REFUSED),
    }
    content = {**_UNSCANNED, **_ADDRESSES}
    return MappingProxyType(
        {
            name: Meaning(kind=kind, sampling_name=name, unscanned=content.get(name))
            for name, kind in kinds.items()
        }
    )


_MEANINGS: Final = _fixed()


def meaning_of(name: str) -> Meaning:
    """What a name means, in whichever layer it stands.

    llmapi's ``sampling_param_X`` means what ``X`` means, unless it stands in a table by its whole name.
    """
    fixed = _MEANINGS.get(name)
    if fixed is not None:
        return fixed
    short = name.removeprefix(SAMPLING_PARAM)
    if name.startswith(_REFUSED_PREFIXES) or _is_fixed_refusal(short):
        return Meaning(kind=Kind.REFUSED, sampling_name=name)
    kind = Kind.MULTIPLIER if short in MULTIPLIERS else Kind.PARAMETER
    return Meaning(kind=kind, sampling_name=short)


def _is_fixed_refusal(short: str) -> bool:
    """Whether the rest of a prefixed name is one that is no sampling field at all."""
    return short in _MEANINGS or short.startswith(_REFUSED_PREFIXES)
