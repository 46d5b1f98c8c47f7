"""Keys, tokens and passwords in request and answer (OWASP LLM02, sensitive information disclosure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from extproc.domain.ports import GuardEnv, GuardSpec
from extproc.domain.verdict import Reason, Stage
from extproc.guards._binding import bound_to
from extproc.guards._rules import OnFinding, RuleGuard

PACK: Final = "secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What happens to credentials, by lane.

    Both lanes redact by default. A key in a prompt is mostly an accident in a pasted log or source file:
    taken out, the question can still be answered and the key never reaches the model. ``block`` suits
    tenants who want people to notice. ``entity_types`` and ``operators`` are as for personal data.
    """

    request: OnFinding = OnFinding.REDACT
    answer: OnFinding = OnFinding.REDACT
    entity_types: tuple[str, ...] = ()
    operators: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def _build(settings: Settings, env: GuardEnv) -> RuleGuard:
    return RuleGuard(
        pack=PACK,
        found=Reason.SECRET_FOUND,
        what="a credential was",
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
