"""Personal data in the request and in the answer (OWASP LLM02, sensitive information disclosure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from extproc.domain.ports import GuardEnv, GuardSpec
from extproc.domain.verdict import Reason, Stage
from extproc.guards._binding import bound_to
from extproc.guards._rules import OnFinding, RuleGuard

PACK: Final = "pii"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What happens to personal data, by lane.

    Both lanes redact by default: people paste letters and tickets, and the work goes on without the
    names in them. ``entity_types`` narrows what is looked for; empty means all of the pack but shapes that
    ordinary text has too, which count only where their type is named.
    ``operators`` maps an entity type to what takes its place; the rest get their type in brackets.
    """

    request: OnFinding = OnFinding.REDACT
    answer: OnFinding = OnFinding.REDACT
    entity_types: tuple[str, ...] = ()
    operators: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


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
    )


GUARD = GuardSpec(
    name=PACK,
    stage=Stage.INSPECT,
    owasp="LLM02",
    error_reason=Reason.INTERNAL,
    settings=Settings,
    build=bound_to(Settings, _build),
)
