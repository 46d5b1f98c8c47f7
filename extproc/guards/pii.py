"""Personal data in the request and in the answer (OWASP LLM02, sensitive information disclosure)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final

from annotated_types import Interval

from extproc.domain.limits import LIMITS
from extproc.domain.ports import GuardEnv, GuardSpec
from extproc.domain.reading import OnDeadline, SpanModel
from extproc.domain.verdict import Reason, Stage
from extproc.guards._binding import bound_to
from extproc.guards._rules import OnFinding, RuleGuard

PACK: Final = "pii"
_ENTITY_TYPE: Final = re.compile("[A-Z][A-Z0-9_]{1,47}")
_MODEL_NAME: Final = re.compile("[a-z0-9][a-z0-9_.-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """A model that finds in answers what no rule can; ``name`` is empty for none. See ``SpanModel``.

    The default of ``deadline_ms`` covers two sentences of a model that writes fifty tokens a second: a
    shorter one lets most of an answer go before it is read.
    """

    name: str = ""
    entity_types: tuple[str, ...] = ()
    deadline_ms: Annotated[int, Interval(ge=1, le=LIMITS.spans_deadline_ms)] = 2_000
    on_deadline: OnDeadline = OnDeadline.STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What happens to personal data, by lane.

    Both lanes redact by default: people paste letters and tickets, and the work goes on without the
    names in them. ``entity_types`` narrows what is looked for; empty means all of the pack but shapes that
    ordinary text has too, which count only where their type is named.
    ``operators`` maps an entity type to what takes its place; the rest get their type in brackets.
    ``model`` reads answers beside the rules.
    """

    request: OnFinding = OnFinding.REDACT
    answer: OnFinding = OnFinding.REDACT
    entity_types: tuple[str, ...] = ()
    operators: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    model: ModelSettings = field(default_factory=ModelSettings)

    def __post_init__(self) -> None:
        """Refuse a model that would find nothing, or what could not be told of.

        Raises:
            ValueError: its name or a type has another form, or one of both is missing.
        """
        named, types = self.model.name, self.model.entity_types
        if bool(named) is not bool(types):
            raise ValueError("a model has a name, and entity types that it finds")
        if named and not _MODEL_NAME.fullmatch(named):
            raise ValueError("a model's name has small letters, digits and _ . -")
        if not all(_ENTITY_TYPE.fullmatch(one) for one in types):
            raise ValueError("entity types are written like PERSON")


def _span_model(settings: ModelSettings) -> SpanModel | None:
    if not settings.name:
        return None
    return SpanModel(
        name=settings.name,
        entity_types=frozenset(settings.entity_types),
        deadline_ms=settings.deadline_ms,
        on_deadline=settings.on_deadline,
    )


def _build(settings: Settings, env: GuardEnv) -> RuleGuard:
    return RuleGuard(
        pack=PACK,
        found=Reason.PII_FOUND,
        what="personal data was",
        request=settings.request,
        answer=settings.answer,
        entity_types=frozenset(settings.entity_types),
        operators=settings.operators,
        find=env.find,
        key_hash=env.key_hash,
        model=_span_model(settings.model),
    )


GUARD = GuardSpec(
    name=PACK,
    stage=Stage.INSPECT,
    owasp="LLM02",
    error_reason=Reason.INTERNAL,
    settings=Settings,
    build=bound_to(Settings, _build),
)
