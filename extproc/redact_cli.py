"""``headgate redact``: the engine of the filter on a pipe."""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import suppress
from io import FileIO
from typing import TYPE_CHECKING

import click

from extproc.cli_parts import Fails
from extproc.domain.errors import HeadgateError

if TYPE_CHECKING:
    from typing import TextIO

    from extproc.edge.redact_progress import RedactProgress


@click.command(short_help="Redact standard input to standard output.")
@click.option(
    "--chunk",
    "chunk_bytes",
    type=click.IntRange(1),
    default=65_536,
    show_default=True,
    help="Read at most this many bytes at a time. The output does not depend on it.",
)
@click.option("--findings", type=click.File("w", encoding="utf-8"), help="Where findings go (JSONL).")
def redact(*, chunk_bytes: int, findings: TextIO | None) -> None:
    """Redact standard input to standard output, with the streaming code of the filter."""
    from extproc.domain.scanning import RuleWatch
    from extproc.edge.redact_progress import speed
    from extproc.edge.redact_stream import redact_stream
    from extproc.redaction.packs import default_automaton
    from extproc.redaction.watches import Redactor

    # The interpreter has nothing in place of a descriptor that the shell closed.
    if sys.stdin is None or sys.stdout is None:
        raise Fails(f"standard {'input' if sys.stdin is None else 'output'} is closed")
    watches = [RuleWatch(pack=pack, entity_types=frozenset()) for pack in ("pii", "secrets")]
    # Making it takes a second, and is no part of the time that reading takes.
    scanner = Redactor(default_automaton(), hash_key=b"")(watches)
    # Unbuffered, so that what can be released is released while the input pauses.
    source = FileIO(sys.stdin.fileno(), closefd=False)
    progress = _progress()
    began_s = time.monotonic()
    try:
        summary = redact_stream(
            source,
            sys.stdout.buffer,
            scanner=scanner,
            chunk_bytes=chunk_bytes,
            findings=findings,
            told=progress.read if progress else lambda _bytes_read: None,
        )
        sys.stdout.buffer.flush()
        if findings is not None:
            findings.flush()
    except HeadgateError as error:
        raise Fails(str(error)) from None
    except OSError as error:
        # What is still buffered cannot be written either: the interpreter shall not try at its end.
        _give_up_on(sys.stdout, findings)
        raise Fails(f"cannot read or write: {error.strerror}") from None
    finally:
        if progress:
            progress.end()
    found = ", ".join(f"{count} {name}" for name, count in sorted(summary.found.items()))
    # As the reader and the writer let it: a pipe that waits makes it slow.
    took = speed(summary.bytes_read, time.monotonic() - began_s)
    click.echo(f"headgate: {summary.chars_read} characters, {found or 'nothing found'}; {took}", err=True)


def _progress() -> RedactProgress | None:
    """For whoever waits at a terminal that does not show the output itself."""
    from extproc.edge.redact_progress import RedactProgress

    if sys.stderr is None or not sys.stderr.isatty() or sys.stdout.isatty():
        return None
    status = os.fstat(sys.stdin.fileno())
    size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
    return RedactProgress(sys.stderr, size_bytes=size_bytes, clock=time.monotonic)


def _give_up_on(*files: TextIO | None) -> None:
    """Have whatever is still buffered for these files go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for file in files:
        with suppress(OSError, click.ClickException):
            if file is not None:
                os.dup2(nowhere, file.fileno())
