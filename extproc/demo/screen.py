"""What the demo shows: progress while it installs and starts, a screen when it is up, a table of rows."""

from __future__ import annotations

import json
import time
from textwrap import wrap
from typing import TYPE_CHECKING, Final, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from extproc.demo import prompts
from extproc.demo.stack import MODEL

if TYPE_CHECKING:
    from types import TracebackType

    from extproc.demo.credentials import Credentials
    from extproc.demo.play import Row
    from extproc.demo.process import Part
    from extproc.demo.stack import Stack

_READY: Final = "ready"
_FILE_WIDTH: Final = 150
_GAP_WIDTH: Final = 2
# Of the table: the sign, what was added ("+1234.5 ms"), and the gaps.
_NARROW_WIDTH: Final = 1 + 10 + 5 * _GAP_WIDTH


class Progress:
    """One line per step: live on a terminal, a plain line per change elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began: dict[str, float] = {}
        self._said: dict[str, tuple[str, bool]] = {}
        self._live = Live(console=console, transient=False, refresh_per_second=8)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            # Nothing must seem to go on after the end.
            self._live.update(self._lines(waiting=Text("·")))
            self._live.stop()

    def step(self, name: str, what: str) -> None:
        """A step is at this."""
        self._say(name, what, done=False)

    def done(self, name: str, what: str) -> None:
        """A step is done."""
        self._say(name, what, done=True)

    def part(self, part: Part, what: str) -> None:
        """A part is starting or ready."""
        now = time.monotonic()
        began = self._began.setdefault(part.name, now)
        ready = what == _READY
        self._say(part.name, f"ready after {now - began:.1f} s" if ready else what, done=ready)

    def _say(self, name: str, what: str, *, done: bool) -> None:
        self._said[name] = (what, done)
        if self._console.is_terminal:
            self._live.update(self._lines(waiting=Spinner("dots")))
        else:
            self._console.print(f"{name}: {what}", markup=False, soft_wrap=True)

    def _lines(self, waiting: Spinner | Text) -> Table:
        lines = Table.grid(padding=(0, 1))
        for name, (what, done) in self._said.items():
            sign = Text("✓", style="green") if done else waiting
            lines.add_row(sign, Text(name, style="bold"), Text(what, overflow="ellipsis", no_wrap=True))
        return lines


def show_running(console: Console, stack: Stack, credentials: Credentials) -> None:
    """The addresses, three things to try, where the verdicts are."""

    def line(text: str = "", style: str = "") -> None:
        # Neither wrapped nor read as markup.
        console.print(Text(text, style=style), soft_wrap=True)

    def plain(text: str) -> None:
        # To be copied: nothing but the text.
        console.file.write(f"{text}\n")
        console.file.flush()

    line()
    line("Headgate is up.", "bold green")
    line(f"  gateway      {stack.envoy.url}")
    line(f"  Envoy admin  http://127.0.0.1:{stack.envoy.admin_port}")
    line(f"  filter       127.0.0.1:{stack.headgate.port}, ready: {_ready_url(stack)}")
    line(f"  Triton       http://127.0.0.1:{stack.triton.port} (past the gateway: only to compare)")
    line(f"  verdict log  {stack.headgate.verdict_log}")
    line()
    line("Paste these two lines into another terminal, then any of the three below.", "bold")
    plain(f"KEY='x-api-key: {credentials.keys['acme']}'")
    plain(f"URL={stack.envoy.url}/v2/models/{MODEL}/generate_stream")
    line()
    for title, prompt in _ASKS:
        line(title, "bold")
        plain(_curl(prompt))
        line()
    line("Ctrl-C ends everything.", "bold")


def _ready_url(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.headgate.admin_port}/readyz"


_ASKS: Final = (
    ("A stream, as the model speaks it:", prompts.SHORT_STORY),
    ("Personal data and keys, redacted in flight:", prompts.SHORT_CARD),
    ("An injection, refused:", prompts.SHORT_INJECTION),
)


def _curl(prompt: str) -> str:
    body = json.dumps({"stream": True, "text_input": prompt}, separators=(",", ":"))
    return f"""curl -NH "$KEY" $URL -d '{body}'"""


def table_console() -> Console:
    """Standard output; wide where it is a file or a pipe, which have no width of their own."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)


def _two_lines(text: str, width: int) -> Text:
    """As many whole words as fit."""
    return Text("\n".join(wrap(text, width, max_lines=2, placeholder=" …", break_on_hyphens=False)))


def show_rows(console: Console, rows: tuple[Row, ...]) -> None:
    """The rows as a table, and how many are as expected."""
    why_width = max(
        len("Decision"), *(len(row.reason) for row in rows), *(len(row.decision) + 1 for row in rows)
    )
    width = (console.width - why_width - _NARROW_WIDTH) // 2
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP_WIDTH, 0, 0))
    for title in ("", "What was sent", "What the client got", "Decision"):
        table.add_column(title, no_wrap=True)
    table.add_column("Added", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text("✓", style="green") if row.ok else Text("✗", style="bold red"),
            _two_lines(row.sent, width),
            _two_lines(f"{row.status} {row.got}", width),
            _two_lines(f"{row.decision}: {row.reason}", why_width),
            Text("" if row.added_ms is None else f"{row.added_ms:+.1f} ms"),
        )
    console.print(table)
    good = sum(row.ok for row in rows)
    console.print(f"{good} of {len(rows)} as expected", markup=False)
    for row in rows:
        if not row.ok:
            console.print(Text(f"{row.name}: {row.fault}"), soft_wrap=True)
