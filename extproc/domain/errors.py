"""Failures by who must act. A refusal is a decision and not an exception; a bug is any other exception."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extproc.domain.verdict import Reason


class HeadgateError(Exception):
    """Base of the service's own failures."""


class PeerError(HeadgateError):
    """The client or the upstream broke the protocol.

    ``message`` may reach the client: it names a place and a bound from a closed list, never content.
    """

    def __init__(self, reason: Reason, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.status = status


class FailureKind(StrEnum):
    """How a dependency failed."""

    DEADLINE = auto()
    UNAVAILABLE = auto()
    OVERLOADED = auto()
    # The question is larger than is ever answered: asking again cannot help.
    TOO_LONG = auto()


class DependencyError(HeadgateError):
    """Redis, a classifier or an upstream service did not answer; the guard's ``on_error`` decides."""

    def __init__(self, kind: FailureKind, what: str) -> None:
        super().__init__(f"{what}: {kind}")
        self.kind = kind
        self.what = what


class PolicyError(HeadgateError):
    """A policy file that cannot be loaded: says file, line, column, field and what to write instead."""


class SettingError(ValueError):
    """A setting that a guard cannot have.

    Says where within its section, what is wrong and what to write instead; none of it repeats a value.
    """

    def __init__(self, place: tuple[str | int, ...], what: str, instead: str) -> None:
        super().__init__(what)
        self.place = place
        self.instead = instead
