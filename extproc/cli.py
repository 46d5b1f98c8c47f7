"""The ``headgate`` command. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from extproc.bodies_cli import bodies
from extproc.cli_parts import FILE, Fails, show_variables
from extproc.domain.errors import HeadgateError
from extproc.policy_cli import check, pipeline, policy
from extproc.redact_cli import redact
from extproc.serve_cli import ready, serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headgate", prog_name="headgate")
def main() -> None:
    """Judges, budgets and redacts LLM traffic as Envoy's external-processing filter."""
    if not __debug__:
        # Assertions are part of how this service fails closed.
        raise Fails("refusing to run under python -O")


@main.command(short_help="Start Envoy, Triton, Valkey and the filter.")
@click.option("--once", is_flag=True, help="Play the fixed requests, print the table, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print JSON and nothing else.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".headgate"),
    show_default=True,
    help="Folder for the demo's environment, logs and policy.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Envoy's port. [default: a free one]"
)
def demo(*, once: bool, as_json: bool, state: Path, port: int) -> None:
    """Start a real Envoy, Triton, Valkey and the filter, and stay up."""
    try:
        from extproc.demo.command import run_demo
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("extproc", "classifiers"):
            raise
        raise Fails(
            f"the demo needs more packages, {error.name} among them: install headgate[demo], "
            "or say `make demo` in a checkout"
        ) from None
    sys.exit(run_demo(state=state, once=once, as_json=as_json, port=port))


@main.group()
def key() -> None:
    """API keys."""


@key.command("new", short_help="Make an API key.")
@click.option(
    "--pepper-file",
    type=FILE,
    envvar="HEADGATE_PEPPER_FILE",
    required=True,
    help="File with the secret that API keys are hashed with.",
)
@click.option("--id", "key_id", help="Name of the key in policy and records. [default: a random one]")
def key_new(*, pepper_file: Path, key_id: str | None) -> None:
    """Make an API key, and print it once.

    Standard output gets the key alone, so that it can be piped to where keys are kept; standard error gets
    the lines for the policy file, which hold the key's hash.
    """
    from extproc.policy.faults import name_fault
    from extproc.policy.keys import hash_key, new_key
    from extproc.settings import read_pepper

    fault = name_fault(key_id) if key_id is not None else None
    if fault is not None:
        raise Fails(f"--id: {fault}")
    try:
        secret, random_id = new_key()
        digest = hash_key(read_pepper(pepper_file), secret)
    except HeadgateError as error:
        raise Fails(str(error)) from None
    click.echo("The key, shown only now:", err=True)
    click.echo(secret)
    click.echo("\nUnder the tenant's keys in the policy file:", err=True)
    click.echo(f"- id: {key_id or random_id}\n  hash: {digest}", err=True)


for one in (serve, ready, redact, pipeline, check, policy, bodies):
    main.add_command(one)
show_variables(main)


if __name__ == "__main__":
    main()
