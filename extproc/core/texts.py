"""The texts of a stream's answers: what of each piece may go out, and what was found in it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from extproc.core.asking import AskingScan
from extproc.core.bodies import size_bytes
from extproc.core.channels import ChannelScan, Watch, watches_of
from extproc.core.judges import Judges
from extproc.core.questions import Place, Questions
from extproc.core.refusals import ANSWER_BLOCKED_MESSAGE, ANSWER_UNREAD, OUTPUT_TOO_LONG_MESSAGE
from extproc.core.stages import Moment
from extproc.domain.errors import PeerError
from extproc.domain.judging import BLOCKED_STATUS, ChannelKind, JudgeWatch, kind_of
from extproc.domain.segment import Channel
from extproc.domain.verdict import Action, Lane, Mode, Reason, Refusal
from extproc.redaction.pseudonyms import Restorer

if TYPE_CHECKING:
    from extproc.core.channels import ChannelOutput, Judge
    from extproc.core.closing import Books
    from extproc.core.exchange import Exchange
    from extproc.core.stages import AskingStage
    from extproc.domain.limits import Limits
    from extproc.domain.ports import ResponseFrame
    from extproc.domain.scanning import RuleWatch, ScannerFactory
    from extproc.domain.verdict import Finding
    from extproc.redaction.pseudonyms import Pseudonyms

# A token of white space can have 128 bytes; of text it has 3 to 4. The slack is for tool calls' envelopes,
# and for servers that count an end token.
_BYTES_PER_TOKEN_MAX = 64
_BYTES_SLACK = 65_536
_TOKENS_SLACK = 16
# Where a tool call stands in records.
_CALL: Final = Channel(0, "tool_call")


class Blocked(Exception):  # noqa: N818 - leaves the frame loop; never crosses the lane.
    """An exchange's answer is refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class AnswerTexts:
    """The channels of one stream's exchanges."""

    def __init__(
        self, *, factory: ScannerFactory, limits: Limits, pseudonyms: Pseudonyms, books: Books
    ) -> None:
        self._factory = factory
        self._limits = limits
        self._pseudonyms = pseudonyms
        self._books = books
        self._watches: dict[int, tuple[tuple[Watch, ...], Judges | None, bool]] = {}
        self.moment = Moment()
        # None while no model reads any of the answers.
        self.questions: Questions | None = None
        # Texts that have ended and wait for a model.
        self._unfinished: list[AskingScan] = []

    def count_frame(self, exchange: Exchange, frame: ResponseFrame) -> None:
        """Count a frame, its length and what the upstream says of tokens."""
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

    def run(self, exchange: Exchange, channel: Channel, texts: tuple[str, ...]) -> tuple[str, ...] | None:
        """Read pieces of a channel at once, to the same effect as one by one; None where that cannot be."""
        scan = exchange.channels.get(channel) or self._open_channel(exchange, channel)
        joined = "".join(texts)
        bytes_more = size_bytes(joined)
        if (
            isinstance(scan, AskingScan)
            or scan.may_block
            or exchange.capture is not None
            or self._outgrows(exchange, bytes_more)
        ):
            return None
        exchange.answer_frames += len(texts)
        exchange.answer_chars += len(joined)
        exchange.output_bytes += bytes_more
        output = scan.feed_each(texts)
        for _, watch, finding in output.findings:
            self._found(exchange, channel, ((watch, finding),))
        self._check_held(exchange, output.held_chars_max)
        if self._pseudonyms:
            return tuple([self._turn_back(exchange, channel, one, eof=False) for one in output.released])
        return output.released

    def check_length(self, exchange: Exchange) -> None:
        """Cut an answer that outgrows its reservation: its upstream ignores the cap."""
        if self._outgrows(exchange, 0):
            exchange.decide(Action.BLOCK, Reason.OUTPUT_TOO_LONG, "budget")
            refusal = Refusal(reason=Reason.OUTPUT_TOO_LONG, status=502, message=OUTPUT_TOO_LONG_MESSAGE)
            raise Blocked(refusal)

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

    def feed(self, exchange: Exchange, channel: Channel, text: str, *, eof: bool) -> str:
        """Read a piece of a channel; with ``eof`` its last one. Gives what may go out. Raises Blocked."""
        scan = exchange.channels.get(channel)
        if scan is None:
            # A text that ends with its first piece is never one of the channels that live.
            scan = self._new_scan(exchange, channel, text) if eof else self._open_channel(exchange, channel)
        exchange.answer_chars += len(text)
        capture = exchange.capture
        if capture is not None:
            capture.came(channel, text)
        output = scan.feed(text, eof=eof)
        if eof and isinstance(scan, AskingScan) and not scan.done:
            self._unfinished.append(scan)
        return self.released(exchange, channel, scan, output, eof=eof)

    def released(
        self,
        exchange: Exchange,
        channel: Channel,
        scan: ChannelScan | AskingScan,
        output: ChannelOutput,
        *,
        eof: bool,
    ) -> str:
        """What of a scan's output goes out; with ``eof`` the end has been fed."""
        if output.findings:
            self._found(exchange, channel, output.findings)
        held_chars = scan.held_chars
        if isinstance(scan, AskingScan) and held_chars > self._limits.held_chars_max:
            # More than models read in time.
            exchange.found_in_answer(scan.guard, Action.BLOCK, ANSWER_UNREAD.reason)
            raise Blocked(ANSWER_UNREAD)
        self._check_held(exchange, held_chars)
        if exchange.capture is not None:
            exchange.capture.released(channel, output.released)
        eof = eof and scan.done
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

    def _open_channel(self, exchange: Exchange, channel: Channel) -> ChannelScan | AskingScan:
        if len(exchange.channels) >= self._limits.channels_max:
            raise PeerError(Reason.UPSTREAM_UNREADABLE, "too many output channels", status=502)
        scan = exchange.channels[channel] = self._new_scan(exchange, channel, None)
        return scan

    def _new_scan(self, exchange: Exchange, channel: Channel, text: str | None) -> ChannelScan | AskingScan:
        """What reads a channel; ``text`` is all of it, None where it may go on."""
        watches, judges, asks = self._watched(exchange)
        if asks and _is_read(channel, text):
            return self._new_asking(exchange, channel)
        if judges is None:
            return ChannelScan(watches, self._factory, exchange.degraded_in_answer)
        return judges.channel(channel, watches, self._factory, exchange.degraded_in_answer)

    def _new_asking(self, exchange: Exchange, channel: Channel) -> AskingScan:
        watches, judges, _ = self._watched(exchange)
        questions = self.questions = self.questions or Questions(self._limits, self._books)

        def wants(scan: AskingScan, stage: AskingStage) -> None:
            questions.want(Place(exchange, channel, scan, stage))

        scan = AskingScan(
            watches,
            self._factory,
            () if judges is None else judges.readers(channel),
            moment=self.moment,
            wants=wants,
            unread=partial(questions.note_unread, exchange),
            degraded=exchange.degraded_in_answer,
        )
        questions.watch(exchange, channel, scan)
        return scan

    def _watched(self, exchange: Exchange) -> tuple[tuple[Watch, ...], Judges | None, bool]:
        """The rules, the judges, and whether any of them has a model."""
        watched = self._watches.get(exchange.key)
        if watched is None:
            guards, view = exchange.guards, exchange.view
            watches, judges = watches_of(guards, view), Judges.of(guards, view)
            asks = any(one.rules.model is not None for one in watches)
            asks |= judges is not None and judges.ask
            watched = self._watches[exchange.key] = (watches, judges, asks)
        return watched

    def judge_calls(self, exchange: Exchange, frame: ResponseFrame) -> None:
        """Judge the tool calls that begin in a frame. Raises Blocked."""
        _, judges, _ = self._watched(exchange)
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
                raise Blocked(_refusal_of(rules))
            if isinstance(rules, JudgeWatch) and not rules.touches:
                exchange.flagged_in_answer(watch.guard, rules.reason)
            else:
                exchange.found_in_answer(watch.guard, Action.REDACT, rules.reason)

    def end(self, exchange: Exchange, channel: Channel, *, held: bool) -> str:
        """Forget a channel; gives what it still holds, if that is wanted. Later text of it begins anew."""
        scan = exchange.channels.pop(channel, None)
        if scan is None or not held:
            return ""
        output = scan.feed("", eof=True)
        if isinstance(scan, AskingScan) and not scan.done:
            self._unfinished.append(scan)
        return self.released(exchange, channel, scan, output, eof=True)

    def take_unfinished(self) -> list[AskingScan]:
        """The texts that have ended since the last call and wait for a model."""
        taken, self._unfinished = self._unfinished, []
        return taken

    def over(self, exchange: Exchange) -> None:
        """No text of an exchange follows."""
        self._watches.pop(exchange.key, None)
        exchange.untold = self.questions is not None and not self.questions.told(exchange)

    def forget(self, exchange: Exchange) -> None:
        """Forget what is held of an exchange's answer, and what was asked about it."""
        exchange.drop_channels()
        # What was asked for its record is dropped, too.
        exchange.untold = False
        self._unfinished = []
        if self.questions is not None:
            self.questions.drop(exchange)


def _is_read(channel: Channel, text: str | None) -> bool:
    """Whether models read a channel whose whole text is given; None where it may go on.

    Names of tools are the caller's own words. A word alone beside the texts is an id, to nearly every
    server: its frame would wait for a model each time. What is not ASCII is no id, and a script without
    spaces says whole sentences in a word.
    """
    match kind_of(channel):
        case ChannelKind.NAME:
            return False
        case ChannelKind.ONCE:
            return text is None or not text.isascii() or len(text.split(maxsplit=1)) > 1
        case _:
            return True


def _refusal_of(rules: RuleWatch | JudgeWatch) -> Refusal:
    if isinstance(rules, JudgeWatch):
        return Refusal(reason=rules.reason, status=rules.status, message=rules.message)
    return Refusal(reason=rules.reason, status=BLOCKED_STATUS, message=ANSWER_BLOCKED_MESSAGE)
