"""How the packs of secrets write their rules.

Prefixes and lengths are facts that the issuers publish; gitleaks' rule file (MIT) was read for them. The
bodies are this project's own and mostly wider: a token that was cut or grew longer is still one. Where a
value has a known prefix the end stays open, so that a truncated or longer one leaves nothing. Key-shaped
examples are put together at import: nothing in these files is in the shape of a key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from extproc.redaction.rules import Boundary, Rule

ALNUM: Final = "0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijABCDEFGHIJ0123456789abcdefghij"
HEX: Final = "0123456789abcdef" * 16
SHORT: Final = r"[A-Za-z0-9]"
DASHED: Final = r"[A-Za-z0-9_\-]"
_SIGN: Final = r"[\"'`]?[ \t]{0,3}(?::=|=>|[:=,])[ \t]{0,3}[\"'`]?"
_FIVE: Final = "admin|api|app|auth|dev|id|keys?|live|oauth|prod|sid|test|token|zone"
_SIX: Final = rf"{_FIVE}|access|client|global|secret|tokens"
_SEVEN: Final = rf"{_SIX}|account|sandbox|service|staging"
_PART: Final = r"[_\- ]?"
KNOWN: Final = (
    rf"(?:(?:{_PART}(?:{_FIVE}))?(?:{_PART}(?:{_SIX})){{0,2}}"
    rf"|(?:{_PART}(?:{_SEVEN}|production))?(?:{_PART}(?:{_SEVEN}))?)"
)
"""The rest of a name in words that are of no value, so that it can stay: some of what ``ANY`` matches.

Not with dots, which make hosts of them.
"""
ANY: Final = r"[ \t\w.\-]{0,20}"
"""The rest of any name. It may hold other values, for which nothing looks in what a match leaves."""


def key(*parts: str, tail: int = 0, alphabet: str = ALNUM) -> str:
    """A key-shaped example from its parts and so many characters more."""
    return "".join(parts) + (alphabet * 4)[:tail]


def open_token(name: str, entity_type: str, body: str, *, example: str, naming: str = "") -> Rule:
    """A token known by its prefix, or by what stands before it, extended as far as its alphabet goes."""
    return Rule(
        name=name,
        entity_type=entity_type,
        pack="secrets",
        naming=naming,
        body=body,
        right=Boundary.NONE,
        matches=(example, f"key: {example}."),
        rejects=(example[:8], f"x{example}"),
    )


def assigned(  # noqa: PLR0913  what two rules have
    name: str,
    entity_type: str,
    words: str,
    value: str,
    *,
    says: str,
    example: str,
    clear: str = "",
) -> tuple[Rule, Rule]:
    """A value without a mark of its own, assigned to a name that holds the issuer's.

    A name in known words stays. Any other goes with the value: something in it could be a value too. Where
    both rules match they end at the same place, so the first one counts.

    Args:
        name: Of the first rule.
        entity_type: Of both.
        words: The body of the issuer's names.
        value: The body of the value.
        says: A name in known words, for the examples.
        example: A value.
        clear: The values that begin with nothing the sign could have, where not all do.
    """
    known = Rule(
        name=name,
        entity_type=entity_type,
        pack="secrets",
        naming=rf"(?:{words}){KNOWN}{_SIGN}",
        body=clear or value,
        left=Boundary.NONE,
        right=Boundary.NONE,
        ignore_case=True,
        score=0.9,
        matches=(f"{says} = {example}", f'{says}: "{example}"'),
        rejects=(example, f"{says} = {example[:8]}", f"{says} {example}", f"{says}_7 = {example}"),
    )
    other = replace(
        known,
        name=f"{name}-other-name",
        naming="",
        body=rf"(?:{words}){ANY}{_SIGN}{value}",
        matches=(f"{says}_7 = {example}", f'{says} 7: "{example}"'),
        rejects=(example, f"{says}_7 = {example[:8]}", f"{says} 7 {example}"),
    )
    return known, other
