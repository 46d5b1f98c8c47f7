"""JSON that a model or a caller wrote, read so that no two parsers could differ; single words about it."""

import json
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final, NamedTuple, Never, TypeGuard

from extproc.domain.limits import LIMITS

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

# Characters of a canonical form that are made, or compared, in the time of one step of judging.
_CHARS_PER_STEP: Final = 8


class NotJsonError(Exception):
    """A text that is no JSON, or that two parsers could read differently."""


class Key(NamedTuple):
    """The same for values that are the same in JSON, where 1 and 1.0 are one number but true is none.

    A string or a number stands for itself, an array or an object as its canonical text.
    """

    kind: str
    said: str | float | None

    @property
    def steps(self) -> int:
        """What it costs to make this and look it up."""
        return len(self.said) // _CHARS_PER_STEP + 1 if isinstance(self.said, str) else 1


def read_json(text: str) -> Json:
    """A whole text as JSON. Control characters may stand in strings: their escapes were read before.

    Raises:
        NotJsonError: it is none, holds a key twice, or a number that is none or of too many digits.
    """
    try:
        value: Json = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise NotJsonError from None
    return value


def key_of(value: Json) -> Key:
    """A value's key."""
    match value:
        case None:
            return Key("null", None)
        case bool():
            return Key("boolean", value)
        case str():
            return Key("string", value)
        case int() | float():
            return Key("number", value)
        case _:
            return Key("other", json.dumps(_plain(value), sort_keys=True, ensure_ascii=False))


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


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> Never:
    raise ValueError


def _whole(digits: str) -> int:
    if len(digits) > LIMITS.json_number_chars_max:
        raise ValueError
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value) or len(digits) > LIMITS.json_number_chars_max:
        raise ValueError
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_no_constant,
    parse_float=_finite,
    parse_int=_whole,
    strict=False,
)


def is_number(value: Json) -> TypeGuard[int | float]:
    """Whether it is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


TYPES: Final[Mapping[str, Callable[[Json], bool]]] = MappingProxyType(
    {
        "string": lambda value: isinstance(value, str),
        "number": is_number,
        "integer": lambda value: is_number(value) and (isinstance(value, int) or value.is_integer()),
        "boolean": lambda value: isinstance(value, bool),
        "array": lambda value: isinstance(value, list),
        "object": lambda value: isinstance(value, dict),
        "null": lambda value: value is None,
    }
)


def is_of_type(schema: Mapping[str, Json], value: Json) -> bool:
    """``type``."""
    types = schema.get("type")
    if types is None:
        return True
    return any(
        isinstance(one, str) and TYPES[one](value)
        for one in (types if isinstance(types, list) else [types])
    )


def is_within(schema: Mapping[str, Json], count: int, least: str, most: str, *, low: int = 0) -> bool:
    """Whether a count lies between what two words of a schema say; ``low`` where nothing says the least."""
    at_least, high = schema.get(least, low), schema.get(most, count)
    return isinstance(at_least, int) and isinstance(high, int) and at_least <= count <= high


def is_of_bounds(schema: Mapping[str, Json], value: float) -> bool:
    """What schemas say of numbers."""
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    # In draft 4 the exclusive ones were flags.
    if above is True:
        above, least = least, None
    if below is True:
        below, most = most, None
    step = schema.get("multipleOf")
    return (
        (not is_number(least) or value >= least)
        and (not is_number(most) or value <= most)
        and (not is_number(above) or value > above)
        and (not is_number(below) or value < below)
        and (not is_number(step) or Fraction(str(value)) % Fraction(str(step)) == 0)
    )
