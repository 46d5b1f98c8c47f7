"""The composition root: the service is built here, and nowhere else.

What policy files and operators bring is built beside it, in files that nothing below knows: ``policies``,
``own_rules`` and ``judges``.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import grpc

from classifiers.classifier import Classifier
from classifiers.errors import ClassifierError
from classifiers.registry import load_shipped
from classifiers.runtimes import RuntimeOptions, discover
from extproc import codecs, judges, policies
from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS
from extproc.edge.admin import AdminServer
from extproc.edge.bodies import BodyKeeper
from extproc.edge.by_head import InferenceByHead
from extproc.edge.health import Health, ReadyLog
from extproc.edge.inference import InferenceBounds, InferenceService
from extproc.edge.ledger import Ledger
from extproc.edge.listen import open_port
from extproc.edge.otel import open_tracing
from extproc.edge.policy_source import PolicySource
from extproc.edge.readings import Readings
from extproc.edge.redis_login import FilePassword
from extproc.edge.room import Room
from extproc.edge.runner import Background, Services
from extproc.edge.servicer import Servicer
from extproc.edge.telemetry import Telemetry
from extproc.edge.tls import ServerTls, anyone, peer_check
from extproc.edge.verdict_log import VerdictLog
from extproc.edge.workers import Workers
from extproc.redaction import kernel
from extproc.settings import Settings, read_redis_password, split_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.edge.inference import Scoring

LOG = logging.getLogger("headgate")

_WHAT_TO_DO = {
    "redis": "until it is, requests under a budget get what its on_error says, a 503 if nothing else: "
    "start Redis or Valkey, or say where it is with --redis (HEADGATE_REDIS)",
    "classifier": "until it is, no new stream should come here: if it stays so, restart this process",
    "judge": "until it is, what a policy's moderation asks it about gets what its on_error says, a 503 if "
    "nothing else: start its server, or correct --judge-model",
    "verdict_log": "until it is, no new stream is taken: make room for the log or mend its permissions",
}


class StartError(HeadgateError):
    """The service cannot start; says which part, and what to do."""


# --- the service -----------------------------------------------------------------------------


def open_classifier(threads: int) -> Classifier:
    """The injection model, loaded and warmed up on ``threads`` threads.

    Raises:
        StartError: it cannot be.
    """
    try:
        model = load_shipped()
        runtime = discover()["onnx"].open(model, RuntimeOptions(threads=threads))
        return Classifier(model, runtime)
    except (ClassifierError, ImportError) as error:
        raise StartError(f"the injection model cannot be loaded: {error}") from None


class Service:
    """Every part of one process, and its life."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tls = None if settings.tls_files is None else ServerTls(settings.tls_files)
        name = settings.tls_client_name
        self._judges = _judges(settings)
        load = policies.loader(
            settings.policy.name,
            settings.pepper,
            keeps_bodies=settings.bodies is not None,
            heads=frozenset({judges.INJECTION, *self._judges.heads}),
        )
        self._policy = PolicySource(settings.policy, load, beside=(settings.pepper_file,))
        classifier = open_classifier(settings.threads)
        LOG.info("policy %s, digest %s", settings.policy.name, self._policy.status.digest)
        LOG.info("%s", classifier.describe())
        if self._judges.heads:
            LOG.info("%s", self._judges.description)
        LOG.info("redaction: %s", kernel.describe())
        self._inference = _inference(settings, classifier, self._judges)
        self._ledger = Ledger(settings.redis_url(), login=_redis_login(settings))
        self._records = VerdictLog(settings.verdict_log, limits=LIMITS)
        self._keeper: BodyKeeper | None = None
        if settings.bodies is not None:
            self._keeper = BodyKeeper(settings.bodies, self._records.emit, worker=settings.worker)
        self._background = Background()
        self._room = Room(LIMITS)
        self._telemetry = Telemetry()
        self._tracing = open_tracing(os.environ, joins_callers=settings.trust_traceparent)
        self._servicer = Servicer(
            policy=self._policy.on,
            codecs=codecs.discover(),
            services=Services(
                ledger=self._ledger,
                inference=self._inference,
                records=self._records,
                background=self._background,
                room=self._room,
                telemetry=self._telemetry,
                tracing=self._tracing,
                samples=self._keeper,
            ),
            limits=LIMITS,
            healthy=lambda: self._records.healthy,
            admits=anyone if name is None else peer_check(name),
        )
        self._health = Health()
        self._ready_log = ReadyLog(_WHAT_TO_DO)
        self._redis_ready = False
        self._serving = False
        self._telemetry.watch(self._readings())

    def _readings(self) -> Readings:
        return Readings(
            ready=self._ready,
            streams_open=lambda: self._servicer.streams_open,
            request_bodies_bytes=lambda: self._room.held_bytes,
            tasks_running=lambda: self._background.running,
            classifier_queue_texts=lambda: self._inference.waiting_texts,
            classifier_threads_busy=lambda: self._inference.busy_threads,
            ledger_available=lambda: self._ledger.available,
            verdict_log_queue_records=lambda: self._records.waiting,
            verdict_log_dropped=lambda: self._records.dropped,
            verdict_log_failures=lambda: self._records.failures,
            policy=lambda: self._policy.status,
            bodies=lambda: None if self._keeper is None else self._keeper.counts,
        )

    def _ready(self) -> Mapping[str, bool]:
        return {"serving": self._serving, **self._parts()}

    def _parts(self) -> Mapping[str, bool]:
        served = self._judges.served
        return {
            "redis": self._redis_ready,
            "classifier": self._inference.healthy,
            **({} if served is None else {"judge": served.ready}),
            "verdict_log": self._records.healthy,
        }

    async def run(self, *, leashed: bool = False) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        ``leashed`` says that the standard input ends with the parent, which ends this service too.

        Raises:
            StartError: the admin address cannot be listened on.
            ListenError: the address cannot.
        """
        server = _grpc_server()
        server.add_generic_rpc_handlers((self._servicer.method_handlers(),))
        await self._health.add_to(server)
        open_port(server, self._settings.listen, self._tls.credentials() if self._tls else None)
        host, port = split_address(self._settings.admin)
        try:
            admin = AdminServer(host=host, port=port, ready=self._ready, metrics=self._telemetry.exposition)
        except OSError as error:
            raise StartError(f"cannot listen on {self._settings.admin}: {error.strerror}") from None
        try:
            self._records.start()
        except OSError as error:
            log = self._settings.verdict_log
            raise StartError(f"--verdict-log: cannot write {log}: {error.strerror}") from None
        try:
            if self._keeper is not None:
                self._keeper.start()
        except OSError as error:
            raise StartError(f"--bodies: cannot write there: {error.strerror}") from None
        admin.start()
        await server.start()
        self._serving = True
        self._policy.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._policy.reload_soon)
        watches = [
            asyncio.create_task(watch())
            for watch in (self._watch_redis, self._watch_health, self._watch_judge)
        ]
        LOG.info("serving on %s, admin on %s", self._settings.listen, self._settings.admin)
        # What was built lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        try:
            await _stop_signal(leashed=leashed)
        finally:
            for watch in watches:
                watch.cancel()
            await self._stop(server)
            admin.close()

    async def _watch_redis(self) -> None:
        while True:
            self._redis_ready = await self._ledger.ready()
            why = {"redis": f"{self._settings.redis_place}: {self._ledger.fault}"}
            if self._judges.served is not None:
                why["judge"] = self._judges.served.fault
            self._ready_log.look(self._parts(), why=why)
            await asyncio.sleep(LIMITS.ready_interval_ms / 1000)

    async def _watch_judge(self) -> None:
        while self._judges.served is not None:
            await asyncio.to_thread(self._judges.served.look)
            await asyncio.sleep(LIMITS.ready_interval_ms / 1000)

    async def _watch_health(self) -> None:
        """Say SERVING while a new stream would be taken, and a classifier that hangs is not in its way."""
        while True:
            await self._health.set(serving=self._records.healthy and self._inference.healthy)
            await asyncio.sleep(LIMITS.health_refresh_ms / 1000)

    async def _stop(self, server: grpc.aio.Server) -> None:
        self._serving = False
        await self._health.set(serving=False)
        LOG.info("draining: new streams shall go elsewhere")
        # Envoy sends new streams until its next health check: these are still taken.
        await asyncio.sleep(self._settings.drain_notice_ms / 1000)
        timeout_s = LIMITS.drain_deadline_ms / 1000
        LOG.info("draining %d streams", self._servicer.streams_open)
        # GOAWAY: connections end with their last stream.
        goodbye = asyncio.create_task(server.stop(grace=timeout_s))
        await self._servicer.drain(timeout_s)
        await server.stop(grace=1)
        await goodbye
        left = await self._background.drain(timeout_s)
        if left:
            LOG.warning("%d settlements are left to their leases", left)
        await self._inference.close(drain_ms=LIMITS.drain_deadline_ms)
        if self._judges.served is not None:
            # Else a look at a server that hangs would hold the process up until each of its questions ends.
            self._judges.served.close()
        await self._ledger.close()
        if self._keeper is not None:
            # Before the verdict log: it writes the records of what it keeps.
            self._keeper.close()
        self._records.close()
        self._policy.close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        LOG.info("stopped")


def _judges(settings: Settings) -> judges.Judges:
    if settings.judge_model is None:
        return judges.NONE
    place = judges.JudgePlace(
        model=settings.judge_model, tokenizer=settings.judge_tokenizer, authorities=settings.judge_ca
    )
    return judges.open_judges(place, settings.threads)


def _inference(settings: Settings, classifier: Classifier, own: judges.Judges) -> InferenceByHead:
    def service(heads: Mapping[str, Scoring], workers: int) -> InferenceService:
        return InferenceService(
            heads,
            InferenceBounds(
                workers=workers,
                queue_texts_max=LIMITS.classify_queue_max,
                tenant_texts_max=LIMITS.classify_tenant_queue_max,
                windows_max=LIMITS.classify_windows_max,
                stall_ms=LIMITS.classify_stall_ms,
            ),
        )

    shipped = {judges.INJECTION: classifier}
    if own.served is None:
        return InferenceByHead(service({**shipped, **own.heads}, settings.inferences), {})
    remote = service(own.heads, settings.judge_calls)
    return InferenceByHead(service(shipped, settings.inferences), dict.fromkeys(own.heads, remote))


def _grpc_server() -> grpc.aio.Server:
    return grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", LIMITS.grpc_message_bytes_max),
            ("grpc.max_concurrent_streams", LIMITS.streams_open_max),
            # Two processes on one port leave one idle: Envoy keeps one connection per endpoint.
            ("grpc.so_reuseport", 0),
        )
    )


def _redis_login(settings: Settings) -> FilePassword | None:
    path = settings.redis_password_file
    return None if path is None else FilePassword(settings.redis_user, partial(read_redis_password, path))


async def _stop_signal(*, leashed: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if leashed:
        # Nobody writes to it: it becomes readable when the parent is gone.
        loop.add_reader(sys.stdin.fileno(), stop.set)
    await stop.wait()
    if leashed:
        loop.remove_reader(sys.stdin.fileno())


def run_service(settings: Settings, *, worker: int | None = None) -> None:
    """Run the filter until it is told to stop.

    With several workers this process is their parent, and ``worker`` makes it one of them.

    Raises:
        HeadgateError: it cannot start, or cannot go on; says why.
    """
    who = "" if worker is None else f" worker {worker}"
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s %(name)s{who}: %(message)s",
    )
    # Until the policy is there to be loaded again, a SIGHUP would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A core dump would hold prompts, answers and the pepper.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LOG.info(
        "headgate %s, python %s, grpc %s", version("headgate"), sys.version.split()[0], grpc.__version__
    )

    async def serve() -> None:
        if worker is None and settings.workers > 1:
            await _workers(settings).run()
        else:
            await Service(settings.each[worker or 0]).run(leashed=worker is not None)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def _workers(settings: Settings) -> Workers:
    # The same command line, so that each is a process of its own from its first instruction on.
    words = (sys.executable, *sys.orig_argv[1:])
    return Workers(
        lambda worker: (*words, "--worker", str(worker)),
        settings.workers,
        stop_ms=settings.drain_notice_ms + LIMITS.drain_deadline_ms + LIMITS.worker_stop_margin_ms,
    )


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform.
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop
