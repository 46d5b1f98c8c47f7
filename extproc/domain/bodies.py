"""What a policy may have kept of prompts and answers, for a reviewer's eyes.

They never meet the verdict log: another folder, another life, joined to it by request id and exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING

from extproc.domain.verdict import Kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from extproc.domain.segment import Origin, Role
    from extproc.domain.verdict import Action


class Keep(StrEnum):
    """What is kept: nothing, text after redaction, or the original under a reviewer's key."""

    NEVER = auto()
    REDACTED = auto()
    SEALED = auto()


AS_KEPT = {Keep.NEVER: Kept.NO, Keep.REDACTED: Kept.REDACTED, Keep.SEALED: Kept.SEALED}


def withhold(text: str) -> str:
    """What redaction leaves of a text where nobody said how to redact: nothing."""
    del text
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyRule:
    """What one policy keeps, and of which decisions.

    ``reviewer_key`` is the public key to seal to; empty unless ``keep`` is SEALED. With ``required`` an
    exchange that could not be kept is refused before it goes on. ``redact`` applies every rule to a text;
    only the one thread that writes samples calls it.
    """

    keep: Keep
    actions: frozenset[Action]
    lifetime_days: int
    reviewer_key: str = ""
    required: bool = False
    redact: Callable[[str], str] = withhold


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSegment:
    """Text of a request. ``seams`` are where its parts meet, as in ``Segment``."""

    role: Role
    origin: Origin
    place: str
    text: str = field(repr=False)
    seams: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """Text of one channel of the answer."""

    choice: int
    field_name: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is kept of one exchange.

    Under SEALED the request as it came and the answer as the upstream gave it. Under REDACTED the request
    as it was forwarded and the answer as it was released. Whoever writes it down applies ``redact``, every
    rule that is, to each text: a block may have come before any redaction, and a guard may let pass. It can
    take long, and is no work of the core for this reason. ``size_bytes`` is the texts' length in UTF-8.
    ``at_unix_ms`` is when the exchange ended, which begins its lifetime.
    """

    keep: Keep
    reviewer_key: str
    lifetime_days: int
    request_id: str
    exchange: int
    policy_digest: str
    at_unix_ms: int
    request: tuple[KeptSegment, ...]
    answer: tuple[KeptAnswer, ...]
    size_bytes: int
    redact: Callable[[str], str] = field(default=withhold, repr=False, compare=False)
