"""How the packs write their rules: a shape by itself, and a value beside a word that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.rules import Boundary, Rule

if TYPE_CHECKING:
    from extproc.redaction.rules import Validator

_NOUNS: Final = (
    "numbers?|nummer|num|no|nr|n°|nº|numero|número|numéro|id|code|codes|card|identifier|reference|holder|#"
)
_VERBS: Final = "is|it's|was|are|es|è|est|ist|lautet|är|er|reads|would be"
GAP: Final = rf"(?:[ _\-]?(?:{_NOUNS}))?(?:[ \t.]{{1,2}}(?:{_VERBS}))?[ \t:=#.\"'(*|`\-]{{1,5}}"
"""What stands between a naming word and its value: ``no.: ``, ``_number": "``, `` number is ``."""


def naming(words: str) -> str:
    """The naming part of a value that stands beside one of these words: they stay, the value is found."""
    return rf"(?:{words}){GAP}"


def rule_name(entity_type: str) -> str:
    """A rule's name from its entity type."""
    return entity_type.lower().replace("_", "-")


def shape(  # noqa: PLR0913  what a rule has
    entity_type: str,
    body: str,
    *,
    matches: tuple[str, ...],
    rejects: tuple[str, ...],
    name: str = "",
    validator: Validator | None = None,
    left: Boundary = Boundary.NOT_DASHED,
    right: Boundary = Boundary.NOT_DASHED,
    score: float = 0.85,
    ignore_case: bool = False,
    default: bool = True,
) -> Rule:
    """A value that is known by its own shape."""
    return Rule(
        name=name or rule_name(entity_type),
        entity_type=entity_type,
        pack="pii",
        body=body,
        left=left,
        right=right,
        validator=validator,
        score=score if default else 0.3,
        ignore_case=ignore_case,
        default=default,
        matches=matches,
        rejects=rejects,
    )


def named(  # noqa: PLR0913  what a rule has
    entity_type: str,
    words: str,
    value: str,
    *,
    matches: tuple[str, ...],
    rejects: tuple[str, ...],
    name: str = "",
    validator: Validator | None = None,
    score: float = 0.9,
) -> Rule:
    """A value that only the word before it tells from others."""
    return Rule(
        name=name or f"{rule_name(entity_type)}-named",
        entity_type=entity_type,
        pack="pii",
        body=value,
        naming=naming(words),
        right=Boundary.NOT_DASHED,
        validator=validator,
        score=score,
        ignore_case=True,
        matches=matches,
        rejects=rejects,
    )


def number(  # noqa: PLR0913  what two rules have
    entity_type: str,
    value: str,
    *,
    words: str,
    says: str,
    example: str,
    wrong: str,
    validator: Validator | None = None,
    default: bool = False,
    ignore_case: bool = False,
    left: Boundary = Boundary.NOT_DASHED,
) -> tuple[Rule, Rule]:
    """A value by its shape, and the same beside a naming word.

    Args:
        entity_type: As Presidio names it where it has a name.
        value: The body of the value.
        words: The body of the naming words.
        says: One of them, for the examples.
        example: A value.
        wrong: What is none.
        validator: Of both.
        default: Whether the shape alone counts by default; beside its name the value always does.
        ignore_case: Of the shape alone; beside a naming word case never counts.
        left: Of the shape alone.
    """
    return (
        shape(
            entity_type,
            value,
            name=f"{rule_name(entity_type)}-plain",
            matches=(example, f"see {example}."),
            rejects=(wrong, f"9{example}" if left is Boundary.NOT_DIGIT else f"-{example}"),
            validator=validator,
            left=left,
            ignore_case=ignore_case,
            default=default,
        ),
        named(
            entity_type,
            words,
            value,
            matches=(f"{says}: {example}", f"my {says} number is {example}."),
            rejects=(f"{says}: {wrong}", f"{says} of {example}"),
            validator=validator,
        ),
    )
