"""The seam of what reads text: rules, and models beside them, over whole texts and over streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extproc.domain.effects import ModelSpan
    from extproc.domain.reading import SpanModel, Window
    from extproc.domain.verdict import Finding


REPLACE: Final = "replace:"
"""An operator's specification begins so where a text of the policy takes a value's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleWatch:
    """A guard's wish to have rules applied to every channel of the answer.

    ``entity_types`` are the rules' entity types (empty = all of ``pack``); ``operators`` maps an entity
    type to the name of its operator specification. ``block`` ends the answer at the first finding
    instead of redacting it. ``model`` finds spans of further entity types in the same text; of the watches
    of one exchange at most one has a model.
    """

    pack: str
    entity_types: frozenset[str]
    operators: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    block: bool = False
    reason: Reason = Reason.REDACTED
    model: SpanModel | None = None

    @property
    def replacements(self) -> frozenset[str]:
        """The texts that ``replace:TEXT`` puts in values' places."""
        return frozenset(
            [text.removeprefix(REPLACE) for text in self.operators.values() if text.startswith(REPLACE)]
        )


class Scan(Protocol):
    """What a scanner released after one more piece of text."""

    @property
    def released(self) -> str:
        """Text that may go to the client now."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was newly found; offsets into the channel's whole text."""


class ScanEach(NamedTuple):
    """What a scanner released after each of several pieces of text.

    ``findings`` are with the number of the piece at which each was found, in order. ``held_chars_max`` is
    the most that was held after any of them.
    """

    released: Sequence[str]
    findings: Sequence[tuple[int, Finding]]
    held_chars_max: int


class Scanner(Protocol):
    """Reads one channel of the answer as it streams. Synchronous; the hot path."""

    def feed(self, text: str, *, eof: bool = False) -> Scan:
        """Take more text; with ``eof`` everything is decided and released."""

    def feed_each(self, texts: Sequence[str]) -> ScanEach:
        """The same as feeding them one by one, none of them the last."""

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text."""

    def drop(self) -> None:
        """Forget what is held: the answer was cut and an undecided tail never goes out."""


class AskingScanner(Protocol):
    """Reads one channel of the answer with a model, which others ask in its place."""

    def asks(self, number: int) -> bool:
        """Whether an answer about a window is still of use."""

    @property
    def waits(self) -> bool:
        """Whether an answer may yet let something go."""

    @property
    def done(self) -> bool:
        """Whether the end has come and nothing is held."""

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text or for the model."""

    @property
    def unread_chars(self) -> int:
        """Code points that the model has not read and will not."""

    def drop(self) -> None:
        """Forget what is held."""


class SpanScanner(AskingScanner, Protocol):
    """The same with rules beside the model: what both have decided goes out, each in its time."""

    def feed(self, text: str, *, eof: bool = False) -> tuple[Scan, tuple[Window, ...]]:
        """Take more text; give what may go out, and the windows that the model must be asked about."""

    def answer(self, number: int, spans: Sequence[ModelSpan] | None) -> Scan:
        """Take the answer about a window; None is none, and leaves its text to the rules."""

    def let_go(self, up_to: int) -> Scan:
        """Let go of what the rules clear of all before a place, read or not."""

    @property
    def released_chars(self) -> int:
        """Code points from the beginning that are not held any more."""


class ScannerFactory(Protocol):
    """Makes one scanner for the merged rules of several guards of one mode."""

    def __call__(self, watches: Sequence[RuleWatch]) -> Scanner:
        """A fresh scanner for one channel."""

    def modelled(self, watches: Sequence[RuleWatch]) -> SpanScanner:
        """The same, joined with the spans of the model that one of the watches names."""


class RuleFinder(Protocol):
    """Applies a pack's rules to a whole text."""

    def __call__(self, text: str, watch: RuleWatch) -> tuple[tuple[Finding, str], ...]:
        """Findings in order, none overlapping, each with the replacement its operator gives."""
