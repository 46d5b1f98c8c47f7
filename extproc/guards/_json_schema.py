"""Whether JSON is of a schema: a validator whose work is counted.

Source: JSON Schema 2020-12, with ``definitions``, ``dependencies``, ``items`` as an array and ``nullable``
of earlier ones and of OpenAPI. Schemas come with requests, so nothing of them may cost without bound or
reach out: ``$ref`` stays in its document, nodes are counted, and each step of judging is charged what it
costs. Formats are notes. A schema that says what cannot be judged here (``unevaluated*``, dynamic or
remote references, patterns that look around) is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extproc.domain.limits import LIMITS
from extproc.guards._json_values import (
    TYPES,
    Json,
    Key,
    NotJsonError,
    is_number,
    is_of_bounds,
    is_of_type,
    is_within,
    key_of,
    read_json,
)
from extproc.guards._patterns import Pattern, PatternError

UNJUDGED: Final = ("$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems")
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS: Final = ("properties", "$defs", "definitions", "dependentSchemas", "patternProperties")
_ONES: Final = (
    *("items", "additionalItems", "additionalProperties", "contains", "propertyNames"),
    *("not", "if", "then", "else"),
)
_COUNTS: Final = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
)
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
# Exact division of numbers with an exponent.
_DIVISION_STEPS: Final = 32
# References that lead to each other without ever reaching a value.
_DEPTH_MAX: Final = 4 * LIMITS.json_depth_max


class SchemaError(Exception):
    """A schema that cannot be judged by."""


class TooDearError(Exception):
    """More than is left of some steps."""


class Steps:
    """What the judging of one answer, or the reading of a request's schemas, may still cost."""

    __slots__ = ("_left",)

    def __init__(self, steps_max: int = LIMITS.schema_steps_max) -> None:
        self._left = steps_max

    def charge(self, count: int) -> None:
        """Take some.

        Raises:
            TooDearError: there are not so many.
        """
        self._left -= count
        if self._left < 0:
            raise TooDearError


def patterns_room() -> Steps:
    """What the patterns of one request's schemas may have: characters, and states."""
    return Steps(LIMITS.pattern_states_max)


@dataclass(slots=True)
class _Known:
    """What of one schema is made ready once: where it refers to, keys of what it allows, its patterns."""

    target: Json = True
    const: Key | None = None
    enum: frozenset[Key] | None = None
    pattern: Pattern | None = None
    names: tuple[tuple[Pattern, Json], ...] = ()


_NOTHING: Final = _Known()


class Schema:
    """A schema that values can be judged by."""

    __slots__ = ("_known", "_root")

    def __init__(self, text: str, room: Steps | None = None) -> None:
        """Read a schema; ``room`` is what the patterns of several may have together.

        Raises:
            SchemaError: it is no JSON, no schema, too large, or says what cannot be judged.
        """
        try:
            self._root = read_json(text)
            self._known = _check(self._root, room or patterns_room())
        except (NotJsonError, PatternError, TooDearError):
            raise SchemaError from None

    def holds_of(self, value: Json, steps: Steps | None = None) -> bool:
        """Whether a value is of this schema; no where that takes more than is left of ``steps``."""
        try:
            return _Run(self._known, steps or Steps()).holds(self._root, value, 0)
        except (TooDearError, RecursionError):
            return False


def _check(root: Json, room: Steps) -> Mapping[int, _Known]:
    """Walk a schema once: what is not as it should be would otherwise show in the middle of an answer."""
    pending = [root]
    found: dict[int, _Known] = {}
    seen: set[int] = set()
    nodes = 0
    while pending:
        schema = pending.pop()
        if id(schema) in seen:
            continue
        nodes += 1
        if nodes > LIMITS.schema_nodes_max:
            raise SchemaError
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict) or any(name in schema for name in UNJUDGED):
            raise SchemaError
        seen.add(id(schema))
        check_words(schema)
        known = known_of(root, schema, room)
        if known != _NOTHING:
            found[id(schema)] = known
        pending += schemas_in(schema)
        if known.target is not True:
            # A reference may lead to what is no schema where it stands.
            pending.append(known.target)
    return found


def schemas_in(schema: dict[str, Json]) -> list[Json]:
    """The schemas of which a schema is made."""
    found: list[Json] = []
    for name in _LISTS:
        found += _items(schema.get(name, []))
    for name in _MAPS:
        found += _members(schema.get(name, {})).values()
    needed = _members(schema.get("dependencies", {})).values()
    found += [one for one in needed if not isinstance(one, list)]
    items = schema.get("items")
    if isinstance(items, list):
        found += items
    found += [schema[name] for name in _ONES if name in schema and not isinstance(schema[name], list)]
    return found


def known_of(root: Json, schema: dict[str, Json], room: Steps) -> _Known:
    known = _Known()
    if "$ref" in schema:
        known.target = _resolved(root, schema["$ref"])
    if "const" in schema:
        known.const = key_of(schema["const"])
    if "enum" in schema:
        known.enum = frozenset([key_of(one) for one in _items(schema["enum"])])
    if "pattern" in schema:
        known.pattern = _pattern(schema["pattern"], room)
    patterns = _members(schema.get("patternProperties", {}))
    known.names = tuple([(_pattern(source, room), one) for source, one in patterns.items()])
    return known


def _pattern(source: Json, room: Steps) -> Pattern:
    if not isinstance(source, str):
        raise SchemaError
    return Pattern(source, room.charge)


def check_words(schema: dict[str, Json]) -> None:
    types = schema.get("type", [])
    sound = all(one in TYPES for one in (types if isinstance(types, list) else [types]))
    sound &= not isinstance(types, list) or len(types) <= len(TYPES)
    sound &= all(type(schema.get(name, 0)) is int for name in _COUNTS)
    sound &= all(is_number(schema.get(name, 0)) or name.startswith("excl") for name in _NUMBERS)
    sound &= schema.get("multipleOf", 1) != 0
    sound &= _are_names(schema.get("required", []))
    sound &= all(_are_names(one) for one in _members(schema.get("dependentRequired", {})).values())
    needed = _members(schema.get("dependencies", {})).values()
    sound &= all(_are_names(one) for one in needed if isinstance(one, list))
    if not sound:
        raise SchemaError


def _are_names(value: Json) -> bool:
    return all(isinstance(one, str) for one in _items(value))


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

    __slots__ = ("_charge", "_keys", "_known")

    def __init__(self, known: Mapping[int, _Known], steps: Steps) -> None:
        self._known = known
        self._charge = steps.charge
        # Of arrays and objects, which are alive as long as this is.
        self._keys: dict[int, Key] = {}

    def holds(self, schema: Json, value: Json, depth: int) -> bool:
        """Whether a schema holds of a value."""
        self._charge(1)
        if depth > _DEPTH_MAX:
            raise TooDearError
        if not isinstance(schema, dict):
            return schema is True
        if value is None and schema.get("nullable") is True:
            return True
        known = self._known.get(id(schema), _NOTHING)
        if known.target is not True and not self.holds(known.target, value, depth + 1):
            return False
        return (
            is_of_type(schema, value)
            and self._is_one(known, value)
            and self._combined(schema, value, depth + 1)
            and self._of_kind(schema, known, value, depth + 1)
        )

    def _is_one(self, known: _Known, value: Json) -> bool:
        """``enum`` and ``const``."""
        if known.enum is None and known.const is None:
            return True
        key = self._key(value)
        return (known.enum is None or key in known.enum) and (known.const is None or key == known.const)

    def _key(self, value: Json) -> Key:
        """A value's key, made once; to look for it costs as much as it is long, each time."""
        key = self._keys.get(id(value)) if isinstance(value, list | dict) else key_of(value)
        if key is None:
            key = self._keys[id(value)] = key_of(value)
        self._charge(key.steps)
        return key

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

    def _of_kind(self, schema: dict[str, Json], known: _Known, value: Json, depth: int) -> bool:
        match value:
            case str():
                return is_within(schema, len(value), "minLength", "maxLength") and (
                    known.pattern is None or known.pattern.found_in(value, self._charge)
                )
            case list():
                return self._array(schema, value, depth)
            case dict():
                return self._object(schema, known, value, depth)
            case None | bool():
                return True
            case _:
                return self._number(schema, value)

    def _number(self, schema: dict[str, Json], value: float) -> bool:
        if "multipleOf" in schema:
            self._charge(_DIVISION_STEPS)
        return is_of_bounds(schema, value)

    def _array(self, schema: dict[str, Json], value: list[Json], depth: int) -> bool:
        if not is_within(schema, len(value), "minItems", "maxItems"):
            return False
        first, rest = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(rest, list):
            first, rest = rest, schema.get("additionalItems", True)
        prefix = _items(first)
        for at, item in enumerate(value):
            if not self.holds(prefix[at] if at < len(prefix) else rest, item, depth):
                return False
        if schema.get("uniqueItems") is True and len({self._key(item) for item in value}) != len(value):
            return False
        if "contains" not in schema:
            return True
        count = sum(self.holds(schema["contains"], item, depth) for item in value)
        return is_within(schema, count, "minContains", "maxContains", low=1)

    def _object(self, schema: dict[str, Json], known: _Known, value: dict[str, Json], depth: int) -> bool:
        return (
            is_within(schema, len(value), "minProperties", "maxProperties")
            and self._has(value, schema.get("required", []))
            and all(self._member(schema, known, name, member, depth) for name, member in value.items())
            and self._dependent(schema, value, depth)
        )

    def _has(self, value: dict[str, Json], names: Json) -> bool:
        """Whether an object has members of all these names."""
        needed = _items(names)
        self._charge(len(needed))
        return all(name in value for name in needed)

    def _member(self, schema: dict[str, Json], known: _Known, name: str, member: Json, depth: int) -> bool:
        named = [one for pattern, one in known.names if pattern.found_in(name, self._charge)]
        properties = _members(schema.get("properties", {}))
        if name in properties:
            named.append(properties[name])
        if not named:
            named.append(schema.get("additionalProperties", True))
        return all(self.holds(one, member, depth) for one in named) and (
            "propertyNames" not in schema or self.holds(schema["propertyNames"], name, depth)
        )

    def _dependent(self, schema: dict[str, Json], value: dict[str, Json], depth: int) -> bool:
        """What must hold of an object that has members of some names."""
        for word in ("dependentRequired", "dependentSchemas", "dependencies"):
            needed = _members(schema.get(word, {}))
            self._charge(len(needed))
            for name, one in needed.items():
                if name not in value:
                    continue
                if not (self._has(value, one) if isinstance(one, list) else self.holds(one, value, depth)):
                    return False
        return True
