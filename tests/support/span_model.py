"""A stand-in for a model that finds names and addresses: it knows a fixed list of them, and no more."""

from __future__ import annotations

import re
from typing import Final

from extproc.domain.effects import FindSpans, ModelSpan, Spans

MODEL: Final = "stand-in"
NAMES: Final = ("Ann Smith", "Bob Stone", "Zoë Ångström", "Li Wei")
ADDRESSES: Final = ("12 Elm Street", "7 High Road, Leeds")
ENTITY_TYPES: Final = ("PERSON", "LOCATION")
_KNOWN: Final = {
    "PERSON": re.compile("|".join(map(re.escape, NAMES))),
    "LOCATION": re.compile("|".join(map(re.escape, ADDRESSES))),
}


def spans_in(text: str) -> tuple[ModelSpan, ...]:
    """What stands in a text."""
    return tuple(
        ModelSpan(entity_type, found.start(), found.end(), 0.9)
        for entity_type, known in _KNOWN.items()
        for found in known.finditer(text)
    )


def spans_for(effect: FindSpans) -> Spans:
    """The answer to a question."""
    assert effect.model == MODEL
    return Spans(model=MODEL, spans=tuple(map(spans_in, effect.texts)))
