"""Binds a loaded policy to guards: what a stream begins and ends with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from extproc.domain.identity import Principal
from extproc.domain.ports import BoundGuard, GuardEnv, PolicySnapshot
from extproc.domain.verdict import Mode, OnError, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.domain.ports import GuardSpec, RuleFinder, ScannerFactory
    from extproc.policy.loading import LoadedPolicy
    from extproc.policy.model import GuardSection, PolicyFile

# Identity is judged before a tenant is known.
_NO_TENANT = ""


@runtime_checkable
class NamesModels(Protocol):
    """Settings of a guard that name models."""

    @property
    def known_models(self) -> frozenset[str]:
        """Model names of the policy's own, which may stand in a record."""


def build_snapshot(
    loaded: LoadedPolicy,
    specs: Mapping[str, GuardSpec],
    *,
    key_hash: Callable[[str], str],
    find: RuleFinder,
    scanner: ScannerFactory,
) -> PolicySnapshot:
    """The policy as streams use it.

    Args:
        loaded: The policy, checked against the same ``specs``.
        specs: The guards, in the order in which they run.
        key_hash: The keyed hash under which the file holds API keys.
        find: Applies rules to a whole text.
        scanner: Makes scanners for the answer.
    """
    file = loaded.file
    keyring = MappingProxyType(_keyring(file))

    def env(tenant: str) -> GuardEnv:
        return GuardEnv(keyring=keyring, key_hash=key_hash, find=find, tenant=tenant)

    identity = tuple(
        _bound(spec, file.identity[name], env(_NO_TENANT), Mode.ENFORCE, OnError.BLOCK)
        for name, spec in specs.items()
        if spec.stage is Stage.IDENTITY
    )
    pipelines = {
        tenant: _pipeline(file.policies[entry.policy], specs, env(tenant))
        for tenant, entry in file.tenants.items()
    }
    return PolicySnapshot(
        digest=loaded.digest,
        identity=identity,
        pipelines=MappingProxyType(pipelines),
        known_models=_known_models(file),
        scanner=scanner,
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
        key.hash: Principal(tenant=name, key_id=key.id)
        for name, tenant in file.tenants.items()
        for key in tenant.keys
    }


def _known_models(file: PolicyFile) -> frozenset[str]:
    names: frozenset[str] = frozenset()
    for sections in file.policies.values():
        for section in sections.values():
            if isinstance(section.settings, NamesModels):
                names |= section.settings.known_models
    return names
