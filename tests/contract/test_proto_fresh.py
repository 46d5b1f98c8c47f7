"""The committed modules are what the compiler makes of proto/."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def generate(tmp_path, monkeypatch) -> ModuleType:
    """proto/generate.py, with copies of what it has made to write to."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    copies = {folder: tmp_path / folder for folder in module.PB_ROOTS}
    for folder, root in module.PB_ROOTS.items():
        copies[folder].mkdir()
        for path in root.glob("*_pb2.py*"):
            (copies[folder] / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "PB_ROOTS", copies)
    return module


def test_generating_again_gives_the_same_bytes(generate):
    assert generate.stale(generate.compiled()) == []
    assert generate.main(["--check"]) == 0


def test_every_proto_file_has_its_module(generate):
    assert sorted(generate.compiled()) == [
        "classifiers/kserve_wire_pb2.py",
        "classifiers/kserve_wire_pb2.pyi",
        "headgate/extproc_wire_pb2.py",
        "headgate/extproc_wire_pb2.pyi",
        "headgate/verdict_pb2.py",
        "headgate/verdict_pb2.pyi",
    ]


def test_drift_is_told_and_mended(generate, tmp_path, capsys):
    (tmp_path / "headgate" / "verdict_pb2.py").write_bytes(b"# edited by hand\n")
    (tmp_path / "classifiers" / "gone_pb2.py").write_bytes(b"")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "the module of classifiers/gone_pb2.py is stale: run python proto/generate.py",
        "the module of headgate/verdict_pb2.py is stale: run python proto/generate.py",
    ]
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
