"""What is left of a policy file without its faulty sections, so that faults elsewhere are said at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extproc.policy.tree import Place

# policies, its name, guards or bodies: a fault below concerns nothing else in the file.
_SECTION_DEPTH: Final = 3


def sound_part(tree: object, faults: Iterable[Place]) -> str | None:
    """The values as JSON, without the sections in which these faults are; None where nothing is left.

    What names something that was taken out goes too, so that nothing is said to be missing that stands in
    the file.
    """
    left = json.loads(json.dumps(tree))
    for place in faults:
        if not isinstance(left, dict) or not place:
            return None
        if place[0] == "rules":
            # Policies may speak of what these rules find.
            return None
        _take_out(left, place)
    return json.dumps(left) if isinstance(left, dict) and isinstance(left.get("policies"), dict) else None


def _take_out(left: dict[str, object], place: Place) -> None:
    top = str(place[0])
    if top == "version":
        left["version"] = 1
    elif top == "policies" and len(place) >= _SECTION_DEPTH:
        _pop(left, place[: _SECTION_DEPTH + (place[2] == "guards")])
    elif top in {"policies", "tenants"}:
        # Tenants and routes name what may have to go here.
        _pop(left, place[:2])
        left.pop("tenants", None)
        left.pop("routes", None)
    else:
        left.pop(top, None)


def _pop(node: object, place: Place) -> None:
    *above, last = place
    for step in above:
        node = node.get(step) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(last, None)
