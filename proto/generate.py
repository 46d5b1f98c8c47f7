# ruff: noqa: INP001 - a script beside the files that it compiles, not a package.
"""Compile ``proto/headgate/*.proto`` to ``extproc/pb``; with ``--check``, only say whether they agree.

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
PB_ROOT = PROTO_ROOT.parent / "extproc" / "pb"


def compiled() -> dict[str, bytes]:
    """The generated modules by file name.

    Raises:
        RuntimeError: the compiler refused a file; it has written why to standard error.
    """
    sources = sorted(
        path.relative_to(PROTO_ROOT).as_posix() for path in PROTO_ROOT.glob("headgate/*.proto")
    )
    bundled = str(files("grpc_tools").joinpath("_proto"))
    with tempfile.TemporaryDirectory() as out:
        options = [f"-I{PROTO_ROOT}", f"-I{bundled}", f"--python_out={out}", f"--pyi_out={out}"]
        if protoc.main(["protoc", *options, *sources]) != 0:
            raise RuntimeError("protoc refused the files in proto/headgate")
        return {path.name: path.read_bytes() for path in sorted(Path(out).glob("headgate/*"))}


def stale(modules: dict[str, bytes]) -> list[str]:
    """Names of generated files that are missing, different or left over in ``extproc/pb``."""
    present = {path.name: path.read_bytes() for path in PB_ROOT.glob("*_pb2.py*")}
    return sorted(
        name for name in modules.keys() | present.keys() if modules.get(name) != present.get(name)
    )


def main(arguments: list[str]) -> int:
    """Write the modules, or check them; gives the exit status."""
    modules = compiled()
    different = stale(modules)
    if arguments == ["--check"]:
        for name in different:
            sys.stderr.write(f"extproc/pb/{name} is stale: run python proto/generate.py\n")
        return 1 if different else 0
    for name in different:
        if name in modules:
            (PB_ROOT / name).write_bytes(modules[name])
        else:
            (PB_ROOT / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
