"""What a tenant may ask of which model: lengths, sampling (OWASP LLM05, improper output handling).

What the answer may look like begins with what a request may ask for: token probabilities carry the raw
text past every redaction, adapters and grammars change what the model says.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final

from annotated_types import Interval, Len

from extproc.domain.effects import Answer, Effect
from extproc.domain.ports import ALLOWED, ExchangeView, GuardEnv, GuardSpec, Verdict
from extproc.domain.scanning import RuleWatch
from extproc.domain.segment import Operation, ParamPlace, Params
from extproc.domain.verdict import Action, Reason, Stage
from extproc.guards._binding import bound_to

NOT_FOUND_STATUS = 404
BAD_REQUEST_STATUS = 400
ANY_MODEL: Final = "*"

# One text for a model that does not exist and for one that this key may not use, in the words and with
# the status of an upstream that does not know it: which models exist cannot be learnt by trying.
MODEL_MESSAGE: Final = "request for unknown model: there is none of that name for this API key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The numbers that a sampling field may take, both ends included. Without an end: any value."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is greater than max")

    def holds(self, value: str | float) -> bool:
        """Whether a value lies in it; text and booleans do only where there is no end at all."""
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if self.min is None and self.max is None:
            return True
        if isinstance(value, str | bool):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


# More names than the built-in list has make no message.
_LISTED_MAX: Final = 32
_ANY: Final = Range()
SAMPLING_ALLOWED: Final[Mapping[str, Range]] = MappingProxyType(
    {
        "temperature": Range(min=0, max=2),
        "top_p": Range(min=0, max=1),
        "top_k": Range(min=-1),
        "min_p": Range(min=0, max=1),
        "presence_penalty": Range(min=-2, max=2),
        "frequency_penalty": Range(min=-2, max=2),
        "repetition_penalty": Range(min=0, max=2),
        "length_penalty": Range(min=-2, max=2),
        "seed": Range(min=-1, max=2**32 - 1),
        "stop": _ANY,
        "stop_words": _ANY,
        "stop_sequences": _ANY,
        "min_tokens": Range(min=0),
        "ignore_eos": _ANY,
        "skip_special_tokens": _ANY,
        "spaces_between_special_tokens": _ANY,
        "include_stop_str_in_output": _ANY,
        "n": Range(min=1),
        "num_return_sequences": Range(min=1),
    }
)
"""What sampling parameters of vLLM and TensorRT-LLM may be set to by default.

How many answers are asked for is bounded by ``choices_count_max``. Left out on purpose: ``best_of`` and
``beam_width`` (the model writes answers that nobody gets, and no upstream counts), ``logprobs`` and
``prompt_logprobs`` (raw text beside the redacted one), ``lora_name`` (another model), ``logit_bias``,
``bad_words``, ``guided_*`` (they steer what is said).
"""

_REFUSED_BY_NAME: Final = frozenset(
    {
        "allowed_token_ids",
        "bad_words",
        "detokenize",
        "early_stopping",
        "echo",
        "embedding_bias_weights",
        "embedding_bias_words",
        "end_id",
        "extra_args",
        "guided_choice",
        "guided_decoding",
        "guided_decoding_guide",
        "guided_decoding_guide_type",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "logit_bias",
        "logits_processors",
        "logprobs",
        "lora_id",
        "lora_name",
        "lora_path",
        "lora_task_id",
        "lora_weights",
        "output_kind",
        "pad_id",
        "priority",
        "prompt_logprobs",
        "return_context_logits",
        "return_generation_logits",
        "return_log_probs",
        "sequence_end",
        "sequence_id",
        "sequence_start",
        "stop_token_ids",
        "store",
        "structured_outputs",
        "timeout",
        "top_logprobs",
        "truncate_prompt_tokens",
        "use_beam_search",
    }
)
"""Fields of vLLM, TensorRT-LLM, Triton and OpenAI that a message may name though no policy allows them. A
name that is neither here nor in the policy may be a caller's own text, and is not repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may be asked for.

    ``models`` are names, or ``*`` for every model; none are allowed unless named. ``output_tokens_max``
    caps each answer, and is written into requests that set no limit: 2,048 tokens are about 1,500 words.
    ``choices_count_max`` bounds n x best_of x beam width, by which an answer's cost multiplies.
    ``sampling`` replaces the default list as a whole.
    """

    models: tuple[Annotated[str, Len(1, 200)], ...] = ()
    output_tokens_max: Annotated[int, Interval(ge=1, le=10_000_000)] = 2_048
    choices_count_max: Annotated[int, Interval(ge=1, le=1_024)] = 4
    sampling: Mapping[Annotated[str, Len(1, 64)], Range] = field(default_factory=lambda: SAMPLING_ALLOWED)

    @property
    def known_models(self) -> frozenset[str]:
        """The names that may stand in a record."""
        return frozenset(self.models) - {ANY_MODEL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Refuses models and parameters that the policy does not allow, and caps the answer."""

    settings: Settings

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """Nothing."""
        del exchange
        return ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Allow with a cap on the answer's tokens, or refuse."""
        del answers
        request = exchange.request
        if request is None:
            return _model_refused()
        params = request.params
        if not request.operation.asks_a_model:
            # Health and server metadata name no model; what names one tells about it.
            allowed = not params.model or self._allows(params.model)
            return self._listed() if allowed else _model_refused()
        if not self._allows(params.model):
            return _model_refused()
        fault = self._counts_fault(params) or self._sampling_fault(params)
        if fault is not None:
            return Verdict(
                action=Action.BLOCK,
                reason=Reason.PARAMETER_NOT_ALLOWED,
                status=BAD_REQUEST_STATUS,
                message=fault,
            )
        if request.operation is Operation.EMBEDDINGS:
            return ALLOWED
        return Verdict(
            action=Action.ALLOW,
            reason=Reason.CLEAN,
            cap_output_tokens=self.settings.output_tokens_max,
        )

    def scanner(self, exchange: ExchangeView) -> RuleWatch | None:
        """None: the answer is not this guard's."""
        del exchange
        return None

    def _listed(self) -> Verdict:
        """Allow; a list of models names only those that may be asked."""
        if ANY_MODEL in self.settings.models:
            return ALLOWED
        models = frozenset(self.settings.models)
        return Verdict(action=Action.ALLOW, reason=Reason.CLEAN, allowed_models=models)

    def _allows(self, model: str) -> bool:
        return bool(model) and (model in self.settings.models or ANY_MODEL in self.settings.models)

    def _counts_fault(self, params: Params) -> str | None:
        if params.max_output_tokens is not None and params.max_output_tokens < 1:
            return "the limit of output tokens must be at least 1"
        if not 1 <= params.choices_count <= self.settings.choices_count_max:
            bound = self.settings.choices_count_max
            return f"the number of answers asked for must be from 1 to {bound}"
        return None

    def _sampling_fault(self, params: Params) -> str | None:
        for name, value in params.sampling.items():
            allowed = self.settings.sampling.get(name)
            if allowed is None:
                named = name in _REFUSED_BY_NAME or name in SAMPLING_ALLOWED
                place = params.sampling_places.get(name, ParamPlace.BODY)
                return f"the parameter {name} is not allowed" if named else self._unnamed_fault(place)
            if not allowed.holds(value):
                return f"the parameter {name} is out of bounds{_ends(allowed)}"
        return None

    def _unnamed_fault(self, place: ParamPlace) -> str:
        """What the policy allows, in place of a name that may be a caller's own text."""
        allowed = sorted(self.settings.sampling)
        shown = [*allowed[:_LISTED_MAX], *(["others"] if len(allowed) > _LISTED_MAX else [])]
        return f"a parameter in {place} is not allowed; allowed are: {', '.join(shown) or 'none'}"


def _ends(allowed: Range) -> str:
    ends = [
        f"{word} {end:.10g}"
        for word, end in (("at least", allowed.min), ("at most", allowed.max))
        if end is not None
    ]
    return f": {' and '.join(ends)}" if ends else ""


def _model_refused() -> Verdict:
    return Verdict(
        action=Action.BLOCK,
        reason=Reason.MODEL_NOT_ALLOWED,
        status=NOT_FOUND_STATUS,
        message=MODEL_MESSAGE,
    )


def _build(settings: Settings, env: GuardEnv) -> Schema:
    del env
    return Schema(settings=settings)


GUARD = GuardSpec(
    name="schema",
    stage=Stage.SCHEMA,
    owasp="LLM05",
    error_reason=Reason.INTERNAL,
    settings=Settings,
    build=bound_to(Settings, _build),
)
