"""One file per guard: a new file that exports ``GUARD`` is found, ordered and tested by itself.

Modules whose name begins with an underscore are shared parts and no guards.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from extproc.domain.ports import GuardSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType


class GuardModuleError(Exception):
    """A module of this package that breaks the contract: a mistake of the build, never of an operator."""


def guard_specs() -> Mapping[str, GuardSpec]:
    """Every guard of this package by name, in the order in which they run: stage, then name.

    Raises:
        GuardModuleError: A module without one GUARD, or two guards with one name.
    """
    names = (found.name for found in pkgutil.iter_modules(__path__, prefix=f"{__name__}."))
    return collect(importlib.import_module(name) for name in sorted(names) if not _is_shared_part(name))


def collect(modules: Iterable[ModuleType]) -> Mapping[str, GuardSpec]:
    """The guards that modules export, in the order in which they run.

    Raises:
        GuardModuleError: As for ``guard_specs``.
    """
    specs: dict[str, GuardSpec] = {}
    for module in modules:
        spec = getattr(module, "GUARD", None)
        if not isinstance(spec, GuardSpec):
            raise GuardModuleError(f"{module.__name__} exports no GUARD of type GuardSpec")
        if spec.name in specs:
            raise GuardModuleError(f"{module.__name__}: a guard named {spec.name} exists already")
        specs[spec.name] = spec
    return {spec.name: spec for spec in sorted(specs.values(), key=lambda s: (s.stage, s.name))}


def _is_shared_part(module_name: str) -> bool:
    return module_name.rpartition(".")[2].startswith("_")
