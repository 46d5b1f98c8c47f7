"""What runs a model. A runtime is one module here that exports ``RUNTIME``; nothing lists them."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from classifiers.model import Model
    from classifiers.triton import ServedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How a runtime may use the machine.

    ``threads`` are those of one inference; ``accelerated`` allows a GPU where there is one. ``server`` is
    where a runtime asks that runs nothing itself.
    """

    threads: int = 1
    accelerated: bool = True
    server: ServedModel | None = None


class Runtime(Protocol):
    """A model that is loaded. Safe to call from several threads at once."""

    @property
    def batch_windows_max(self) -> int:
        """The most windows of one ``run`` that suit what it runs on."""

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Ids and mask, both [windows, tokens], to logits [windows, columns]. Mask 0 is padding."""

    def describe(self) -> str:
        """The model, what it runs on and, where that is no accelerator, why. For the start-up line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSpec:
    """What a runtime's module exports as ``RUNTIME``. ``open`` raises ModelError where it cannot run it."""

    name: str
    open: Callable[[Model, RuntimeOptions], Runtime]


def discover() -> Mapping[str, RuntimeSpec]:
    """Every runtime in this package, by name, in order of their modules' names."""
    specs: dict[str, RuntimeSpec] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
        spec = getattr(import_module(f"{__name__}.{module.name}"), "RUNTIME", None)
        if not isinstance(spec, RuntimeSpec):
            raise TypeError(f"{module.name}: exports no RUNTIME")
        if spec.name in specs:
            raise TypeError(f"{module.name}: the runtime name {spec.name} is taken")
        specs[spec.name] = spec
    return specs
