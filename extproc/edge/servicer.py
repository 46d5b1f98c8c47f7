"""The gRPC servicer: one ``Process`` call per stream.

A call ends normally in exactly one place, after the core said that it is done. A call that merely
returned would make Envoy go on *unfiltered*, so every other way out aborts with a gRPC error.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING

import grpc

from extproc.core import events as ev
from extproc.core.refusals import bug_report
from extproc.core.stream import Stream
from extproc.domain.errors import PeerError
from extproc.edge.phases import IllegalReply, PhaseTable
from extproc.edge.runner import AbortStream, Services, StreamRunner, now_us
from extproc.edge.tls import anyone
from extproc.edge.translate import METHOD, event_of
from extproc.pb.extproc_wire_pb2 import ProcessingRequest
from extproc.policy.envoy_routes import ROUTE_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from extproc.domain.limits import Limits
    from extproc.domain.ports import Codec, PolicySnapshot
    from extproc.edge.tls import PeerProperties

LOG = logging.getLogger("headgate.servicer")

Context = grpc.aio.ServicerContext[ProcessingRequest, bytes]


class Servicer:
    """Serves ``envoy.service.ext_proc.v3.ExternalProcessor/Process``.

    ``policy`` gives a new stream's policy by the names that Envoy gave its route: none, one, or, where its
    configuration is wrong, several. ``admits`` says whether a peer may ask, by its certificate.
    """

    def __init__(  # noqa: PLR0913 - settings by name, each said once at the call.
        self,
        *,
        policy: Callable[[Sequence[str]], PolicySnapshot],
        codecs: Sequence[Codec],
        services: Services,
        limits: Limits,
        healthy: Callable[[], bool],
        admits: Callable[[PeerProperties], bool] = anyone,
    ) -> None:
        self._policy = policy
        self._codecs = codecs
        self._services = services
        self._limits = limits
        self._healthy = healthy
        self._admits = admits
        self._strangers = 0
        self._open = 0
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def streams_open(self) -> int:
        """Calls under way."""
        return self._open

    def method_handlers(self) -> grpc.GenericRpcHandler:
        """The handler to add to a server. Replies come serialised."""
        service, _, method = METHOD.strip("/").partition("/")
        return grpc.method_handlers_generic_handler(
            service,
            {
                method: grpc.stream_stream_rpc_method_handler(
                    self.process,
                    request_deserializer=ProcessingRequest.FromString,
                    response_serializer=None,
                )
            },
        )

    async def drain(self, timeout_s: float) -> int:
        """Take no new stream; wait for those that run. Gives how many still ran at the end."""
        self._draining = True
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            LOG.warning("drain: %d streams still run", self._open)
        return self._open

    async def process(self, _requests: AsyncIterator[ProcessingRequest], context: Context) -> None:
        """Carry one stream."""
        if not self._admits(context.auth_context()):
            self._note_stranger()
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not a peer")
        if self._draining or not self._healthy():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not serving")
        if self._open >= self._limits.streams_open_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        self._open += 1
        self._empty.clear()
        try:
            await self._process(context)
        finally:
            self._open -= 1
            if not self._open:
                self._empty.set()

    def _note_stranger(self) -> None:
        """Log the first, second, fourth, eighth…: a peer cannot fill the log."""
        self._strangers += 1
        if self._strangers & (self._strangers - 1) == 0:
            LOG.warning("%d streams refused: the client certificate has another name", self._strangers)

    async def _process(self, context: Context) -> None:
        abort = _LateAbort()
        phases = PhaseTable()
        runner = StreamRunner(
            stream=self._new_stream(_route_names(context)),
            phases=phases,
            services=self._services,
            write=context.write,
            abort_later=abort.set,
            traceparent=_traceparent(context),
        )
        why = "the stream is not done"
        try:
            await self._read(context, runner, phases)
            await runner.written()
            if runner.done and phases.may_end_cleanly:
                return  # The one normal end.
        except AbortStream as error:
            why = str(error)
        except (IllegalReply, PeerError) as error:
            why = "protocol"
            LOG.error("refused to go on: %s", error)  # noqa: TRY400 - the message is from a closed list.
        except asyncio.CancelledError:
            if not abort.wanted:
                raise
            why = "aborted by an effect"
        except Exception as error:  # noqa: BLE001 - whatever it was, the call must not end cleanly.
            report = bug_report(error)
            LOG.error("bug: %s at %s", report.kind, report.where)  # noqa: TRY400 - its text may quote a body.
            why = "bug"
        finally:
            runner.finish()
        await context.abort(grpc.StatusCode.INTERNAL, why)

    async def _read(self, context: Context, runner: StreamRunner, phases: PhaseTable) -> None:
        """Read until Envoy has closed its side."""
        while True:
            message = await context.read()
            if not isinstance(message, ProcessingRequest):
                return  # grpc.aio.EOF
            phases.opened(message)
            event = event_of(message, now_us())
            if (
                isinstance(event, ev.ResponseBody)
                and len(event.chunk) > self._limits.answer_slice_bytes_max
            ):
                await self._in_slices(runner, event)
            else:
                await runner.handle(event)

    async def _in_slices(self, runner: StreamRunner, event: ev.ResponseBody) -> None:
        """Judge a large chunk piece by piece, with a turn for the other streams after each."""
        size = self._limits.answer_slice_bytes_max
        for start in range(0, len(event.chunk), size):
            piece = event.chunk[start : start + size]
            last = start + size >= len(event.chunk)
            await runner.handle(ev.ResponseBody(now_us(), piece, event.end_stream and last))
            await asyncio.sleep(0)

    def _new_stream(self, routes: Sequence[str]) -> Stream:
        return Stream(
            stream_id=str(uuid.uuid4()),
            at_us=now_us(),
            at_unix_ms=time.time_ns() // 1_000_000,
            policy=self._policy(routes),
            codecs=self._codecs,
            limits=self._limits,
            bodies_kept=self._services.bodies_kept,
        )


def _route_names(context: Context) -> tuple[str, ...]:
    """The route's name: gRPC metadata from Envoy's configuration, never a header of the client's."""
    return _metadata(context, ROUTE_KEY)


def _traceparent(context: Context) -> str | None:
    """The span of Envoy's own tracing, which is metadata; a client's is a header."""
    found = _metadata(context, "traceparent")
    return found[0] if len(found) == 1 else None


def _metadata(context: Context, name: str) -> tuple[str, ...]:
    return tuple(str(value) for key, value in context.invocation_metadata() or () if key == name)


class _LateAbort:
    """Lets an effect's task end the call, which only the call's own task can do."""

    def __init__(self) -> None:
        self._call = asyncio.current_task()
        self.wanted = False

    def set(self) -> None:
        """Interrupt the call; it aborts itself."""
        self.wanted = True
        if self._call is not None and not self._call.done():
            self._call.cancel()
