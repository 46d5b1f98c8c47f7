"""What is measured, as processes: the upstream, the clients, and an Envoy per configuration."""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from bench_policy import EVERYTHING, OUTPUT_ONLY, TENANT
from many_workers import SeveralWorkers, endpoints, with_cluster
from real_parts import without_filter

from extproc.demo.credentials import Credentials, issue
from extproc.demo.parts import Envoy, Headgate, Valkey
from extproc.demo.ports import free_port
from extproc.demo.process import Part

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_CHAT = "/v1/chat/completions"
_MESSAGES = re.compile(r"ext_proc\.stream_msgs_received: (\d+)")


class _Script(Part):
    """One of the scripts beside this file."""

    script: str

    def __init__(self, state: Path, *arguments: object) -> None:
        super().__init__(state)
        self.port = free_port()
        self._arguments = [str(one) for one in arguments]

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, _HERE / self.script, str(self.port), *self._arguments]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(_ROOT)}


class Upstream(_Script):
    """The model."""

    name = "upstream"
    script = "bench_upstream.py"

    def probe(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class Noop(_Script):
    """An ext_proc service without any work of its own."""

    name = "noop"
    script = "bench_noop.py"

    def probe(self) -> bool:
        # Envoy's own health check asks it; Envoy is only ready after that.
        return self.pid is not None


class TwoWorkers(SeveralWorkers):
    """The filter as two processes."""

    workers = 2


class Clients:
    """The load process."""

    def __init__(self, upstream_port: int, seed: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - a script of this folder; no shell.
            [sys.executable, _HERE / "bench_load.py", str(upstream_port), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, what: str, target: Mapping[str, object], **settings: object) -> dict[str, object]:
        """Carry a command out; gives its result."""
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("no pipes")
        self._process.stdin.write(json.dumps({"do": what, "target": dict(target), **settings}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load process ended")
        result: dict[str, object] = json.loads(line)
        return result

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True)
class Setup:
    """One configuration, running."""

    name: str
    envoy: Envoy
    service: Part | None
    key: str

    def target(self, *, wire: str = "openai", script: str = "prose") -> dict[str, object]:
        return {"port": self.envoy.port, "key": self.key, "wire": wire, "script": script}

    def cpu_s(self) -> tuple[float, float]:
        """User and system time so far: of the service with its workers, and of Envoy."""
        return _cpu_s(self.service), _cpu_s(self.envoy)

    def rss_bytes(self) -> int:
        """Resident memory of the service."""
        return sum(one.memory_info().rss for one in _processes(self.service))

    def messages(self) -> int:
        """Messages that the service has sent to Envoy."""
        connection = http.client.HTTPConnection("127.0.0.1", self.envoy.admin_port, timeout=5)
        connection.request("GET", "/stats?filter=ext_proc.stream_msgs")
        text = connection.getresponse().read().decode()
        connection.close()
        sent = re.search(r"ext_proc\.stream_msgs_sent: (\d+)", text)
        return int(sent[1]) if sent else 0


def _processes(part: Part | None) -> list[psutil.Process]:
    if part is None or part.pid is None:
        return []
    leader = psutil.Process(part.pid)
    return [leader, *leader.children(recursive=True)]


def _cpu_s(part: Part | None) -> float:
    spent = 0.0
    for one in _processes(part):
        times = one.cpu_times()
        spent += times.user + times.system
    return spent


# --- Envoy's configuration -------------------------------------------------------------------


def with_chat(text: str) -> str:
    """The configuration, with a route for chat completions where it has none."""
    configuration = yaml.safe_load(text)
    connection = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    hosts = connection["typed_config"]["route_config"]["virtual_hosts"]
    if _CHAT not in text:
        routes = hosts[0]["routes"]
        at, generate = next((at, one) for at, one in enumerate(routes) if one["name"] == "generate")
        chat = copy.deepcopy(generate)
        chat["name"] = "chat"
        chat["match"].pop("safe_regex")
        chat["match"]["path"] = _CHAT
        routes.insert(at, chat)
    for host in hosts:
        for route in host["routes"]:
            if "route" in route:
                route["route"]["cluster"] = "triton"
    return yaml.safe_dump(configuration)


# --- all of it -------------------------------------------------------------------------------


class Bench:
    """Starts configurations side by side, and ends them together."""

    def __init__(self, state: Path, seed: int) -> None:
        self._state = state
        self._stack = contextlib.ExitStack()
        self._upstream = self._run(Upstream(state / "upstream", seed))
        self._valkey = self._run(Valkey(state / "valkey"))
        self.clients = Clients(self._upstream.port, seed)
        self._stack.callback(self.clients.close)

    def _run(self, part: Part) -> Part:
        self._stack.callback(part.stop)
        part.start()
        part.wait_ready()
        return part

    def setups(self, names: Sequence[str]) -> Iterator[Setup]:
        """The configurations, started one after the other."""
        makers: Mapping[str, Callable[[Path], Setup]] = {
            "envoy": self._envoy_alone,
            "noop": self._noop,
            "output": lambda state: self._headgate("output", state, OUTPUT_ONLY, Headgate),
            "output x2": lambda state: self._headgate("output x2", state, OUTPUT_ONLY, TwoWorkers),
            "everything": lambda state: self._headgate("everything", state, EVERYTHING, Headgate),
        }
        for name in names:
            yield makers[name](self._state / name.replace(" ", "-"))

    def _envoy_alone(self, state: Path) -> Setup:
        return Setup(
            "envoy", self._envoy(state, 9, lambda text: without_filter(with_chat(text))), None, "none"
        )

    def _noop(self, state: Path) -> Setup:
        noop = Noop(state)
        self._run(noop)
        return Setup("noop", self._envoy(state, noop.port, with_chat), noop, "none")

    def _headgate(self, name: str, state: Path, policy: str, kind: type[Headgate]) -> Setup:
        credentials: Credentials = issue(state, template=policy, tenants=(TENANT,))
        assert isinstance(self._valkey, Valkey)
        headgate = kind(
            state,
            policy=credentials.policy_file,
            pepper=credentials.pepper_file,
            redis_url=self._valkey.url,
            verdict_log=state / "verdicts.jsonl",
        )
        edit = with_chat
        if isinstance(headgate, SeveralWorkers):
            first = headgate.port
            addresses = [f"127.0.0.1:{first + worker}" for worker in range(headgate.workers)]
            several = with_cluster(endpoints(addresses))

            def edit(text: str) -> str:
                return several(with_chat(text))

        self._run(headgate)
        return Setup(name, self._envoy(state, headgate.port, edit), headgate, credentials.keys[TENANT])

    def _envoy(self, state: Path, extproc_port: int, edit: Callable[[str], str]) -> Envoy:
        assert isinstance(self._upstream, Upstream)
        envoy = Envoy(
            state, triton_port=self._upstream.port, extproc_port=extproc_port, concurrency=1, edit=edit
        )
        self._run(envoy)
        return envoy

    def close(self) -> None:
        self._stack.close()
