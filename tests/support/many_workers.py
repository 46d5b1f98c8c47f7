"""The filter as several workers on UNIX sockets or ports, and an Envoy that lists them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import yaml
from real_parts import eventually

from extproc.demo.parts import Headgate
from extproc.edge.health import is_ready
from extproc.edge.listen import envoy_endpoints

Configuration = dict[str, object]


class SeveralWorkers(Headgate):
    """``headgate serve --workers 3``."""

    workers = 3
    ready_within_s = 90.0
    stop_within_s = 30.0

    def start(self) -> None:
        self.admin_port = free_ports(self.workers)
        super().start()

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--workers", str(self.workers)]

    def probe(self) -> bool:
        return all(self.is_ready(worker) for worker in range(self.workers))

    def is_ready(self, worker: int) -> bool:
        return is_ready("127.0.0.1", self.admin_port + worker)

    def worker_pid(self, worker: int) -> int:
        """The process that is this worker now."""
        assert self.pid is not None
        found = [
            one.pid
            for one in psutil.Process(self.pid).children()
            if one.cmdline()[-2:] == ["--worker", str(worker)]
        ]
        assert len(found) == 1
        return found[0]

    def signal_worker(self, worker: int, number: signal.Signals) -> int:
        pid = self.worker_pid(worker)
        os.kill(pid, number)
        return pid

    def comes_back(self, worker: int, instead_of: int, *, within_s: float = 60.0) -> bool:
        """Whether, within that time, another process is this worker and ready."""

        def back() -> bool:
            with contextlib.suppress(AssertionError, psutil.NoSuchProcess):
                return self.worker_pid(worker) != instead_of and self.is_ready(worker)
            return False

        return eventually(back, within_s=within_s)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for first in range(20_000, 32_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")


def with_cluster(
    change: Callable[[Configuration], None], *, top: Configuration | None = None
) -> Callable[[str], str]:
    """Envoy's configuration with the filter's cluster changed, and fields added at its top."""

    def edit(text: str) -> str:
        configuration = yaml.safe_load(text) | (top or {})
        (cluster,) = [
            one for one in configuration["static_resources"]["clusters"] if one["name"] == "extproc"
        ]
        change(cluster)
        return yaml.safe_dump(configuration)

    return edit


def endpoints(addresses: Sequence[str]) -> Callable[[Configuration], None]:
    """Lists these endpoints in the filter's cluster, as ``headgate serve`` prints them."""

    def change(cluster: Configuration) -> None:
        lines = yaml.safe_load(envoy_endpoints(addresses))
        cluster["load_assignment"] = {"cluster_name": "extproc", "endpoints": [lines]}

    return change


def cluster_states(admin_text: str) -> Mapping[str, str]:
    """Health flags by endpoint, from Envoy's ``/clusters``."""
    lines = [line.split("::") for line in admin_text.splitlines() if line.startswith("extproc::")]
    return {fields[1]: fields[3] for fields in lines if fields[2:3] == ["health_flags"]}
