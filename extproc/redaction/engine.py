"""The exact streaming scanner: what it releases is what redacting the whole text would have given.

Whole-text semantics: the leftmost start at which some rule accepts; from it the longest end that some
rule accepts and whose validator holds; ties by rule order; then on from that end. A thread stands for
one start that may still become a match. The oldest thread's start is how far text may be released: it
is alive, so a continuation exists that would redact from there on (for validated rules: may exist).

A match that can grow without end costs no memory: once it is accepted its text is only kept while a
rule that is still alive has a validator, or an operator that needs the value, and those rules are
bounded. Its replacement goes out as soon as no rule alive could change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Finding
from extproc.redaction.automaton import EDGE
from extproc.redaction.operators import REDACT, replacement
from extproc.redaction.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.redaction.automaton import Automaton, State
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


@dataclass(frozen=True, slots=True)
class Scan:
    """What one feed decided.

    Args:
        released: Text that may go out now, findings replaced.
        findings: Matches that ended, in order; offsets into the channel's original text.
        replacements: What took each finding's place.
    """

    released: str
    findings: tuple[Finding, ...]
    replacements: tuple[str, ...] = ()


_NOTHING: Final = Scan("", ())


class _Thread:
    """One start that may still become a match.

    ``end`` is its longest match so far, -1 for none, and ``rule`` the one that accepted there;
    ``state`` is None once no rule can accept further on.
    """

    __slots__ = ("end", "rule", "start", "state")

    def __init__(self, start: int, state: State) -> None:
        self.start = start
        self.state: State | None = state
        self.end = -1
        self.rule = -1


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

    __slots__ = ("_base", "_closed", "_kept", "_plan", "_released", "_sent", "_threads")

    def __init__(
        self,
        automaton: Automaton,
        *,
        mask: int,
        operators: Mapping[str, Operator] | None = None,
        default_operator: Operator = REDACT,
        plan: Plan | None = None,
    ) -> None:
        self._plan = plan or Plan(
            automaton, mask=mask, operators=operators, default_operator=default_operator
        )
        # _kept is text from offset _base on, all of it read; at least the last character stays, for
        # the left boundary of what comes. Everything before _released is decided and gone.
        self._kept = ""
        self._base = 0
        self._released = 0
        self._sent = False  # whether the first thread's replacement has gone out
        self._threads: list[_Thread] = []
        self._closed = False

    @classmethod
    def of(cls, plan: Plan) -> RuleScanner:
        """A scanner for a plan that was made before."""
        return cls(plan.automaton, mask=plan.mask, plan=plan)

    @property
    def held_chars(self) -> int:
        """Code points that were fed and are neither released nor known to be replaced."""
        held_from = self._released
        if self._threads and self._threads[0].end >= 0:
            held_from = self._threads[0].end
        return self._base + len(self._kept) - held_from

    def drop(self) -> None:
        """Forget what is held and close: an undecided tail never goes out."""
        self._closed = True
        self._threads = []
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
        decided = _Decided()
        buffer = self._kept + text
        unread = len(self._kept)
        found = self._plan.find(buffer, unread)
        if found is None and not self._threads and not eof:
            # Prose: nothing is held before it, and nothing can begin in it.
            self._base += len(buffer) - 1
            self._released = self._base + 1
            self._kept = buffer[-1]
            return Scan(text, ())
        begin = len(buffer) if found is None else found.start()
        self._read(buffer, unread, begin, decided)
        if eof:
            self._finish(buffer, decided)
        self._release(buffer, decided.text)
        self._closed = eof
        return decided.scan()

    def _read(self, buffer: str, at: int, begin: int, decided: _Decided) -> None:
        """Move every thread over ``buffer[at:]``; ``begin`` is the next place where one could begin."""
        find, classes = self._plan.find, self._plan.automaton.classes
        threads, base = self._threads, self._base
        length = len(buffer)
        while at < length:
            if begin < at:
                found = find(buffer, at)
                begin = length if found is None else found.start()
            if not threads:
                at = begin
            elif len(threads) == 1:
                at = self._glide(threads[0], buffer, at, begin)
            if at == length:
                return
            taken = classes[buffer[at]]
            changed = False
            for thread in threads:
                changed |= self._move(thread, taken, buffer, at)
            if begin == at and not (threads and threads[0].end > at + base):
                changed |= self._begin(taken, buffer, at)
            if changed:
                self._settle(buffer, decided)
            at += 1

    def _move(self, thread: _Thread, taken: int, buffer: str, at: int) -> bool:
        """Move a thread over ``buffer[at]``; whether it accepted or can grow no more."""
        state = thread.state
        if state is None:
            return False
        changed = False
        if state.pending:
            for rule in state.before(taken):
                changed |= self._accept(thread, rule, at, buffer)
        state = state[taken]
        for rule in state.accepts:
            changed |= self._accept(thread, rule, at + 1, buffer)
        if state.live & self._plan.mask:
            thread.state = state
            return changed
        thread.state = None
        return True

    def _begin(self, taken: int, buffer: str, at: int) -> bool:
        """Begin a thread at ``buffer[at]`` if a rule can; whether it accepted or can grow no more.

        Raises:
            ScanOverflowError: too many live starts.
        """
        automaton = self._plan.automaton
        before = automaton.classes[buffer[at - 1]] if at else EDGE
        state = automaton.start(before, taken)
        if not state.live & self._plan.mask and not state.accepts:
            return False
        if len(self._threads) >= LIMITS.scan_threads_max:
            self.drop()
            raise ScanOverflowError
        thread = _Thread(at + self._base, state)
        self._threads.append(thread)
        changed = False
        for rule in state.accepts:
            changed |= self._accept(thread, rule, at + 1, buffer)
        if not state.live & self._plan.mask:
            thread.state = None
            return True
        return changed

    def _glide(self, thread: _Thread, buffer: str, at: int, stop: int) -> int:
        """Move the only thread as far as nothing else happens than that it lives on."""
        mask, classes = self._plan.mask, self._plan.automaton.classes
        state = thread.state
        if state is None:
            return at
        while at < stop and not state.pending:
            following = state[classes[buffer[at]]]
            if following.accepts or not following.live & mask:
                break
            state = following
            at += 1
        thread.state = state
        return at

    def _accept(self, thread: _Thread, rule: int, at: int, buffer: str) -> bool:
        """Let a rule accept a thread's text up to ``buffer[at]``, unless a better one has."""
        end = at + self._base
        if not self._plan.mask >> rule & 1:
            return False
        if end < thread.end or (end == thread.end and thread.rule < rule):
            return False
        validator = self._plan.automaton.rules[rule].validator
        if validator is not None and not validator(buffer[thread.start - self._base : at]):
            return False
        thread.end = end
        thread.rule = rule
        return True

    def _settle(self, buffer: str, decided: _Decided) -> None:
        """Commit the oldest threads that can grow no more, and drop what accepted text covers."""
        threads = self._threads
        while threads:
            oldest = threads[0]
            threads[1:] = [
                thread
                for thread in threads[1:]
                if thread.start >= oldest.end and (thread.state is not None or thread.end >= 0)
            ]
            if oldest.state is not None:
                return
            del threads[0]
            if oldest.end >= 0:
                self._commit(oldest, buffer, decided)

    def _commit(self, thread: _Thread, buffer: str, decided: _Decided) -> None:
        rule = self._plan.automaton.rules[thread.rule]
        text = self._plan.ready[thread.rule]
        if text is None:
            value = buffer[thread.start - self._base : thread.end - self._base]
            text = replacement(self._plan.operators[thread.rule], rule.entity_type, value)
        if not self._sent:
            decided.text.append(buffer[self._released - self._base : thread.start - self._base])
            decided.text.append(text)
        self._sent = False
        self._released = thread.end
        decided.replacements.append(text)
        decided.findings.append(
            Finding(
                entity_type=rule.entity_type,
                start=thread.start,
                end=thread.end,
                score=rule.score,
                detector=rule.name,
            )
        )

    def _finish(self, buffer: str, decided: _Decided) -> None:
        """The end of the text satisfies boundaries; after it nothing grows."""
        for thread in self._threads:
            if thread.state is not None:
                for rule in thread.state.before(EDGE):
                    self._accept(thread, rule, len(buffer), buffer)
                thread.state = None
        self._settle(buffer, decided)

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
            live = state.live & plan.mask if state is not None else 0
            keep = decided = oldest.start
            if oldest.end >= 0:
                if not self._sent and not live & plan.others[oldest.rule]:
                    text = plan.ready[oldest.rule]
                    if text is not None:
                        out.append(buffer[self._released - base : oldest.start - base])
                        out.append(text)
                        self._sent = True
                        self._released = oldest.end
                if not (live & (plan.validated | plan.valued) or plan.ready[oldest.rule] is None):
                    keep = oldest.end
        if not self._sent and decided > self._released:
            out.append(buffer[self._released - base : decided - base])
            self._released = decided
        keep = min(keep, end - 1)
        if keep > base:
            self._kept = buffer[keep - base :]
            self._base = keep
        else:
            self._kept = buffer


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
