"""What the ledger does when Redis does not do as it should. On a real Valkey."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest
import redis
from clocked_ledger import reservation

from extproc.demo.parts import Valkey
from extproc.domain.effects import Renewed, Settled
from extproc.domain.errors import DependencyError, FailureKind
from extproc.domain.limits import LIMITS
from extproc.edge.ledger import ACL_RIGHTS, Ledger, keys_of

# Long enough for a loaded machine where an answer is expected; an open circuit lets every call try.
PATIENT = replace(LIMITS, ledger_deadline_ms=30_000, ledger_open_ms=0, settle_pause_first_ms=1)
HASTY = replace(PATIENT, ledger_deadline_ms=100)


class SocketValkey(Valkey):
    """Listens on a Unix socket too."""

    def command(self):
        return [*super().command(), "--unixsocket", "s"]


@asynccontextmanager
async def opened(url, limits=PATIENT):
    ledger = Ledger(url, limits=limits)
    try:
        yield ledger
    finally:
        await ledger.close()


@contextmanager
def client(valkey):
    with redis.Redis.from_url(valkey.url, decode_responses=True) as one:
        yield one


@contextmanager
def paused(valkey):
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


async def failure_of(call):
    with pytest.raises(DependencyError) as raised:
        await call
    return raised.value


def run(coroutine):
    return asyncio.run(coroutine)


# --- gone, hanging, back ---------------------------------------------------------------------


def test_nothing_listens(own_valkey):
    valkey = own_valkey()
    valkey.kill()

    async def ask():
        async with opened(valkey.url) as ledger:
            return [
                (await failure_of(call)).kind
                for call in (
                    ledger.reserve(reservation()),
                    ledger.settle(reservation(), 1),
                    ledger.renew(reservation()),
                )
            ], await ledger.ready()

    assert run(ask()) == ([FailureKind.UNAVAILABLE] * 3, False)


def test_killed_between_reservation_and_settlement_and_started_again(own_valkey):
    valkey = own_valkey()

    async def live_through():
        async with opened(valkey.url) as ledger:
            assert (await ledger.reserve(reservation(tokens=400))).granted
            valkey.kill()
            failures = [await failure_of(ledger.settle(reservation(tokens=400), 9)) for _ in range(3)]
            assert {failure.kind for failure in failures} == {FailureKind.UNAVAILABLE}
            assert not ledger.available
            valkey.start()
            valkey.wait_ready()
            # The books were in memory only: the settlement is an orphan, and charged all the same.
            assert await ledger.settle(reservation(tokens=400), 9) == Settled(charged=9, refunded=0)
            assert ledger.available
            assert (await ledger.reserve(reservation("next", 1))).remaining == 990

    run(live_through())


def test_an_open_circuit_asks_nothing(own_valkey, monkeypatch):
    valkey = own_valkey()
    valkey.kill()

    async def ask():
        async with opened(valkey.url, replace(PATIENT, ledger_open_ms=3_600_000)) as ledger:
            for _ in range(LIMITS.ledger_failures_max):
                await failure_of(ledger.reserve(reservation()))
            asked = []

            async def command(*words):
                asked.append(words)

            monkeypatch.setattr(ledger, "_command", command)
            return str(await failure_of(ledger.reserve(reservation()))), asked

    assert run(ask()) == ("redis reserve (circuit open): unavailable", [])


def test_ready_closes_an_open_circuit(own_valkey):
    valkey = own_valkey()
    valkey.kill()

    async def live_through():
        async with opened(valkey.url, replace(PATIENT, ledger_open_ms=3_600_000)) as ledger:
            for _ in range(LIMITS.ledger_failures_max):
                await failure_of(ledger.reserve(reservation()))
            valkey.start()
            valkey.wait_ready()
            await failure_of(ledger.reserve(reservation()))
            assert await ledger.ready()
            assert ledger.fault == ""
            valkey.kill()
            assert not await ledger.ready()
            assert ledger.fault == "ConnectionError"
            valkey.start()
            valkey.wait_ready()
            assert await ledger.ready()
            assert (await ledger.reserve(reservation())).granted

    run(live_through())


def test_a_server_that_hangs_costs_the_deadline_and_answers_to_its_own_questions_later(own_valkey):
    valkey = own_valkey()

    async def live_through():
        async with opened(valkey.url, HASTY) as ledger:
            await ledger.ready()
            with paused(valkey):
                calls = [ledger.reserve(reservation(f"r{index}", 10)) for index in range(40)]
                failures = await asyncio.gather(*map(failure_of, calls))
            assert FailureKind.DEADLINE in {failure.kind for failure in failures}
        async with opened(valkey.url) as ledger:
            settled = [await ledger.settle(reservation(f"r{index}", 10), index) for index in range(40)]
            assert [one.charged for one in settled] == list(range(40))

    run(live_through())


def test_the_answer_to_a_cancelled_call_is_not_the_next_ones():
    asked, late = asyncio.Event(), asyncio.Event()
    connections = []

    async def serve(reader, writer):
        connections.append(writer)
        first = len(connections) == 1
        while line := await reader.readline():
            if b"SETINFO" in line:
                writer.write(b"+OK\r\n")
            if b"EVALSHA" in line and first:
                asked.set()
                await late.wait()
                writer.write(b":1\r\n")
            elif b"EVALSHA" in line:
                writer.write(b":0\r\n")
        writer.close()

    async def live_through():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        limits = replace(PATIENT, ledger_connections_max=1)
        async with server, opened(f"redis://127.0.0.1:{port}", limits) as ledger:
            waiting = asyncio.create_task(ledger.renew(reservation("a")))
            await asked.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            late.set()
            assert await ledger.renew(reservation("b")) == Renewed(held=False)
            assert ledger.available

    run(live_through())


def test_more_calls_at_once_than_connections_all_get_their_own_answer(valkey):
    async def ask():
        async with opened(valkey.url, replace(PATIENT, ledger_connections_max=2)) as ledger:
            answers = await asyncio.gather(
                *(ledger.settle(reservation(f"r{index}"), index) for index in range(100))
            )
            with client(valkey) as raw:
                ours = [one for one in raw.client_list() if one["cmd"].startswith("eval")]
            return [answer.charged for answer in answers], len(ours)

    charged, connections = run(ask())
    assert charged == list(range(100))
    assert 1 <= connections <= 2


# --- what it answers instead -----------------------------------------------------------------


@pytest.mark.parametrize("duty", ["reserve", "settle", "renew"])
def test_flushed_scripts_are_brought_again(valkey, duty):
    async def ask():
        async with opened(valkey.url) as ledger:
            assert await ledger.ready()
            await ledger.reserve(reservation())
            with client(valkey) as raw:
                raw.script_flush()
            match duty:
                case "reserve":
                    return (await ledger.reserve(reservation())).granted
                case "settle":
                    return await ledger.settle(reservation(), 40)
                case _:
                    return (await ledger.renew(reservation())).held

    assert run(ask()) == (Settled(charged=40, refunded=60) if duty == "settle" else True)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_key_of_another_type_fails_its_tenant_alone_and_changes_nothing(valkey, index):
    wrong = keys_of("acme")[index]

    async def ask(raw):
        async with opened(valkey.url) as ledger:
            raw.set(wrong, "text")
            for _ in range(5):
                assert "WRONGTYPE" in str(await failure_of(ledger.reserve(reservation())))
            assert (await failure_of(ledger.settle(reservation(), 5))).kind is FailureKind.UNAVAILABLE
            assert raw.keys("*") == [wrong]
            assert ledger.available
            assert (await ledger.reserve(reservation(tenant="other"))).granted
            raw.delete(wrong)
            assert (await ledger.reserve(reservation())).remaining == 900

    with client(valkey) as raw:
        run(ask(raw))


@pytest.mark.parametrize(
    "fields",
    [{"held": "many"}, {"60000": "1 2"}, {"60000": "-1 0 0"}, {"day": "1 2 3"}, {"60000": "1 2 3 4"}],
)
def test_an_account_that_is_not_as_written_fails_and_stays(valkey, fields):
    account = keys_of("acme")[0]

    async def ask(raw):
        async with opened(valkey.url) as ledger:
            raw.hset(account, mapping=fields)
            failures = [
                await failure_of(ledger.reserve(reservation())),
                await failure_of(ledger.settle(reservation(), 5)),
            ]
            assert {failure.kind for failure in failures} == {FailureKind.UNAVAILABLE}
            assert raw.hgetall(account) == fields
            assert raw.keys("*") == [account]

    with client(valkey) as raw:
        run(ask(raw))


def test_a_full_server_refuses_and_changes_nothing_and_takes_the_settlement_later(own_valkey):
    valkey = own_valkey()

    async def live_through(raw):
        async with opened(valkey.url) as ledger:
            await ledger.reserve(reservation(tokens=400))
            before = {key: raw.dump(key) for key in raw.keys("*")}
            raw.config_set("maxmemory", 1)
            assert "(OOM)" in str(await failure_of(ledger.reserve(reservation("b"))))
            assert (
                await failure_of(ledger.settle(reservation(tokens=400), 9))
            ).kind is FailureKind.UNAVAILABLE
            raw.config_set("maxmemory", 0)
            assert {key: raw.dump(key) for key in raw.keys("*")} == before
            assert await ledger.settle(reservation(tokens=400), 9) == Settled(charged=9, refunded=391)

    with redis.Redis.from_url(valkey.url) as raw:
        run(live_through(raw))


def test_a_replica_refuses_until_it_is_a_primary_again(own_valkey):
    valkey = own_valkey()

    async def live_through(raw):
        async with opened(valkey.url) as ledger:
            await ledger.ready()
            raw.replicaof("127.0.0.1", "1")
            assert "(READONLY)" in str(await failure_of(ledger.reserve(reservation())))
            raw.replicaof("NO", "ONE")
            assert (await ledger.reserve(reservation())).granted

    with client(valkey) as raw:
        run(live_through(raw))


@pytest.mark.parametrize(
    "answer",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"*5\r\n$1\r\na\r\n:0\r\n:0\r\n:0\r\n:0\r\n",
        b"?!\r\n",
        b"",
    ],
)
def test_a_server_that_is_no_redis_grants_nothing(answer):
    async def serve(reader, writer):
        while line := await reader.readline():
            if b"SETINFO" in line:
                writer.write(b"+OK\r\n")
            if b"EVALSHA" in line:
                writer.write(answer)
                if not answer:
                    break
        writer.close()

    async def ask():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, opened(f"redis://127.0.0.1:{port}", HASTY) as ledger:
            return await failure_of(ledger.reserve(reservation()))

    assert run(ask()).kind in {FailureKind.UNAVAILABLE, FailureKind.DEADLINE}


# --- settle_until ----------------------------------------------------------------------------


def settling(monkeypatch, ledger, failures):
    attempts = []
    settle = ledger.settle

    async def attempt(one, tokens):
        attempts.append((one.reservation_id, tokens))
        if len(attempts) <= failures:
            raise DependencyError(FailureKind.UNAVAILABLE, "redis settle")
        return await settle(one, tokens)

    monkeypatch.setattr(ledger, "settle", attempt)
    return attempts


@pytest.mark.parametrize("failures", [0, 1, LIMITS.settle_attempts_max - 1])
def test_a_settlement_is_tried_until_it_succeeds(valkey, monkeypatch, failures):
    async def ask():
        async with opened(valkey.url) as ledger:
            attempts = settling(monkeypatch, ledger, failures)
            return await ledger.settle_until(reservation("s"), 12), attempts

    assert run(ask()) == (Settled(charged=12, refunded=0), [("s", 12)] * (failures + 1))


def test_a_settlement_is_given_up_after_its_attempts(valkey, monkeypatch):
    async def ask():
        async with opened(valkey.url) as ledger:
            attempts = settling(monkeypatch, ledger, LIMITS.settle_attempts_max)
            return (await failure_of(ledger.settle_until(reservation(), 12))).kind, len(attempts)

    assert run(ask()) == (FailureKind.UNAVAILABLE, LIMITS.settle_attempts_max)


# --- urls, credentials -----------------------------------------------------------------------


def test_a_unix_socket(own_valkey):
    valkey = own_valkey(SocketValkey)

    async def ask():
        async with opened(f"unix://{valkey.state}/s?db=0") as ledger:
            return await ledger.ready(), (await ledger.reserve(reservation())).granted

    assert run(ask()) == (True, True)


def test_a_user_with_no_more_than_the_documented_rights(own_valkey):
    valkey = own_valkey()
    password = "p@ss/word"

    async def live_through(raw):
        raw.execute_command("ACL", "SETUSER", "headgate", "on", f">{password}", *ACL_RIGHTS.split())
        url = valkey.url.replace("redis://", "redis://headgate:p%40ss%2Fword@")
        async with opened(url) as ledger:
            assert await ledger.ready()
            raw.script_flush()
            assert (await ledger.reserve(reservation(tokens=400))).granted
            assert (await ledger.renew(reservation(tokens=400))).held
            assert await ledger.settle(reservation(tokens=400), 9) == Settled(charged=9, refunded=391)
        async with opened(url.replace("p%40", "P%40")) as ledger:
            failure = await failure_of(ledger.reserve(reservation()))
            assert failure.kind is FailureKind.UNAVAILABLE
            assert password not in str(failure)
            assert not await ledger.ready()

    with client(valkey) as raw:
        run(live_through(raw))


def test_rediss_is_tls_that_checks_who_answers():
    ledger = Ledger("rediss://books.example:6380/0?ssl_ca_certs=ca.pem")
    connection = ledger._pool.make_connection()
    assert type(connection).__name__ == "SSLConnection"
    assert (connection.ssl_context.cert_reqs.name, connection.ssl_context.check_hostname) == (
        "CERT_REQUIRED",
        True,
    )


def test_plain_redis_is_no_answer_to_tls(valkey):
    async def ask():
        async with opened(valkey.url.replace("redis://", "rediss://"), HASTY) as ledger:
            return (await failure_of(ledger.reserve(reservation()))).kind

    assert run(ask()) in {FailureKind.UNAVAILABLE, FailureKind.DEADLINE}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "", "127.0.0.1:6379", "redis://127.0.0.1?no_such_option=1"]
)
def test_a_url_that_cannot_be_used_is_said_at_once(url):
    with pytest.raises(ValueError):  # noqa: PT011 - redis-py's own words.
        Ledger(url)
