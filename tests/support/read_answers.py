"""Streams whose answers a stand-in model reads: when it answers is the test's to say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from answer_wires import JSON, Wire
from doubles import STREAM_ID, Playbook, bound, policy
from exchanges import guard_env
from span_model import ENTITY_TYPES, MODEL, spans_for, spans_in

from extproc.codecs import discover
from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.domain.effects import Classify, FindSpans, Scores, TextScore
from extproc.domain.errors import FailureKind
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.ports import BoundGuard, PolicySnapshot
from extproc.domain.reading import OnDeadline
from extproc.domain.verdict import Lane, Mode, OnError, Record
from extproc.guards import moderation, pii
from extproc.guards._rules import OnFinding
from extproc.policies import new_redactor

REDACTOR = new_redactor(b"0" * 32)
BADNESS = "badness"
HEAD = "manners"


def reads(
    *,
    mode: Mode = Mode.ENFORCE,
    on_deadline: OnDeadline = OnDeadline.STRICT,
    deadline_ms: int = 2_000,
    answer: OnFinding = OnFinding.REDACT,
    operators: dict[str, str] | None = None,
) -> BoundGuard:
    """The guard of personal data, with the stand-in."""
    model = pii.ModelSettings(
        name=MODEL, entity_types=ENTITY_TYPES, deadline_ms=deadline_ms, on_deadline=on_deadline
    )
    settings = pii.Settings(model=model, answer=answer, operators=operators or {})
    guard = pii.GUARD.build(settings, replace(guard_env(), find=REDACTOR.find))
    return replace(bound(guard, name="pii", mode=mode), error_reason=pii.GUARD.error_reason)  # type: ignore[arg-type] # any guard.


def judges(
    *, mode: Mode = Mode.ENFORCE, on_error: OnError = OnError.BLOCK, **settings: object
) -> BoundGuard:
    """The guard of topics, with a head that minds a word."""
    made = moderation.Settings(head=HEAD, head_reads=moderation.HeadReads.ANSWER, **settings)  # type: ignore[arg-type] # as a policy has them.
    return bound(moderation.GUARD.build(made, guard_env()), name="moderation", mode=mode, on_error=on_error)  # type: ignore[arg-type] # any guard.


def snapshot(*guards: BoundGuard) -> PolicySnapshot:
    """A policy of these guards with the shipped rules."""
    return replace(policy(*guards), scanner=REDACTOR)


def told(effect: Classify | FindSpans) -> object:
    """What the models say."""
    if isinstance(effect, FindSpans):
        return spans_for(effect)
    scores = [
        TextScore(score=0.9 if BADNESS in text else 0.1, windows=1, tokens=1, start=0, end=len(text))
        for text in effect.texts
    ]
    return Scores(head=effect.head, model="judge", scores=tuple(scores))


def union_on_whole(text: str, watched: BoundGuard | None = None) -> str:
    """What the rules and the model find in the whole text, put together and replaced."""
    watch = (watched or reads()).guard.watch  # type: ignore[attr-defined] # a RuleGuard.
    spans = [(one.start, -one.end, 0, replacement) for one, replacement in REDACTOR.find(text, watch)]
    spans += [(one.start, -one.end, 1, f"[{one.entity_type}]") for one in spans_in(text)]
    out, at = "", 0
    for start, negated_end, _, replacement in sorted(spans):
        if start >= at:
            out += text[at:start] + replacement
        at = max(at, -negated_end)
    return out + text[at:]


class Heard:
    """One exchange, from its request to its end."""

    def __init__(self, wire: Wire, policy_snapshot: PolicySnapshot) -> None:
        self.wire = wire
        self.book = Playbook(policy_snapshot, codecs=discover())
        # The codec of gRPC names its requests by it.
        head = {"content-type": (wire.kind if wire.trailers else JSON,), "x-request-id": (STREAM_ID,)}
        if wire.trailers:
            head["te"] = ("trailers",)
        self._now_us = 10_000
        self._answered: set[int] = set()
        self.send(
            ev.RequestHeaders(self.tick(), RequestHead(method="POST", path=wire.path, headers=head), False)
        )
        self.send(ev.RequestBody(self.tick(), wire.request, True))
        answer = ResponseHead(status=200, headers={"content-type": (wire.kind,)})
        self.send(ev.ResponseHeaders(self.tick(), answer, end_stream=False, upstream_host="h"))

    def send(self, event: ev.Event) -> list[cmd.Command]:
        return self.book.send(event)

    def tick(self, ms: float = 0.01) -> int:
        self._now_us += int(ms * 1_000)
        return self._now_us

    def chunk(self, data: bytes) -> None:
        self.send(ev.ResponseBody(self.tick(), data, False))

    def end(self) -> None:
        """The upstream has said all."""
        if self.wire.trailers:
            self.send(ev.ResponseTrailers(self.tick(), {"grpc-status": ("0",)}))
        else:
            self.send(ev.ResponseBody(self.tick(), b"", True))

    @property
    def waiting(self) -> list[cmd.RunEffect]:
        """Questions to models that have no answer."""
        return [
            one
            for one in self.book.effects()
            if isinstance(one.effect, (Classify, FindSpans)) and one.effect_id not in self._answered
        ]

    def answer(self, at: int = 0) -> None:
        """Answer one of the questions."""
        asked = self.waiting[at]
        self._answered.add(asked.effect_id)
        self.send(ev.EffectDone(self.tick(), asked.effect_id, told(asked.effect)))  # type: ignore[arg-type] # as told.

    def fail(self, kind: FailureKind = FailureKind.UNAVAILABLE, at: int = 0) -> None:
        """Fail one of them."""
        asked = self.waiting[at]
        self._answered.add(asked.effect_id)
        self.send(ev.EffectFailed(self.tick(), asked.effect_id, kind))

    def answer_all(self) -> None:
        while self.waiting:
            self.answer()

    def pass_deadline(self, ms: int = 2_000) -> None:
        self.send(ev.DeadlineReached(self.tick(ms), ev.DeadlineKind.ANSWER))

    def play(self, chunks: Sequence[bytes], chance: random.Random, *, share: float = 0.4) -> None:
        """The upstream's chunks, and answers between them in any order; then the rest."""
        for data in chunks:
            self.chunk(data)
            while self.waiting and chance.random() < share:
                self.answer(chance.randrange(len(self.waiting)))
        self.end()
        while self.waiting:
            self.answer(chance.randrange(len(self.waiting)))

    @property
    def data(self) -> bytes:
        """What went to the client."""
        return self.book.sent(Lane.RESPONSE)

    def text(self, *, whole: bool = True) -> str:
        return self.wire.read(self.data, whole=whole)

    @property
    def record(self) -> Record:
        (record,) = self.book.records()
        return record

    def counted(self) -> dict[str, int]:
        """How often each type was found in the answer."""
        found: dict[str, int] = {}
        for one in self.record.entities:
            if one.lane is Lane.RESPONSE:
                found[one.entity_type] = found.get(one.entity_type, 0) + one.count
        return found
