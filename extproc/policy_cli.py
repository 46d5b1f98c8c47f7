"""The commands about a policy: check it, show its guards, and ask what it would do to a request."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from extproc.cli_parts import FILE, FOLDER, CannotAsk, Fails, Faulty
from extproc.domain.errors import HeadgateError, PolicyError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


@click.command()
@click.option("--policy", type=FILE, help="Show the modes of this policy. [default: the shipped one]")
def pipeline(*, policy: Path | None) -> None:
    """Print the guards in the order in which they run."""
    from extproc.policies import describe_pipeline

    try:
        click.echo(describe_pipeline(policy), nl=False)
    except PolicyError as error:
        raise Fails(str(error)) from None


@click.command(short_help="Explain what would happen to a request.")
@click.argument("request", type=click.File("rb"), required=False)
@click.option("--policy", type=FILE, envvar="HEADGATE_POLICY", required=True, help="Policy file (YAML).")
@click.option("--tenant", help="Who asks. [default: the policy's only tenant]")
@click.option("--route", help="What Envoy calls the route. [default: it does not name one]")
@click.option("--path", help="Where it is sent, as /v2/models/NAME/generate. [default: by its shape]")
@click.option("--method", help="[default: POST, or without REQUEST GET]")
@click.option(
    "--header", "headers", multiple=True, help="A header of it, as 'NAME: VALUE'; may be repeated."
)
@click.option("--answer", type=click.File("rb"), help="What the model would say to it (text).")
@click.option("--answer-body", type=click.File("rb"), help="What its server would send (JSON or events).")
@click.option("--show-answer", is_flag=True, help="Show the text that the client would get of it.")
@click.option("--judge-model", envvar="HEADGATE_JUDGE_MODEL", help="As that of `headgate serve`.")
@click.option("--judge-tokenizer", type=FOLDER, envvar="HEADGATE_JUDGE_TOKENIZER", help="As there.")
@click.option("--judge-ca", type=FILE, envvar="HEADGATE_JUDGE_CA", help="As there.")
@click.option("--no-model", is_flag=True, help="Leave the classifiers out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(  # noqa: PLR0913 - one for each word of the command.
    *,
    request: BinaryIO | None,
    policy: Path,
    tenant: str | None,
    route: str | None,
    path: str | None,
    method: str | None,
    headers: tuple[str, ...],
    answer: BinaryIO | None,
    answer_body: BinaryIO | None,
    show_answer: bool,
    judge_model: str | None,
    judge_tokenizer: Path | None,
    judge_ca: Path | None,
    no_model: bool,
    as_json: bool,
) -> None:
    """Explain what would happen to REQUEST (a body; - is standard input), guard by guard, offline.

    Without REQUEST it is what is read at --path, as /v1/models.

    Exit code 0: it would go on, changed or not; 1: it would be refused; 2: it could not be asked.
    """
    from extproc.explain.command import CheckOptions, run_check

    options = CheckOptions(
        policy=policy,
        tenant=tenant,
        route=route,
        path=path,
        method=method,
        headers=headers,
        model=not no_model,
        judge=(judge_model, judge_tokenizer, judge_ca),
        as_json=as_json,
        shows_answer=show_answer,
    )
    try:
        text, code = run_check(request, options, answer=answer, answer_body=answer_body)
    except HeadgateError as error:
        raise CannotAsk(str(error)) from None
    click.echo(text, nl=False)
    sys.exit(code)


@click.group()
def policy() -> None:
    """The policy file."""


@policy.command("check", short_help="Say whether a file could be loaded.")
@click.argument("file", type=FILE)
@click.option("--envoy", type=FILE, help="Compare its routes with an Envoy configuration (YAML).")
def policy_check(*, file: Path, envoy: Path | None) -> None:
    """Say whether FILE is a policy that could be loaded, or where it is not and what to write."""
    from extproc.policies import check_policy

    try:
        click.echo(check_policy(file, envoy))
    except PolicyError as error:
        raise Faulty(str(error)) from None


@policy.command("types", short_help="Print the entity types of the shipped rules.")
def policy_types() -> None:
    """Print the entity types that the shipped rules find, and whose they are."""
    from extproc.policies import entity_types

    click.echo(entity_types(), nl=False)


@policy.command("schema")
def policy_schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    from extproc.policies import policy_schema

    click.echo(policy_schema(), nl=False)
