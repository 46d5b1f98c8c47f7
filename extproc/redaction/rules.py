"""What a rule is, and the closed set of boundaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final, TypeAlias

from extproc.domain.errors import HeadgateError
from extproc.redaction import charset as cs

Validator: TypeAlias = Callable[[str], bool]


class RuleError(HeadgateError):
    """A rule that cannot be compiled or used as asked; names the rule, and why."""

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(f"rule {rule}: {why}")
        self.rule = rule
        self.why = why


class Boundary(StrEnum):
    r"""What may stand beside a match: a predicate on the one neighbouring original code point.

    Both ends of the text satisfy every boundary but WORD, which is ``\b`` of Python's ``re`` for text.
    The others leave most scripts aside: those without spaces put a value directly after a letter.
    """

    NONE = auto()
    WORD = auto()
    NOT_WORD = auto()
    NOT_DIGIT = auto()
    NOT_DASHED = auto()
    NOT_DOTTED = auto()
    NOT_LOCAL = auto()
    NOT_HOST = auto()
    NOT_GROUPED = auto()
    NOT_ADDRESSED = auto()


EXCLUDED: Final = {
    # `_` stands beside what is emphasised, and joins a name to its value.
    Boundary.NOT_WORD: cs.ALNUM,
    Boundary.NOT_DIGIT: cs.DIGIT,
    Boundary.NOT_DASHED: cs.union(cs.ALNUM, cs.of_chars("-")),
    Boundary.NOT_DOTTED: cs.union(cs.ALNUM, cs.of_chars(".")),
    # What the local part of a mail address is made of, with Latin, Greek and Cyrillic letters.
    Boundary.NOT_LOCAL: cs.union(cs.WORD, cs.of_chars(".%+-"), ((0xC0, 0x4FF),)),
    # The same with the sign before the host of a mail address.
    Boundary.NOT_HOST: cs.union(cs.WORD, cs.of_chars(".%+-@"), ((0xC0, 0x4FF),)),
    # What joins the groups of an IPv6 address, and the octets at its end.
    Boundary.NOT_GROUPED: cs.union(cs.ALNUM, cs.of_chars(":")),
    Boundary.NOT_ADDRESSED: cs.union(cs.ALNUM, cs.of_chars(":.")),
}
"""The neighbours that each boundary but NONE and WORD forbids."""


def is_word(char: str) -> bool:
    r"""Whether the character is ``\w`` of Python's ``re`` for text."""
    return char.isalnum() or char == "_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One shape to find: boundaries, a restricted regular body, and a check of the value.

    Args:
        name: Unique within a rule set.
        entity_type: As Presidio names it where it has a name.
        pack: "pii" or "secrets", or an operator's own.
        body: See ``pattern``. Unbounded bodies need NONE on the right and no validator.
        naming: What must stand before the body and tells what it is: matched with it, and shown to the
            validator, but no part of the value, which alone is found and replaced.
        left: What may stand before.
        right: What may stand after.
        validator: One of ``validators.VALIDATORS``, or None.
        needs: Characters of which the validator asks for at least one; what has none is not even looked at.
        score: How sure a match is, in [0, 1].
        ignore_case: For ASCII letters of the body.
        default: Whether it counts where a policy names no entity types. Shapes that ordinary text has too
            (nine digits, a date) count only where their type is named.
        matches: Texts that hold a match.
        rejects: Texts that hold none.
    """

    name: str
    entity_type: str
    pack: str
    body: str
    naming: str = ""
    left: Boundary = Boundary.NOT_WORD
    right: Boundary = Boundary.NOT_WORD
    validator: Validator | None = None
    needs: str = ""
    score: float = 1.0
    ignore_case: bool = False
    default: bool = True
    matches: tuple[str, ...] = ()
    rejects: tuple[str, ...] = ()
