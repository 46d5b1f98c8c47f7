"""No leaf unseen: a canary in every leaf, key and object of the largest request and answers, in turn.

It must be judged (in a segment, in a delta, as the model's or a parameter's name) or refused; what says an
answer where nobody can follow must be gone from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from canaries import CANARIES, planted, says_canary
from responses_samples import PATH, REQUEST, RESPONSE, event_bytes, response_of, stream_bytes, whole_stream

from extproc.codecs.openai_responses import CODEC
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.ports import CodecSession, RequestEdits, ResponseFrame
from extproc.domain.segment import SegmentEdit

every_canary = pytest.mark.parametrize("canary", CANARIES)
EVENTS = whole_stream()
FAILED = response_of("failed", error={"code": "invalid_prompt", "message": "it is too odd", "param": "x"})
# What a server may say at the end of its stream, and in one body.
ENDS = [
    {"type": "response.incomplete", "response": response_of("incomplete"), "sequence_number": 1},
    {"type": "response.failed", "response": FAILED, "sequence_number": 1},
    {"type": "error", "code": "invalid_prompt", "message": "it is too odd", "param": None},
    {"type": "error", "error": {"message": "it is too odd", "type": "x", "param": None, "code": "odd"}},
]
BODIES = [RESPONSE, FAILED, response_of("incomplete", incomplete_details={"reason": "max_output_tokens"})]


def session_of() -> CodecSession:
    return CODEC.open(RequestHead(method="POST", path=PATH))


def answered(body: bytes, *, streamed: bool) -> tuple[CodecSession, list[ResponseFrame]]:
    session = session_of()
    session.read_request(b'{"model":"m","input":"x"}', eof=True)
    session.write_request(0, RequestEdits())
    kind = "text/event-stream" if streamed else "application/json"
    session.read_response_head(ResponseHead(status=200, headers={"content-type": (kind,)}))
    return session, [*session.read_response(body, eof=False), *session.read_response(b"", eof=True)]


def emptied(body: bytes, *, streamed: bool) -> str:
    """What comes out of an answer although guards empty every text that they see; or why nothing does."""
    try:
        session, frames = answered(body, streamed=streamed)
    except PeerError as error:
        return error.message
    return b"".join(session.write_response(frame, ("",) * len(frame.deltas)) for frame in frames).decode()


# --- the request -----------------------------------------------------------------------------------------


def judged(request: dict[str, Any]) -> list[str] | None:
    """What guards see of a request; None where it is refused, with a message that repeats no canary."""
    try:
        (message,) = session_of().read_request(json.dumps(request).encode(), eof=True)
    except PeerError as error:
        return None if not says_canary([error.message]) else []
    named = [message.params.model, *message.params.sampling]
    return [*named, *(segment.text for segment in message.segments)]


def test_the_request_is_read():
    assert judged(REQUEST) is not None


@every_canary
def test_every_leaf_and_key_of_a_request_is_judged_or_refused(canary: str | int):
    seen = {where: judged(changed) for where, changed in planted(REQUEST, canary)}
    assert [where for where, texts in seen.items() if texts is not None and not says_canary(texts)] == []


def edits_of(text: str, segment_index: int, canary: str) -> Iterator[SegmentEdit]:
    for found in re.finditer(re.escape(canary), text):
        start, end = found.span()
        yield SegmentEdit(segment_index=segment_index, start=start, end=end, replacement="[X]")


def goes_on(request: dict[str, Any], canary: str) -> bool:
    """Whether a canary goes upstream although every place at which guards saw it was redacted."""
    session = session_of()
    try:
        (message,) = session.read_request(json.dumps(request).encode(), eof=True)
        if canary in {message.params.model, *message.params.sampling}:
            return False
        edits = [edit for one in message.segments for edit in edits_of(one.text, one.index, canary)]
        written = session.write_request(0, RequestEdits(segments=tuple(edits)))
    except PeerError:
        return False
    return canary.encode() in written or not isinstance(json.loads(written), dict)


@every_canary
def test_what_was_found_in_a_request_does_not_go_on(canary: str | int):
    places = planted(REQUEST, canary)
    assert [where for where, changed in places if goes_on(changed, str(canary))] == []


# --- the answer ------------------------------------------------------------------------------------------


def test_the_answers_are_read():
    for body, streamed in [
        (stream_bytes(EVENTS), True),
        *((event_bytes(EVENTS[0]) + event_bytes(end), True) for end in ENDS),
        *((json.dumps(body).encode(), False) for body in BODIES),
    ]:
        assert answered(body, streamed=streamed)[1][-1].final


@every_canary
@pytest.mark.parametrize("at", range(len(EVENTS)), ids=[event["type"] for event in EVENTS])
def test_every_leaf_and_key_of_an_event_is_judged_or_gone(at: int, canary: str | int):
    before, after = stream_bytes(EVENTS[:at]), stream_bytes(EVENTS[at + 1 :])
    places = planted(EVENTS[at], canary)
    bodies = {
        where: before + event_bytes(changed) + after for where, changed in places if "type" in changed
    }
    seen = {where: emptied(body, streamed=True) for where, body in bodies.items()}
    assert [where for where, written in seen.items() if says_canary([written])] == []


@every_canary
@pytest.mark.parametrize("end", ENDS, ids=[end["type"] for end in ENDS])
def test_every_leaf_and_key_of_another_end_is_judged_or_gone(end: dict[str, Any], canary: str | int):
    places = planted(end, canary)
    begun = event_bytes(EVENTS[0])
    bodies = {where: begun + event_bytes(changed) for where, changed in places if "type" in changed}
    seen = {where: emptied(body, streamed=True) for where, body in bodies.items()}
    assert [where for where, written in seen.items() if says_canary([written])] == []


@every_canary
@pytest.mark.parametrize("body", BODIES, ids=[body["status"] for body in BODIES])
def test_every_leaf_and_key_of_a_whole_answer_is_judged_or_gone(body: dict[str, Any], canary: str | int):
    places = planted(body, canary)
    seen = {where: emptied(json.dumps(one).encode(), streamed=False) for where, one in places}
    assert [where for where, written in seen.items() if says_canary([written])] == []
