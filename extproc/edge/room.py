"""The room that streams take in a process, shared among tenants: open streams, and request bodies held.

One tenant can fill its own share and no more, so that the others still find room.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extproc.domain.limits import Limits


class Room:
    """Counts of one process. ``held_bytes`` and ``streams`` are over all tenants."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._streams: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self.held_bytes = 0

    @property
    def streams(self) -> int:
        """Streams of known tenants that are open."""
        return self._streams.total()

    def seat(self) -> Seat:
        """The place of one stream, to be left when it ends."""
        return Seat(self)

    def enter(self, tenant: str) -> bool:
        """One more stream of a tenant; False, and none, where its share is full."""
        if self._streams[tenant] >= self._limits.tenant_streams_open_max:
            return False
        self._streams[tenant] += 1
        return True

    def take(self, tenant: str, count: int) -> bool:
        """``count`` more bytes for a tenant; False, and none, where they do not fit."""
        if self._bytes[tenant] + count > self._limits.tenant_bodies_bytes_max:
            return False
        if self.held_bytes + count > self._limits.bodies_bytes_max:
            return False
        self._bytes[tenant] += count
        self.held_bytes += count
        return True

    def leave(self, tenant: str, *, entered: bool, count: int) -> None:
        """A stream has ended: give back what it had. Tenants without any are forgotten."""
        if entered:
            self._streams[tenant] -= 1
            if not self._streams[tenant]:
                del self._streams[tenant]
        self._bytes[tenant] -= count
        self.held_bytes -= count
        if not self._bytes[tenant]:
            del self._bytes[tenant]


class Seat:
    """What one stream takes of the room."""

    __slots__ = ("_bytes", "_entered", "_room", "_tenant")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._tenant = ""
        self._entered = False
        self._bytes = 0

    def enter(self, tenant: str) -> bool:
        """The stream's caller is known; what it holds already moves to its tenant's share."""
        held = self._bytes
        self.leave()
        self._tenant = tenant
        self._entered = self._room.enter(tenant)
        return self._entered and self.take(held)

    def take(self, count: int) -> bool:
        """Hold ``count`` more bytes of body; False where they do not fit."""
        if not self._room.take(self._tenant, count):
            return False
        self._bytes += count
        return True

    def hold(self, count: int) -> bool:
        """Hold ``count`` bytes from now on; False, and as many as before, where they do not fit."""
        if count >= self._bytes:
            return count == self._bytes or self.take(count - self._bytes)
        self._room.leave(self._tenant, entered=False, count=self._bytes - count)
        self._bytes = count
        return True

    def leave(self) -> None:
        """Give everything back."""
        self._room.leave(self._tenant, entered=self._entered, count=self._bytes)
        self._entered = False
        self._bytes = 0
