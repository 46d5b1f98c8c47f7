"""What is wrong with a JSON schema by which nothing can be judged, and where: for whoever wrote it.

Only a policy's own schema is looked at so: what a request's says is nobody's business to be told.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from extproc.domain.limits import LIMITS
from extproc.guards._json_schema import (
    UNJUDGED,
    SchemaError,
    TooDearError,
    check_words,
    known_of,
    patterns_room,
    schemas_in,
)
from extproc.guards._json_values import TYPES, Json, NotJsonError, read_json
from extproc.guards._patterns import PatternError

# A schema's own names that may stand in a message.
_SHOWN: Final = re.compile(r"[A-Za-z0-9_$.-]{1,40}")
_PATTERN: Final = "write a pattern that looks neither around nor back, and is not as large"
_INSTEAD: Final = {
    "type": f"write one or several of: {', '.join(TYPES)}",
    "$ref": "write one that leads to a schema of this document, as #/$defs/name",
    "pattern": _PATTERN,
    "patternProperties": _PATTERN,
    "required": "write a list of names",
    "enum": "write a list of values",
}
_ELSE: Final = "write what JSON Schema 2020-12 has there, or take it out where it cannot be judged"


def schema_fault(text: str) -> tuple[str, str]:
    """What is wrong with a schema that ``Schema`` does not take, and what to write instead."""
    try:
        root = read_json(text)
    except NotJsonError:
        return _no_json(text), "correct it, or leave it empty for none"
    for place, schema in _schemas(root):
        if not isinstance(schema, bool | dict):
            return f"is no JSON schema: at {place} stands no schema", "write an object, true or false there"
        for name, value in schema.items() if isinstance(schema, dict) else ():
            if not _is_sound(root, {name: value}):
                what = f"is no JSON schema that answers can be judged by: {name} at {place}"
                return what, _INSTEAD.get(name, _ELSE)
    return (
        "is no JSON schema that answers can be judged by: it is too large, or refers to what is none",
        f"write at most {LIMITS.schema_nodes_max} schemas within it, and references to these",
    )


def _no_json(text: str) -> str:
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        return f"is no JSON from its line {error.lineno}, column {error.colno} on"
    except (ValueError, RecursionError):
        return "is no JSON that could be read: a number is too long, or it is nested too deep"
    return "is no JSON that has one reading: it says a name twice, or a number that is none"


def _schemas(root: Json) -> Iterator[tuple[str, Json]]:
    """Every schema with its place (RFC 6901), the outer before the inner."""
    waiting: list[tuple[str, Json]] = [("#", root)]
    for _ in range(LIMITS.schema_nodes_max):
        if not waiting:
            return
        place, schema = waiting.pop(0)
        yield place, schema
        for name, value in schema.items() if isinstance(schema, dict) else ():
            waiting += _below(f"{place}/{name}", name, value)


def _below(place: str, name: str, value: Json) -> Iterator[tuple[str, Json]]:
    found = schemas_in({name: value})
    if any(one is value for one in found):
        yield place, value
        return
    listed = value if isinstance(value, list) else []
    named = value.items() if isinstance(value, dict) else enumerate(listed)
    for step, member in named:
        if any(one is member for one in found):
            shown = str(step) if _SHOWN.fullmatch(str(step)) else "(unprintable name)"
            yield f"{place}/{shown}", member


def _is_sound(root: Json, part: dict[str, Json]) -> bool:
    """Whether one keyword by itself can be judged by."""
    if not part.keys().isdisjoint(UNJUDGED):
        return False
    try:
        check_words(part)
        known_of(root, part, patterns_room())
        schemas_in(part)
    except (SchemaError, PatternError, TooDearError):
        return False
    return True
