"""``headgate bodies``: what reviewers and operators do with samples, apart from the service."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from extproc.cli_parts import FILE, FOLDER, Fails
from extproc.domain.errors import HeadgateError

_KEY_BYTES_MAX = 256
_FOLDER_OPTION = click.option(
    "--bodies",
    "folder",
    type=FOLDER,
    envvar="HEADGATE_BODIES",
    required=True,
    help="The --bodies of `headgate serve`.",
)


@click.group()
def bodies() -> None:
    """Text of prompts and answers that a policy has kept."""


@bodies.command("new-key", short_help="Make a reviewer's key.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def new_key(*, file: Path) -> None:
    """Make a reviewer's key: the private one goes into FILE.

    Standard output gets the public one alone; standard error gets the line for the policy file, which holds
    it, too. The service needs the public one only. Keep FILE where the service cannot read it.
    """
    from extproc.edge.sealing import new_keys

    private, public = new_keys()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Fails(f"{file.name}: is there already, and may be the only key to what was sealed") from None
    except OSError as error:
        raise Fails(f"{file.name}: {error.strerror}") from None
    with open(descriptor, "w", encoding="ascii") as opened:  # noqa: PTH123 - of a descriptor.
        opened.write(f"{private}\n")
    click.echo("The reviewer's public key:", err=True)
    click.echo(public)
    click.echo("\nUnder a policy's bodies in the policy file:", err=True)
    click.echo(f"reviewer_key: {public}", err=True)


@bodies.command("open", short_help="Print what was kept of a request.")
@click.argument("request_id", metavar="ID")
@_FOLDER_OPTION
@click.option("--key", type=FILE, help="File with the reviewer's private key; needed where it is sealed.")
def open_(*, request_id: str, folder: Path, key: Path | None) -> None:
    """Print what was kept of request ID (ID:N is one exchange of it), one line of JSON each.

    The text is as hostile as its author: written in ASCII it cannot command a terminal.
    """
    from extproc.edge.body_files import BodyFolder
    from extproc.edge.sample_file import SampleFileError, find_samples, read_sample

    private = None if key is None else key.read_bytes()[:_KEY_BYTES_MAX].decode("ascii", "replace").strip()
    wanted, _, number = request_id.partition(":")
    found = 0
    try:
        for content in find_samples(BodyFolder(folder).samples(), wanted, number):
            found += 1
            click.echo(json.dumps(read_sample(content, private), ensure_ascii=True))
    except (SampleFileError, OSError) as error:
        raise Fails(str(error) if isinstance(error, HeadgateError) else str(error.strerror)) from None
    if not found:
        raise Fails("nothing is kept under this id: never was, or no longer")


@bodies.command("purge")
@_FOLDER_OPTION
@click.option("--all", "everything", is_flag=True, help="Also what is within its lifetime.")
def purge(*, folder: Path, everything: bool) -> None:
    """Delete what is past its lifetime, as the service does each hour."""
    from extproc.edge.body_files import BodyFolder

    try:
        deleted = BodyFolder(folder).purge(None if everything else time.time_ns() // 1_000_000)
    except OSError as error:
        raise Fails(f"cannot delete: {error.strerror}") from None
    click.echo(f"deleted {deleted}")
