"""Fills envoy/bootstrap.yaml in."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

from extproc.demo.assets import asset

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """What the template leaves open. All ports are on loopback.

    What has no port of its own gets Triton's HTTP port, which answers none of its requests.
    """

    listen_port: int
    admin_port: int
    extproc_port: int
    triton_port: int
    access_log: Path
    openai_port: int | None = None
    triton_grpc_port: int | None = None


def render(values: Bootstrap) -> str:
    """The configuration as YAML.

    Raises:
        KeyError: the template names a placeholder that is not filled.
        ValueError: a value cannot stand in a quoted YAML string, or the template is malformed.
    """
    access_log = str(values.access_log)
    if any(character in access_log for character in '"\\\n%'):
        raise ValueError("the access log's path has a character that YAML or Envoy would read as its own")
    return Template(asset("envoy/bootstrap.yaml").read_text()).substitute(
        LISTEN_PORT=values.listen_port,
        ADMIN_PORT=values.admin_port,
        EXTPROC_PORT=values.extproc_port,
        TRITON_PORT=values.triton_port,
        TRITON_GRPC_PORT=values.triton_grpc_port or values.triton_port,
        OPENAI_PORT=values.openai_port or values.triton_port,
        ACCESS_LOG=access_log,
    )
