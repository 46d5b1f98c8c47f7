"""One cell of the reply matrix: a stream brought to a phase by a script, one reply, and what came through.

A client, an ext_proc server and an upstream, all of them scripts in this process, around a real Envoy.
Everything that has not been judged carries the word UNJUDGED, and every judged reply takes it out: so a
word that arrives on either side after the reply is a byte that passed us by.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import yaml

from extproc.core import commands as cmd
from extproc.core.events import ResponseHeaders
from extproc.domain.head import HeaderEdits
from extproc.domain.ports import WireRefusal
from extproc.domain.verdict import Lane, Reason
from extproc.edge.phases import IllegalReply, PhaseTable
from extproc.edge.translate import METHOD, event_of, reply_bytes
from extproc.pb.extproc_wire_pb2 import ProcessingRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

UNJUDGED = b"UNJUDGED"
REACH_DEADLINE_S = 20.0
CONCURRENT_MAX = 64
WITNESS = "witness"
_REFUSED_STATUS = b"418"

_EDITS = HeaderEdits(remove=("x-word",), set=(("x-judged", "yes"),))
_REFUSAL = WireRefusal(status=418, headers=(), body=b"refused")

REPLIES: Mapping[str, cmd.Command] = {
    "request head": cmd.ReplyHeaders(Lane.REQUEST, _EDITS),
    "request body": cmd.ReplyBody(Lane.REQUEST, b"judged request", False),
    "request end": cmd.ReplyBody(Lane.REQUEST, b"judged request", True),
    "request trailers": cmd.ReplyTrailers(Lane.REQUEST),
    "answer head": cmd.ReplyHeaders(Lane.RESPONSE, _EDITS),
    "answer body": cmd.ReplyBody(Lane.RESPONSE, b"judged answer", False),
    "answer end": cmd.ReplyBody(Lane.RESPONSE, b"judged answer", True),
    "answer trailers": cmd.ReplyTrailers(Lane.RESPONSE),
    "refuse": cmd.Refuse(_REFUSAL, Reason.INTERNAL),
}
CLOSE = "clean close"
ABORT = "abort"
COLUMNS = (*REPLIES, CLOSE, ABORT)


class Gate(StrEnum):
    """What the client and the upstream wait for before they send more."""

    REQUEST_BODY = "client sends its first chunk"
    REQUEST_END = "client sends its last chunk"
    ANSWER_HEAD = "upstream sends its head"
    ANSWER_BODY = "upstream sends its first chunk"
    ANSWER_END = "upstream sends its last chunk"


@dataclass(frozen=True, slots=True)
class Read:
    """Read messages until one of this kind; with ``end``, until the one that ends its lane."""

    kind: str
    end: bool = False


Step = Read | Gate | str  # A string is a reply's name.

_HEAD: tuple[Step, ...] = (Read("request_headers"),)
_HEAD_OUT: tuple[Step, ...] = (*_HEAD, "request head")
_BODY: tuple[Step, ...] = (Gate.REQUEST_BODY, Read("request_body"))
_END: tuple[Step, ...] = (Gate.REQUEST_BODY, Gate.REQUEST_END, Read("request_body", end=True))
_TRAILERS: tuple[Step, ...] = (Gate.REQUEST_BODY, Gate.REQUEST_END, Read("request_trailers"))
_SENT: tuple[Step, ...] = (*_HEAD_OUT, *_END, "request end")
_ANSWER: tuple[Step, ...] = (*_SENT, Gate.ANSWER_HEAD, Read("response_headers"))
_ANSWER_BODY: tuple[Step, ...] = (Gate.ANSWER_BODY, Read("response_body"))
_ANSWER_END: tuple[Step, ...] = (Gate.ANSWER_BODY, Gate.ANSWER_END, Read("response_body", end=True))
_ANSWER_TRAILERS: tuple[Step, ...] = (Gate.ANSWER_BODY, Gate.ANSWER_END, Read("response_trailers"))
_EARLY: tuple[Step, ...] = (*_HEAD_OUT, Gate.ANSWER_HEAD, Read("response_headers"), "answer head")

PHASES: Mapping[str, tuple[Step, ...]] = {
    "request head": _HEAD,
    "request head replied": _HEAD_OUT,
    "request body, head held": (*_HEAD, *_BODY),
    "request body, head replied": (*_HEAD_OUT, *_BODY),
    "request body, one piece replied": (*_HEAD_OUT, *_BODY, "request body"),
    "request ended, head held": (*_HEAD, *_END),
    "request ended, head replied": (*_HEAD_OUT, *_END),
    "request trailers, head held": (*_HEAD, *_TRAILERS),
    "request trailers, head replied": (*_HEAD_OUT, *_TRAILERS),
    "request trailers, body replied": (*_HEAD_OUT, *_TRAILERS, "request body"),
    "request trailers replied": (*_HEAD_OUT, *_TRAILERS, "request body", "request trailers"),
    "request replied": _SENT,
    "answer head": _ANSWER,
    "answer head replied": (*_ANSWER, "answer head"),
    "answer body, head held": (*_ANSWER, *_ANSWER_BODY),
    "answer body, head replied": (*_ANSWER, "answer head", *_ANSWER_BODY),
    "answer body, one piece replied": (*_ANSWER, "answer head", *_ANSWER_BODY, "answer body"),
    "answer ended, head held": (*_ANSWER, *_ANSWER_END),
    "answer ended, head replied": (*_ANSWER, "answer head", *_ANSWER_END),
    "answer trailers, head held": (*_ANSWER, *_ANSWER_TRAILERS),
    "answer trailers, head replied": (*_ANSWER, "answer head", *_ANSWER_TRAILERS),
    "answer trailers, body replied": (*_ANSWER, "answer head", *_ANSWER_TRAILERS, "answer body"),
    "answer replied": (*_ANSWER, "answer head", *_ANSWER_END, "answer end"),
    "answer cut short": (*_ANSWER, "answer head", *_ANSWER_BODY, "answer end"),
    "early answer head": _EARLY[:-1],
    "early answer body": (*_EARLY, *_ANSWER_BODY),
    "early answer ended": (*_EARLY, *_ANSWER_END),
    "early answer replied": (*_EARLY, *_ANSWER_END, "answer end"),
    "refused": (*_HEAD, "refuse"),
    "answer refused": (*_ANSWER, *_ANSWER_BODY, "refuse"),
}


class Outcome(StrEnum):
    """What the client and the upstream saw."""

    FAIL_OPEN = "FAIL-OPEN"
    REFUSED = "refused"
    ERROR = "error"
    CUT = "cut"
    WAITS = "waits"
    ANSWERED = "answered"


@dataclass(slots=True)
class Cell:
    """A reply in a phase. ``polite``: afterwards the script gives every reply that is in turn, judged."""

    phase: str
    reply: str
    polite: bool
    gates: Mapping[Gate, asyncio.Event] = field(
        default_factory=lambda: {gate: asyncio.Event() for gate in Gate}
    )
    replied: asyncio.Event = field(default_factory=asyncio.Event)
    reached: bool = False
    allowed: bool = False
    upstream_host: str = ""
    at_client: bytearray = field(default_factory=bytearray)
    client_eof: bool = False
    at_upstream: bytearray = field(default_factory=bytearray)

    @property
    def request_trailers(self) -> bool:
        """Whether the client ends with trailers."""
        return Read("request_trailers") in PHASES[self.phase]

    @property
    def answer_trailers(self) -> bool:
        """Whether the upstream ends with trailers."""
        return Read("response_trailers") in PHASES[self.phase]

    def release(self) -> None:
        """Let the client and the upstream send all they have."""
        for gate in self.gates.values():
            gate.set()
        self.replied.set()

    def outcome(self) -> Outcome:
        """What happened, as both sides saw it."""
        if UNJUDGED in self.at_client or UNJUDGED in self.at_upstream:
            return Outcome.FAIL_OPEN
        status = self.at_client.split(b" ", 2)[1] if self.at_client.startswith(b"HTTP/1.1 ") else b""
        if status == _REFUSED_STATUS:
            return Outcome.REFUSED
        if status.startswith(b"5"):
            return Outcome.ERROR
        if status and self.at_client.endswith(b"\r\n\r\n") and b"\r\n0\r\n" in self.at_client:
            return Outcome.ANSWERED
        return Outcome.CUT if self.client_eof else Outcome.WAITS


# --- the ext_proc server ---------------------------------------------------------------------

Call = grpc.aio.ServicerContext[ProcessingRequest, bytes]


class Script:
    """Carries one ``Process`` call as its cell says."""

    def __init__(self, cell: Cell, call: Call, first: ProcessingRequest, client: Path) -> None:
        self._cell = cell
        self._call = call
        self._client = client
        self._unread: list[ProcessingRequest] = [first]
        self._table = PhaseTable()
        self._ended: set[Lane] = set()
        self.ends_here = False

    async def run(self) -> None:
        """Reach the phase, reply, and go on until Envoy closes. Ends cleanly only where told to."""
        cell = self._cell
        *before, last = PHASES[cell.phase]
        for step in before:
            await self._step(step)
        if isinstance(last, Read):
            await self._step(last)
            await witness(self._client)
        else:
            self._table.check(REPLIES[last])
        # Before the last write, at which Envoy may end the call.
        cell.allowed = self._allows(cell.reply)
        cell.reached = True
        if not isinstance(last, Read):
            await self._call.write(reply_bytes(REPLIES[last]))
            await witness(self._client)
        if cell.reply in REPLIES:
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.UsageError):
                await self._call.write(reply_bytes(REPLIES[cell.reply]))
            await witness(self._client)
        if cell.reply in {CLOSE, ABORT}:
            self.ends_here = True
        else:
            cell.release()
            await self._rest()
        if cell.reply != CLOSE:
            await self._call.abort(grpc.StatusCode.INTERNAL, "as the cell says")

    async def _step(self, step: Step) -> None:
        match step:
            case Gate():
                self._cell.gates[step].set()
            case Read():
                while not await self._reads(step):
                    pass
            case _:
                self._table.check(REPLIES[step])
                await self._call.write(reply_bytes(REPLIES[step]))
                await witness(self._client)

    async def _reads(self, wanted: Read) -> bool:
        message = await self._next()
        if message is None:
            raise EOFError(f"Envoy closed before {wanted.kind}")
        kind = message.WhichOneof("request") or ""
        return kind == wanted.kind and (not wanted.end or _ends(message))

    async def _next(self) -> ProcessingRequest | None:
        if self._unread:
            message = self._unread.pop()
        else:
            read = await self._call.read()
            if not isinstance(read, ProcessingRequest):
                return None
            message = read
        self._table.opened(message)
        event = event_of(message, 0)
        if isinstance(event, ResponseHeaders):
            self._cell.upstream_host = event.upstream_host
        if _ends(message):
            kind = message.WhichOneof("request") or ""
            self._ended.add(Lane.REQUEST if kind.startswith("request") else Lane.RESPONSE)
        return message

    def _allows(self, reply: str) -> bool:
        if reply == ABORT:
            return True
        if reply == CLOSE:
            return self._table.may_end_cleanly
        return self._check(REPLIES[reply])

    def _check(self, command: cmd.Command) -> bool:
        try:
            self._table.check(command)
        except IllegalReply:
            return False
        return True

    async def _rest(self) -> None:
        """Stay silent, or give each reply when it is in turn."""
        while True:
            if self._cell.polite:
                await self._reply_what_is_due()
            if await self._next() is None:
                return

    async def _reply_what_is_due(self) -> None:
        for lane, prefix in ((Lane.REQUEST, "request"), (Lane.RESPONSE, "answer")):
            due = ["head"]
            if lane in self._ended:
                due += ["end", "trailers"]
            for part in due:
                command = REPLIES[f"{prefix} {part}"]
                if self._check(command):
                    await self._call.write(reply_bytes(command))


def _ends(message: ProcessingRequest) -> bool:
    kind = message.WhichOneof("request") or ""
    if kind.endswith("trailers"):
        return True
    part = getattr(message, kind)
    return bool(part.end_of_stream)


class Cells:
    """All cells by number, as the ext_proc server and the upstream look them up."""

    def __init__(self, cells: Iterable[Cell], folder: Path) -> None:
        self.folder = folder
        self._releasing: set[asyncio.Task[None]] = set()
        self.by_number = {str(number): cell for number, cell in enumerate(cells)}

    def service(self) -> grpc.GenericRpcHandler:
        """The gRPC service that Envoy calls."""
        name, _, method = METHOD.strip("/").partition("/")
        behaviour: grpc.RpcMethodHandler[ProcessingRequest, bytes] = grpc.stream_stream_rpc_method_handler(
            self._process, request_deserializer=ProcessingRequest.FromString, response_serializer=None
        )
        return grpc.method_handlers_generic_handler(name, {method: behaviour})

    async def _process(self, _messages: AsyncIterator[ProcessingRequest], call: Call) -> None:
        first = await call.read()
        if not isinstance(first, ProcessingRequest):
            return
        fields = first.request_headers.headers.headers
        number = next(field.raw_value.decode() for field in fields if field.key == "x-cell")
        if number == WITNESS:
            await call.write(reply_bytes(REPLIES["refuse"]))
            return
        cell = self.by_number[number]
        script = Script(cell, call, first, self.folder / "client")
        try:
            await script.run()
        finally:
            # Envoy may have cancelled the call at the reply itself; and its end shows only after it.
            later = asyncio.create_task(self._release(cell, ended=script.ends_here))
            self._releasing.add(later)
            later.add_done_callback(self._releasing.discard)

    async def _release(self, cell: Cell, *, ended: bool) -> None:
        if ended:
            await witness(self.folder / "client")
        cell.release()

    # --- the upstream -----------------------------------------------------------------------

    async def upstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one HTTP/1.1 request as its cell's gates open; note all that arrives."""
        collecting: asyncio.Task[None] | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            cell = self.by_number[_field(head, b"x-cell")]
            cell.at_upstream += head
            collecting = asyncio.create_task(_collect(reader, cell.at_upstream))
            await cell.gates[Gate.ANSWER_HEAD].wait()
            writer.write(b"HTTP/1.1 200 OK\r\nx-word: UNJUDGED\r\ntransfer-encoding: chunked\r\n\r\n")
            await cell.gates[Gate.ANSWER_BODY].wait()
            writer.write(_chunk(b"UNJUDGED answer"))
            await cell.gates[Gate.ANSWER_END].wait()
            writer.write(
                _chunk(b"UNJUDGED answer, second part") + _last_chunk(trailers=cell.answer_trailers)
            )
            await writer.drain()
            await collecting
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # Envoy gave the request up: that is an outcome, and the cell has it.
        finally:
            if collecting is not None:
                collecting.cancel()
            await closed(writer)


# --- the client ------------------------------------------------------------------------------


async def call(cell: Cell, number: str, socket: Path, silence_s: float) -> None:
    """Send the cell's request through Envoy as its gates open; note all that comes back."""
    async with connected(socket) as (reader, writer):
        arriving = asyncio.create_task(_collect(reader, cell.at_client))
        # A cell that is not reached in time stays so marked, and its test fails.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REACH_DEADLINE_S):
                await _send(cell, number, writer)
                await cell.replied.wait()
            done, _ = await asyncio.wait({arriving}, timeout=silence_s)
            cell.client_eof = bool(done)
        cell.release()
        arriving.cancel()


@contextlib.asynccontextmanager
async def connected(socket: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is closed for good on leaving."""
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        yield reader, writer
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close, whatever the other side has done meanwhile."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def witness(client: Path) -> None:
    """Return when Envoy has read all that was written to it before.

    Every call of the ext_proc service is on one HTTP/2 connection, which Envoy reads in order: so when a
    request of its own has been refused, whatever was written earlier has taken effect.
    """
    async with connected(client) as (reader, writer):
        writer.write(_head(WITNESS))
        refused = await reader.read()
    if b"refused" not in refused:
        raise RuntimeError("the witness was not refused")


def _head(number: str) -> bytes:
    return (
        b"POST / HTTP/1.1\r\nhost: cell\r\nx-cell: " + number.encode() + b"\r\n"
        b"x-word: UNJUDGED\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )


async def _send(cell: Cell, number: str, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(_head(number))
        await cell.gates[Gate.REQUEST_BODY].wait()
        writer.write(_chunk(b"UNJUDGED request"))
        await cell.gates[Gate.REQUEST_END].wait()
        writer.write(_chunk(b"UNJUDGED request, second part"))
        writer.write(_last_chunk(trailers=cell.request_trailers))
        await writer.drain()


async def _collect(reader: asyncio.StreamReader, into: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65_536):
            into += piece


def _field(head: bytes, name: bytes) -> str:
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return next(value.strip().decode() for key, _, value in lines if key.lower() == name)


def _chunk(text: bytes) -> bytes:
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


def _last_chunk(*, trailers: bool) -> bytes:
    return b"0\r\nx-trailer: end\r\n\r\n" if trailers else b"0\r\n\r\n"


# --- Envoy -----------------------------------------------------------------------------------

BOOTSTRAP = Path(__file__).parents[2] / "envoy" / "bootstrap.yaml"


def ext_proc_settings() -> object:
    """What our bootstrap says of the filter, word for word."""
    bootstrap = yaml.safe_load(re.sub(r"\$\{[A-Z_]+\}", "1", BOOTSTRAP.read_text()))
    filters = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    http_filters = filters[0]["typed_config"]["http_filters"]
    return next(one["typed_config"] for one in http_filters if one["name"] == "envoy.filters.http.ext_proc")


_HTTP1: dict[str, object] = {
    "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
    # A reused connection would mix the bytes of two cells.
    "common_http_protocol_options": {"max_requests_per_connection": 1},
}
_HTTP2: dict[str, object] = {"explicit_http_config": {"http2_protocol_options": {}}}


def envoy_config(folder: Path) -> str:
    """A configuration with unix sockets only: ``client``, ``extproc`` and ``upstream`` in ``folder``."""
    filters = [
        {"name": "envoy.filters.http.ext_proc", "typed_config": ext_proc_settings()},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        },
    ]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}
    http = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "cells",
        "http_protocol_options": {"enable_trailers": True},
        # Else Envoy keeps each refused connection open for a second.
        "delayed_close_timeout": "0.05s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    }
    chain = {"filters": [{"name": "http", "typed_config": http}]}
    listener = {"name": "cells", "address": _pipe(folder / "client"), "filter_chains": [chain]}
    clusters = [_cluster("extproc", folder, _HTTP2), _cluster("upstream", folder, _HTTP1)]
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}})


def _pipe(path: Path) -> dict[str, object]:
    return {"pipe": {"path": str(path)}}


def _cluster(name: str, folder: Path, protocol: dict[str, object]) -> dict[str, object]:
    endpoint = {"endpoint": {"address": _pipe(folder / name)}}
    thresholds = [{"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}]
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        # A reused connection would mix the bytes of two cells.
        **(
            {}
            if protocol is _HTTP2
            else {"common_http_protocol_options": {"max_requests_per_connection": 1}}
        ),
        **protocol,
    }
    return {
        "name": name,
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": thresholds},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


@contextlib.asynccontextmanager
async def running_envoy(folder: Path, envoy: Path) -> AsyncIterator[None]:
    """Envoy on ``folder/client``; ended on leaving."""
    config = folder / "envoy.json"
    config.write_text(envoy_config(folder))
    log = (folder / "envoy.log").open("wb")
    options = ("-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning")
    process = await asyncio.create_subprocess_exec(str(envoy), *options, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(REACH_DEADLINE_S):
            while not await _accepts(folder / "client"):
                if process.returncode is not None:
                    raise RuntimeError((folder / "envoy.log").read_text()[-2000:])
                await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()


async def _accepts(socket: Path) -> bool:
    try:
        async with connected(socket):
            return True
    except OSError:
        return False


async def run_cells(cells: Cells, envoy: Path, *, silence_s: float) -> None:
    """Run every cell around one Envoy. A cell in which nothing happens for ``silence_s`` waits."""
    folder = cells.folder
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((cells.service(),))
    server.add_insecure_port(f"unix:{folder / 'extproc'}")
    await server.start()
    upstream = await asyncio.start_unix_server(cells.upstream, folder / "upstream", backlog=1024)
    turn = asyncio.Semaphore(CONCURRENT_MAX)

    async def in_turn(number: str, cell: Cell) -> None:
        async with turn:
            await call(cell, number, folder / "client", silence_s)

    try:
        async with running_envoy(folder, envoy):
            await witness(folder / "client")  # Opens the one connection to the service.
            await asyncio.gather(*(in_turn(number, cell) for number, cell in cells.by_number.items()))
    finally:
        upstream.close()
        await server.stop(0)
