"""The composition root: the only file that builds things."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import grpc

from classifiers.classifier import Classifier
from classifiers.errors import ClassifierError
from classifiers.registry import load_shipped
from classifiers.runtimes import RuntimeOptions, discover
from extproc import codecs, policies
from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS
from extproc.edge.admin import AdminServer
from extproc.edge.inference import InferenceBounds, InferenceService
from extproc.edge.ledger import Ledger
from extproc.edge.otel import open_tracing
from extproc.edge.policy_source import PolicySource
from extproc.edge.readings import Readings
from extproc.edge.runner import Background, Services
from extproc.edge.servicer import Servicer
from extproc.edge.telemetry import Telemetry
from extproc.edge.verdict_log import VerdictLog
from extproc.settings import Settings, split_address

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG = logging.getLogger("headgate")


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
        pepper = settings.pepper()
        load = policies.loader(settings.policy.name, policies.new_redactor(pepper), pepper)
        self._policy = PolicySource(settings.policy, load)
        classifier = open_classifier(settings.threads)
        LOG.info("policy %s, digest %s", settings.policy.name, self._policy.status.digest)
        LOG.info("%s", classifier.describe())
        self._inference = InferenceService(
            {"injection": classifier},
            InferenceBounds(
                workers=settings.inferences,
                queue_texts_max=LIMITS.classify_queue_max,
                windows_max=LIMITS.classify_windows_max,
                stall_ms=LIMITS.classify_stall_ms,
            ),
        )
        self._ledger = Ledger(settings.redis_url())
        self._records = VerdictLog(settings.verdict_log, limits=LIMITS)
        self._background = Background()
        self._telemetry = Telemetry()
        self._tracing = open_tracing(os.environ)
        self._servicer = Servicer(
            policy=self._policy.on,
            codecs=codecs.discover(),
            services=Services(
                ledger=self._ledger,
                inference=self._inference,
                records=self._records,
                background=self._background,
                telemetry=self._telemetry,
                tracing=self._tracing,
            ),
            limits=LIMITS,
            healthy=lambda: self._records.healthy,
        )
        self._redis_ready = False
        self._serving = False
        self._telemetry.watch(self._readings())

    def _readings(self) -> Readings:
        return Readings(
            ready=self._ready,
            streams_open=lambda: self._servicer.streams_open,
            tasks_running=lambda: self._background.running,
            classifier_queue_texts=lambda: self._inference.waiting_texts,
            classifier_threads_busy=lambda: self._inference.busy_threads,
            ledger_available=lambda: self._ledger.available,
            verdict_log_queue_records=lambda: self._records.waiting,
            verdict_log_dropped=lambda: self._records.dropped,
            verdict_log_failures=lambda: self._records.failures,
            policy=lambda: self._policy.status,
        )

    def _ready(self) -> Mapping[str, bool]:
        return {
            "serving": self._serving,
            "redis": self._redis_ready,
            "classifier": self._inference.healthy,
            "verdict_log": self._records.healthy,
        }

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Raises:
            StartError: the address cannot be listened on.
        """
        server = _grpc_server()
        server.add_generic_rpc_handlers((self._servicer.method_handlers(),))
        try:
            server.add_insecure_port(self._settings.listen)
        except RuntimeError:
            raise StartError(f"cannot listen on {self._settings.listen}: is it in use?") from None
        host, port = split_address(self._settings.admin)
        try:
            admin = AdminServer(
                host=host, port=port, ready=self._ready, metrics=self._telemetry.exposition
            )
        except OSError as error:
            raise StartError(f"cannot listen on {self._settings.admin}: {error.strerror}") from None
        self._records.start()
        admin.start()
        await server.start()
        self._serving = True
        self._policy.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._policy.reload_soon)
        watch = asyncio.create_task(self._watch_redis())
        LOG.info("serving on %s, admin on %s", self._settings.listen, self._settings.admin)
        # What was built lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        try:
            await _stop_signal()
        finally:
            watch.cancel()
            await self._stop(server)
            admin.close()

    async def _watch_redis(self) -> None:
        while True:
            self._redis_ready = await self._ledger.ready()
            await asyncio.sleep(LIMITS.ready_interval_ms / 1000)

    async def _stop(self, server: grpc.aio.Server) -> None:
        self._serving = False
        timeout_s = LIMITS.drain_deadline_ms / 1000
        LOG.info("draining %d streams", self._servicer.streams_open)
        await self._servicer.drain(timeout_s)
        await server.stop(grace=1)
        left = await self._background.drain(timeout_s)
        if left:
            LOG.warning("%d settlements are left to their leases", left)
        await self._inference.close(drain_ms=LIMITS.drain_deadline_ms)
        await self._ledger.close()
        self._records.close()
        self._policy.close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        LOG.info("stopped")


def _grpc_server() -> grpc.aio.Server:
    return grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", LIMITS.grpc_message_bytes_max),
            ("grpc.max_concurrent_streams", LIMITS.streams_open_max),
            # Two processes on one port leave one idle: Envoy keeps one connection per endpoint.
            ("grpc.so_reuseport", 0),
        )
    )


async def _stop_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def run_service(settings: Settings) -> None:
    """Run the filter in this process until it is told to stop.

    Raises:
        HeadgateError: it cannot start; says why.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Until the policy is there to be loaded again, a SIGHUP would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A core dump would hold prompts, answers and the pepper.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LOG.info(
        "headgate %s, python %s, grpc %s", version("headgate"), sys.version.split()[0], grpc.__version__
    )

    async def serve() -> None:
        await Service(settings).run()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform.
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop
