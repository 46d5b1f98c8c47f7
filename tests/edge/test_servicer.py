"""The servicer over a real gRPC connection, with Envoy's part played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import grpc
import pytest
from doubles import FakeGuard, LineCodec, bound, budget, granted, policy, watching

from extproc.domain.effects import Classify, Renewed, Settled
from extproc.domain.errors import DependencyError, FailureKind
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Action, Reason, Stage
from extproc.edge.room import Room
from extproc.edge.runner import Background, Services
from extproc.edge.servicer import Servicer
from extproc.edge.translate import METHOD
from extproc.pb.extproc_wire_pb2 import (
    HeaderMap,
    HeaderValue,
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)

DUPLEX = ProtocolConfiguration(
    request_body_mode=ProtocolConfiguration.FULL_DUPLEX_STREAMED,
    response_body_mode=ProtocolConfiguration.FULL_DUPLEX_STREAMED,
)


class Ledger:
    """Answers as it is told; keeps what was settled."""

    def __init__(self) -> None:
        self.answer: object = granted()
        self.settled: list[int] = []
        self.may_settle = asyncio.Event()
        self.may_settle.set()

    async def reserve(self, reservation):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def settle_until(self, reservation, tokens):
        await self.may_settle.wait()
        self.settled.append(tokens)
        return Settled(charged=tokens, refunded=reservation.tokens - tokens)

    async def renew(self, reservation):
        return Renewed(held=True)


class Inference:
    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def classify(self, effect, *, deadline_ms):
        self.asked.set()
        await self.may_answer.wait()
        raise DependencyError(FailureKind.UNAVAILABLE, "classifier")


class Records(list):
    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def emit(self, record) -> None:
        self.append(record)
        self.changed.set()


class Bench:
    """A servicer on a loopback port and one client."""

    def __init__(self, snapshot, limits=LIMITS) -> None:
        self.ledger, self.inference, self.records = Ledger(), Inference(), Records()
        self.background = Background()
        self.room = Room(limits)
        self.healthy = True
        self.snapshot = snapshot
        self.routes: list[tuple[str, ...]] = []
        self.servicer = Servicer(
            policy=self._policy,
            codecs=[LineCodec(alone=True)],
            services=Services(
                ledger=self.ledger,
                inference=self.inference,
                records=self.records,
                background=self.background,
                room=self.room,
            ),
            limits=limits,
            healthy=lambda: self.healthy,
        )

    def _policy(self, routes):
        self.routes.append(tuple(routes))
        return self.snapshot

    async def __aenter__(self):
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((self.servicer.method_handlers(),))
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_exc) -> None:
        await self.channel.close()
        await self.server.stop(0)
        await self.background.drain(5)

    def call(self, *metadata):
        return self.channel.stream_stream(
            METHOD,
            request_serializer=ProcessingRequest.SerializeToString,
            response_deserializer=ProcessingResponse.FromString,
        )(metadata=metadata)


def headers(*, request=True, end=False, config=DUPLEX, **fields) -> ProcessingRequest:
    pseudo = {":method": "POST", ":path": "/line"} if request else {":status": "200"}
    named = pseudo | {name.replace("_", "-"): value for name, value in fields.items()}
    head = HttpHeaders(
        headers=HeaderMap(
            headers=[HeaderValue(key=key, raw_value=value.encode()) for key, value in named.items()]
        ),
        end_of_stream=end,
    )
    if request:
        return ProcessingRequest(request_headers=head, protocol_config=config)
    return ProcessingRequest(response_headers=head)


def body(chunk: bytes, *, request=True, end=False) -> ProcessingRequest:
    part = HttpBody(body=chunk, end_of_stream=end)
    return ProcessingRequest(request_body=part) if request else ProcessingRequest(response_body=part)


def answer(chunk: bytes, *, end=False) -> ProcessingRequest:
    return body(chunk, request=False, end=end)


def text_of(response: ProcessingResponse) -> bytes:
    part = response.response_body if response.HasField("response_body") else response.request_body
    return part.response.body_mutation.streamed_response.body


def run(test: Callable, snapshot=None, limits=LIMITS) -> None:
    async def main() -> None:
        async with Bench(snapshot or policy(), limits) as bench:
            await asyncio.wait_for(test(bench), 20)

    asyncio.run(main())


async def ended(call) -> grpc.StatusCode:
    """Read to the end; give the call's status."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await call.code()


def test_a_whole_exchange_ends_cleanly_and_once():
    async def test(bench):
        call = bench.call()
        await call.write(headers())
        await call.write(body(b"hello\n", end=True))
        assert (await call.read()).HasField("request_headers")
        assert text_of(await call.read()) == b"hello\n"
        await call.write(headers(request=False))
        await call.write(answer(b"0 hi\n0 .\n", end=True))
        assert (await call.read()).HasField("response_headers")
        assert text_of(await call.read()) == b"0 hi\n0 .\n"
        await call.done_writing()
        assert await ended(call) is grpc.StatusCode.OK
        assert [record.action for record in bench.records] == [Action.ALLOW]

    run(test)


@pytest.mark.parametrize("sent", [0, 1, 2, 3, 4])
def test_a_half_close_before_the_end_is_an_error_and_never_a_clean_end(sent):
    async def test(bench):
        call = bench.call()
        messages = [
            headers(),
            body(b"hello\n", end=True),
            headers(request=False),
            answer(b"0 hi\n"),
        ]
        for message in messages[:sent]:
            await call.write(message)
        await call.done_writing()
        assert await ended(call) is not grpc.StatusCode.OK
        assert len(bench.records) == (1 if sent else 0)

    run(test)


def test_a_peer_of_another_name_is_refused_before_anything_is_read(caplog):
    async def test(bench):
        seen = []
        bench.servicer._admits = lambda properties: bool(seen.append(dict(properties)))
        for _ in range(5):
            assert await ended(bench.call()) is grpc.StatusCode.PERMISSION_DENIED
        assert bench.records == []
        assert len(seen) == 5
        # Told at the first, second and fourth.
        assert caplog.text.count("the client certificate has another name") == 3

    run(test)


def test_an_empty_message_aborts():
    async def test(bench):
        call = bench.call()
        await call.write(headers())
        await call.write(ProcessingRequest())
        assert await ended(call) is grpc.StatusCode.INTERNAL

    run(test)


@pytest.mark.parametrize(
    "config",
    [
        ProtocolConfiguration(request_body_mode=ProtocolConfiguration.BUFFERED),
        ProtocolConfiguration(
            request_body_mode=ProtocolConfiguration.FULL_DUPLEX_STREAMED,
            response_body_mode=ProtocolConfiguration.NONE,
        ),
        None,
    ],
)
def test_an_envoy_that_is_configured_otherwise_is_refused(config):
    async def test(bench):
        call = bench.call()
        await call.write(headers(config=config))
        assert await ended(call) is grpc.StatusCode.INTERNAL

    run(test)


def test_a_refusal_is_an_immediate_response():
    async def test(bench):
        call = bench.call()
        await call.write(headers())
        reply = await call.read()
        assert reply.immediate_response.status.code == 401
        await call.done_writing()
        assert await ended(call) is grpc.StatusCode.OK

    run(test, policy(principal=None))


def test_a_call_that_is_cancelled_still_settles_and_records():
    async def test(bench):
        bench.ledger.may_settle.clear()
        call = bench.call()
        await call.write(headers())
        await call.write(body(b"hello\n", end=True))
        await call.read()
        await call.read()
        call.cancel()
        assert await bench.servicer.drain(10) == 0
        assert bench.records == []
        bench.ledger.may_settle.set()
        await bench.records.changed.wait()
        assert bench.records[0].reason is Reason.PEER_CLOSED
        assert bench.records[0].tokens_settled == bench.ledger.settled[0]

    run(test, policy(bound(budget(), name="budget", stage=Stage.BUDGET)))


@pytest.mark.parametrize(
    "failure",
    [DependencyError(FailureKind.UNAVAILABLE, "ledger"), RuntimeError("secret text")],
)
def test_a_ledger_that_fails_refuses(failure, caplog):
    async def test(bench):
        bench.ledger.answer = failure
        call = bench.call()
        await call.write(headers())
        await call.write(body(b"hello\n", end=True))
        assert (await call.read()).immediate_response.status.code == 503
        assert "secret text" not in caplog.text

    run(test, policy(bound(budget(), name="budget", stage=Stage.BUDGET)))


def test_a_question_that_nobody_needs_any_more_is_dropped():
    async def test(bench):
        call = bench.call()
        await call.write(headers())
        await call.write(body(b"hello\n", end=True))
        await bench.inference.asked.wait()
        call.cancel()
        assert await bench.background.drain(5) == 0
        assert [record.reason for record in bench.records] == [Reason.PEER_CLOSED]

    guard = FakeGuard(effects=(Classify(head="injection", texts=("x",)),))
    run(test, policy(bound(guard)))


def test_a_body_that_does_not_arrive_is_refused_at_its_deadline():
    async def test(bench):
        call = bench.call()
        await call.write(headers())
        assert (await call.read()).immediate_response.status.code == 408

    run(test, limits=replace(LIMITS, request_body_deadline_ms=10))


def test_leases_are_renewed_while_the_answer_runs():
    async def test(bench):
        renewed = asyncio.Event()

        async def renew(_reservation):
            renewed.set()
            return Renewed(held=True)

        bench.ledger.renew = renew
        call = bench.call()
        await call.write(headers())
        await call.write(body(b"hello\n", end=True))
        await renewed.wait()
        call.cancel()

    snapshot = policy(bound(budget(), name="budget", stage=Stage.BUDGET))
    run(test, snapshot, replace(LIMITS, lease_ms=20))


def test_no_new_stream_while_draining_and_those_that_run_finish():
    async def test(bench):
        running = bench.call()
        await running.write(headers())
        await running.write(body(b"hello\n", end=True))
        await running.read()
        drain = asyncio.create_task(bench.servicer.drain(10))
        await asyncio.sleep(0)
        late = bench.call()
        assert await ended(late) is grpc.StatusCode.UNAVAILABLE
        await running.write(headers(request=False))
        await running.write(answer(b"0 .\n", end=True))
        await running.done_writing()
        assert await ended(running) is grpc.StatusCode.OK
        assert await drain == 0

    run(test)


def test_nothing_is_served_that_could_not_be_recorded():
    async def test(bench):
        bench.healthy = False
        assert await ended(bench.call()) is grpc.StatusCode.UNAVAILABLE

    run(test)


def test_streams_above_the_bound_are_turned_away():
    async def test(bench):
        first = bench.call()
        await first.write(headers())
        await first.write(body(b"hello\n", end=True))
        await first.read()
        assert await ended(bench.call()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()

    run(test, limits=replace(LIMITS, streams_open_max=1))


def test_bodies_that_do_not_fit_together_are_turned_away_and_give_their_room_back():
    async def test(bench):
        first = bench.call()
        await first.write(headers())
        await first.write(body(b"123456"))
        second = bench.call()
        await second.write(headers())
        await second.write(body(b"123456"))
        assert (await second.read()).immediate_response.status.code == 503
        assert bench.records[0].reason is Reason.OVERLOADED
        first.cancel()
        await second.done_writing()
        assert await ended(second) is grpc.StatusCode.OK
        assert await bench.servicer.drain(10) == 0
        assert (bench.room.held_bytes, bench.room.streams) == (0, 0)

    run(test, limits=replace(LIMITS, bodies_bytes_max=10))


def test_one_tenant_cannot_take_every_stream():
    async def test(bench):
        first = bench.call()
        await first.write(headers())
        await first.write(body(b"hello\n", end=True))
        await first.read()
        second = bench.call()
        await second.write(headers())
        assert (await second.read()).immediate_response.status.code == 503
        first.cancel()
        await second.done_writing()
        assert await ended(second) is grpc.StatusCode.OK
        assert await bench.servicer.drain(10) == 0
        assert bench.room.streams == 0

    run(test, limits=replace(LIMITS, tenant_streams_open_max=1))


def test_a_large_chunk_of_an_answer_lets_other_streams_in_between():
    async def test(bench):
        call = bench.call()
        await call.write(headers())
        await call.write(body(b"hello\n", end=True))
        await call.write(headers(request=False))
        text = b"0 " + b"x" * 30 + b"\n"
        await call.write(answer(text * 100, end=True))
        for _ in range(3):
            await call.read()
        pieces = []
        while (reply := await call.read()) is not grpc.aio.EOF:
            pieces.append(text_of(reply))
            if reply.response_body.response.body_mutation.streamed_response.end_of_stream:
                await call.done_writing()
        assert b"".join(pieces) == text * 100
        assert len(pieces) > 30

    run(test, limits=replace(LIMITS, answer_slice_bytes_max=100))


def test_a_bug_mid_answer_aborts_and_logs_no_text(caplog):
    class Broken:
        held_chars = 0

        def feed(self, text, *, eof=False):
            if "hunter2" in text:
                raise ValueError(text)
            return type("S", (), {"released": text, "findings": ()})()

        def drop(self):
            pass

    async def test(bench):
        call = bench.call()
        await call.write(headers())
        await call.write(body(b"hello\n", end=True))
        await call.write(headers(request=False))
        await call.write(answer(b"0 ok\n"))
        for _ in range(4):
            last = await call.read()
        assert text_of(last) == b"0 ok\n"
        await call.write(answer(b"0 hunter2\n"))
        assert await ended(call) is grpc.StatusCode.INTERNAL
        assert "ValueError" in caplog.text
        assert "hunter2" not in caplog.text

    run(test, replace(policy(watching()), scanner=lambda _watches: Broken()))


@pytest.mark.parametrize(
    ("metadata", "routes"),
    [
        ((), ()),
        ((("x-headgate-route", "generate"),), ("generate",)),
        ((("x-headgate-route", "one"), ("x-headgate-route", "two")), ("one", "two")),
        ((("x-headgate-route", "same"), ("x-headgate-route", "same")), ("same", "same")),
        ((("x-headgate-tenant", "other"),), ()),
    ],
)
def test_a_streams_route_is_what_envoys_metadata_says_and_no_header_of_the_client(metadata, routes):
    async def test(bench):
        call = bench.call(*metadata)
        await call.write(headers(x_headgate_route="the clients own", x_headgate_tenant="other"))
        await call.write(body(b"hello\n", end=True))
        assert (await call.read()).HasField("request_headers")
        assert bench.routes == [routes]
        call.cancel()

    run(test)


def test_a_stream_keeps_the_policy_that_it_began_with():
    async def test(bench):
        first = bench.call()
        await first.write(headers())
        await first.write(body(b"hello\n", end=True))
        await first.read()
        bench.snapshot = replace(policy(), digest="1" * 64)
        second = bench.call()
        for call in (second, first):
            if call is second:
                await call.write(headers())
                await call.write(body(b"hello\n", end=True))
                await call.read()
            await call.write(headers(request=False))
            await call.write(answer(b"0 say hunter2\n0 .\n", end=True))
            await call.done_writing()
            assert await ended(call) is grpc.StatusCode.OK
        assert [record.policy_digest[0] for record in bench.records] == ["1", "0"]
        assert [record.action for record in bench.records] == [Action.ALLOW, Action.REDACT]

    run(test, policy(watching()))
