"""Looks on at the seams between core and what it is given, and changes nothing that passes them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from extproc.domain.judging import JudgeWatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extproc.domain.effects import Answer, Effect
    from extproc.domain.head import RequestHead
    from extproc.domain.judging import AnswerJudge, JudgeScanner, Judging, ToolCall
    from extproc.domain.ports import (
        BoundGuard,
        Codec,
        CodecSession,
        ExchangeView,
        Guard,
        PolicySnapshot,
        RequestEdits,
        RequestMessage,
        ResponseFrame,
        Verdict,
        WireRefusal,
    )
    from extproc.domain.scanning import RuleWatch, Scan, ScanEach, Scanner, ScannerFactory, SpanScanner
    from extproc.domain.segment import Channel
    from extproc.domain.verdict import Finding, Refusal


@dataclass(slots=True)
class Seen:
    """What passed the seams, by guard where it is a guard's."""

    effects: dict[str, tuple[Effect, ...]] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    watches: dict[str, RuleWatch | JudgeWatch] = field(default_factory=dict)
    answer_findings: list[Finding] = field(default_factory=list)
    judged: dict[str, list[Finding]] = field(default_factory=dict)
    # Texts of the answer as the client gets them, by exchange and channel.
    written: dict[tuple[int, Channel], list[str]] = field(default_factory=dict, repr=False)
    codec: str = ""
    message: RequestMessage | None = None
    edits: RequestEdits | None = None
    forwarded: bytes = field(default=b"", repr=False)
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class _WatchedGuard:
    """A guard, and its verdicts in full: a record keeps no offsets."""

    name: str
    guard: Guard
    seen: Seen

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        effects = self.seen.effects[self.name] = self.guard.needs(exchange)
        return effects

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        verdict = self.seen.verdicts[self.name] = self.guard.judge(exchange, answers)
        return verdict

    def scanner(self, exchange: ExchangeView) -> RuleWatch | JudgeWatch | None:
        watch = self.guard.scanner(exchange)
        if watch is not None:
            self.seen.watches[self.name] = watch
        if isinstance(watch, JudgeWatch):
            found = self.seen.judged.setdefault(self.name, [])
            return dataclasses.replace(watch, judge=_WatchedJudge(watch.judge, found))
        return watch


@dataclass(frozen=True, slots=True)
class _WatchedJudge:
    """A judge of the answer, and what it found."""

    judge: AnswerJudge
    found: list[Finding]

    def begin(self) -> Judging:
        return _WatchedJudging(self.judge.begin(), self.found)


@dataclass(frozen=True, slots=True)
class _WatchedJudging:
    judging: Judging
    found: list[Finding]

    def open(self, channel: Channel) -> JudgeScanner | None:
        scanner = self.judging.open(channel)
        return None if scanner is None else _WatchedReading(scanner, self.found)

    def call(self, call: ToolCall) -> Finding | None:
        finding = self.judging.call(call)
        if finding is not None:
            self.found.append(finding)
        return finding


@dataclass(frozen=True, slots=True)
class _WatchedReading:
    scanner: JudgeScanner
    found: list[Finding]

    def feed(self, text: str, *, eof: bool = False) -> Scan:
        scan = self.scanner.feed(text, eof=eof)
        self.found.extend(scan.findings)
        return scan

    @property
    def held_chars(self) -> int:
        return self.scanner.held_chars

    def drop(self) -> None:
        self.scanner.drop()


@dataclass(frozen=True, slots=True)
class _WatchedScanner:
    """A scanner of the answer, and what it found."""

    scanner: Scanner
    seen: Seen

    def feed(self, text: str, *, eof: bool = False) -> Scan:
        scan = self.scanner.feed(text, eof=eof)
        self.seen.answer_findings += scan.findings
        return scan

    def feed_each(self, texts: Sequence[str]) -> ScanEach:
        scan = self.scanner.feed_each(texts)
        self.seen.answer_findings += tuple(finding for _, finding in scan.findings)
        return scan

    @property
    def held_chars(self) -> int:
        return self.scanner.held_chars

    def drop(self) -> None:
        self.scanner.drop()


@dataclass(frozen=True, slots=True)
class _WatchedFactory:
    """Makes scanners that are looked at; what a model reads is not."""

    make: ScannerFactory
    seen: Seen

    def __call__(self, watches: Sequence[RuleWatch]) -> Scanner:
        return _WatchedScanner(self.make(watches), self.seen)

    def modelled(self, watches: Sequence[RuleWatch]) -> SpanScanner:
        return self.make.modelled(watches)


class _WatchedCodec:
    """A codec, what it read and what it was told to write. All else is the codec's own."""

    def __init__(self, codec: Codec, seen: Seen) -> None:
        self._codec = codec
        self._seen = seen

    def __getattr__(self, name: str) -> object:
        return getattr(self._codec, name)

    def open(self, head: RequestHead) -> CodecSession:
        self._seen.codec = self._codec.name
        return watched_session(self._codec.open(head), self._seen)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        self._seen.refusal = refusal
        return self._codec.refuse(refusal)


class _WatchedSession:
    """A codec's session; see ``_WatchedCodec`` and ``watched_session``."""

    def __init__(self, session: CodecSession, seen: Seen) -> None:
        self._session = session
        self._seen = seen

    def read_request(self, chunk: bytes, *, eof: bool) -> Iterator[RequestMessage]:
        for message in self._session.read_request(chunk, eof=eof):
            self._seen.message = message
            yield message

    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        self._seen.edits = edits
        self._seen.forwarded = self._session.write_request(key, edits)
        return self._seen.forwarded

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        # Of a run there may be fewer texts than deltas.
        for delta, text in zip(frame.deltas, texts, strict=False):
            self._write(frame.key, delta.channel, text)
        return self._session.write_response(frame, texts)

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:
        self._write(key, channel, text)
        return self._session.write_tail(key, channel, text)

    def _write(self, key: int, channel: Channel, text: str) -> None:
        self._seen.written.setdefault((key, channel), []).append(text)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        self._seen.refusal = refusal
        return self._session.refuse(refusal)

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:
        self._seen.refusal = refusal
        return self._session.refuse_in_answer(key, refusal)

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:
        self._seen.refusal = refusal
        return self._session.refuse_one(key, refusal)


def watched_session(session: CodecSession, seen: Seen) -> CodecSession:
    """A codec's session, looked at. It has every attribute of the session, as core asks which there are."""
    others = {name for name in dir(session) if not name.startswith("_")} - set(dir(_WatchedSession))
    kind = type("_Watched", (_WatchedSession,), {name: _passed_on(name) for name in others})
    return cast("CodecSession", kind(session, seen))


def _passed_on(name: str) -> property:
    def passed_on(watched: _WatchedSession) -> object:
        return getattr(watched._session, name)  # noqa: SLF001 - a method of that class, made here.

    return property(passed_on)


def watched_policy(policy: PolicySnapshot, seen: Seen) -> PolicySnapshot:
    """The policy with its guards and scanners looked at."""

    def look(guards: Sequence[BoundGuard]) -> tuple[BoundGuard, ...]:
        return tuple(
            dataclasses.replace(bound, guard=_WatchedGuard(bound.name, bound.guard, seen))
            for bound in guards
        )

    return dataclasses.replace(
        policy,
        identity=look(policy.identity),
        pipelines={tenant: look(guards) for tenant, guards in policy.pipelines.items()},
        scanner=_WatchedFactory(policy.scanner, seen),
    )


def watched_codec(codec: Codec, seen: Seen) -> Codec:
    """The codec, looked at."""
    return cast("Codec", _WatchedCodec(codec, seen))
