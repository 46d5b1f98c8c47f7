"""Joins a guard's typed settings to the untyped seam of ``GuardSpec``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from extproc.domain.ports import Guard, GuardEnv

S = TypeVar("S")


def bound_to(
    settings_type: type[S], build: Callable[[S, GuardEnv], Guard]
) -> Callable[[object, GuardEnv], Guard]:
    """``build`` for any object; TypeError where it is not of ``settings_type``."""

    def checked(settings: object, env: GuardEnv) -> Guard:
        if not isinstance(settings, settings_type):
            raise TypeError(f"settings of type {settings_type.__qualname__} expected")
        return build(settings, env)

    return checked
