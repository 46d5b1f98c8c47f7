"""What goes to the client of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extproc.core import commands as cmd
from extproc.core.pieces import body_replies
from extproc.domain.ports import ends_in_trailers, has_late_head
from extproc.domain.verdict import Lane

if TYPE_CHECKING:
    from extproc.domain.head import HeaderEdits
    from extproc.domain.limits import Limits
    from extproc.domain.ports import CodecSession


class AnswerReplies:
    """The answer's head, body and trailers, in their order."""

    __slots__ = ("_has_body", "_head", "_limits", "head_released", "trailers")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._head: HeaderEdits | None = None
        self._has_body = False
        self.head_released = False
        # The names of those with which the upstream ended.
        self.trailers: tuple[str, ...] | None = None

    def begin(self, head: HeaderEdits, *, has_body: bool) -> None:
        """The upstream's head has come, and is held until something of the body goes out."""
        self._head = head
        self._has_body = has_body

    def release(self, session: CodecSession | None, data: bytes, *, end_stream: bool) -> list[cmd.Command]:
        """Let the head go, where it has not, and a piece of the body; with ``end_stream`` its last."""
        replies: list[cmd.Command] = []
        if not self.head_released and self._head is not None:
            self.head_released = True
            edits = session.response_head_edits() if has_late_head(session) else self._head
            replies.append(cmd.ReplyHeaders(Lane.RESPONSE, edits))
        if self._has_body:
            most = self._limits.reply_piece_bytes_max
            replies += body_replies(Lane.RESPONSE, data, end_stream=end_stream, piece_bytes_max=most)
        elif data:
            raise AssertionError("a codec made a body for an answer without one")
        return replies

    def finish(self, session: CodecSession | None, data: bytes) -> list[cmd.Command]:
        """Let all of the rest go, trailers too."""
        if self.trailers is None:
            return self.release(session, data, end_stream=True)
        replies = self.release(session, data, end_stream=False)
        if ends_in_trailers(session):
            judged = session.response_trailer_edits()
            return [*replies, cmd.ReplyTrailers(Lane.RESPONSE, judged.remove, judged.set)]
        return [*replies, cmd.ReplyTrailers(Lane.RESPONSE, self.trailers)]
