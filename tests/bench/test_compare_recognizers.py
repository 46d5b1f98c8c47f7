"""The kept comparison with Presidio: no type is worse, and the README says what the figures say."""

from __future__ import annotations

import json

import pytest
from compare_recognizers import FIGURES, SECTION, Example, Tally, compare, main, section, table, trimmed
from readme_sections import README, kept

from extproc.redaction.packs import ALL_RULES

KEPT = json.loads(FIGURES.read_text(encoding="utf-8"))
TYPES = [
    pytest.param(sides, id=f"{title}-{entity_type}")
    for title, scores in KEPT["results"].items()
    for entity_type, sides in scores.items()
]


@pytest.mark.parametrize("sides", TYPES)
def test_no_type_is_worse_than_presidios(sides):
    assert sides["ours"]["f2"] >= 0.95
    if "presidio" in sides:
        assert sides["ours"]["f2"] >= sides["presidio"]["f2"]


def test_the_readme_has_the_figures():
    assert kept(SECTION) == section(KEPT["results"], KEPT["presidio"])


def test_the_readme_counts_the_rules():
    nobodys = {
        "AGE_SECRET_KEY",
        "BASIC_AUTH",
        "BEARER_TOKEN",
        "CONNECTION_STRING",
        "HIGH_ENTROPY_SECRET",
        "JWT",
        "PASSWORD",
        "PRIVATE_KEY",
    }
    page = " ".join(README.read_text(encoding="utf-8").split())
    assert "More than 350 rules find more than 220 entity types" in page
    assert "personal data of 40 countries" in page
    assert "the keys of more than 80 issuers" in page
    assert len(ALL_RULES) > 350
    assert len({rule.entity_type for rule in ALL_RULES}) > 220
    personal = {rule.entity_type for rule in ALL_RULES if rule.pack == "pii"}
    assert len({name[:2] for name in personal if name[2:3] == "_"} - {"IP"}) >= 40
    secret = {rule.entity_type for rule in ALL_RULES if rule.pack == "secrets"}
    assert len(secret) >= 100
    assert nobodys < secret
    assert len({name.partition("_")[0] for name in secret - nobodys}) > 80


def test_quotes_and_blanks_are_no_part_of_a_marked_span():
    assert trimmed('see "a b" now', {"start": 3, "end": 9}) == (5, 8)
    assert trimmed("see it", {"start": 4, "end": 6}) == (4, 6)


def example(*spans: tuple[int, int], count: int | None = None) -> Example:
    return Example(
        entity_type="T",
        recognizer="R",
        text="0123456789",
        spans=None if count is not None else spans,
        count=len(spans) if count is None else count,
    )


@pytest.mark.parametrize(
    ("one", "found", "expected"),
    [
        (example((2, 4)), [(2, 4)], (1, 0, 0)),
        (example((2, 4)), [(0, 4)], (1, 0, 0)),
        (example((2, 4)), [(2, 3)], (0, 0, 1)),
        (example((2, 4)), [(5, 6)], (0, 1, 1)),
        (example((2, 4), (6, 8)), [(6, 8)], (1, 0, 1)),
        (example(), [(1, 2)], (0, 1, 0)),
        (example(count=2), [(1, 2)], (1, 0, 1)),
        (example(count=1), [(1, 2), (4, 5)], (1, 1, 0)),
    ],
)
def test_what_is_right_wrong_and_missed(one, found, expected):
    tally = Tally()
    tally.add(one, found)
    assert (tally.right, tally.wrong, tally.missed) == expected


def test_f2_counts_recall_for_twice_as_much():
    assert Tally(right=1, wrong=1, missed=0).scores() == {"precision": 0.5, "recall": 1.0, "f2": 5 / 6}
    assert Tally(right=1, wrong=0, missed=1).scores()["f2"] == pytest.approx(5 / 9)
    assert Tally().scores() == {"precision": 1.0, "recall": 1.0, "f2": 1.0}


def test_without_presidio_there_are_the_packs_own_scores():
    text = "mail ann@example.com"
    asked = Example(
        entity_type="EMAIL_ADDRESS", recognizer="EmailRecognizer", text=text, spans=((5, 20),), count=1
    )
    scores = compare([asked], None)
    assert scores["EMAIL_ADDRESS"].keys() == {"ours", "default"}
    row = "| EMAIL_ADDRESS | 1 | 1.00 | 1.00 | 1.00 | 1.00 | - | - | - |"
    assert row == table("Cases", scores).splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ([], "--data DIR is needed"),
        (["--data", "none", "--write"], "--presidio PYTHON is needed"),
        (["--data", "none"], "holds neither cases nor texts"),
    ],
)
def test_what_is_missing_is_said(monkeypatch, capsys, options, what):
    monkeypatch.setattr("sys.argv", ["compare_recognizers.py", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert what in capsys.readouterr().err
