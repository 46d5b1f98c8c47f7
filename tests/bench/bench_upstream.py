"""The benchmark's model: recites prebuilt events. Run as a process of its own: PORT SEED.

Raw asyncio with prebuilt bytes, since it shares the machine with what is measured. ``GET /times`` gives
when each event of each finished stream was written, ``GET /release`` lets held streams go on.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time

import uvloop
from bench_texts import QUESTION, Script, script

PAUSE_S = 0.020
# Where only what comes out matters: long enough that each event comes alone.
_BRISK_S = 0.002
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"
# Events that a held stream gets before it waits.
_HELD_EVENTS = 5


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


class Board:
    """What all connections share."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.times: dict[int, list[int]] = {}
        self.held: list[Recital] = []
        self.whole: dict[tuple[str, str], bytes] = {}
        self.chunks: dict[tuple[str, str], tuple[bytes, ...]] = {}

    def whole_answer(self, wire: str, name: str) -> bytes:
        """All events, each an HTTP chunk of its own, in one piece."""
        if (wire, name) not in self.whole:
            self.whole[wire, name] = b"".join([_HEAD, *self.chunks_of(wire, name), _END])
        return self.whole[wire, name]

    def chunks_of(self, wire: str, name: str) -> tuple[bytes, ...]:
        """Each event as an HTTP chunk."""
        if (wire, name) not in self.chunks:
            said: Script = script(wire, name, self.seed)
            self.chunks[wire, name] = tuple(_chunk(event) for event in said.events)
        return self.chunks[wire, name]


class Recital:
    """One paced answer."""

    def __init__(
        self, transport: asyncio.Transport, chunks: tuple[bytes, ...], times: list[int], pause_s: float
    ) -> None:
        self._transport = transport
        self._chunks = chunks
        self._times = times
        self._loop = asyncio.get_running_loop()
        self._pause_s = pause_s
        self._at = 0
        self._began = self._loop.time()
        self._stop_before = len(chunks)
        # A chat's first event has the role alone; its first text comes with it.
        self._first = 2 if b'"role"' in chunks[0] else 1

    def begin(self, *, held: bool) -> None:
        """Write the head and the first text; hold after some events where told so."""
        if held:
            self._stop_before = min(_HELD_EVENTS, len(self._chunks))
        self._transport.write(_HEAD)
        self._write(self._first)
        self._next()

    def release(self) -> None:
        """Go on to the end at once."""
        self._stop_before = len(self._chunks)
        self._write(len(self._chunks) - self._at)
        self._next()

    def _write(self, count: int) -> None:
        now = time.monotonic_ns()
        self._transport.write(b"".join(self._chunks[self._at : self._at + count]))
        self._times += [now] * count
        self._at += count

    def _next(self) -> None:
        if self._at < self._stop_before:
            texts = self._at - self._first + 1
            self._loop.call_at(self._began + texts * self._pause_s, self._step)
        elif self._at == len(self._chunks):
            self._transport.write(_END)

    def _step(self) -> None:
        if self._transport.is_closing():
            return
        # The end and what marks it come with the last text.
        left = len(self._chunks) - self._at
        self._write(left if left <= self._first + 1 else 1)
        self._next()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, without pipelining."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        if not blank or not _is_whole(head.lower(), body):
            return
        request, self._got = self._got, b""
        if request.startswith(b"GET"):
            self._control(request)
        else:
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        found = re.search(QUESTION, request)
        if found is None:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            return
        wire = "triton" if b"generate_stream" in request[:200] else "openai"
        number, name, pace = int(found[1]), found[2].decode(), found[3].decode()
        if pace == "burst":
            self._transport.write(self._board.whole_answer(wire, name))
            return
        times: list[int] = []
        pause_s = _BRISK_S if pace == "brisk" else PAUSE_S
        self._board.times[number] = times
        recital = Recital(self._transport, self._board.chunks_of(wire, name), times, pause_s)
        if pace == "held":
            self._board.held.append(recital)
        recital.begin(held=pace == "held")

    def _control(self, request: bytes) -> None:
        body = b"ok"
        if request.startswith(b"GET /times"):
            body = json.dumps(self._board.times).encode()
            self._board.times.clear()
        elif request.startswith(b"GET /release"):
            held, self._board.held = self._board.held, []
            for one in held:
                one.release()
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def _is_whole(head: bytes, body: bytes) -> bool:
    if b"transfer-encoding: chunked" in head:
        return body.endswith(_END)
    length = re.search(rb"content-length: (\d+)", head)
    return len(body) >= (int(length[1]) if length else 0)


async def serve(port: int, seed: int) -> None:
    board = Board(seed)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(board), "127.0.0.1", port, backlog=2048
    )
    gc.disable()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
