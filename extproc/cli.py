"""The ``headgate`` command. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from extproc.bodies_cli import bodies
from extproc.domain.errors import HeadgateError, PolicyError

if TYPE_CHECKING:
    from typing import IO, BinaryIO, TextIO

    from extproc.edge.redact_progress import RedactProgress

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Fails(click.ClickException):
    """An error as one line on standard error; exit code 1."""

    def show(self, file: IO[str] | None = None) -> None:
        click.echo(f"headgate: {self.message}", file=file or sys.stderr)


class _CannotAsk(_Fails):
    """The same with exit code 2, where 1 is an answer."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headgate", prog_name="headgate")
def main() -> None:
    """Judges, budgets and redacts LLM traffic as Envoy's external-processing filter."""
    if not __debug__:
        # Assertions are part of how this service fails closed.
        raise _Fails("refusing to run under python -O")


@main.command()
@click.option("--policy", type=_FILE, envvar="HEADGATE_POLICY", required=True, help="Policy file (YAML).")
@click.option(
    "--listen",
    envvar="HEADGATE_LISTEN",
    default="127.0.0.1:9901",
    show_default=True,
    help="Where Envoy's ext_proc cluster connects: HOST:PORT or unix:PATH.",
)
@click.option("--tls-cert", type=_FILE, envvar="HEADGATE_TLS_CERT", help="Our certificate chain (PEM).")
@click.option("--tls-key", type=_FILE, envvar="HEADGATE_TLS_KEY", help="Its private key (PEM).")
@click.option(
    "--tls-client-ca",
    type=_FILE,
    envvar="HEADGATE_TLS_CLIENT_CA",
    help="Authorities that sign Envoy's certificate (PEM). All three files are read anew when they change.",
)
@click.option(
    "--tls-client-name",
    envvar="HEADGATE_TLS_CLIENT_NAME",
    help="SPIFFE id or DNS name that Envoy's certificate must have.",
)
@click.option(
    "--insecure-listen",
    is_flag=True,
    envvar="HEADGATE_INSECURE_LISTEN",
    help="Listen beyond this machine without TLS, where something else guards the way.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    envvar="HEADGATE_WORKERS",
    default=1,
    show_default=True,
    help="Processes. Each takes a port of its own, counted up from --listen and --admin, or a socket and a "
    "verdict log with its number before the ending.",
)
@click.option("--worker", type=click.IntRange(0), hidden=True)
@click.option(
    "--drain-notice-ms",
    type=click.IntRange(0, 60_000),
    envvar="HEADGATE_DRAIN_NOTICE_MS",
    help="After SIGTERM, take new streams for so long while health checks say no already. [default: 2500]",
)
@click.option(
    "--redis",
    envvar="HEADGATE_REDIS",
    default="redis://127.0.0.1:6379/0",
    help="URL of the Redis or Valkey that holds the budgets; file:PATH reads it from a file, which keeps a "
    "password out of the process list. [default: redis on this host]",
)
@click.option(
    "--redis-ca",
    type=_FILE,
    envvar="HEADGATE_REDIS_CA",
    help="Authorities of a rediss:// server's certificate (PEM). [default: the system's]",
)
@click.option(
    "--redis-password-file",
    type=_FILE,
    envvar="HEADGATE_REDIS_PASSWORD_FILE",
    help="File with Redis's password, read anew for every connection.",
)
@click.option(
    "--verdict-log",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="HEADGATE_VERDICT_LOG",
    default=Path("verdicts.jsonl"),
    show_default=True,
    help="File that verdict records are appended to (JSONL).",
)
@click.option(
    "--bodies",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="HEADGATE_BODIES",
    help="Folder for what a policy keeps of prompts and answers. [default: none may keep any]",
)
@click.option(
    "--pepper-file",
    type=_FILE,
    envvar="HEADGATE_PEPPER_FILE",
    required=True,
    help="File with the secret that API keys are hashed with.",
)
@click.option(
    "--admin",
    envvar="HEADGATE_ADMIN",
    default="127.0.0.1:9981",
    show_default=True,
    help="Where /healthz, /readyz and /metrics answer.",
)
@click.option(
    "--inferences",
    type=click.IntRange(1, 64),
    envvar="HEADGATE_INFERENCES",
    default=1,
    show_default=True,
    help="Inferences at once.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    envvar="HEADGATE_THREADS",
    default=1,
    show_default=True,
    help="Threads of one inference on a CPU.",
)
def serve(*, worker: int | None, **options: str | int | Path) -> None:
    """Run the filter until SIGTERM, then drain."""
    from extproc.app import run_service
    from extproc.edge.listen import envoy_endpoints
    from extproc.settings import Settings

    try:
        settings = Settings.from_options(options)
        if worker is None and settings.workers > 1:
            click.echo(envoy_endpoints([one.listen for one in settings.each]), nl=False)
        run_service(settings, worker=worker)
    except HeadgateError as error:
        raise _Fails(str(error)) from None


@main.command()
@click.option("--admin", envvar="HEADGATE_ADMIN", default="127.0.0.1:9981", show_default=True)
@click.option("--workers", type=click.IntRange(1, 64), envvar="HEADGATE_WORKERS", default=1)
def ready(*, admin: str, workers: int) -> None:
    """Say whether every worker is ready, and what is not: a container's health check."""
    from extproc.edge.health import missing_parts
    from extproc.edge.listen import address_of
    from extproc.settings import split_address

    try:
        places = [split_address(address_of(admin, worker)) for worker in range(workers)]
    except ValueError as error:
        raise _Fails(f"--admin: {error}") from None
    waiting = [
        f"worker {worker} at {place[0]}:{place[1]} ({', '.join(missing)})"
        for worker, place in enumerate(places)
        if (missing := missing_parts(*place))
    ]
    if waiting:
        raise _Fails(f"not ready: {'; '.join(waiting)}")


@main.command()
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
        raise _Fails(
            f"the demo needs more packages, {error.name} among them: install headgate[demo], "
            "or say `make demo` in a checkout"
        ) from None
    sys.exit(run_demo(state=state, once=once, as_json=as_json, port=port))


@main.command()
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
    from extproc.domain.ports import RuleWatch
    from extproc.edge.redact_stream import redact_stream
    from extproc.redaction.packs import default_automaton
    from extproc.redaction.watches import Redactor

    # The interpreter has nothing in place of a descriptor that the shell closed.
    if sys.stdin is None or sys.stdout is None:
        raise _Fails(f"standard {'input' if sys.stdin is None else 'output'} is closed")
    redactor = Redactor(default_automaton(), hash_key=b"")
    watches = [RuleWatch(pack=pack, entity_types=frozenset()) for pack in ("pii", "secrets")]
    # Unbuffered, so that what can be released is released while the input pauses.
    source = FileIO(sys.stdin.fileno(), closefd=False)
    progress = _progress()
    try:
        summary = redact_stream(
            source,
            sys.stdout.buffer,
            scanner=redactor(watches),
            chunk_bytes=chunk_bytes,
            findings=findings,
            told=progress.read if progress else lambda _bytes_read: None,
        )
        sys.stdout.buffer.flush()
        if findings is not None:
            findings.flush()
    except HeadgateError as error:
        raise _Fails(str(error)) from None
    except OSError as error:
        # What is still buffered cannot be written either: the interpreter shall not try at its end.
        _give_up_on(sys.stdout, findings)
        raise _Fails(f"cannot read or write: {error.strerror}") from None
    finally:
        if progress:
            progress.end()
    found = ", ".join(f"{count} {name}" for name, count in sorted(summary.found.items()))
    click.echo(f"headgate: {summary.chars_read} characters, {found or 'nothing found'}", err=True)


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


@main.group()
def key() -> None:
    """API keys."""


@key.command("new")
@click.option("--pepper-file", type=_FILE, envvar="HEADGATE_PEPPER_FILE", required=True)
@click.option("--id", "key_id", help="Name of the key in policy and records. [default: a random one]")
def key_new(*, pepper_file: Path, key_id: str | None) -> None:
    """Make an API key: print it once, and the lines for the policy file.

    Standard output gets the key alone, so that it can be piped to where keys are kept; standard error gets
    the lines for the policy file, which hold the key's hash.
    """
    from extproc.policy.faults import name_fault
    from extproc.policy.keys import hash_key, new_key
    from extproc.settings import read_pepper

    fault = name_fault(key_id) if key_id is not None else None
    if fault is not None:
        raise _Fails(f"--id: {fault}")
    try:
        secret, random_id = new_key()
        digest = hash_key(read_pepper(pepper_file), secret)
    except HeadgateError as error:
        raise _Fails(str(error)) from None
    click.echo("The key, shown only now:", err=True)
    click.echo(secret)
    click.echo("\nUnder the tenant's keys in the policy file:", err=True)
    click.echo(f"- id: {key_id or random_id}\n  hash: {digest}", err=True)


@main.command()
@click.option("--policy", type=_FILE, help="Show the modes of this policy. [default: the shipped one]")
def pipeline(*, policy: Path | None) -> None:
    """Print the guards in the order in which they run."""
    from extproc.policies import describe_pipeline

    try:
        click.echo(describe_pipeline(policy), nl=False)
    except PolicyError as error:
        raise _Fails(str(error)) from None


@main.command()
@click.argument("request", type=click.File("rb"))
@click.option("--policy", type=_FILE, envvar="HEADGATE_POLICY", required=True, help="Policy file (YAML).")
@click.option("--tenant", help="Who asks. [default: the policy's only tenant]")
@click.option("--route", help="What Envoy calls the route. [default: it does not name one]")
@click.option("--path", help="Where it is sent, as /v2/models/NAME/generate. [default: by its shape]")
@click.option("--answer", type=click.File("rb"), help="What the model would say to it (text).")
@click.option("--no-model", is_flag=True, help="Leave the classifier out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(  # noqa: PLR0913 - one for each word of the command.
    *,
    request: BinaryIO,
    policy: Path,
    tenant: str | None,
    route: str | None,
    path: str | None,
    answer: BinaryIO | None,
    no_model: bool,
    as_json: bool,
) -> None:
    """Explain what would happen to REQUEST (a body; - is standard input), guard by guard, offline.

    Exit code 0: it would go on, changed or not; 1: it would be refused; 2: it could not be asked.
    """
    from extproc.explain.command import CheckOptions, run_check

    options = CheckOptions(
        policy=policy, tenant=tenant, route=route, path=path, model=not no_model, as_json=as_json
    )
    try:
        text, code = run_check(request, answer, options)
    except HeadgateError as error:
        raise _CannotAsk(str(error)) from None
    click.echo(text, nl=False)
    sys.exit(code)


@main.group()
def policy() -> None:
    """The policy file."""


@policy.command("check")
@click.argument("file", type=_FILE)
@click.option("--envoy", type=_FILE, help="Compare its routes with an Envoy configuration (YAML).")
def policy_check(*, file: Path, envoy: Path | None) -> None:
    """Say whether FILE is a policy that could be loaded, or where it is not and what to write."""
    from extproc.policies import check_policy

    try:
        click.echo(check_policy(file, envoy))
    except PolicyError as error:
        raise _Fails(str(error)) from None


@policy.command("schema")
def policy_schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    from extproc.policies import policy_schema

    click.echo(policy_schema(), nl=False)


main.add_command(bodies)


if __name__ == "__main__":
    main()
