"""The admin endpoint: liveness, readiness and metrics over plain HTTP. Binds to loopback by default."""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_JSON = "application/json"
_PATHS = ("/healthz", "/readyz", "/metrics")


class AdminServer:
    """Answers ``/healthz`` while the process lives, ``/readyz`` once every part is ready, and ``/metrics``.

    Args:
        host: Where to listen.
        port: 0 picks a free one; see ``port``.
        ready: The parts by name and whether each is ready. Called from the server's own threads.
        metrics: All metrics and their content type, in the format that an Accept header asks for; likewise.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        ready: Callable[[], Mapping[str, bool]],
        metrics: Callable[[str], tuple[bytes, str]],
    ) -> None:
        self._server = ThreadingHTTPServer((host, port), _responder(ready, metrics))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_port

    def start(self) -> None:
        """Serve in a thread, so that a busy event loop does not look like a dead process."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _responder(
    ready: Callable[[], Mapping[str, bool]], metrics: Callable[[str], tuple[bytes, str]]
) -> type[BaseHTTPRequestHandler]:
    class Responder(BaseHTTPRequestHandler):
        server_version = "headgate"
        sys_version = ""
        timeout = 5

        def do_GET(self) -> None:
            match self.path:
                case "/healthz":
                    self._answer(HTTPStatus.OK, {"alive": True})
                case "/readyz":
                    parts = ready()
                    status = HTTPStatus.OK if all(parts.values()) else HTTPStatus.SERVICE_UNAVAILABLE
                    self._answer(status, parts)
                case "/metrics":
                    self._send(HTTPStatus.OK, *metrics(self.headers.get("accept", "")))
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, {"paths": _PATHS})

        def _answer(self, status: HTTPStatus, parts: Mapping[str, object]) -> None:
            self._send(status, json.dumps(parts).encode(), _JSON)

        def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's signature.
            """Probes are not worth a log line."""

    return Responder
