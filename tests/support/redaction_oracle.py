"""Whole-text redaction written another way: Python's ``re``, every end tried, no automaton.

Slow on purpose. It shares with the engine only the rules and their validators.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from extproc.redaction.rules import Boundary, Rule

FORBIDDEN = {
    Boundary.NOT_WORD: re.compile(r"[A-Za-z0-9_]"),
    Boundary.NOT_DIGIT: re.compile(r"[0-9]"),
    Boundary.NOT_DASHED: re.compile(r"[A-Za-z0-9_-]"),
    Boundary.NOT_DOTTED: re.compile(r"[A-Za-z0-9_.]"),
    Boundary.NOT_LOCAL: re.compile(r"[A-Za-z0-9_.%+\u00c0-\u04ff-]"),
}
EDGE_OF_WORD = re.compile(r"\b")


@dataclass(frozen=True)
class Found:
    start: int
    end: int
    rule: Rule


@cache
def compiled(rule: Rule) -> re.Pattern[str]:
    return re.compile(rule.body, re.ASCII | (re.IGNORECASE if rule.ignore_case else 0))


def bounded(boundary: Boundary, text: str, at: int, neighbour: int) -> bool:
    if boundary is Boundary.NONE:
        return True
    if boundary is Boundary.WORD:
        return EDGE_OF_WORD.match(text, at) is not None
    beside = text[neighbour : neighbour + 1] if neighbour >= 0 else ""
    return FORBIDDEN[boundary].fullmatch(beside) is None


def ends(rule: Rule, text: str, start: int) -> list[int]:
    body = compiled(rule)
    if not bounded(rule.left, text, start, start - 1) or body.match(text, start) is None:
        return []
    return [
        end
        for end in range(start + 1, len(text) + 1)
        if body.fullmatch(text, start, end) is not None
        and bounded(rule.right, text, end, end)
        and (rule.validator is None or rule.validator(text[start:end]))
    ]


def find(text: str, rules: list[Rule]) -> list[Found]:
    found: list[Found] = []
    at = 0
    while at < len(text):
        best: Found | None = None
        for rule in rules:
            for end in ends(rule, text, at):
                if best is None or end > best.end:
                    best = Found(at, end, rule)
        if best is None:
            at += 1
        else:
            found.append(best)
            at = best.end
    return found


def redact(text: str, rules: list[Rule]) -> str:
    return written(text, find(text, rules))


def written(text: str, found: list[Found]) -> str:
    """The text with the entity type in brackets in place of what was found."""
    pieces: list[str] = []
    at = 0
    for match in found:
        pieces += [text[at : match.start], f"[{match.rule.entity_type}]"]
        at = match.end
    return "".join([*pieces, text[at:]])
