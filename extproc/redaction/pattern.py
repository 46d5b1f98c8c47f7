r"""The restricted regular expression of a rule's body, over code points.

Literals, escapes, classes, groups, ``|``, ``?``, ``*``, ``+``, ``{m}``, ``{m,}``, ``{m,n}``. Classes are
those of ``re.ASCII``: ``\d`` is ``[0-9]``; ``.`` is all but a line feed; a negated class holds every other
code point. What an automaton cannot decide from the left (look-around, back-references, anchors, lazy or
possessive repeats) is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.redaction import charset as cs

if TYPE_CHECKING:
    from extproc.redaction.charset import CharSet

# Far above any real repeat; without it `{999999999}` would be read before it is refused as exploding.
REPEAT_MAX: Final = 4096
NESTING_MAX: Final = 32

_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_CLASSES: Final = {"d": cs.DIGIT, "w": cs.WORD, "s": cs.SPACE}
_HEX_DIGITS: Final = {"x": 2, "u": 4, "U": 8}
_SPECIAL: Final = frozenset("\\[](){}|?*+.^$-/&~#'\"`!%,:;<=>@_ ")


class PatternError(ValueError):
    """A body that is not a restricted regular expression; ``at`` is the code point in it."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(f"{why}, after character {at}")
        self.why = why
        self.at = at


@dataclass(frozen=True, slots=True)
class Chars:
    """One code point of a set."""

    chars: CharSet


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts in order; none = the empty string."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the options."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``part`` at least ``low`` and at most ``high`` times; None = without end."""

    part: Node
    low: int
    high: int | None


Node = Chars | Sequence | Choice | Repeat


class _Parser:
    """Recursive descent over one body."""

    def __init__(self, body: str, *, fold: bool) -> None:
        self.body = body
        self.at = 0
        self.fold = fold
        self.depth = 0

    def peek(self) -> str:
        return self.body[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise PatternError("unfinished expression", self.at)
        self.at += 1
        return char

    def chars(self, chars: CharSet) -> Chars:
        if not chars:
            raise PatternError("empty class", self.at)
        return Chars(cs.ignore_case(chars) if self.fold else chars)

    def choice(self) -> Node:
        options = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while self.peek() not in {"", "|", ")"}:
            parts.append(self.repeat())
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def repeat(self) -> Node:
        part = self.atom()
        bounds = self.bounds()
        if bounds is None:
            return part
        if self.peek() in {"?", "*", "+"} or (self.peek() == "{" and self.braces() is not None):
            raise PatternError("lazy, possessive or doubled repeat", self.at)
        return Repeat(part, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        match self.peek():
            case "?":
                found: tuple[int, int | None] | None = (0, 1)
            case "*":
                found = (0, None)
            case "+":
                found = (1, None)
            case "{":
                return self.braces()
            case _:
                return None
        self.at += 1
        return found

    def braces(self) -> tuple[int, int | None] | None:
        end = self.body.find("}", self.at)
        low, comma, high = self.body[self.at + 1 : max(end, 0)].partition(",")
        digits = f"{low}{high}"
        if end < 0 or not low or not (digits.isascii() and digits.isdigit()):
            raise PatternError("bad repeat", self.at)
        least = int(low)
        most = (int(high) if high else None) if comma else least
        if least > REPEAT_MAX or (most is not None and not least <= most <= REPEAT_MAX):
            raise PatternError(f"repeat out of range (0 to {REPEAT_MAX}, the smaller first)", self.at)
        self.at = end + 1
        return least, most

    def atom(self) -> Node:
        char = self.take()
        match char:
            case "(":
                return self.group()
            case "[":
                return self.bracket()
            case ".":
                return Chars(cs.complement(cs.EOL))
            case "\\":
                return self.chars(self.escape())
            case "?" | "*" | "+" | "{" | "}" | "]" | "^" | "$":
                raise PatternError(f"unexpected {char!r}", self.at - 1)
            case _:
                return self.chars(cs.of_chars(char))

    def group(self) -> Node:
        if self.peek() == "?":
            self.at += 1
            if self.take() != ":":
                raise PatternError("look-around, flags and names are not allowed", self.at - 1)
        self.depth += 1
        if self.depth > NESTING_MAX:
            raise PatternError("nested too deep", self.at)
        inner = self.choice()
        self.depth -= 1
        if self.take() != ")":
            raise PatternError("missing )", self.at - 1)
        return inner

    def escape(self) -> CharSet:
        char = self.take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char.lower() in _CLASSES:
            return cs.complement(_CLASSES[char.lower()])
        if char in _ESCAPES:
            return cs.of_chars(_ESCAPES[char])
        if char in _HEX_DIGITS:
            digits = self.body[self.at : self.at + _HEX_DIGITS[char]]
            self.at += _HEX_DIGITS[char]
            try:
                code_point = int(digits, 16)
            except ValueError:
                raise PatternError("bad escape", self.at) from None
            if len(digits) < _HEX_DIGITS[char] or code_point > cs.CODE_POINT_MAX:
                raise PatternError("bad escape", self.at)
            return ((code_point, code_point),)
        if char in _SPECIAL:
            return cs.of_chars(char)
        raise PatternError("unknown escape, anchor or back-reference", self.at - 1)

    def bracket(self) -> Node:
        negated = self.peek() == "^"
        self.at += negated
        found: list[CharSet] = []
        while self.peek() != "]" or not found:
            low = self.member()
            if self.peek() == "-" and self.body[self.at + 1 : self.at + 2] not in {"", "]"}:
                self.at += 1
                high = self.member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1]:
                    raise PatternError("bad range", self.at)
                if low[0][0] > high[0][0] or high[0][0] != high[0][1]:
                    raise PatternError("bad range", self.at)
                low = ((low[0][0], high[0][0]),)
            found.append(low)
        self.at += 1
        joined = cs.union(*found)
        if negated:
            # Fold before the complement: [^a] without case must not hold "A".
            return self.chars_plain(cs.complement(cs.ignore_case(joined) if self.fold else joined))
        return self.chars(joined)

    @staticmethod
    def chars_plain(chars: CharSet) -> Chars:
        if not chars:
            raise PatternError("empty class", 0)
        return Chars(chars)

    def member(self) -> CharSet:
        char = self.take()
        if char == "\\":
            return self.escape()
        if char == "[":
            raise PatternError("unescaped [ in a class", self.at - 1)
        return cs.of_chars(char)


def parse(body: str, *, ignore_case: bool = False) -> Node:
    """Read a body. Raises PatternError."""
    parser = _Parser(body, fold=ignore_case)
    node = parser.choice()
    if parser.at != len(body):
        raise PatternError("unmatched )", parser.at)
    return node


def joined(first: Node, second: Node) -> Sequence:
    """One after the other, as if they had been written as one body."""
    parts = (first.parts if isinstance(first, Sequence) else (first,)) + (
        second.parts if isinstance(second, Sequence) else (second,)
    )
    return Sequence(parts)


def nullable(node: Node) -> bool:
    """Whether the node matches the empty string."""
    match node:
        case Chars():
            return False
        case Sequence(parts):
            return all(nullable(part) for part in parts)
        case Choice(options):
            return any(nullable(option) for option in options)
        case Repeat(part, low, _):
            return low == 0 or nullable(part)


def chars_max(node: Node) -> int | None:
    """The longest match in code points; None = without end."""
    match node:
        case Chars():
            return 1
        case Sequence(parts):
            lengths = [chars_max(part) for part in parts]
            return None if None in lengths else sum(n for n in lengths if n is not None)
        case Choice(options):
            lengths = [chars_max(option) for option in options]
            return None if None in lengths else max(n for n in lengths if n is not None)
        case Repeat(part, _, high):
            longest = chars_max(part)
            if high is None:
                return 0 if longest == 0 else None
            return None if longest is None else longest * high


def positions(node: Node) -> int:
    """How many single-character positions the node has once its repeats are written out."""
    match node:
        case Chars():
            return 1
        case Sequence(parts):
            return sum(positions(part) for part in parts)
        case Choice(options):
            return sum(positions(option) for option in options)
        case Repeat(part, low, high):
            return positions(part) * (max(low, 1) if high is None else high)


def first(node: Node) -> CharSet:
    """The code points that a non-empty match can begin with."""
    match node:
        case Chars(chars):
            return chars
        case Sequence(parts):
            sets: list[CharSet] = []
            for part in parts:
                sets.append(first(part))
                if not nullable(part):
                    break
            return cs.union(*sets)
        case Choice(options):
            return cs.union(*(first(option) for option in options))
        case Repeat(part, _, high):
            return () if high == 0 else first(part)
