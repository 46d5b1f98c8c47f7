"""The shipped rule packs. A new module here that exports ``RULES`` is found and tested by itself.

Where two rules accept at the same place the first one counts: modules in order of their names, ``pii`` and
``secrets`` before the countries and issuers that refine them. Modules whose name begins with an underscore
are shared parts.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Final

from extproc.redaction.automaton import compile_rules
from extproc.redaction.rules import Rule

if TYPE_CHECKING:
    from extproc.redaction.automaton import Automaton


def _found() -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for name in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        if name.startswith("_"):
            continue
        exported = getattr(importlib.import_module(f"{__name__}.{name}"), "RULES", None)
        if not isinstance(exported, tuple) or not all(isinstance(rule, Rule) for rule in exported):
            raise TypeError(f"{name} exports no RULES")
        rules += exported
    return tuple(rules)


ALL_RULES: Final[tuple[Rule, ...]] = _found()


def default_automaton() -> Automaton:
    """The automaton of all shipped rules; compiled on the first call, then the same object."""
    return compile_rules(ALL_RULES)
