"""The token budget in Redis: reserve before the model runs, settle once with what it used.

Three Lua scripts in ``lua/`` do the counting, one duty each, atomically and by Redis's own clock. A
tenant's account is three keys in one hash slot (``headgate:{tenant}:...``); they hold names of
reservations and numbers, and run out by themselves.

What counts against a limit: the tokens charged in the window's current bucket, the part of the bucket
before that still lies within the window (its charges taken as spread evenly), and all that is held. Two
buckets stand in for a log of every charge: no reservation ever takes that sum above the limit, while an
exact sliding log could show up to twice the limit where a full bucket was spent at its very end.

A charge lands in the window in which it is settled: a reservation of 11:59 that is settled at 12:01 was
held against the old window and is charged to the new one. A lease that runs out is charged in full at
the moment it did, in that window; a settlement that comes later gives back there what was too much. A
settlement without a reservation (Redis lost it, or it never arrived) is charged once.

Redis 6.2 or later, or Valkey; a user of its own needs no more than ``ACL_RIGHTS``. The eviction policy must
be ``noeviction``: an evicted account is a forgotten budget.

When Redis is gone every call raises DependencyError, and the guard's ``on_error`` decides: refuse, by
default. An allowance for that time would be a class with the same three methods around this one.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from extproc.domain.effects import Renewed, Reserved, Settled
from extproc.domain.errors import DependencyError, FailureKind
from extproc.domain.limits import LIMITS, Limits
from extproc.edge.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.credentials import CredentialProvider

    from extproc.domain.identity import Reservation

ACL_RIGHTS: Final = (
    "~headgate:* +eval +evalsha +script|load +client|setinfo +time "
    "+hgetall +hget +hset +hdel +zrangebyscore +zadd +zrem +pexpire"
)
"""What the ledger's user must be allowed, in the words of ACL SETUSER."""

# Redis 6.2 reports every failure within a script as one kind of error; only the words in it tell.
_READONLY: Final = "READONLY"
_WORDS: Final = (
    _READONLY,
    "OOM",
    "WRONGTYPE",
    "HGCLOSED",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "CROSSSLOT",
    "MOVED",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "LOADING",
    "BUSY",
)
_WORD_OF_TYPE: Final[dict[type[Exception], str]] = {
    ReadOnlyError: _READONLY,
    OutOfMemoryError: "OOM",
    BusyLoadingError: "LOADING",
}

_RESERVED_NUMBERS = 5
_SETTLED_NUMBERS = 2
_KEYS = 3


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the name that Redis knows it by."""

    text: str
    sha: str


@dataclass(frozen=True, slots=True)
class Scripts:
    """The three duties. Redis's clock is part of their text: nothing that a caller sends can shift it."""

    reserve: Script
    settle: Script
    renew: Script

    @classmethod
    def load(cls, clock: str | None = None) -> Scripts:
        """The scripts as shipped.

        ``clock`` is for tests alone, which cannot set Redis's time: Lua text in place of ``clock.lua``.
        """
        first = _lua("clock") if clock is None else clock
        shared = f"{first}\n{_lua('account')}"
        return cls(*(_script(f"{shared}\n{_lua(duty)}") for duty in ("reserve", "settle", "renew")))


def _lua(name: str) -> str:
    return files("extproc.edge").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def keys_of(tenant: str) -> tuple[str, str, str]:
    """A tenant's keys. Only what stands between the braces decides the slot, so a name has none itself."""
    slot = "{" + quote(tenant, safe="") + "}"
    return f"headgate:{slot}:account", f"headgate:{slot}:due", f"headgate:{slot}:reservations"


class Ledger:
    """The books of all tenants, for one process and one event loop.

    ``url`` is ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user and password for an ACL; its
    query takes redis-py's connection options, such as ``ssl_ca_certs``. Nothing connects before the first
    call. Every call ends within ``limits.ledger_deadline_ms``, waiting for a connection included. ``login``
    gives user and password in the url's place.

    Raises:
        ValueError: the url is none that redis-py understands.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Limits = LIMITS,
        scripts: Scripts | None = None,
        login: CredentialProvider | None = None,
    ) -> None:
        self._limits = limits
        self._scripts = scripts if scripts is not None else Scripts.load()
        self._fault = ""
        self._breaker = Breaker(failures_max=limits.ledger_failures_max, open_ms=limits.ledger_open_ms)
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=limits.ledger_connections_max,
            # The call's own deadline bounds waiting, connecting, sending and receiving together.
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=None,
            # RESP3 brings push messages that nobody here reads.
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            credential_provider=login,
        )
        try:
            # Makes an object and no connection: an option that the url may not have shows now, not later.
            self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
        except TypeError as error:
            raise ValueError("the ledger's url has an option that redis-py does not know") from error
        self._redis = Redis(connection_pool=self._pool)

    @property
    def available(self) -> bool:
        """Whether Redis answered of late; False while the circuit is open."""
        return not self._breaker.is_open

    async def reserve(self, reservation: Reservation) -> Reserved:
        """Hold tokens against every limit, or against none. The same reservation twice holds once.

        ``retry_after_ms`` is when the request fits if all that is held comes back and nothing else is
        asked; 0 where it never can, as it asks for more than a limit. ``reset_ms`` is when that limit's
        window is empty again if all that is held is charged.

        Raises:
            DependencyError: Redis did not answer, or the reservation was closed before.
            ValueError: it has no limits.
        """
        if not reservation.limits:
            raise ValueError("a reservation needs a limit")
        numbers = await self._run(
            "reserve",
            self._scripts.reserve,
            reservation,
            (reservation.tokens, reservation.lease_ms, *_windows(reservation, with_tokens=True)),
            answers=_RESERVED_NUMBERS,
        )
        granted, limit, remaining, retry_after_ms, reset_ms = numbers
        return Reserved(
            granted=granted == 1,
            limit=reservation.limits[limit],
            remaining=remaining,
            retry_after_ms=retry_after_ms,
            reset_ms=reset_ms,
        )

    async def settle(self, reservation: Reservation, tokens: int) -> Settled:
        """Charge ``tokens`` in place of what is held: one attempt. A repeat gives the first answer.

        Raises:
            DependencyError: Redis did not answer.
        """
        numbers = await self._run(
            "settle",
            self._scripts.settle,
            reservation,
            (tokens, self._limits.settled_remembered_ms, *_windows(reservation, with_tokens=False)),
            answers=_SETTLED_NUMBERS,
        )
        return Settled(charged=numbers[0], refunded=numbers[1])

    async def settle_until(self, reservation: Reservation, tokens: int) -> Settled:
        """Settle with up to ``limits.settle_attempts_max`` attempts and doubling pauses between them.

        Raises:
            DependencyError: none succeeded; the lease will run out and be charged in full.
        """
        pause_s = self._limits.settle_pause_first_ms / 1000
        for _ in range(self._limits.settle_attempts_max - 1):
            try:
                return await self.settle(reservation, tokens)
            except DependencyError:
                await asyncio.sleep(pause_s)
                pause_s *= 2
        return await self.settle(reservation, tokens)

    async def renew(self, reservation: Reservation) -> Renewed:
        """Let the lease begin anew.

        Raises:
            DependencyError: Redis did not answer.
        """
        numbers = await self._run(
            "renew", self._scripts.renew, reservation, (reservation.lease_ms,), answers=1
        )
        return Renewed(held=numbers[0] == 1)

    async def ready(self) -> bool:
        """Whether Redis is there and takes the scripts: loads them. Closes an open circuit where it is."""

        async def load() -> None:
            for script in (self._scripts.reserve, self._scripts.settle, self._scripts.renew):
                await self._command("SCRIPT LOAD", script.text)

        try:
            await self._bounded("ready", load)
        except DependencyError as error:
            cause = error.__cause__
            self._fault = _word(cause) if isinstance(cause, Exception) else error.kind
            return False
        self._fault = ""
        return True

    @property
    def fault(self) -> str:
        """Why ``ready`` said no the last time; empty where it said yes. One word, no secret."""
        return self._fault

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()
        await self._pool.disconnect()

    async def _run(
        self,
        duty: str,
        script: Script,
        reservation: Reservation,
        arguments: tuple[int, ...],
        *,
        answers: int,
    ) -> tuple[int, ...]:
        """Run a script of this reservation's tenant; gives its numbers, checked."""
        if not self._breaker.admit():
            raise DependencyError(FailureKind.UNAVAILABLE, f"redis {duty} (circuit open)")
        rest: tuple[str | int, ...] = (
            _KEYS,
            *keys_of(reservation.tenant),
            self._limits.expired_remembered_ms,
            reservation.reservation_id,
            *arguments,
        )

        async def ask() -> object:
            try:
                return await self._command("EVALSHA", script.sha, *rest)
            except NoScriptError:
                # Redis was restarted, or its scripts were flushed. EVAL runs it and keeps it.
                return await self._command("EVAL", script.text, *rest)

        return _numbers(duty, await self._bounded(duty, ask), answers)

    async def _command(self, *words: str | int) -> object:
        answer: object = await self._redis.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py
        return answer

    async def _bounded(self, duty: str, ask: Callable[[], Awaitable[object]]) -> object:
        """Ask within the deadline, tell the breaker how it went, and turn every failure into one type."""
        try:
            async with asyncio.timeout(self._limits.ledger_deadline_ms / 1000):
                answer = await ask()
        except (TimeoutError, RedisTimeoutError) as error:
            self._breaker.failed()
            raise DependencyError(FailureKind.DEADLINE, f"redis {duty}") from error
        except ResponseError as error:
            # An answer, if not the one that was wanted: Redis is there, and quick to say so.
            self._breaker.succeeded()
            word = _word(error)
            if word == _READONLY:
                # A failover made this one a replica; the name may lead to the new primary by now.
                await self._pool.disconnect(inuse_connections=False)
            raise DependencyError(FailureKind.UNAVAILABLE, f"redis {duty} ({word})") from error
        except asyncio.CancelledError:
            self._breaker.abandoned()
            raise
        except Exception as error:
            self._breaker.failed()
            raise DependencyError(FailureKind.UNAVAILABLE, f"redis {duty} ({_word(error)})") from error
        self._breaker.succeeded()
        return answer


def _windows(reservation: Reservation, *, with_tokens: bool) -> tuple[int, ...]:
    limits = reservation.limits
    if with_tokens:
        return tuple(n for limit in limits for n in (limit.window.duration_ms, limit.tokens))
    return tuple(limit.window.duration_ms for limit in limits)


def _word(error: Exception) -> str:
    """Redis's word for what went wrong, or the exception's type: never its text."""
    text = str(error)
    return next(
        (word for word in _WORDS if word in text), _WORD_OF_TYPE.get(type(error), type(error).__name__)
    )


def _numbers(duty: str, answer: object, count: int) -> tuple[int, ...]:
    numbers = answer if isinstance(answer, list) else [answer]
    if len(numbers) != count or not all(isinstance(number, int) for number in numbers):
        raise DependencyError(FailureKind.UNAVAILABLE, f"redis {duty} (unreadable answer)")
    return tuple(numbers)
