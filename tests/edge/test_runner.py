"""Who is told of a stream, when, and that none of them has a say in it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from answer_wires import WIRES
from doubles import STREAM_ID, FakeGuard, LineCodec, LineSession, bound, budget, granted, policy, watching
from read_answers import reads, snapshot
from span_model import spans_for

from extproc.codecs import discover
from extproc.core import events as ev
from extproc.core.stream import Stream
from extproc.domain.effects import Classify, FindSpans, Renewed, Settled, Spans
from extproc.domain.errors import DependencyError, FailureKind
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import BoundGuard
from extproc.domain.reading import OnDeadline
from extproc.domain.verdict import Action, Mode, OnError, Stage
from extproc.edge.phases import PhaseTable
from extproc.edge.room import Room
from extproc.edge.runner import Background, Services, StreamRunner, now_us
from extproc.edge.telemetry import Telemetry
from extproc.pb.extproc_wire_pb2 import (
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
)

WIRE = next(one for one in WIRES if one.name == "chat")


class Ledger:
    async def reserve(self, reservation):
        return granted()

    async def settle_until(self, reservation, tokens):
        return Settled(charged=tokens, refunded=reservation.tokens - tokens)

    async def renew(self, reservation):
        return Renewed(held=True)


class NoInference:
    async def classify(self, effect, *, deadline_ms):
        raise DependencyError(FailureKind.OVERLOADED, "classifier")


class Told(Telemetry):
    """Notes what it is told; breaks, if it shall."""

    def __init__(self, *, breaks: bool = False) -> None:
        super().__init__()
        self.told: list[object] = []
        self._breaks = breaks

    def record(self, record) -> None:
        self.told.append(record.action)
        if self._breaks:
            raise ZeroDivisionError

    def effect(self, effect, outcome, duration_us) -> None:
        self.told.append((type(effect).__name__, outcome if isinstance(outcome, FailureKind) else None))
        if self._breaks:
            raise ZeroDivisionError


class Drive:
    """A stream with its runner; plays Envoy."""

    def __init__(self, telemetry: Told, *, codec=None, room: Room | None = None) -> None:
        self.telemetry = telemetry
        self.records: list[object] = []
        self.written: list[ProcessingResponse] = []
        self.background = Background()
        guards = (
            bound(budget(), name="budget", stage=Stage.BUDGET),
            bound(
                FakeGuard(effects=(Classify(head="injection", texts=("x",)),)),
                name="injection",
                on_error=OnError.ALLOW,
            ),
            watching(),
        )
        self.phases = PhaseTable()
        self.runner = StreamRunner(
            stream=Stream(
                stream_id="s",
                at_us=1,
                at_unix_ms=1,
                policy=policy(*guards),
                codecs=[codec or LineCodec(alone=True)],
                limits=LIMITS,
            ),
            phases=self.phases,
            services=Services(
                ledger=Ledger(),
                inference=NoInference(),
                records=self,
                background=self.background,
                telemetry=telemetry,
                **({} if room is None else {"room": room}),
            ),
            write=self.write,
            abort_later=pytest.fail,
        )

    def emit(self, record) -> None:
        self.records.append(record)

    async def write(self, reply: bytes) -> None:
        self.written.append(ProcessingResponse.FromString(reply))

    async def send(self, message: ProcessingRequest, event: ev.Event) -> None:
        self.phases.opened(message)
        await self.runner.handle(event)

    async def request(self) -> None:
        head = RequestHead(method="POST", path="/line", headers={})
        await self.send(ProcessingRequest(request_headers=HttpHeaders()), ev.RequestHeaders(2, head, False))
        body = ProcessingRequest(request_body=HttpBody(body=b"hello\n", end_of_stream=True))
        await self.send(body, ev.RequestBody(3, b"hello\n", True))
        await self.background.drain(5)

    async def answer(self, *chunks: bytes) -> None:
        head = ResponseHead(status=200, headers={})
        await self.send(
            ProcessingRequest(response_headers=HttpHeaders()), ev.ResponseHeaders(4, head, False)
        )
        for chunk in chunks:
            await self.send(
                ProcessingRequest(response_body=HttpBody(body=chunk)), ev.ResponseBody(5, chunk, False)
            )

    async def end(self) -> None:
        body = ProcessingRequest(response_body=HttpBody(end_of_stream=True))
        await self.send(body, ev.ResponseBody(6, b"", True))
        await self.background.drain(5)

    @property
    def sent(self) -> bytes:
        bodies = [one.response_body.response.body_mutation.streamed_response.body for one in self.written]
        return b"".join(bodies)


@pytest.mark.parametrize("breaks", [False, True])
def test_what_counts_has_no_say_in_traffic(breaks):
    async def play() -> Drive:
        drive = Drive(Told(breaks=breaks))
        await drive.request()
        await drive.answer(b"0 it is hunter2\n", b"0 .\n")
        await drive.end()
        return drive

    drive = asyncio.run(play())
    assert drive.runner.done
    assert drive.sent == b"0 it is [SECRET]\n0 .\n"
    assert [record.action for record in drive.records] == [Action.REDACT]
    assert drive.telemetry.told == [
        ("Reserve", None),
        ("Classify", FailureKind.OVERLOADED),
        ("Settle", None),
        Action.REDACT,
    ]


def test_nobody_is_told_while_an_answer_streams():
    async def play() -> tuple[Drive, list[object]]:
        drive = Drive(Told())
        await drive.request()
        before = list(drive.telemetry.told)
        await drive.answer(*[b"0 word\n"] * 20)
        return drive, before

    drive, before = asyncio.run(play())
    assert drive.sent == b"0 word\n" * 20
    assert drive.telemetry.told == before


def test_only_the_first_and_the_last_reply_carry_an_annotation():
    async def play() -> Drive:
        drive = Drive(Told())
        await drive.request()
        await drive.answer(b"0 it is hunter2\n", b"0 more\n", b"0 .\n")
        await drive.end()
        return drive

    drive = asyncio.run(play())
    carried = [
        one.dynamic_metadata.fields["headgate"].struct_value.fields["action"].string_value
        if one.HasField("dynamic_metadata")
        else ""
        for one in drive.written
    ]
    assert carried == ["allow", *[""] * (len(carried) - 2), "redact"]


class Compressed(LineSession):
    """Decodes each byte to a hundred."""

    def read_request(self, chunk, *, eof):
        read = super().read_request(chunk, eof=eof)
        return tuple([replace(one, inspectable_bytes=100 * len(chunk)) for one in read])


class CompressedCodec(LineCodec):
    def open(self, head):
        del head
        return Compressed(alone=True)


# With what its only segment takes beside its text.
DECODED_BYTES = 600 + LIMITS.part_bytes


@pytest.mark.parametrize(("bytes_max", "status"), [(DECODED_BYTES - 1, 503), (DECODED_BYTES, None)])
def test_a_compressed_body_takes_the_room_that_it_decodes_to(bytes_max, status):
    async def drive() -> None:
        room = Room(replace(LIMITS, bodies_bytes_max=bytes_max))
        one = Drive(Told(), codec=CompressedCodec(alone=True), room=room)
        await one.request()
        told = [reply.immediate_response.status.code for reply in one.written]
        assert [code for code in told if code] == ([] if status is None else [status])
        assert room.held_bytes == (6 if status else DECODED_BYTES)
        one.runner.finish()
        assert room.held_bytes == 0

    asyncio.run(drive())


# --- models that read the answer -------------------------------------------------------------


class Modelled(Drive):
    """Triton's stream, whose answer a model reads."""

    def __init__(self, guard: BoundGuard, finder: object) -> None:
        super().__init__(Told())
        self.recorded = asyncio.Event()
        self.runner = StreamRunner(
            stream=Stream(
                stream_id=STREAM_ID,
                at_us=1,
                at_unix_ms=1,
                policy=snapshot(guard),
                codecs=discover(),
                limits=LIMITS,
            ),
            phases=self.phases,
            services=Services(
                ledger=Ledger(),
                inference=NoInference(),
                records=self,
                background=self.background,
                telemetry=self.telemetry,
                spans=finder,
            ),
            write=self.write,
            abort_later=pytest.fail,
        )

    def emit(self, record) -> None:
        super().emit(record)
        self.recorded.set()

    async def ask(self, text: str) -> None:
        head = RequestHead(method="POST", path=WIRE.path, headers={"content-type": ("application/json",)})
        await self.send(ProcessingRequest(request_headers=HttpHeaders()), ev.RequestHeaders(2, head, False))
        body = ProcessingRequest(request_body=HttpBody(body=WIRE.request, end_of_stream=True))
        await self.send(body, ev.RequestBody(3, WIRE.request, True))
        answer = ResponseHead(status=200, headers={"content-type": (WIRE.kind,)})
        await self.send(
            ProcessingRequest(response_headers=HttpHeaders()), ev.ResponseHeaders(now_us(), answer, False)
        )
        for chunk in WIRE.say([text]):
            body = ProcessingRequest(response_body=HttpBody(body=chunk))
            await self.send(body, ev.ResponseBody(now_us(), chunk, False))

    async def finish(self) -> None:
        body = ProcessingRequest(response_body=HttpBody(end_of_stream=True))
        await self.send(body, ev.ResponseBody(now_us(), b"", True))


class Finder:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.dropped = 0

    async def find(self, effect: FindSpans, *, deadline_ms: int) -> Spans:
        assert deadline_ms == LIMITS.spans_deadline_ms
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.dropped += 1
            raise
        return spans_for(effect)


SAID = "It was Ann Smith."


def test_what_a_model_finds_is_written_when_it_answers():
    async def run() -> None:
        finder = Finder()
        drive = Modelled(reads(), finder)
        await drive.ask(SAID)
        await drive.finish()
        assert not drive.runner.done
        finder.go.set()
        await drive.background.drain(5)
        assert drive.runner.done
        assert WIRE.read(drive.sent) == "It was [PERSON]."
        assert ("FindSpans", None) in drive.telemetry.told
        assert len(drive.records) == 1

    asyncio.run(run())


def test_without_a_model_the_effect_fails():
    async def run() -> None:
        drive = Modelled(reads(), None)
        await drive.ask(SAID)
        await drive.finish()
        await drive.background.drain(5)
        assert ("FindSpans", FailureKind.UNAVAILABLE) in drive.telemetry.told
        assert b"Ann Smith" not in drive.sent
        assert [one.action for one in drive.records] == [Action.BLOCK]

    asyncio.run(run())


def test_at_its_deadline_text_goes_out_and_the_log_says_so(caplog):
    async def run() -> None:
        drive = Modelled(reads(on_deadline=OnDeadline.RELEASE_RULES, deadline_ms=20), Finder())
        await drive.ask(SAID)
        await drive.finish()
        await drive.recorded.wait()
        await drive.background.drain(5)
        assert WIRE.read(drive.sent) == SAID
        assert [one.answer_chars_unread for one in drive.records] == [len(SAID)]

    asyncio.run(run())
    (line,) = [one.getMessage() for one in caplog.records if one.name == "headgate.runner"]
    assert line == f"text went out that a model had not read (request {STREAM_ID})"


def test_questions_are_dropped_with_their_stream():
    async def run() -> None:
        finder = Finder()
        drive = Modelled(reads(), finder)
        await drive.ask(SAID)
        await drive.finish()
        await asyncio.sleep(0)
        drive.runner.finish()
        await drive.background.drain(5)
        assert (finder.dropped, len(drive.records)) == (1, 1)

    asyncio.run(run())


def test_what_a_record_waits_for_is_asked_to_its_end():
    async def run() -> None:
        finder = Finder()
        drive = Modelled(reads(mode=Mode.SHADOW), finder)
        await drive.ask(SAID)
        await drive.finish()
        assert drive.runner.done
        assert WIRE.read(drive.sent) == SAID
        drive.runner.finish()
        assert drive.records == []
        finder.go.set()
        await drive.background.drain(5)
        assert finder.dropped == 0
        assert [(one.entity_type, one.count) for one in drive.records[0].entities] == [("PERSON", 1)]

    asyncio.run(run())


def test_a_drain_waits_for_what_comes_of_what_runs():
    async def run() -> None:
        background = Background()
        done: list[int] = []

        async def work(number: int) -> None:
            # One after the other, as questions for a record are.
            await asyncio.sleep(0)
            done.append(number)
            if number:
                background.start(work(number - 1))

        background.start(work(3))
        assert await background.drain(60) == 0
        assert done == [3, 2, 1, 0]

        never = background.start(asyncio.Event().wait())
        assert await background.drain(0) == 1
        never.cancel()

    asyncio.run(run())
