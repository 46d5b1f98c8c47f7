"""A gRPC server that answers with any heads, bytes and trailers it was told, in Triton's place."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

_READ_BYTES = 65_536
Fields = Sequence[tuple[str, str]]
SOUND: Fields = ((":status", "200"), ("content-type", "application/grpc"))


@dataclass(frozen=True)
class Told:
    """An answer: its head, its DATA frames, its trailers. Without these it ends with what came before."""

    head: Fields = SOUND
    data: Sequence[bytes] = ()
    trailers: Fields = (("grpc-status", "0"),)


class HostileGrpc:
    """Answers every call with ``answer``, once the client has ended. Use it as a context manager.

    ``answer`` may depend on the call's head.
    """

    def __init__(self) -> None:
        self.answer: Told | Callable[[Mapping[str, str]], Told] = Told()
        self.heads: list[dict[str, str]] = []
        upstream = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
                    _serve(self.request, upstream)

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


def _serve(peer: socket.socket, upstream: HostileGrpc) -> None:
    settings = h2.config.H2Configuration(
        client_side=False,
        header_encoding="latin-1",
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = h2.connection.H2Connection(settings)
    connection.initiate_connection()
    peer.sendall(connection.data_to_send())
    while data := peer.recv(_READ_BYTES):
        for event in connection.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    upstream.heads.append({str(name): str(value) for name, value in event.headers})
                case h2.events.DataReceived():
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    # One call at a time.
                    told = (
                        upstream.answer(upstream.heads[-1])
                        if callable(upstream.answer)
                        else upstream.answer
                    )
                    _answer(connection, event.stream_id, told)
                case _:
                    pass
        peer.sendall(connection.data_to_send())


def _answer(connection: h2.connection.H2Connection, number: int, told: Told) -> None:
    is_over = not told.data and not told.trailers
    connection.send_headers(number, list(told.head), end_stream=is_over)
    for at, piece in enumerate(told.data):
        connection.send_data(number, piece, end_stream=not told.trailers and at + 1 == len(told.data))
    if told.trailers:
        connection.send_headers(number, list(told.trailers), end_stream=True)
