"""Bugs for the sources of the redaction engine and its kernel, and copies of the tree that have one."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FOLDER = "extproc/redaction"


@dataclass(frozen=True)
class Bug:
    """``old``, wherever it stands in a file of extproc/redaction, becomes ``new``."""

    name: str
    file: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        return ROOT / _FOLDER / self.file

    def there(self) -> bool:
        """Whether the source still has the place."""
        return self.old in self.path.read_text(encoding="utf-8")


_MORE = [
    (
        "characters are not read as what they look like",
        "automaton.py",
        "members |= self._in_sets[self._place(ord(read_as))]",
        "pass",
    ),
    ("what nobody sees ends a match", "automaton.py", "if classes.skipped[taken] and", "if False and"),
    (
        "a state forgets where it stood before the unseen",
        "automaton.py",
        "key = (positions, late, inside, skipped)",
        "key = (positions, late, inside)",
    ),
    ("a spelling is not followed", "automaton.py", "if len(read_as) > 1 else ()", "if False else ()"),
    ("an eof is not told to the threads", "engine.py", 'scans.append(self._read("", eof=True))', "pass"),
    ("the tail at the end is lost", "engine.py", "released.append(scans[-1].released)", "pass"),
    ("a dropped scanner goes on", "engine.py", "self._closed = True\n        self._threads = []", "pass"),
    (
        "live starts have no bound",
        "engine.py",
        "if len(self._threads) >= LIMITS.scan_threads_max:",
        "if False:",
    ),
    (
        "long texts lose a character",
        "engine.py",
        "[at : at + _PIECE_CHARS]",
        "[at : at + _PIECE_CHARS - 1]",
    ),
    (
        "text goes on at a match's start",
        "engine.py",
        "self._released = self._behind = thread.end",
        "self._behind = thread.end; self._released = thread.start",
    ),
    ("the character before is let go", "engine.py", "keep = min(keep, end - 1)", "pass"),
    (
        "the kernel reads over accepted threads",
        "engine.py",
        "(threads and not _are_undecided(threads))",
        "False",
    ),
    (
        "the kernel's threads come back one late",
        "engine.py",
        "Thread(base + start, state)",
        "Thread(base + start + 1, state)",
    ),
    ("what the kernel holds counts as out", "engine.py", "= base if self._threads else end", "= end"),
    (
        "findings of several texts lose their number",
        "engine.py",
        "found.append((number, scan))",
        "found.append((0, scan))",
    ),
    ("no other type can take over", "plan.py", "mask & ~(1 << number if", "0 & ~(1 << number if"),
    (
        "one that names its value may take over unseen",
        "plan.py",
        "if ready is not None and not rule.naming:",
        "if ready is not None:",
    ),
    ("a value that grows is let go untaken", "growing.py", "wanted &= self._plan.growing", "wanted = 0"),
    (
        "a value is taken twice",
        "growing.py",
        "self._taken_to = thread.end",
        "self._taken_to = thread.start",
    ),
    (
        "a growing value is taken with its name",
        "growing.py",
        "max(self._taken_to, begun_at)",
        "self._taken_to",
    ),
    ("what has grown is not forgotten", "growing.py", "self._begun.clear()", "pass"),
    (
        "text goes before it is known where a value begins",
        "growing.py",
        "if None in begun.values():",
        "if False:",
    ),
    ("the shortest value counts", "naming.py", "min(begun, after.get(there, _UNBEGUN))", "begun"),
    ("a value begins one late", "naming.py", "starts.append(at)", "starts.append(at + 1)"),
    ("a value that grows begins anew", "naming.py", "if self._is_endless and state", "if False and state"),
    (
        "what is unseen begins a value",
        "naming.py",
        "and at and (self._is_endless or at < last)",
        "and False",
    ),
    (
        "a masked value forgets how long it was",
        "operators.py",
        "self._total += sum(map(str.isalnum, text))",
        "self._total = sum(map(str.isalnum, text))",
    ),
    ("validators need no text", "plan.py", "self.validated |= 1 << number", "pass"),
    ("operators need no text", "plan.py", "self.valued |= 0 if is_endless else 1 << number", "pass"),
    ("only the last watch counts", "watches.py", "mask |= ", "mask = "),
    ("plans forget their operators", "watches.py", "tuple(sorted(watch.operators.items()))", "()"),
    (
        "the kernel does not stop at a match",
        "kernel.py",
        "if state.accepts or state.late:",
        "if state.late:",
    ),
    (
        "the kernel does not stop at a late match",
        "kernel.py",
        "if state.accepts or state.late:",
        "if state.accepts:",
    ),
    (
        "the kernel knows no mask",
        "kernel.py",
        "self._automaton.start(before, taken, self._mask)",
        "self._automaton.start(before, taken)",
    ),
    (
        "the kernel forgets what came before",
        "_kernel.c",
        "scan->before = scan->classes[length - 1];",
        "scan->before = 0;",
    ),
    ("the kernel starts before the last character", "_kernel.c", "kept, kept_chars - 1)", "kept, 0)"),
    (
        "the kernel steps over a start's next character",
        "_kernel.c",
        "classes, at + 1, length, &steps",
        "classes, at + 2, length, &steps",
    ),
    (
        "the kernel releases one too far",
        "_kernel.c",
        "after.count ? after.start[0] : held + length",
        "after.count ? after.start[0] + 1 : held + length",
    ),
    (
        "the kernel releases from its last start",
        "_kernel.c",
        "after.count ? after.start[0]",
        "after.count ? after.start[after.count - 1]",
    ),
    ("the kernel's starts are not moved", "_kernel.c", "after.start[each] -= end;", ";"),
    (
        "the kernel's new starts forget what is held",
        "_kernel.c",
        "keep(after, held + at, state)",
        "keep(after, at, state)",
    ),
    (
        "the kernel drops a thread that lives",
        "_kernel.c",
        "if (state != DEAD && !keep(after, threads->start[each], state)) return 0;",
        "if (each > 0 && state != DEAD && !keep(after, threads->start[each], state)) return 0;",
    ),
    (
        "the kernel takes what must be looked at for dead",
        "_kernel.c",
        "if (next < FIRST) return next;",
        "if (next < FIRST) return DEAD;",
    ),
    (
        "the kernel has no room and goes on",
        "_kernel.c",
        "if (threads->count == THREADS_MAX) return 0;",
        "if (threads->count == THREADS_MAX) return 1;",
    ),
    (
        "the kernel reads one text twice",
        "_kernel.c",
        "scan->read_chars += length;",
        "scan->read_chars += length - 1;",
    ),
    (
        "the kernel keeps the first character",
        "_kernel.c",
        "PyUnicode_Substring(scan->last, length - 1, length)",
        "PyUnicode_Substring(scan->last, 0, 1)",
    ),
    (
        "the kernel takes any character for the edge",
        "_kernel.c",
        "if (found <= 0) return (int)found;",
        "if (found < 0) return (int)found;",
    ),
    ("an escape may be cut", "escapes.py", "if inner_start < inner_end:", "if False:"),
    ("an escape that comes in pieces is not read", "escapes.py", "if begun is not None:", "if False:"),
    ("escapes have one level", "escapes.py", '_RUN: Final = rf"', '_RUN: Final = r"\\\\"  # rf"'),
    ("a quote is escaped by any backslashes", "escapes.py", "(?:\\\\\\\\){{0,", "(?:\\\\){{0,"),
    ("pairs of surrogates are read as one half", "escapes.py", "& 0x3FF) << 10)", "& 0x3FF) << 9)"),
    (
        "a place behind an escape is one late",
        "escapes.py",
        "+ read - self._read[at]",
        "+ read - self._read[at] + (at > 1)",
    ),
    (
        "text goes out before both have read it",
        "escaped.py",
        "safe = min(self._written.decided_chars, ",
        "safe = max(self._written.decided_chars, ",
    ),
    (
        "what is found as written does not count",
        "escaped.py",
        "come.append(_Found(finding.start, -finding.end, True, finding, text))",
        "pass",
    ),
    (
        "what is found as read does not count",
        "escaped.py",
        "found.append(_Found(start, -end, False, finding, text))",
        "pass",
    ),
    (
        "a finding is cut before its escape is whole",
        "escaped.py",
        "if -one.negated_end > reader.read_to]",
        "if False]",
    ),
    ("the second reading ends too soon", "escaped.py", "and self._read.rests", "and True"),
    ("a replacement goes out twice", "escaped.py", "if first.start >= kept.base:", "if True:"),
    ("what overlaps is replaced again", "escaped.py", "self._found[0].start < self._end:", "False:"),
    (
        "the fork shares threads",
        "engine.py",
        "self._threads = [copy(thread) for thread in self._threads]",
        "pass",
    ),
    ("the fork shares what a value has taken", "growing.py", "one._replace(taken=one.taken.fork())", "one"),
    (
        "the name of a value under way is lost",
        "engine.py",
        "return self._growing.naming, self._base, self._kept",
        'return "", self._base, self._kept',
    ),
]


def bugs() -> list[Bug]:
    """All seeded bugs: those of tests/redaction/test_seeded_bugs.py, and those of the parts around them."""
    path = ROOT / "tests/redaction/test_seeded_bugs.py"
    spec = importlib.util.spec_from_file_location("seeded_bugs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    inner = [Bug(name, f"{file}.py", old, new) for name, (file, old, new) in module.BUGS.items()]
    return [*inner, *(Bug(*parts) for parts in _MORE)]


def tree(folder: Path, bug: Bug | None) -> None:
    """Make ``folder`` a checkout whose redaction engine has the bug; all else is linked."""
    (folder / "extproc").mkdir()
    for path in (ROOT / "extproc").iterdir():
        if path.name not in {"redaction", "__pycache__"}:
            (folder / "extproc" / path.name).symlink_to(path)
    for name in ("tests", "pyproject.toml", "hatch_build.py", "classifiers"):
        (folder / name).symlink_to(ROOT / name)
    target = folder / _FOLDER
    target.mkdir()
    for path in (ROOT / _FOLDER).rglob("*"):
        if path.is_file() and path.suffix in {".py", ".pyi", ".c", ".so"}:
            copy = target / path.relative_to(ROOT / _FOLDER)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    if bug is None:
        return
    changed = target / bug.file
    changed.write_text(changed.read_text(encoding="utf-8").replace(bug.old, bug.new), encoding="utf-8")
    if changed.suffix == ".c":
        _build(changed)


def _build(source: Path) -> None:
    target = source.with_name("_kernel.abi3.so")
    target.unlink(missing_ok=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    headers = sysconfig.get_path("include")
    # Its own digest is left out: a test would notice the other source by it, not the bug.
    flags = ["-std=c11", "-O1", "-fPIC", "-shared", f"-I{headers}"]
    subprocess.run([*compiler, *flags, str(source), "-o", str(target)], check=True, capture_output=True)  # noqa: S603 - the user's compiler.
