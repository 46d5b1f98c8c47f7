"""Where the demo's Triton lives and how it is run: the nvidia-pytriton wheel in an environment of its own.

Its Python backend reads every string as garbage under numpy 2, so it cannot share the service's.
"""

from __future__ import annotations

import os
import shutil
import signal
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from extproc.demo.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEATH_SIGNAL = signal.SIGTERM

# The stand-in model's folder; every name under which it is served is a copy of it.
STAND_IN = Path(__file__).parent / "models" / "vllm_stand_in"

_BACKENDS = "headgate-backends"
_STUB = "triton_python_backend_stub"


def is_installed(environment: Path) -> bool:
    """Whether the server and its backend are there."""
    return (_package(environment) / "bin" / "tritonserver").is_file() and _stub(environment).is_file()


def lay_out_backend(environment: Path) -> None:
    """Put the Python backend and its stub for this interpreter into one folder, as the server wants."""
    package = _package(environment)
    version = sysconfig.get_python_version()
    backend = environment / _BACKENDS / "python"
    shutil.rmtree(backend, ignore_errors=True)
    shutil.copytree(package / "backends" / "python", backend)
    shutil.copy2(package / "python_backend_stubs" / version / _STUB, backend / _STUB)


def lay_out_models(repository: Path, names: Sequence[str]) -> None:
    """Write a model repository in which the stand-in stands under each of these names."""
    shutil.rmtree(repository, ignore_errors=True)
    for name in names:
        shutil.copytree(STAND_IN, repository / name, ignore=shutil.ignore_patterns("__pycache__"))


def server_command(
    environment: Path, repository: Path, *, port: int, grpc_port: int, shared_memory: str
) -> Sequence[str | Path]:
    """The server's command line: HTTP and gRPC on loopback and nothing else.

    That build predates known fixes, so no other interface may ever reach it.
    """
    options = {
        "--model-repository": repository,
        "--backend-directory": environment / _BACKENDS,
        "--cache-directory": _package(environment) / "caches",
        "--http-address": LOOPBACK,
        "--http-port": port,
        "--grpc-address": LOOPBACK,
        "--grpc-port": grpc_port,
        "--allow-metrics": "false",
        "--model-load-thread-count": 1,
        # After a crash of its stub it waits this long before it ends; the default is 30.
        "--exit-timeout-secs": 3,
    }
    words = [word for name, value in options.items() for word in (name, str(value))]
    words.append(f"--backend-config=python,shm-region-prefix-name={shared_memory}")
    return [_package(environment) / "bin" / "tritonserver", *words]


def server_variables(environment: Path) -> Mapping[str, str]:
    """What it needs to find its libraries and its interpreter's packages."""
    libraries = (sysconfig.get_config_var("LIBDIR"), _site_packages(environment) / "nvidia_pytriton.libs")
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        # The stub asks the first `python3` of PATH for its packages, and ignores PYTHONPATH.
        "PATH": os.pathsep.join((str(environment / "bin"), os.environ.get("PATH", os.defpath))),
        # Otherwise the copied model gets a __pycache__ beside it.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _site_packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"


def _package(environment: Path) -> Path:
    return _site_packages(environment) / "pytriton" / "tritonserver"


def _stub(environment: Path) -> Path:
    return environment / _BACKENDS / "python" / _STUB
