r"""Patterns of JSON schemas, run in steps that are counted.

Source: ECMA-262 regular expressions as JSON Schema 2020-12 recommends them: literals, ``.``, classes with
``\d \w \s`` and their opposites, groups, alternatives, repeats, ``^ $ \b \B``. Python's own expressions
backtrack, so a pattern from a request could take them years; here all ways are followed at once. What that
cannot do (looking around, references to groups) and Unicode properties make a pattern that is refused.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from extproc.domain.limits import LIMITS

_Ranges = tuple[tuple[int, int], ...]

_CODE_MAX: Final = 0x10FFFF
_DIGITS: Final[_Ranges] = ((48, 57),)
_WORD: Final[_Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final[_Ranges] = (
    *((9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029)),
    *((0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_LINE_ENDS: Final[_Ranges] = ((10, 10), (13, 13), (0x2028, 0x2029))
_CLASSES: Final = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
# Of hexadecimal escapes: how many digits follow.
_HEX_DIGITS: Final = {"x": 2, "u": 4}
_MARKS: Final = frozenset("^$\\.*+?()[]{}|/-")
_NOT_ALONE: Final = frozenset("*+?{}])")
_GROUPS: Final = ("?:", "?<", "?")
_DECIMAL_CHARS_MAX: Final = 4


class PatternError(Exception):
    """A pattern that cannot be run here."""


class _Edge(Enum):
    """What must be where nothing is read."""

    START = auto()
    END = auto()
    BORDER = auto()
    NO_BORDER = auto()


_EDGES: Final = {"^": _Edge.START, "$": _Edge.END, "\\b": _Edge.BORDER, "\\B": _Edge.NO_BORDER}


@dataclass(frozen=True, slots=True)
class _Step:
    """A state: reads a character of ``reads``, or goes on at once, under ``edge`` where there is one.

    ``reads`` are codes at which a run of characters begins or, each second one, is over; None in a state
    that reads nothing. A state without ``after`` is the end.
    """

    after: tuple[int, ...] = ()
    reads: tuple[int, ...] | None = None
    edge: _Edge | None = None


class Pattern:
    """A pattern that texts can be searched for."""

    __slots__ = ("_start", "_steps")

    def __init__(self, source: str, charge: Callable[[int], None]) -> None:
        """Read a pattern; ``charge`` is told of its characters and states.

        Raises:
            PatternError: it is none, or says what cannot be run here.
        """
        reading = _Reading(source, charge)
        self._start = reading.whole()
        self._steps = reading.steps

    def found_in(self, text: str, charge: Callable[[int], None]) -> bool:
        """Whether it matches somewhere; ``charge`` is told of the states that each character costs."""
        live: set[int] = set()
        for at in range(len(text) + 1):
            reached = self._reached((self._start, *live), text, at)
            charge(len(reached) + 1)
            if 0 in reached:
                return True
            if at < len(text):
                live = self._read(reached, ord(text[at]))
        return False

    def _read(self, reached: Iterable[int], code: int) -> set[int]:
        steps = self._steps
        live: set[int] = set()
        for number in reached:
            step = steps[number]
            if step.reads is not None and bisect_right(step.reads, code) % 2:
                live.update(step.after)
        return live

    def _reached(self, begun: Iterable[int], text: str, at: int) -> set[int]:
        """The states that are reached without reading."""
        steps = self._steps
        reached: set[int] = set()
        pending = [*begun]
        while pending:
            number = pending.pop()
            if number in reached:
                continue
            reached.add(number)
            step = steps[number]
            if step.reads is None and (step.edge is None or _is_edge(step.edge, text, at)):
                pending += step.after
        return reached


def _is_in(ranges: _Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)


def _is_edge(edge: _Edge, text: str, at: int) -> bool:
    if edge is _Edge.START:
        return at == 0
    if edge is _Edge.END:
        return at == len(text)
    before = at > 0 and _is_in(_WORD, ord(text[at - 1]))
    behind = at < len(text) and _is_in(_WORD, ord(text[at]))
    return (before != behind) == (edge is _Edge.BORDER)


# Makes the states of a part, which go on at a given state; gives the part's first one.
_Part = Callable[[int], int]


class _Reading:
    """Reads one pattern. State 0 is its end."""

    def __init__(self, source: str, charge: Callable[[int], None]) -> None:
        self.steps: list[_Step] = [_Step()]
        self._charge = charge
        self._source = source
        self._at = 0
        self._depth = 0

    def whole(self) -> int:
        """The state in which a match begins."""
        self._charge(len(self._source))
        part = self._either()
        if self._at < len(self._source):
            raise PatternError
        return part(0)

    def _add(self, step: _Step) -> int:
        self._charge(1)
        self.steps.append(step)
        return len(self.steps) - 1

    # --- the grammar -----------------------------------------------------------------------------

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _take(self) -> str:
        mark = self._peek()
        if not mark:
            raise PatternError
        self._at += 1
        return mark

    def _took(self, text: str) -> bool:
        found = self._source.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _either(self) -> _Part:
        parts = [self._row()]
        while self._took("|"):
            parts.append(self._row())
        if len(parts) == 1:
            return parts[0]
        return lambda after: self._add(_Step(tuple(dict.fromkeys([part(after) for part in parts]))))

    def _row(self) -> _Part:
        parts: list[_Part] = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._repeated(self._one()))

        def made(after: int) -> int:
            for part in reversed(parts):
                after = part(after)
            return after

        return made

    def _one(self) -> _Part:
        mark = self._take()
        if mark == "\\" and self._peek() in {"b", "B"}:
            mark += self._take()
        if mark in _EDGES:
            return self._edge(_EDGES[mark])
        match mark:
            case "(":
                return self._group()
            case "[":
                return self._reads(self._class())
            case ".":
                return self._reads(_opposite(_LINE_ENDS))
            case "\\":
                return self._reads(self._escape())
            case _ if mark in _NOT_ALONE:
                raise PatternError
            case _:
                return self._reads(((ord(mark), ord(mark)),))

    def _reads(self, ranges: _Ranges) -> _Part:
        borders = _borders(ranges)
        return lambda after: self._add(_Step((after,), borders))

    def _edge(self, edge: _Edge) -> _Part:
        if self._peek() in {"*", "+", "?", "{"}:
            raise PatternError
        return lambda after: self._add(_Step((after,), None, edge))

    def _group(self) -> _Part:
        opened = next((one for one in _GROUPS if self._took(one)), "")
        if opened == "?":
            raise PatternError
        if opened == "?<":
            name, closed, _ = self._source[self._at :].partition(">")
            # ``?<=`` and ``?<!`` look behind.
            if not closed or not name.isidentifier():
                raise PatternError
            self._at += len(name) + 1
        self._depth += 1
        if self._depth > LIMITS.json_depth_max:
            raise PatternError
        part = self._either()
        self._depth -= 1
        if not self._took(")"):
            raise PatternError
        return part

    # --- repeats ---------------------------------------------------------------------------------

    def _repeated(self, part: _Part) -> _Part:
        bounds = self._bounds()
        if bounds is None:
            return part
        # As few or as many: the same texts match.
        self._took("?")
        least, most = bounds
        if self._peek() in {"*", "+", "?", "{"} or (most is not None and most < least):
            raise PatternError

        def made(after: int) -> int:
            # Of what reads nothing, too.
            self._charge(most or least)
            first = after
            if most is None:
                # Its states lead back to it.
                first = self._add(_Step())
                self.steps[first] = _Step((part(first), after))
            for _ in range((most or least) - least):
                first = self._add(_Step((part(first), after)))
            for _ in range(least):
                first = part(first)
            return first

        return made

    def _bounds(self) -> tuple[int, int | None] | None:
        match self._peek():
            case "*":
                bounds: tuple[int, int | None] = (0, None)
            case "+":
                bounds = (1, None)
            case "?":
                bounds = (0, 1)
            case "{":
                self._at += 1
                return self._braces()
            case _:
                return None
        self._at += 1
        return bounds

    def _braces(self) -> tuple[int, int | None]:
        inside, closed, _ = self._source[self._at :].partition("}")
        least, comma, most = inside.partition(",")
        if not closed or not _is_count(least) or (most and not _is_count(most)):
            raise PatternError
        self._at += len(inside) + 1
        if not comma:
            return int(least), int(least)
        return int(least), int(most) if most else None

    # --- characters ------------------------------------------------------------------------------

    def _escape(self) -> _Ranges:
        """What stands behind a backslash."""
        mark = self._take()
        if mark.lower() in _CLASSES:
            ranges = _CLASSES[mark.lower()]
            return ranges if mark.islower() else _opposite(ranges)
        if mark in _HEX_DIGITS:
            code = self._code(_HEX_DIGITS[mark])
        elif mark in _CONTROLS and not (mark == "0" and self._peek().isdecimal()):
            code = _CONTROLS[mark]
        elif mark in _MARKS or not (mark.isalnum() or mark == "_"):
            code = ord(mark)
        else:
            raise PatternError
        return ((code, code),)

    def _code(self, digits: int) -> int:
        if digits == _HEX_DIGITS["u"] and self._took("{"):
            written, closed, _ = self._source[self._at :].partition("}")
            self._at += len(written) + len(closed)
        else:
            written, closed = self._source[self._at : self._at + digits], "}"
            self._at += digits
            if len(written) < digits:
                raise PatternError
        if not closed or not written or not all(one in "0123456789abcdefABCDEF" for one in written):
            raise PatternError
        code = int(written, 16)
        if code > _CODE_MAX or 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 - surrogates are no characters.
            raise PatternError
        return code

    def _class(self) -> _Ranges:
        """A set of characters, up to its closing bracket."""
        negated = self._took("^")
        ranges: list[tuple[int, int]] = []
        while not self._took("]"):
            low = self._member()
            if self._peek() == "-" and self._source[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._at += 1
                high = self._member()
                if len(low) > 1 or len(high) > 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1]:
                    raise PatternError
                if low[0][0] > high[0][0]:
                    raise PatternError
                ranges.append((low[0][0], high[0][0]))
            else:
                ranges += low
        return _opposite(tuple(ranges)) if negated else tuple(ranges)

    def _member(self) -> _Ranges:
        mark = self._take()
        if mark != "\\":
            return ((ord(mark), ord(mark)),)
        if self._took("b"):
            return ((8, 8),)
        return self._escape()


def _is_count(digits: str) -> bool:
    return digits.isascii() and digits.isdecimal() and len(digits) <= _DECIMAL_CHARS_MAX


def _opposite(ranges: _Ranges) -> _Ranges:
    """Every other character."""
    borders = _borders(ranges)
    at = (0, *borders, _CODE_MAX + 1)
    pairs = zip(at[::2], at[1::2], strict=True)
    return tuple([(low, over - 1) for low, over in pairs if low < over])


def _borders(ranges: _Ranges) -> tuple[int, ...]:
    """Where runs of characters begin, and where each is over."""
    found: list[int] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1]:
            found[-1] = max(found[-1], high + 1)
        else:
            found += (low, high + 1)
    return tuple(found)
