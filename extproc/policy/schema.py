"""The policy file's JSON Schema, for editors: what may stand where, and what it means.

The words are the comments of the shipped default policy, so that there is one place to write them.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Final, TypeAlias

from extproc.domain.verdict import Mode, Stage
from extproc.policy.model import ENTITY_TYPE_PATTERN, policy_model
from extproc.policy.tree import read_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.ports import GuardSpec
    from extproc.policy.loading import RuleVocabulary
    from extproc.policy.tree import Place

_Node: TypeAlias = dict[str, object]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_TITLE: Final = "Headgate policy"
# As Redactor reads it: redact, hash, pseudonym, mask:N or replace:TEXT.
_OPERATOR: Final = r"^(redact|hash|pseudonym|mask:[0-9]{1,2}|replace:.{0,64})$"


def schema_text(specs: Mapping[str, GuardSpec], rules: RuleVocabulary) -> str:
    """The schema as JSON text with a final line break; the same text for the same guards and rules."""
    schema = policy_model(specs).json_schema()
    _tidy(schema)
    definitions = _below(schema, "$defs")
    for name in specs:
        section = _below(definitions, f"{name}_guard")
        if specs[name].mode is Mode.OFF:
            # As the loader has it: without one the guard is off, whatever else stands there.
            section["required"] = ["mode"]
        if name in rules.packs:
            _name_entity_types(section, sorted(rules.packs[name]))
    _describe(schema, specs)
    return json.dumps({"$schema": _DRAFT, "title": _TITLE, **schema}, indent=2, ensure_ascii=False) + "\n"


def _below(node: Mapping[str, object], *steps: str) -> _Node:
    """The object at a place that the model always has; KeyError or TypeError where it has not."""
    found: object = node
    for step in steps:
        if not isinstance(found, dict):
            raise TypeError(f"{step}: no object there")
        found = found[step]
    if not isinstance(found, dict):
        raise TypeError("no object there")
    return found


def _tidy(node: object, *, names: bool = False) -> None:
    """Take out pydantic's titles, which are Python's names, and say that other names are none.

    ``names`` tells that the node's keys are the file's own.
    """
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    elif isinstance(node, dict):
        if not names:
            node.pop("title", None)
            if "patternProperties" in node:
                node["additionalProperties"] = False
        for key, value in node.items():
            _tidy(value, names=not names and key in {"properties", "$defs", "patternProperties"})


def _name_entity_types(section: _Node, entity_types: list[str]) -> None:
    """What a guard that finds by rules may look for: an editor offers the shipped names.

    The file's own rules may find other types, so that only the loader knows a slip in a name.
    """
    named: _Node = {"anyOf": [{"enum": entity_types}, {"pattern": ENTITY_TYPE_PATTERN}]}
    _below(section, "properties", "entity_types")["items"] = named
    operators = _below(section, "properties", "operators")
    operators["propertyNames"] = named
    operators["additionalProperties"] = {"type": "string", "pattern": _OPERATOR}


def _describe(schema: _Node, specs: Mapping[str, GuardSpec]) -> None:
    """Put the default policy's comments where an editor shows them."""
    words = _comments()
    for place, text in words.items():
        match place:
            case (str(top),):
                node = _below(schema, "properties", top)
            case (_, _, "bodies"):
                node = _below(schema, "$defs", "Policy", "properties", "bodies")
            case (_, _, "bodies", str(setting)):
                node = _below(schema, "$defs", "BodiesEntry", "properties", setting)
            case (_, _, "guards", str(guard), str(setting)) if guard in specs:
                node = _below(schema, "$defs", f"{guard}_guard", "properties", setting)
            case (str(guard), str(setting)) if guard in specs and specs[guard].stage is Stage.IDENTITY:
                node = _below(schema, "$defs", f"{guard}_guard", "properties", setting)
            case _:
                continue
        node["description"] = text


def _comments() -> dict[Place, str]:
    """The comment above each field of the default policy, as one paragraph."""
    text = (files("extproc.policy") / "default.yaml").read_text(encoding="utf-8")
    rows = text.splitlines()
    found: dict[Place, str] = {}
    for place, spot in read_tree(text).spots.items():
        above: list[str] = []
        for row in reversed(rows[: spot.line - 1]):
            words = row.strip()
            if words == "#":
                # Only the first paragraph: below it stand examples.
                above = []
            elif words.startswith("# "):
                above.insert(0, words.removeprefix("# "))
            else:
                break
        if above:
            found[place] = " ".join(above)
    return found
