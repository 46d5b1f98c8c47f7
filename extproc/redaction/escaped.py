r"""A text with escapes in it, read twice: as it is written, and as it is read.

``a\u0040b.c`` is an address for whoever reads the text as JSON, and ``\n078-05-1120`` a number behind the
end of a line. What either reading finds is taken out, by its place in the text as it was written. Of
findings that overlap the one that begins first, or is the longer, takes the place of all; of two that begin
and end alike that of the text as it is read, whose value is what was meant. No escape is cut: one that a
finding begins or ends in stays, unless there is nothing else to the finding. The second reading begins with
the first backslash, and is over once it stands where the first does.
"""

from __future__ import annotations

from collections import deque
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.domain.scanning import ScanEach
from extproc.domain.verdict import Finding
from extproc.redaction.engine import Scan, ScanOverflowError
from extproc.redaction.escapes import Gap, Unescaper
from extproc.redaction.transducer import is_shaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.redaction.engine import RuleScanner

_FOUND_KEPT: Final = 64  # before those within what is taken out anyway are looked for.
# Longer texts are read in pieces of this size: so small that their escapes' places cost no memory, so large
# that a piece costs little more than its text.
_PIECE_CHARS: Final = 4_096


class EscapedScanner:
    """A scanner of one channel that sees through escapes. Raises as a ``RuleScanner`` does.

    Args:
        scanner: Reads the text as it is written.
    """

    __slots__ = ("_twice", "_written")

    def __init__(self, scanner: RuleScanner) -> None:
        self._written = scanner
        self._twice: _Twice | None = None

    def feed(self, text: str, *, eof: bool = False) -> Scan:
        """Take more text; with ``eof`` decide and release everything and close."""
        if len(text) <= _PIECE_CHARS or (self._twice is None and "\\" not in text):
            return self._feed(text, eof=eof)
        scans = [self._feed(text[at : at + _PIECE_CHARS]) for at in range(0, len(text), _PIECE_CHARS)]
        if eof:
            scans.append(self._feed("", eof=True))
        return Scan(
            "".join([scan.released for scan in scans]),
            tuple([finding for scan in scans for finding in scan.findings]),
            tuple([replacement for scan in scans for replacement in scan.replacements]),
        )

    def _feed(self, text: str, *, eof: bool = False) -> Scan:
        """Take a text, once or twice."""
        if self._twice is None:
            if "\\" not in text:
                return self._written.feed(text, eof=eof)
            self._twice = _Twice(self._written)
        scan = self._twice.feed(text, eof=eof)
        if not eof and self._twice.is_over:
            self._twice = None
        return scan

    def feed_each(self, texts: Sequence[str]) -> ScanEach:
        """Feed texts one by one, none of them the last."""
        if self._twice is None and not any("\\" in text for text in texts):
            return self._written.feed_each(texts)
        released: list[str] = []
        found: list[tuple[int, Finding]] = []
        held_chars_max = 0
        for number, text in enumerate(texts):
            scan = self.feed(text)
            released.append(scan.released)
            found += [(number, finding) for finding in scan.findings]
            held_chars_max = max(held_chars_max, self.held_chars)
        return ScanEach(released, found, held_chars_max)

    @property
    def held_chars(self) -> int:
        """Code points that were fed and are neither released nor known to be of a match."""
        return self._written.held_chars if self._twice is None else self._twice.held_chars

    @property
    def decided_chars(self) -> int:
        """Code points from the text's beginning on of which it is known whether they are of a finding."""
        return self._written.decided_chars if self._twice is None else self._twice.decided_chars

    def drop(self) -> None:
        """Forget what is held and close: an undecided tail never goes out."""
        if self._twice is not None:
            self._twice.drop()
        self._written.drop()


class _Found(NamedTuple):
    """A finding at its place in the text as it is written. Ordered as they are joined."""

    start: int
    negated_end: int
    as_written: bool
    finding: Finding
    replacement: str

    def up_to(self, end: int) -> Finding:
        """The finding, with all that overlaps it up to ``end``."""
        one = self.finding
        return Finding(
            entity_type=one.entity_type,
            start=self.start,
            end=end,
            score=one.score,
            detector=one.detector,
        )


_ORDER: Final = itemgetter(0, 1, 2)


class _Twice:
    """Reads a text both ways, from where a scanner stands."""

    __slots__ = ("_end", "_first", "_found", "_kept", "_read", "_reader", "_uncut", "_written")

    def __init__(self, written: RuleScanner) -> None:
        self._written = written
        self._read = written.fork()
        self._reader = Unescaper(written.read_chars, written.last_char)
        self._kept = _Kept(written.released_chars, *written.held())
        self._found: deque[_Found] = deque()
        # Those as written that end in what the reader has not read.
        self._uncut: list[_Found] = []
        # Of findings that overlap the first, whose replacement has gone out, as long as more may come; and
        # up to where they go.
        self._first: _Found | None = None
        self._end = 0

    @property
    def held_chars(self) -> int:
        return self._kept.chars

    @property
    def decided_chars(self) -> int:
        return min(self._kept.base, self._safe()) if self._first is None else self._first.start

    @property
    def is_over(self) -> bool:
        """Whether both readings stand alike, and nothing is left of what was different."""
        last = self._written.last_char
        return (
            not (self._kept.chars or self._found or self._uncut or self._reader.begun)
            and self._first is None
            and self._written.rests
            and self._read.rests
            and last == self._read.last_char
            and last != "\\"
            and not is_shaded(ord(last))
        )

    def feed(self, text: str, *, eof: bool) -> Scan:
        """Take more text."""
        try:
            written = self._written.feed(text, eof=eof)
            read = self._read.feed(self._reader.feed(text, eof=eof), eof=eof)
        except ScanOverflowError:
            self._written.drop()
            self.drop()
            raise
        self._kept.add(text)
        self._note(written, read)
        scan = self._release()
        self._forget()
        return scan

    def drop(self) -> None:
        """Forget what is held."""
        self._read.drop()
        self._kept.drop()
        self._found.clear()
        self._uncut.clear()
        self._first = None

    def _note(self, written: Scan, read: Scan) -> None:
        reader, come = self._reader, self._uncut
        if not (come or written.findings or read.findings):
            return
        for finding, text in zip(written.findings, written.replacements, strict=True):
            come.append(_Found(finding.start, -finding.end, True, finding, text))
        self._uncut = [one for one in come if -one.negated_end > reader.read_to]
        found = list(self._found)
        for one in come:
            if -one.negated_end <= reader.read_to:
                start, end = reader.uncut(one.start, -one.negated_end)
                found.append(one._replace(start=start, negated_end=-end))
        for finding, text in zip(read.findings, read.replacements, strict=True):
            start, end = reader.uncut(reader.place(finding.start), reader.place(finding.end))
            found.append(_Found(start, -end, False, finding, text))
        self._found = deque(sorted(found, key=_ORDER))

    def _safe(self) -> int:
        """Before it nothing is to come."""
        safe = min(self._written.decided_chars, self._reader.place(self._read.decided_chars))
        return self._reader.before(min([safe, *[one.start for one in self._uncut]]))

    def _release(self) -> Scan:
        """Let go of what both have decided."""
        kept, safe = self._kept, self._safe()
        out: list[str] = []
        findings: list[Finding] = []
        replacements: list[str] = []
        while True:
            if self._first is None:
                if not self._found or self._found[0].start >= safe:
                    break
                self._first = first = self._found.popleft()
                self._end = -first.negated_end
                if first.start >= kept.base:
                    # Otherwise it went out before the first escape came.
                    out += (kept.take(first.start), first.replacement)
            while self._found and self._found[0].start < self._end:
                self._end = max(self._end, -self._found.popleft().negated_end)
            kept.skip(self._end)
            if safe < self._end:
                # Another one may begin before.
                break
            findings.append(self._first.up_to(self._end))
            replacements.append(self._first.replacement)
            self._first = None
        if self._first is None and safe > kept.base:
            out.append(kept.take(safe))
        return Scan("".join(out), tuple(findings), tuple(replacements))

    def _forget(self) -> None:
        """Keep no text of a match that goes on, nor what is found within it."""
        reader, read, written = self._reader, self._read.gone, self._written.gone
        as_read = reader.place(read[0]), reader.place(read[1])
        for gone in (written, as_read):
            start, end = reader.behind(gone[0]), reader.before(min(gone[1], reader.read_to))
            if end <= start:
                continue
            self._kept.cut(start, end)
            if len(self._found) > _FOUND_KEPT:
                self._found = deque(
                    [one for one in self._found if one.start < start or -one.negated_end > end]
                )
        safe = self._safe()
        reader.forget(Gap(self._read.decided_chars, *read), (Gap(safe, *written), Gap(safe, *as_read)))


class _Kept:
    """Text that is not let go of yet, perhaps without what lies within a match that goes on.

    Args:
        base: Where it begins.
        front: What is there.
        back_at: Where it goes on behind the gap; ``front`` ends there where there is none.
        back: What is there.
    """

    __slots__ = ("_back", "_back_at", "_front", "base")

    def __init__(self, base: int, front: str, back_at: int, back: str) -> None:
        self.base = base
        self._front = front
        self._back_at = back_at
        self._back = back

    @property
    def chars(self) -> int:
        return len(self._front) + len(self._back)

    def add(self, text: str) -> None:
        self._back += text

    def take(self, end: int) -> str:
        """Let go of what is before a place, none of it in the gap."""
        taken = self._front[: end - self.base]
        if end > self._back_at:
            taken += self._back[: end - self._back_at]
        self.skip(end)
        return taken

    def skip(self, end: int) -> None:
        """Forget what is before a place."""
        if end <= self.base:
            return
        self._front = self._front[end - self.base :]
        self.base = end
        if end > self._back_at:
            self._back = self._back[end - self._back_at :]
            self._back_at = end

    def cut(self, start: int, end: int) -> None:
        """Forget what is between two places; what lies in a gap behind an earlier place is kept no more."""
        end = min(end, self._back_at + len(self._back))
        if end <= self._back_at:
            return
        if start > self._back_at:
            if self._front or self.base < self._back_at:
                # One gap is enough: it is that of the match that began first.
                return
            self._front = self._back[: start - self.base]
        self._back = self._back[end - self._back_at :]
        self._back_at = end

    def drop(self) -> None:
        self._front = self._back = ""
