"""The hold-back's bench counts what it says it counts, and its figures come out for people."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import bench_holdback
import pytest
from bench_answers import KINDS, answers, tokens
from bench_holdback import BEGIN, END, PLOT, STRATEGIES, Seen, bench, measure, observe, section, table
from bench_plot import plot

from extproc.domain.scanning import RuleWatch
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import Redactor

REDACTOR = Redactor(default_automaton(), hash_key=b"")


def scanner():
    return REDACTOR([RuleWatch(pack="pii", entity_types=frozenset({"EMAIL_ADDRESS"}))])


def seen(name: str, *pieces: str) -> Seen:
    found = Seen()
    observe(STRATEGIES[name], scanner, pieces, found)
    return found


def test_answers_are_of_every_kind_and_the_same_each_time():
    some = answers(3, 14)
    assert some == answers(3, 14)
    assert [kind for kind, _ in some] == [*KINDS] * 2
    assert ["".join(pieces) for _, pieces in some] != ["".join(pieces) for _, pieces in answers(4, 14)]


def test_tokens_are_the_text():
    text = "Tom O'Neill pays 1234.50 € (été)\n\n- ok_1\t漢字"
    assert "".join(tokens(text)) == text
    assert tokens(" paid 12345") == [" paid", " 123", "45"]


MAIL = ("to", " ann", "@", "example", ".com", " now", ".", "\n")


@pytest.mark.parametrize(
    ("name", "held", "leaked", "differing"),
    [
        ("each token by itself", [0] * 8, 1, 1),
        ("at a sentence's end or 80 characters", [2, 6, 7, 14, 18, 22, 23, 0], 0, 0),
        ("a window of 128 characters", [2, 6, 7, 14, 18, 22, 23, 24], 0, 0),
        ("the whole answer", [2, 6, 7, 14, 18, 22, 23, 24], 0, 0),
    ],
)
def test_what_is_held_and_what_comes_out(name, held, leaked, differing):
    found = seen(name, *MAIL)
    assert found.held_bytes == held
    assert (found.values, found.leaked) == (1, leaked)
    assert (found.answers, found.differing) == (1, differing)


def test_the_filter_holds_least_of_those_that_let_nothing_out():
    mine = seen("Headgate", *MAIL)
    assert (mine.values, mine.leaked, mine.differing) == (1, 0, 0)
    for name in ("a window of 128 characters", "the whole answer"):
        assert all(
            one <= other for one, other in zip(mine.held_bytes, seen(name, *MAIL).held_bytes, strict=True)
        )


def test_a_value_is_cut_at_eighty_characters():
    text = "x " * 36 + "ann.miller@example.com"
    assert seen("at a sentence's end or 80 characters", *text).leaked == 1


def test_bytes_are_held_not_characters():
    assert seen("the whole answer", "é", "漢").held_bytes == [2, 5]


def test_waits_are_counted_in_tokens():
    late = [round(ms / 20) for ms in seen("the whole answer", "a", "b", "c").late_ms]
    assert late == [2, 1, 0]
    added = [round(ms / 20) for ms in seen("the whole answer", "a", "b", "c").added_ms]
    assert added == [2]
    assert [round(ms / 20) for ms in seen("each token by itself", "a", "b", "c").added_ms] == [0, 0, 0]


@pytest.fixture(scope="module")
def figures():
    return measure(5, len(KINDS))


def test_figures_for_people(figures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench_holdback, "measure", lambda *_: figures)
    assert list(figures) == list(STRATEGIES)
    assert (figures["Headgate"]["leaked"], figures["Headgate"]["differing"]) == (0, 0)
    assert figures["each token by itself"]["leaked"] > 0
    lines = table(figures).splitlines()
    assert {line.count("|") for line in lines} == {8}
    root = ET.fromstring(plot(figures))  # noqa: S314 - our own.
    places = [float(one.attrib["cx"]) for one in root.iter("{http://www.w3.org/2000/svg}circle")]
    medians = [one["held_p50_bytes"] for one in figures.values()]
    assert all(
        (first < second) == (a < b)
        for (a, b), (first, second) in zip(pairwise(places), pairwise(medians), strict=True)
    )

    (tmp_path / PLOT).parent.mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nthe last ones\n{END}\nafter\n")
    bench(tmp_path, seed=5, answers_count=len(KINDS), write=True)
    assert "Headgate" in capsys.readouterr().out
    written = (tmp_path / "README.md").read_text()
    assert written.startswith(f"before\n{BEGIN}\n")
    assert written.endswith(f"\n{END}\nafter\n")
    assert PLOT in written
    assert "the last ones" not in written
    assert (tmp_path / PLOT).read_text().startswith("<svg")


def test_a_readme_without_its_place_is_left_alone(figures, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_holdback, "measure", lambda *_: figures)
    (tmp_path / PLOT).parent.mkdir(parents=True)
    (tmp_path / "README.md").write_text("nothing\n")
    with pytest.raises(ValueError, match="no markers"):
        bench(tmp_path, seed=5, answers_count=len(KINDS), write=True)
    assert (tmp_path / "README.md").read_text() == "nothing\n"


def test_the_section_says_under_what_it_was_measured(figures):
    before = {"cores": 2, "cpu": "a CPU", "load_1min": 0.1, "redaction": "compiled kernel"}
    said = section({"figures": figures, "rules": 12, "before": before})
    assert "2 shared cores (a CPU), load average 0.1" in said
    assert "Of 12 shipped rules" in said
    assert f"{len(KINDS)} answers of {len(KINDS)} kinds" in said
