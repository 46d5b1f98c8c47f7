"""The demo's callers: API keys made at run time, and the policy file that knows them by their hashes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from string import Template
from typing import TYPE_CHECKING, Final

from extproc.policy.keys import hash_key, new_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PEPPER_BYTES: Final = 32
_OWNER_ONLY: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a run of the filter needs to know its callers.

    ``keys`` maps a tenant to its API key. It is the only place where the keys are.
    """

    pepper_file: Path
    policy_file: Path
    keys: Mapping[str, str] = field(repr=False)


def issue(state: Path, *, template: str, tenants: tuple[str, ...]) -> Credentials:
    """Make a pepper and a key per tenant; write the pepper's and the policy's file.

    Args:
        state: Where the files go.
        template: A policy file in which ``${ACME_HASH}`` stands for the hash of tenant ``acme``'s key.
        tenants: Whose keys to make, in lower case.

    Raises:
        KeyError: the template names another placeholder.
    """
    state.mkdir(parents=True, exist_ok=True)
    pepper = secrets.token_hex(_PEPPER_BYTES)
    keys = {tenant: new_key()[0] for tenant in tenants}
    hashes = {f"{tenant.upper()}_HASH": hash_key(pepper.encode(), key) for tenant, key in keys.items()}
    pepper_file = state / "pepper"
    pepper_file.touch(mode=_OWNER_ONLY)
    pepper_file.chmod(_OWNER_ONLY)
    pepper_file.write_text(pepper)
    policy_file = state / "policy.yaml"
    policy_file.write_text(Template(template).substitute(hashes))
    return Credentials(pepper_file=pepper_file, policy_file=policy_file, keys=keys)
