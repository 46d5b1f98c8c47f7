"""A policy in a few lines of text, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from extproc.domain.bodies import Keep
from extproc.domain.judging import OnAnswer
from extproc.domain.prices import ANY_MODEL
from extproc.domain.verdict import Mode, OnError, Stage
from extproc.policy.loading import RuleSettings, types_of_model
from extproc.policy.narrowing import LetsPassUnscanned, NarrowsSegments, narrowing_text
from extproc.policy.snapshot import NamesModels, known_models

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from extproc.domain.ports import GuardSpec
    from extproc.policy.loading import LoadedPolicy
    from extproc.policy.model import BodiesEntry, GuardSection, PolicyFile, RouteEntry

_COLUMNS: Final = ("STAGE", "GUARD", "OWASP", "MODE")
_ALLOW: Final = "allow"


@runtime_checkable
class SeeksTopics(Protocol):
    """Settings of a guard that looks for topics, by their phrases or by a model's head."""

    @property
    def topics(self) -> Mapping[str, Collection[str]]:
        """Phrases by topic."""

    @property
    def head(self) -> str:
        """The head of a classifier of the operator's own; empty for none."""


@runtime_checkable
class ActsOnRequests(Protocol):
    """Settings that say what happens to a request in which something is found."""

    @property
    def request(self) -> str:
        """``allow`` for nothing."""


@runtime_checkable
class ActsOnAnswers(Protocol):
    """The same of an answer."""

    @property
    def answer(self) -> str:
        """``allow`` or ``flag`` for nothing."""


@runtime_checkable
class HoldsToFormats(Protocol):
    """Settings of a guard that holds answers to a format, of the request's or of its own."""

    @property
    def requested(self) -> bool:
        """Whether requests may ask for one."""

    @property
    def schema(self) -> str:
        """Its own; empty for none."""


@runtime_checkable
class ListsTools(Protocol):
    """Settings of a guard that knows tools by a list of its own or of the request's."""

    @property
    def names(self) -> Collection[str]:
        """Its own; empty for any."""

    @property
    def offered_only(self) -> bool:
        """Whether the request's counts."""

    @property
    def arguments(self) -> bool:
        """Whether calls are held to the tool's schema, too."""


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
    if file.rules:
        counts.append(_count(len(file.rules), "rule of its own", "rules of its own"))
    if file.routes:
        counts.append(_count(len(file.routes), "route", "routes"))
    lines = [f"{loaded.source}: good; {', '.join(counts)}; digest {loaded.digest[:12]}"]
    lines += [f"  route {name}: {_policies_on(route)}" for name, route in file.routes.items()]
    if file.routes:
        lines.append("  note: a route that Envoy names and this file does not is refused")
    for policy, sections in file.policies.items():
        for guard, spec in specs.items():
            notes = _section_notes(sections[guard], spec) if guard in sections else ()
            lines += [f"  note: policy {policy}: {guard} {note}" for note in notes]
    lines += [_kept(policy, bodies) for policy, bodies in file.bodies.items() if _wanted(bodies)]
    lines += [f"  note: {model} has no price: its cost is not counted" for model in _unpriced(file)]
    lines += [
        f"  note: tenant {name} has no keys: nobody can call as it"
        for name, tenant in file.tenants.items()
        if not tenant.keys
    ]
    lines += [f"  note: policy {policy} holds for nobody" for policy in _unused(file)]
    return "\n".join(lines)


_MEANS: Final = {Mode.SHADOW: "in shadow: it records and lets pass", Mode.OFF: "off: it judges nothing"}


def _section_notes(section: GuardSection, spec: GuardSpec) -> Iterator[str]:
    if section.mode not in {Mode.ENFORCE, spec.mode}:
        yield f"is {_MEANS[section.mode]}"
    if section.on_error is not OnError.BLOCK:
        yield "lets pass what it could not judge"
    settings = section.settings
    if section.mode is not Mode.OFF:
        yield from _partly(settings)
    if section.mode is Mode.ENFORCE and isinstance(settings, NamesModels) and not settings.models:
        yield "names no model: whoever asks for one gets a 404"


def _policies_on(route: RouteEntry) -> str:
    parts = [route.policy or "each tenant's own policy"]
    parts += [f"{tenant}: {policy}" for tenant, policy in route.tenants.items()]
    return "; ".join(parts)


def _partly(settings: object) -> Iterator[str]:
    """What a guard leaves unjudged by its settings, and which of them never count."""
    yield from _untouched(settings)
    if isinstance(settings, NarrowsSegments) and (text := narrowing_text(settings)):
        yield text
    if isinstance(settings, LetsPassUnscanned) and settings.unscanned:
        yield f"lets pass what no guard can read: {', '.join(settings.unscanned)}"
    if isinstance(settings, RuleSettings) and settings.entity_types:
        found = types_of_model(settings).union(settings.entity_types)
        idle = [name for name in settings.operators if name not in found]
        if idle:
            yield f"has operators for what it does not look for: {', '.join(idle)}"
    if isinstance(settings, SeeksTopics):
        yield from _sought(settings)
    if isinstance(settings, HoldsToFormats) and not (settings.requested or settings.schema):
        yield "has no schema and heeds none of a request's: it judges nothing"
    if isinstance(settings, ListsTools):
        yield from _called(settings)


def _untouched(settings: object) -> Iterator[str]:
    """What goes on whatever is found in it: a guard of rules does not even look."""
    lanes = {
        "requests": isinstance(settings, ActsOnRequests) and settings.request == _ALLOW,
        "answers": isinstance(settings, ActsOnAnswers) and settings.answer in {_ALLOW, OnAnswer.FLAG},
    }
    if passed := " and ".join(lane for lane, passes in lanes.items() if passes):
        looks = not isinstance(settings, RuleSettings)
        yield f"records what it finds in {passed}, which pass" if looks else f"does not look at {passed}"


def _called(settings: ListsTools) -> Iterator[str]:
    if not (settings.names or settings.offered_only):
        yield "names no tool and heeds no request's: whatever calls one is refused"
    if not settings.arguments:
        yield "judges no arguments of calls"


def _sought(settings: SeeksTopics) -> Iterator[str]:
    idle = [topic for topic, phrases in settings.topics.items() if not phrases]
    if idle:
        yield f"has topics without phrases, which are never found: {', '.join(idle)}"
    if settings.head:
        yield f"asks the head {settings.head}, which needs serve --judge-model"
    elif len(idle) == len(settings.topics):
        yield "has no phrases and no head: it finds nothing"


def _unpriced(file: PolicyFile) -> list[str]:
    """Models without a price, where others have one: mostly a slip in a name."""
    priced = {name for name, model in file.models.items() if model.price is not None}
    if not priced or ANY_MODEL in priced:
        return []
    return sorted(known_models(file) - priced)


def _wanted(bodies: BodiesEntry) -> bool:
    return bodies.keep is not Keep.NEVER or bodies.required


def _kept(policy: str, bodies: BodiesEntry) -> str:
    if bodies.keep is Keep.NEVER:
        return f"  note: policy {policy}: bodies are required, and never kept: it has no effect"
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
