"""The benchmark works and says what it measured; no time is asserted anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_report import BEGIN, END, section, table, wires_table, write_readme
from bench_run import ROOT, TINY, measure
from bench_texts import EVENTS, OPENAI_PLANTS, TRITON_PLANTS, leaks, script, text_of
from bench_wires import ANSWER_BYTES, once, wires
from bench_work import WorkBench

from extproc.redaction.engine import redact
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import default_mask

SEED = 7
SETUPS = ("envoy", "noop", "output", "everything")


@pytest.mark.parametrize(
    ("wire", "name"),
    [*(("openai", name) for name in OPENAI_PLANTS), *(("triton", name) for name in TRITON_PLANTS)],
)
def test_a_planted_script_shows_its_values_until_they_are_redacted(wire: str, name: str):
    said = script(wire, name, SEED)
    assert "".join(map(text_of, said.events)) == said.text
    assert (len(said.planted), leaks(said, said.text)) == (12, (12, 0))
    automaton = default_automaton()
    assert leaks(said, redact(said.text, automaton, mask=default_mask(automaton)).released) == (0, 0)


def test_a_piece_of_a_value_is_a_leak_in_part():
    said = script("openai", "whole", SEED)
    assert leaks(said, f"... {said.planted[4][:9]} ...") == (0, 1)


def test_prose_is_a_hundred_events_of_about_twelve_characters():
    said = script("openai", "prose", SEED)
    texts = [piece for piece in said.pieces if piece]
    assert len(texts) == EVENTS
    assert 10 < len(said.text) / EVENTS < 14
    assert script("openai", "prose", SEED + 1).text != said.text


@pytest.mark.parametrize("wire", ["openai", "triton"])
def test_the_filters_own_work_is_that_of_a_whole_answer(wire: str):
    said = script(wire, "split", SEED)
    spent, replies = WorkBench().answer(wire, said.events)
    assert spent > 0
    assert [value.encode() in replies for value in said.planted] == [False] * 12
    assert replies.count(b"[EMAIL_ADDRESS]") == 4


def test_an_answer_of_every_wire_is_as_long_and_comes_out_whole():
    bench, chosen = WorkBench(), wires(SEED)
    assert len({wire.path for wire in chosen.values()}) == len(chosen) == 8
    for wire in chosen.values():
        sent = b"".join(wire.frames)
        assert 0.9 < len(sent) / ANSWER_BYTES < 1.2
        asked_ns, answered_ns, client = once(bench, wire, wire.frames)
        assert min(asked_ns, answered_ns) > 0
        # Shorter by the ids that this service gives to requests of a stream.
        assert 0.7 < len(client) / ANSWER_BYTES < 1.2


def test_every_wire_has_a_row():
    costs = {"request_us": 400.0, "frames": 300, "frame_us": 30.25, "byte_ns": 100.0}
    assert wires_table({"wires": {"a wire": costs}}).splitlines()[2] == (
        "| a wire | 400                 | 300                  | 30.25         | —          "
        "| 100          | —          | —               |"
    )


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_tiny_run_measures_every_configuration(tmp_path: Path):
    results = json.loads(json.dumps(measure(TINY, SETUPS, SEED, lambda _line: None)))

    figures = results["figures"]
    assert {name: set(figures[name]) for name in figures if "paced" in name or "no gap" in name} == {
        "openai, paced, 2 streams": set(SETUPS),
        "triton, paced, 2 streams": set(SETUPS),
        "openai, paced, 3 streams": set(SETUPS),
        "openai, no gap, 2 streams": set(SETUPS),
    }
    assert [figures["openai, no gap, 2 streams"][name]["failed"] for name in SETUPS] == [0] * len(SETUPS)
    whole = {name: 5 for name in SETUPS if name != "envoy"}
    assert {name: one["open"] for name, one in figures["open streams"].items()} == whole
    assert {name: one["whole"] for name, one in figures["open streams"].items()} == whole
    came_out = {
        place: {name: (one["whole"], one["part"]) for name, one in by_setup.items()}
        for place, by_setup in figures["leaks"].items()
    }
    expected = {name: (12, 0) if name in {"envoy", "noop"} else (0, 0) for name in SETUPS}
    assert list(came_out.values()) == [expected] * len(came_out)
    assert len(came_out) == 6
    assert set(results["before"]) >= {"cpu", "cores", "load_1min", "python", "versions"}

    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_readme(readme, results)
    assert readme.read_text() == f"before\n{section(results)}\nafter\n"
    assert table(results) in readme.read_text()
    assert wires_table(results) in readme.read_text()
    assert set(results["wires"]) == set(wires(SEED))
    assert str(ROOT) not in readme.read_text() + json.dumps(results)
