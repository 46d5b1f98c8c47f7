"""Joins policy files to guards and redaction: loads, checks, describes and builds them."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extproc.domain.bodies import Keep, withhold
from extproc.domain.errors import HeadgateError, PolicyError
from extproc.domain.limits import LIMITS
from extproc.domain.scanning import RuleWatch
from extproc.domain.verdict import Mode
from extproc.edge.sealing import can_seal_to
from extproc.guards import guard_specs
from extproc.guards._rules import OnFinding, RuleGuard
from extproc.guards.moderation import Settings as ModerationSettings
from extproc.own_rules import automaton_of, own_automaton, rule_faults
from extproc.policy.describe import pipeline_text, summary_text
from extproc.policy.envoy_routes import check_routes, routes_of
from extproc.policy.faults import nearest, policy_error
from extproc.policy.keys import hash_key
from extproc.policy.loading import (
    LoadedPolicy,
    ModelledSettings,
    RuleFault,
    RuleVocabulary,
    fault_at,
    load_policy,
    parse_content,
)
from extproc.policy.schema import schema_text
from extproc.policy.snapshot import RoutedPolicy, build_policy
from extproc.redaction.engine import ScanOverflowError
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from extproc.domain.ports import BoundGuard
    from extproc.policy.model import RuleEntry
    from extproc.policy.tree import Place

# The models that find names and addresses in answers. None is shipped.
SPAN_MODELS: frozenset[str] = frozenset()
# Plans that are made in advance; what a larger policy has besides is made when it is asked for.
_PREPARED_MAX: Final = LIMITS.prefilters_max
_HASH_LABEL: Final = "operator:hash"
# One redaction is mostly enough, since what takes a finding's place is none; a text that needs more than so
# many is not kept.
_REDACTIONS_MAX: Final = 4
# Rule sets that are at hand: the shipped one, and those of the policy file and of the one before.
_SETS_MAX: Final = 3


@lru_cache(maxsize=_SETS_MAX)
def _vocabulary(entries: tuple[RuleEntry, ...] = ()) -> RuleVocabulary:
    """What a policy may say of rules: of the shipped ones and of the file's own.

    It has an automaton of its own, because one must not be shared between threads and a policy may be
    loaded while streams are scanned. Only one thread loads at a time.
    """
    automaton = own_automaton(entries)
    redactor = Redactor(automaton, hash_key=b"")
    packs: dict[str, set[str]] = {}
    for rule in automaton.rules:
        packs.setdefault(rule.pack, set()).add(rule.entity_type)
    return RuleVocabulary(
        packs={pack: frozenset(types) for pack, types in packs.items()},
        check=redactor.check,
        extend=_extended,
    )


def _extended(entries: tuple[RuleEntry, ...]) -> RuleVocabulary | list[RuleFault]:
    return rule_faults(entries) or _vocabulary(entries)


def load(path: Path, *, source: str | None = None) -> LoadedPolicy:
    """Read and check a policy file. Raises PolicyError, one line per fault, which calls it ``source``."""
    return load_policy(path, guard_specs(), _vocabulary(), source=source)


def new_redactor(pepper: bytes, own: tuple[RuleEntry, ...] = ()) -> Redactor:
    """The shipped rules and a file's own with the key of their ``hash`` operator."""
    # A key of its own, so that a redacted value's hash cannot be looked up among API keys' hashes.
    return Redactor(automaton_of(own), hash_key=bytes.fromhex(hash_key(pepper, _HASH_LABEL)))


def build(loaded: LoadedPolicy, redactor: Redactor, pepper: bytes) -> RoutedPolicy:
    """A checked policy as streams use it."""
    return build_policy(
        loaded,
        guard_specs(),
        key_hash=partial(hash_key, pepper),
        find=redactor.find,
        scanner=redactor,
        redact=partial(redact_all, own=loaded.file.rules),
    )


@lru_cache(maxsize=_SETS_MAX)
def _body_redactor(own: tuple[RuleEntry, ...] = ()) -> Redactor:
    """The rules as they are applied to what is kept: in a thread, and so with an automaton, of its own."""
    return Redactor(own_automaton(own), hash_key=b"")


def redact_all(text: str, *, own: tuple[RuleEntry, ...] = ()) -> str:
    """A text in which no rule finds anything but what a rule put there; empty where that cannot be had.

    Only one thread at a time may call it. ``own`` are the rules of the policy file.
    """
    redactor = _body_redactor(own)
    # By name, so that shapes count too that by default do not.
    packs = _vocabulary(own).packs
    watches = [RuleWatch(pack=pack, entity_types=types) for pack, types in sorted(packs.items())]
    with suppress(ScanOverflowError):
        for _ in range(_REDACTIONS_MAX):
            scan = redactor(watches).feed(text, eof=True)
            if scan.released == text:
                return text
            text = scan.released
    return withhold(text)


def loader(
    source: str,
    read_pepper: Callable[[], bytes],
    *,
    keeps_bodies: bool = False,
    heads: frozenset[str] | None = None,
) -> Callable[[bytes], RoutedPolicy]:
    """What turns a file's content into the policy that streams use; it raises PolicyError.

    ``source`` is the file's name for messages. ``read_pepper`` is asked at every load, because a new pepper
    and the hashes made with it belong together: write both within ``policy_poll_ms``. Without
    ``keeps_bodies`` there is no folder for bodies, and a policy that keeps any does not load. Nor does one
    that asks a model for another head than these; None where it is not known which there are. One
    thread at a time may call it, beside those that serve.
    """
    # The last one: its plans are made, and a policy mostly changes without its pepper.
    redactors: dict[tuple[bytes, tuple[RuleEntry, ...]], Redactor] = {}

    def load_content(content: bytes) -> RoutedPolicy:
        loaded = parse_content(content, guard_specs(), _vocabulary(), source=source)
        check_bodies(loaded, keeps_bodies=keeps_bodies)
        check_models(loaded)
        if heads is not None:
            check_heads(loaded, heads)
        try:
            pepper = read_pepper()
        except HeadgateError as error:
            raise PolicyError(str(error)) from None
        key = (pepper, loaded.file.rules)
        if key not in redactors:
            redactors.clear()
            redactors[key] = new_redactor(*key)
        policy = build(loaded, redactors[key], pepper)
        prepare(policy)
        return policy

    return load_content


def prepare(policy: RoutedPolicy) -> None:
    """Make the plans that its streams will ask for.

    One takes up to a second of CPU, in which no stream could move: so it is made before the first one asks.
    A plan is a reading of the rules, so that any thread may make it, beside those that serve.
    """
    wanted: dict[object, tuple[RuleWatch, ...]] = {}
    for snapshot in (policy.unrouted, *policy.routes.values()):
        for guards in snapshot.pipelines.values():
            wanted |= {_key_of(watches): watches for watches in _watches_of(guards)}
    for watches in tuple(wanted.values())[:_PREPARED_MAX]:
        policy.unrouted.scanner(watches)


def _watches_of(guards: tuple[BoundGuard, ...]) -> Iterator[tuple[RuleWatch, ...]]:
    """What one pipeline has scanned together: requests by each guard alone, answers by all of a mode."""
    ruled = [(one.mode, one.guard) for one in guards if isinstance(one.guard, RuleGuard)]
    for mode, guard in ruled:
        if mode is not Mode.OFF and guard.request is not OnFinding.ALLOW:
            yield (guard.watch,)
    for shared in (Mode.ENFORCE, Mode.SHADOW):
        chosen = [guard for mode, guard in ruled if mode is shared]
        answered = [guard for guard in chosen if guard.answer is not OnFinding.ALLOW]
        if answered:
            yield tuple(guard.watch for guard in answered)


def _key_of(watches: tuple[RuleWatch, ...]) -> object:
    return tuple((one.pack, one.entity_types, tuple(sorted(one.operators.items()))) for one in watches)


def check_bodies(loaded: LoadedPolicy, *, keeps_bodies: bool) -> None:
    """Whether what a policy wants kept can be.

    Raises:
        PolicyError: there is no folder for it, or a key that nothing can be sealed to.
    """
    faults = []
    for policy, bodies in loaded.file.bodies.items():
        place: Place = ("policies", policy, "bodies")
        if bodies.keep is not Keep.NEVER and not keeps_bodies:
            what = "wants bodies kept, and this service was given no folder for them"
            instead = "start it with `--bodies DIR`, or write `keep: never`"
            faults.append(fault_at(loaded.document, (*place, "keep"), what, instead))
        if bodies.keep is Keep.SEALED and not can_seal_to(bodies.reviewer_key):
            what = "is a key that nothing can be sealed to"
            instead = "make one with `headgate bodies new-key FILE`"
            faults.append(fault_at(loaded.document, (*place, "reviewer_key"), what, instead))
    if faults:
        raise policy_error(loaded.source, faults)


def check_heads(loaded: LoadedPolicy, heads: frozenset[str]) -> None:
    """Whether there is what a policy asks a model for: without, all that is judged would be refused.

    Raises:
        PolicyError: there is not.
    """
    faults = []
    for policy, sections in loaded.file.policies.items():
        for guard, section in sections.items():
            settings = section.settings
            if not isinstance(settings, ModerationSettings) or section.mode is Mode.OFF:
                continue
            if settings.head and settings.head not in heads:
                what = "is no head of a model that runs here"
                instead = f"{nearest(settings.head, sorted(heads))} (or give its model by --judge-model)"
                place: Place = ("policies", policy, "guards", guard, "head")
                faults.append(fault_at(loaded.document, place, what, instead))
    if faults:
        raise policy_error(loaded.source, faults)


def check_models(loaded: LoadedPolicy) -> None:
    """Whether the service has the models that a policy wants to read answers.

    Raises:
        PolicyError: it has not.
    """
    has = ", ".join(sorted(SPAN_MODELS)) or "none"
    faults = [
        fault_at(
            loaded.document,
            ("policies", policy, "guards", guard, "model"),
            "names a model that this service does not have",
            f"take the model out, or name one that it has ({has})",
        )
        for policy, sections in loaded.file.policies.items()
        for guard, section in sections.items()
        if isinstance(section.settings, ModelledSettings)
        and section.settings.model.name not in {"", *SPAN_MODELS}
    ]
    if faults:
        raise policy_error(loaded.source, faults)


def default_policy() -> Path:
    """The shipped policy."""
    return Path(str(files("extproc.policy") / "default.yaml"))


def check_policy(path: Path, envoy: Path | None = None) -> str:
    """What a policy holds, if it can be loaded and its routes are those of an Envoy configuration.

    Raises:
        PolicyError: one line per fault.
    """
    # The whole path: by it editors find the line.
    loaded = load(path, source=str(path))
    check_bodies(loaded, keeps_bodies=True)
    check_models(loaded)
    if envoy is not None:
        check_routes(loaded, routes_of(envoy))
    return summary_text(loaded, guard_specs())


def describe_pipeline(path: Path | None) -> str:
    """The guards in the order in which they run, with each policy's modes.

    Raises:
        PolicyError: the file cannot be loaded.
    """
    return pipeline_text(load(path or default_policy()), guard_specs())


def entity_types() -> str:
    """The entity types that the shipped rules find, one a line, with their guard."""
    rules = default_automaton().rules
    asked = {one.entity_type for one in rules} - {one.entity_type for one in rules if one.default}
    rows = sorted({(one.pack, one.entity_type) for one in rules})
    return "".join(
        f"{pack:8}{name}{'  (where a policy names it)' if name in asked else ''}\n" for pack, name in rows
    )


def policy_schema() -> str:
    """The policy file's JSON Schema."""
    return schema_text(guard_specs(), _vocabulary())
