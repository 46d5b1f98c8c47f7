"""A value of a request, and the token that stands in its place for the model."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Pseudonym:
    """One token of one stream; where the answer says ``token``, the caller gets ``value`` back."""

    token: str
    value: str = field(repr=False)
    entity_type: str
