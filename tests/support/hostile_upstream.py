"""A server that answers with any bytes it was told, in Triton's place."""

from __future__ import annotations

import re
import socketserver
import threading
from typing import Self

_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


def whole(
    body: bytes, *fields: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json"
) -> bytes:
    """An answer with a body of known length, under ``fields``."""
    own = (b"content-type: " + kind, b"content-length: %d" % len(body))
    return b"\r\n".join([b"HTTP/1.1 " + status, *own, *fields, b"", body])


def events(*documents: bytes) -> bytes:
    """An answer of events."""
    return whole(b"".join(b"data: " + one + b"\n\n" for one in documents), kind=b"text/event-stream")


class HostileUpstream:
    """Answers every request with the bytes that were told for its path.

    Use it as a context manager; ``port`` is where it listens. ``answers`` may change while it runs.
    ``asked`` are the requests so far, whole.
    """

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[bytes] = []
        upstream = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while (request := _request(self)) is not None:
                    upstream.asked.append(request)
                    path = request.split(b" ", 2)[1].decode()
                    self.wfile.write(upstream.answers.get(path, whole(b"{}")))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Connection)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _request(connection: socketserver.StreamRequestHandler) -> bytes | None:
    """One request with its body; None where the peer has gone."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = connection.rfile.readline()
        if not line:
            return None
        head += line
    length = _LENGTH.search(head)
    if length is not None:
        return head + connection.rfile.read(int(length[1]))
    body = b""
    while b"chunked" in head.lower() and not body.endswith(b"0\r\n\r\n"):
        line = connection.rfile.readline()
        if not line:
            return None
        body += line
    return head + body
