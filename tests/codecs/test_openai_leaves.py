"""No leaf unseen: a canary in every leaf, key and object of the largest requests and answers, in turn.

It must be judged (in a segment, in a delta, as the model's or a parameter's name) or refused; what repeats
an answer must be gone from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from canaries import CANARIES, planted, says_canary
from openai_samples import ANSWERS, PATHS, REQUESTS

from extproc.codecs.openai_chat import CODEC as CHAT
from extproc.codecs.openai_completions import CODEC as COMPLETIONS
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.ports import Codec, CodecSession, RequestEdits, ResponseFrame
from extproc.domain.segment import SegmentEdit

DONE = b"data: [DONE]\n\n"


def session_of(codec: Codec) -> CodecSession:
    return codec.open(RequestHead(method="POST", path=PATHS[codec.name]))


def asked(codec: Codec, request: dict[str, Any]) -> CodecSession:
    session = session_of(codec)
    session.read_request(json.dumps(request).encode(), eof=True)
    session.write_request(0, RequestEdits())
    return session


def answered(codec: Codec, document: bytes, *, streamed: bool) -> tuple[CodecSession, list[ResponseFrame]]:
    name = "prompt" if codec is COMPLETIONS else "input"
    body = {"model": "m", name: "x", "messages": [{"role": "user", "content": "x"}]}
    session = asked(codec, {key: body[key] for key in body if codec is CHAT or key != "messages"})
    kind = "text/event-stream" if streamed else "application/json"
    session.read_response_head(ResponseHead(status=200, headers={"content-type": (kind,)}))
    stream = b"data: " + document + b"\n\n" + DONE if streamed else document
    return session, [*session.read_response(stream, eof=False), *session.read_response(b"", eof=True)]


@pytest.mark.parametrize(("codec", "request_"), REQUESTS)
def test_the_requests_are_read(codec: Codec, request_: dict[str, Any]):
    (message,) = session_of(codec).read_request(json.dumps(request_).encode(), eof=True)
    assert message.params.model == "m"


def judged_in_request(codec: Codec, request: dict[str, Any]) -> list[str] | None:
    """What guards see of a request; None where it is refused, with a message that repeats no canary."""
    try:
        (message,) = session_of(codec).read_request(json.dumps(request).encode(), eof=True)
    except PeerError as error:
        return None if not says_canary([error.message]) else []
    # The schema guard judges the model and the names of parameters.
    named = [message.params.model, *message.params.sampling]
    return [*named, *(segment.text for segment in message.segments)]


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(("codec", "request_"), REQUESTS)
def test_every_leaf_and_key_of_a_request_is_judged_or_refused(
    codec: Codec, request_: dict[str, Any], canary: str | int
):
    seen = {where: judged_in_request(codec, changed) for where, changed in planted(request_, canary)}
    assert [where for where, texts in seen.items() if texts is not None and not says_canary(texts)] == []


def edits_of(text: str, segment_index: int, canary: str) -> Iterator[SegmentEdit]:
    for found in re.finditer(re.escape(canary), text):
        yield SegmentEdit(
            segment_index=segment_index, start=found.start(), end=found.end(), replacement="[X]"
        )


def goes_on(codec: Codec, request: dict[str, Any], canary: str) -> bool:
    """Whether a canary goes upstream although every place at which guards saw it was redacted."""
    session = session_of(codec)
    try:
        (message,) = session.read_request(json.dumps(request).encode(), eof=True)
        if canary in {message.params.model, *message.params.sampling}:
            return False
        edits = [edit for one in message.segments for edit in edits_of(one.text, one.index, canary)]
        written = session.write_request(0, RequestEdits(segments=tuple(edits), ask_usage=False))
    except PeerError:
        return False
    return canary.encode() in written or not isinstance(json.loads(written), dict)


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(("codec", "request_"), REQUESTS)
def test_what_was_found_in_a_request_does_not_go_on(
    codec: Codec, request_: dict[str, Any], canary: str | int
):
    places_ = planted(request_, canary)
    assert [where for where, changed in places_ if goes_on(codec, changed, str(canary))] == []


@pytest.mark.parametrize(("codec", "answer", "streamed"), ANSWERS)
def test_the_answers_are_read_and_pass(codec: Codec, answer: dict[str, Any], *, streamed: bool):
    document = json.dumps(answer).encode()
    session, frames = answered(codec, document, streamed=streamed)
    written = b"".join(
        session.write_response(frame, tuple(delta.text for delta in frame.deltas)) for frame in frames
    )
    assert (frames[-1].final, b"error" in written) == (True, False)


def passes_unseen(codec: Codec, answer: dict[str, Any], *, streamed: bool) -> bool:
    """Whether a canary comes out although guards empty every text that they see."""
    try:
        session, frames = answered(codec, json.dumps(answer).encode(), streamed=streamed)
    except PeerError as error:
        return says_canary([error.message])
    written = b"".join(session.write_response(frame, ("",) * len(frame.deltas)) for frame in frames)
    return says_canary([written.decode()])


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize(("codec", "answer", "streamed"), ANSWERS)
def test_every_leaf_and_key_of_an_answer_is_judged_or_gone(
    codec: Codec, answer: dict[str, Any], canary: str | int, *, streamed: bool
):
    unseen = [
        where
        for where, changed in planted(answer, canary)
        if passes_unseen(codec, changed, streamed=streamed)
    ]
    assert unseen == []
