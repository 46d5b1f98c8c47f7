"""The exact streaming scanner: what it releases is what redacting the whole text would have given.

Whole-text semantics: the leftmost start at which some rule accepts; from it the longest end that some
rule accepts and whose validator holds; ties by rule order; then on from that end. What was found is out of
the text for what follows: a match may begin at its end, or behind one separator there, whatever its rule
wants beside it. A thread stands for one start that may still become a match. The oldest thread's start is
how far text may be released: it is alive, so a continuation exists that would redact from there on (for
validated rules: may exist).

A match that can grow without end costs no memory: once it is accepted its text is only kept while a
rule that is still alive has a validator, or needs the whole match, and those rules are bounded; what is
masked or hashed of the others is taken as it comes. A replacement that does not depend on the value goes
out as soon as no rule alive could change it. What names a value is matched with it, and goes out as it is.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS
from extproc.domain.scanning import ScanEach
from extproc.domain.verdict import Finding
from extproc.redaction.automaton import EDGE, MATCH
from extproc.redaction.growing import Growing
from extproc.redaction.operators import REDACT
from extproc.redaction.plan import Finder, Plan
from extproc.redaction.thread import Piece, Thread
from extproc.redaction.transducer import LeftOf

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

    from extproc.redaction.automaton import Automaton
    from extproc.redaction.operators import Operator


__all__ = ["Plan", "RuleScanner", "Scan", "ScanOverflowError", "ScannerClosedError", "redact"]


class ScanOverflowError(HeadgateError):
    """More live starts than ``scan_threads_max``: the stream must be cut, nothing held may go out."""

    def __init__(self) -> None:
        super().__init__(f"more than {LIMITS.scan_threads_max} live starts in one channel")


class ScannerClosedError(HeadgateError):
    """Text came after the end, after ``drop`` or after an overflow."""

    def __init__(self) -> None:
        super().__init__("the scanner is closed")


class Scan(NamedTuple):
    """What one feed decided. A tuple, since one is made for every piece of text.

    Args:
        released: Text that may go out now, findings replaced.
        findings: Matches that ended, in order; offsets into the channel's original text.
        replacements: What took each finding's place.
    """

    released: str
    findings: tuple[Finding, ...]
    replacements: tuple[str, ...] = ()


_NOTHING: Final = Scan("", ())
# The kernel reads long texts in pieces of this size, and the engine those in which something is found: so
# small that this is little, so large that a piece costs the kernel less than its text (measured).
_PIECE_CHARS: Final = 64


class _Decided:
    """What one feed decides, while it does."""

    __slots__ = ("findings", "replacements", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.findings: list[Finding] = []
        self.replacements: list[str] = []

    def scan(self) -> Scan:
        """The result of the feed."""
        return Scan("".join(self.text), tuple(self.findings), tuple(self.replacements))


class RuleScanner:
    """Scans one channel. Not safe for use from several threads at once."""

    __slots__ = (
        *("_base", "_begun", "_behind", "_closed", "_growing", "_kept", "_left", "_plan", "_released"),
        *("_sent", "_threads"),
    )

    def __init__(
        self,
        automaton: Automaton,
        *,
        mask: int,
        operators: Mapping[str, Operator] | None = None,
        default_operator: Operator = REDACT,
        plan: Plan | None = None,
    ) -> None:
        # A kernel has to learn: not worth it for a plan that is used once.
        self._plan = plan or Plan(
            automaton,
            mask=mask,
            operators=operators,
            default_operator=default_operator,
            compiled=False,
        )
        # _kept is text from offset _base on, all of it read; at least the last character stays, for
        # the left boundary of what comes. Everything before _released is decided and gone.
        self._kept = ""
        self._base = 0
        self._released = 0
        self._sent = False  # whether the first thread's replacement has gone out
        self._threads: list[Thread] = []
        # The end of the last match as long as something can begin there or behind a separator, else -1; and
        # up to where that has been tried, before which nothing begins otherwise.
        self._behind = -1
        self._begun = 0
        self._left = LeftOf()
        self._growing = Growing(self._plan)
        self._closed = False

    @classmethod
    def of(cls, plan: Plan) -> RuleScanner:
        """A scanner for a plan that was made before."""
        return cls(plan.automaton, mask=plan.mask, plan=plan)

    @property
    def held_chars(self) -> int:
        """Code points that were fed and are neither released nor known to be of a match."""
        held_from = self._released
        if self._threads and self._threads[0].end >= 0:
            held_from = self._threads[0].end
        return self._base + len(self._kept) - held_from

    @property
    def live_starts(self) -> int:
        """Places where a match may have begun."""
        return len(self._threads)

    @property
    def decided_chars(self) -> int:
        """Code points from the text's beginning on of which it is known whether they are of a finding."""
        return self._threads[0].start if self._threads else self._base + len(self._kept)

    @property
    def read_chars(self) -> int:
        """Code points that were fed."""
        return self._base + len(self._kept)

    @property
    def released_chars(self) -> int:
        """Code points from the text's beginning on that went out, or in whose place something did."""
        return self._released

    @property
    def last_char(self) -> str:
        """The character that was fed last; empty before the first."""
        return self._kept[-1:]

    @property
    def rests(self) -> bool:
        """Whether nothing but the last character counts for what comes."""
        return not self._threads and self._behind < 0

    @property
    def gone(self) -> tuple[int, int]:
        """From where to where the text of a match that goes on was let go of: all of it is of a value."""
        if not self._threads:
            return self.read_chars, self.read_chars
        start = self._threads[0].start
        if self._base <= start:
            return start, start
        return start + len(self._growing.naming), self._base

    def held(self) -> tuple[str, int, str]:
        """What was not released: before ``gone``, where it goes on behind that, and what is there."""
        if self._released < self._base:
            return self._growing.naming, self._base, self._kept
        return "", self._released, self._kept[self._released - self._base :]

    def fork(self) -> RuleScanner:
        """Another one that has read the same."""
        other = copy(self)
        other._part()  # noqa: SLF001 - of the same class.
        return other

    def _part(self) -> None:
        """Share nothing that changes with the one that this is a copy of."""
        self._threads = [copy(thread) for thread in self._threads]
        self._left = copy(self._left)
        self._growing = self._growing.fork()

    def drop(self) -> None:
        """Forget what is held and close: an undecided tail never goes out."""
        self._closed = True
        self._threads = []
        self._behind = -1
        self._growing.forget()
        self._kept = ""
        self._released = self._base = 0

    def feed(self, text: str, *, eof: bool = False) -> Scan:
        """Take more text; with ``eof`` decide and release everything and close.

        Raises:
            ScanOverflowError: too many live starts; the scanner is closed and the stream must be cut.
            ScannerClosedError: fed after the end.
        """
        if self._closed:
            raise ScannerClosedError
        if not text and not eof:
            return _NOTHING
        if self._plan.kernel is None or not text:
            return self._read(text, eof=eof)
        if len(text) <= _PIECE_CHARS and not eof:
            # Nearly every text of a stream.
            quickly: list[str] = []
            self._read_quickly((text,), 0, quickly)
            return Scan(quickly[0], ()) if quickly else self._read(text, eof=False)
        pieces = tuple([text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)])
        released, found, _ = self._read_each(pieces)
        scans = [scan for _, scan in found]
        if eof:
            scans.append(self._read("", eof=True))
            released.append(scans[-1].released)
        return Scan(
            "".join(released),
            tuple([finding for scan in scans for finding in scan.findings]),
            tuple([text for scan in scans for text in scan.replacements]),
        )

    def _read(self, text: str, *, eof: bool) -> Scan:
        """Take a text that the kernel did not."""
        decided = _Decided()
        buffer = self._kept + text
        unread = len(self._kept)
        find = self._plan.finder(text)
        found = find(buffer, unread)
        if found is None and not self._threads and self._behind < 0 and not eof:
            # Prose: nothing is held before it, and nothing can begin in it.
            if find is not self._plan.find:
                self._left.neighbour(buffer, len(buffer), self._base)
            self._base += len(buffer) - 1
            self._released = self._base + 1
            self._kept = buffer[-1]
            return Scan(text, ())
        if found is not None or self._threads or self._behind >= 0:
            piece = Piece(self._plan.automaton, buffer, self._base, unread, eof=eof)
            self._move(piece, decided)
            self._begin_behind(piece, decided)
            self._begin(find, found, piece, decided)
        if find is not self._plan.find:
            self._left.neighbour(buffer, len(buffer), self._base)
        self._release(buffer, decided.text)
        self._closed = eof
        return decided.scan()

    def feed_each(self, texts: Sequence[str]) -> ScanEach:
        """Feed texts one by one, none of them the last. Raises as ``feed`` does."""
        if self._closed:
            raise ScannerClosedError
        released, found, held_chars_max = self._read_each(tuple(texts))
        findings = [(number, finding) for number, scan in found for finding in scan.findings]
        return ScanEach(released, findings, held_chars_max)

    def _read_each(self, texts: tuple[str, ...]) -> tuple[list[str], list[tuple[int, Scan]], int]:
        """Read texts, none of them the last.

        Gives what may go out after each, what was found at which, and the most that was held after any.
        """
        released: list[str] = []
        found: list[tuple[int, Scan]] = []
        held_chars_max = 0
        while len(released) < len(texts):
            _, held_chars = self._read_quickly(texts, len(released), released)
            held_chars_max = max(held_chars_max, held_chars)
            if len(released) == len(texts):
                break
            number = len(released)
            scan = self._read(texts[number], eof=False) if texts[number] else _NOTHING
            released.append(scan.released)
            if scan.findings:
                found.append((number, scan))
            held_chars_max = max(held_chars_max, self.held_chars)
        return released, found, held_chars_max

    def _read_quickly(self, texts: tuple[str, ...], first: int, released: list[str]) -> tuple[int, int]:
        """Let the kernel read texts from ``first`` on, as long as nothing is found.

        Adds what may go out after each to ``released``; gives how many it read, and the most that was held.
        """
        kernel, threads = self._plan.kernel, self._threads
        if kernel is None or self._sent or self._behind >= 0 or (threads and not _are_undecided(threads)):
            return 0, 0
        quick = kernel.scan(texts, first, self._kept, threads, self._base)
        if quick.texts_read:
            end = self._base + len(self._kept) + quick.read_chars
            self._kept = quick.kept
            self._base = base = end - len(quick.kept)
            self._threads = [Thread(base + start, state) for start, state in quick.threads]
            self._released = base if self._threads else end
            released += quick.released
        return quick.texts_read, quick.held_chars_max

    @property
    def _covered(self) -> int:
        """Up to where no other match can begin, as far as the oldest thread knows."""
        return self._threads[0].end if self._threads else self._released

    def _move(self, piece: Piece, decided: _Decided) -> None:
        """Move every thread over the new text: the oldest first, since it covers or frees the others."""
        threads, self._threads = self._threads, []
        begun = 0
        for thread in threads:
            if thread is threads[0] or thread.start >= max(self._covered, begun):
                thread.run(piece, 0)
                found = len(decided.findings)
                self._place(thread, piece, decided)
                if len(decided.findings) > found:
                    # What can begin directly behind a match begins anew.
                    self._begin_behind(piece, decided)
                    begun = self._begun

    def _begin(self, find: Finder, found: re.Match[str] | None, piece: Piece, decided: _Decided) -> None:
        """Begin threads where a rule can, from ``found`` on, each once those before it are moved.

        Raises:
            ScanOverflowError: too many live starts.
        """
        buffer, base, classes = piece.buffer, piece.base, piece.classes
        automaton, mask = self._plan.automaton, self._plan.mask
        first = piece.origin - base
        covered = max(self._covered, self._begun) - base
        while found is not None:
            at = found.start()
            if at == len(buffer):
                return
            if at >= covered:
                before = beside = EDGE
                if at:
                    before = automaton.classes[self._left.neighbour(buffer, at, base)]
                    beside = automaton.classes[buffer[at - 1]]
                thread = Thread(at + base, automaton.start(before, classes[at - first], mask, beside))
                thread.run(piece, at - first + 1)
                if thread.state is not None or thread.end >= 0:
                    self._place(thread, piece, decided)
                    self._begin_behind(piece, decided)
                    covered = max(self._covered, self._begun) - base
            found = find(buffer, max(at + 1, covered))

    def _begin_behind(self, piece: Piece, decided: _Decided) -> None:
        """Begin threads where the last match ended, and behind one separator there.

        Raises:
            ScanOverflowError: too many live starts.
        """
        buffer, base = piece.buffer, piece.base
        while self._behind >= 0:
            at = self._begun - base
            if at >= len(buffer):
                return
            if self._begun > self._behind:
                self._behind = -1
                if buffer[at - 1].isalnum():
                    return
            self._begun += 1
            if self._covered >= self._begun:
                continue
            reading = piece if at + base >= piece.origin else piece.whole()
            place = at + base - reading.origin
            start = self._plan.automaton.start(MATCH, reading.classes[place], self._plan.mask)
            thread = Thread(at + base, start)
            thread.run(reading, place + 1)
            if thread.state is not None or thread.end >= 0:
                self._place(thread, piece, decided)

    def _place(self, thread: Thread, piece: Piece, decided: _Decided) -> None:
        """Commit or drop the oldest thread once it can grow no more; keep the others until it has.

        Raises:
            ScanOverflowError: too many live starts.
        """
        if thread.state is None:
            if thread.end < 0:
                return
            if not self._threads:
                self._commit(thread, piece.buffer, decided)
                return
        if len(self._threads) >= LIMITS.scan_threads_max:
            self.drop()
            raise ScanOverflowError
        self._threads.append(thread)

    def _commit(self, thread: Thread, buffer: str, decided: _Decided) -> None:
        rule = self._plan.automaton.rules[thread.rule]
        value = self._growing.value(thread, buffer, self._base)
        if not self._sent:
            before = buffer[self._released - self._base : thread.start - self._base]
            decided.text += (before, value.naming, value.replacement)
        self._sent = False
        self._growing.forget()
        self._released = self._behind = thread.end
        # Behind its start in any case, so that nothing could make this go on for ever.
        self._begun = max(thread.end, thread.start + 1)
        decided.replacements.append(value.replacement)
        decided.findings.append(
            Finding(
                entity_type=rule.entity_type,
                start=value.start,
                end=thread.end,
                score=rule.score,
                detector=rule.name,
            )
        )

    def _send(self, oldest: Thread, buffer: str, out: list[str]) -> None:
        """Let a replacement go that nothing can change, if it does not depend on the value."""
        if self._plan.ready[oldest.rule] is not None:
            value = self._growing.value(oldest, buffer, self._base)
            before = buffer[self._released - self._base : oldest.start - self._base]
            out += (before, value.naming, value.replacement)
            self._sent = True

    def _release(self, buffer: str, out: list[str]) -> None:
        """Let go of what no thread covers, and keep only the text that is still needed."""
        plan = self._plan
        base = self._base
        end = base + len(buffer)
        keep = end - 1
        decided = end
        if self._threads:
            oldest = self._threads[0]
            state = oldest.state
            live = state.live if state is not None else 0
            keep = decided = oldest.start
            if oldest.end >= 0:
                if not self._sent and not live & plan.others[oldest.rule]:
                    self._send(oldest, buffer, out)
                if self._sent:
                    self._released = oldest.end
                if not (live & (plan.validated | plan.valued) or plan.valued >> oldest.rule & 1):
                    keep = oldest.end if self._growing.take(oldest, buffer, base) else oldest.start
        if not self._sent and decided > self._released:
            out.append(buffer[self._released - base : decided - base])
            self._released = decided
        keep = min(keep, end - 1)
        if keep > base:
            self._kept = buffer[keep - base :]
            self._base = keep
        else:
            self._kept = buffer


def _are_undecided(threads: list[Thread]) -> bool:
    return all(thread.end < 0 for thread in threads)


def redact(
    text: str,
    automaton: Automaton,
    *,
    mask: int,
    operators: Mapping[str, Operator] | None = None,
    default_operator: Operator = REDACT,
) -> Scan:
    """Scan a whole text with the same engine."""
    scanner = RuleScanner(automaton, mask=mask, operators=operators, default_operator=default_operator)
    return scanner.feed(text, eof=True)
