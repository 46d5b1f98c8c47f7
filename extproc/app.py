"""The composition root: the only file that builds things."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from classifiers.classifier import Classifier
from classifiers.errors import ClassifierError
from classifiers.registry import load_shipped
from classifiers.runtimes import RuntimeOptions, discover
from extproc import codecs
from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS
from extproc.edge.admin import AdminServer
from extproc.edge.inference import InferenceBounds, InferenceService
from extproc.edge.ledger import Ledger
from extproc.edge.runner import Background, Services
from extproc.edge.servicer import Servicer
from extproc.edge.verdict_log import VerdictLog
from extproc.guards import guard_specs
from extproc.policy.describe import pipeline_text, summary_text
from extproc.policy.keys import hash_key
from extproc.policy.loading import LoadedPolicy, RuleVocabulary, load_policy
from extproc.policy.snapshot import build_snapshot
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.watches import Redactor
from extproc.settings import Settings, split_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.ports import PolicySnapshot

LOG = logging.getLogger("headgate")
_HASH_LABEL = "operator:hash"


class StartError(HeadgateError):
    """The service cannot start; says which part, and what to do."""


# --- the policy ------------------------------------------------------------------------------


def _vocabulary(redactor: Redactor) -> RuleVocabulary:
    packs: dict[str, set[str]] = {}
    for rule in ALL_RULES:
        packs.setdefault(rule.pack, set()).add(rule.entity_type)
    return RuleVocabulary(
        packs={pack: frozenset(types) for pack, types in packs.items()}, check=redactor.check
    )


def _load(path: Path, redactor: Redactor) -> LoadedPolicy:
    return load_policy(path, guard_specs(), _vocabulary(redactor))


def _snapshot(path: Path, redactor: Redactor, pepper: bytes) -> PolicySnapshot:
    return build_snapshot(
        _load(path, redactor),
        guard_specs(),
        key_hash=partial(hash_key, pepper),
        find=redactor.find,
        scanner=redactor,
    )


def _redactor(pepper: bytes) -> Redactor:
    # A key of its own, so that a redacted value's hash cannot be looked up among API keys' hashes.
    return Redactor(default_automaton(), hash_key=bytes.fromhex(hash_key(pepper, _HASH_LABEL)))


def default_policy() -> Path:
    """The shipped policy."""
    return Path(str(files("extproc.policy") / "default.yaml"))


def check_policy(path: Path) -> str:
    """What a policy holds, if it can be loaded.

    Raises:
        PolicyError: it cannot; one line per fault.
    """
    return summary_text(_load(path, _redactor(b"check")), guard_specs())


def describe_pipeline(path: Path | None) -> str:
    """The guards in the order in which they run, with each policy's modes.

    Raises:
        PolicyError: the file cannot be loaded.
    """
    loaded = _load(path or default_policy(), _redactor(b"describe"))
    return pipeline_text(loaded, guard_specs())


# --- the service -----------------------------------------------------------------------------


def _classifier(threads: int) -> Classifier:
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
        self._policy = _snapshot(settings.policy, _redactor(pepper), pepper)
        classifier = _classifier(settings.threads)
        LOG.info("policy %s, digest %s", settings.policy.name, self._policy.digest)
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
        self._servicer = Servicer(
            policy=lambda: self._policy,
            codecs=codecs.discover(),
            services=Services(
                ledger=self._ledger,
                inference=self._inference,
                records=self._records,
                background=self._background,
            ),
            limits=LIMITS,
            healthy=lambda: self._records.healthy,
        )
        self._redis_ready = False
        self._serving = False

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
            admin = AdminServer(host=host, port=port, ready=self._ready)
        except OSError as error:
            raise StartError(f"cannot listen on {self._settings.admin}: {error.strerror}") from None
        self._records.start()
        admin.start()
        await server.start()
        self._serving = True
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
