"""What is kept of ``headgate redact`` on long texts, and a short one through the same command."""

from __future__ import annotations

import json

import bench_pipe
import pytest
from bench_pipe import ENGINES, FIGURES, SECTION, blocks, measure, section
from readme_sections import kept

KEPT = json.loads(FIGURES.read_text(encoding="utf-8"))


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_does_not_grow_with_the_text(engine):
    runs = KEPT["runs"][engine]
    assert runs[0]["read_mb"] == 100
    for run in runs:
        assert run["findings"] > 1_500 * run["read_mb"]
        assert run["highest_mb"] < 1.1 * runs[0]["half_mb"]


def test_a_gigabyte_went_through():
    assert max(run["read_mb"] for runs in KEPT["runs"].values() for run in runs) == 1_000


def test_the_readme_has_the_figures():
    assert kept(SECTION) == section(KEPT)


def test_texts_are_the_same_each_time():
    assert blocks(3) == blocks(3) != blocks(4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_short_text_goes_through_the_command(engine, monkeypatch):
    monkeypatch.setattr(bench_pipe, "_MB", 50_000)
    text = b"Most of it is prose, and ann@example.com is not. " * 20
    run = measure(1, [text], without=ENGINES[engine])
    assert run.findings == 20 * -(-50_000 // len(text))
    assert run.first_mb > 0
    assert 0 < run.all_mb <= run.highest_mb
