"""A policy in a few lines of text, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extproc.domain.bodies import Keep
from extproc.domain.verdict import Mode, OnError, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.ports import GuardSpec
    from extproc.policy.loading import LoadedPolicy
    from extproc.policy.model import BodiesEntry, PolicyFile, RouteEntry

_COLUMNS = ("STAGE", "GUARD", "OWASP", "MODE")


def pipeline_text(loaded: LoadedPolicy, specs: Mapping[str, GuardSpec]) -> str:
    """The guards in the order in which they run, one a line, with their mode in every policy.

    Where policies differ, each mode stands with the policies that have it.
    """
    rows = [_COLUMNS]
    for name, spec in specs.items():
        rows.append((spec.stage.name, name, spec.owasp, _modes(loaded, spec)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)


def summary_text(loaded: LoadedPolicy, specs: Mapping[str, GuardSpec]) -> str:
    """That a policy checks, what it holds, and what of it lets traffic through unjudged."""
    file = loaded.file
    keys = sum(len(tenant.keys) for tenant in file.tenants.values())
    counts = [
        _count(len(file.policies), "policy", "policies"),
        _count(len(file.tenants), "tenant", "tenants"),
        _count(keys, "key", "keys"),
    ]
    if file.routes:
        counts.append(_count(len(file.routes), "route", "routes"))
    lines = [f"{loaded.source}: good; {', '.join(counts)}; digest {loaded.digest[:12]}"]
    lines += [f"  route {name}: {_policies_on(route)}" for name, route in file.routes.items()]
    if file.routes:
        lines.append("  note: a route that Envoy names and this file does not is refused")
    for policy, sections in file.policies.items():
        for guard in specs:
            section = sections.get(guard)
            if section is not None and section.mode is not Mode.ENFORCE:
                lines.append(f"  note: policy {policy}: {guard} is {_MEANS[section.mode]}")
            if section is not None and section.on_error is not OnError.BLOCK:
                lines.append(f"  note: policy {policy}: {guard} lets pass what it could not judge")
    lines += [
        _kept(policy, bodies) for policy, bodies in file.bodies.items() if bodies.keep is not Keep.NEVER
    ]
    lines += [
        f"  note: tenant {name} has no keys: nobody can call as it"
        for name, tenant in file.tenants.items()
        if not tenant.keys
    ]
    lines += [f"  note: policy {policy} holds for nobody" for policy in _unused(file)]
    return "\n".join(lines)


_MEANS = {Mode.SHADOW: "in shadow: it records and lets pass", Mode.OFF: "off: it judges nothing"}


def _policies_on(route: RouteEntry) -> str:
    parts = [route.policy or "each tenant's own policy"]
    parts += [f"{tenant}: {policy}" for tenant, policy in route.tenants.items()]
    return "; ".join(parts)


def _kept(policy: str, bodies: BodiesEntry) -> str:
    days = _count(bodies.lifetime_days, "day", "days")
    return (
        f"  note: policy {policy}: bodies of {', '.join(bodies.actions)} are kept {bodies.keep} "
        f"for {days}, which needs serve --bodies"
    )


def _unused(file: PolicyFile) -> list[str]:
    """The policies that no tenant has, on any route; none in a file that is not yet anybody's."""
    # A stream whose route Envoy does not name has the tenant's own policy.
    routes = (None, *file.routes)
    used = {file.policy_of(tenant, route) for tenant in file.tenants for route in routes}
    return [policy for policy in file.policies if used and policy not in used]


def _modes(loaded: LoadedPolicy, spec: GuardSpec) -> str:
    if spec.stage is Stage.IDENTITY:
        return Mode.ENFORCE
    by_mode: dict[Mode, list[str]] = {}
    for policy, sections in loaded.file.policies.items():
        by_mode.setdefault(sections[spec.name].mode, []).append(policy)
    if len(by_mode) <= 1:
        return next(iter(by_mode), Mode.ENFORCE)
    return "; ".join(f"{mode}: {', '.join(names)}" for mode, names in by_mode.items())


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
