"""Keep-alive connections to Triton's HTTP endpoint: a batch goes out before its answers are read."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Sequence
from typing import Final

from agreement_cases import Echo, Forwarded, echo_of

_TIMEOUT_S: Final = 60.0
_READ_BYTES: Final = 65_536
_LENGTH_BYTES: Final = 4


def echo_in_generate(answer: bytes) -> Echo:
    """The echo in an answer of generate, or in the only event of generate_stream's."""
    return echo_of(json.loads(answer.removeprefix(b"data: "))["echo"])


def echo_in_infer(answer: bytes) -> Echo:
    """The echo in an answer of infer: in the document, or behind it as a string with its length."""
    text = answer.decode("latin-1")
    document, end = json.JSONDecoder().raw_decode(text)
    (output,) = document["outputs"]
    return echo_of(output["data"][0] if "data" in output else text[end + _LENGTH_BYTES :])


class HttpLink:
    """Sends requests by HTTP/1.1. ``echo_in`` finds the echo in an answer's body."""

    def __init__(self, port: int, echo_in: Callable[[bytes], Echo]) -> None:
        self._port = port
        self._echo_in = echo_in
        self._free: list[_Connection] = []

    def exchange(self, batch: Sequence[Forwarded]) -> Sequence[Echo | None]:
        """What the models received."""
        while len(self._free) < len(batch):
            self._free.append(_Connection(self._port))
        used = self._free[: len(batch)]
        for connection, one in zip(used, batch, strict=True):
            connection.send(one)
        answers = [connection.receive() for connection in used]
        return [None if answer is None else self._echo_in(answer) for answer in answers]

    def close(self) -> None:
        """Close every connection."""
        for connection in self._free:
            connection.close()
        self._free.clear()


class _Connection:
    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._read = bytearray()

    def send(self, one: Forwarded) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = {**one.headers, "host": "triton", "content-length": str(len(one.body))}
        lines = [f"POST {one.case.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + one.body)

    def receive(self) -> bytes | None:
        """The body of a 200; None for any other status."""
        status, headers = self._head()
        if headers.get("transfer-encoding") == "chunked":
            body = self._chunked()
        else:
            body = self._take(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return body if status == 200 and b'"echo"' in body else None

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = None
        self._read.clear()

    def _head(self) -> tuple[int, dict[str, str]]:
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def _chunked(self) -> bytes:
        pieces = []
        while size := int(self._until(b"\r\n"), 16):
            pieces.append(self._take(size))
            self._take(2)
        self._take(2)
        return b"".join(pieces)

    def _until(self, mark: bytes) -> bytes:
        while (end := self._read.find(mark)) < 0:
            self._more()
        return self._take(end + len(mark))

    def _take(self, count: int) -> bytes:
        while len(self._read) < count:
            self._more()
        taken = bytes(self._read[:count])
        del self._read[:count]
        return taken

    def _more(self) -> None:
        if self._socket is None:
            raise AssertionError("nothing was sent")
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("Triton closed the connection within an answer")
        self._read += data
