"""Requests byte by byte on HTTP/1.1 and frame by frame on HTTP/2: what no client library would send."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

_READ_BYTES: Final = 65_536
_INTERIM: Final = 200

Fields = Sequence[tuple[str, str]]


@dataclass
class Heard:
    """An answer as far as it came: status 0 where none did."""

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False

    def field(self, name: str) -> str | None:
        return next((value for key, value in (*self.fields, *self.trailers) if key == name), None)

    @property
    def grpc_status(self) -> int | None:
        code = self.field("grpc-status")
        return None if code is None else int(code)

    @property
    def everything(self) -> bytes:
        """Whatever of it a client could read."""
        lines = [f"{name}: {value}" for name, value in (*self.fields, *self.trailers)]
        return "\n".join(lines).encode("latin-1", "replace") + b"\n\n" + self.body


# --- HTTP/1.1 --------------------------------------------------------------------------------


def request_bytes(method: str, target: str, fields: Fields, body: bytes = b"") -> bytes:
    """A request whose target and fields nobody tidies up."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def conversation(
    port: int, *pieces: bytes, is_half_closed: bool = False, timeout_s: float = 20.0
) -> list[Heard]:
    """Send these bytes on one connection; the answers that come until the server closes it, or says so."""
    seen = bytearray()
    heard: list[Heard] = []
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        # What was refused may be cut while it is still being sent.
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
            if is_half_closed:
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while not _is_last(heard) and (piece := connection.recv(_READ_BYTES)):
                seen += piece
                heard = answers_in(bytes(seen))
    return heard


def _is_last(heard: list[Heard]) -> bool:
    return bool(heard) and heard[-1].ended and heard[-1].field("connection") == "close"


def answers_in(seen: bytes) -> list[Heard]:
    """The answers that stand one behind the other, interim ones left out."""
    found = []
    while seen:
        head, blank, rest = seen.partition(b"\r\n\r\n")
        if not blank:
            break
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        heard = Heard(int(first.split()[1]), [(name.lower(), value.strip()) for name, _, value in pairs])
        if heard.status < _INTERIM:
            seen = rest
            continue
        heard.body, seen, heard.ended = _body_in(heard, rest)
        found.append(heard)
    return found


def _body_in(heard: Heard, rest: bytes) -> tuple[bytes, bytes, bool]:
    """A body, what stands behind it, and whether it is whole."""
    if heard.field("transfer-encoding") != "chunked":
        size = int(heard.field("content-length") or 0)
        return rest[:size], rest[size:], len(rest) >= size
    body = bytearray()
    while True:
        line, blank, rest = rest.partition(b"\r\n")
        if not blank:
            return bytes(body), b"", False
        size = int(line, 16)
        body += rest[:size]
        rest = rest[size + 2 :]
        if size == 0:
            return bytes(body), rest, True


# --- HTTP/2 ----------------------------------------------------------------------------------


class Frames:
    """One HTTP/2 connection whose heads are sent as they are given. Use it as a context manager."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 20)
        settings = h2.config.H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )
        self.connection = h2.connection.H2Connection(settings)
        self.heard: dict[int, Heard] = {}
        self.closed = False
        self.connection.initiate_connection()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def open(self, fields: Fields, *, is_last: bool = False) -> int:
        """Send a head; the number of its stream."""
        number = self.connection.get_next_available_stream_id()
        self.heard[number] = Heard()
        self.connection.send_headers(number, list(fields), end_stream=is_last)
        return number

    def ask(self, fields: Fields, *pieces: bytes, trailers: Fields = ()) -> Heard:
        """A request of these DATA frames; its answer, once it has ended in one way or the other."""
        number = self.open(fields, is_last=not pieces)
        try:
            for at, piece in enumerate(pieces):
                is_last = at + 1 == len(pieces) and not trailers
                self.send(number, piece, is_last=is_last)
            if trailers:
                self.connection.send_headers(number, list(trailers), end_stream=True)
        except (h2.exceptions.ProtocolError, ConnectionError):
            # The server broke it off.
            pass
        self.flush()
        return self.rest(number)

    def send(self, number: int, data: bytes, *, is_last: bool) -> None:
        """Data, as much at a time as the server lets us."""
        at = 0
        while True:
            room = min(
                self.connection.local_flow_control_window(number), self.connection.max_outbound_frame_size
            )
            if at < len(data) and room == 0:
                self.flush()
                if self.heard[number].ended or not self._read():
                    return
                continue
            piece = data[at : at + room]
            at += len(piece)
            self.connection.send_data(number, piece, end_stream=is_last and at == len(data))
            if at == len(data):
                return

    def rest(self, number: int, *, within_s: float = 20.0) -> Heard:
        end = time.monotonic() + within_s
        while not self.heard[number].ended and not self.closed and time.monotonic() < end:
            self._read()
        return self.heard[number]

    def flush(self) -> None:
        if data := self.connection.data_to_send():
            try:
                self._socket.sendall(data)
            except ConnectionError:
                self.closed = True

    def send_bytes(self, data: bytes) -> None:
        """Bytes that are no frames of the connection's own making."""
        self.flush()
        try:
            self._socket.sendall(data)
        except ConnectionError:
            self.closed = True

    def _read(self) -> bool:
        try:
            data = self._socket.recv(_READ_BYTES)
        except (TimeoutError, ConnectionError):
            data = b""
        if not data:
            self.closed = True
            return False
        for event in self.connection.receive_data(data):
            self._take(event)
        self.flush()
        return True

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                heard = self.heard[event.stream_id]
                heard.fields = _pairs(event.headers)
                heard.status = int(heard.field(":status") or 0)
            case h2.events.TrailersReceived():
                self.heard[event.stream_id].trailers = _pairs(event.headers)
            case h2.events.DataReceived():
                self.heard[event.stream_id].body += event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded() | h2.events.StreamReset():
                self.heard[event.stream_id].ended = True
            case h2.events.ConnectionTerminated():
                self.closed = True
            case _:
                pass


def _pairs(headers: Iterable[Sequence[str | bytes]]) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in headers]
