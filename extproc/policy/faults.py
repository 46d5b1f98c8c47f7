"""What is wrong in a policy file, and what to write instead.

A fault names file, line and field. It never repeats a value but a rule's name, and a field's name only
where it looks like one: a key hash, or a key that was pasted in the wrong place, must not reach a
terminal or a log.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.domain.errors import PolicyError, SettingError
from extproc.domain.limits import LIMITS
from extproc.policy.model import ENTITY_TYPE_PATTERN, HASH_PATTERN, NAME_PATTERN, REVIEWER_KEY_PATTERN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from extproc.policy.model import PolicyModel
    from extproc.policy.tree import Document, Place, Spot, Tree

_SHOWN: Final = re.compile(r"[A-Za-z_*][A-Za-z0-9_.*-]{0,39}|[0-9]{1,6}")
_KEY_MARK: Final = "[key]"
# A shorter beginning of a name tells nothing.
_PREFIX_CHARS_MIN: Final = 3
NEAREST_MAX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """One fault, in file order; ``field`` is empty for the file as a whole."""

    spot: Spot
    field: str
    what: str
    instead: str

    def render(self, source: str) -> str:
        """One line: file, line, column, field, what is wrong, what to write instead.

        Its head is that of compilers, by which editors find the place.
        """
        field = f"{self.field}: " if self.field else ""
        return f"{source}:{self.spot.line}:{self.spot.column}: {field}{self.what}; {self.instead}"


def policy_error(source: str, faults: Iterable[Fault]) -> PolicyError:
    """All faults of a file as one error, first things first."""
    ordered = sorted(set(faults))
    shown = [fault.render(source) for fault in ordered[: LIMITS.policy_faults_max]]
    if len(ordered) > len(shown):
        shown.append(f"{source}: and {len(ordered) - len(shown)} more")
    return PolicyError("\n".join(shown))


def field_of(place: Place) -> str:
    """A place in the file as an operator would say it: ``tenants.acme.keys[0].hash``."""
    parts: list[str] = []
    for step in place:
        if isinstance(step, int):
            parts.append(f"[{step}]")
            continue
        parts.append(f".{step if _SHOWN.fullmatch(step) else '(unprintable name)'}")
    return "".join(parts).removeprefix(".")


def one_of(names: Collection[str]) -> str:
    """A closed set as a suggestion."""
    return f"write one of: {', '.join(names)}" if names else "take it out"


def nearest_few(name: str, names: Collection[str]) -> list[str]:
    """The names that were probably meant, the likeliest first."""
    close = difflib.get_close_matches(name, names, n=NEAREST_MAX, cutoff=0.6)
    if not close and len(name) >= _PREFIX_CHARS_MIN:
        close = [one for one in names if one.startswith(name)][:NEAREST_MAX]
    return close


def nearest(name: str, names: Collection[str]) -> str:
    """The name that was probably meant, or all that could be."""
    close = nearest_few(name, names)
    return f"did you mean {close[0]}?" if close else one_of(names)


def faults_of(error: ValidationError, document: Document, model: PolicyModel) -> list[Fault]:
    """The faults that pydantic found, in the file's own terms."""
    found = error.errors(include_url=False, include_input=False)
    return [
        _fault(str(one["type"]), one["loc"], one.get("ctx", {}), document, model)
        for one in found
        if one["type"] != "too_short" or not _has_faulty_items(one["loc"], found)
    ]


def places_of(error: ValidationError) -> list[Place]:
    """Where the faults are that pydantic found."""
    return [_place_of(one["loc"]) for one in error.errors(include_url=False, include_input=False)]


def _has_faulty_items(place: Place, found: Iterable[ErrorDetails]) -> bool:
    """Whether a list is too short only because pydantic does not count its faulty items."""
    return any(len(one["loc"]) > len(place) and one["loc"][: len(place)] == place for one in found)


def _place_of(place: Place) -> Place:
    return place[:-1] if place and place[-1] == _KEY_MARK else place


def _fault(
    kind: str, place: Place, bounds: Mapping[str, object], document: Document, model: PolicyModel
) -> Fault:
    place = _place_of(place)
    match kind:
        case "missing" | "missing_argument":
            what, instead = "is missing", f"add it: `{place[-1]}: …`"
        case "extra_forbidden" | "unexpected_keyword_argument":
            what, instead = _unknown(place, model)
        case "enum" | "literal_error":
            what = "is not one of the values that it can have"
            instead = f"write {_plain(bounds.get('expected'))}"
        case "string_pattern_mismatch":
            what, instead = _PATTERNS.get(str(bounds.get("pattern")), _NOT_TEXT)
        case "value_error":
            # Text of the guard's own check of its settings: from a closed list, as its messages are.
            error = bounds.get("error")
            what, instead = str(error), "change what stands there"
            if isinstance(error, SettingError):
                place, instead = (*place, *error.place), error.instead
        case "string_type" if isinstance(_value_at(place, document), dict | list):
            what, instead = "is not text", "write it as one text: in single quotes, or indented behind `|`"
        case _ if kind in _TYPES:
            what, instead = _TYPES[kind]
        case _ if bound := _bound(kind, bounds):
            what, instead = "is out of bounds", f"write {bound}"
        case _:
            what, instead = "is not what this field takes", "see the default policy file"
    return Fault(spot=document.spot_of(place), field=field_of(place), what=what, instead=instead)


def _value_at(place: Place, document: Document) -> Tree:
    found: Tree = document.tree
    for step in place:
        if isinstance(found, dict) and isinstance(step, str):
            found = found.get(step)
        elif isinstance(found, list) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return None
    return found


def _unknown(place: Place, model: PolicyModel) -> tuple[str, str]:
    names = model.allowed_names(place[:-1])
    return "is not a field that exists here", nearest(str(place[-1]), names)


def _bound(kind: str, bounds: Mapping[str, object]) -> str | None:
    words = {
        "greater_than_equal": ("ge", "a number that is at least {}"),
        "greater_than": ("gt", "a number above {}"),
        "less_than_equal": ("le", "a number that is at most {}"),
        "less_than": ("lt", "a number below {}"),
        "too_short": ("min_length", "at least {} of them"),
        "too_long": ("max_length", "at most {} of them"),
        "string_too_short": ("min_length", "at least {} characters"),
        "string_too_long": ("max_length", "at most {} characters"),
    }
    if kind not in words:
        return None
    key, text = words[kind]
    bound = bounds.get(key)
    return text.format(f"{bound:.15g}" if isinstance(bound, int | float) else bound)


def _plain(expected: object) -> str:
    return str(expected).replace("'", "")


def name_fault(name: str) -> str | None:
    """What is wrong with a name that is meant for a policy file; None where it can stand there."""
    if re.fullmatch(NAME_PATTERN, name):
        return None
    return "; ".join(_PATTERNS[NAME_PATTERN])


_NOT_TEXT: Final = ("is not text of the right form", "see the default policy file")
_PATTERNS: Final = {
    NAME_PATTERN: (
        "is not a name",
        "write 1 to 40 lower-case letters, digits, '-' or '_', beginning with a letter or digit",
    ),
    ENTITY_TYPE_PATTERN: (
        "is not the name of an entity type",
        "write 2 to 48 capital letters, digits or '_', beginning with a letter",
    ),
    HASH_PATTERN: (
        "is not a key's hash",
        "write the 64 hexadecimal digits that `headgate key new` prints, never the key itself",
    ),
    REVIEWER_KEY_PATTERN: (
        "is not a reviewer's public key",
        "write what `headgate bodies new-key` prints, which begins with hgpub_, never what is in its file",
    ),
}
_MAPPING: Final = ("is not a mapping", "write `name: value` lines, indented under it")
_LIST: Final = ("is not a list", "write it as [one, two], or as indented lines that begin with '- '")
_TYPES: Final = {
    "int_type": ("is not a whole number", "write digits only, without quotes"),
    "int_from_float": ("is not a whole number", "write digits only, without quotes"),
    "float_type": ("is not a number", "write a number without quotes"),
    "finite_number": ("is not a number", "write a finite number"),
    "bool_type": ("is neither true nor false", "write true or false, without quotes"),
    "string_type": ("is not text", "write text; put quotes around what looks like a number, true or null"),
    "tuple_type": _LIST,
    "list_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dataclass_type": _MAPPING,
    "dataclass_exact_type": _MAPPING,
}
