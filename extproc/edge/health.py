"""The gRPC health protocol (grpc.health.v1), by which Envoy chooses among workers, and a probe for people.

A worker says SERVING while it would take a new stream. What only makes single exchanges refused, such as a
Redis that is gone, does not change it: the client then gets the guard's own refusal, with its record.
"""

from __future__ import annotations

import http.client
import json
import logging
from typing import TYPE_CHECKING, Final

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from extproc.domain.limits import LIMITS
from extproc.edge.translate import METHOD

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

LOG = logging.getLogger("headgate.ready")

# By the service's name, as Envoy's check asks, and as a whole, as Kubernetes' does.
NAMES: Final = (METHOD.strip("/").partition("/")[0], "")
_READY_PATH: Final = "/readyz"
# Far above what this service's own answer takes.
_READY_BYTES_MAX: Final = 4_096
_NO_ANSWER: Final = "no answer"
_STATUS: Final = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


class Health:
    """Answers ``Check`` and ``Watch``: NOT_SERVING until told otherwise."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._serving: bool | None = None

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it on ``server``, which has not started."""
        # The package's own beginning is SERVING.
        await self.set(serving=False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, *, serving: bool) -> None:
        """Say from now on whether a new stream would be taken."""
        if serving is self._serving:
            return
        self._serving = serving
        for name in NAMES:
            await self._servicer.set(name, _STATUS[serving])


class ReadyLog:
    """Tells the operator which parts are not ready, once and again whenever that changes.

    Args:
        advice: For a part, what its absence means and what to do. Others are only named.
    """

    def __init__(self, advice: Mapping[str, str]) -> None:
        self._advice = advice
        self._missing: tuple[str, ...] = ()

    def look(self, parts: Mapping[str, bool], *, why: Mapping[str, str]) -> None:
        """Take the parts as they are now; ``why`` says more of some, and is logged with them."""
        missing = tuple(name for name, ready in parts.items() if not ready)
        if missing == self._missing:
            return
        self._missing = missing
        for name in missing:
            words = (f"{name} ({why[name]})" if name in why else name, self._advice.get(name))
            LOG.warning("not ready: %s", "; ".join(word for word in words if word))
        if not missing:
            LOG.info("every part is ready again")


def missing_parts(host: str, port: int) -> tuple[str, ...]:
    """What the admin endpoint there says is not ready; nothing where all is.

    ``no answer`` stands for an endpoint that is not there or is not ours.
    """
    connection = http.client.HTTPConnection(host, port, timeout=LIMITS.ready_probe_ms / 1000)
    try:
        connection.request("GET", _READY_PATH)
        parts = json.loads(connection.getresponse().read(_READY_BYTES_MAX))
    except (OSError, http.client.HTTPException, ValueError):
        return (_NO_ANSWER,)
    finally:
        connection.close()
    if not isinstance(parts, dict) or "serving" not in parts:
        return (_NO_ANSWER,)
    return tuple(name for name, ready in parts.items() if ready is not True)


def is_ready(host: str, port: int) -> bool:
    """Whether the admin endpoint there says that every part is ready; False where nobody answers."""
    return not missing_parts(host, port)
