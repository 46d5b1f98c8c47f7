"""Builds the redaction kernel, where there is a C compiler; the package works without it.

HEADGATE_KERNEL says otherwise: ``off`` builds none, ``required`` fails where it cannot be built.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOURCE = "extproc/redaction/_kernel.c"
# The limited API of Python 3.11: one build for it and every later version.
_BUILT = "extproc/redaction/_kernel.abi3.so"
_PYTHON_TAG, _ABI_TAG = "cp311", "abi3"
_FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-fstack-protector-strong", "-Wall")


class KernelBuildHook(BuildHookInterface[Any]):
    """Adds the kernel to the wheel; an editable install gets it in its place in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before the wheel is packed."""
        root = Path(self.root)
        built = root / _BUILT
        # Never one that was built from another source, or for another machine.
        built.unlink(missing_ok=True)
        why = _build(root / _SOURCE, built)
        if why:
            if os.environ.get("HEADGATE_KERNEL") == "required":
                raise RuntimeError(f"the redaction kernel cannot be built: {why}")
            self.app.display_warning(f"without the redaction kernel: {why}")
            return
        if version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = f"{_PYTHON_TAG}-{_ABI_TAG}-{_platform()}"
            build_data["artifacts"].append(_BUILT)

    def clean(self, versions: list[str]) -> None:  # noqa: ARG002 - all versions share it.
        """Remove what was built."""
        (Path(self.root) / _BUILT).unlink(missing_ok=True)


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _has_headers(folder: str) -> bool:
    return Path(folder, "Python.h").is_file()


def _missing(compiler: Sequence[str], headers: str) -> str:
    """What a build lacks; empty where it has all."""
    if os.environ.get("HEADGATE_KERNEL") == "off":
        return "HEADGATE_KERNEL is off"
    if sys.implementation.name != "cpython" or not sys.platform.startswith("linux"):
        return "it is built for CPython on Linux"
    if not _has_headers(headers):
        return "Python's headers are not installed"
    if not compiler or shutil.which(compiler[0]) is None:
        return "there is no C compiler"
    return ""


def _build(source: Path, target: Path) -> str:
    """Compile; gives why it cannot be, or nothing."""
    headers = sysconfig.get_path("include")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    missing = _missing(compiler, headers)
    if missing:
        return missing
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    # Put there when it is whole: another build may run beside this one.
    part = target.with_name(f"{target.name}.{os.getpid()}")
    options = [*_FLAGS, f"-I{headers}", f'-DSOURCE_DIGEST="{digest}"']
    try:
        command = [*compiler, *options, str(source), "-o", str(part)]
        # No shell; CC is the caller's own.
        subprocess.run(command, check=True, capture_output=True, timeout=300)  # noqa: S603 - as said.
        part.replace(target)
    except subprocess.CalledProcessError as error:
        return f"the compiler failed: {error.stderr.decode(errors='replace')[-500:]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the compiler failed: {type(error).__name__}"
    finally:
        part.unlink(missing_ok=True)
    return ""
