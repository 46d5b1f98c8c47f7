"""Who is calling, and what they may spend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated caller. ``key_id`` names the credential; the credential itself is nowhere.

    ``admin`` may use the upstream's administration.
    """

    tenant: str
    key_id: str
    admin: bool = False


class Window(StrEnum):
    """The period over which a token limit counts."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def duration_ms(self) -> int:
        """Length of the window in milliseconds."""
        match self:
            case Window.MINUTE:
                return 60_000
            case Window.HOUR:
                return 3_600_000
            case Window.DAY:
                return 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimit:
    """At most ``tokens`` in any sliding ``window``."""

    window: Window
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Tokens of a tenant held for one exchange until it is settled, or its lease runs out."""

    reservation_id: str
    tenant: str
    tokens: int
    limits: tuple[TokenLimit, ...]
    lease_ms: int
