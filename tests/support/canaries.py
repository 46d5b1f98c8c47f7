"""Canaries in the places of a document, one at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

# As a name, as prose, and as an account's number.
CANARIES: list[str | int] = ["zq_canary_zq", "zq canary of many words", 4_929_123_412_341_234]
Path = tuple[str | int, ...]


def places(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every value below a value."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from places(item, (*path, at))


def planted(document: dict[str, Any], canary: str | int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The document with a canary as one leaf, as one key, or as a new member of one object; and where."""
    for path, value in places(document):
        for how in ("extra", "key", "leaf"):
            changed = copy.deepcopy(document)
            parent: Any = changed
            for step in path[:-1]:
                parent = parent[step]
            here = parent[path[-1]] if path else changed
            if how == "extra" and isinstance(value, dict):
                here["x_unknown"] = canary
            elif how == "leaf" and path and not isinstance(value, (dict, list)):
                parent[path[-1]] = canary
            elif how == "key" and path and isinstance(path[-1], str):
                parent[str(canary)] = parent.pop(path[-1])
            else:
                continue
            yield f"{how} {'.'.join(map(str, path))}", changed


def says_canary(texts: Iterable[str]) -> bool:
    """Whether some text has some canary."""
    return any(str(canary) in text for text in texts for canary in CANARIES)
