"""Makes Triton's environment: once, from the hash-pinned lock, with a word on what is going on."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extproc.demo import triton_env
from extproc.demo.assets import asset
from extproc.demo.process import tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK: Final = "requirements/triton.lock"
_STAMP: Final = "headgate-lock.sha256"
_MACHINES: Final = ("x86_64", "aarch64")


class InstallFailed(Exception):  # noqa: N818 - reads as what it says.
    """Triton's environment could not be made; says what to do."""


def triton_environment(state: Path) -> Path:
    """Where it stands under the demo's state folder."""
    return state.resolve() / "triton-venv"


def install_triton(state: Path, told: Callable[[str], None] = lambda _line: None) -> Path:
    """Make the environment unless the one there was made from the same lock.

    Args:
        state: The demo's folder.
        told: Is told each step in a few words.

    Returns:
        The environment's folder.

    Raises:
        InstallFailed: it cannot be made on this machine, or packages could not be had.
    """
    environment = triton_environment(state)
    lock = asset(LOCK)
    with _alone(state, told):
        _install(environment, lock, told)
    return environment


def main() -> None:
    """Make the environment in the folder that the demo and the tests use, from a shell."""
    try:
        install_triton(Path(".headgate"), lambda step: print(f"  {step}", file=sys.stderr, flush=True))  # noqa: T201 - a command.
    except InstallFailed as error:
        sys.exit(f"headgate: {error}")


@contextmanager
def _alone(state: Path, told: Callable[[str], None]) -> Iterator[None]:
    """One installation at a time per folder: a second one waits for the first and finds it done."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "install.lock").open("w") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told("waiting for another installation")
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _install(environment: Path, lock: Path, told: Callable[[str], None]) -> None:
    digest = _digest(lock)
    stamp = environment / _STAMP
    if stamp.is_file() and stamp.read_text() == digest and triton_env.is_installed(environment):
        return
    _check_machine()
    stamp.unlink(missing_ok=True)
    told("making Triton's environment")
    _make_environment(environment)
    _install_packages(environment, lock, told)
    told("laying Triton's Python backend out")
    try:
        triton_env.lay_out_backend(environment)
    except FileNotFoundError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InstallFailed(f"Triton's wheel has no stub for Python {version}; use Python 3.11") from None
    stamp.write_text(digest)


def _digest(lock: Path) -> str:
    # The interpreter's version too: another one has other wheels and another stub.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return hashlib.sha256(lock.read_bytes() + version.encode()).hexdigest()


def _check_machine() -> None:
    machine = os.uname()
    if machine.sysname != "Linux" or machine.machine not in _MACHINES:
        raise InstallFailed("the demo's Triton runs on Linux only, on x86-64 or arm64")


def _make_environment(environment: Path) -> None:
    python = environment / "bin" / "python"
    if python.exists() and _runs(python):
        return
    shutil.rmtree(environment, ignore_errors=True)
    try:
        venv.create(environment, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, OSError):
        raise InstallFailed(
            "a virtual environment with pip could not be made: this Python has no ensurepip. "
            "On Debian or Ubuntu install python3-venv"
        ) from None


def _runs(python: Path) -> bool:
    asked = [str(python), "-I", "-c", "import pip, sys; print('%d.%d' % sys.version_info[:2])"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - our own environment's.
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return answer.returncode == 0 and answer.stdout.strip() == own


def _install_packages(environment: Path, lock: Path, told: Callable[[str], None]) -> None:
    log_path = environment / "install.log"
    command = [
        str(environment / "bin" / "python"),
        *("-I", "-m", "pip", "--disable-pip-version-check", "--no-input"),
        *("install", "--require-hashes", "--only-binary", ":all:", "--requirement", str(lock)),
    ]
    told("downloading Triton (about 100 MB)")
    with (
        log_path.open("w") as log,
        subprocess.Popen(  # noqa: S603 - our own environment's pip.
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as pip,
    ):
        for line in pip.stdout or ():
            log.write(line)
            log.flush()
            if step := _step(line):
                told(step)
        failed = pip.wait() != 0
    if failed:
        lines = "\n".join(f"  {line}" for line in tail(log_path))
        raise InstallFailed(
            "packages for Triton could not be installed; is the package index reachable?\n"
            f"{lines}\n  (whole log: {log_path})"
        )


def _step(line: str) -> str:
    """A line of pip's in a few words; empty where it says nothing to a reader."""
    words = line.split()
    match words:
        case ["Collecting", requirement, *_]:
            return f"fetching {requirement.partition('==')[0]}"
        case ["Installing", "collected", "packages:", *_]:
            return "installing Triton's packages"
        case _:
            return ""


if __name__ == "__main__":
    main()
