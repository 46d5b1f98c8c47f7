from __future__ import annotations

from dataclasses import replace

import pytest

from extproc.codecs._one_exchange import AnswerReader, OneExchange
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits, RequestMessage, ResponseFrame
from extproc.domain.segment import Channel, Operation, Params
from extproc.domain.verdict import Reason, Refusal

REFUSAL = Refusal(reason=Reason.BUDGET_EXCEEDED, status=429, message="no", headers=(("retry-after", "7"),))
REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
EVENTS = {"content-type": ("Text/Event-Stream; charset=utf-8",)}


class Reader:
    def __init__(self, *, streamed: bool) -> None:
        self.streamed = streamed

    def read(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        return (ResponseFrame(key=0, deltas=(), token=chunk, final=eof),)

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        return bytes(frame.token) + repr(texts).encode()

    def write_tail(self, channel: Channel, text: str) -> bytes:
        return f"{channel.field}={text}".encode()


class Session(OneExchange):
    def read_body(self, body: bytes) -> RequestMessage:
        if body == b"bad":
            raise PeerError(Reason.BODY_INVALID, "bad")
        params = Params(model="m", stream=False)
        return RequestMessage(
            key=0, operation=Operation.CHAT, params=params, segments=(), inspectable_bytes=len(body)
        )

    def write_body(self, edits: RequestEdits) -> bytes:
        return b"written"

    def answer_reader(self, *, status: int, streamed: bool) -> AnswerReader:
        return Reader(streamed=streamed)

    def refusal_document(self, refusal: Refusal) -> bytes:
        return f"[{refusal.message} {self.request_id}]".encode()


@pytest.fixture
def session() -> Session:
    head = RequestHead(method="POST", path="/", headers={"x-request-id": (REQUEST_ID,)})
    return Session(head, limits=replace(LIMITS, body_bytes_max=8))


def test_a_body_is_read_once_it_is_whole_and_what_comes_after_it_is_ignored(session: Session):
    assert session.read_request(b"ab", eof=False) == ()
    (message,) = session.read_request(b"cd", eof=True)
    assert message.inspectable_bytes == 4
    assert session.read_request(b"ef", eof=True) == ()
    assert session.write_request(0, RequestEdits()) == b"written"


@pytest.mark.parametrize(("body", "status"), [(b"", 400), (b"bad", 400), (b"123456789", 413)])
def test_a_body_that_is_none_bad_or_too_large_is_refused(session: Session, body: bytes, status: int):
    with pytest.raises(PeerError) as caught:
        session.read_request(body, eof=True)
    assert caught.value.status == status
    with pytest.raises(AssertionError):
        session.write_request(0, RequestEdits())


@pytest.mark.parametrize(("headers", "streamed"), [(EVENTS, True), ({}, False)])
def test_the_answers_kind_decides_how_it_is_read_and_refused(session: Session, headers, streamed):
    assert session.refuse_in_answer(0, REFUSAL) is None
    session.read_response_head(ResponseHead(status=200, headers=headers))
    (frame,) = session.read_response(b"x", eof=True)
    assert session.write_response(frame, ("a",)) == b"x('a',)"
    assert session.write_tail(0, Channel(0, "f"), "t") == b"f=t"
    expected = f"data: [no {REQUEST_ID}]\n\n".encode() if streamed else None
    assert session.refuse_in_answer(0, REFUSAL) == expected


def test_a_refusal_has_its_status_and_the_wires_document(session: Session):
    wire = session.refuse(REFUSAL)
    assert (wire.status, wire.body) == (429, f"[no {REQUEST_ID}]".encode())
    assert wire.headers == (("content-type", "application/json"), ("retry-after", "7"))
    assert session.refuse_one(0, REFUSAL) is None


def test_an_encoded_answer_is_refused_and_one_before_its_head_is_a_bug(session: Session):
    with pytest.raises(PeerError):
        session.read_response_head(ResponseHead(status=200, headers={"content-encoding": ("gzip",)}))
    with pytest.raises(AssertionError):
        session.read_response(b"x", eof=True)
