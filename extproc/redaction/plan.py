"""What a scanner needs to know before any text: made once per policy, shared by its scanners."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from extproc.redaction.kernel import AVAILABLE, Kernel
from extproc.redaction.operators import REDACT, needs_value, replacement
from extproc.redaction.rules import RuleError
from extproc.redaction.transducer import DISGUISED

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

    Raises:
        RuleError: for an unbounded rule with an operator that needs the whole value.
    """

    __slots__ = (
        *("automaton", "find", "find_disguised", "kernel", "mask", "operators", "others", "ready"),
        *("validated", "valued"),
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
        # The replacement of each rule where it needs no value, and the masked rules that differ.
        self.ready: list[str | None] = []
        for number, (rule, operator) in enumerate(zip(automaton.rules, self.operators, strict=True)):
            if rule.validator is not None:
                self.validated |= 1 << number
            if not needs_value(operator):
                self.ready.append(replacement(operator, rule.entity_type, ""))
                continue
            if mask >> number & 1 and automaton.shapes[number].chars_max is None:
                why = "has no longest match, so its values can be neither masked nor hashed"
                raise RuleError(rule.name, f"{why}: write redact, replace:TEXT or pseudonym")
            self.valued |= 1 << number
            self.ready.append(None)
        bits: dict[str | None, int] = {}
        for number, ready in enumerate(self.ready):
            if ready is not None:
                bits[ready] = bits.get(ready, 0) | 1 << number
        self.others = [mask & ~bits.get(ready, 0) for ready in self.ready]

    def finder(self, text: str) -> Finder:
        """What finds where a rule could begin in a text."""
        if text.isascii() or DISGUISED.search(text) is None:
            return self.find
        return self.find_disguised
