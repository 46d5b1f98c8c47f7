"""The threat model claims nothing whose test is gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[a-z0-9_/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_every_test_that_it_names_exists(path, test):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {test or 'test_'}", text, re.MULTILINE)


def test_every_covered_threat_names_a_test():
    covered = PAGE[PAGE.index("## Covered") : PAGE.index("## Deferred")]
    rows = [line for line in covered.split("\n") if line.startswith("| ")][1:]
    assert len(rows) > 10
    assert all("`tests/" in row for row in rows)


def test_it_speaks_of_every_risk_of_the_owasp_list():
    rows = re.findall(r"^\| (LLM\d\d) \|", PAGE, re.MULTILINE)
    assert rows == [f"LLM{number:02}" for number in range(1, 11)]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:extproc|envoy)/[a-z_/.]+)`", PAGE))))
def test_every_file_that_it_names_exists(path):
    assert (ROOT / path).exists()


def test_what_is_out_of_scope_is_said():
    refused = PAGE[PAGE.index("## Refused") :]
    assert "weights" in refused
    assert "GPU tenancy" in refused
