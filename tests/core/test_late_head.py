"""A head that tells of its body goes out as the session has it once the body is written."""

from __future__ import annotations

from dataclasses import dataclass

from doubles import LineCodec, LineSession, Playbook, watching
from doubles import policy as policy_of

from extproc.core import commands as cmd
from extproc.domain.head import HeaderEdits, RequestHead
from extproc.domain.ports import ResponseFrame
from extproc.domain.verdict import Lane


class CountingSession(LineSession):
    """Tells in its head how many bytes the answer has."""

    def __init__(self) -> None:
        super().__init__(alone=True)
        self.written = 0
        self.asked = 0

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        data = super().write_response(frame, texts)
        self.written += len(data)
        return data

    def response_head_edits(self) -> HeaderEdits:
        self.asked += 1
        return HeaderEdits(set=(("x-length", str(self.written)),))


@dataclass(frozen=True)
class CountingCodec(LineCodec):
    def open(self, head: RequestHead) -> LineSession:
        return CountingSession()


def test_the_head_is_asked_for_once_the_answer_is_written():
    play = Playbook(policy_of(watching()), codecs=[CountingCodec()])
    play.head()
    play.body(b"hello\n", end=True)
    play.answer_head()
    play.answer(b"0 hunter2;\n", end=True)
    heads = [one for one in play.of(cmd.ReplyHeaders) if one.lane is Lane.RESPONSE]
    sent = play.sent(Lane.RESPONSE)
    assert b"hunter2" not in sent
    assert [one.edits for one in heads] == [HeaderEdits(set=(("x-length", str(len(sent))),))]
    assert play.stream._request.session.asked == 1
