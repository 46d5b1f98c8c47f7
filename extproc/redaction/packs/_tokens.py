"""How the packs of secrets write their rules.

Prefixes and lengths are facts that the issuers publish; gitleaks' rule file (MIT) was read for them. The
bodies are this project's own and mostly wider: a token that was cut or grew longer is still one. Where a
value has a known prefix the end stays open, so that a truncated or longer one leaves nothing. Key-shaped
examples are put together at import: nothing in these files is in the shape of a key.
"""

from __future__ import annotations

from typing import Final

from extproc.redaction.rules import Boundary, Rule

ALNUM: Final = "0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijABCDEFGHIJ0123456789abcdefghij"
HEX: Final = "0123456789abcdef" * 16
SHORT: Final = r"[A-Za-z0-9]"
DASHED: Final = r"[A-Za-z0-9_\-]"
ASSIGNED: Final = r"[ \t\w.\-]{0,20}[\"'`]?[ \t]{0,3}(?::=|=>|[:=,])[ \t]{0,3}[\"'`]?"
"""From a naming word to a value that is assigned: the rest of the name, a sign, quotes."""


def key(*parts: str, tail: int = 0, alphabet: str = ALNUM) -> str:
    """A key-shaped example from its parts and so many characters more."""
    return "".join(parts) + (alphabet * 4)[:tail]


def open_token(
    name: str, entity_type: str, body: str, *, example: str, left: Boundary = Boundary.NOT_WORD
) -> Rule:
    """A token known by its prefix, extended as far as its alphabet goes."""
    return Rule(
        name=name,
        entity_type=entity_type,
        pack="secrets",
        body=body,
        left=left,
        right=Boundary.NONE,
        matches=(example, f"key: {example}."),
        rejects=(example[:8], f"x{example}"),
    )


def assigned(  # noqa: PLR0913  what a rule has
    name: str, entity_type: str, words: str, value: str, *, says: str, example: str
) -> Rule:
    """A value without a mark of its own, assigned to a name that holds the issuer's."""
    return Rule(
        name=name,
        entity_type=entity_type,
        pack="secrets",
        # All of it is the value: the rest of the name may hold anything, other values too.
        body=rf"(?:{words}){ASSIGNED}{value}",
        left=Boundary.NONE,
        right=Boundary.NONE,
        ignore_case=True,
        score=0.9,
        matches=(f"{says} = {example}", f'{says}: "{example}"'),
        rejects=(example, f"{says} = {example[:8]}", f"{says} {example}"),
    )
