"""Reads a policy file, or says where it is wrong. A file that does not check yields nothing at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from pydantic import ValidationError

from extproc.domain.bodies import Keep
from extproc.domain.errors import PolicyError
from extproc.domain.limits import LIMITS
from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Mode
from extproc.policy.faults import (
    NEAREST_MAX,
    Fault,
    faults_of,
    field_of,
    nearest,
    nearest_few,
    places_of,
    policy_error,
)
from extproc.policy.model import policy_model
from extproc.policy.narrowing import NarrowsSegments, judges_nothing
from extproc.policy.sound_part import sound_part
from extproc.policy.tree import TOP, Spot, TreeError, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from extproc.domain.ports import GuardSpec
    from extproc.policy.model import PolicyFile, RuleEntry
    from extproc.policy.tree import Document, Place, Tree


_WRITE_A_MODE: Final = "write `mode: enforce`, or shadow to try it, or off"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFault:
    """What is wrong with a rule of the file's own.

    ``field`` is the place within the rule; ``what`` and ``instead`` repeat no value.
    """

    rule: int
    field: tuple[str | int, ...]
    what: str
    instead: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleVocabulary:
    """The rules that a policy may speak of: entity types by pack.

    ``check`` raises PolicyError for a watch that cannot be made, for example by its operator. ``extend``
    adds rules of the file's own: a vocabulary that knows them too, or what is wrong with them.
    """

    packs: Mapping[str, frozenset[str]]
    check: Callable[[RuleWatch], None]
    extend: Callable[[tuple[RuleEntry, ...]], RuleVocabulary | list[RuleFault]] | None = None


@runtime_checkable
class RuleSettings(Protocol):
    """Settings of a guard that applies the pack of its own name."""

    @property
    def entity_types(self) -> Collection[str]:
        """What to look for; empty means all of the pack."""

    @property
    def operators(self) -> Mapping[str, str]:
        """Operator by entity type."""


class NamedModel(Protocol):
    """A model that finds spans; without a name there is none."""

    @property
    def name(self) -> str:
        """What the service knows it by."""

    @property
    def entity_types(self) -> Collection[str]:
        """What it finds."""


@runtime_checkable
class ModelledSettings(Protocol):
    """Settings of a guard that may have a model read answers."""

    @property
    def model(self) -> NamedModel:
        """The model."""


def types_of_model(settings: object) -> frozenset[str]:
    """The entity types that a guard's model finds."""
    return frozenset(settings.model.entity_types) if isinstance(settings, ModelledSettings) else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """A policy file that checks.

    ``digest`` is the SHA-256 of what the file means: comments, order and defaults written out do not
    change it. ``source`` is the file's name for messages; ``document`` knows the line of every place.
    """

    source: str
    digest: str
    file: PolicyFile
    document: Document = field(repr=False, compare=False)


def load_policy(
    path: Path, specs: Mapping[str, GuardSpec], rules: RuleVocabulary, *, source: str | None = None
) -> LoadedPolicy:
    """Read and check a policy file.

    Args:
        path: The file, UTF-8.
        specs: The guards that may be configured.
        rules: What the guards that find by rules may be set to.
        source: What messages call the file; None for its name without folders.

    Raises:
        PolicyError: One line per fault: file, line, column, field, what is wrong, what to write instead.
    """
    content = read_content(path, source=source)
    return parse_content(content, specs, rules, source=source or path.name)


def read_content(path: Path, *, source: str | None = None) -> bytes:
    """A policy file's bytes, a little more than are allowed at most. ``source`` as for ``load_policy``."""
    try:
        with path.open("rb") as file:
            return file.read(LIMITS.policy_bytes_max + 1)
    except OSError as error:
        why = error.strerror or "it cannot be read"
        fault = _whole_file(why, "check the path and its permissions")
        raise policy_error(source or path.name, [fault]) from None


def parse_content(
    content: bytes, specs: Mapping[str, GuardSpec], rules: RuleVocabulary, *, source: str = "policy"
) -> LoadedPolicy:
    """Check a policy's bytes. Arguments and errors as for ``load_policy``."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        sound = content[: error.start].decode("utf-8")
        spot = Spot(sound.count("\n") + 1, len(sound) - sound.rfind("\n"))
        fault = Fault(spot=spot, field="", what="this is not UTF-8", instead="save the file as UTF-8")
        raise policy_error(source, [fault]) from None
    return parse_policy(text, specs, rules, source=source)


def parse_policy(
    text: str, specs: Mapping[str, GuardSpec], rules: RuleVocabulary, *, source: str = "policy"
) -> LoadedPolicy:
    """Check a policy's text. Arguments and errors as for ``load_policy``."""
    try:
        document = read_tree(text)
    except TreeError as error:
        field = field_of(error.place)
        fault = Fault(spot=error.spot, field=field, what=error.what, instead=error.instead)
        raise policy_error(source, [fault]) from None
    if not isinstance(document.tree, dict):
        raise policy_error(source, [_whole_file("it holds no policy", "begin with `version: 1`")])
    model = policy_model(specs)
    try:
        file = model.validate_json(json.dumps(document.tree))
    except ValidationError as error:
        faults = [*faults_of(error, document, model), *_mode_faults(document, specs)]
        part = sound_part(document.tree, places_of(error))
        with suppress(ValidationError):
            faults += _joint_faults(model.validate_json(part), rules, document) if part else []
        raise policy_error(source, faults) from None
    if faults := [*_mode_faults(document, specs), *_joint_faults(file, rules, document)]:
        raise policy_error(source, faults)
    return LoadedPolicy(source=source, digest=_digest(file), file=file, document=document)


def _joint_faults(file: PolicyFile, rules: RuleVocabulary, document: Document) -> list[Fault]:
    """What only the whole of a file shows, or another package knows."""
    return [
        *_tenant_faults(file, document),
        *_route_faults(file, document),
        *_own_rule_faults(file, rules, document),
        *_narrowing_faults(file, document),
        *_bodies_faults(file, document),
    ]


def _mode_faults(document: Document, specs: Mapping[str, GuardSpec]) -> Iterator[Fault]:
    """Sections of guards that are off without a mode: such a policy looks as if it protected."""
    tree = document.tree
    policies = tree.get("policies") if isinstance(tree, dict) else None
    for policy, held in policies.items() if isinstance(policies, dict) else ():
        guards = held.get("guards") if isinstance(held, dict) else None
        for guard, section in guards.items() if isinstance(guards, dict) else ():
            off = guard in specs and specs[guard].mode is Mode.OFF
            if off and isinstance(section, dict) and "mode" not in section:
                place: Place = ("policies", policy, "guards", guard)
                yield fault_at(document, place, "has no mode, without which it is off", _WRITE_A_MODE)


def _whole_file(what: str, instead: str) -> Fault:
    return Fault(spot=TOP, field="", what=what, instead=instead)


def _tenant_faults(file: PolicyFile, document: Document) -> Iterator[Fault]:
    """Policies that are not there, and keys that stand for two principals."""
    hashes: set[str] = set()
    for name, tenant in file.tenants.items():
        yield from _policy_fault(tenant.policy, ("tenants", name, "policy"), file, document)
        ids: set[str] = set()
        for index, key in enumerate(tenant.keys):
            place: Place = ("tenants", name, "keys", index)
            if key.id in ids:
                what = "stands twice in this tenant"
                yield fault_at(document, (*place, "id"), what, "give every key its own id")
            if key.hash in hashes:
                what = "is the hash of another key of this file"
                yield fault_at(document, (*place, "hash"), what, "make a new key with `headgate key new`")
            ids.add(key.id)
            hashes.add(key.hash)


def _route_faults(file: PolicyFile, document: Document) -> Iterator[Fault]:
    """Policies and tenants that are not there."""
    for name, route in file.routes.items():
        if route.policy:
            yield from _policy_fault(route.policy, ("routes", name, "policy"), file, document)
        for tenant, policy in route.tenants.items():
            place: Place = ("routes", name, "tenants", tenant)
            if tenant not in file.tenants:
                what = "names a tenant that this file does not hold"
                yield fault_at(document, place, what, nearest(tenant, tuple(file.tenants)))
            yield from _policy_fault(policy, place, file, document)


def _policy_fault(policy: str, place: Place, file: PolicyFile, document: Document) -> Iterator[Fault]:
    if policy not in file.policies:
        what = "names a policy that this file does not hold"
        yield fault_at(document, place, what, nearest(policy, tuple(file.policies)))


def _bodies_faults(file: PolicyFile, document: Document) -> Iterator[Fault]:
    """Sealing without a key, a key without sealing, and keeping of nothing."""
    for policy, bodies in file.bodies.items():
        place: Place = ("policies", policy, "bodies")
        if not bodies.actions:
            what = "is empty, so that nothing would be kept"
            yield fault_at(document, (*place, "actions"), what, "write `keep: never` for that")
        if bodies.keep is Keep.SEALED and not bodies.reviewer_key:
            what = "is sealed, but there is no key to seal to"
            instead = "add `reviewer_key: …` with what `headgate bodies new-key` prints"
            yield fault_at(document, (*place, "keep"), what, instead)
        if bodies.keep is not Keep.SEALED and bodies.reviewer_key:
            what = "is a key to seal to, but nothing is sealed"
            yield fault_at(
                document, (*place, "reviewer_key"), what, "write `keep: sealed`, or take the key out"
            )


def _narrowing_faults(file: PolicyFile, document: Document) -> Iterator[Fault]:
    """Roles and origins that never go together: such a guard would judge nothing, without a word."""
    for policy, sections in file.policies.items():
        for guard, section in sections.items():
            if isinstance(section.settings, NarrowsSegments) and judges_nothing(section.settings):
                what = "never goes with these roles, so that nothing would be judged"
                instead = (
                    "write tool_result or tool_description for the role tool, direct or document for others"
                )
                yield fault_at(document, ("policies", policy, "guards", guard, "origins"), what, instead)


def _own_rule_faults(file: PolicyFile, rules: RuleVocabulary, document: Document) -> Iterator[Fault]:
    """What is wrong with the file's own rules; else with what guards say of any."""
    if file.rules and rules.extend is not None:
        extended = rules.extend(file.rules)
        if isinstance(extended, list):
            for fault in extended:
                place: Place = ("rules", fault.rule, *fault.field)
                what = f"rule {file.rules[fault.rule].name}: {fault.what}"
                yield fault_at(document, place, what, fault.instead)
            return
        rules = extended
    yield from _rule_faults(file, rules, document)


def _rule_faults(file: PolicyFile, rules: RuleVocabulary, document: Document) -> Iterator[Fault]:
    """Entity types and operators that do not exist: such a rule would silently never match."""
    for policy, sections in file.policies.items():
        for guard, section in sections.items():
            if isinstance(section.settings, RuleSettings):
                place: Place = ("policies", policy, "guards", guard)
                yield from _unknown_rules(section.settings, guard, place, rules, document)


def _unknown_rules(
    settings: RuleSettings, guard: str, place: Place, rules: RuleVocabulary, document: Document
) -> Iterator[Fault]:
    known = sorted(rules.packs.get(guard, ()))
    for index, entity_type in enumerate(settings.entity_types):
        if entity_type not in known:
            what = "is no entity type of this guard"
            yield fault_at(
                document, (*place, "entity_types", index), what, _entity_type(entity_type, known)
            )
    for entity_type, operator in settings.operators.items():
        at: Place = (*place, "operators", entity_type)
        by_model = entity_type in types_of_model(settings)
        if entity_type not in known and not by_model:
            what = "is no entity type of this guard"
            yield fault_at(document, at, what, _entity_type(entity_type, known))
            continue
        looked_for = frozenset({entity_type}) & frozenset(known)
        watch = RuleWatch(pack=guard, entity_types=looked_for, operators={entity_type: operator})
        try:
            rules.check(watch)
        except PolicyError as error:
            yield fault_at(document, at, "is an operator that cannot be used here", str(error))


def _entity_type(name: str, known: Collection[str]) -> str:
    """The names that were probably meant: there are too many to say all."""
    close = [one for one in known if name in one.split("_")] or nearest_few(name, known)
    if not close:
        return "write one of those that `headgate policy types` lists"
    return f"did you mean {' or '.join(close[:NEAREST_MAX])}? `headgate policy types` lists all"


def fault_at(document: Document, place: Place, what: str, instead: str) -> Fault:
    """A fault at a place of the file."""
    return Fault(spot=document.spot_of(place), field=field_of(place), what=what, instead=instead)


def _digest(file: PolicyFile) -> str:
    content = {
        "tenants": {name: tenant.model_dump() for name, tenant in file.tenants.items()},
        "routes": {name: route.model_dump() for name, route in file.routes.items()},
        "identity": file.identity,
        "policies": file.policies,
        "bodies": {name: bodies.model_dump() for name, bodies in file.bodies.items()},
        "models": {name: model.model_dump() for name, model in file.models.items()},
        "rules": [rule.model_dump() for rule in file.rules],
    }
    canonical = json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _canonical(value: object) -> Tree:
    """Plain values that are the same in every process: sets sorted, mappings by key, enums by value."""
    match value:
        case Enum():
            return _canonical(value.value)
        case None | str() | bool() | int() | float():
            return value
        case Mapping():
            return {str(key): _canonical(item) for key, item in value.items()}
        case frozenset() | set():
            return sorted((_canonical(item) for item in value), key=json.dumps)
        case tuple() | list():
            return [_canonical(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            return {one.name: _canonical(getattr(value, one.name)) for one in dataclasses.fields(value)}
        case _:
            raise TypeError(f"a setting of type {type(value).__qualname__} has no canonical form")
