"""Which event may come in which state of a lane: one table, and nothing else decides it.

Rule 1: what is not in the table ends the stream with an error. Rule 2: whatever comes after a lane has
ended is ignored, since Envoy sends a second end_of_stream on bodies over 1 MB (envoy#46237).
"""

from __future__ import annotations

from enum import StrEnum, auto
from typing import TYPE_CHECKING

from extproc.core import events as ev

if TYPE_CHECKING:
    from collections.abc import Mapping


class LaneState(StrEnum):
    """How much of a lane has arrived."""

    IDLE = auto()
    OPEN = auto()
    ENDED = auto()


class Illegal(Exception):  # noqa: N818 - a transition that does not exist, not an error class of the domain.
    """An event that Envoy must not send in this state."""


# (state, kind of event, end_stream) -> next state. Both lanes obey the same table.
TABLE: Mapping[tuple[LaneState, str, bool], LaneState] = {
    (LaneState.IDLE, "headers", False): LaneState.OPEN,
    (LaneState.IDLE, "headers", True): LaneState.ENDED,
    (LaneState.OPEN, "body", False): LaneState.OPEN,
    (LaneState.OPEN, "body", True): LaneState.ENDED,
    (LaneState.OPEN, "trailers", True): LaneState.ENDED,
}

LaneEvent = (
    ev.RequestHeaders
    | ev.RequestBody
    | ev.RequestTrailers
    | ev.ResponseHeaders
    | ev.ResponseBody
    | ev.ResponseTrailers
)

_KIND: Mapping[type, str] = {
    ev.RequestHeaders: "headers",
    ev.ResponseHeaders: "headers",
    ev.RequestBody: "body",
    ev.ResponseBody: "body",
    ev.RequestTrailers: "trailers",
    ev.ResponseTrailers: "trailers",
}


def follow(state: LaneState, event: LaneEvent) -> LaneState | None:
    """The state after an event; None where the event is to be ignored.

    Raises:
        Illegal: the table has no such step.
    """
    kind = _KIND[type(event)]
    if state is LaneState.ENDED and kind != "headers":
        return None
    end_stream = isinstance(event, (ev.RequestTrailers, ev.ResponseTrailers)) or event.end_stream
    following = TABLE.get((state, kind, end_stream))
    if following is None:
        raise Illegal(f"{kind} while the lane is {state}")
    return following
