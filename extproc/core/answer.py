"""The response lane: frames in, judged bytes out. Synchronous; the hot path.

Frame by frame: each text goes through its channel's scanner, and what the scanner released is spliced
back in its place. One upstream frame stays one downstream frame; text that is still held moves to a
later frame of its channel, or to a tail frame when the answer ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from extproc.core.bodies import size_bytes
from extproc.core.channels import ChannelScan, Watch, watches_of
from extproc.core.judges import Judges
from extproc.core.refusals import ANSWER_BLOCKED_MESSAGE, OUTPUT_TOO_LONG_MESSAGE, signed
from extproc.domain.errors import PeerError
from extproc.domain.judging import BLOCKED_STATUS, JudgeWatch
from extproc.domain.ports import has_many_exchanges
from extproc.domain.segment import Channel
from extproc.domain.verdict import Action, Lane, Mode, Reason, Refusal
from extproc.redaction.pseudonyms import Restorer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.core.channels import Judge
    from extproc.core.exchange import Exchange
    from extproc.domain.limits import Limits
    from extproc.domain.ports import CodecSession, ResponseFrame, RuleWatch, ScannerFactory
    from extproc.domain.verdict import Finding
    from extproc.redaction.pseudonyms import Pseudonyms

# A token of white space can have 128 bytes; of text it has 3 to 4. The slack is for tool calls' envelopes,
# and for servers that count an end token.
_BYTES_PER_TOKEN_MAX = 64
_BYTES_SLACK = 65_536
_TOKENS_SLACK = 16
# Where a tool call stands in records.
_CALL: Final = Channel(0, "tool_call")


@dataclass(slots=True)
class AnswerStep:
    """What one chunk gave: bytes to send, exchanges that ended, and a refusal that ends the answer."""

    data: bytes = b""
    finished: list[Exchange] = field(default_factory=list)
    refusal: Refusal | None = None
    refused: Exchange | None = None


class _Blocked(Exception):  # noqa: N818 - leaves the frame loop; never crosses this module.
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class AnswerLane:
    """The answers of one stream's exchanges."""

    def __init__(  # noqa: PLR0913 - the stream names each part once.
        self,
        *,
        session: CodecSession,
        exchanges: Mapping[int, Exchange],
        factory: ScannerFactory,
        limits: Limits,
        request_id: str,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._session = session
        self._request_id = request_id
        self._pseudonyms = pseudonyms
        # Where one exchange can be refused while its neighbours go on.
        self._many = session if has_many_exchanges(session) else None
        self._refused: set[int] = set()
        self._exchanges = exchanges
        self._factory = factory
        self._limits = limits
        self._watches: dict[int, tuple[tuple[Watch, ...], Judges | None]] = {}
        self._ended: set[int] = set()

    def feed(self, chunk: bytes, *, eof: bool, at_us: int) -> AnswerStep:
        """Take answer bytes; give those that are judged.

        Raises:
            PeerError: the upstream's bytes cannot be vouched for. Nothing of this chunk goes out.
        """
        step = AnswerStep()
        parts: list[bytes] = []
        exchange: Exchange | None = None
        if self._many is not None and self._ended:
            # Those that the stream itself has forgotten.
            self._ended.intersection_update(self._exchanges)
        try:
            for frame in self._session.read_response(chunk, eof=eof):
                exchange = self._exchange_of(frame)
                if not exchange.first_frame_at_us:
                    exchange.first_frame_at_us = at_us
                if frame.is_run and self._many is None:
                    self._run(exchange, frame, parts)
                    continue
                self._or_refuse_one(exchange, frame, parts)
                if frame.final:
                    self._ended.add(frame.key)
                    self._watches.pop(frame.key, None)
                    self._refused.discard(frame.key)
                    step.finished.append(exchange)
            if eof:
                for exchange in self._exchanges.values():
                    self._finish(exchange, parts, step)
        except _Blocked as blocked:
            step.refusal, step.refused = blocked.refusal, exchange
        step.data = b"".join(parts)
        return step

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
            self._count_frame(exchange, frame)
            return
        written = len(parts)
        try:
            if frame.is_run:
                self._run(exchange, frame, parts)
            else:
                self._frame(exchange, frame, parts)
        except _Blocked as blocked:
            if self._many is None:
                raise
            exchange.drop_channels()
            self._refused.add(frame.key)
            # Of a run the frames before this one are one part, which goes out.
            refusal = signed(blocked.refusal, self._request_id)
            parts[written + frame.is_run :] = [self._many.end_one(frame.key, refusal)]

    def _count_frame(self, exchange: Exchange, frame: ResponseFrame) -> None:
        exchange.answer_frames += len(frame.deltas) if frame.is_run else 1
        if not frame.error:
            for delta in frame.deltas:
                exchange.output_bytes += size_bytes(delta.text)
        if frame.usage is not None:
            exchange.usage_reported = True
            exchange.input_tokens += frame.usage.input_tokens
            exchange.output_tokens += frame.usage.output_tokens
            exchange.counted_bytes = exchange.output_bytes
            exchange.counted_frames = exchange.answer_frames

    def _frame(self, exchange: Exchange, frame: ResponseFrame, parts: list[bytes]) -> None:
        self._count_frame(exchange, frame)
        if frame.error:
            self._upstream_failed(exchange)
        self._check_length(exchange)
        if frame.calls:
            self._judge_calls(exchange, frame)
        if len(frame.deltas) == 1 and not (frame.ended or frame.final or frame.error):
            # Nearly every frame: one text, and nothing ends.
            ((channel, text),) = frame.deltas
            released = self._feed_channel(exchange, channel, text, eof=False)
            parts.append(self._session.write_response(frame, (released,)))
            return
        texts = []
        last_of = {delta.channel: at for at, delta in enumerate(frame.deltas)}
        ended = frozenset(frame.ended)
        ends_all = frame.final or frame.error
        for at, (channel, text) in enumerate(frame.deltas):
            eof = (ends_all or channel in ended) and last_of[channel] == at
            texts.append(self._feed_channel(exchange, channel, text, eof=eof))
        for channel in tuple(exchange.channels) if ends_all else frame.ended:
            self._end_channel(exchange, channel, parts, held=channel not in last_of)
        parts.append(self._session.write_response(frame, tuple(texts)))

    def _run(self, exchange: Exchange, frame: ResponseFrame, parts: list[bytes]) -> None:
        """Several frames with one text each, at once: to the same effect as one by one."""
        channel = frame.deltas[0].channel
        texts = tuple([delta.text for delta in frame.deltas])
        scan = exchange.channels.get(channel) or self._open_channel(exchange, channel)
        joined = "".join(texts)
        bytes_more = size_bytes(joined)
        if scan.may_block or exchange.capture is not None or self._outgrows(exchange, bytes_more):
            self._one_by_one(exchange, frame, parts)
            return
        exchange.answer_frames += len(texts)
        exchange.answer_chars += len(joined)
        exchange.output_bytes += bytes_more
        output = scan.feed_each(texts)
        for _, watch, finding in output.findings:
            self._found(exchange, channel, ((watch, finding),))
        self._check_held(exchange, output.held_chars_max)
        released = output.released
        if self._pseudonyms:
            released = tuple([self._turn_back(exchange, channel, one, eof=False) for one in released])
        parts.append(self._session.write_response(frame, released))

    def _one_by_one(self, exchange: Exchange, frame: ResponseFrame, parts: list[bytes]) -> None:
        """The frames of a run, of which one may end the answer: those before it go out."""
        released: list[str] = []
        try:
            for channel, text in frame.deltas:
                exchange.answer_frames += 1
                exchange.output_bytes += size_bytes(text)
                self._check_length(exchange)
                released.append(self._feed_channel(exchange, channel, text, eof=False))
        except _Blocked:
            if self._many is not None:
                # As of all that comes for an exchange that was refused alone.
                self._count_frame(exchange, replace(frame, deltas=frame.deltas[len(released) + 1 :]))
            raise
        finally:
            parts.append(self._session.write_response(frame, tuple(released)))

    def _check_length(self, exchange: Exchange) -> None:
        """Cut an answer that outgrows its reservation: its upstream ignores the cap."""
        if self._outgrows(exchange, 0):
            exchange.decide(Action.BLOCK, Reason.OUTPUT_TOO_LONG, "budget")
            refusal = Refusal(reason=Reason.OUTPUT_TOO_LONG, status=502, message=OUTPUT_TOO_LONG_MESSAGE)
            raise _Blocked(refusal)

    def _outgrows(self, exchange: Exchange, bytes_more: int) -> bool:
        """Whether an answer is longer than its reservation, with so many bytes more.

        By the upstream's count where it gives one; else by length, at more bytes a token than text has,
        and with room for a prompt that is repeated.
        """
        if not exchange.held_to_length:
            return False
        params = exchange.request.params
        if params.max_output_tokens is None:
            return False
        tokens_max = params.choices_count * params.max_output_tokens
        bytes_max = tokens_max * _BYTES_PER_TOKEN_MAX + exchange.request.inspectable_bytes + _BYTES_SLACK
        output_bytes = exchange.output_bytes + bytes_more
        return exchange.output_tokens > tokens_max + _TOKENS_SLACK or output_bytes > bytes_max

    def _feed_channel(self, exchange: Exchange, channel: Channel, text: str, *, eof: bool) -> str:
        scan = exchange.channels.get(channel)
        if scan is None:
            # A text that ends with its first piece is never one of the channels that live.
            scan = self._new_scan(exchange, channel) if eof else self._open_channel(exchange, channel)
        exchange.answer_chars += len(text)
        capture = exchange.capture
        if capture is not None:
            capture.came(channel, text)
        output = scan.feed(text, eof=eof)
        if output.findings:
            self._found(exchange, channel, output.findings)
        self._check_held(exchange, scan.held_chars)
        if capture is not None:
            capture.released(channel, output.released)
        if self._pseudonyms:
            return self._turn_back(exchange, channel, output.released, eof=eof)
        return output.released

    def _turn_back(self, exchange: Exchange, channel: Channel, text: str, *, eof: bool) -> str:
        """Put the caller's own values back where the answer has their tokens; behind all that judges it."""
        restorer = exchange.restorers.get(channel) or Restorer(self._pseudonyms)
        turned_back = restorer.feed(text, eof=eof)
        for known in turned_back.found:
            exchange.count_turned_back(known, channel.field)
        if eof:
            exchange.restorers.pop(channel, None)
        else:
            exchange.restorers[channel] = restorer
            exchange.held_chars_max = max(exchange.held_chars_max, restorer.held_chars)
        return turned_back.text

    def _check_held(self, exchange: Exchange, held_chars: int) -> None:
        exchange.held_chars_max = max(exchange.held_chars_max, held_chars)
        if held_chars > self._limits.held_chars_max:
            raise PeerError(Reason.UPSTREAM_UNREADABLE, "too much text is held back", status=502)

    def _open_channel(self, exchange: Exchange, channel: Channel) -> ChannelScan:
        if len(exchange.channels) >= self._limits.channels_max:
            raise PeerError(Reason.UPSTREAM_UNREADABLE, "too many output channels", status=502)
        scan = exchange.channels[channel] = self._new_scan(exchange, channel)
        return scan

    def _new_scan(self, exchange: Exchange, channel: Channel) -> ChannelScan:
        watches, judges = self._watched(exchange)
        if judges is None:
            return ChannelScan(watches, self._factory)
        return judges.channel(channel, watches, self._factory)

    def _watched(self, exchange: Exchange) -> tuple[tuple[Watch, ...], Judges | None]:
        watched = self._watches.get(exchange.key)
        if watched is None:
            guards, view = exchange.guards, exchange.view
            watched = self._watches[exchange.key] = (watches_of(guards, view), Judges.of(guards, view))
        return watched

    def _judge_calls(self, exchange: Exchange, frame: ResponseFrame) -> None:
        _, judges = self._watched(exchange)
        if judges is not None:
            self._found(exchange, _CALL, judges.calls(frame.calls))

    def _found(
        self, exchange: Exchange, channel: Channel, findings: tuple[tuple[Watch | Judge, Finding], ...]
    ) -> None:
        for watch, finding in findings:
            rules = watch.rules
            exchange.count(Lane.RESPONSE, watch.guard, watch.mode, finding, channel.field)
            if watch.mode is not Mode.ENFORCE:
                continue
            if rules.block:
                exchange.found_in_answer(watch.guard, Action.BLOCK, rules.reason)
                raise _Blocked(_refusal_of(rules))
            if isinstance(rules, JudgeWatch) and not rules.touches:
                exchange.flagged_in_answer(watch.guard, rules.reason)
            else:
                exchange.found_in_answer(watch.guard, Action.REDACT, rules.reason)

    def _upstream_failed(self, exchange: Exchange) -> None:
        """The upstream broke off in band: an undecided tail is dropped, never flushed."""
        exchange.upstream_error = True
        exchange.drop_channels()

    def _end_channel(self, exchange: Exchange, channel: Channel, parts: list[bytes], *, held: bool) -> None:
        """Forget a channel; what it still holds goes out in a tail. Later text of it begins anew."""
        scan = exchange.channels.pop(channel, None)
        if scan is None or not held:
            return
        output = scan.feed("", eof=True)
        if output.findings:
            self._found(exchange, channel, output.findings)
        released = output.released
        if exchange.capture is not None:
            exchange.capture.released(channel, released)
        if self._pseudonyms:
            released = self._turn_back(exchange, channel, released, eof=True)
        if released:
            parts.append(self._session.write_tail(exchange.key, channel, released))

    def _finish(self, exchange: Exchange, parts: list[bytes], step: AnswerStep) -> None:
        if not exchange.forwarded or exchange.key in self._ended:
            return
        self._ended.add(exchange.key)
        for channel in tuple(exchange.channels):
            self._end_channel(exchange, channel, parts, held=True)
        step.finished.append(exchange)

    def drop(self) -> None:
        """The answer is cut: forget all that is held."""
        for exchange in self._exchanges.values():
            exchange.drop_channels()


def _refusal_of(rules: RuleWatch | JudgeWatch) -> Refusal:
    if isinstance(rules, JudgeWatch):
        return Refusal(reason=rules.reason, status=rules.status, message=rules.message)
    return Refusal(reason=rules.reason, status=BLOCKED_STATUS, message=ANSWER_BLOCKED_MESSAGE)
