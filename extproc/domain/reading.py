"""Models that read an answer while it streams: what a guard wants of them, and what a wait may cost.

They are asked about windows of the text (``redaction.windows``), and what they have not read yet is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import NamedTuple


class Window(NamedTuple):
    """What a model is asked about: it decides what begins from ``decides_from`` on, before ``decides_to``.

    ``start`` is where ``text`` begins. All are code points of the whole text.
    """

    number: int
    start: int
    text: str
    decides_from: int
    decides_to: int


class OnDeadline(StrEnum):
    """What happens to text that a model has not read in time.

    ``strict`` holds it as long as the answer goes on, and refuses the answer where the model fails.
    ``release_rules`` lets go of what the rules clear, unread; what they hold stays held.
    """

    STRICT = auto()
    RELEASE_RULES = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanModel:
    """A model that finds spans of these entity types, beside the rules of a guard.

    With ``release_rules`` no character waits for it longer than ``deadline_ms``, counted from when it
    came: so the time in which the rest of its sentence is written counts, too.
    """

    name: str
    entity_types: frozenset[str]
    deadline_ms: int
    on_deadline: OnDeadline


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreModel:
    """A classifier's head that judges windows of an answer: from ``threshold`` on there is a finding.

    Of a window that has no score ``deadline_ms`` after the question, the guard's ``on_error`` says what
    happens.
    """

    head: str
    threshold: float
    entity_type: str
    detector: str
    deadline_ms: int
