"""The committed modules are what the compiler makes of proto/."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def generate(tmp_path, monkeypatch) -> ModuleType:
    """proto/generate.py, with a copy of extproc/pb to write to."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path in module.PB_ROOT.glob("*_pb2.py*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "PB_ROOT", tmp_path)
    return module


def test_generating_again_gives_the_same_bytes(generate):
    assert generate.stale(generate.compiled()) == []
    assert generate.main(["--check"]) == 0


def test_every_proto_file_has_its_module(generate):
    assert sorted(generate.compiled()) == [
        "extproc_wire_pb2.py",
        "extproc_wire_pb2.pyi",
        "verdict_pb2.py",
        "verdict_pb2.pyi",
    ]


def test_drift_is_told_and_mended(generate, tmp_path, capsys):
    (tmp_path / "verdict_pb2.py").write_bytes(b"# edited by hand\n")
    (tmp_path / "gone_pb2.py").write_bytes(b"")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "extproc/pb/gone_pb2.py is stale: run python proto/generate.py",
        "extproc/pb/verdict_pb2.py is stale: run python proto/generate.py",
    ]
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
