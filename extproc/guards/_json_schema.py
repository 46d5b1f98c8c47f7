"""JSON that a model wrote, and whether it is of a schema: a bounded validator.

Source: JSON Schema 2020-12, with ``definitions``, ``items`` as an array and ``nullable`` of earlier ones
and of OpenAPI. Schemas come with requests, so nothing of them may cost without bound or reach out. Patterns
are not run (Python's expressions backtrack) and hold of any text, formats are notes, ``$ref`` stays in its
document, steps and nodes are counted. A schema that says what cannot be judged here (``unevaluated*``,
dynamic or remote references) is refused.
"""

import json
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Never, TypeGuard

from extproc.domain.limits import LIMITS

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_UNJUDGED: Final = ("$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems")
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS: Final = ("properties", "$defs", "definitions", "dependentSchemas", "patternProperties")
_ONES: Final = (
    *("items", "additionalItems", "additionalProperties", "contains", "propertyNames"),
    *("not", "if", "then", "else"),
)
_TYPES: Final = ("string", "number", "integer", "boolean", "array", "object", "null")
_COUNTS: Final = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
)
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# References that lead to each other without ever reaching a value.
_DEPTH_MAX: Final = 4 * LIMITS.json_depth_max


class SchemaError(Exception):
    """A schema that cannot be judged by."""


class NotJsonError(Exception):
    """A text that is no JSON, or that two parsers could read differently."""


class _TooDearError(Exception):
    pass


def read_json(text: str) -> Json:
    """A whole text as JSON. Control characters may stand in strings: their escapes were read before.

    Raises:
        NotJsonError: it is none, holds a key twice, or a number that is none.
    """
    try:
        value: Json = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise NotJsonError from None
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> Never:
    raise ValueError


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, strict=False
)


class Schema:
    """A schema that values can be judged by."""

    __slots__ = ("_root",)

    def __init__(self, text: str) -> None:
        """Read a schema.

        Raises:
            SchemaError: it is no JSON, no schema, too large, or says what cannot be judged.
        """
        try:
            self._root = read_json(text)
        except NotJsonError:
            raise SchemaError from None
        _check(self._root)

    def holds_of(self, value: Json) -> bool:
        """Whether a value is of this schema; no where that takes too many steps."""
        try:
            return _Run(self._root).holds(self._root, value, 0)
        except (_TooDearError, RecursionError):
            return False


def _check(root: Json) -> None:
    """Walk a schema once: what is not as it should be would otherwise show in the middle of an answer."""
    pending = [root]
    nodes = 0
    while pending:
        schema = pending.pop()
        nodes += 1
        if nodes > LIMITS.schema_nodes_max:
            raise SchemaError
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict) or any(name in schema for name in _UNJUDGED):
            raise SchemaError
        _check_words(root, schema)
        for name in _LISTS:
            pending += _items(schema.get(name, []))
        for name in _MAPS:
            pending += _members(schema.get(name, {})).values()
        items = schema.get("items")
        if isinstance(items, list):
            pending += items
        pending += [schema[name] for name in _ONES if name in schema and not isinstance(schema[name], list)]


def _check_words(root: Json, schema: dict[str, Json]) -> None:
    types = schema.get("type", [])
    sound = all(one in _TYPES for one in (types if isinstance(types, list) else [types]))
    sound &= all(type(schema.get(name, 0)) is int for name in _COUNTS)
    sound &= all(_is_number(schema.get(name, 0)) or name.startswith("excl") for name in _NUMBERS)
    sound &= schema.get("multipleOf", 1) != 0
    sound &= all(isinstance(one, str) for one in _items(schema.get("required", [])))
    if not sound:
        raise SchemaError
    _items(schema.get("enum", []))
    for names in _members(schema.get("dependentRequired", {})).values():
        _items(names)
    if "$ref" in schema:
        _resolved(root, schema["$ref"])


def _items(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise SchemaError
    return value


def _members(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise SchemaError
    return value


def _resolved(root: Json, reference: Json) -> Json:
    """What a reference within the document leads to. Source: RFC 6901."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise SchemaError
    value = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            raise SchemaError
    if reference[1:] and not reference.startswith("#/"):
        raise SchemaError
    if not isinstance(value, bool | dict):
        raise SchemaError
    return value


class _Run:
    """One value as it is judged."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._steps = 0

    def holds(self, schema: Json, value: Json, depth: int) -> bool:
        """Whether a schema holds of a value."""
        self._steps += 1
        if self._steps > LIMITS.schema_steps_max or depth > _DEPTH_MAX:
            raise _TooDearError
        if not isinstance(schema, dict):
            return schema is True
        if value is None and schema.get("nullable") is True:
            return True
        if "$ref" in schema and not self.holds(_resolved(self._root, schema["$ref"]), value, depth + 1):
            return False
        return (
            _is_of_type(schema, value)
            and self._is_one(schema, value)
            and self._combined(schema, value, depth + 1)
            and self._of_kind(schema, value, depth + 1)
        )

    def _is_one(self, schema: dict[str, Json], value: Json) -> bool:
        """``enum`` and ``const``."""
        key = None
        if "enum" in schema:
            allowed = schema["enum"]
            self._steps += len(allowed) if isinstance(allowed, list) else 1
            key = _key(value)
            if not isinstance(allowed, list) or all(_key(one) != key for one in allowed):
                return False
        return "const" not in schema or _key(schema["const"]) == (key or _key(value))

    def _combined(self, schema: dict[str, Json], value: Json, depth: int) -> bool:
        """Schemas that are made of schemas."""
        held = {
            name: [self.holds(one, value, depth) for one in _items(schema[name])]
            for name in ("allOf", "anyOf", "oneOf")
            if name in schema
        }
        if not all(held.get("allOf", [True])) or not any(held.get("anyOf", [True])):
            return False
        if sum(held.get("oneOf", [True])) != 1:
            return False
        if "not" in schema and self.holds(schema["not"], value, depth):
            return False
        if "if" not in schema:
            return True
        branch = "then" if self.holds(schema["if"], value, depth) else "else"
        return branch not in schema or self.holds(schema[branch], value, depth)

    def _of_kind(self, schema: dict[str, Json], value: Json, depth: int) -> bool:
        match value:
            case str():
                return _within(schema, len(value), "minLength", "maxLength")
            case list():
                return self._array(schema, value, depth)
            case dict():
                return self._object(schema, value, depth)
            case None | bool():
                return True
            case _:
                return _number(schema, value)

    def _array(self, schema: dict[str, Json], value: list[Json], depth: int) -> bool:
        if not _within(schema, len(value), "minItems", "maxItems"):
            return False
        first, rest = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(rest, list):
            first, rest = rest, schema.get("additionalItems", True)
        prefix = _items(first)
        for at, item in enumerate(value):
            if not self.holds(prefix[at] if at < len(prefix) else rest, item, depth):
                return False
        if schema.get("uniqueItems") is True and len({_key(item) for item in value}) != len(value):
            return False
        if "contains" not in schema:
            return True
        count = sum(self.holds(schema["contains"], item, depth) for item in value)
        return _within({"minContains": 1, **schema}, count, "minContains", "maxContains")

    def _object(self, schema: dict[str, Json], value: dict[str, Json], depth: int) -> bool:
        if not _within(schema, len(value), "minProperties", "maxProperties"):
            return False
        if any(name not in value for name in _items(schema.get("required", []))):
            return False
        properties = _members(schema.get("properties", {}))
        # Which names a pattern covers is not judged here.
        rest = True if schema.get("patternProperties") else schema.get("additionalProperties", True)
        names = schema.get("propertyNames", True)
        for name, member in value.items():
            if not self.holds(properties.get(name, rest), member, depth):
                return False
            if names is not True and not self.holds(names, name, depth):
                return False
        for name, needed in _members(schema.get("dependentRequired", {})).items():
            if name in value and any(one not in value for one in _items(needed)):
                return False
        return all(
            self.holds(one, value, depth)
            for name, one in _members(schema.get("dependentSchemas", {})).items()
            if name in value
        )


def _is_number(value: Json) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


_IS: Final[Mapping[str, Callable[[Json], bool]]] = MappingProxyType(
    {
        "string": lambda value: isinstance(value, str),
        "number": _is_number,
        "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
        "boolean": lambda value: isinstance(value, bool),
        "array": lambda value: isinstance(value, list),
        "object": lambda value: isinstance(value, dict),
        "null": lambda value: value is None,
    }
)


def _is_of_type(schema: dict[str, Json], value: Json) -> bool:
    types = schema.get("type")
    if types is None:
        return True
    return any(
        isinstance(one, str) and _IS[one](value) for one in (types if isinstance(types, list) else [types])
    )


def _within(schema: Mapping[str, Json], count: int, least: str, most: str) -> bool:
    low, high = schema.get(least, 0), schema.get(most, count)
    return isinstance(low, int) and isinstance(high, int) and low <= count <= high


def _number(schema: dict[str, Json], value: float) -> bool:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    # In draft 4 the exclusive ones were flags.
    if above is True:
        above, least = least, None
    if below is True:
        below, most = most, None
    step = schema.get("multipleOf")
    return (
        (not _is_number(least) or value >= least)
        and (not _is_number(most) or value <= most)
        and (not _is_number(above) or value > above)
        and (not _is_number(below) or value < below)
        and (not _is_number(step) or Fraction(str(value)) % Fraction(str(step)) == 0)
    )


def _key(value: Json) -> str:
    """The same for values that are the same in JSON, where 1 and 1.0 are one number."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Json) -> Json:
    match value:
        case float():
            return int(value) if value.is_integer() else value
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(member) for name, member in value.items()}
        case _:
            return value
