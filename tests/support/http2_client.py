"""One HTTP/2 connection without TLS (prior knowledge), on which every frame is the test's own to send."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events
from live_traffic import Seen

_READ_BYTES = 65_536


@dataclass
class Answer:
    """What came on one stream so far.

    ``ended`` says that the server ended it, ``reset`` with which error code it broke it off. ``trailers``
    is None where there were none. ``order`` holds, for each piece of its body, the connection's count.
    """

    number: int
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] | None = None
    body: bytearray = field(default_factory=bytearray)
    order: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def done(self) -> bool:
        return self.ended or self.reset is not None

    @property
    def events(self) -> int:
        return self.body.count(b"\n\n")

    @property
    def seen(self) -> Seen:
        status = int(self.headers.get(":status", "0"))
        return Seen(status, self.headers, bytes(self.body), cut=not self.ended)


class Http2:
    """A client; use it as a context manager. Nothing is read but while a test waits."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        settings = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self._connection = h2.connection.H2Connection(settings)
        self._answers: dict[int, Answer] = {}
        self._pieces = 0
        self.closed = False
        self._connection.initiate_connection()
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(
        self,
        path: str,
        body: Mapping[str, object],
        *,
        headers: Mapping[str, str] | None = None,
        trailers: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """Send a whole request; its answer comes while somebody waits."""
        number = self._connection.get_next_available_stream_id()
        answer = self._answers[number] = Answer(number)
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":authority": "gateway",
            ":path": path,
            "content-type": "application/json",
            **self._headers,
            **(headers or {}),
        }
        self._connection.send_headers(number, list(fields.items()))
        self._send(answer, json.dumps(body).encode(), end=not trailers)
        if trailers:
            self._connection.send_headers(number, list(trailers), end_stream=True)
            self._flush()
        return answer

    def _send(self, answer: Answer, data: bytes, *, end: bool) -> None:
        """As much at a time as the server lets us."""
        number, at = answer.number, 0
        while at < len(data) and not answer.done:
            room = min(
                self._connection.local_flow_control_window(number), self._connection.max_outbound_frame_size
            )
            if room == 0:
                self._read(10)
                continue
            piece = data[at : at + room]
            at += len(piece)
            self._connection.send_data(number, piece, end_stream=end and at == len(data))
            self._flush()

    def leave(self, answer: Answer) -> None:
        """Break a stream off, as a client does that wants no more of it."""
        self._connection.reset_stream(answer.number, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def until(self, look: Callable[[], object], *, within_s: float = 60.0) -> bool:
        """Read until ``look`` holds; whether it did within that time."""
        end = time.monotonic() + within_s
        while not look():
            left = end - time.monotonic()
            if left <= 0 or self.closed:
                return bool(look())
            self._read(left)
        return True

    def rest(self, *answers: Answer) -> list[Seen]:
        """Read until these have ended in one way or the other."""
        assert self.until(lambda: all(one.done for one in answers)), "an answer did not end"
        return [one.seen for one in answers]

    def _flush(self) -> None:
        if data := self._connection.data_to_send():
            self._socket.sendall(data)

    def _read(self, timeout_s: float) -> None:
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            return
        if not data:
            self.closed = True
            return
        for event in self._connection.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self._answers[event.stream_id].headers = _fields(event.headers)
            case h2.events.TrailersReceived():
                self._answers[event.stream_id].trailers = _fields(event.headers)
            case h2.events.DataReceived():
                answer = self._answers[event.stream_id]
                answer.body += event.data
                self._pieces += 1
                answer.order.append(self._pieces)
                self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self._answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                self._answers[event.stream_id].reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.closed = True
            case _:
                pass


def _fields(headers: Iterable[Sequence[str | bytes]]) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}
