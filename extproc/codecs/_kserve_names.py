"""Names of KServe inputs that ``_triton_fields`` does not know: settings, content, or the caller's own."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_fields as fields
from extproc.domain.errors import PeerError
from extproc.domain.segment import Unscanned
from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

# Sampling tensors of the backends: with any other name a tensor is content, not a setting.
_SAMPLING_TENSORS: Final = frozenset(
    {
        *("temperature", "top_k", "top_p", "min_p", "top_p_min", "top_p_decay", "top_p_reset_ids"),
        *("len_penalty", "length_penalty", "repetition_penalty", "presence_penalty", "frequency_penalty"),
        *("min_length", "min_tokens", "random_seed", "seed", "early_stopping", "ignore_eos", "end_id"),
        *("pad_id", "beam_search_diversity_rate", "no_repeat_ngram_size", "stop", "stop_words"),
        *("bad_words", "stop_words_list", "bad_words_list", "stop_token_ids", "include_stop_str_in_output"),
        *("embedding_bias", "embedding_bias_words", "embedding_bias_weights", "echo", "detokenize"),
        *("skip_special_tokens", "spaces_between_special_tokens", "use_draft_logits", "lookahead_config"),
    }
)
_SAMPLING_PREFIXES: Final = (
    *(fields.SAMPLING_PARAM, "guided_", "kv_cache_", "logit", "lora_", "num_draft_", "prompt_vocab"),
    *("retention_", "return_", "runtime_"),
)
# Content by the beginning of its name, where it is numbers.
_CONTENT: Final[Mapping[str, Unscanned]] = MappingProxyType(
    {
        "audio": Unscanned.AUDIO,
        "image": Unscanned.IMAGE,
        "multi_modal": Unscanned.IMAGE,
        "pixel_values": Unscanned.IMAGE,
        "video": Unscanned.VIDEO,
    }
)
# Triton's own request parameters, which a message may name too.
_RESERVED: Final = frozenset({"sequence_id", "sequence_start", "sequence_end"})


def is_sampling(name: str) -> bool:
    """Whether a tensor of this name is a setting, for the schema guard."""
    return name in _SAMPLING_TENSORS or name.startswith(_SAMPLING_PREFIXES)


def content_of(name: str) -> Unscanned | None:
    """What a tensor of numbers holds, as far as its name says."""
    return next((kind for start, kind in _CONTENT.items() if name.startswith(start)), None)


def fault(name: str, what: str, *, reason: Reason = Reason.BODY_INVALID) -> PeerError:
    """Names a field of the schemas; any other name is the caller's own text."""
    known = name in fields.KNOWN_NAMES or name in _RESERVED
    return PeerError(reason, f"{name if known else 'a field'} {what}")
