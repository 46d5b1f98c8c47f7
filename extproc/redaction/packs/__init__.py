"""The shipped rule packs. Order matters only where two rules accept at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.automaton import compile_rules
from extproc.redaction.packs import pii, secrets

if TYPE_CHECKING:
    from extproc.redaction.automaton import Automaton
    from extproc.redaction.rules import Rule

ALL_RULES: Final[tuple[Rule, ...]] = (*pii.RULES, *secrets.RULES)


def default_automaton() -> Automaton:
    """The automaton of all shipped rules; compiled on the first call, then the same object."""
    return compile_rules(ALL_RULES)
