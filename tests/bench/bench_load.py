"""The benchmark's clients, a process of its own: UPSTREAM_PORT SEED.

Commands and results are lines of JSON. Raw asyncio; answers are kept as they come and read after the round.
"""

from __future__ import annotations

import asyncio
import bisect
import gc
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop
from bench_texts import leaks, question, script, text_of
from bench_upstream import PAUSE_S

_END = b"0\r\n\r\n"
_TAIL_BYTES = 64
_ROUND_S_MAX = 120.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom to ask, and what."""

    port: int
    key: str
    wire: str
    script: str

    def request(self, pace: str, number: int) -> bytes:
        path, body = question(self.wire, self.script, pace, number)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass
class Answer:
    """What came, and when (monotonic nanoseconds)."""

    asked_at: int
    keep: bool
    times: list[int] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    tail: bytes = b""
    ok: bool = False


class Client(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._ended: asyncio.Future[Answer] | None = None
        self.first = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes, *, keep: bool) -> asyncio.Future[Answer]:
        self._ended = asyncio.get_running_loop().create_future()
        self._answer = Answer(time.monotonic_ns(), keep)
        self.first.clear()
        self._transport.write(request)
        return self._ended

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        answer = self._answer
        if answer is None:
            return
        if not answer.tail:
            answer.ok = data.startswith(b"HTTP/1.1 200")
            self.first.set()
        if answer.keep:
            answer.times.append(now)
            answer.parts.append(data)
        answer.tail = (answer.tail + data)[-_TAIL_BYTES:]
        if answer.tail.endswith(_END) or not answer.ok:
            self._end()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._answer is not None:
            self._answer.ok = False
            self._end()

    def close(self) -> None:
        self._transport.close()

    def _end(self) -> None:
        answer, self._answer = self._answer, None
        if self._ended is not None and not self._ended.done() and answer is not None:
            self._ended.set_result(answer)


async def connect(port: int) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


# --- reading answers -------------------------------------------------------------------------


def _events(answer: Answer) -> tuple[list[bytes], list[int]]:
    """The answer's SSE events, and when each one's last byte came."""
    ends, total = [], 0
    for part in answer.parts:
        total += len(part)
        ends.append(total)
    raw = b"".join(answer.parts)
    body, places = bytearray(), []
    at = raw.index(b"\r\n\r\n") + 4
    while (length := int(raw[at : (line := raw.index(b"\r\n", at))], 16)) > 0:
        start = line + 2
        body += raw[start : start + length]
        places.append((len(body), start + length))
        at = start + length + 2
    events, times, begun = [], [], 0
    while (found := body.find(b"\n\n", begun)) >= 0:
        end = found + 2
        body_end, raw_end = places[bisect.bisect_left(places, (end, 0))]
        events.append(bytes(body[begun:end]))
        times.append(answer.times[bisect.bisect_left(ends, raw_end - (body_end - end))])
        begun = end
    return events, times


def _delays(answer: Answer, sent: Sequence[int], pieces: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds: to first byte, to first text, per event, and per character of text."""
    events, times = _events(answer)
    texts = [text_of(event) for event in events]
    said = [at for at, piece in enumerate(pieces) if piece]
    delays: dict[str, list[float]] = {
        "first_byte": [(answer.times[0] - answer.asked_at) / 1e6],
        "first_text": [
            (next(at for at, text in zip(times, texts, strict=True) if text) - answer.asked_at) / 1e6
        ],
        "event": [(times[at] - sent[at]) / 1e6 for at in said],
    }
    sent_at = [sent[at] for at in said for _ in pieces[at]]
    came_at = [at for at, text in zip(times, texts, strict=True) for _ in text]
    # Where something was redacted the texts differ, and no character is the other's.
    if len(sent_at) == len(came_at):
        delays["character"] = [(came - sent) / 1e6 for sent, came in zip(sent_at, came_at, strict=True)]
    return delays


def _summary(delays: Sequence[float]) -> dict[str, float]:
    """Median, the tails, and the share of what came with less than half a pause."""
    ordered = sorted(delays)
    found = {
        f"p{part}": ordered[min(len(ordered) * part // 100, len(ordered) - 1)] for part in (50, 90, 99)
    }
    prompt = bisect.bisect_left(ordered, PAUSE_S * 500) / len(ordered)
    return {**found, "mean": sum(ordered) / len(ordered), "prompt": prompt}


# --- commands --------------------------------------------------------------------------------


class Load:
    """Carries commands out."""

    def __init__(self, upstream_port: int, seed: int) -> None:
        self._upstream_port = upstream_port
        self._seed = seed
        self._numbers = 0
        self._held: list[tuple[Client, asyncio.Future[Answer]]] = []

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    async def paced(self, target: Target, streams: int) -> dict[str, object]:
        """Streams at the pace of a model, one begun about every pause. Gives delays in milliseconds."""
        clients = [await connect(target.port) for _ in range(streams)]
        await self._upstream("/times")
        numbers = [self._number() for _ in clients]
        chance = random.Random(self._seed)

        async def one(client: Client, number: int, after_s: float) -> Answer:
            await asyncio.sleep(after_s)
            return await client.ask(target.request("paced", number), keep=True)

        starts = [chance.uniform(0, PAUSE_S) + at * PAUSE_S for at in range(streams)]
        answers = await asyncio.gather(*map(one, clients, numbers, starts))
        sent = json.loads(await self._upstream("/times"))
        found: dict[str, list[float]] = {}
        pieces = script(target.wire, target.script, self._seed).pieces
        for client, number, answer in zip(clients, numbers, answers, strict=True):
            client.close()
            if not answer.ok:
                return {"failed": True}
            for name, delays in _delays(answer, sent[str(number)], pieces).items():
                found.setdefault(name, []).extend(delays)
        return {"streams": streams, **{name: _summary(delays) for name, delays in found.items()}}

    async def burst(self, target: Target, streams: int, seconds: float) -> dict[str, object]:
        """Answers without pauses, each connection asking again at once. Gives the rate."""
        clients = [await connect(target.port) for _ in range(streams)]
        end = time.monotonic() + seconds
        counts, failures = [0] * streams, [0]

        async def one(at: int, client: Client) -> None:
            while time.monotonic() < end:
                answer = await client.ask(target.request("burst", self._number()), keep=False)
                if not answer.ok:
                    failures[0] += 1
                    return
                counts[at] += 1

        began = time.monotonic()
        await asyncio.gather(*(one(at, client) for at, client in enumerate(clients)))
        spent = time.monotonic() - began
        for client in clients:
            client.close()
        done = sum(counts)
        return {"streams": streams, "answers": done, "failed": failures[0], "per_s": done / spent}

    async def plants(self, target: Target) -> dict[str, object]:
        """One answer with planted values, event by event: how many are to be seen, whole or in part."""
        client = await connect(target.port)
        answer = await client.ask(target.request("brisk", self._number()), keep=True)
        client.close()
        if not answer.ok:
            return {"failed": True}
        said = script(target.wire, target.script, self._seed)
        events, _ = _events(answer)
        seen = "".join(map(text_of, events)) + "\n" + b"".join(events).decode()
        whole, part = leaks(said, seen)
        return {"planted": len(said.planted), "whole": whole, "part": part}

    async def hold(self, target: Target, streams: int) -> dict[str, object]:
        """Open streams that stand still after some events, and leave them open."""
        for _ in range(streams):
            client = await connect(target.port)
            ended = client.ask(target.request("held", self._number()), keep=True)
            self._held.append((client, ended))
            if len(self._held) % 20 == 0:
                await asyncio.wait_for(client.first.wait(), _ROUND_S_MAX)
        for client, _ in self._held:
            await asyncio.wait_for(client.first.wait(), _ROUND_S_MAX)
        # The last events of the last streams.
        await asyncio.sleep(0.5)
        return {"open": sum(not ended.done() for _, ended in self._held)}

    async def release(self, target: Target) -> dict[str, object]:
        """Let them go on to their ends."""
        await self._upstream("/release")
        held, self._held = self._held, []
        answers = await asyncio.gather(*(ended for _, ended in held))
        said = script(target.wire, target.script, self._seed)
        whole = 0
        for (client, _), answer in zip(held, answers, strict=True):
            client.close()
            whole += answer.ok and "".join(map(text_of, _events(answer)[0])) == said.text
        return {"whole": whole}

    async def _upstream(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))
        writer.close()
        return body

    async def run(self, command: dict[str, object]) -> dict[str, object]:
        target = Target(**command["target"])  # type: ignore[arg-type]
        streams, seconds = int(str(command.get("streams", 0))), float(str(command.get("seconds", 0)))
        match command["do"]:
            case "paced":
                work = self.paced(target, streams)
            case "burst":
                work = self.burst(target, streams, seconds)
            case "plants":
                work = self.plants(target)
            case "hold":
                work = self.hold(target, streams)
            case "release":
                work = self.release(target)
            case unknown:
                raise AssertionError(unknown)
        return await asyncio.wait_for(work, _ROUND_S_MAX)


def main(upstream_port: int, seed: int) -> None:
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load: Load | None = None
        for line in sys.stdin:
            load = load or Load(upstream_port, seed)
            result = runner.run(load.run(json.loads(line)))
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()
            gc.collect()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
