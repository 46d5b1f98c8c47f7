"""Holds the pack of secrets against the rules of gitleaks: is what they find taken out?

    python tests/bench/compare_secrets.py --rules FILE [--write]

``FILE`` is gitleaks' own ``gitleaks.toml`` (MIT; none of it is kept here). From the expression of each
rule examples are made: values drawn at random, of the lengths and characters that it asks for, behind a
name with the issuer's word where it wants one. Those that the rule itself does not find, or finds too
regular (its ``entropy``), are none. Found is one of which nothing is left but a name before its value.
``--write`` keeps the report in ``secrets.json`` and puts its sum into the README.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import re._constants as of
import re._parser as parser
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from readme_sections import paragraph, put  # noqa: E402 - it stands in a folder that only tests know.

from extproc.redaction.engine import redact  # noqa: E402 - as above.
from extproc.redaction.packs import default_automaton  # noqa: E402 - as above.
from extproc.redaction.watches import default_mask  # noqa: E402 - as above.

FIGURES = Path(__file__).with_name("secrets.json")
SECTION = "secrets"
EXAMPLES = 20
_TRIES = 200
_DRAWN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_OPEN_ENDED_CHARS = 10
_ASSIGNED = "{1,3}="  # in the expressions of rules that want a name, a sign, and a value.
_REPEATS = {of.MAX_REPEAT, of.MIN_REPEAT}
_NAME = re.compile(r"https?://|[\w.\-]+[\"']?\s*[=:]\s*[\"']?")
_GO = {r"\z": r"\Z", "[[:alnum:]]": "[A-Za-z0-9]", "(?i)": ""}


def drawn(tree: Iterable[Any], chance: random.Random) -> str:
    """A text that an expression matches; boundaries and what stands around it are left out."""
    pieces = []
    for op, value in tree:
        if op is of.LITERAL:
            pieces.append(chr(value))
        elif op is of.ANY:
            pieces.append(".")
        elif op is of.IN:
            pieces.append(_one_of(value, chance))
        elif op is of.BRANCH:
            pieces.append(drawn(chance.choice(value[1]), chance))
        elif op is of.SUBPATTERN:
            pieces.append(drawn(value[3], chance))
        elif op in _REPEATS:
            least, most, part = value
            if most is of.MAXREPEAT:
                most = least if least > 1 else least + _OPEN_ENDED_CHARS
            pieces += [drawn(part, chance) for _ in range(chance.randint(least, most))]
    return "".join(pieces)


def _one_of(items: list[Any], chance: random.Random) -> str:
    """A letter or digit of a class where it has some."""
    taken: set[str] = set()
    for op, value in items:
        if op is of.LITERAL:
            taken.add(chr(value))
        elif op is of.RANGE:
            taken |= {chr(code) for code in range(value[0], min(value[1], 0x7E) + 1)}
        elif op is of.CATEGORY:
            expression = {of.CATEGORY_DIGIT: r"\d", of.CATEGORY_WORD: r"\w"}.get(value, r"\s")
            taken |= set(re.findall(expression, _DRAWN + "_ ", re.ASCII))
    if items[0][0] is of.NEGATE:
        taken = set(_DRAWN) - taken
    return chance.choice(sorted(taken & set(_DRAWN)) or sorted(taken) or [" "])


def _group(tree: Iterable[Any]) -> Any:
    """The first group of an expression, which is the secret; None where it has none."""
    for op, value in tree:
        parts = []
        if op is of.SUBPATTERN:
            if value[0] == 1:
                return value[3]
            parts = [value[3]]
        elif op is of.BRANCH:
            parts = value[1]
        elif op in _REPEATS:
            parts = [value[2]]
        for part in parts:
            found = _group(part)
            if found is not None:
                return found
    return None


def entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def examples(rule: Mapping[str, Any], chance: random.Random) -> Iterator[tuple[str, int, int]]:
    """Texts that a rule finds something in, with where its secret stands.

    Raises:
        re.error: an expression that Python does not read.
    """
    source = rule["regex"]
    flags = re.ASCII | (re.IGNORECASE if "(?i)" in source else 0)
    for go, python in _GO.items():
        source = source.replace(go, python)
    expression, tree = re.compile(source, flags), parser.parse(source, flags)
    group = _group(tree)
    word = next(iter(rule.get("keywords", [])), "service").strip("_-. =")
    number = rule.get("secretGroup", min(expression.groups, 1))
    made = 0
    for _ in range(_TRIES):
        value = drawn(tree if group is None else group, chance)
        value = value.strip(" \"'")
        text = f'{word}_api_key = "{value}"' if _ASSIGNED in source else f"here: {value} ."
        found = expression.search(text)
        start, end = (-1, -1) if found is None else found.span(number)
        # Blanks and quotes at the ends are no part of it.
        end = start + len(text[start:end].rstrip(" \"'"))
        start = end - len(text[start:end].lstrip(" \"'"))
        if start < 0 or entropy(text[start:end]) < rule.get("entropy", 0):
            continue
        yield text, start, end
        made += 1
        if made == EXAMPLES:
            return


def compared(rules: Iterable[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
    """By rule how many of its examples are taken out, and how many there are."""
    automaton = default_automaton()
    mask = automaton.mask(packs=["secrets"]) & default_mask(automaton)
    scores: dict[str, tuple[int, int]] = {}
    without: list[str] = []
    for rule in rules:
        chance = random.Random(f"{seed} {rule['id']}")
        try:
            texts = list(examples(rule, chance)) if "regex" in rule else []
        except re.error:
            texts = []
        if not texts:
            without.append(rule["id"])
            continue
        taken = 0
        for text, start, end in texts:
            name = _NAME.match(text, start, end)
            spans = [(found.start, found.end) for found in redact(text, automaton, mask=mask).findings]
            covered = {at for one in spans for at in range(*one)}
            taken += covered >= set(range(start if name is None else name.end(), end))
        scores[rule["id"]] = (taken, len(texts))
    return {
        "seed": seed,
        "rules": len(scores),
        "always": sum(taken == count for taken, count in scores.values()),
        "not_always": {
            name: f"{taken} of {count}" for name, (taken, count) in scores.items() if taken < count
        },
        "without_examples": without,
    }


def section(report: Mapping[str, Any]) -> str:
    """What stands in the README."""
    return paragraph(
        f"Of {report['rules']} rules of gitleaks examples can be made; for {report['always']} of them",
        "the pack of secrets takes out every one ([which not](tests/bench/secrets.json)).",
    )


def main() -> None:
    """Compare; print; with ``--write`` keep."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rules", type=Path, required=True, metavar="FILE", help="gitleaks.toml")
    arguments.add_argument("--write", action="store_true", help="into secrets.json and README.md")
    given = arguments.parse_args()
    report = compared(tomllib.loads(given.rules.read_text(encoding="utf-8"))["rules"])
    print(json.dumps(report, indent=1))  # noqa: T201 - a command's output.
    if given.write:
        FIGURES.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        put(SECTION, section(report))


if __name__ == "__main__":
    main()
