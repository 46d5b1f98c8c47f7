"""The head of an HTTP message as Envoy shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """Method, normalised path and headers of a request.

    ``path`` is ``:path`` without its query; ``query`` is what stood behind ``?`` or None. Header
    names are lower case. A name that came more than once maps to all its values in order.
    """

    method: str
    path: str
    query: str | None = None
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def header(self, name: str) -> str | None:
        """The value of a header that stands exactly once; None where absent or repeated."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """Status and headers of the upstream's answer; names are lower case."""

    status: int
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def header(self, name: str) -> str | None:
        """The value of a header that stands exactly once; None where absent or repeated."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEdits:
    """What to change on a head before it goes on: names are lower case, removals come first."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
