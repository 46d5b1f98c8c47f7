# ruff: noqa: INP001 - a script beside the files that it compiles, not a package.
"""Compile ``proto/headgate`` to ``extproc/pb`` and ``proto/classifiers`` to ``classifiers/pb``.

With ``--check``, only say whether they agree.

The generated modules are committed, so that the service needs no compiler. Their bytes depend on the
grpcio-tools that requirements/dev.lock pins.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]  # it ships no types.

PROTO_ROOT = Path(__file__).resolve().parent
# By the folder of the sources: the two packages do not import each other.
PB_ROOTS = {
    "headgate": PROTO_ROOT.parent / "extproc" / "pb",
    "classifiers": PROTO_ROOT.parent / "classifiers" / "pb",
}


def compiled() -> dict[str, bytes]:
    """The generated modules by folder and file name.

    Raises:
        RuntimeError: the compiler refused a file; it has written why to standard error.
    """
    sources = sorted(path.relative_to(PROTO_ROOT).as_posix() for path in PROTO_ROOT.glob("*/*.proto"))
    bundled = str(files("grpc_tools").joinpath("_proto"))
    with tempfile.TemporaryDirectory() as out:
        options = [f"-I{PROTO_ROOT}", f"-I{bundled}", f"--python_out={out}", f"--pyi_out={out}"]
        if protoc.main(["protoc", *options, *sources]) != 0:
            raise RuntimeError("protoc refused the files in proto")
        made = sorted(Path(out).glob("*/*"))
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in made}


def present() -> dict[str, bytes]:
    """The committed modules, named as those that are compiled."""
    return {
        f"{folder}/{path.name}": path.read_bytes()
        for folder, root in PB_ROOTS.items()
        for path in root.glob("*_pb2.py*")
    }


def stale(modules: dict[str, bytes]) -> list[str]:
    """Names of generated files that are missing, different or left over."""
    there = present()
    return sorted(name for name in modules.keys() | there.keys() if modules.get(name) != there.get(name))


def _place(name: str) -> Path:
    folder, _, file = name.partition("/")
    return PB_ROOTS[folder] / file


def main(arguments: list[str]) -> int:
    """Write the modules, or check them; gives the exit status."""
    modules = compiled()
    different = stale(modules)
    if arguments == ["--check"]:
        for name in different:
            sys.stderr.write(f"the module of {name} is stale: run python proto/generate.py\n")
        return 1 if different else 0
    for name in different:
        if name in modules:
            _place(name).write_bytes(modules[name])
        else:
            _place(name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
