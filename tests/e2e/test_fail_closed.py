"""Whatever breaks, the client gets a defined error or a cut connection, and never an unjudged byte.

Each model answer has a fresh credential in it, split over events: a client that saw a piece of it saw an
unjudged byte. The model's journal says what reached it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
from faulty_serve import RELEASE_VARIABLE, Fault
from live_traffic import (
    GENERATE,
    ROOMY,
    STREAM,
    FaultyHeadgate,
    Planted,
    Reading,
    Seen,
    all_settled,
    ask,
    body_of,
    fresh_word,
    leaks,
    noted,
    open_tokens,
    plant,
    planted_mail,
    read_answer,
    seen_in,
    serves,
    text_of,
)
from real_parts import Gateway, GatewayMaker, StandIn, eventually, running

from extproc.demo.parts import Valkey
from extproc.domain.identity import Reservation, TokenLimit, Window
from extproc.domain.limits import LIMITS
from extproc.edge.ledger import Ledger, Scripts

ANSWER_WORDS = [f" w{number}" for number in range(40)]
SLOWLY = ", one word every 20 ms"


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One that tests here may pause and end. They leave it running."""
    with running(Valkey(tmp_path_factory.mktemp("own-valkey"))) as part:
        yield part


@pytest.fixture
def books(own_valkey: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(own_valkey.url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("release") / "released"


@pytest.fixture(scope="module")
def faulty(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, own_valkey: Valkey, release: Path
) -> Iterator[Gateway]:
    """One gateway for all tests here: each leaves it serving."""
    maker = GatewayMaker(tmp_path_factory, stand_in.port, own_valkey.url)
    try:
        gateway = maker(
            policy=ROOMY,
            tenants=("acme",),
            headgate_type=FaultyHeadgate,
            variables={RELEASE_VARIABLE: str(release)},
        )
        yield gateway
        # A traceback would quote what the faults quote; none of our calls may end in one.
        assert "Traceback" not in filter_log(gateway)
    finally:
        maker.close()


def filter_log(gateway: Gateway) -> str:
    return gateway.headgate.log_path.read_text(encoding="utf-8", errors="replace")


def reached_model(stand_in: StandIn, question: Planted) -> bool:
    return bool(noted(stand_in, "received", question.name))


# --- faults of our own code ------------------------------------------------------------------

REQUEST_FAULTS = {
    Fault.GUARD_NEEDS: (500, "internal"),
    Fault.GUARD_JUDGES: (500, "internal"),
    Fault.CLASSIFIER_RAISES: (503, "classifier_unavailable"),
    Fault.CLASSIFIER_HANGS: (503, "classifier_unavailable"),
    Fault.CODEC_READS_REQUEST: (500, "internal"),
    Fault.CODEC_WRITES_REQUEST: (500, "internal"),
}


@pytest.mark.parametrize("path", [STREAM, GENERATE])
@pytest.mark.parametrize("fault", REQUEST_FAULTS)
def test_a_fault_before_the_model_is_an_error_and_nothing_reaches_the_model(
    *, fault: Fault, path: str, faulty: Gateway, stand_in: StandIn, books: redis.Redis, release: Path
):
    question = plant(stand_in)
    mail = planted_mail()
    release.unlink(missing_ok=True)
    seen = ask(faulty, f"{question.prompt} {fault.marker} {mail}", path=path)
    release.touch()

    status, reason = REQUEST_FAULTS[fault]
    assert (seen.status, seen.headers["content-type"], seen.cut) == (status, "application/json", False)
    assert seen.request_id in seen.error
    assert not leaks(seen.body, mail)
    assert not reached_model(stand_in, question)
    record = faulty.verdict(seen.request_id)
    assert (record["action"], record["reason"], record["status"]) == ("block", reason, status)
    assert all_settled(books)
    log = filter_log(faulty)
    assert not leaks(log, mail)
    assert question.name not in log
    serves(faulty, stand_in)


ANSWER_FAULTS = (Fault.SCANNER, Fault.CODEC_READS_ANSWER, Fault.CODEC_WRITES_ANSWER)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_a_fault_within_a_stream_cuts_it(
    fault: Fault, faulty: Gateway, stand_in: StandIn, books: redis.Redis
):
    question = plant(stand_in, before=ANSWER_WORDS[:10], after=[*ANSWER_WORDS, f" {fault.marker}", " on"])
    seen = ask(faulty, question.prompt + SLOWLY)

    assert (seen.status, seen.cut) == (200, True)
    assert not leaks(seen.body, question.value)
    assert question.redacted.startswith(text_of(seen.body))
    assert fault.marker.encode() not in seen.body
    record = faulty.verdict(seen.request_id)
    assert (record["action"], record["reason"]) == ("block", "internal")
    assert record["tokens_reserved"] == record["tokens_settled"] + record["tokens_refunded"]
    assert all_settled(books)
    log = filter_log(faulty)
    assert (leaks(log, question.value), question.name in log) == (False, False)
    serves(faulty, stand_in)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_a_fault_within_a_whole_answer_is_an_error(
    fault: Fault, faulty: Gateway, stand_in: StandIn, books: redis.Redis
):
    question = plant(stand_in, after=[f" {fault.marker}"])
    seen = ask(faulty, question.prompt, path=GENERATE)

    assert (seen.status, seen.cut) == (500, False)
    assert seen.request_id in seen.error
    assert not leaks(seen.body, question.value)
    assert faulty.verdict(seen.request_id)["reason"] == "internal"
    assert all_settled(books)
    serves(faulty, stand_in)


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_a_fault_before_the_first_event_is_an_error(
    path: str, faulty: Gateway, stand_in: StandIn, books: redis.Redis
):
    question = plant(stand_in)
    seen = ask(faulty, f"{question.prompt} {Fault.GUARD_WATCHES.marker}", path=path)

    assert (seen.status, seen.cut) == (500, False)
    assert seen.request_id in seen.error
    assert not leaks(seen.body, question.value)
    assert faulty.verdict(seen.request_id)["reason"] == "internal"
    assert all_settled(books)
    serves(faulty, stand_in)


# --- Redis -----------------------------------------------------------------------------------


@contextlib.contextmanager
def paused(valkey: Valkey) -> Iterator[None]:
    """A Redis that takes what is sent to it and does not answer, as one behind a dead switch."""
    pid = valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def gone(valkey: Valkey) -> Iterator[None]:
    """A Redis that is dead, and comes back empty."""
    valkey.kill()
    try:
        yield
    finally:
        valkey.start()
        valkey.wait_ready()


@pytest.mark.parametrize("path", [STREAM, GENERATE])
@pytest.mark.parametrize("without", [gone, paused])
def test_without_redis_nothing_reaches_the_model(
    *,
    without: Callable[[Valkey], contextlib.AbstractContextManager[None]],
    path: str,
    faulty: Gateway,
    stand_in: StandIn,
    own_valkey: Valkey,
    books: redis.Redis,
):
    question = plant(stand_in)
    with without(own_valkey):
        seen = ask(faulty, question.prompt, path=path)

    assert (seen.status, seen.cut) == (503, False)
    assert seen.request_id in seen.error
    assert not reached_model(stand_in, question)
    record = faulty.verdict(seen.request_id)
    assert (record["action"], record["reason"]) == ("block", "budget_unavailable")
    # A reservation that timed out may have taken hold all the same: it must come back.
    assert all_settled(books)
    serves(faulty, stand_in)
    assert all_settled(books)


def begin(client: httpx.Client, question: Planted) -> contextlib.AbstractContextManager[httpx.Response]:
    return client.stream("POST", STREAM, json=body_of(question.prompt + SLOWLY))


def test_a_redis_that_comes_back_is_told_what_was_used(
    faulty: Gateway, stand_in: StandIn, own_valkey: Valkey, books: redis.Redis
):
    question = plant(stand_in, before=ANSWER_WORDS)
    with faulty.client() as client, begin(client, question) as response:
        reading = Reading(response)
        reading.until(events=2)
        with paused(own_valkey):
            seen = reading.rest()

    assert (seen.cut, text_of(seen.body)) == (False, question.redacted)
    record = faulty.verdict(seen.request_id, within_s=20)
    assert record["tokens_reserved"] == record["tokens_settled"] + record["tokens_refunded"]
    assert record["output_tokens"] == len(question.tokens)
    assert all_settled(books)
    serves(faulty, stand_in)


def test_a_redis_that_is_lost_before_the_settlement_is_noted(
    faulty: Gateway, stand_in: StandIn, own_valkey: Valkey
):
    question = plant(stand_in, before=ANSWER_WORDS)
    with faulty.client() as client, begin(client, question) as response:
        reading = Reading(response)
        reading.until(events=2)
        with gone(own_valkey):
            seen = reading.rest()
            record = faulty.verdict(seen.request_id, within_s=30)

    assert (seen.cut, text_of(seen.body)) == (False, question.redacted)
    assert (record["degraded"], record["tokens_settled"]) == (True, None)
    assert record["tokens_reserved"] > 0
    serves(faulty, stand_in)


# --- the filter killed -----------------------------------------------------------------------


@contextlib.contextmanager
def killed(gateway: Gateway) -> Iterator[None]:
    """The filter is gone by SIGKILL, and started again afterwards."""
    gateway.headgate.kill()
    try:
        yield
    finally:
        gateway.headgate.start()
        gateway.headgate.wait_ready()
        # Envoy asks for itself, and takes its time on a busy machine.
        assert eventually(gateway.envoy.finds_filter, within_s=30)


def charged_by_lease(url: str, tenant: str = "acme") -> int:
    """Tokens charged once every lease has run out: asked with a clock that is ahead of Redis's own."""
    lease = LIMITS.lease_ms + 1
    ahead = f"""
        local function clock_ms()
          local time = redis.call('TIME')
          return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + {lease}
        end"""
    limit = TokenLimit(window=Window.DAY, tokens=10**12)

    async def remaining() -> int:
        ledger = Ledger(url, scripts=Scripts.load(clock=ahead))
        try:
            probe = Reservation(
                reservation_id=fresh_word(), tenant=tenant, tokens=1, limits=(limit,), lease_ms=lease
            )
            answer = await ledger.reserve(probe)
            await ledger.settle(probe, 0)
        finally:
            await ledger.close()
        return answer.remaining

    return limit.tokens - 1 - asyncio.run(remaining())


def is_defined(seen: Seen) -> bool:
    """Whether it is an error in Triton's shape from whoever was left to give one."""
    return seen.status in {500, 503} and not seen.cut and bool(seen.error)


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_no_filter_no_answer(path: str, faulty: Gateway, stand_in: StandIn, books: redis.Redis):
    question = plant(stand_in)
    with killed(faulty):
        seen = ask(faulty, question.prompt, path=path)
        assert is_defined(seen)
        assert not reached_model(stand_in, question)
    assert open_tokens(books) == 0
    serves(faulty, stand_in)


# The planted value stands after 12 words and before as many.
@pytest.mark.parametrize("events", [1, 8, 13, 15, 20], ids=lambda count: f"after-{count}")
def test_a_filter_killed_within_a_stream_cuts_it(
    events: int, faulty: Gateway, stand_in: StandIn, own_valkey: Valkey, books: redis.Redis
):
    serves(faulty, stand_in)
    books.flushall()
    question = plant(stand_in, before=ANSWER_WORDS[:12], after=ANSWER_WORDS)
    with faulty.client() as client, begin(client, question) as response:
        reading = Reading(response)
        reading.until(events=events)
        with killed(faulty):
            seen = reading.rest()
            held = open_tokens(books)

    assert (seen.status, seen.cut) == (200, True)
    assert not leaks(seen.body, question.value)
    assert question.redacted.startswith(text_of(seen.body))
    assert text_of(seen.body) != question.redacted
    assert held > 0
    assert charged_by_lease(own_valkey.url) == held
    assert open_tokens(books) == 0
    books.flushall()
    serves(faulty, stand_in)


def test_a_filter_killed_before_a_whole_answer_withholds_it(
    faulty: Gateway, stand_in: StandIn, books: redis.Redis
):
    question = plant(stand_in, before=ANSWER_WORDS)
    with faulty.client() as client:
        body = body_of(question.prompt + SLOWLY, stream=False)
        request = json.dumps(body).encode()
        with connected(faulty) as connection:
            connection.sendall(head_of(faulty, GENERATE, len(request)) + request)
            assert eventually(lambda: reached_model(stand_in, question))
            with killed(faulty):
                seen = seen_in(read_answer(connection))
    del client
    assert is_defined(seen) or (seen.status, seen.body) == (0, b"")
    assert not leaks(seen.body, question.value)
    assert open_tokens(books) > 0
    books.flushall()
    serves(faulty, stand_in)


@contextlib.contextmanager
def connected(gateway: Gateway) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gateway.envoy.port), 10) as connection:
        yield connection


def head_of(gateway: Gateway, path: str, length: int) -> bytes:
    fields = {"host": "gateway", "content-length": str(length), **gateway.headers()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode()


@pytest.mark.parametrize("sent_share", [0.01, 0.5, 0.99])
def test_a_filter_killed_while_a_long_body_arrives_is_an_error(
    sent_share: float, faulty: Gateway, stand_in: StandIn, books: redis.Redis
):
    question = plant(stand_in)
    request = json.dumps(body_of(question.prompt + " padding" * 650_000)).encode()
    assert len(request) > 5_000_000
    sent = int(len(request) * sent_share)
    with connected(faulty) as connection:
        connection.sendall(head_of(faulty, STREAM, len(request)) + request[:sent])
        with killed(faulty):
            with contextlib.suppress(ConnectionError):
                connection.sendall(request[sent:])
            answer = read_answer(connection)

    seen = seen_in(answer)
    assert is_defined(seen) or answer == b""
    assert not reached_model(stand_in, question)
    assert open_tokens(books) == 0
    serves(faulty, stand_in)


# --- the verdict log -------------------------------------------------------------------------


@contextlib.contextmanager
def unwritable(gateway: Gateway) -> Iterator[None]:
    """The filter can write to no file: the kernel answers as a full disk would."""
    pid = gateway.headgate.pid
    assert pid is not None
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_a_filter_that_cannot_write_verdicts_takes_no_exchange(
    path: str, faulty: Gateway, stand_in: StandIn, books: redis.Redis
):
    with unwritable(faulty):

        def refused() -> Seen | None:
            seen = ask(faulty, plant(stand_in).prompt, path=path)
            return seen if seen.status != 200 else None

        # The first one after the fault finds it.
        first = eventually(refused)
        assert first is not None
        assert is_defined(first)
        question = plant(stand_in)
        seen = ask(faulty, question.prompt, path=path)
        assert is_defined(seen)
        assert not reached_model(stand_in, question)
    serves(faulty, stand_in)
    assert all_settled(books)
