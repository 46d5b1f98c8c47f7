"""The filter's own work per streamed event, in process and without gRPC: parse, scan, splice.

Counts CPU time, from Envoy's decoded message to the bytes of the reply: what the event loop does beside
reading and writing.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench_policy import OUTPUT_ONLY, TENANT
from bench_texts import question, script

from extproc import codecs, policies
from extproc.core.commands import ReplyBody
from extproc.core.stream import Stream
from extproc.demo.credentials import Credentials, issue
from extproc.domain.limits import LIMITS
from extproc.domain.ports import PolicySnapshot
from extproc.edge.translate import event_of, reply_bytes
from extproc.pb.extproc_wire_pb2 import ProcessingRequest, ProtocolConfiguration

_PIECE_BYTES = 16_384


class Bench:
    """A policy, and streams under it."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            credentials: Credentials = issue(Path(folder), template=OUTPUT_ONLY, tenants=(TENANT,))
            pepper = credentials.pepper_file.read_bytes().strip()
            load = policies.loader("bench", lambda: pepper)
            self._policy: PolicySnapshot = load(credentials.policy_file.read_bytes()).on(())
        self._key = credentials.keys[TENANT]
        self._codecs = codecs.discover()

    def answer(self, wire: str, pieces: Sequence[bytes]) -> tuple[int, bytes]:
        """CPU nanoseconds for an answer that comes in these pieces, and what the client gets."""
        stream = Stream(
            stream_id="00000000-0000-4000-8000-000000000000",
            at_us=0,
            at_unix_ms=0,
            policy=self._policy,
            codecs=self._codecs,
            limits=LIMITS,
        )
        path, body = question(wire, "prose", "paced", 1)
        for message in (self._request_head(path), _body("request_body", body, end=True), _answer_head()):
            stream.handle(event_of(message, 0))
        messages = [_body("response_body", piece, end=False) for piece in pieces]
        messages.append(_body("response_body", b"", end=True))
        replies = []
        before = time.process_time_ns()
        for message in messages:
            for command in stream.handle(event_of(message, 0)):
                if isinstance(command, ReplyBody):
                    replies.append(reply_bytes(command))  # noqa: PERF401 - as the runner does it.
        spent = time.process_time_ns() - before
        if not stream.done:
            raise AssertionError("the stream is not done")
        return spent, b"".join(replies)

    def _request_head(self, path: str) -> ProcessingRequest:
        message = ProcessingRequest()
        modes = message.protocol_config
        modes.request_body_mode = modes.response_body_mode = ProtocolConfiguration.FULL_DUPLEX_STREAMED
        fields = {
            ":method": "POST",
            ":path": path,
            "content-type": "application/json",
            "authorization": f"Bearer {self._key}",
        }
        for name, value in fields.items():
            message.request_headers.headers.headers.add(key=name, raw_value=value.encode())
        return message


def _answer_head() -> ProcessingRequest:
    message = ProcessingRequest()
    fields = {":status": "200", "content-type": "text/event-stream; charset=utf-8"}
    for name, value in fields.items():
        message.response_headers.headers.headers.add(key=name, raw_value=value.encode())
    return message


def _body(kind: str, piece: bytes, *, end: bool) -> ProcessingRequest:
    message = ProcessingRequest()
    body = getattr(message, kind)
    body.body = piece
    body.end_of_stream = end
    return message


def measure(seed: int, *, rounds: int = 30) -> dict[str, float]:
    """CPU microseconds per event, medians over answers."""
    bench = Bench()
    gc.freeze()
    found = {}
    for wire in ("openai", "triton"):
        for name in ("prose", "split"):
            events = script(wire, name, seed).events
            joined = b"".join(events)
            merged = [joined[at : at + _PIECE_BYTES] for at in range(0, len(joined), _PIECE_BYTES)]
            for how, pieces in (("one by one", events), ("merged", merged)):
                spent = [bench.answer(wire, pieces)[0] / len(events) / 1000 for _ in range(rounds)]
                found[f"{wire}, {name}, {how}"] = round(statistics.median(spent), 1)
    return found


if __name__ == "__main__":
    for label, cost_us in measure(1).items():
        print(f"{label:<28} {cost_us:6.1f} us")  # noqa: T201 - its output.
