"""Binds a loaded policy to guards: what a stream begins and ends with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from extproc.domain.bodies import BodyRule, Keep, withhold
from extproc.domain.identity import Principal
from extproc.domain.ports import BoundGuard, GuardEnv, PolicySnapshot
from extproc.domain.prices import ANY_MODEL, Price
from extproc.domain.verdict import Action, Mode, OnError, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from extproc.domain.ports import GuardSpec
    from extproc.domain.scanning import RuleFinder, ScannerFactory
    from extproc.policy.loading import LoadedPolicy
    from extproc.policy.model import BodiesEntry, GuardSection, ModelEntry, PolicyFile

# Identity is judged before a tenant is known.
_NO_TENANT = ""
_PEPPER_LABEL: Final = "policy:pepper-mark"


@runtime_checkable
class NamesModels(Protocol):
    """Settings of a guard that name models."""

    @property
    def models(self) -> Collection[str]:
        """What may be asked, as the policy says it."""

    @property
    def known_models(self) -> frozenset[str]:
        """Model names of the policy's own, which may stand in a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedPolicy:
    """A policy file as streams use it: a snapshot for each of Envoy's routes, all with one digest.

    ``unrouted`` is for a stream whose route has no name. ``routes`` is empty where the file tells no routes
    apart. ``refusing`` has nobody's pipeline, so that it refuses everyone who was identified.
    ``pepper_mark`` tells one pepper from another, and nothing of either. It stays in this process, where
    ``digest`` is published.
    """

    digest: str
    unrouted: PolicySnapshot
    routes: Mapping[str, PolicySnapshot]
    refusing: PolicySnapshot
    pepper_mark: str = field(default="", repr=False)

    @property
    def identity(self) -> tuple[str, str]:
        """Two policies with the same one treat every request alike."""
        return self.digest, self.pepper_mark

    def on(self, names: Sequence[str]) -> PolicySnapshot:
        """The snapshot for a stream.

        Args:
            names: The route as Envoy named it: once, or not at all. Several are none: Envoy 1.40 sends one,
                whatever its configuration repeats, so that another one came in on the way.
        """
        match tuple(names):
            case ():
                return self.unrouted
            case (name,):
                # What the operator forgot in a file that tells routes apart is closed, not open to all.
                return self.routes.get(name, self.refusing) if self.routes else self.unrouted
            case _:
                return self.refusing


def build_policy(  # noqa: PLR0913 - the composition root names each part once.
    loaded: LoadedPolicy,
    specs: Mapping[str, GuardSpec],
    *,
    key_hash: Callable[[str], str],
    find: RuleFinder,
    scanner: ScannerFactory,
    redact: Callable[[str], str] = withhold,
) -> RoutedPolicy:
    """The policy as streams use it.

    Args:
        loaded: The policy, checked against the same ``specs``.
        specs: The guards, in the order in which they run.
        key_hash: The keyed hash under which the file holds API keys.
        find: Applies rules to a whole text.
        scanner: Makes scanners for the answer.
        redact: Applies every rule to a whole text that is to be kept.
    """
    file = loaded.file
    keyring = MappingProxyType(_keyring(file))
    # Routes share what they have in common: a tenant has one pipeline for each policy.
    made: dict[tuple[str, str], tuple[BoundGuard, ...]] = {}

    def env(tenant: str) -> GuardEnv:
        return GuardEnv(keyring=keyring, key_hash=key_hash, find=find, tenant=tenant)

    def pipeline(tenant: str, route: str | None) -> tuple[BoundGuard, ...]:
        key = (tenant, file.policy_of(tenant, route))
        if key not in made:
            made[key] = _pipeline(file.policies[key[1]], specs, env(tenant))
        return made[key]

    refusing = PolicySnapshot(
        digest=loaded.digest,
        identity=tuple(
            _bound(spec, file.identity[name], env(_NO_TENANT), Mode.ENFORCE, OnError.BLOCK)
            for name, spec in specs.items()
            if spec.stage is Stage.IDENTITY
        ),
        pipelines=MappingProxyType({}),
        known_models=known_models(file),
        scanner=scanner,
        backends=MappingProxyType({name: model.backend for name, model in file.models.items()}),
        prices=MappingProxyType({name: _price(model) for name, model in file.models.items()}),
    )

    kept_by = {
        name: _body_rule(bodies, redact)
        for name, bodies in file.bodies.items()
        if bodies.keep is not Keep.NEVER
    }

    def snapshot(route: str | None) -> PolicySnapshot:
        pipelines = {tenant: pipeline(tenant, route) for tenant in file.tenants}
        policy_of = {tenant: file.policy_of(tenant, route) for tenant in file.tenants}
        kept = {tenant: kept_by[name] for tenant, name in policy_of.items() if name in kept_by}
        return replace(
            refusing,
            pipelines=MappingProxyType(pipelines),
            bodies=MappingProxyType(kept),
            route=route or "",
        )

    return RoutedPolicy(
        digest=loaded.digest,
        unrouted=snapshot(None),
        routes=MappingProxyType({route: snapshot(route) for route in file.routes}),
        refusing=refusing,
        # No API key has a colon in it.
        pepper_mark=key_hash(_PEPPER_LABEL),
    )


def _price(model: ModelEntry) -> Price | None:
    price = model.price
    return None if price is None else Price(input=price.input, output=price.output)


def _body_rule(bodies: BodiesEntry, redact: Callable[[str], str]) -> BodyRule:
    return BodyRule(
        keep=bodies.keep,
        actions=frozenset(Action[name.upper()] for name in bodies.actions),
        lifetime_days=bodies.lifetime_days,
        reviewer_key=bodies.reviewer_key,
        required=bodies.required,
        redact=redact,
    )


def _pipeline(
    sections: Mapping[str, GuardSection], specs: Mapping[str, GuardSpec], env: GuardEnv
) -> tuple[BoundGuard, ...]:
    # A guard without its section is a KeyError, never a guard that is not there.
    return tuple(
        _bound(spec, sections[name].settings, env, sections[name].mode, sections[name].on_error)
        for name, spec in specs.items()
        if spec.stage is not Stage.IDENTITY
    )


def _bound(spec: GuardSpec, settings: object, env: GuardEnv, mode: Mode, on_error: OnError) -> BoundGuard:
    return BoundGuard(
        name=spec.name,
        owasp=spec.owasp,
        stage=spec.stage,
        mode=mode,
        on_error=on_error,
        error_reason=spec.error_reason,
        guard=spec.build(settings, env),
    )


def _keyring(file: PolicyFile) -> dict[str, Principal]:
    return {
        key.hash: Principal(tenant=name, key_id=key.id, admin=key.admin)
        for name, tenant in file.tenants.items()
        for key in tenant.keys
    }


def known_models(file: PolicyFile) -> frozenset[str]:
    """The models that a file names, which may stand in a record."""
    names = frozenset(file.models) - {ANY_MODEL}
    for sections in file.policies.values():
        for section in sections.values():
            if isinstance(section.settings, NamesModels):
                names |= section.settings.known_models
    return names
