"""Whether a policy's routes are those that Envoy's configuration names.

Envoy names a route by ``grpc_initial_metadata: [{key: x-headgate-route, value: NAME}]``. Where a policy
tells routes apart, one that it does not name is refused: better found here than by the first client.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import yaml

from extproc.domain.errors import PolicyError
from extproc.domain.limits import LIMITS
from extproc.policy.faults import Fault, nearest, policy_error
from extproc.policy.tree import LOADER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from extproc.policy.loading import LoadedPolicy

ROUTE_KEY: Final = "x-headgate-route"
"""The name of the gRPC metadata, which no client can set: it is Envoy's configuration, and no header."""

# Envoy's own names are longer; these are what a policy may call a route.
_SHOWN_CHARS_MAX: Final = 40
# What a template leaves open, such as ``${PORT}``, is no YAML inside braces. Two characters that stand for
# no others (private use) take the place of its own, and keep it one word.
_PLACEHOLDER: Final = re.compile(rb"\$\{([A-Za-z0-9_]{1,64})\}")
_OPEN, _CLOSE = "\ue000", "\ue001"
_AS_TEXT: Final = rf"{_OPEN}\1{_CLOSE}".encode()


def routes_of(path: Path) -> tuple[str, ...]:
    """The routes that an Envoy configuration names (static, Istio or Envoy Gateway; any YAML documents).

    It may be a template: ``${NAME}`` is text.

    Raises:
        PolicyError: it cannot be read, or is no YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LIMITS.envoy_file_bytes_max)
        nodes = list(yaml.compose_all(_PLACEHOLDER.sub(_AS_TEXT, content), Loader=LOADER))
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyError(f"{path}:{line}: this is not YAML") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise PolicyError(f"{path}: this is not YAML") from None
    return tuple(dict.fromkeys(name for node in nodes for name in _names_below(node)))


def check_routes(loaded: LoadedPolicy, names: Collection[str]) -> None:
    """Compare a policy's routes with Envoy's; a policy without routes goes with any.

    Raises:
        PolicyError: one line for each route that only one of the two names.
    """
    routes = loaded.file.routes
    if not routes:
        return
    faults = [
        Fault(
            spot=loaded.document.spot_of(("routes", name)),
            field=f"routes.{name}",
            what="is no route that Envoy's configuration names",
            instead=nearest(name, names),
        )
        for name in routes
        if name not in names
    ]
    faults += [
        Fault(
            spot=loaded.document.spot_of(("routes",)),
            field="routes",
            what=f"does not name Envoy's route {shown_route(name)}, which is refused therefore",
            instead=f"add `{shown_route(name)}: {{}}` for each tenant's own policy",
        )
        for name in names
        if name not in routes
    ]
    if faults:
        raise policy_error(loaded.source, faults)


def shown_route(name: str) -> str:
    """A route's name as it may stand in a message."""
    return name if name.isprintable() and len(name) <= _SHOWN_CHARS_MAX else "(unprintable name)"


def _names_below(top: yaml.Node | None) -> Iterator[str]:
    """Every value beside ``key: x-headgate-route``, in the order of the file. Anchors may make circles."""
    waiting: list[yaml.Node | None] = [top]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            plain = {key.value: value.value for key, value in node.value if _is_text(key, value)}
            if plain.get("key") == ROUTE_KEY and "value" in plain:
                yield plain["value"].replace(_OPEN, "${").replace(_CLOSE, "}")
            waiting += (value for _, value in reversed(node.value))


def _is_text(key: yaml.Node, value: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
