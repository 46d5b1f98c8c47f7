"""Whose turn it is: calls that wait, shared fairly by tenants. Not safe for use from several threads.

Work is counted in code points. A tenant's count goes up by a call's work when the call is taken, and the
tenant with the lowest count comes next. One that had nothing to do starts at the count of the call that
was taken last: neither in debt nor with what it did not use.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

# Work of a call beside its text, in code points: the shortest window still costs an inference.
_CALL_CHARS: Final = 64
# A call passes one that is under way only where it has at most this share of its work. So each that passes
# another delays it little, and at most a dozen or so stand on one another.
_SHORTER: Final = 0.5


class Call(Protocol):
    """What waits."""

    @property
    def tenant(self) -> str:
        """Whose share it uses."""

    @property
    def places(self) -> int:
        """The places that it takes while it waits."""

    @property
    def chars(self) -> int:
        """Its work in code points."""


_C = TypeVar("_C", bound=Call)


@dataclass(slots=True, eq=False)
class _Tenant(Generic[_C]):
    """One tenant's calls that wait, in order, and the work that it got."""

    used: int
    waiting: deque[_C] = field(default_factory=deque)
    places: int = 0


class Turns(Generic[_C]):
    """The queue.

    ``places_max`` bounds what waits, ``tenant_places_max`` what waits of one tenant; a tenant with nothing
    waiting may always add one call that fits into the whole.
    """

    def __init__(self, places_max: int, tenant_places_max: int) -> None:
        self._places_max = places_max
        self._tenant_places_max = tenant_places_max
        self._tenants: dict[str, _Tenant[_C]] = {}
        self._floor = 0
        self._under_way = 0
        self.places = 0

    def __bool__(self) -> bool:
        return self.places > 0

    def add(self, call: _C) -> list[_C] | None:
        """Let a call wait; gives the calls that had to leave for it, or None where it must not wait.

        Who has to leave is the newest call of the tenant with most places, as long as it has more than the
        new call's tenant would.
        """
        self._drop_idle()
        tenant = self._tenants.get(call.tenant)
        held = 0 if tenant is None else tenant.places
        if held and held + call.places > self._tenant_places_max:
            return None
        leaving = self._leaving(call, held)
        if leaving is None:
            return None
        for other in leaving:
            self.remove(other)
        if tenant is None:
            tenant = self._tenants[call.tenant] = _Tenant(self._floor)
        elif not tenant.waiting:
            tenant.used = max(tenant.used, self._floor)
        tenant.waiting.append(call)
        tenant.places += call.places
        self.places += call.places
        return leaving

    def take(self) -> _C | None:
        """The next call."""
        waiting = [tenant for tenant in self._tenants.values() if tenant.waiting]
        return self._taken(min(waiting, key=_used)) if waiting else None

    def take_before(self, call: _C) -> _C | None:
        """A call that may pass one that was taken: a shorter one of a tenant that used less."""
        own = self._tenants.get(call.tenant)
        if own is None:
            return None
        longest = _SHORTER * _work(call)
        passing = [
            tenant
            for tenant in self._tenants.values()
            if tenant.waiting and tenant.used < own.used and _work(tenant.waiting[0]) <= longest
        ]
        return self._taken(min(passing, key=_used)) if passing else None

    def done(self) -> None:
        """A call that was taken has ended. With the last one all counts start anew."""
        self._under_way -= 1
        if not self._under_way and not self:
            self._tenants.clear()
            self._floor = 0

    def remove(self, call: _C) -> bool:
        """Let a call leave; whether it waited."""
        tenant = self._tenants.get(call.tenant)
        if tenant is None or call not in tenant.waiting:
            return False
        tenant.waiting.remove(call)
        self._left(tenant, call)
        return True

    def clear(self) -> list[_C]:
        """Let all leave."""
        left = [call for tenant in self._tenants.values() for call in tenant.waiting]
        for call in left:
            self.remove(call)
        return left

    def _leaving(self, call: _C, held: int) -> list[_C] | None:
        places = {name: tenant.places for name, tenant in self._tenants.items()}
        newest = {name: list(tenant.waiting) for name, tenant in self._tenants.items()}
        over = self.places + call.places - self._places_max
        leaving: list[_C] = []
        while over > 0:
            most = max(places, key=places.__getitem__, default=None)
            if most is None or places[most] <= held + call.places:
                return None
            other = newest[most].pop()
            places[most] -= other.places
            over -= other.places
            leaving.append(other)
        return leaving

    def _taken(self, tenant: _Tenant[_C]) -> _C:
        call = tenant.waiting.popleft()
        self._left(tenant, call)
        self._floor = max(self._floor, tenant.used)
        tenant.used += _work(call)
        self._under_way += 1
        return call

    def _left(self, tenant: _Tenant[_C], call: _C) -> None:
        tenant.places -= call.places
        self.places -= call.places

    def _drop_idle(self) -> None:
        """Forget who waits for nothing and starts at the floor anyway."""
        for name, tenant in tuple(self._tenants.items()):
            if not tenant.waiting and tenant.used <= self._floor:
                del self._tenants[name]


def _used(tenant: _Tenant[_C]) -> int:
    return tenant.used


def _work(call: Call) -> int:
    return call.chars + _CALL_CHARS * call.places
