"""What the comparison with gitleaks counts, and that the README says what it found."""

from __future__ import annotations

import json
import random
import re

import compare_secrets
import pytest
from readme_sections import kept

NAMED = (
    r"(?i)[\w.-]{0,50}?(?:acme)(?:[ \t\w.-]{0,20})[\s'\"]{0,3}(?:=|:{1,3}=|:)[\x60'\"\s=]{0,5}"
    r"([a-z0-9]{32})(?:['\"]|$)"
)
RULES = {
    "known by its prefix": {"regex": r"\b(gh[pou]_[0-9a-zA-Z]{36})(?:[\s]|$)"},
    "known by its name": {"regex": NAMED, "keywords": ["acme"]},
    "unknown": {"regex": r"\b(zz[0-9]{3}-[a-f]{4,})\b"},
    "without a value": {"regex": r"()x"},
    "too regular": {"regex": r"here: (aaaa)", "entropy": 3},
    "not of Python": {"regex": r"(?<name"},
    "a path": {"path": r"\.p12$"},
}


@pytest.fixture(scope="module")
def report():
    return compare_secrets.compared([{"id": name, **rule} for name, rule in RULES.items()])


def test_rules_are_counted_by_what_is_left_of_their_examples(report):
    assert (report["rules"], report["always"]) == (3, 2)
    assert report["not_always"] == {"unknown": "0 of 20"}
    assert report["without_examples"] == ["without a value", "too regular", "not of Python", "a path"]


@pytest.mark.parametrize("name", ["known by its prefix", "known by its name", "unknown"])
def test_an_example_is_what_its_rule_finds(name):
    rule = RULES[name]
    expression = re.compile(rule["regex"])
    found = list(compare_secrets.examples({"id": name, **rule}, random.Random(1)))
    assert len(found) == compare_secrets.EXAMPLES
    for text, start, end in found:
        assert expression.search(text).span(1) == (start, end)
    assert len({text for text, _, _ in found}) > compare_secrets.EXAMPLES / 2


def test_entropy_is_in_bits():
    assert [compare_secrets.entropy(text) for text in ("aaaa", "abab", "abcd")] == [0, 1, 2]


def test_the_readme_says_what_was_found():
    report = json.loads(compare_secrets.FIGURES.read_text(encoding="utf-8"))
    assert report["rules"] - report["always"] == len(report["not_always"])
    assert kept(compare_secrets.SECTION) == compare_secrets.section(report)
