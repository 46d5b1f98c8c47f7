"""The request lane: who calls, what is asked, and what may go on.

The body is read only once the caller is known. Exchanges are judged as they complete and released in
the order in which they came.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from extproc.core import commands as cmd
from extproc.core.bodies import Capture
from extproc.core.edits import merge_edits
from extproc.core.exchange import Exchange
from extproc.core.judges import may_touch, replacements_of
from extproc.core.pieces import body_replies
from extproc.core.pipeline import Asked, PipelineRun
from extproc.core.refusals import (
    BODIES_UNAVAILABLE,
    BODY_TOO_LARGE,
    NOT_ALLOWED,
    TOO_LARGE_TO_KEEP,
    TOO_MANY_EXCHANGES,
    bare_refusal,
    from_peer_error,
    signed,
)
from extproc.domain.errors import PeerError
from extproc.domain.ports import ExchangeView, RequestEdits, has_many_exchanges
from extproc.domain.prices import ANY_MODEL, price_of
from extproc.domain.segment import Backend, Operation
from extproc.domain.verdict import Action, Lane, Reason
from extproc.redaction.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.core.closing import Books
    from extproc.domain.effects import Answer
    from extproc.domain.errors import FailureKind
    from extproc.domain.head import RequestHead
    from extproc.domain.limits import Limits
    from extproc.domain.ports import (
        Codec,
        CodecSession,
        ManyExchanges,
        PolicySnapshot,
        RequestMessage,
        WireRefusal,
    )
    from extproc.domain.verdict import Refusal

_CALLER_KEY = -1


class RequestLane:
    """Everything of a stream up to the bytes that go to the upstream."""

    def __init__(  # noqa: PLR0913 - the stream names each part once.
        self,
        *,
        stream_id: str,
        policy: PolicySnapshot,
        codecs: Sequence[Codec],
        limits: Limits,
        books: Books,
        bodies_kept: bool,
    ) -> None:
        # Unguessable and ours: a caller who could choose it could reuse a reservation.
        self._stream_id = stream_id
        self._policy = policy
        self._codecs = codecs
        self._limits = limits
        self._books = books
        self._bodies_kept = bodies_kept
        self.caller: Exchange | None = None
        self.session: CodecSession | None = None
        self.exchanges: dict[int, Exchange] = {}
        # Of a stream of many exchanges those that are over are forgotten; one stands for all of them.
        self.retired: list[Exchange] = []
        self.refusal: Refusal | None = None
        self.pseudonyms = Pseudonyms(limits.pseudonyms_max)
        self.released = False
        self._has_body = False
        self._ended = False
        self._trailers: tuple[str, ...] | None = None
        self._closed = False
        self._many: ManyExchanges | None = None
        self._opened = 0
        self._body_bytes = 0
        # What the parts of requests that are held take beside their text.
        self._parts_bytes = 0
        self._backlog: list[bytes] = []
        self._forward_at = 0
        self._runs: dict[int, PipelineRun] = {}
        self._pending: dict[int, tuple[Exchange, Asked, int]] = {}

    # --- input ------------------------------------------------------------------------------

    def begin(self, head: RequestHead, *, end_stream: bool) -> None:
        """Take the head and find out who calls."""
        self._ended = end_stream
        self._has_body = not end_stream
        view = ExchangeView(exchange_id=self._stream_id, head=head)
        self.caller = Exchange(
            key=_CALLER_KEY, view=view, guards=self._policy.identity, at_us=self._books.now_us
        )
        self._start(self.caller)

    def take(self, chunk: bytes, *, ended: bool, trailers: tuple[str, ...] | None = None) -> None:
        """Take body bytes; kept aside, within the bound, while the caller is not yet known."""
        self._ended = ended
        self._trailers = trailers
        self._body_bytes += len(chunk)
        if self._body_bytes > self._limits.body_bytes_max:
            self.refusal = BODY_TOO_LARGE
        elif self.session is None:
            self._backlog.append(chunk)
        else:
            self._read(chunk)

    @property
    def body_bytes(self) -> int:
        """Bytes of requests that are held, as they came or, where that is more, decoded.

        With what their parts take beside their text: of short strings that is most of it.
        """
        if self._many is not None:
            return self._body_bytes + self._parts_bytes
        messages = [one.view.request for one in self.exchanges.values()]
        decoded = sum(one.inspectable_bytes for one in messages if one is not None)
        return max(self._body_bytes, decoded) + self._parts_bytes

    @property
    def waits_for(self) -> int | None:
        """The message of which more must come in time: between two messages of many none must."""
        if self._ended:
            return None
        return self._opened if self._many is None or self._many.pending_bytes else None

    def retire(self, exchange: Exchange) -> None:
        """Forget an exchange whose answer is over, where many more may follow on its stream."""
        if self._many is None:
            return
        del self.exchanges[exchange.key]
        self._body_bytes -= exchange.request.inspectable_bytes
        self._parts_bytes -= self._parts_of(exchange.request)
        if self.retired:
            self.retired[0].stand_for(exchange)
        else:
            self.retired.append(exchange.stand_in())

    def effect_answered(self, effect_id: int, answer: Answer | FailureKind) -> None:
        """Go on with the exchange that waited for this answer."""
        waiting = self._pending.pop(effect_id, None)
        if waiting is None:
            return
        exchange, asked, slot = waiting
        run = self._runs[exchange.key]
        if run.answer(asked, slot, answer):
            self._advance(exchange, run)

    # --- judging ----------------------------------------------------------------------------

    def _start(self, exchange: Exchange) -> None:
        run = self._runs[exchange.key] = PipelineRun(exchange)
        self._advance(exchange, run)

    def _advance(self, exchange: Exchange, run: PipelineRun) -> None:
        asked = run.advance()
        if asked is None:
            del self._runs[exchange.key]
            exchange.decided_at_us = self._books.now_us
            self._decided(exchange)
            return
        for one, slot in asked:
            effect_id = self._books.ask(exchange, one.bound, one.effects[slot])
            self._pending[effect_id] = (exchange, one, slot)

    def _decided(self, exchange: Exchange) -> None:
        if exchange is self.caller:
            self._identified(exchange)
        elif exchange.refusal is not None:
            exchange.refused_wire = self._refusal_bytes(exchange)
            if exchange.refused_wire is None:
                self.refusal = exchange.refusal

    def _identified(self, caller: Exchange) -> None:
        """Only now is the codec chosen and the body read."""
        if caller.refusal is not None or caller.view.principal is None:
            self.refusal = caller.refusal or NOT_ALLOWED
            return
        self._books.enter(caller.view.principal.tenant)
        head = caller.view.head
        codec = self._codec_of(head)
        if codec is None:
            self.refusal = NOT_ALLOWED
            return
        self._books.codec(codec.name)
        if not self._policy.pipelines.get(caller.view.principal.tenant):
            # No pipeline is no permission, whatever the body would say: a route that the policy closes.
            self.refusal = NOT_ALLOWED
            return
        self.session = codec.open(head)
        self._many = self.session if has_many_exchanges(self.session) else None
        self._check_content_length(head)
        backlog, self._backlog = b"".join(self._backlog), []
        if backlog or self._ended:
            self._read(backlog)

    def _codec_of(self, head: RequestHead) -> Codec | None:
        """The codec of a path; None where it is unknown or has two readings: nobody vouches for it."""
        accepting = [one for one in self._codecs if one.accepts(head)]
        return accepting[0] if len(accepting) == 1 else None

    def wire_refusal(self, refusal: Refusal) -> WireRefusal:
        """A refusal with a status of its own, in the words of the client's protocol."""
        if self.session is not None:
            return self.session.refuse(refusal)
        codec = self._codec_of(self.caller.view.head) if self.caller is not None else None
        return bare_refusal(refusal) if codec is None else codec.refuse(refusal)

    def _check_content_length(self, head: RequestHead) -> None:
        """Refuse a body that says it is too large before it is sent."""
        declared = head.header("content-length")
        if declared is not None and declared.isdecimal() and self.refusal is None:
            digits = len(str(self._limits.body_bytes_max))
            if len(declared) > digits or int(declared) > self._limits.body_bytes_max:
                self.refusal = BODY_TOO_LARGE

    def _read(self, chunk: bytes) -> None:
        if self.session is None or self.refusal is not None:
            return
        held = sum(one.request.inspectable_bytes for one in self.exchanges.values())
        # One at a time: each bound holds before the next message is so much as decompressed.
        for message in self.session.read_request(chunk, eof=self._ended):
            self._open(message)
            held += message.inspectable_bytes
            if self._many is not None and held + self._many.pending_bytes > self._limits.body_bytes_max:
                self.refusal = self.refusal or BODY_TOO_LARGE
            if self.refusal is not None:
                return
        if self._many is not None:
            # Of what is not read yet, and of requests that are open: a stream may bring more over time.
            self._body_bytes = self._many.pending_bytes + held
        elif self._ended and not self.exchanges:
            raise PeerError(Reason.BODY_INVALID, "the request is empty")

    def _open(self, message: RequestMessage) -> None:
        if self.caller is None or message.key in self.exchanges:
            raise AssertionError("a codec repeated a key")
        open_max = self._limits.exchanges_open_max
        if len(self.exchanges) >= open_max:
            if self._many is None or len(self.exchanges) >= 2 * open_max:
                self.refusal = TOO_MANY_EXCHANGES
                return
            message = replace(message, refused=message.refused or TOO_MANY_EXCHANGES)
        self._opened += 1
        exchange_id = f"{self._stream_id}:{message.key}"
        view = replace(self.caller.view, exchange_id=exchange_id, request=message)
        tenant = view.principal.tenant if view.principal is not None else ""
        guards = self._policy.pipelines.get(tenant, ())
        exchange = Exchange(key=message.key, view=view, guards=guards, at_us=self._books.now_us)
        exchange.verdicts.extend(self.caller.verdicts)
        exchange.degraded = self.caller.degraded
        self.exchanges[message.key] = exchange
        self._parts_bytes += self._parts_of(message)
        if not guards or not _permitted(message, view):
            # No pipeline is no permission.
            self.refusal = NOT_ALLOWED
            return
        refused = message.refused
        rule = self._policy.bodies.get(tenant)
        if refused is None and rule is not None:
            exchange.capture = Capture(rule, self._limits)
            refused = self._unkeepable(exchange.capture, message)
            if refused is not None and self._many is None:
                self.refusal = refused
                return
        if refused is None:
            self._start(exchange)
            return
        exchange.refuse(refused)
        exchange.decided_at_us = self._books.now_us
        self._decided(exchange)

    def _parts_of(self, message: RequestMessage) -> int:
        seams = sum([len(segment.seams) for segment in message.segments])
        parts = len(message.segments) + len(message.tools)
        return parts * self._limits.part_bytes + seams * self._limits.seam_bytes

    def _unkeepable(self, capture: Capture, message: RequestMessage) -> Refusal | None:
        """The refusal of what must be kept and could not be."""
        if not capture.required:
            return None
        if not self._bodies_kept:
            return BODIES_UNAVAILABLE
        return None if capture.fits(message) else TOO_LARGE_TO_KEEP

    def _refusal_bytes(self, exchange: Exchange) -> bytes | None:
        """What to forward in place of a refused exchange; None where the stream must be refused."""
        if self.session is None or exchange.refusal is None:
            return None
        return self.session.refuse_one(exchange.key, signed(exchange.refusal, self._books.request_id))

    # --- output -----------------------------------------------------------------------------

    def take_replies(self) -> list[cmd.Command]:
        """Release, in order, what is decided; end the lane after the last exchange."""
        if self.session is None or self._closed:
            return []
        parts = []
        written: list[Exchange] = []
        waiting = [one for one in self.exchanges.values() if one.key >= self._forward_at]
        for exchange in waiting:
            if not exchange.decided:
                break
            self._forward_at = exchange.key + 1
            if exchange.refusal is None:
                parts.append(self._write(self.session, exchange))
            else:
                parts.append(exchange.refused_wire or b"")
            written.append(exchange)
        # Only now: where one of them ends the stream, none of them goes on.
        for exchange in written:
            self._released(exchange)
        ended = self._ended and self._forward_at == self._opened
        if not parts and not ended:
            return []
        return self._replies(self.session, b"".join(parts), ended=ended)

    def _write(self, session: CodecSession, exchange: Exchange) -> bytes:
        """The bytes of a request, or of what goes on in its place: a codec may yet refuse its edits."""
        try:
            return session.write_request(exchange.key, self._edits(exchange))
        except PeerError as error:
            exchange.refusal = from_peer_error(error)
            exchange.refused_wire = self._refusal_bytes(exchange)
            if exchange.refused_wire is None:
                raise
            exchange.decide(Action.BLOCK, error.reason, exchange.guard)
            return exchange.refused_wire

    def _edits(self, exchange: Exchange) -> RequestEdits:
        model, backends = exchange.request.params.model, self._policy.backends
        return RequestEdits(
            segments=merge_edits(exchange.edits),
            cap_output_tokens=exchange.request.params.max_output_tokens,
            ask_usage=exchange.reservation is not None or price_of(self._policy.prices, model) is not None,
            allowed_models=exchange.allowed_models,
            backend=backends.get(model, backends.get(ANY_MODEL, Backend.VLLM)),
            answer_watched=bool(exchange.pseudonyms) or may_touch(exchange.guards, exchange.view),
            replacements=replacements_of(exchange.guards, exchange.view),
        )

    def _released(self, exchange: Exchange) -> None:
        if exchange.refusal is not None:
            exchange.pseudonyms.clear()
            self._books.close(exchange, status=exchange.refusal.status)
            return
        exchange.forwarded = True
        exchange.forwarded_at_us = self._books.now_us
        self.pseudonyms.learn(exchange.pseudonyms)
        exchange.pseudonyms.clear()
        self._books.forwarded(exchange)

    def _replies(self, session: CodecSession, data: bytes, *, ended: bool) -> list[cmd.Command]:
        replies: list[cmd.Command] = []
        if not self.released:
            self.released = True
            replies.append(cmd.ReplyHeaders(Lane.REQUEST, session.request_head_edits()))
        if self._has_body:
            replies.extend(
                body_replies(
                    Lane.REQUEST,
                    data,
                    end_stream=ended and self._trailers is None,
                    piece_bytes_max=self._limits.reply_piece_bytes_max,
                )
            )
        if ended:
            self._closed = True
            if self._trailers is not None:
                replies.append(cmd.ReplyTrailers(Lane.REQUEST, self._trailers))
        return replies


def _permitted(message: RequestMessage, view: ExchangeView) -> bool:
    """Whether the caller may ask for this kind of operation: no guard's mode can open administration."""
    if message.operation is not Operation.ADMIN:
        return True
    return view.principal is not None and view.principal.admin
