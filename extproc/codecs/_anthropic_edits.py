"""Writes an Anthropic request with edits spliced in: redacted segments, the cap, the thoughts' budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.codecs._openai_segments import segment_splices, spliced
from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.splice import Splice

if TYPE_CHECKING:
    from extproc.codecs._anthropic_request import MessagesRequest
    from extproc.domain.limits import Limits
    from extproc.domain.ports import RequestEdits

# Anthropic's API takes no smaller budget.
BUDGET_TOKENS_MIN: Final = 1_024


def write_messages(request: MessagesRequest, edits: RequestEdits, *, limits: Limits) -> bytes:
    """The body to forward. Counts are in every answer, so that none have to be asked for.

    Raises:
        PeerError: an edit of a key makes it another one's twin, or the cap leaves no room to think.
    """
    splices, key_edited = segment_splices(request.body, request.places, edits.segments)
    cap = edits.cap_output_tokens
    if cap is not None and request.limit.value > cap:
        splices.append(Splice(request.limit.start, request.limit.end, b"%d" % cap))
        splices += _lowered_budget(request, cap)
    return spliced(request.body, splices, key_edited=key_edited, limits=limits)


def _lowered_budget(request: MessagesRequest, cap: int) -> list[Splice]:
    """A budget for thoughts must stay below the limit; it keeps its share of it."""
    budget = request.budget
    if budget is None or budget.value < cap:
        return []
    if cap <= BUDGET_TOKENS_MIN:
        message = f"thinking needs more than {BUDGET_TOKENS_MIN} output tokens; at most {cap} are allowed"
        raise PeerError(Reason.PARAMETER_NOT_ALLOWED, message)
    share = int(budget.value) * cap // int(request.limit.value)
    lowered = min(max(share, BUDGET_TOKENS_MIN), cap - 1)
    return [Splice(budget.start, budget.end, b"%d" % lowered)]
