"""The mutation run itself, on a few of its bugs: all of them are `make mutants`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from redaction_bugs import ROOT, Bug, bugs, tree

from extproc.redaction import kernel

SLICE = """
import sys; sys.path.insert(0, {support!r})
import extproc.redaction.engine as engine, redaction_fuzz
assert engine.__file__.startswith({folder!r})
sys.exit(3 if redaction_fuzz.run(1, 1, 1_500, toys_share=1.0).differences else 0)
"""


def differs(folder: Path, bug: Bug | None) -> bool:
    """Whether a slice of the fuzz, in a tree with the bug, finds a difference."""
    tree(folder, bug)
    code = SLICE.format(folder=str(folder), support=str(ROOT / "tests" / "support"))
    ended = subprocess.run(  # noqa: S603 - our own code.
        [sys.executable, "-c", code], cwd=folder, capture_output=True, timeout=110, check=False
    )
    assert ended.returncode in {0, 3}, ended.stderr[-2000:]
    return ended.returncode == 3


def test_every_place_that_a_bug_needs_is_there():
    assert [bug.name for bug in bugs() if not bug.there()] == []
    assert len({bug.name for bug in bugs()}) == len(bugs()) >= 60


def test_a_tree_without_a_bug_differs_nowhere(tmp_path):
    assert not differs(tmp_path, None)


SOME = [
    "the kernel does not stop at a match",
    "text goes on at a match's start",
    "only the longest end is validated",
]


@pytest.mark.parametrize("name", SOME)
def test_a_slice_of_the_fuzz_notices(name, tmp_path):
    if "kernel" in name and not kernel.AVAILABLE:
        pytest.skip("no kernel was built")
    assert differs(tmp_path, next(bug for bug in bugs() if bug.name == name))


def test_the_run_tells_a_killed_bug_from_one_that_survives(tmp_path):
    path = ROOT / "tests" / "fuzz" / "redaction_mutants.py"
    spec = importlib.util.spec_from_file_location("redaction_mutants", path)
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    stages = {"the only one": ["test_operators.py"]}
    harmless = Bug(
        "a word in a comment", "operators.py", '"""The entity type in brackets."""', '"""The type."""'
    )
    bad = Bug(
        "brackets are round", "operators.py", 'return f"[{entity_type}]"', 'return f"({entity_type})"'
    )
    assert (run.noticed_by(harmless, stages), run.noticed_by(bad, stages)) == ("", "the only one")
