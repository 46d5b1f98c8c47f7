"""Settings that narrow what a guard judges: what they leave out, and whether they leave anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from extproc.domain.segment import Origin, Role

if TYPE_CHECKING:
    from collections.abc import Collection

_OF_TOOLS: Final = frozenset({Origin.TOOL_RESULT, Origin.TOOL_DESCRIPTION})


@runtime_checkable
class NarrowsSegments(Protocol):
    """Settings of a guard that judges only some parts of a request; empty means all."""

    @property
    def roles(self) -> Collection[Role]:
        """Who speaks."""

    @property
    def origins(self) -> Collection[Origin]:
        """How it came in."""


@runtime_checkable
class LetsPassUnscanned(Protocol):
    """Settings of a guard that may let pass what no guard can read."""

    @property
    def unscanned(self) -> Collection[str]:
        """Kinds of content."""


def occurs(role: Role, origin: Origin) -> bool:
    """Whether any protocol has such a part: tools speak as tools, and nobody else does."""
    return (role is Role.TOOL) == (origin in _OF_TOOLS)


def judges(settings: NarrowsSegments, role: Role, origin: Origin) -> bool:
    """Whether a part of this role and origin is judged."""
    by_role = not settings.roles or role in settings.roles
    return by_role and (not settings.origins or origin in settings.origins)


def judges_nothing(settings: NarrowsSegments) -> bool:
    """Whether there is no part that could be judged, in any protocol."""
    return not any(
        occurs(role, origin) and judges(settings, role, origin) for role in Role for origin in Origin
    )


def narrowing_text(settings: NarrowsSegments) -> str:
    """What is judged, and that prompts are not if so; empty where everything is."""
    if not settings.roles and not settings.origins:
        return ""
    whose = f" of {', '.join(settings.roles)}" if settings.roles else ""
    how = f" that came in as {', '.join(settings.origins)}" if settings.origins else ""
    text = f"judges only text{whose}{how}"
    if not judges(settings, Role.USER, Origin.DIRECT):
        text += "; prompts of users pass it"
    return text
