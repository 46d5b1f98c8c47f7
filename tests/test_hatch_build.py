"""The build of the kernel: there, or cleanly absent."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import shutil
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = "extproc/redaction/_kernel.c"
BUILT = "extproc/redaction/_kernel.abi3.so"


class App:
    """What hatch prints with."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)


def load(name: str, loader: importlib.machinery.SourceFileLoader | importlib.machinery.ExtensionFileLoader):
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


HOOK: ModuleType = load(
    "hatch_build", importlib.machinery.SourceFileLoader("hatch_build", str(ROOT / "hatch_build.py"))
)
can_build = pytest.mark.skipif(
    shutil.which("cc") is None or not Path(sysconfig.get_path("include"), "Python.h").is_file(),
    reason="no C compiler with Python's headers",
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HEADGATE_KERNEL", raising=False)
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / SOURCE).parent.mkdir(parents=True)
    shutil.copy(ROOT / SOURCE, tmp_path / SOURCE)
    return tmp_path


def build(checkout: Path, version: str = "standard") -> tuple[dict[str, object], list[str]]:
    app = App()
    told: dict[str, object] = {"artifacts": []}
    HOOK.KernelBuildHook(str(checkout), {}, None, None, "", "wheel", app).initialize(version, told)
    return told, app.warnings


@can_build
def test_a_wheel_gets_the_kernel_of_this_source(checkout):
    told, warnings = build(checkout)
    assert warnings == []
    assert told["artifacts"] == [BUILT]
    assert told["pure_python"] is False
    assert str(told["tag"]).startswith("cp311-abi3-linux_")
    built = load("_kernel", importlib.machinery.ExtensionFileLoader("_kernel", str(checkout / BUILT)))
    assert hashlib.sha256((ROOT / SOURCE).read_bytes()).hexdigest() == built.SOURCE_DIGEST
    assert [path.name for path in (checkout / BUILT).parent.iterdir() if path.name != "_kernel.c"] == [
        "_kernel.abi3.so"
    ]


@can_build
def test_an_editable_install_has_it_in_its_place_and_says_nothing_of_it(checkout):
    assert build(checkout, "editable") == ({"artifacts": []}, [])
    assert (checkout / BUILT).is_file()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("HEADGATE_KERNEL", "off", "HEADGATE_KERNEL is off"),
        ("CC", "no-such-compiler -O2", "there is no C compiler"),
        ("CC", "", "there is no C compiler"),
        ("CC", "false", "the compiler failed"),
    ],
)
def test_without_it_the_package_is_built_all_the_same(name, value, why, checkout, monkeypatch):
    # One that an earlier build left would be of who knows which source.
    (checkout / BUILT).write_bytes(b"stale")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(HOOK, "_has_headers", lambda _folder: True)
    told, warnings = build(checkout)
    assert told == {"artifacts": []}
    assert len(warnings) == 1
    assert why in warnings[0]
    assert [path.name for path in (checkout / BUILT).parent.iterdir()] == ["_kernel.c"]


def test_headers_are_needed(checkout, monkeypatch):
    monkeypatch.setattr(HOOK, "_has_headers", lambda _folder: False)
    assert build(checkout)[1] == ["without the redaction kernel: Python's headers are not installed"]


def test_a_build_that_requires_it_fails_without_it(checkout, monkeypatch):
    monkeypatch.setenv("HEADGATE_KERNEL", "required")
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(HOOK, "_has_headers", lambda _folder: True)
    with pytest.raises(RuntimeError, match="there is no C compiler"):
        build(checkout)
