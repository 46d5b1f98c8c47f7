"""A ledger whose scripts read the test's clock, driven from synchronous code."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import redis
from ledger_oracle import CLOCK_KEY, TEST_CLOCK

from extproc.domain.effects import Renewed, Reserved, Settled
from extproc.domain.identity import Reservation, TokenLimit, Window
from extproc.domain.limits import LIMITS
from extproc.edge.ledger import Ledger, Scripts, keys_of

MINUTE = TokenLimit(window=Window.MINUTE, tokens=1_000)
HOUR = TokenLimit(window=Window.HOUR, tokens=3_000)
DAY = TokenLimit(window=Window.DAY, tokens=5_000)
LIMITS_OF_TENANT = (MINUTE, HOUR, DAY)
LEASE_MS = 120_000
# Where an answer is expected, however loaded the machine is.
PATIENT = replace(LIMITS, ledger_deadline_ms=30_000)
# Some start of a day, so that all windows roll from there.
START = 20_000 * Window.DAY.duration_ms


def reservation(
    name: str = "r",
    tokens: int = 100,
    *,
    tenant: str = "acme",
    limits: tuple[TokenLimit, ...] = LIMITS_OF_TENANT,
    lease_ms: int = LEASE_MS,
) -> Reservation:
    return Reservation(reservation_id=name, tenant=tenant, tokens=tokens, limits=limits, lease_ms=lease_ms)


class Clocked:
    """The ledger, an ordinary client beside it, and the clock of both."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.raw = redis.Redis.from_url(url, decode_responses=True)
        self.raw.flushall()
        self._url = url
        self.ledger = Ledger(url, limits=PATIENT, scripts=Scripts.load(clock=TEST_CLOCK))
        self.at(START)

    def at(self, now: int) -> None:
        self.now = now
        self.raw.set(CLOCK_KEY, now)

    def reserve(self, one: Reservation) -> Reserved:
        return self._runner.run(self.ledger.reserve(one))

    def settle(self, one: Reservation, tokens: int) -> Settled:
        return self._runner.run(self.ledger.settle(one, tokens))

    def renew(self, one: Reservation) -> Renewed:
        return self._runner.run(self.ledger.renew(one))

    def held(self, tenant: str = "acme") -> int:
        return int(str(self.raw.hget(keys_of(tenant)[0], "held") or 0))

    def reconnect(self) -> None:
        """What a crash of the service leaves: nothing but the books."""
        self._runner.run(self.ledger.close())
        self.ledger = Ledger(self._url, limits=PATIENT, scripts=Scripts.load(clock=TEST_CLOCK))

    def close(self) -> None:
        self._runner.run(self.ledger.close())
        self._runner.close()
        self.raw.close()
