"""Drives the service's core over one request and tells what came of it."""

from __future__ import annotations

import dataclasses
import secrets
from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from extproc import codecs, policies
from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.core.stream import Stream
from extproc.domain.effects import (
    Classify,
    FindSpans,
    Renew,
    Renewed,
    Reserve,
    Reserved,
    Scores,
    Settle,
    Settled,
    TextScore,
)
from extproc.domain.errors import FailureKind
from extproc.domain.head import RequestHead, ResponseHead
from extproc.explain.endpoints import assumed_path, framed, is_grpc
from extproc.explain.model import ExplainError
from extproc.explain.report import Told, explanation
from extproc.explain.upstream import ANSWERS, Asked, as_sent
from extproc.explain.witness import Seen, watched_codec, watched_policy
from extproc.guards.identity import KeyHeader
from extproc.guards.identity import Settings as IdentitySettings
from extproc.policy.faults import nearest
from extproc.policy.keys import hash_key, new_key
from extproc.policy.model import KeyEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from extproc.domain.effects import Answer, Effect
    from extproc.domain.ports import PolicySnapshot
    from extproc.explain.model import Explanation, Question
    from extproc.explain.upstream import Said
    from extproc.policy.loading import LoadedPolicy

Scoring: TypeAlias = "Callable[[Classify], Scores | FailureKind]"

# Stands where the service has Envoy's request id.
_STREAM_ID: Final = "00000000-0000-4000-8000-000000000000"
_KEY_ID: Final = "offline-check"
_PEPPER_BYTES: Final = 32


def explain(question: Question, loaded: LoadedPolicy, scoring: Scoring | None) -> Explanation:
    """Put a request to the service's own code.

    Args:
        question: The request.
        loaded: The policy.
        scoring: The classifier; None leaves it out, and says so of the guards that would ask it.

    Raises:
        ExplainError: the policy does not hold the tenant, or no answer can be made up in that protocol.
    """
    if question.tenant not in loaded.file.tenants:
        instead = nearest(question.tenant, tuple(loaded.file.tenants))
        raise ExplainError(f"the policy does not hold that tenant; {instead}")
    path = question.path or assumed_path(question, loaded)
    if is_grpc(path):
        question = dataclasses.replace(question, body=framed(question.body or b""))
    seen = Seen()
    key, pepper = new_key()[0], secrets.token_bytes(_PEPPER_BYTES)
    policy = watched_policy(_policy(loaded, question, key, pepper), seen)
    stream = Stream(
        stream_id=_STREAM_ID,
        at_us=1,
        at_unix_ms=0,
        policy=policy,
        codecs=[watched_codec(codec, seen) for codec in codecs.discover()],
    )
    run = _Run(stream, scoring)
    run.send(ev.RequestHeaders(1, _head(path, question, loaded, key), end_stream=question.body is None))
    if question.body is not None:
        run.send(ev.RequestBody(2, question.body, end_stream=True))
    if not stream.done:
        _play_upstream(path, question, run, seen)
    return explanation(
        Told(
            question=question,
            path=path,
            loaded=loaded,
            policy=policy,
            commands=run.commands,
            seen=seen,
            scored=scoring is not None,
        )
    )


# --- what is made up -------------------------------------------------------------------------


def _policy(loaded: LoadedPolicy, question: Question, key: str, pepper: bytes) -> PolicySnapshot:
    """The policy with one more key, for this run alone."""
    entry = loaded.file.tenants[question.tenant]
    # Under this run's pepper no key of the file's own can be presented, nor is one at hand.
    made = KeyEntry(id=_KEY_ID, hash=hash_key(pepper, key))
    tenants = {
        **loaded.file.tenants,
        question.tenant: entry.model_copy(update={"keys": (*entry.keys, made)}),
    }
    known = dataclasses.replace(loaded, file=dataclasses.replace(loaded.file, tenants=tenants))
    routed = policies.build(known, policies.new_redactor(pepper, known.file.rules), pepper)
    return routed.on(() if question.route is None else (question.route,))


def _head(target: str, question: Question, loaded: LoadedPolicy, key: str) -> RequestHead:
    path, mark, query = target.partition("?")
    accepted = [
        header
        for settings in loaded.file.identity.values()
        if isinstance(settings, IdentitySettings)
        for header in settings.accept
    ]
    name = accepted[0] if accepted else KeyHeader.AUTHORIZATION
    headers = {
        str(name): (f"Bearer {key}" if name is KeyHeader.AUTHORIZATION else key,),
    }
    if is_grpc(path):
        headers |= {"content-type": ("application/grpc",), "te": ("trailers",)}
    elif question.body is not None:
        headers |= {"content-type": ("application/json",), "content-length": (str(len(question.body)),)}
    headers |= {given: (value,) for given, value in question.headers if given != name}
    return RequestHead(
        method=question.method, path=path, query=query if mark else None, headers=MappingProxyType(headers)
    )


class _Run:
    """Drives a stream as the edge does, and answers its effects itself."""

    def __init__(self, stream: Stream, scoring: Scoring | None) -> None:
        self.stream = stream
        self.commands: list[cmd.Command] = []
        self._scoring = scoring

    def send(self, event: ev.Event) -> None:
        """Feed one event and what follows from it."""
        waiting = deque(self.stream.handle(event))
        while waiting:
            command = waiting.popleft()
            self.commands.append(command)
            if isinstance(command, cmd.RunEffect):
                answer = self._answer(command.effect)
                waiting += self.stream.handle(_answered(event.at_us, command.effect_id, answer))

    def _answer(self, effect: Effect) -> Answer | FailureKind:
        match effect:
            case Classify():
                return _unscored(effect) if self._scoring is None else self._scoring(effect)
            case FindSpans():
                # No model is at hand: its text is left to the rules, or the answer refused.
                return FailureKind.UNAVAILABLE
            case Reserve(reservation=reservation):
                limit = min(reservation.limits, key=lambda one: one.tokens)
                remaining = limit.tokens - reservation.tokens
                return Reserved(
                    granted=True, limit=limit, remaining=remaining, retry_after_ms=0, reset_ms=0
                )
            case Settle():
                return Settled(charged=effect.tokens, refunded=effect.reservation.tokens - effect.tokens)
            case Renew():
                return Renewed(held=True)
            case _:
                assert_never(effect)


def _answered(at_us: int, effect_id: int, answer: Answer | FailureKind) -> ev.Event:
    if isinstance(answer, FailureKind):
        return ev.EffectFailed(at_us, effect_id, answer)
    return ev.EffectDone(at_us, effect_id, answer)


def _unscored(effect: Classify) -> Scores:
    """Harmless, so that the other guards are explained; the guard's own step says that it was skipped."""
    harmless = TextScore(score=0.0, windows=0, tokens=1, start=0, end=0)
    return Scores(head=effect.head, model="", scores=(harmless,) * len(effect.texts))


def _play_upstream(path: str, question: Question, run: _Run, seen: Seen) -> None:
    """Answer as the model server, or leave before it does."""
    if not question.answered:
        run.send(ev.PeerClosed(3))
        return
    content_type, chunks = _said(path, question, seen)
    head = ResponseHead(status=200, headers=MappingProxyType({"content-type": (content_type,)}))
    run.send(ev.ResponseHeaders(3, head, end_stream=False))
    for chunk in chunks:
        run.send(ev.ResponseBody(3, chunk, end_stream=False))
    if is_grpc(path):
        run.send(ev.ResponseTrailers(3, MappingProxyType({"grpc-status": ("0",)})))
    else:
        run.send(ev.ResponseBody(3, b"", end_stream=True))


def _said(path: str, question: Question, seen: Seen) -> Said:
    if question.answer_body is not None:
        return as_sent(question.answer_body, grpc=is_grpc(path))
    make = ANSWERS.get(seen.codec)
    if make is None or seen.message is None or question.answer is None:
        raise ExplainError(
            "no answer can be made up in this protocol; with --answer-body give what its server would send"
        )
    return make(question.answer, Asked(path, seen.message, seen.forwarded))
