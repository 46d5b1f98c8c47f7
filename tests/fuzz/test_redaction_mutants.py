"""What is kept of the mutation run: every seeded bug was noticed, and the README says so."""

from __future__ import annotations

import json

import redaction_mutants
from readme_sections import kept
from redaction_bugs import bugs

KEPT = json.loads(redaction_mutants.REPORT.read_text(encoding="utf-8"))


def test_every_bug_was_noticed():
    """Bugs that are newer than the last run are not in it: `make mutants MUTANTS="--only NAME --write"`."""
    assert set(KEPT["noticed_by"].values()) <= set(redaction_mutants.STAGES)
    assert KEPT["bugs"] == KEPT["killed"] == len(KEPT["noticed_by"])
    assert len({bug.name for bug in bugs()} & set(KEPT["noticed_by"])) >= 60


def test_the_readme_has_the_figures():
    assert kept(redaction_mutants.SECTION) == redaction_mutants.section(KEPT)


def test_a_part_of_the_bugs_keeps_what_is_known_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(redaction_mutants, "REPORT", tmp_path / "mutants.json")
    monkeypatch.setattr(redaction_mutants, "put", lambda _name, _text: None)
    first, second, *_ = [bug.name for bug in bugs()]
    redaction_mutants.write({first: "a stage", second: ""})
    redaction_mutants.write({second: "another stage"})
    written = json.loads((tmp_path / "mutants.json").read_text(encoding="utf-8"))
    assert (written["noticed_by"][first], written["noticed_by"][second]) == ("a stage", "another stage")
    assert (written["bugs"], written["killed"]) == (len(bugs()), 2)
