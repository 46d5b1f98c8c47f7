"""The gRPC health protocol (grpc.health.v1), by which Envoy chooses among workers, and a probe for people.

A worker says SERVING while it would take a new stream. What only makes single exchanges refused, such as a
Redis that is gone, does not change it: the client then gets the guard's own refusal, with its record.
"""

from __future__ import annotations

import http.client
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from extproc.domain.limits import LIMITS
from extproc.edge.translate import METHOD

if TYPE_CHECKING:
    import grpc

# By the service's name, as Envoy's check asks, and as a whole, as Kubernetes' does.
NAMES: Final = (METHOD.strip("/").partition("/")[0], "")
_READY_PATH: Final = "/readyz"
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


def is_ready(host: str, port: int) -> bool:
    """Whether the admin endpoint there says that every part is ready; False where nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=LIMITS.ready_probe_ms / 1000)
    try:
        connection.request("GET", _READY_PATH)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
