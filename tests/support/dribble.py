"""A TCP relay between Envoy and its upstream that cuts what passes into pieces."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Dribble:
    """Relays connections to a port of this machine, answers in pieces of ``piece_bytes``.

    Use it as a context manager; ``port`` is where it listens.
    """

    def __init__(self, to_port: int, *, piece_bytes: int) -> None:
        self._to_port = to_port
        self._piece_bytes = piece_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would not wake the thread that accepts.
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self._to_port))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += (client, upstream)
            for source, sink, piece in ((client, upstream, 65_536), (upstream, client, self._piece_bytes)):
                threading.Thread(target=_relay, args=(source, sink, piece), daemon=True).start()


def _relay(source: socket.socket, sink: socket.socket, piece_bytes: int) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(65_536):
            for at in range(0, len(received), piece_bytes):
                sink.sendall(received[at : at + piece_bytes])
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
