"""The differential fuzz of many requests on one stream: each is judged, answered and refused as its own.

Requests of a ``ModelStreamInfer`` come under ids that are empty or repeated, cut anywhere; some cannot be
read, some are refused by a guard. A difference is whatever a model received that was not judged *of that
request*, a refused one that reached a model, and an answer or a refusal that the client gets under another
request's id, twice, or never.
"""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import grpc
from agreement import Tally, edits_of
from agreement_cases import Case, Echo, Forwarded, echo_of
from agreement_rules import difference
from echo_triton import EchoTriton
from google.protobuf.message import DecodeError
from grpc_grammar import STREAM, payload_of
from tritonclient.grpc import service_pb2 as pb  # type: ignore[import-untyped] # it brings no types.

from extproc.codecs.kserve_grpc import CODEC
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.ports import CodecSession
from extproc.domain.segment import Backend
from extproc.domain.verdict import Reason, Refusal
from extproc.wire.grpc_frames import framed

NAME: Final = "interleaved"
_REQUESTS_MAX: Final = 8
_STREAMS_AT_ONCE: Final = 8
_IDS: Final = ("", "", "a", "a", "b", "7", "request-1", "EVIL")
_NO: Final = Refusal(reason=Reason.INJECTION_DETECTED, status=403, message="no, by a guard")
_TIMEOUT_S: Final = 60
_PREFIX_BYTES: Final = 5
_LENGTH_BYTES: Final = 4
_ANSWER_HEAD: Final = ResponseHead(status=200, headers={"content-type": ("application/grpc",)})


@dataclass
class Stream:
    """One stream: what the client sent, and of each request by its number what was made of it."""

    session: CodecSession
    payloads: list[bytes]
    sent: list[bytes] = field(default_factory=list)
    judged: dict[int, Forwarded] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    # Of these, those that the codec could not read: of some it cannot tell an id either.
    unread: set[int] = field(default_factory=set)

    @property
    def keys(self) -> set[int]:
        return self.judged.keys() | self.refused

    def client_id(self, key: int) -> str | None:
        """What the client called a request; None where nobody can say."""
        try:
            return str(pb.ModelInferRequest.FromString(self.payloads[key]).id)
        except DecodeError:
            return None


def run(
    triton: EchoTriton,
    *,
    seed: int,
    cases: int,
    told: Callable[[Tally], None] = lambda _tally: None,
    overlooks: Callable[[Stream], object] = lambda _stream: None,
) -> Tally:
    """Try so many requests, some on each stream. ``overlooks`` puts a fault in, for those who test this."""
    tally = Tally()
    streams = _streams(seed, cases, tally)
    with grpc.insecure_channel(f"127.0.0.1:{triton.grpc_port}") as channel:
        open_call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM)
        while batch := tuple(islice(streams, _STREAMS_AT_ONCE)):
            calls = [open_call(iter(stream.sent), timeout=_TIMEOUT_S) for stream in batch]
            for stream, call in zip(batch, calls, strict=True):
                overlooks(stream)
                answers, broken = _answers(call)
                found = _differences(stream, answers, tally, broken=broken)
                tally.differences += [f"{one}: {stream.payloads!r}" for one in found]
            told(tally)
    return tally


def _streams(seed: int, cases: int, tally: Tally) -> Iterator[Stream]:
    number = 0
    while tally.cases < cases:
        # One generator for each stream: any of them can be made again by itself.
        rng = random.Random(f"{NAME} {seed} {number}")
        number += 1
        stream = _judged(rng)
        tally.cases += len(stream.keys)
        tally.refused += len(stream.refused)
        tally.accepted += len(stream.judged)
        yield stream


def _answers(call: Iterator[bytes]) -> tuple[list[bytes], bool]:
    """The answers as far as they came, and whether a status broke them off.

    It does where Triton's reader of protobuf takes a request for none, and says all that there is to say to
    those that are open.
    """
    came = []
    try:
        for answer in call:
            came.append(answer)  # noqa: PERF402 - those before an error are kept.
    except grpc.RpcError:
        return came, True
    return came, False


# --- the way there ---------------------------------------------------------------------------


def _judged(rng: random.Random) -> Stream:
    """A stream as the client sends it, and what the codec makes of it, request by request."""
    gzipped = rng.random() < 0.2
    headers = {"content-type": "application/grpc", "te": "trailers"}
    headers |= {"grpc-encoding": "gzip"} if gzipped else {}
    head = RequestHead(
        method="POST", path=STREAM, headers={name: (value,) for name, value in headers.items()}
    )
    backends = [rng.choice((*Backend,)) for _ in range(rng.randint(1, _REQUESTS_MAX))]
    stream = Stream(CODEC.open(head), [payload_of(one, rng, ids=_IDS) for one in backends])
    body = b"".join(_framed(payload, rng, gzipped=gzipped) for payload in stream.payloads)
    places = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randint(0, 4)))
    for start, end in zip([0, *places], [*places, len(body)], strict=True):
        for message in stream.session.read_request(body[start:end], eof=end == len(body) and start != end):
            key = message.key
            case = Case(path=STREAM, body=body, backend=backends[key], flattened=False, renamed=True)
            edits = edits_of(message, backends[key], rng)
            refusal = message.refused or (_NO if rng.random() < 0.2 else None)
            if message.refused is not None:
                stream.unread.add(key)
            written = b""
            if refusal is None:
                try:
                    written = stream.session.write_request(key, edits)
                except PeerError as error:
                    refusal = Refusal(reason=error.reason, status=error.status, message=error.message)
            if refusal is not None:
                written = stream.session.refuse_one(key, refusal) or b""
                stream.refused.add(key)
            else:
                stream.judged[key] = Forwarded(
                    case=case, body=written, headers=headers, message=message, edits=edits
                )
            stream.sent.append(written[_PREFIX_BYTES:])
    return stream


def _framed(payload: bytes, rng: random.Random, *, gzipped: bool) -> bytes:
    if gzipped and rng.random() < 0.7:
        packed = gzip.compress(payload)
        return b"\1" + len(packed).to_bytes(4, "big") + packed
    return framed(payload)


# --- and back --------------------------------------------------------------------------------


def _differences(stream: Stream, answers: Sequence[bytes], tally: Tally, *, broken: bool) -> Iterator[str]:
    echoes: dict[int, tuple[Echo, str]] = {}
    for answer in answers:
        message = pb.ModelStreamInferResponse.FromString(answer)
        if message.error_message:
            continue
        document = _said(message)
        echo = echo_of(document)
        key = int(echo.request_id.rpartition("-")[2])
        if key in echoes or key not in stream.judged:
            yield "a model received what had been refused, or twice"
        else:
            echoes[key] = echo, document
            found = difference(stream.judged[key], echo)
            if found:
                yield found
    tally.declined += len(stream.judged) - len(echoes)
    said = {key: document for key, (_, document) in echoes.items()}
    yield from _told_differences(stream, answers, said, broken=broken)


def _told_differences(
    stream: Stream, answers: Sequence[bytes], said: dict[int, str], *, broken: bool
) -> Iterator[str]:
    """What the client gets is one answer for each request, under the id that it had given it."""
    answered: Counter[tuple[str, str]] = Counter()
    failed: Counter[str] = Counter()
    for message in _told(stream.session, answers):
        if message.error_message:
            failed[message.infer_response.id] += 1
        else:
            answered[message.infer_response.id, _said(message)] += 1
    if answered != Counter((stream.client_id(key) or "", text) for key, text in said.items()):
        yield "an answer came under another id"
    others = stream.keys - said.keys()
    if broken:
        if failed.total() > len(others):
            yield "a request was told twice"
        return
    if failed.total() != len(others):
        yield "a request that was refused or declined was not told once"
    failed.subtract(stream.client_id(key) or "" for key in others - stream.unread)
    unread = [stream.client_id(key) for key in others & stream.unread]
    for name in filter(None, unread):
        failed[name if failed[name] > 0 else ""] -= 1
    failed[""] -= unread.count("")
    # Of the rest even protobuf's own reader cannot tell an id.
    if any(count < 0 for count in failed.values()):
        yield "a refusal came under another id"


def _told(session: CodecSession, answers: Sequence[bytes]) -> Iterator[pb.ModelStreamInferResponse]:
    """The messages that the client gets."""
    session.read_response_head(_ANSWER_HEAD)
    for answer in answers:
        for frame in session.read_response(framed(answer), eof=False):
            told = session.write_response(frame, tuple(delta.text for delta in frame.deltas))
            while told:
                end = _PREFIX_BYTES + int.from_bytes(told[1:_PREFIX_BYTES], "big")
                yield pb.ModelStreamInferResponse.FromString(told[_PREFIX_BYTES:end])
                told = told[end:]


def _said(message: pb.ModelStreamInferResponse) -> str:
    (raw,) = message.infer_response.raw_output_contents
    text: str = raw[_LENGTH_BYTES:].decode()
    return text
