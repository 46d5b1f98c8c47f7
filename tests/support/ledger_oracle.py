"""What the ledger's books must say, kept as a plain list of charges and counted anew at every question."""

from __future__ import annotations

from dataclasses import dataclass, field

from extproc.domain.identity import Reservation, TokenLimit
from extproc.domain.limits import LIMITS

# Redis's time cannot be set. A test's scripts read this key in its place; the shipped ones know none.
CLOCK_KEY = "test-clock"
TEST_CLOCK = f"local function clock_ms() return tonumber(redis.call('GET', '{CLOCK_KEY}')) end"


@dataclass
class Charge:
    at: int
    tokens: int


@dataclass
class Entry:
    tokens: int
    due: int
    charge: Charge | None = None
    settled: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        return self.charge is None and self.settled is None


@dataclass
class Books:
    """One tenant's books. Every method takes the time of the call first."""

    charges: list[Charge] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(one.tokens for one in self.entries.values() if one.is_open)

    def counted(self, now: int, limit: TokenLimit) -> int:
        """What counts against a limit."""
        before, used = self._buckets(now, limit)
        left = (now // limit.window.duration_ms + 1) * limit.window.duration_ms - now
        return -(-before * left // limit.window.duration_ms) + used + self.held

    def reserve(self, now: int, reservation: Reservation) -> tuple[bool, int] | None:
        """Whether it is granted, and what its limit has left; None where it must fail."""
        self._reap(now)
        known = self.entries.get(reservation.reservation_id)
        left = {limit: limit.tokens - self.counted(now, limit) for limit in reservation.limits}
        if known is not None:
            if not known.is_open or known.tokens != reservation.tokens:
                return None
            return True, max(min(left.values()), 0)
        if min(left.values()) < reservation.tokens:
            return False, max(min(left.values()), 0)
        self.entries[reservation.reservation_id] = Entry(reservation.tokens, now + reservation.lease_ms)
        return True, min(left.values()) - reservation.tokens

    def settle(self, now: int, reservation_id: str, tokens: int) -> tuple[int, int]:
        """What was charged and what was given back."""
        self._reap(now)
        entry = self.entries.setdefault(reservation_id, Entry(0, 0))
        if entry.settled is not None:
            return entry.settled
        if entry.charge is None or tokens > entry.tokens:
            excess = tokens if entry.charge is None else tokens - entry.tokens
            self.charges.append(Charge(now, excess))
        else:
            entry.charge.tokens = tokens
        entry.settled = (tokens, max(entry.tokens - tokens, 0))
        entry.due = now + LIMITS.settled_remembered_ms
        return entry.settled

    def renew(self, now: int, reservation: Reservation) -> bool:
        """Whether it is still held."""
        self._reap(now)
        entry = self.entries.get(reservation.reservation_id)
        if entry is None or not entry.is_open:
            return False
        entry.due = now + reservation.lease_ms
        return True

    def _buckets(self, now: int, limit: TokenLimit) -> tuple[int, int]:
        duration = limit.window.duration_ms
        totals = {now // duration - 1: 0, now // duration: 0}
        for charge in self.charges:
            if charge.at // duration in totals:
                totals[charge.at // duration] += charge.tokens
        before, used = totals.values()
        return before, used

    def _reap(self, now: int) -> None:
        for reservation_id, entry in tuple(self.entries.items()):
            if entry.due > now:
                continue
            if entry.is_open:
                entry.charge = Charge(entry.due, entry.tokens)
                self.charges.append(entry.charge)
                entry.due += LIMITS.expired_remembered_ms
            else:
                del self.entries[reservation_id]
