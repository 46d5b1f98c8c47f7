from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from extproc.demo import install, triton_env


class Steps:
    """Stands in for what makes an environment; notes what was done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.done: list[str] = []
        self.lock = tmp_path / "triton.lock"
        self.lock.write_text("nvidia-pytriton==1 --hash=sha256:0\n")
        self.state = tmp_path / "state"
        monkeypatch.setattr(install, "asset", lambda _name: self.lock)
        monkeypatch.setattr(install, "_make_environment", self.make)
        monkeypatch.setattr(install, "_install_packages", lambda *_: self.done.append("packages"))
        monkeypatch.setattr(triton_env, "lay_out_backend", lambda _: self.done.append("backend"))
        monkeypatch.setattr(triton_env, "is_installed", lambda _: True)

    def make(self, environment: Path) -> None:
        environment.mkdir(parents=True, exist_ok=True)
        self.done.append("environment")

    def install(self) -> list[str]:
        self.done.clear()
        install.install_triton(self.state)
        return list(self.done)


ALL = ["environment", "packages", "backend"]


@pytest.fixture
def steps(monkeypatch, tmp_path):
    return Steps(monkeypatch, tmp_path)


def test_a_second_installation_does_nothing(steps):
    assert [steps.install(), steps.install()] == [ALL, []]


def test_a_changed_lock_installs_again(steps):
    steps.install()
    steps.lock.write_text("nvidia-pytriton==2 --hash=sha256:0\n")
    assert [steps.install(), steps.install()] == [ALL, []]


def test_a_broken_environment_is_installed_again(steps, monkeypatch):
    steps.install()
    monkeypatch.setattr(triton_env, "is_installed", lambda _: False)
    assert steps.install() == ALL


def test_an_installation_that_failed_leaves_no_stamp(steps, monkeypatch):
    def fail(*_):
        raise install.InstallFailed("no network")

    with monkeypatch.context() as broken:
        broken.setattr(install, "_install_packages", fail)
        with pytest.raises(install.InstallFailed, match="no network"):
            steps.install()
    assert steps.install() == ALL


def test_a_python_without_a_stub_is_said(steps, monkeypatch):
    def fail(_):
        raise FileNotFoundError

    monkeypatch.setattr(triton_env, "lay_out_backend", fail)
    with pytest.raises(install.InstallFailed, match=r"no stub for Python 3\.\d+; use Python 3\.11"):
        steps.install()


def test_a_second_installation_waits_for_the_first(steps):
    steps.state.mkdir()
    told = threading.Event()
    with (steps.state / "install.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        waiter = threading.Thread(target=install.install_triton, args=(steps.state, lambda _: told.set()))
        waiter.start()
        assert told.wait(10)
        assert steps.done == []
    waiter.join(10)
    assert steps.done == ALL


def test_packages_that_cannot_be_had_are_said_with_the_end_of_pips_log(tmp_path):
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    pip = environment / "bin" / "python"
    pip.write_text("#!/bin/sh\necho Collecting nothing==1\necho ERROR: no route to host\nexit 1\n")
    pip.chmod(0o755)
    told = []
    with pytest.raises(install.InstallFailed) as failed:
        install._install_packages(environment, tmp_path / "a.lock", told.append)
    lines = str(failed.value).splitlines()
    assert lines[0].endswith("is the package index reachable?")
    assert lines[2] == "  ERROR: no route to host"
    assert told[-1] == "fetching nothing"


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("Collecting numpy==1.26.4\n", "fetching numpy"),
        ("Installing collected packages: a, b\n", "installing Triton's packages"),
        ("  Downloading numpy.whl (18 MB)\n", ""),
        ("\n", ""),
    ],
)
def test_what_pip_says_becomes_a_few_words(line, step):
    assert install._step(line) == step


def test_models_are_laid_out_under_each_name(tmp_path):
    triton_env.lay_out_models(tmp_path / "models", ["one", "two"])
    files = {str(path.relative_to(tmp_path / "models")) for path in (tmp_path / "models").rglob("*.*")}
    assert files == {
        f"{name}/{file}"
        for name in ("one", "two")
        for file in ("config.pbtxt", "1/model.py", "1/scripts.py")
    }
