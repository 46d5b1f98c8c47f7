"""One ext_proc stream as a pure object: ``handle(event)`` gives commands. It carries 1..n exchanges.

Who reads this file with ``transitions``, ``requests`` and ``answer`` has read every way a byte can pass.
A stream begins held, and earns each release: the request goes on only for exchanges that every guard
has judged, the answer only after its text went through the scanners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.core.answer import AnswerLane
from extproc.core.answering import Answering
from extproc.core.closing import Books, StreamFacts
from extproc.core.refusals import (
    BODY_TIMEOUT,
    BUSY,
    INTERNAL,
    bare_refusal,
    bug_report,
    from_peer_error,
    from_upstream_error,
    preflight_answer,
    signed,
    upstream_local_reply,
)
from extproc.core.replies import AnswerReplies
from extproc.core.requests import RequestLane
from extproc.core.transitions import Illegal, LaneState, follow
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.verdict import Action, Lane, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from extproc.core.answer import AnswerStep
    from extproc.core.exchange import Exchange
    from extproc.domain.effects import Answer
    from extproc.domain.errors import FailureKind
    from extproc.domain.ports import Codec, PolicySnapshot
    from extproc.domain.verdict import Refusal

_ERROR_STATUS_MIN = 400


class Stream:
    """The state of one ``Process`` call. Every method is synchronous and free of I/O.

    ``bodies_kept`` says whether what a policy wants kept could be at the moment: a policy that requires it
    refuses otherwise.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each part once.
        self,
        *,
        stream_id: str,
        at_us: int,
        at_unix_ms: int,
        policy: PolicySnapshot,
        codecs: Sequence[Codec],
        limits: Limits = LIMITS,
        bodies_kept: bool = True,
    ) -> None:
        facts = StreamFacts(
            request_id=stream_id,
            at_unix_ms=at_unix_ms,
            at_us=at_us,
            policy_digest=policy.digest,
            known_models=policy.known_models,
            prices=policy.prices,
            route=policy.route,
        )
        self._policy = policy
        self._limits = limits
        self._now_us = at_us
        self._out: list[cmd.Command] = []
        self._books = Books(facts=facts, limits=limits)
        self._request = RequestLane(
            stream_id=stream_id,
            policy=policy,
            codecs=codecs,
            limits=limits,
            books=self._books,
            bodies_kept=bodies_kept,
        )
        self._request_state = LaneState.IDLE
        # The message whose time runs.
        self._awaited: int | None = None
        self._response_state = LaneState.IDLE
        self._answer: Answering | None = None
        self._replies = AnswerReplies(limits)
        self._terminal = False

    # --- what the edge sees ----------------------------------------------------------------

    def handle(self, event: ev.Event) -> list[cmd.Command]:
        """Take one event; give the commands it causes, in order. Never raises on remote input."""
        self._out = []
        self._now_us = self._books.now_us = event.at_us
        try:
            self._dispatch(event)
        except PeerError as error:
            self._refuse(from_peer_error(error))
        except Illegal as error:
            self._abort(f"protocol: {error}")
        except Exception as error:  # noqa: BLE001 - a bug in a guard or codec must refuse, not pass.
            self._crash(error)
        self._out.extend(self._books.take_commands())
        return self._out

    @property
    def done(self) -> bool:
        """Whether all replies are given: only then may the gRPC stream end normally."""
        return self._terminal

    @property
    def idle(self) -> bool:
        """Whether, besides, no effect is under way and every exchange has its record."""
        return self._terminal and self._books.settled

    @property
    def body_bytes(self) -> int:
        """Bytes of requests that are held, as they came or, where that is more, decoded."""
        return self._request.body_bytes

    # --- events ----------------------------------------------------------------------------

    def _dispatch(self, event: ev.Event) -> None:
        match event:
            case ev.EffectDone():
                self._on_answer(event.effect_id, event.answer)
            case ev.EffectFailed():
                self._on_answer(event.effect_id, event.kind)
            case _ if self._terminal:
                return
            case ev.RequestHeaders() | ev.RequestBody() | ev.RequestTrailers():
                self._on_request(event)
            case ev.ResponseHeaders() | ev.ResponseBody() | ev.ResponseTrailers():
                self._on_response(event)
            case ev.DeadlineReached():
                self._on_deadline(event.kind)
            case ev.PeerClosed():
                self._peer_closed()
            case ev.Overloaded():
                self._refuse(BUSY)
            case ev.Crashed():
                self._abort("bug")

    def _on_answer(self, effect_id: int, answer: Answer | FailureKind) -> None:
        side = self._answer
        if side is not None and self._go_on(lambda: side.answered(effect_id, answer, at_us=self._now_us)):
            return
        if self._books.effect_answered(effect_id, answer) and not self._terminal:
            self._request.effect_answered(effect_id, answer)
            self._release_request()

    def _on_request(self, event: ev.RequestHeaders | ev.RequestBody | ev.RequestTrailers) -> None:
        following = follow(self._request_state, event)
        if following is None:
            return
        self._request_state = following
        ended = following is LaneState.ENDED
        match event:
            case ev.RequestHeaders():
                self._books.named(event.head.header("x-request-id"))
                self._request.begin(event.head, end_stream=ended)
            case ev.RequestBody():
                self._request.take(event.chunk, ended=ended)
            case ev.RequestTrailers():
                self._request.take(b"", ended=True, trailers=event.names)
        self._watch_body()
        self._release_request()

    def _watch_body(self) -> None:
        """A body has a time limit; of many messages each has one, and a client may rest between them."""
        waits_for = self._request.waits_for
        if waits_for == self._awaited:
            return
        self._awaited = waits_for
        kind = ev.DeadlineKind.REQUEST_BODY
        after_ms = self._limits.request_body_deadline_ms
        self._out.append(cmd.ClearDeadline(kind) if waits_for is None else cmd.SetDeadline(kind, after_ms))

    def _on_response(self, event: ev.ResponseHeaders | ev.ResponseBody | ev.ResponseTrailers) -> None:
        following = follow(self._response_state, event)
        if following is None:
            return
        self._response_state = following
        ended = following is LaneState.ENDED
        match event:
            case ev.ResponseHeaders():
                self._begin_answer(event, ended=ended)
            case _:
                self._take_answer(event)

    def _on_deadline(self, kind: ev.DeadlineKind) -> None:
        match kind:
            case ev.DeadlineKind.REQUEST_BODY:
                if self._request_state is LaneState.OPEN:
                    self._refuse(BODY_TIMEOUT)
            case ev.DeadlineKind.LEASE:
                self._books.renew(self._request.exchanges.values())
            case ev.DeadlineKind.ANSWER:
                side = self._answer
                if side is not None:
                    self._go_on(lambda: side.let_go(at_us=self._now_us))

    # --- the request's release --------------------------------------------------------------

    def _release_request(self) -> None:
        """Send on what the request lane has judged, or speak its refusal."""
        if self._terminal:
            return
        if self._request.refusal is not None:
            self._refuse(self._request.refusal)
            return
        replies = self._request.take_replies()
        if replies and isinstance(replies[0], cmd.ReplyHeaders):
            self._annotate()
        self._out.extend(replies)

    # --- the answer -------------------------------------------------------------------------

    def _begin_answer(self, event: ev.ResponseHeaders, *, ended: bool) -> None:
        self._books.upstream(event.upstream_host, event.head.status)
        if self._request.caller is None:
            preflight = preflight_answer(event.head, has_body=not ended)
            if preflight is not None:
                self._out.append(cmd.Refuse(preflight, Reason.CLEAN))
                self._end(status=preflight.status)
                return
        if not self._request.released or self._request.session is None:
            self._refuse(upstream_local_reply(event.head.status))
            return
        session = self._request.session
        lane = AnswerLane(
            session=session,
            exchanges=self._request.exchanges,
            factory=self._policy.scanner,
            limits=self._limits,
            books=self._books,
            pseudonyms=self._request.pseudonyms,
        )
        self._answer = Answering(lane=lane, session=session, replies=self._replies, limits=self._limits)
        if event.head.status >= _ERROR_STATUS_MIN:
            for exchange in self._request.exchanges.values():
                exchange.upstream_error = True
        try:
            head = session.read_response_head(event.head)
        except PeerError as error:
            self._refuse(from_upstream_error(error))
            return
        self._replies.begin(head, has_body=not ended)
        if ended:
            self._take_answer(ev.ResponseBody(event.at_us, b"", end_stream=True))

    def _take_answer(self, event: ev.ResponseBody | ev.ResponseTrailers) -> None:
        if self._answer is None:
            raise Illegal("an answer's body before its head")
        try:
            step = self._answer.take(event)
        except PeerError as error:
            self._refuse(from_upstream_error(error))
            return
        self._take_step(step)

    def _take_step(self, step: AnswerStep) -> None:
        """Send on what the answer lane gave, and do what follows from it."""
        if step.refusal is not None:
            self._refuse(step.refusal, before=step.data)
            return
        if step.ended:
            self._annotate()
            self._out += self._replies.finish(self._request.session, step.data)
        elif step.data:
            self._out += self._replies.release(self._request.session, step.data, end_stream=False)
        for exchange in step.finished:
            self._close(exchange)
            self._request.retire(exchange)
        if step.ended:
            for exchange in self._request.exchanges.values():
                # The upstream said its last word before it had the request.
                exchange.upstream_error |= not exchange.forwarded
            self._end()

    def _go_on(self, make: Callable[[], AnswerStep | None]) -> bool:
        """Take steps that the upstream has not caused; False for none."""
        side = self._answer
        try:
            first = step = make()
            while side is not None and step is not None and not self._terminal:
                self._take_step(step)
                step = None if self._terminal else side.take_kept(self._now_us)
        except PeerError as error:
            self._refuse(from_upstream_error(error))
            return True
        return first is not None

    # --- endings ----------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal, *, before: bytes = b"") -> None:
        """Refuse the whole stream in whatever way is still open. The one place where that is chosen."""
        if self._terminal:
            return
        told = refusal
        if self._request.caller is not None:
            # Without a request's head there is neither an id that Envoy knows nor a record to find by it.
            told = signed(refusal, self._books.request_id)
        for exchange in self._open_exchanges():
            exchange.decide(Action.BLOCK, refusal.reason, exchange.guard)
        if not self._replies.head_released:
            self._annotate()
            self._out.append(cmd.Refuse(self._request.wire_refusal(told), told.reason))
            self._end(status=refusal.status)
            return
        session = self._request.session
        cut = session.refuse_in_answer(self._refused_key(), told) if session is not None else None
        if cut is None:
            self._abort("refused in an answer that cannot say so")
            return
        self._annotate()
        self._out += self._replies.release(session, before + cut, end_stream=True)
        self._end()

    def _refused_key(self) -> int:
        """The exchange that an in-band refusal names: the first that is still open."""
        return next((one.key for one in self._open_exchanges()), 0)

    def _abort(self, why: str) -> None:
        if self._terminal:
            return
        self._out.append(cmd.Abort(why))
        for exchange in self._open_exchanges():
            exchange.decide(Action.BLOCK, Reason.INTERNAL, exchange.guard)
        self._end(status=self._books.status if self._replies.head_released else INTERNAL.status)

    def _crash(self, error: Exception) -> None:
        """A bug: replies of this event are taken back, effects and records are kept."""
        head_was_out = self._replies.head_released and not any(
            isinstance(one, cmd.ReplyHeaders) and one.lane is Lane.RESPONSE for one in self._out
        )
        self._out = [one for one in self._out if not isinstance(one, cmd.REPLIES)]
        self._out.append(bug_report(error))
        if self._terminal or head_was_out:
            self._terminal = False
            self._abort("bug")
            return
        for exchange in self._open_exchanges():
            exchange.decide(Action.BLOCK, Reason.INTERNAL, exchange.guard)
        told = signed(INTERNAL, self._books.request_id)
        self._annotate()
        self._out.append(cmd.Refuse(bare_refusal(told), told.reason))
        self._end(status=INTERNAL.status)

    def _peer_closed(self) -> None:
        for exchange in self._open_exchanges():
            if exchange.action is Action.ALLOW:
                exchange.reason = Reason.PEER_CLOSED
        self._end(status=self._books.status if self._replies.head_released else 0)

    def _exchanges(self) -> list[Exchange]:
        """All exchanges; the caller's own stands for a stream that has none."""
        everyone = [*self._request.retired, *self._request.exchanges.values()]
        if not everyone and self._request.caller is not None:
            everyone = [self._request.caller]
        return everyone

    def _open_exchanges(self) -> list[Exchange]:
        """The exchanges without a record."""
        return [exchange for exchange in self._exchanges() if not exchange.closed]

    def _annotate(self) -> None:
        """Let the next reply say how the stream stands."""
        self._out.extend(self._books.annotate(self._exchanges()))

    def _end(self, *, status: int | None = None) -> None:
        """The stream is decided for good: nothing more is replied, all that is owed is settled."""
        self._terminal = True
        if self._answer is not None:
            self._answer.drop()
        self._request.pseudonyms.clear()
        for exchange in self._open_exchanges():
            self._close(exchange, status=status)

    def _close(self, exchange: Exchange, *, status: int | None = None) -> None:
        if exchange.upstream_error and exchange.action is Action.ALLOW:
            exchange.reason = Reason.UPSTREAM_ERROR
        self._books.close(exchange, status=self._books.status if status is None else status)


__all__ = ["Stream"]
