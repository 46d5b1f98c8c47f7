"""Imports go in one direction, and nothing below edge/ touches the outside world."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = ("domain", "wire", "redaction", "core", "codecs", "guards")
# What each package may import of extproc; app joins what may not see each other.
MAY_IMPORT = {
    "domain": {"domain"},
    "policy": {"domain", "policy"},
    "wire": {"domain", "wire"},
    "redaction": {"domain", "wire", "redaction"},
    "core": {"domain", "wire", "redaction", "core"},
    "codecs": {"domain", "wire", "redaction", "codecs"},
    "guards": {"domain", "wire", "redaction", "guards"},
    "pb": {"pb"},
    "edge": {"domain", "policy", "wire", "redaction", "core", "codecs", "guards", "pb", "edge"},
}
BANNED = {"grpc", "redis", "asyncio", "time", "random", "socket", "os", "threading", "onnxruntime"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_no_arrow_points_upward(package):
    for path in modules(f"extproc/{package}"):
        used = {name.split(".")[1] for name in imports(path) if name.startswith("extproc.")}
        assert used <= MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {used - MAY_IMPORT[package]}"


@pytest.mark.parametrize("package", PURE)
def test_the_pure_packages_touch_nothing_outside(package):
    for path in modules(f"extproc/{package}"):
        used = {name.split(".")[0] for name in imports(path)}
        assert not used & BANNED, f"{path.relative_to(ROOT)} imports {used & BANNED}"


def test_classifiers_know_nothing_of_the_filter():
    for path in modules("classifiers"):
        assert not {name for name in imports(path) if name.split(".")[0] == "extproc"}


def test_every_package_has_modules():
    assert all(modules(f"extproc/{package}") for package in MAY_IMPORT)
