"""The refusals that core itself speaks, and how any refusal gets its request id."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from extproc.core.commands import ReportBug
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Reason, Refusal

if TYPE_CHECKING:
    from extproc.domain.errors import PeerError
    from extproc.domain.head import ResponseHead

NOT_ALLOWED = Refusal(reason=Reason.PATH_NOT_ALLOWED, status=403, message="this endpoint is not exposed")
BODY_TOO_LARGE = Refusal(
    reason=Reason.BODY_TOO_LARGE, status=413, message="the request body is larger than allowed"
)
BODY_TIMEOUT = Refusal(
    reason=Reason.BODY_TIMEOUT, status=408, message="the request body did not arrive in time"
)
TOO_MANY_EXCHANGES = Refusal(
    reason=Reason.OVERLOADED, status=429, message="too many requests are open on this stream"
)
BUSY = Refusal(
    reason=Reason.OVERLOADED,
    status=503,
    message="the gateway holds as many requests as it can; try again later",
    headers=(("retry-after", "1"),),
)
BODIES_UNAVAILABLE = Refusal(
    reason=Reason.BODIES_UNAVAILABLE,
    status=503,
    message="the record that is required of this request cannot be kept; try again later",
    headers=(("retry-after", "5"),),
)
TOO_LARGE_TO_KEEP = Refusal(
    reason=Reason.BODY_TOO_LARGE,
    status=413,
    message="the request is larger than the record that is required of it may be",
)
UPSTREAM_UNREADABLE = Refusal(
    reason=Reason.UPSTREAM_UNREADABLE,
    status=502,
    message="the upstream's answer could not be read and was withheld",
)
ANSWER_UNREAD = Refusal(
    reason=Reason.CLASSIFIER_UNAVAILABLE,
    status=503,
    message="a model that must read the answer is not available; try again later",
)
INTERNAL = Refusal(
    reason=Reason.INTERNAL, status=500, message="the request could not be judged and was refused"
)
# What Envoy answers to a request that it will not route; its other answers are not the caller's to mend.
_CALLERS_FAULT = frozenset({400, 403, 404, 405, 414, 426, 431})
_PREFLIGHT_STATUSES = frozenset({200, 204})
_CORS_PREFIX = "access-control-"
_CORS_VALUE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,1023}")
ANSWER_BLOCKED_MESSAGE = "the answer was withheld by policy"
OUTPUT_TOO_LONG_MESSAGE = "the answer is longer than was reserved for it and was cut"


def signed(refusal: Refusal, request_id: str) -> Refusal:
    """The refusal with the request id in its message and headers, so that a user can quote it."""
    return replace(
        refusal,
        message=f"{refusal.message} (request {request_id})",
        headers=(*refusal.headers, ("x-request-id", request_id)),
    )


def from_peer_error(error: PeerError) -> Refusal:
    """A protocol error as the refusal that its peer sees."""
    return Refusal(reason=error.reason, status=error.status, message=error.message)


def from_upstream_error(error: PeerError) -> Refusal:
    """An unreadable answer: the client learns that it was withheld, not what the upstream sent."""
    return replace(UPSTREAM_UNREADABLE, reason=error.reason)


def upstream_local_reply(status: int) -> Refusal:
    """Envoy itself answered before the request was released (its own timeout, for example)."""
    return Refusal(
        reason=Reason.UPSTREAM_ERROR,
        status=status if status >= 400 else 502,  # noqa: PLR2004 - HTTP's first error status.
        message=(
            "the gateway refused the request before it reached the filter's guards: "
            "check the path and headers"
            if status in _CALLERS_FAULT
            else "the gateway ended the request before it reached the filter's guards"
        ),
    )


def preflight_answer(head: ResponseHead, *, has_body: bool) -> WireRefusal | None:
    """Envoy's own answer to a CORS preflight, to be spoken as it is; None where it is anything else.

    It comes without a request, which Envoy's CORS filter kept to itself. No upstream had a part in it: it
    has no body, and of its headers only these go on.
    """
    allowed = [
        (name, values[0])
        for name, values in head.headers.items()
        if name.startswith(_CORS_PREFIX) and len(values) == 1 and _CORS_VALUE.fullmatch(values[0])
    ]
    if has_body or head.status not in _PREFLIGHT_STATUSES or not allowed:
        return None
    return WireRefusal(status=head.status, headers=tuple(allowed), body=b"")


def bare_refusal(refusal: Refusal) -> WireRefusal:
    """A refusal where no codec is chosen yet: JSON with a string ``error``, Triton's own shape."""
    body = json.dumps({"error": refusal.message}).encode()
    headers = (("content-type", "application/json"), *refusal.headers)
    return WireRefusal(status=refusal.status, headers=headers, body=body)


def bug_report(error: BaseException) -> ReportBug:
    """An exception as its type and place. Its text stays behind: it may quote a body."""
    where = "?"
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        where = f"{code.co_qualname}:{trace.tb_lineno}"
        trace = trace.tb_next
    return ReportBug(type(error).__name__, where)
