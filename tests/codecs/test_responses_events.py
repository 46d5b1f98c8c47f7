"""How much of an answer is looked at again with each event of it: an upstream may send any number."""

from __future__ import annotations

import json

import pytest
from counted_steps import steps_of
from responses_samples import PATH, event_bytes, response_of

from extproc.codecs._responses_events import _TEXT
from extproc.codecs._responses_frame import Site
from extproc.codecs.openai_responses import CODEC
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import CodecSession, RequestEdits

CREATED = event_bytes({"type": "response.created", "response": response_of("in_progress")})


def begun() -> CodecSession:
    session = CODEC.open(RequestHead(method="POST", path=PATH))
    session.read_request(json.dumps({"model": "m", "input": "x"}).encode(), eof=True)
    session.write_request(0, RequestEdits())
    session.read_response_head(ResponseHead(status=200, headers={"content-type": ("text/event-stream",)}))
    read(session, CREATED)
    return session


def read(session: CodecSession, body: bytes) -> None:
    for frame in session.read_response(body, eof=False):
        session.write_response(frame, tuple(delta.text for delta in frame.deltas))


def text_of(item: int, text: str = "a") -> bytes:
    """A text of an item, and its end."""
    at = {"output_index": item, "content_index": 0}
    delta = {"type": "response.output_text.delta", **at, "delta": text, "logprobs": []}
    return event_bytes(delta) + event_bytes({"type": "response.output_text.done", **at, "text": text})


def ended(item: int) -> bytes:
    return event_bytes({"type": "response.output_item.done", "output_index": item, "item": {}})


def test_texts_that_are_over_are_not_looked_at_again():
    few, many = begun(), begun()
    read(few, b"".join(map(text_of, range(8))))
    read(many, b"".join(map(text_of, range(512))))
    one_more = text_of(1_000, "a") + ended(1_000) + ended(1_001)
    assert steps_of(lambda: read(many, one_more)) <= steps_of(lambda: read(few, one_more)) + 16


def test_an_answer_has_no_more_texts_and_items_than_can_be_remembered():
    texts = LIMITS.answer_texts_max
    session = begun()
    read(session, b"".join(map(text_of, range(texts))))
    with pytest.raises(PeerError, match="more than 1024 output texts"):
        read(session, text_of(texts))
    named = [
        event_bytes({"type": "response.output_item.added", "output_index": at, "item": {"id": f"i{at}"}})
        for at in range(texts + 1)
    ]
    session = begun()
    read(session, b"".join(named[:-1]))
    with pytest.raises(PeerError, match="more than 1024 items"):
        read(session, named[-1])


def test_pieces_that_say_nothing_are_not_kept():
    site = Site.of(0, _TEXT, 0, None, replacements=None)
    for piece in ("", "a", "", "b", ""):
        site.goes(piece)
    assert (site.went, site.written, site.went) == (["a", "b"], "ab", ["ab"])
    site.goes("c")
    assert site.written == "abc"
