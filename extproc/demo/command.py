"""``headgate demo``: install, start, stay up or play the fixed requests, end everything."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console

from extproc.demo import screen
from extproc.demo.assets import asset
from extproc.demo.credentials import Credentials, issue
from extproc.demo.install import InstallFailed, install_triton
from extproc.demo.play import Player, Row
from extproc.demo.process import PartFailed
from extproc.demo.stack import Stack, start_stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TENANTS: Final = ("acme", "tiny")

_USAGE: Final = 2
_INTERRUPTED: Final = 130
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Fast enough that what the filter adds is not lost in what the model takes.
_PLAY_PACE_MS: Final = 2


class DemoRunsAlready(Exception):  # noqa: N818 - reads as what it says.
    """Another demo has this folder."""


def run_demo(*, state: Path, once: bool, as_json: bool, port: int) -> int:
    """Run the demo.

    Args:
        state: The folder for Triton's environment and for the run's files.
        once: Play the fixed requests and end, instead of staying up.
        as_json: With ``once``: print the rows as JSON and nothing else on standard output.
        port: Envoy's; 0 for a free one.

    Returns:
        The exit status: 0 after Ctrl-C, or if every row is as expected.
    """
    if as_json and not once:
        print("headgate: --json goes with --once", file=sys.stderr)  # noqa: T201 - a command.
        return _USAGE
    try:
        with _interruptible():
            return _play(state, port, as_json=as_json) if once else _stay(state, port)
    except KeyboardInterrupt:
        # Below the ^C that a terminal shows.
        print("\nstopped" if sys.stderr.isatty() else "stopped", file=sys.stderr)  # noqa: T201 - a command.
        return _INTERRUPTED if once else 0
    except (InstallFailed, PartFailed, DemoRunsAlready) as error:
        print(f"headgate: {error}", file=sys.stderr)  # noqa: T201 - a command.
        return 1


def _stay(state: Path, port: int) -> int:
    with ExitStack() as ends:
        stack, credentials = _start(state, "demo", port, ends)
        screen.show_running(Console(highlight=False), stack, credentials)
        stack.watch(until=lambda: False)
    raise AssertionError("unreachable: only an error or an interrupt ends the watch")


def _play(state: Path, port: int, *, as_json: bool) -> int:
    with ExitStack() as ends:
        stack, credentials = _start(state, "once", port, ends)
        player = ends.enter_context(Player(stack, credentials))
        with screen.Progress(Console(stderr=True, highlight=False)) as progress:
            rows = player.play(lambda name: progress.step("requests", name))
            progress.done("requests", f"{len(rows)} played")
        stack.watch(until=lambda: True)
    if as_json:
        print(json.dumps({"rows": [row.as_json() for row in rows]}, indent=2))  # noqa: T201 - a command.
    else:
        screen.show_rows(screen.table_console(), rows)
    return 0 if _all_as_expected(rows) else 1


def _all_as_expected(rows: tuple[Row, ...]) -> bool:
    return bool(rows) and all(row.ok for row in rows)


def _start(state: Path, run: str, port: int, ends: ExitStack) -> tuple[Stack, Credentials]:
    """Everything up; ``ends`` takes it down again."""
    folder = state.resolve() / run
    ends.enter_context(_alone(state, run))
    with screen.Progress(Console(stderr=True, highlight=False)) as progress:
        environment = install_triton(state, lambda step: progress.step("install", step))
        progress.done("install", "Triton's environment is there")
        shutil.rmtree(folder, ignore_errors=True)
        credentials = issue(folder, template=asset("extproc/demo/policy.yaml").read_text(), tenants=TENANTS)
        playing = run == "once"
        stack = start_stack(
            folder,
            triton_environment=environment,
            credentials=credentials,
            journal=folder / "model-journal.jsonl" if playing else None,
            pace_ms=_PLAY_PACE_MS if playing else 15,
            port=port or None,
            told=progress.part,
        )
    ends.callback(_stop_undisturbed, stack)
    return stack, credentials


def _stop_undisturbed(stack: Stack) -> None:
    """End all parts; a second Ctrl-C does not keep some of them alive."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        stack.stop()
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Whatever asks this process to end does so as Ctrl-C does, so that all parts are ended."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def _alone(state: Path, run: str) -> Iterator[None]:
    """One demo per folder and kind.

    Raises:
        DemoRunsAlready: there is one.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / f"{run}.lock").open("w") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoRunsAlready(
                f"another demo runs in {state}; end it, or give this one a folder of its own with --state"
            ) from None
        yield
