"""Where could a match begin: a necessary condition in Python's own regular expressions, run in C.

Exact in the sense that matters: at every place where a rule accepts or is still alive at the end of the
text, the expression matches. It may match where a rule dies a little later; the automaton sees to that.
Each piece may be cut short by the end of the text, because more text can come.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from extproc.redaction import charset as cs
from extproc.redaction import pattern
from extproc.redaction.rules import EXCLUDED, Boundary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from extproc.redaction.charset import CharSet
    from extproc.redaction.pattern import Node

DEPTH: Final = 8  # characters or runs looked at: enough to tell most prefixes from words (measured).
PATHS_MAX: Final = 256  # ways through one body before it is cut short.
PATHS_KEPT_MAX: Final = 32  # of one body: more cost more to compile than they tell.
NARROW_MAX: Final = 8  # characters of a set that tells one word from another.
WIDE_KEPT_MAX: Final = 2  # larger sets that one path may ask for.
FAN_MAX: Final = 4  # alternatives tried one by one before they are split in halves.


@dataclass(frozen=True, slots=True)
class _Step:
    """One character of a set, or a run of them that can only end where the next step begins."""

    chars: CharSet
    run: str = ""  # a possessive repeat; bounded, so that no text makes it quadratic


_Path: TypeAlias = tuple[_Step, ...]


def prefilter(parts: Sequence[tuple[Boundary, Node, str]]) -> re.Pattern[str]:
    """One expression for bodies with their left boundaries and what ``ahead`` gave for them.

    It never matches where there are none.
    """
    words: dict[tuple[str, Boundary], set[_Path]] = {}
    others: dict[tuple[str, Boundary], list[set[_Path]]] = {}
    for boundary, node, wanted in parts:
        for key, paths in _by_boundary(boundary, _deepest(node), wanted).items():
            narrow = {_telling(path) for path in paths if _is_narrow(path)}
            words.setdefault(key, set()).update(narrow)
            others.setdefault(key, []).append({path for path in paths if not _is_narrow(path)})
    groups = []
    for key in sorted(words):
        wanted, boundary = key
        # Words are told apart in one tree; large sets overlap, and a tree of overlaps explodes.
        sources = [_source(paths) for paths in (words[key], *others[key]) if paths]
        joined = "(?:" + "|".join(dict.fromkeys(sources)) + ")"
        groups.append(_left(boundary) + (f"(?={joined}){wanted}" if wanted else joined))
    return re.compile("|".join(groups) if groups else r"(?!)")


def _by_boundary(
    boundary: Boundary, paths: Iterable[_Path], wanted: str
) -> dict[tuple[str, Boundary], set[_Path]]:
    found: dict[tuple[str, Boundary], set[_Path]] = {}
    for path in paths:
        found.setdefault((wanted, _coarse(boundary, path)), set()).add(path)
    return found


def _is_narrow(path: _Path) -> bool:
    return bool(path) and not path[0].run and _width(path[0]) <= NARROW_MAX


def _width(step: _Step) -> int:
    return sum(high - low + 1 for low, high in step.chars)


def ahead(chars: Iterable[CharSet], needs: CharSet, chars_max: int | None) -> str:
    """Asks for a character of ``needs`` before the first that no match holds.

    ``chars`` are the sets of the body's positions and ``chars_max`` is its longest match; where that or
    ``needs`` is missing nothing is asked.
    """
    if not needs or chars_max is None:
        return ""
    others = cs.complement(cs.union(cs.complement(cs.union(*chars)), needs))
    passed = f"{cs.class_source(others)}{{0,{chars_max}}}+" if others else ""
    return rf"(?={passed}(?:\Z|{cs.class_source(needs)}))"


# A process has several masks of the same rules, and each body takes some milliseconds.
@lru_cache(maxsize=1_024)
def _deepest(node: Node) -> frozenset[_Path]:
    """The paths as deep as they are few; a body with many short words is looked at less deep."""
    for depth in range(DEPTH, 1, -1):
        found = _paths([node], depth)
        if () not in found and len(found) <= PATHS_KEPT_MAX:
            return frozenset(found)
    return frozenset(_paths([node], 1))


def _telling(path: _Path) -> _Path:
    """The path up to a few characters of large sets."""
    wide = 0
    for at, step in enumerate(path):
        wide += not step.run and _width(step) > NARROW_MAX
        if wide == WIDE_KEPT_MAX:
            return path[: at + 1]
    return path


def _coarse(boundary: Boundary, path: _Path) -> Boundary:
    """Stricter boundaries are asked for as the word boundary in them, all in one group.

    Not so where a run comes first: it must not be tried again at each of its characters.
    """
    excluded = EXCLUDED.get(boundary, ())
    if path and path[0].run:
        return boundary
    return Boundary.NOT_WORD if cs.union(EXCLUDED[Boundary.NOT_WORD], excluded) == excluded else boundary


def _left(boundary: Boundary) -> str:
    if boundary is Boundary.NONE:
        return ""
    if boundary is Boundary.WORD:
        return r"\b"
    return f"(?<!{cs.class_source(EXCLUDED[boundary])})"


def _paths(nodes: list[Node], depth: int) -> set[_Path]:
    """The first steps of every way through the nodes; an empty path asks for nothing."""
    if not nodes or depth == 0:
        return {()}
    head, *rest = nodes
    match head:
        case pattern.Chars(chars):
            return {(_Step(chars), *path) for path in _paths(rest, depth - 1)}
        case pattern.Sequence(parts):
            return _paths([*parts, *rest], depth)
        case pattern.Choice(options):
            found = {path for option in options for path in _paths([option, *rest], depth)}
            return found if len(found) <= PATHS_MAX else {()}
        case pattern.Repeat(part, low, high):
            return _repeat(part, low, high, rest, depth)


def _repeat(part: Node, low: int, high: int | None, rest: list[Node], depth: int) -> set[_Path]:
    following = pattern.Sequence(tuple(rest))
    if (
        isinstance(part, pattern.Chars)
        and high is not None
        and high > max(low, 1)
        and not pattern.nullable(following)
        and cs.disjoint(part.chars, pattern.first(following))
    ):
        # What is alive may have fewer than ``low`` of them yet.
        step = _Step(part.chars, f"{{{min(low, 1)},{high}}}+")
        return {(step, *path) for path in _paths(rest, depth - 1)}
    if low:
        fewer = pattern.Repeat(part, low - 1, None if high is None else high - 1)
        return _paths([part, fewer, *rest], depth)
    if high == 0:
        return _paths(rest, depth)
    if pattern.nullable(part):
        return {()}
    more = pattern.Repeat(part, 0, None if high is None else high - 1)
    found = _paths([part, more, *rest], depth) | _paths(rest, depth)
    return found if len(found) <= PATHS_MAX else {()}


def _source(paths: Iterable[_Path]) -> str:
    """The paths as one expression: runs one by one, single characters as a tree without overlap."""
    heads: dict[_Step, set[_Path]] = {}
    for path in paths:
        if not path:
            return ""
        heads.setdefault(path[0], set()).add(path[1:])
    runs = {step: tails for step, tails in heads.items() if step.run}
    singles = {step.chars: tails for step, tails in heads.items() if not step.run}
    options = [_class(step.chars) + step.run + _then(tails) for step, tails in runs.items()]
    # Characters that lead to the same tails share one alternative.
    by_tails: dict[frozenset[_Path], list[CharSet]] = {}
    for block, members in _blocks(tuple(singles)):
        tails = frozenset().union(*(singles[chars] for chars in members))
        by_tails.setdefault(tails, []).append(block)
    tree = [(cs.union(*blocks), _then(tails)) for tails, blocks in by_tails.items()]
    options.extend([_halved(sorted(tree))] if tree else [])
    return "(?:" + "|".join(options) + ")"


def _then(tails: Iterable[_Path]) -> str:
    rest = set(tails)
    return "" if () in rest else rf"(?:\Z|{_source(rest)})"


def _blocks(sets: tuple[CharSet, ...]) -> list[tuple[CharSet, tuple[CharSet, ...]]]:
    """The parts into which the sets cut one another, each with the sets that it lies in."""
    cuts = sorted({edge for chars in sets for low, high in chars for edge in (low, high + 1)})
    found: dict[tuple[CharSet, ...], list[tuple[int, int]]] = {}
    for low, following in itertools.pairwise(cuts):
        members = tuple(chars for chars in sets if cs.contains(chars, low))
        if members:
            found.setdefault(members, []).append((low, following - 1))
    return [(cs.charset(ranges), members) for members, ranges in found.items()]


def _halved(tree: list[tuple[CharSet, str]]) -> str:
    """Alternatives without overlap; many are told apart by halves, since ``re`` tries them in a row."""
    if len(tree) <= FAN_MAX:
        return "|".join(_class(chars) + rest for chars, rest in tree)
    middle = len(tree) // 2
    left, right = tree[:middle], tree[middle:]
    return "|".join(
        f"(?={_class(cs.union(*(chars for chars, _ in half)))})(?:{_halved(half)})"
        for half in (left, right)
    )


def _class(chars: CharSet) -> str:
    if len(chars) == 1 and chars[0][0] == chars[0][1]:
        return re.escape(chr(chars[0][0]))
    return cs.class_source(chars)
