"""Checks of a value beyond its shape. Pure; they never raise on what their rule's body can match.

What they get is the whole match: where a rule has a naming word, that stands before the value. So they
count digits, or look at the last characters. They are this project's own, from the registers' published
rules: python-stdnum is LGPL, and phonenumbers and schwifty would be dependencies on the hot path for what
a few lines do.
"""

from __future__ import annotations

from inspect import getmembers, isfunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.redaction.validators import americas, asia_pacific, europe, generic, secrecy
from extproc.redaction.validators.digits import luhn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.redaction.rules import Validator


__all__ = ["VALIDATORS", "luhn", "name_of"]


def _registry() -> dict[str, Validator]:
    """The public checks of the modules by name: one name, one check."""
    found: dict[str, Validator] = {"luhn": luhn}
    for module in (generic, americas, asia_pacific, europe, secrecy):
        for name, check in getmembers(module, isfunction):
            if check.__module__ != module.__name__ or name.startswith("_"):
                continue
            if name in found:
                raise TypeError(f"two validators are called {name}")
            found[name] = check
    return found


VALIDATORS: Final[Mapping[str, Validator]] = MappingProxyType(_registry())
"""What a policy file may name."""

_NAMES: Final = {check: name for name, check in VALIDATORS.items()}


def name_of(validator: Validator) -> str | None:
    """The name under which a validator is registered, or None."""
    return _NAMES.get(validator)
