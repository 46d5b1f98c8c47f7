"""What a scanner needs to know before any text: made once per policy, shared by its scanners."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from extproc.redaction.kernel import AVAILABLE, Kernel
from extproc.redaction.naming import Naming
from extproc.redaction.operators import REDACT, needs_value, replacement
from extproc.redaction.transducer import is_plain

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    from extproc.redaction.automaton import Automaton
    from extproc.redaction.operators import Operator

Finder: TypeAlias = Callable[[str, int], "re.Match[str] | None"]


class Plan:
    """A rule set, the rules that count, and what takes their findings' place. Shared by scanners.

    Args:
        automaton: The rules.
        mask: Bit set of the rules that count; see ``Automaton.mask``.
        operators: By entity type.
        default_operator: For entity types that ``operators`` does not name.
        compiled: Whether the kernel may be used where there is one.

    Attributes:
        ready: By rule, what takes a value's place; None where it depends on the whole match.
        others: By rule, the masked rules whose findings look different.
        validated: Bit set of the rules with a validator.
        valued: Of those that must be kept whole until they end: where the value's start or its replacement
            depends on it.
        growing: Of those that have no longest match, where it does all the same: see ``growing``.
        naming: Where the value begins, for the rules that have a naming part.
    """

    __slots__ = (
        *("automaton", "find", "find_disguised", "growing", "kernel", "mask", "naming", "operators"),
        *("others", "ready", "validated", "valued"),
    )

    def __init__(
        self,
        automaton: Automaton,
        *,
        mask: int,
        operators: Mapping[str, Operator] | None = None,
        default_operator: Operator = REDACT,
        compiled: bool = True,
    ) -> None:
        by_type = operators or {}
        self.automaton = automaton
        self.mask = mask
        self.kernel = Kernel(automaton, mask) if compiled and AVAILABLE else None
        self.find = automaton.prefilter(mask).search
        self.find_disguised = automaton.beginnings(mask).search
        self.operators = [by_type.get(r.entity_type, default_operator) for r in automaton.rules]
        self.validated = 0
        self.valued = 0
        self.growing = 0
        self.ready: list[str | None] = []
        self.naming: dict[int, Naming] = {}
        same: dict[str, int] = {}
        for number, (rule, operator) in enumerate(zip(automaton.rules, self.operators, strict=True)):
            is_endless = automaton.shapes[number].chars_max is None
            needed = needs_value(operator)
            if rule.validator is not None:
                self.validated |= 1 << number
            if rule.naming:
                self.naming[number] = Naming(automaton, number)
            if needed or rule.naming:
                self.valued |= 0 if is_endless else 1 << number
                self.growing |= 1 << number if is_endless else 0
            waits = needed or (rule.naming and not is_endless)
            ready = None if waits else replacement(operator, rule.entity_type, "")
            self.ready.append(ready)
            if ready is not None and not rule.naming:
                same[ready] = same.get(ready, 0) | 1 << number
        # Those with a naming part leave each another part of the match.
        self.others = [
            mask & ~(1 << number if ready is None or number in self.naming else same[ready])
            for number, ready in enumerate(self.ready)
        ]

    def finder(self, text: str) -> Finder:
        """What finds where a rule could begin in a text."""
        return self.find if is_plain(text) else self.find_disguised
