"""What the guards that judge answers share."""

from typing import Annotated, Final

from annotated_types import Len

from extproc.domain.judging import ToolCall
from extproc.domain.verdict import Finding

Canned = Annotated[str, Len(1, 1_000)]
CANNED: Final = "This part of the answer was withheld."


class NoCalls:
    """A judging to which tool calls as such say nothing."""

    __slots__ = ()

    def call(self, call: ToolCall) -> Finding | None:
        """None: it judges texts."""
        del call
        return None


def finding(entity_type: str, start: int, end: int, detector: str, *, score: float = 1.0) -> Finding:
    """What a judge found."""
    return Finding(entity_type=entity_type, start=start, end=end, score=score, detector=detector)
