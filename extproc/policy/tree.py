"""YAML text to plain values, with the place in the text of every value.

Stricter than a YAML loader, because a policy must mean to the operator what it means to us: no duplicate
keys, anchors, aliases, tags or second documents. Plain scalars follow the core schema of YAML 1.2, in
which ``off``, ``no`` and ``yes`` are text: ``mode: off`` would be false by the rules of 1.1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import yaml

from extproc.domain.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Scalar: TypeAlias = "str | int | float | bool | None"
Tree: TypeAlias = "Scalar | list[Tree] | dict[str, Tree]"
Place: TypeAlias = "tuple[str | int, ...]"

# libyaml where it was built in: ten times faster, the same events.
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_KEYWORDS: Final[Mapping[str, Scalar]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
# Longer ones are text: a hash of 64 hexadecimal digits may happen to be made of digits and one "e".
_NUMBER_CHARS_MAX: Final = 32
_INT: Final = re.compile(r"[-+]?[0-9]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


class Spot(NamedTuple):
    """Where something stands in a text, both counted from 1; columns in characters, as editors count."""

    line: int
    column: int


TOP: Final = Spot(1, 1)


class TreeError(Exception):
    """Text that is no plain YAML.

    ``what`` is wrong at ``place``, which is at ``spot``; ``instead`` is what to write. Neither repeats
    anything of the text.
    """

    def __init__(self, spot: Spot, what: str, instead: str, place: Place = ()) -> None:
        super().__init__(what)
        self.spot = spot
        self.what = what
        self.instead = instead
        self.place = place


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file's values. ``spots`` maps each value's place to where it (or its key) stands."""

    tree: Tree
    spots: Mapping[Place, Spot]

    def spot_of(self, place: Place) -> Spot:
        """Where a place stands, or the nearest place around it that is in the file."""
        while place and place not in self.spots:
            place = place[:-1]
        return self.spots.get(place, TOP)


def read_tree(text: str) -> Document:
    """Read one YAML document.

    Raises:
        TreeError: The text is no YAML, or uses what a policy must not.
    """
    if len(text.encode("utf-8", "surrogatepass")) > LIMITS.policy_bytes_max:
        raise TreeError(TOP, "the file is too large", f"write at most {LIMITS.policy_bytes_max} bytes")
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = TOP if mark is None else Spot(mark.line + 1, mark.column + 1)
        lines = text.split("\n")
        if spot.line <= len(lines) and (tab := _INDENTED_BY_TAB.match(lines[spot.line - 1])):
            raise TreeError(Spot(spot.line, tab.end()), *_TAB) from None
        if spot.line > len(lines):
            # libyaml sees what is missing at the end on the line after the last.
            spot = Spot(len(lines), len(lines[-1]) + 1)
        escape = str(error.problem).startswith("found unknown escape")
        raise TreeError(spot, *(_ESCAPE if escape else _NOT_YAML)) from None
    except (yaml.YAMLError, ValueError):
        # Characters that YAML forbids, and escapes that spell no character.
        raise TreeError(builder.spot, *_NOT_YAML) from None
    return Document(tree=builder.tree, spots=builder.spots)


_INDENTED_BY_TAB: Final = re.compile(r" *\t")
_TAB: Final = ("a tab indents this line", "write spaces: YAML takes no tab there")
_ESCAPE: Final = (
    "a backslash in double quotes begins what YAML does not know",
    "write it in single quotes",
)
_NOT_YAML: Final = (
    "this is not YAML",
    "check the indentation, the quotes, and that a space follows every colon",
)


def _events(text: str) -> Iterator[yaml.Event]:
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=LOADER)
    return events


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come. ``key`` waits for its value."""

    place: Place
    value: list[Tree] | dict[str, Tree]
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    """Puts events together without recursion, so that no nesting can exhaust the interpreter's stack."""

    tree: Tree = None
    spots: dict[Place, Spot] = field(default_factory=dict)
    spot: Spot = TOP
    _open: list[_Open] = field(default_factory=list)
    _documents: int = 0

    def take(self, event: yaml.Event) -> None:
        """Take one event of the parser."""
        if event.start_mark is not None:
            self.spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._error("a second document begins here", "write one document only")
            case yaml.AliasEvent():
                raise self._error("an alias (*name) stands here", "write the value out")
            case yaml.ScalarEvent():
                self._plain(event)
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._plain(event)
                self._begin({})
            case yaml.SequenceStartEvent():
                self._plain(event)
                self._begin([])
            case yaml.CollectionEndEvent():
                self._open.pop()
            case _:
                pass

    def _plain(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            raise self._error("an anchor (&name) stands here", "write the value out where it is used")
        # "!" is what a quoted scalar may be given by libyaml; it says nothing.
        if getattr(event, "tag", None) not in (None, "!"):
            raise self._error("a tag (!name) stands here", "write the plain value")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        # Half a surrogate pair, which an escape can spell and only libyaml refuses: a ValueError.
        event.value.encode("utf-8")
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(top, top.value, event.value)
            return
        self._add(self._resolve(event.value) if event.implicit[0] else event.value)

    def _key(self, top: _Open, mapping: dict[str, Tree], key: str) -> None:
        if key in mapping:
            first = self.spots[(*top.place, key)].line
            raise self._error(f"stands on line {first} already", "keep one of the two", (*top.place, key))
        self.spots[(*top.place, key)] = self.spot
        top.key = key

    def _resolve(self, text: str) -> Scalar:
        if text in _KEYWORDS:
            return _KEYWORDS[text]
        if len(text) > _NUMBER_CHARS_MAX or _FLOAT.fullmatch(text) is None:
            return text
        if _INT.fullmatch(text) is not None:
            return int(text)
        number = float(text)
        if not math.isfinite(number):
            raise self._error("a number stands here that is too large", "write a smaller one")
        return number

    def _begin(self, value: list[Tree] | dict[str, Tree]) -> None:
        if len(self._open) >= LIMITS.policy_depth_max:
            raise self._error("nested too deep", f"write at most {LIMITS.policy_depth_max} levels")
        self._open.append(_Open(self._add(value), value))

    def _add(self, value: Tree) -> Place:
        """Put a value where it belongs; its place."""
        if not self._open:
            self.tree = value
            return ()
        top = self._open[-1]
        if isinstance(top.value, list):
            place = (*top.place, len(top.value))
            self.spots[place] = self.spot
            top.value.append(value)
            return place
        if top.key is None:
            raise self._error("a list or a mapping stands where a key belongs", "write plain text")
        place = (*top.place, top.key)
        top.value[top.key] = value
        top.key = None
        return place

    def _error(self, what: str, instead: str, place: Place | None = None) -> TreeError:
        if place is None:
            place = self._open[-1].place if self._open else ()
            if self._open and (key := self._open[-1].key) is not None:
                place = (*place, key)
        return TreeError(self.spot, what, instead, place)
