"""Joins policy files to guards and redaction: loads, checks, describes and builds them."""

from __future__ import annotations

from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extproc.guards import guard_specs
from extproc.policy.describe import pipeline_text, summary_text
from extproc.policy.envoy_routes import check_routes, routes_of
from extproc.policy.keys import hash_key
from extproc.policy.loading import LoadedPolicy, RuleVocabulary, load_policy, parse_content
from extproc.policy.schema import schema_text
from extproc.policy.snapshot import RoutedPolicy, build_policy
from extproc.redaction.automaton import Automaton
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.watches import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

_HASH_LABEL: Final = "operator:hash"


@cache
def _vocabulary() -> RuleVocabulary:
    """What a policy may say of rules.

    It has an automaton of its own, because one must not be shared between threads and a policy may be
    loaded while streams are scanned. Only one thread loads at a time.
    """
    shared = default_automaton()
    redactor = Redactor(Automaton(shared.rules, shared.shapes, shared.digest), hash_key=b"")
    packs: dict[str, set[str]] = {}
    for rule in ALL_RULES:
        packs.setdefault(rule.pack, set()).add(rule.entity_type)
    return RuleVocabulary(
        packs={pack: frozenset(types) for pack, types in packs.items()}, check=redactor.check
    )


def load(path: Path) -> LoadedPolicy:
    """Read and check a policy file. Raises PolicyError, one line per fault."""
    return load_policy(path, guard_specs(), _vocabulary())


def new_redactor(pepper: bytes) -> Redactor:
    """The rules with the key of their ``hash`` operator."""
    # A key of its own, so that a redacted value's hash cannot be looked up among API keys' hashes.
    return Redactor(default_automaton(), hash_key=bytes.fromhex(hash_key(pepper, _HASH_LABEL)))


def build(loaded: LoadedPolicy, redactor: Redactor, pepper: bytes) -> RoutedPolicy:
    """A checked policy as streams use it."""
    return build_policy(
        loaded,
        guard_specs(),
        key_hash=partial(hash_key, pepper),
        find=redactor.find,
        scanner=redactor,
    )


def loader(source: str, redactor: Redactor, pepper: bytes) -> Callable[[bytes], RoutedPolicy]:
    """What turns a file's content into the policy that streams use; it raises PolicyError.

    ``source`` is the file's name for messages. One thread at a time may call it, beside those that serve.
    """

    def load_content(content: bytes) -> RoutedPolicy:
        loaded = parse_content(content, guard_specs(), _vocabulary(), source=source)
        return build(loaded, redactor, pepper)

    return load_content


def default_policy() -> Path:
    """The shipped policy."""
    return Path(str(files("extproc.policy") / "default.yaml"))


def check_policy(path: Path, envoy: Path | None = None) -> str:
    """What a policy holds, if it can be loaded and its routes are those of an Envoy configuration.

    Raises:
        PolicyError: one line per fault.
    """
    loaded = load(path)
    if envoy is not None:
        check_routes(loaded, routes_of(envoy))
    return summary_text(loaded, guard_specs())


def describe_pipeline(path: Path | None) -> str:
    """The guards in the order in which they run, with each policy's modes.

    Raises:
        PolicyError: the file cannot be loaded.
    """
    return pipeline_text(load(path or default_policy()), guard_specs())


def policy_schema() -> str:
    """The policy file's JSON Schema."""
    return schema_text(guard_specs(), _vocabulary())
