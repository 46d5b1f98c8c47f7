"""What the commands share: how a failure is said, and the kinds of their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

import click

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Fails(click.ClickException):
    """An error as one line on standard error, or several; exit code 1."""

    def show(self, file: IO[str] | None = None) -> None:
        """Write it there, or to standard error."""
        for line in self.message.splitlines() or [""]:
            click.echo(f"headgate: {line}", file=file or sys.stderr)


class Faulty(Fails):
    """Faults of a file, each as FILE:LINE:COLUMN: and what it is: by this, editors find the places."""

    def show(self, file: IO[str] | None = None) -> None:
        """Write them there, or to standard error."""
        click.echo(self.message, file=file or sys.stderr)


class CannotAsk(Fails):
    """The same with exit code 2, where 1 is an answer."""

    exit_code = 2


def show_variables(command: click.Command) -> None:
    """Have the help of every option below name the environment variable that stands for it."""
    for one in command.params:
        if isinstance(one, click.Option):
            one.show_envvar = True
    if isinstance(command, click.Group):
        for below in command.commands.values():
            show_variables(below)
