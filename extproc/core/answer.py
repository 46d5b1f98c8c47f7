"""The response lane: frames in, judged bytes out. Synchronous; the hot path.

Frame by frame: each text goes through its channel's scanner, and what the scanner released is spliced
back in its place. One upstream frame stays one downstream frame; text that is still held moves to a
later frame of its channel, or to a tail frame when the answer ends. What a model lets go of goes out at
once, in a tail frame of its own: it may be all that a reader gets for a while. A frame that ends a text
which a model has not read to its end is pended, and with it whatever follows.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from extproc.core.bodies import size_bytes
from extproc.core.refusals import ANSWER_UNREAD, signed
from extproc.core.stages import UnreadError
from extproc.core.texts import AnswerTexts, Blocked
from extproc.domain.errors import PeerError
from extproc.domain.ports import has_many_exchanges
from extproc.domain.verdict import Action, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from extproc.core.asking import AskingScan
    from extproc.core.channels import ChannelOutput
    from extproc.core.closing import Books
    from extproc.core.exchange import Exchange
    from extproc.domain.effects import Answer
    from extproc.domain.errors import FailureKind
    from extproc.domain.limits import Limits
    from extproc.domain.ports import CodecSession, ResponseFrame
    from extproc.domain.scanning import ScannerFactory
    from extproc.domain.segment import Channel
    from extproc.domain.verdict import Refusal
    from extproc.redaction.pseudonyms import Pseudonyms


@dataclass(slots=True)
class AnswerStep:
    """What one chunk, or a model's answer, gave.

    ``data`` are bytes to send, ``finished`` exchanges that ended; ``refusal`` ends the answer. ``ended``:
    the upstream's last word is read, and all of the answer goes out.
    """

    data: bytes = b""
    finished: list[Exchange] = field(default_factory=list)
    refusal: Refusal | None = None
    ended: bool = False


@dataclass(slots=True)
class Pended:
    """A frame, or an exchange's end, that waits for models to read its last texts.

    ``texts`` are the frame's as far as they may go out, ``last_of`` says which is a channel's last.
    """

    exchange: Exchange
    frame: ResponseFrame | None
    texts: list[str]
    last_of: Mapping[Channel, int]
    waits_for: list[AskingScan]


class AnswerLane:
    """The answers of one stream's exchanges."""

    def __init__(  # noqa: PLR0913 - the stream names each part once.
        self,
        *,
        session: CodecSession,
        exchanges: Mapping[int, Exchange],
        factory: ScannerFactory,
        limits: Limits,
        books: Books,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._session = session
        self._books = books
        # Where one exchange can be refused while its neighbours go on.
        self._many = session if has_many_exchanges(session) else None
        self._refused: set[int] = set()
        self._exchanges = exchanges
        self._texts = AnswerTexts(factory=factory, limits=limits, pseudonyms=pseudonyms, books=books)
        self._ended: set[int] = set()
        # What is read and not written yet, and whether the end has come.
        self._frames: Iterator[ResponseFrame] = iter(())
        self._eof = False
        # A frame whose last texts a model has not read to their end: what comes waits behind it.
        self.pended: Pended | None = None

    def feed(self, chunk: bytes, *, eof: bool, at_us: int) -> AnswerStep:
        """Take answer bytes; give those that are judged.

        Raises:
            PeerError: the upstream's bytes cannot be vouched for. Nothing of this chunk goes out.
        """
        if self._many is not None and self._ended:
            # Those that the stream itself has forgotten.
            self._ended.intersection_update(self._exchanges)
        self._texts.moment.at_us = at_us
        self._frames, self._eof = iter(self._session.read_response(chunk, eof=eof)), eof
        step = AnswerStep()
        parts: list[bytes] = []
        try:
            self._go_on(parts, step)
        except Blocked as blocked:
            step.refusal = blocked.refusal
        step.data = b"".join(parts)
        if self._texts.questions is not None:
            self._texts.questions.go_on(at_us)
        return step

    def answered(self, effect_id: int, answer: Answer | FailureKind, *, at_us: int) -> AnswerStep | None:
        """Take a model's answer; None where nobody here asked, or wants to know any more."""
        questions = self._texts.questions
        question = None if questions is None else questions.answered(effect_id)
        if questions is None or question is None:
            return None
        self._texts.moment.at_us = at_us
        exchange, channel, scan, stage = question.place
        step = AnswerStep()
        parts: list[bytes] = []
        try:
            with self._alone(exchange, parts, step):
                output = scan.answer(stage, question.windows, answer)
                self._write_between(exchange, channel, scan, output, parts)
            self._unpend(parts, step)
        except Blocked as blocked:
            step.refusal = blocked.refusal
        self._done(parts, step)
        if question.owed and questions.told(exchange):
            self._books.told(exchange)
        return step

    def let_go(self, *, at_us: int) -> AnswerStep:
        """Let go of what has waited for models as long as it may."""
        self._texts.moment.at_us = at_us
        step = AnswerStep()
        parts: list[bytes] = []
        overdue = () if self._texts.questions is None else self._texts.questions.overdue(at_us)
        try:
            for exchange, channel, scan in overdue:
                with self._alone(exchange, parts, step):
                    self._write_between(exchange, channel, scan, scan.let_go(at_us), parts)
            self._unpend(parts, step)
        except Blocked as blocked:
            step.refusal = blocked.refusal
        return self._done(parts, step)

    def _done(self, parts: list[bytes], step: AnswerStep) -> AnswerStep:
        step.data = b"".join(parts)
        if self._texts.questions is not None:
            self._texts.questions.go_on(self._texts.moment.at_us)
        return step

    def _go_on(self, parts: list[bytes], step: AnswerStep) -> None:
        """Write what is read, up to a frame that has to wait."""
        at_us = self._texts.moment.at_us
        for frame in self._frames:
            exchange = self._exchange_of(frame)
            if not exchange.first_frame_at_us:
                exchange.first_frame_at_us = at_us
            if frame.is_run and self._many is None:
                self._run(exchange, frame, parts)
                continue
            self._or_refuse_one(exchange, frame, parts)
            if self.pended is not None:
                return
            if frame.final:
                self._over(exchange, step)
        if self._eof:
            self._finish(parts, step)

    def _unpend(self, parts: list[bytes], step: AnswerStep) -> None:
        """Go on where what was waited for has come."""
        pended = self.pended
        if pended is not None:
            if not all(scan.done for scan in pended.waits_for):
                return
            self.pended = None
            if pended.frame is not None:
                parts.append(self._session.write_response(pended.frame, tuple(pended.texts)))
            if pended.frame is None or pended.frame.final:
                self._over(pended.exchange, step)
        self._go_on(parts, step)

    def _write_between(
        self,
        exchange: Exchange,
        channel: Channel,
        scan: AskingScan,
        output: ChannelOutput,
        parts: list[bytes],
    ) -> None:
        """Write what a model let go of: with the frame that waits for it, or else at once."""
        text = self._texts.released(exchange, channel, scan, output, eof=scan.ended)
        if not text:
            return
        pended = self.pended
        at = pended.last_of.get(channel) if pended is not None and pended.exchange is exchange else None
        if pended is not None and at is not None:
            # Text of the same channel that came before stands in it.
            pended.texts[at] += text
        else:
            parts.append(self._session.write_tail(exchange.key, channel, text))

    @contextmanager
    def _alone(self, exchange: Exchange, parts: list[bytes], step: AnswerStep) -> Iterator[None]:
        """Refuse an exchange alone where others run beside it, and a model or what it found refuses it."""
        try:
            try:
                yield
            except UnreadError as error:
                exchange.degraded_in_answer(error.watch.guard)
                exchange.found_in_answer(error.watch.guard, Action.BLOCK, ANSWER_UNREAD.reason)
                raise Blocked(ANSWER_UNREAD) from None
        except Blocked as blocked:
            parts.append(self._refuse_one(exchange, blocked))
            pended = self.pended
            if pended is not None and pended.exchange is exchange:
                self.pended = None
                if pended.frame is None or pended.frame.final:
                    self._over(exchange, step)

    def _over(self, exchange: Exchange, step: AnswerStep) -> None:
        """An exchange has no further frame."""
        self._ended.add(exchange.key)
        self._texts.over(exchange)
        self._refused.discard(exchange.key)
        step.finished.append(exchange)

    def _exchange_of(self, frame: ResponseFrame) -> Exchange:
        exchange = self._exchanges.get(frame.key)
        if exchange is not None and frame.key not in self._ended:
            # A request that was refused alone is answered by its codec's decoy, without any text.
            decoy = exchange.refused_wire is not None and not frame.deltas
            if exchange.forwarded or decoy:
                return exchange
        raise PeerError(Reason.UPSTREAM_UNREADABLE, "an answer to no request", status=502)

    def _or_refuse_one(self, exchange: Exchange, frame: ResponseFrame, parts: list[bytes]) -> None:
        """Judge a frame; where it is refused and others run beside it, refuse its exchange alone.

        Of that the rest is counted, since the model goes on with it, and not written.
        """
        if frame.key in self._refused:
            self._texts.count_frame(exchange, frame)
            return
        written = len(parts)
        try:
            if frame.is_run:
                self._run(exchange, frame, parts)
            else:
                self._frame(exchange, frame, parts)
        except Blocked as blocked:
            # Of a run the frames before this one are one part, which goes out.
            parts[written + frame.is_run :] = [self._refuse_one(exchange, blocked)]

    def _refuse_one(self, exchange: Exchange, blocked: Blocked) -> bytes:
        """The refusal of one exchange among many; where it is alone the whole answer is refused."""
        if self._many is None:
            raise blocked
        self._texts.forget(exchange)
        self._refused.add(exchange.key)
        return self._many.end_one(exchange.key, signed(blocked.refusal, self._books.request_id))

    def _frame(self, exchange: Exchange, frame: ResponseFrame, parts: list[bytes]) -> None:
        self._texts.count_frame(exchange, frame)
        if frame.error:
            self._upstream_failed(exchange)
        self._texts.check_length(exchange)
        if frame.calls:
            self._texts.judge_calls(exchange, frame)
        if len(frame.deltas) == 1 and not (frame.ended or frame.final or frame.error):
            # Nearly every frame: one text, and nothing ends.
            ((channel, text),) = frame.deltas
            released = self._texts.feed(exchange, channel, text, eof=False)
            parts.append(self._session.write_response(frame, (released,)))
            return
        texts = []
        last_of = {delta.channel: at for at, delta in enumerate(frame.deltas)}
        ended = frozenset(frame.ended)
        ends_all = frame.final or frame.error
        for at, (channel, text) in enumerate(frame.deltas):
            eof = (ends_all or channel in ended) and last_of[channel] == at
            texts.append(self._texts.feed(exchange, channel, text, eof=eof))
        for channel in tuple(exchange.channels) if ends_all else frame.ended:
            self._end_channel(exchange, channel, parts, held=channel not in last_of)
        if waits_for := self._texts.take_unfinished():
            self.pended = Pended(exchange, frame, texts, last_of, waits_for)
            return
        parts.append(self._session.write_response(frame, tuple(texts)))

    def _run(self, exchange: Exchange, frame: ResponseFrame, parts: list[bytes]) -> None:
        """Several frames with one text each, at once: to the same effect as one by one."""
        texts = tuple([delta.text for delta in frame.deltas])
        released = self._texts.run(exchange, frame.deltas[0].channel, texts)
        if released is None:
            self._one_by_one(exchange, frame, parts)
        else:
            parts.append(self._session.write_response(frame, released))

    def _one_by_one(self, exchange: Exchange, frame: ResponseFrame, parts: list[bytes]) -> None:
        """The frames of a run, of which one may end the answer: those before it go out."""
        released: list[str] = []
        try:
            for channel, text in frame.deltas:
                exchange.answer_frames += 1
                exchange.output_bytes += size_bytes(text)
                self._texts.check_length(exchange)
                released.append(self._texts.feed(exchange, channel, text, eof=False))
        except Blocked:
            if self._many is not None:
                # As of all that comes for an exchange that was refused alone.
                self._texts.count_frame(exchange, frame._replace(deltas=frame.deltas[len(released) + 1 :]))
            raise
        finally:
            parts.append(self._session.write_response(frame, tuple(released)))

    def _upstream_failed(self, exchange: Exchange) -> None:
        """The upstream broke off in band: an undecided tail is dropped, never flushed."""
        exchange.upstream_error = True
        self._texts.forget(exchange)

    def _end_channel(self, exchange: Exchange, channel: Channel, parts: list[bytes], *, held: bool) -> None:
        """Forget a channel; what it still holds goes out in a tail. Later text of it begins anew."""
        released = self._texts.end(exchange, channel, held=held)
        if released:
            parts.append(self._session.write_tail(exchange.key, channel, released))

    def _finish(self, parts: list[bytes], step: AnswerStep) -> None:
        """The answer has ended, and with it every exchange that has had no last frame."""
        for exchange in self._exchanges.values():
            if not exchange.forwarded or exchange.key in self._ended:
                continue
            for channel in tuple(exchange.channels):
                self._end_channel(exchange, channel, parts, held=True)
            if waits_for := self._texts.take_unfinished():
                self.pended = Pended(exchange, None, [], {}, waits_for)
                return
            self._over(exchange, step)
        step.ended = True

    def drop(self) -> None:
        """The answer is cut, or all of it has gone out: forget all that is held."""
        self.pended = None
        self._frames, self._eof = iter(()), False
        for exchange in self._exchanges.values():
            if exchange.closed:
                # Its record may wait for models that only tell.
                exchange.drop_channels()
            else:
                self._texts.forget(exchange)
        if self._texts.questions is not None:
            # What is dropped makes room for those that records wait for.
            self._texts.questions.go_on(self._texts.moment.at_us)
