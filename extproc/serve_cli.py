"""``headgate serve`` and ``headgate ready``: the service, and whether it is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from extproc.cli_parts import FILE, FOLDER, Fails
from extproc.domain.errors import HeadgateError

if TYPE_CHECKING:
    from collections.abc import Callable

_Command = TypeVar("_Command", bound="Callable[..., object]")


def _count(option: str, what: str, *, default: int = 1) -> Callable[[_Command], _Command]:
    """An option for a number of 1 to 64."""
    return click.option(
        option,
        type=click.IntRange(1, 64),
        envvar=f"HEADGATE_{option.removeprefix('--').replace('-', '_').upper()}",
        default=default,
        show_default=True,
        help=what,
    )


def _admin(what: str) -> Callable[[_Command], _Command]:
    """The option that says where the admin port is."""
    return click.option(
        "--admin", envvar="HEADGATE_ADMIN", default="127.0.0.1:9981", show_default=True, help=what
    )


@click.command()
@click.option("--policy", type=FILE, envvar="HEADGATE_POLICY", required=True, help="Policy file (YAML).")
@click.option(
    "--listen",
    envvar="HEADGATE_LISTEN",
    default="127.0.0.1:9901",
    show_default=True,
    help="Where Envoy's ext_proc cluster connects: HOST:PORT or unix:PATH.",
)
@click.option("--tls-cert", type=FILE, envvar="HEADGATE_TLS_CERT", help="Our certificate chain (PEM).")
@click.option("--tls-key", type=FILE, envvar="HEADGATE_TLS_KEY", help="Its private key (PEM).")
@click.option(
    "--tls-client-ca",
    type=FILE,
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
@_count(
    "--workers",
    "Processes. Each takes a port of its own, counted up from --listen and --admin, or a socket and a "
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
    type=FILE,
    envvar="HEADGATE_REDIS_CA",
    help="Authorities of a rediss:// server's certificate (PEM). [default: the system's]",
)
@click.option(
    "--redis-password-file",
    type=FILE,
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
    type=FILE,
    envvar="HEADGATE_PEPPER_FILE",
    required=True,
    help="File with the secret that API keys are hashed with.",
)
@_admin("Where /healthz, /readyz and /metrics answer.")
@click.option(
    "--insecure-admin",
    is_flag=True,
    envvar="HEADGATE_INSECURE_ADMIN",
    help="Answer there beyond this machine too, where only probes and Prometheus reach it.",
)
@click.option(
    "--trust-traceparent",
    is_flag=True,
    envvar="HEADGATE_TRUST_TRACEPARENT",
    help="Go on with the traces that requests name in traceparent: a mesh writes it and no client can. "
    "[default: link to them; Envoy's own tracing needs no option]",
)
@click.option(
    "--judge-model",
    envvar="HEADGATE_JUDGE_MODEL",
    help="A classifier of your own, whose labels a policy's moderation may name: a directory as Hugging "
    "Face's tools leave it with an ONNX export, an ONNX file in one, a manifest (TOML) that pins their "
    "digests, or a model on a Triton: triton://HOST:PORT/MODEL[/VERSION]?labels=toxic,spam, tritons:// by "
    "TLS. PORT is Triton's own for gRPC, not that of a gateway which this filter guards.",
)
@click.option(
    "--judge-tokenizer",
    type=FOLDER,
    envvar="HEADGATE_JUDGE_TOKENIZER",
    help="Directory with tokenizer.json and config.json of a model on a Triton that takes token ids.",
)
@click.option(
    "--judge-ca",
    type=FILE,
    envvar="HEADGATE_JUDGE_CA",
    help="Authorities of a tritons:// server's certificate (PEM). [default: the gRPC library's]",
)
@_count("--judge-calls", "Questions to that Triton at once.", default=8)
@_count("--inferences", "Inferences at once.")
@_count("--threads", "Threads of one inference on a CPU.")
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
        raise Fails(str(error)) from None


@click.command(short_help="Say whether every worker is ready.")
@_admin("The --admin of `headgate serve`: HOST:PORT.")
@_count("--workers", "Its --workers: each answers at a port of its own, counted up from --admin.")
def ready(*, admin: str, workers: int) -> None:
    """Say whether every worker is ready, and what is not: a container's health check."""
    from extproc.edge.health import missing_parts
    from extproc.edge.listen import address_of
    from extproc.settings import split_address

    try:
        split_address(admin)
        places = [split_address(address_of(admin, worker)) for worker in range(workers)]
    except ValueError as error:
        raise Fails(f"--admin: {error}") from None
    waiting = [
        f"worker {worker} at {place[0]}:{place[1]} ({', '.join(missing)})"
        for worker, place in enumerate(places)
        if (missing := missing_parts(*place))
    ]
    if waiting:
        raise Fails(f"not ready: {'; '.join(waiting)}")
