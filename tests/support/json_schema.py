"""A validator for as much of JSON Schema (draft 2020-12) as the policy's schema uses; refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_ANNOTATIONS = {"$schema", "$defs", "title", "description", "default"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def _is(value: object, type_name: str) -> bool:
    return isinstance(value, _TYPES[type_name]) and isinstance(value, bool) == (type_name == "boolean")


def _applies(type_name: str, keeps: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda wanted, value: not _is(value, type_name) or keeps(wanted, value)


# Keywords that look at nothing below the value.
_ALONE: Mapping[str, Callable[[Any, Any], bool]] = {
    "type": lambda wanted, value: _is(value, wanted),
    "enum": lambda wanted, value: any(value == one and type(value) is type(one) for one in wanted),
    "const": lambda wanted, value: value == wanted and type(value) is type(wanted),
    "required": _applies("object", lambda wanted, value: set(wanted) <= value.keys()),
    "pattern": _applies("string", lambda wanted, value: re.search(wanted, value) is not None),
    "minimum": _applies("number", lambda wanted, value: value >= wanted),
    "maximum": _applies("number", lambda wanted, value: value <= wanted),
    "minLength": _applies("string", lambda wanted, value: len(value) >= wanted),
    "maxLength": _applies("string", lambda wanted, value: len(value) <= wanted),
    "minItems": _applies("array", lambda wanted, value: len(value) >= wanted),
    "maxItems": _applies("array", lambda wanted, value: len(value) <= wanted),
    "minProperties": _applies("object", lambda wanted, value: len(value) >= wanted),
}


def faults_of(value: object, schema: dict[str, Any]) -> list[str]:
    """What is wrong with a value: the keywords that it breaks, with their places."""
    return list(_Check(schema["$defs"]).faults(value, schema, "$"))


class _Check:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions
        self._below: Mapping[str, Callable[[Any, dict[str, Any], str], Iterator[str]]] = {
            "$ref": self._reference,
            "anyOf": self._any,
            "items": self._items,
            "propertyNames": self._names,
            "properties": self._members,
        }

    def faults(self, value: object, node: dict[str, Any], place: str) -> Iterator[str]:
        # These three speak of members together.
        if {"additionalProperties", "patternProperties"} & node.keys():
            node = {"properties": {}, **node}
        for keyword in node.keys() - _ANNOTATIONS - {"additionalProperties", "patternProperties"}:
            if keyword in self._below:
                yield from self._below[keyword](value, node, place)
            elif not _ALONE[keyword](node[keyword], value):
                yield f"{place}: {keyword}"

    def _reference(self, value: object, node: dict[str, Any], place: str) -> Iterator[str]:
        yield from self.faults(value, self._definitions[node["$ref"].rpartition("/")[2]], place)

    def _any(self, value: object, node: dict[str, Any], place: str) -> Iterator[str]:
        if all(list(self.faults(value, option, place)) for option in node["anyOf"]):
            yield f"{place}: anyOf"

    def _items(self, value: object, node: dict[str, Any], place: str) -> Iterator[str]:
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from self.faults(item, node["items"], f"{place}[{index}]")

    def _names(self, value: object, node: dict[str, Any], place: str) -> Iterator[str]:
        for name in value if isinstance(value, dict) else ():
            yield from self.faults(name, node["propertyNames"], f"{place}.{name} (name)")

    def _members(self, value: object, node: dict[str, Any], place: str) -> Iterator[str]:
        if not isinstance(value, dict):
            return
        patterns = node.get("patternProperties", {})
        for name, member in value.items():
            below = [schema for pattern, schema in patterns.items() if re.search(pattern, name)]
            below += [node["properties"][name]] if name in node["properties"] else []
            others = node.get("additionalProperties", True)
            if not below and others is False:
                yield f"{place}.{name}: additionalProperties"
            elif not below and isinstance(others, dict):
                below = [others]
            for schema in below:
                yield from self.faults(member, schema, f"{place}.{name}")
