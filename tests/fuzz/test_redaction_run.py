"""The long fuzz: what it keeps is what it compared, and the README says what was kept."""

from __future__ import annotations

import json

import pytest
import redaction_fuzz
import redaction_run
from readme_sections import kept, paragraph, put

KEPT = json.loads(redaction_run.REPORT.read_text(encoding="utf-8"))
KINDS = {*redaction_fuzz.FAMILIES, "random rules"}


def test_nothing_differed():
    assert KEPT["differences"] == 0
    assert KEPT["first_differences"] == []
    assert KEPT["documents"] >= 200_000


def test_the_readme_has_the_figures():
    assert kept(redaction_run.SECTION) == redaction_run.section(KEPT)


def counted(report):
    """The figures that must add up, from the report's own parts."""
    families = report["families"].values()
    documents = sum(one["documents"] for one in families)
    checks = {name: sum(one.get(name, 0) for one in families) for name in redaction_fuzz.CHECKS}
    return documents, checks


@pytest.mark.parametrize("report", [pytest.param(KEPT, id="kept")])
def test_the_parts_are_the_whole(report):
    assert counted(report) == (report["documents"], report["checks"])
    assert set(report["families"]) == KINDS


def test_a_report_says_what_was_compared():
    tally = redaction_fuzz.Tally()
    for batch in range(2):
        tally.add(redaction_fuzz.run(5, batch, 300, toys_share=0.9))
    tally.differences.append("oracle, whole: prose, rules all, document 1:7")
    report = redaction_run.reported(tally, 5, 2, 4.0)
    assert counted(report)[0] == report["documents"] == 600
    assert {name: count for name, count in counted(report)[1].items() if count} == report["checks"]
    assert report["cuts"] == tally.events - 600
    assert (report["seed"], report["processes"], report["documents_per_second"]) == (5, 2, 150)
    assert report["differences"] == 1
    told = redaction_run.told(report)
    assert "600 documents" in told
    assert told.endswith("1 differences\n  oracle, whole: prose, rules all, document 1:7")


def test_a_section_takes_the_place_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(
        "before\n<!-- one: begin (how) -->\nold\n<!-- one: end -->\nafter\n", encoding="utf-8"
    )
    put("one", paragraph("new", "text"), readme)
    assert kept("one", readme) == "new text"
    put("one", "newer", readme)
    assert (
        readme.read_text(encoding="utf-8")
        == "before\n<!-- one: begin (how) -->\nnewer\n<!-- one: end -->\nafter\n"
    )
    with pytest.raises(ValueError, match="no section two"):
        kept("two", readme)
