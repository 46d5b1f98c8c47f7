"""Who is calling: an API key, known by its keyed hash (OWASP LLM10, unbounded consumption).

The client gets one and the same refusal whether its key is missing, malformed or unknown, so that
nothing can be learnt by trying; the record says which it was.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from annotated_types import MinLen

from extproc.domain.effects import Answer, Effect
from extproc.domain.head import RequestHead
from extproc.domain.identity import Principal
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ExchangeView, GuardEnv, GuardSpec, Verdict
from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Action, Reason, Stage
from extproc.guards._binding import bound_to

UNAUTHENTICATED_STATUS = 401
MESSAGE = (
    "a valid API key is required: send it once, as 'authorization: Bearer <key>' or as 'x-api-key: <key>'"
)

# RFC 6750, section 2.1: the scheme, spaces, a b64token. Anchored; no comma, so no two keys in one value.
_KEY: Final = r"[A-Za-z0-9._~+/-]+=*"
_BEARER: Final = re.compile(rf"[Bb][Ee][Aa][Rr][Ee][Rr] +({_KEY})")
_BARE: Final = re.compile(rf"({_KEY})")


class KeyHeader(StrEnum):
    """A request header that may carry the API key."""

    AUTHORIZATION = "authorization"
    X_API_KEY = "x-api-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the key may stand.

    A header that is not in ``accept`` is not looked at: it is the upstream's.
    """

    accept: Annotated[tuple[KeyHeader, ...], MinLen(1)] = (KeyHeader.AUTHORIZATION, KeyHeader.X_API_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Finds the principal of an exchange, or refuses it."""

    accept: tuple[KeyHeader, ...]
    keyring: Mapping[str, Principal]
    key_hash: Callable[[str], str]

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """Nothing: the keyring is at hand."""
        del exchange
        return ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Allow with a principal, or refuse."""
        del answers
        presented = _presented(exchange.head, self.accept)
        if not presented:
            return _refused(Reason.API_KEY_MISSING)
        key = _key_of(*presented[0]) if len(presented) == 1 else None
        if key is None:
            return _refused(Reason.HEADER_INVALID)
        # A look-up by keyed hash tells an attacker nothing by its timing: he cannot choose the hash.
        principal = self.keyring.get(self.key_hash(key))
        if principal is None:
            return _refused(Reason.API_KEY_UNKNOWN)
        return Verdict(action=Action.ALLOW, reason=Reason.CLEAN, principal=principal)

    def scanner(self, exchange: ExchangeView) -> RuleWatch | None:
        """None: the answer is not this guard's."""
        del exchange
        return None


def _presented(head: RequestHead, accept: tuple[KeyHeader, ...]) -> tuple[tuple[KeyHeader, str], ...]:
    """Every credential of the request, in whichever accepted header."""
    return tuple(
        (header, value)
        for header in KeyHeader
        if header in accept
        for value in head.headers.get(header, ())
    )


def _key_of(header: KeyHeader, value: str) -> str | None:
    """The key in a header's value; None where it is malformed."""
    if len(value) > LIMITS.api_key_chars_max:
        return None
    pattern = _BEARER if header is KeyHeader.AUTHORIZATION else _BARE
    match = pattern.fullmatch(value)
    return match.group(1) if match else None


def _refused(reason: Reason) -> Verdict:
    return Verdict(
        action=Action.BLOCK,
        reason=reason,
        status=UNAUTHENTICATED_STATUS,
        message=MESSAGE,
        headers=(("www-authenticate", "Bearer"),),
    )


def _build(settings: Settings, env: GuardEnv) -> Identity:
    return Identity(accept=settings.accept, keyring=env.keyring, key_hash=env.key_hash)


GUARD = GuardSpec(
    name="identity",
    stage=Stage.IDENTITY,
    owasp="LLM10",
    error_reason=Reason.INTERNAL,
    settings=Settings,
    build=bound_to(Settings, _build),
)
