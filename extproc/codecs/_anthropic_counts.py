"""The token counts of an Anthropic answer, which come in pieces and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from extproc.domain.segment import Usage

INPUTS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
OUTPUT: Final = "output_tokens"


@dataclass(slots=True)
class Counts:
    """Tokens as they were counted so far, by name, and how many of them were told on."""

    seen: dict[str, int] = field(default_factory=dict)
    told: Usage = field(default_factory=lambda: Usage(0, 0))

    def note(self, name: str, count: int) -> None:
        """Counts are cumulative."""
        self.seen[name] = max(count, self.seen.get(name, 0))

    def rest(self) -> Usage:
        """What was not told yet."""
        total = Usage(sum(self.seen.get(name, 0) for name in INPUTS), self.seen.get(OUTPUT, 0))
        rest = Usage(
            total.input_tokens - self.told.input_tokens, total.output_tokens - self.told.output_tokens
        )
        self.told = total
        return rest
