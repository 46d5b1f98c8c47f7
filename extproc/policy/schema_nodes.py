"""Steps within a JSON Schema as pydantic writes it."""

from collections.abc import Mapping


def resolved(schema: Mapping[str, object], node: object) -> Mapping[str, object]:
    """A node of a JSON Schema with its reference followed."""
    if not isinstance(node, Mapping):
        return {}
    reference = node.get("$ref")
    definitions = schema.get("$defs")
    if isinstance(reference, str) and isinstance(definitions, Mapping):
        return resolved(schema, definitions.get(reference.rpartition("/")[2]))
    return node


def below(schema: Mapping[str, object], node: object, step: str | int) -> object:
    """What the schema says of a field or an item of a node; None where it says nothing."""
    found = resolved(schema, node)
    if isinstance(step, int):
        return found.get("items")
    properties = found.get("properties")
    if isinstance(properties, Mapping) and step in properties:
        return properties[step]
    patterns = found.get("patternProperties")
    if isinstance(patterns, Mapping):
        return next(iter(patterns.values()), None)
    return found.get("additionalProperties")
