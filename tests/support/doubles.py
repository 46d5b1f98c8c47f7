"""Doubles for the core's seams: a line-based codec that carries many exchanges, guards, a scanner."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.core.stream import Stream
from extproc.domain.effects import Answer, Effect, Reserve, Reserved
from extproc.domain.errors import PeerError
from extproc.domain.head import HeaderEdits, RequestHead, ResponseHead
from extproc.domain.identity import Principal, Reservation, TokenLimit, Window
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import (
    ALLOWED,
    BoundGuard,
    Codec,
    ExchangeView,
    PolicySnapshot,
    RequestEdits,
    RequestMessage,
    ResponseFrame,
    Verdict,
    WireRefusal,
)
from extproc.domain.scanning import RuleWatch, ScanEach, SpanScanner
from extproc.domain.segment import (
    Channel,
    Delta,
    Operation,
    Origin,
    Params,
    Role,
    Segment,
    Usage,
)
from extproc.domain.verdict import (
    Action,
    Finding,
    Mode,
    OnError,
    Reason,
    Record,
    Refusal,
    Stage,
)

STREAM_ID = "5f6a1f0e-0000-4000-8000-000000000001"
PRINCIPAL = Principal(tenant="acme", key_id="acme-1")
LIMIT = TokenLimit(window=Window.MINUTE, tokens=1000)
SECRET = "hunter2"
TEXT = Channel(0, "text")


class LineSession:
    """``text\\n`` is a request, ``key text\\n`` a frame of its answer, ``key .\\n`` the last one.

    A text that ends in ``;`` ends its channel, a lone ``;`` does so without text of its own. Each text is
    counted as a token, save one that begins with ``~``.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._request = b""
        self._response = b""
        self._lines: list[str] = []
        self._refused: dict[int, Refusal] = {}

    def read_request(self, chunk: bytes, *, eof: bool) -> tuple[RequestMessage, ...]:
        self._request += chunk
        *lines, self._request = self._request.split(b"\n")
        if eof and self._request:
            raise PeerError(Reason.BODY_INVALID, "the last line does not end")
        return tuple(self._message(line) for line in lines)

    def _message(self, line: bytes) -> RequestMessage:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise PeerError(Reason.BODY_INVALID, "a line is not UTF-8") from None
        key = len(self._lines)
        self._lines.append(text)
        segment = Segment(index=0, text=text, role=Role.USER, origin=Origin.DIRECT, place="line")
        return RequestMessage(
            key=key,
            operation=Operation.TEXT_COMPLETION,
            params=Params(model="m", stream=True, max_output_tokens=None),
            segments=(segment,),
            inspectable_bytes=len(line),
        )

    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        text = self._lines[key]
        for edit in sorted(edits.segments, key=lambda one: -one.start):
            text = text[: edit.start] + edit.replacement + text[edit.end :]
        if "\n" in text:
            raise PeerError(Reason.BODY_INVALID, "an edit would make two lines of one")
        if edits.allowed_models is not None:
            text += f" models={sorted(edits.allowed_models)}"
        return text.encode() + b"\n"

    def request_head_edits(self) -> HeaderEdits:
        return HeaderEdits(remove=("authorization",))

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        if head.headers.get("content-encoding"):
            raise PeerError(Reason.UPSTREAM_UNREADABLE, "compressed", status=502)
        return HeaderEdits()

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        self._response += chunk
        *lines, self._response = self._response.split(b"\n")
        if eof and self._response:
            raise PeerError(Reason.UPSTREAM_UNREADABLE, "the last line does not end", status=502)
        return tuple(self._frame(line) for line in lines)

    def _frame(self, line: bytes) -> ResponseFrame:
        found = re.fullmatch(rb"(\d{1,3}) (.*)", line)
        if found is None:
            raise PeerError(Reason.UPSTREAM_UNREADABLE, "not a frame", status=502)
        key = int(found[1])
        if key in self._refused:
            return ResponseFrame(key=key, deltas=(), token=key, final=True)
        try:
            text = found[2].decode()
        except UnicodeDecodeError:
            raise PeerError(Reason.UPSTREAM_UNREADABLE, "not UTF-8", status=502) from None
        if text == ".":
            return ResponseFrame(key=key, deltas=(), token=key, final=True)
        if text == ";":
            return ResponseFrame(key=key, deltas=(), token=key, ended=(TEXT,))
        ended = (TEXT,) if text.endswith(";") else ()
        usage = None if text.startswith("~") else Usage(0, 1)
        return ResponseFrame(key=key, deltas=(Delta(TEXT, text),), token=key, usage=usage, ended=ended)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        if frame.key in self._refused:
            return f"{frame.key} REFUSED\n".encode()
        alone = ";" if frame.ended else "."
        text = texts[0] if texts else alone
        return f"{frame.key} {text}\n".encode()

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:
        assert channel == TEXT
        return f"{key} {text}\n".encode()

    def refuse(self, refusal: Refusal) -> WireRefusal:
        body = json.dumps({"error": refusal.message}).encode()
        return WireRefusal(status=refusal.status, headers=refusal.headers, body=body)

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:
        return f"{key} ERROR {refusal.reason}\n".encode()

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:
        if self._alone:
            return None
        self._refused[key] = refusal
        return f"!{key}\n".encode()


@dataclass(frozen=True)
class LineCodec:
    """With ``alone`` a refused request refuses the stream; without, its neighbours go on."""

    alone: bool = False
    name: str = "line"

    def accepts(self, head: RequestHead) -> bool:
        return head.path == "/line"

    def open(self, head: RequestHead) -> LineSession:
        return LineSession(alone=self.alone)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        wire = LineSession(alone=self.alone).refuse(refusal)
        return replace(wire, headers=(*wire.headers, ("x-codec", self.name)))


@dataclass
class FakeGuard:
    """Answers as it is told; ``judge_with`` sees the exchange and the answers."""

    effects: tuple[Effect, ...] = ()
    judge_with: Callable[[ExchangeView, tuple[Answer, ...]], Verdict] = lambda _e, _a: ALLOWED
    watch: RuleWatch | None = None
    needs_with: Callable[[ExchangeView], tuple[Effect, ...]] | None = None
    seen: list[ExchangeView] = field(default_factory=list)

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        self.seen.append(exchange)
        return self.needs_with(exchange) if self.needs_with is not None else self.effects

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        return self.judge_with(exchange, answers)

    def scanner(self, exchange: ExchangeView) -> RuleWatch | None:
        return self.watch


def bound(
    guard: FakeGuard,
    *,
    name: str = "fake",
    stage: Stage = Stage.INSPECT,
    mode: Mode = Mode.ENFORCE,
    on_error: OnError = OnError.BLOCK,
) -> BoundGuard:
    return BoundGuard(
        name=name,
        owasp="LLM01",
        stage=stage,
        mode=mode,
        on_error=on_error,
        error_reason=Reason.CLASSIFIER_UNAVAILABLE,
        guard=guard,
    )


def knows(principal: Principal | None = PRINCIPAL) -> FakeGuard:
    """An identity guard that knows, or refuses, everybody."""
    if principal is None:
        refused = Verdict(action=Action.BLOCK, reason=Reason.API_KEY_MISSING, status=401, message="who")
        return FakeGuard(judge_with=lambda _e, _a: refused)
    verdict = Verdict(action=Action.ALLOW, reason=Reason.CLEAN, principal=principal)
    return FakeGuard(judge_with=lambda _e, _a: verdict)


def budget(tokens: int = 100) -> FakeGuard:
    """A guard that reserves ``tokens`` for each exchange."""

    def needs(exchange: ExchangeView) -> tuple[Effect, ...]:
        return (Reserve(reservation=reservation(exchange, tokens)),)

    def judge(exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        (answer,) = answers
        assert isinstance(answer, Reserved)
        if answer.granted:
            return Verdict(
                action=Action.ALLOW,
                reason=Reason.CLEAN,
                reservation=reservation(exchange, tokens),
                cap_output_tokens=50,
            )
        return Verdict(action=Action.BLOCK, reason=Reason.BUDGET_EXCEEDED, status=429, message="over")

    return FakeGuard(needs_with=needs, judge_with=judge)


def reservation(exchange: ExchangeView, tokens: int) -> Reservation:
    return Reservation(
        reservation_id=exchange.exchange_id,
        tenant="acme",
        tokens=tokens,
        limits=(LIMIT,),
        lease_ms=1000,
    )


def granted(*, yes: bool = True) -> Reserved:
    return Reserved(granted=yes, limit=LIMIT, remaining=5, retry_after_ms=1000, reset_ms=1000)


@dataclass(frozen=True)
class FakeScan:
    released: str
    findings: tuple[Finding, ...]


class WordScanner:
    """Redacts SECRET exactly: holds back what may still become it."""

    def __init__(self, watches: Sequence[RuleWatch]) -> None:
        self._watch = watches[0]
        self._held = ""
        self._at = 0

    @staticmethod
    def modelled(watches: Sequence[RuleWatch]) -> SpanScanner:
        raise AssertionError("no model is there")

    def feed(self, text: str, *, eof: bool = False) -> FakeScan:
        data = self._held + text
        base = self._at
        out: list[str] = []
        findings = []
        position = 0
        while (found := data.find(SECRET, position)) >= 0:
            out += [data[position:found], "[SECRET]"]
            findings.append(
                Finding(
                    entity_type="SECRET",
                    start=base + found,
                    end=base + found + len(SECRET),
                    score=1.0,
                    detector=f"{self._watch.pack}/word",
                )
            )
            position = found + len(SECRET)
        rest = data[position:]
        keep = 0 if eof else self._keep(rest)
        out.append(rest[: len(rest) - keep])
        self._held = rest[len(rest) - keep :]
        self._at = base + len(data) - keep
        return FakeScan("".join(out), tuple(findings))

    def feed_each(self, texts: Sequence[str]) -> ScanEach:
        released, findings, held = [], [], [0]
        for number, text in enumerate(texts):
            scan = self.feed(text)
            released.append(scan.released)
            findings += [(number, finding) for finding in scan.findings]
            held.append(self.held_chars)
        return ScanEach(released, findings, max(held))

    @staticmethod
    def _keep(text: str) -> int:
        sizes = range(min(len(SECRET) - 1, len(text)), 0, -1)
        return next((size for size in sizes if SECRET.startswith(text[-size:])), 0)

    @property
    def held_chars(self) -> int:
        return len(self._held)

    def drop(self) -> None:
        self._held = ""


def policy(*guards: BoundGuard, principal: Principal | None = PRINCIPAL) -> PolicySnapshot:
    always = bound(FakeGuard(), name="always", stage=Stage.ADMISSION)
    return PolicySnapshot(
        digest="0" * 64,
        identity=(bound(knows(principal), name="identity", stage=Stage.IDENTITY),),
        pipelines={"acme": tuple(sorted((always, *guards), key=lambda one: one.stage))},
        known_models=frozenset({"m"}),
        scanner=WordScanner,
    )


def watching(*, block: bool = False, mode: Mode = Mode.ENFORCE) -> BoundGuard:
    """A guard that watches the answer for SECRET."""
    watch = RuleWatch(pack="secrets", entity_types=frozenset(), block=block, reason=Reason.SECRET_FOUND)
    return bound(FakeGuard(watch=watch), name="secrets", mode=mode)


class Playbook:
    """Feeds a stream and keeps every command; reads like a trace of the wire."""

    def __init__(
        self,
        snapshot: PolicySnapshot | None = None,
        *,
        alone: bool = True,
        limits: Limits = LIMITS,
        codecs: Sequence[Codec] = (),
    ) -> None:
        self.stream = Stream(
            stream_id=STREAM_ID,
            at_us=1_000,
            at_unix_ms=1_700_000_000_000,
            policy=snapshot or policy(),
            codecs=codecs or [LineCodec(alone=alone)],
            limits=limits,
        )
        self.commands: list[cmd.Command] = []
        self._clock = 1_000

    def send(self, event: ev.Event) -> list[cmd.Command]:
        commands = self.stream.handle(event)
        self.commands += commands
        return commands

    def tick(self) -> int:
        self._clock += 10
        return self._clock

    def head(self, path: str = "/line", *, end_stream: bool = False, **headers: str) -> list[cmd.Command]:
        named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
        head = RequestHead(method="POST", path=path, headers=named)
        return self.send(ev.RequestHeaders(self.tick(), head, end_stream))

    def body(self, chunk: bytes, *, end: bool = False) -> list[cmd.Command]:
        return self.send(ev.RequestBody(self.tick(), chunk, end))

    def answer_head(self, status: int = 200, **headers: str) -> list[cmd.Command]:
        named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
        head = ResponseHead(status=status, headers=named)
        return self.send(ev.ResponseHeaders(self.tick(), head, end_stream=False, upstream_host="h"))

    def answer(self, chunk: bytes, *, end: bool = False) -> list[cmd.Command]:
        return self.send(ev.ResponseBody(self.tick(), chunk, end))

    def effect(self, index: int, answer: Answer) -> list[cmd.Command]:
        return self.send(ev.EffectDone(self.tick(), self.effects()[index].effect_id, answer))

    def close(self) -> list[cmd.Command]:
        return self.send(ev.PeerClosed(self.tick()))

    def of(self, kind: type[cmd.Command]) -> list[cmd.Command]:
        return [one for one in self.commands if isinstance(one, kind)]

    def effects(self) -> list[cmd.RunEffect]:
        return [one for one in self.commands if isinstance(one, cmd.RunEffect)]

    def records(self) -> list[Record]:
        return [one.record for one in self.commands if isinstance(one, cmd.Emit)]

    def sent(self, lane: object) -> bytes:
        return b"".join(
            one.chunk for one in self.commands if isinstance(one, cmd.ReplyBody) and one.lane == lane
        )
