"""Compares the rule packs with Presidio's own pattern recognizers, per entity type.

    python tests/bench/compare_recognizers.py --data DIR [--presidio PYTHON [--write]]

``--write`` keeps the scores in ``recognizers.json`` and puts their sum into the README. ``DIR`` holds
``pii_recognizer_cases/recognizer_cases.json`` (Presidio's conformance cases, which both sides were written
with) and ``pii_presidio_v2_oddtemplates/data.jsonl`` (texts with spans); either may be missing. ``PYTHON``
is the interpreter of an environment in which presidio-analyzer is installed: it is no dependency, no model
is needed, and this file runs itself there with ``--worker``. Without it the packs' own scores are printed.

Both sides are asked for one type at a time, in every shape they know, as a policy that names the type
asks. A finding is right where it covers a marked span of its type; a naming word that it takes along does
no harm, for either side. A finding that touches no marked span of its type is wrong. Blanks and quotation
marks at the ends of a marked span are no part of it.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
# Where it finds extproc, from whatever folder it is run; the worker's environment has no need of it.
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from readme_sections import paragraph, put  # noqa: E402 - it stands in a folder that only tests know.

_UNMARKED = " \t\n\"'"

FIGURES = Path(__file__).with_name("recognizers.json")
SECTION = "recognizers"

Span: TypeAlias = "tuple[int, int]"
# By entity type and side: counts, precision, recall, F2.
Scores: TypeAlias = "dict[str, dict[str, dict[str, float]]]"

# What the texts call by another name.
NAMES = {"DOMAIN_NAME": "URL"}
# Types of the texts that are patterns; the others are names and places, which need a model.
TEXT_TYPES = ("CREDIT_CARD", "PHONE_NUMBER", "EMAIL_ADDRESS", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A text and what of one type stands in it; ``spans`` is None where only their ``count`` is known."""

    entity_type: str
    recognizer: str
    text: str
    spans: tuple[Span, ...] | None
    count: int


@dataclass(slots=True)
class Tally:
    """Findings of one side."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def add(self, example: Example, found: list[Span]) -> None:
        """Count one example."""
        if example.spans is None:
            self.right += min(len(found), example.count)
            self.wrong += max(0, len(found) - example.count)
            self.missed += max(0, example.count - len(found))
            return
        for start, end in example.spans:
            hit = any(low <= start and end <= high for low, high in found)
            self.right += hit
            self.missed += not hit
        self.wrong += sum(
            not any(low < end and start < high for start, end in example.spans) for low, high in found
        )

    def scores(self) -> dict[str, float]:
        """Precision, recall and F2, which counts recall for twice as much."""
        precision = self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0
        recall = self.right / (self.right + self.missed) if self.right + self.missed else 1.0
        total = 4 * precision + recall
        return {
            "precision": precision,
            "recall": recall,
            "f2": 5 * precision * recall / total if total else 0.0,
        }


def trimmed(text: str, marked: dict[str, int]) -> Span:
    """A marked span without blanks and quotation marks at its ends."""
    start, end = marked["start"], marked["end"]
    value = text[start:end]
    start += len(value) - len(value.lstrip(_UNMARKED))
    return start, start + len(value.strip(_UNMARKED))


def read_cases(path: Path) -> list[Example]:
    """The conformance cases of recognizers as they are by default."""
    found = []
    for table in json.loads(path.read_text(encoding="utf-8"))["tables"]:
        if table.get("fixture") not in {"recognizer", "cc_recognizer"} or len(table["entities"]) != 1:
            continue
        for case in table["cases"]:
            spans = None
            if case.get("spans_enumerated") or not case["expected_count"]:
                spans = tuple(trimmed(case["text"], one) for one in case.get("expected", ()))
                spans = spans if len(spans) == case["expected_count"] else None
            found.append(
                Example(
                    entity_type=table["entities"][0],
                    recognizer=table["recognizer"],
                    text=case["text"],
                    spans=spans,
                    count=case["expected_count"],
                )
            )
    return found


def read_texts(path: Path) -> list[Example]:
    """Every text once for each type."""
    recognizers = {
        "CREDIT_CARD": "CreditCardRecognizer",
        "PHONE_NUMBER": "PhoneRecognizer",
        "EMAIL_ADDRESS": "EmailRecognizer",
        "IBAN_CODE": "IbanRecognizer",
        "US_SSN": "UsSsnRecognizer",
        "IP_ADDRESS": "IpRecognizer",
        "URL": "UrlRecognizer",
    }
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_type = defaultdict(list)
        for start, end, name in row["label"]:
            by_type[NAMES.get(name, name)].append((start, end))
        for entity_type in TEXT_TYPES:
            spans = tuple(by_type[entity_type])
            found.append(
                Example(
                    entity_type=entity_type,
                    recognizer=recognizers[entity_type],
                    text=row["text"],
                    spans=spans,
                    count=len(spans),
                )
            )
    return found


def ours(examples: list[Example], *, named: bool) -> list[list[Span]]:
    """What the packs find, with the type named or with what counts by default."""
    from extproc.redaction.engine import RuleScanner  # noqa: PLC0415  not in the worker's environment
    from extproc.redaction.packs import ALL_RULES, default_automaton  # noqa: PLC0415
    from extproc.redaction.plan import Plan  # noqa: PLC0415
    from extproc.redaction.watches import default_mask  # noqa: PLC0415

    automaton = default_automaton()
    known = {rule.entity_type for rule in ALL_RULES}
    plans: dict[str, Plan] = {}
    found: list[list[Span]] = []
    for example in examples:
        if example.entity_type not in known:
            found.append([])
            continue
        if example.entity_type not in plans:
            mask = automaton.mask([example.entity_type])
            mask = mask if named else mask & default_mask(automaton)
            plans[example.entity_type] = Plan(automaton, mask=mask)
        scan = RuleScanner.of(plans[example.entity_type]).feed(example.text, eof=True)
        found.append([(finding.start, finding.end) for finding in scan.findings])
    return found


def presidios(examples: list[Example], python: str) -> list[list[Span] | None]:
    """What Presidio's recognizers find; None where that version has not got the recognizer."""
    asked = json.dumps([(e.recognizer, e.entity_type, e.text) for e in examples])
    done = subprocess.run(  # noqa: S603  the interpreter is the caller's own
        [python, __file__, "--worker"], input=asked, capture_output=True, text=True, check=True
    )
    answered = json.loads(done.stdout)
    return [None if spans is None else [(start, end) for start, end in spans] for spans in answered]


def worker() -> None:
    """Answer on standard output what Presidio finds in the texts on standard input."""
    from presidio_analyzer import predefined_recognizers  # type: ignore[import-not-found]  # noqa: PLC0415

    logging.disable(logging.CRITICAL)
    made = {}
    answers: list[list[Span] | None] = []
    for recognizer, entity_type, text in json.load(sys.stdin):
        if recognizer not in made:
            cls = getattr(predefined_recognizers, recognizer, None)
            made[recognizer] = cls() if cls else None
        one = made[recognizer]
        if one is None or entity_type not in one.supported_entities:
            answers.append(None)
            continue
        results = one.analyze(text, [entity_type], nlp_artifacts=None) or []
        answers.append([(result.start, result.end) for result in results if result.score > 0])
    json.dump(answers, sys.stdout)


def compare(examples: list[Example], python: str | None) -> Scores:
    """Scores of both sides by entity type; of ours alone without Presidio's interpreter."""
    sides: dict[str, Sequence[list[Span] | None]] = {
        "ours": ours(examples, named=True),
        "default": ours(examples, named=False),
        "presidio": presidios(examples, python) if python else [None] * len(examples),
    }
    tallies: dict[str, dict[str, Tally]] = {}
    for side, findings in sides.items():
        for example, found in zip(examples, findings, strict=True):
            if found is not None:
                by_side = tallies.setdefault(example.entity_type, {})
                by_side.setdefault(side, Tally()).add(example, found)
    return {
        entity_type: {side: asdict(tally) | tally.scores() for side, tally in by_side.items()}
        for entity_type, by_side in sorted(tallies.items())
    }


_COLUMNS = (
    *("entity type", "marked", "P ours", "R ours", "F2 ours", "F2 by default"),
    *("P Presidio", "R Presidio", "F2 Presidio"),
)


def table(title: str, scores: Scores) -> str:
    """The scores as a table in Markdown."""
    rows = [
        f"### {title}",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for entity_type, sides in scores.items():
        own, presidio = sides["ours"], sides.get("presidio")
        theirs = (
            [f"{presidio[key]:.2f}" for key in ("precision", "recall", "f2")] if presidio else ["-"] * 3
        )
        mine = [f"{own[key]:.2f}" for key in ("precision", "recall", "f2")]
        marked = own["right"] + own["missed"]
        default = f"{sides['default']['f2']:.2f}"
        rows.append(f"| {' | '.join([entity_type, str(marked), *mine, default, *theirs])} |")
    return "\n".join(rows)


def summary(scores: Scores) -> dict[str, dict[str, float]]:
    """Over the types that both sides have: what each found, and its lowest F2."""
    both = [sides for sides in scores.values() if "presidio" in sides]
    found: dict[str, dict[str, float]] = {}
    for side in ("ours", "presidio"):
        counts = {key: sum(sides[side][key] for sides in both) for key in ("right", "missed", "wrong")}
        found[side] = counts | {"f2_min": min(sides[side]["f2"] for sides in both)}
    return found


def section(results: dict[str, Scores], version: str) -> str:
    """What stands in the README between the markers."""
    rows = []
    for title, scores in results.items():
        both = sum("presidio" in sides for sides in scores.values())
        for side, one in summary(scores).items():
            name = "Headgate" if side == "ours" else "Presidio"
            counts = " | ".join(f"{one[key]:,.0f}" for key in ("right", "missed", "wrong"))
            rows.append(f"| {title}, {both} types: {name} | {counts} | {one['f2_min']:.2f} |")
    text = paragraph(
        f"Beside the pattern recognizers of Presidio {version}, of the types that both have, one at a",
        "time, on texts with marked values, and on Presidio's own cases, which both were written with; by",
        "type in [`recognizers.json`](tests/bench/recognizers.json):",
    )
    head = ["|  | found | missed | wrong | lowest F2 of a type |", "|---|---|---|---|---|"]
    return "\n".join([text, "", *head, *rows])


def version_of(python: str) -> str:
    """Presidio's version in that environment."""
    code = "import importlib.metadata as m; print(m.version('presidio-analyzer'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  as above
    return done.stdout.strip()


def main() -> None:
    """Print the tables; write the scores."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--presidio", metavar="PYTHON")
    parser.add_argument("--write", action="store_true", help="into recognizers.json and README.md")
    arguments = parser.parse_args()
    if arguments.worker:
        worker()
        return
    if arguments.data is None:
        parser.error("--data DIR is needed")
    if arguments.write and not arguments.presidio:
        parser.error("--write compares both: --presidio PYTHON is needed")
    cases = arguments.data / "pii_recognizer_cases" / "recognizer_cases.json"
    texts = arguments.data / "pii_presidio_v2_oddtemplates" / "data.jsonl"
    results = {}
    for title, path, read in (("Texts", texts, read_texts), ("Cases", cases, read_cases)):
        if path.exists():
            results[title] = compare(read(path), arguments.presidio)
            print(table(title, results[title]), end="\n\n")  # noqa: T201  a command's output
    if not results:
        parser.error(f"{arguments.data} holds neither cases nor texts")
    if not arguments.presidio:
        return
    version = version_of(arguments.presidio)
    print(section(results, version))  # noqa: T201  a command's output
    if arguments.write:
        found = {"presidio": version, "results": results}
        FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        put(SECTION, section(results, version))


if __name__ == "__main__":
    main()
