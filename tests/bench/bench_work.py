"""The filter's own work per streamed event, in process and without gRPC: parse, scan, splice.

Counts CPU time, from Envoy's decoded message to the bytes of the reply: what the event loop does beside
reading and writing.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench_policy import OUTPUT_ONLY, TENANT
from bench_texts import question, script

from extproc import codecs, policies
from extproc.core.commands import Abort, Refuse, ReplyBody
from extproc.core.events import RequestHeaders, ResponseHeaders
from extproc.core.stream import Stream
from extproc.demo.credentials import Credentials, issue
from extproc.domain.limits import LIMITS
from extproc.domain.ports import CodecSession, PolicySnapshot, RequestEdits
from extproc.domain.verdict import Lane
from extproc.edge.translate import event_of, reply_bytes
from extproc.pb.extproc_wire_pb2 import ProcessingRequest, ProtocolConfiguration

_PIECE_BYTES = 16_384


STREAM_ID = "00000000-0000-4000-8000-000000000000"
_EVENTS_TYPE = "text/event-stream; charset=utf-8"


class WorkBench:
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
        stream = self.stream()
        self.ask(stream, *question(wire, "prose", "paced", 1))
        stream.handle(event_of(_head("response", {":status": "200", "content-type": _EVENTS_TYPE}), 0))
        messages = [_body("response_body", piece, end=False) for piece in pieces]
        messages.append(_body("response_body", b"", end=True))
        before = time.process_time_ns()
        client = _handled(stream, messages)
        return time.process_time_ns() - before, client

    def stream(self) -> Stream:
        """A stream that has begun."""
        return Stream(
            stream_id=STREAM_ID,
            at_us=0,
            at_unix_ms=0,
            policy=self._policy,
            codecs=self._codecs,
            limits=LIMITS,
        )

    def ask(
        self, stream: Stream, path: str, body: bytes, *, content_type: str = "application/json"
    ) -> None:
        """Send a request."""
        fields = {
            ":method": "POST",
            ":path": path,
            "content-type": content_type,
            "te": "trailers",
            "authorization": f"Bearer {self._key}",
            "x-request-id": STREAM_ID,
        }
        _handled(stream, [_asking(fields), _body("request_body", body, end=True)])

    def session(self, path: str, body: bytes, *, content_type: str, answer_type: str) -> CodecSession:
        """A codec's session that has forwarded a request and read the answer's head, alone."""
        fields = {":method": "POST", ":path": path, "x-request-id": STREAM_ID}
        asked = event_of(_asking({**fields, "content-type": content_type, "te": "trailers"}), 0)
        answered = event_of(_head("response", {":status": "200", "content-type": answer_type}), 0)
        assert isinstance(asked, RequestHeaders)
        assert isinstance(answered, ResponseHeaders)
        session = next(codec for codec in self._codecs if codec.accepts(asked.head)).open(asked.head)
        for message in session.read_request(body, eof=True):
            session.write_request(message.key, RequestEdits())
        session.read_response_head(answered.head)
        return session

    def answer_to(
        self, stream: Stream, pieces: Sequence[bytes], *, content_type: str, trailers: Mapping[str, str]
    ) -> bytes:
        """Send an answer; what the client gets of it."""
        messages = [_head("response", {":status": "200", "content-type": content_type})]
        messages += [_body("response_body", piece, end=False) for piece in pieces]
        if trailers:
            last = ProcessingRequest()
            for name, value in trailers.items():
                last.response_trailers.trailers.headers.add(key=name, raw_value=value.encode())
            messages.append(last)
        else:
            messages.append(_body("response_body", b"", end=True))
        return _handled(stream, messages)


def _handled(stream: Stream, messages: Sequence[ProcessingRequest]) -> bytes:
    """What the client gets after these messages; a stream that refuses is no measurement."""
    replies = []
    for message in messages:
        for command in stream.handle(event_of(message, 0)):
            match command:
                case Refuse() | Abort():
                    raise AssertionError(f"the stream was refused: {command}")
                case ReplyBody(lane=Lane.RESPONSE):
                    replies.append(reply_bytes(command))
                case _:
                    pass
    last = messages[-1].WhichOneof("request")
    if last in {"response_body", "response_trailers"} and not stream.done:
        raise AssertionError("the stream is not done")
    return b"".join(replies)


def _head(lane: str, fields: Mapping[str, str]) -> ProcessingRequest:
    message = ProcessingRequest()
    headers = getattr(message, f"{lane}_headers").headers.headers
    for name, value in fields.items():
        headers.add(key=name, raw_value=value.encode())
    return message


def _asking(fields: Mapping[str, str]) -> ProcessingRequest:
    head = _head("request", fields)
    modes = head.protocol_config
    modes.request_body_mode = modes.response_body_mode = ProtocolConfiguration.FULL_DUPLEX_STREAMED
    return head


def _body(kind: str, piece: bytes, *, end: bool) -> ProcessingRequest:
    message = ProcessingRequest()
    body = getattr(message, kind)
    body.body = piece
    body.end_of_stream = end
    return message


def measure(seed: int, *, rounds: int = 30) -> dict[str, float]:
    """CPU microseconds per event, medians over answers."""
    bench = WorkBench()
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
