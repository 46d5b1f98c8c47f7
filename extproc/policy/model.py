"""The shape of a policy file. Guards bring the shape of their own settings; nothing here knows one by name.

Version 1::

    version: 1
    identity: {...}                   # settings of the guards of stage IDENTITY, by their names
    tenants:
      NAME: {policy: NAME, keys: [{id: NAME, hash: HEX}, ...]}
    routes:                           # of Envoy; left out, every route has the tenant's policy
      NAME: {policy: NAME, tenants: {TENANT: NAME, ...}}
    rules: [{name: NAME, entity_type: TYPE, pattern: ..., matches: [...], rejects: [...]}, ...]
    policies:
      NAME: {guards: {GUARD: {mode: enforce, on_error: block, ...}, ...}, bodies: {keep: never, ...}}

On a route its word for the tenant counts first, then its word for all, then the tenant's own policy. A
guard that a policy leaves out runs with its default settings and is enforced: forgetting one never switches
it off. Those that nobody can want unasked (``GuardSpec.mode``) are off until a policy says otherwise.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model, model_validator
from pydantic.config import JsonDict

from extproc.domain.bodies import Keep
from extproc.domain.limits import LIMITS
from extproc.domain.ports import GuardSpec
from extproc.domain.segment import Backend
from extproc.domain.verdict import Mode, OnError, Stage
from extproc.policy.schema_nodes import below, resolved

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,39}$"
HASH_PATTERN: Final = r"^[0-9a-f]{64}$"
ENTITY_TYPE_PATTERN: Final = r"^[A-Z][A-Z0-9_]{1,47}$"
REVIEWER_KEY_PATTERN: Final = r"^hgpub_[0-9a-f]{64}$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
# A model's name as it stands in a path, or in OpenAI's `model`.
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
KeyHash = Annotated[str, StringConstraints(pattern=HASH_PATTERN)]
_M = TypeVar("_M", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )


_ADMIN: Final = (
    "Whether this key may use Triton's administration (model repository, statistics, trace and log "
    "settings), where Envoy's routes let it through at all."
)


class KeyEntry(_Strict):
    """One API key of a tenant. ``hash`` is its HMAC-SHA-256 under the service's pepper, in hex."""

    id: Name
    hash: KeyHash = Field(repr=False)
    admin: bool = Field(default=False, description=_ADMIN)


class TenantEntry(_Strict):
    """Whose keys they are, and which policy holds for them."""

    policy: Name
    keys: tuple[KeyEntry, ...] = ()


def _without_default(schema: JsonDict) -> None:
    """Take out a default that is no value of the file's: it stands for a field that was left out."""
    schema.pop("default")


_ROUTES: Final = (
    "Which policy holds on which of Envoy's routes, by the name that its configuration gives them. "
    "One that Envoy names and this file does not is refused."
)


class RouteEntry(_Strict):
    """Which policies hold on one of Envoy's routes; where it says nothing, the tenant's own does.

    ``policy`` is empty where it was left out; ``tenants`` maps a tenant to its policy on this route.
    """

    policy: Name = Field(default="", json_schema_extra=_without_default)
    tenants: Mapping[Name, Name] = Field(default_factory=dict)


_REVIEWER_KEY: Final = "Where bodies are sealed: the public key that `headgate bodies new-key FILE` prints."


class BodiesEntry(_Strict):
    """What a policy keeps of prompts and answers; ``reviewer_key`` is empty where it was left out."""

    keep: Keep = Keep.NEVER
    actions: tuple[Literal["allow", "redact", "block"], ...] = ("redact", "block")
    reviewer_key: Annotated[str, StringConstraints(pattern=REVIEWER_KEY_PATTERN)] = Field(
        default="", json_schema_extra=_without_default, description=_REVIEWER_KEY
    )
    lifetime_days: Annotated[int, Field(ge=1, le=LIMITS.sample_lifetime_days_max)] = 7
    required: bool = False


_MODELS: Final = "What is true of models, by name; of one that is not here the defaults hold."
_BACKEND: Final = (
    "The request schema that the model speaks behind Triton: where its limit of output tokens and its "
    "counts stand. none: it honours no limit and counts nothing (embeddings, classifiers)."
)


_PRICE: Final = (
    "What a million of its tokens cost in US dollars: makes costs appear in metrics and verdicts."
)
_Dollars = Annotated[float, Field(ge=0, le=LIMITS.price_usd_max)]


class PriceEntry(_Strict):
    """A price of tokens, in US dollars for a million."""

    input: _Dollars
    output: _Dollars


class ModelEntry(_Strict):
    """What is true of one model, whoever asks it; ``price`` is None where it was left out."""

    backend: Backend = Field(default=Backend.VLLM, description=_BACKEND)
    price: PriceEntry | None = Field(default=None, description=_PRICE, json_schema_extra=_without_default)


_RULES: Final = (
    "Shapes of your own, beside those of the packs. Each says what it must find and what it must not, "
    "which is checked whenever the file is read."
)
_PATTERN: Final = (
    "What is found: literals, escapes, classes, groups, |, ?, *, +, {m,n}. No look-around, "
    "back-references, anchors or lazy repeats."
)
_BESIDE: Final = "What must not stand there: a word character, a digit and so on; none is anything."
Beside = Literal[
    "none",
    "word",
    "not_word",
    "not_digit",
    "not_dashed",
    "not_dotted",
    "not_local",
    "not_host",
    "not_grouped",
    "not_addressed",
]
_Example = Annotated[str, StringConstraints(min_length=1, max_length=LIMITS.rule_example_chars_max)]


class RuleEntry(_Strict):
    """A rule of the operator's own; ``validator`` is empty where it was left out."""

    name: Name
    entity_type: Annotated[str, StringConstraints(pattern=ENTITY_TYPE_PATTERN)] = Field(
        description="What policies and verdicts call it; one of the pack's, or a new one."
    )
    pack: Name = Field(default="pii", description="The guard that looks for it: pii or secrets.")
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=LIMITS.rule_pattern_chars_max)] = (
        Field(description=_PATTERN)
    )
    naming: Annotated[str, StringConstraints(max_length=LIMITS.rule_pattern_chars_max)] = Field(
        default="",
        json_schema_extra=_without_default,
        description="What must stand directly before it and stays, such as a word: a pattern too.",
    )
    left: Beside = Field(default="not_word", description=_BESIDE)
    right: Beside = Field(default="not_word", description=_BESIDE)
    validator: str = Field(
        default="",
        json_schema_extra=_without_default,
        description="A check of the value, for example luhn; see the packs.",
    )
    score: Annotated[float, Field(gt=0, le=1)] = 1.0
    ignore_case: bool = False
    default: bool = Field(default=True, description="false: it counts only where its type is named.")
    matches: Annotated[tuple[_Example, ...], Field(min_length=1)] = Field(
        description="Texts in which it must find something."
    )
    rejects: Annotated[tuple[_Example, ...], Field(min_length=1)] = Field(
        description="Texts in which it must find nothing."
    )


class _Section(_Strict):
    """Base of a guard's section: what every guard has."""

    mode: Mode = Mode.ENFORCE
    on_error: OnError = OnError.BLOCK


class _OffSection(_Section):
    """The same for a guard that judges nothing until a policy gives it a mode."""

    mode: Mode = Mode.OFF


_SECTIONS: Final = {Mode.ENFORCE: _Section, Mode.OFF: _OffSection}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSection:
    """How one policy uses one guard. ``settings`` is an instance of the guard's own settings type."""

    mode: Mode
    on_error: OnError
    settings: object


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """A policy file that holds what it must; every guard has its section, written or default.

    ``identity`` maps the guards of stage IDENTITY to their settings: they run before the tenant, and so
    its policy, is known. ``policies`` maps a policy's name to its sections by guard, ``bodies`` to what it
    keeps. ``routes`` is empty where the file has none, and then all routes are alike. ``models`` maps the
    name of a model to what is true of it. ``rules`` are the operator's own.
    """

    tenants: Mapping[str, TenantEntry]
    routes: Mapping[str, RouteEntry]
    identity: Mapping[str, object]
    policies: Mapping[str, Mapping[str, GuardSection]]
    bodies: Mapping[str, BodiesEntry]
    models: Mapping[str, ModelEntry] = dataclasses.field(default_factory=dict)
    rules: tuple[RuleEntry, ...] = ()

    def policy_of(self, tenant: str, route: str | None) -> str:
        """The policy that holds for a tenant on a route; None is a request without a route's name.

        Raises:
            KeyError: the file does not hold that tenant, or that route.
        """
        own = self.tenants[tenant].policy
        if route is None or not self.routes:
            return own
        entry = self.routes[route]
        return entry.tenants.get(tenant) or entry.policy or own


# Field names carry this prefix and the file's names are their aliases, so that a guard or a setting may be
# called as it likes ("schema" is an attribute of BaseModel).
_PREFIX: Final = "f_"


@dataclass(frozen=True, slots=True)
class PolicyModel:
    """The pydantic model of a file for a given set of guards: made once, since making it is slow."""

    specs: Mapping[str, GuardSpec]
    model: type[BaseModel]

    def validate_json(self, text: str) -> PolicyFile:
        """Read a file's values.

        Args:
            text: The values as JSON, in which pydantic's strict mode takes arrays for tuples.

        Raises:
            pydantic.ValidationError: They are not what they must be; places are in the file's names.
        """
        file = self.model.model_validate_json(text)
        policies: Mapping[str, BaseModel] = getattr(file, f"{_PREFIX}policies")
        return PolicyFile(
            tenants=getattr(file, f"{_PREFIX}tenants"),
            routes=getattr(file, f"{_PREFIX}routes"),
            identity={
                name: _settings(spec, getattr(file, _PREFIX + name))
                for name, spec in self.specs.items()
                if spec.stage is Stage.IDENTITY
            },
            policies={name: self._sections(policy) for name, policy in policies.items()},
            bodies={name: getattr(policy, f"{_PREFIX}bodies") for name, policy in policies.items()},
            models=getattr(file, f"{_PREFIX}models"),
            rules=getattr(file, f"{_PREFIX}rules"),
        )

    def allowed_names(self, place: tuple[str | int, ...]) -> tuple[str, ...]:
        """The field names that the file may use in a mapping; empty where they are the operator's own."""
        schema = self.json_schema()
        node: object = schema
        for step in place:
            node = below(schema, node, step)
        properties = resolved(schema, node).get("properties")
        return tuple(properties) if isinstance(properties, Mapping) else ()

    def json_schema(self) -> dict[str, object]:
        """The file's shape as a JSON Schema (draft 2020-12), as pydantic writes it."""
        schema: dict[str, object] = self.model.model_json_schema()
        return schema

    def _sections(self, policy: BaseModel) -> Mapping[str, GuardSection]:
        guards: BaseModel = getattr(policy, f"{_PREFIX}guards")
        sections: dict[str, GuardSection] = {}
        for name, spec in self.specs.items():
            if spec.stage is Stage.IDENTITY:
                continue
            section = getattr(guards, _PREFIX + name)
            sections[name] = GuardSection(
                mode=section.mode, on_error=section.on_error, settings=_settings(spec, section)
            )
        return sections


def policy_model(specs: Mapping[str, GuardSpec]) -> PolicyModel:
    """The model of a policy file in which these guards may be configured."""
    guards = {
        name: (section, Field(default_factory=section, alias=name))
        for name, spec in specs.items()
        if spec.stage is not Stage.IDENTITY
        for section in (_section_model(spec, _SECTIONS[spec.mode]),)
    }
    identity = {
        name: (section, Field(default_factory=section, alias=name))
        for name, spec in specs.items()
        if spec.stage is Stage.IDENTITY
        for section in (_section_model(spec, _Strict),)
    }
    guards_model = _model("Guards", _Strict, guards)
    policy = _model(
        "Policy",
        _Strict,
        {
            "guards": (guards_model, Field(default_factory=guards_model, alias="guards")),
            "bodies": (BodiesEntry, Field(default_factory=BodiesEntry, alias="bodies")),
        },
    )
    top = {
        "version": (Literal[1], Field(alias="version")),
        "tenants": (Mapping[Name, TenantEntry], Field(default_factory=dict, alias="tenants")),
        # One that is empty would refuse every route, which nobody can mean.
        "routes": (
            Mapping[Name, RouteEntry],
            Field(default_factory=dict, min_length=1, alias="routes", description=_ROUTES),
        ),
        "models": (
            Mapping[ModelName, ModelEntry],
            Field(default_factory=dict, alias="models", description=_MODELS),
        ),
        "rules": (
            tuple[RuleEntry, ...],
            Field(default=(), max_length=LIMITS.policy_rules_max, alias="rules", description=_RULES),
        ),
        "policies": (Mapping[Name, policy], Field(alias="policies")),  # type: ignore[valid-type]  # made at run time
    }
    return PolicyModel(specs, _model("Headgate policy", _Strict, {**identity, **top}))


def _section_model(spec: GuardSpec, base: type[BaseModel]) -> type[BaseModel]:
    """A guard's section: the fields of its settings beside those of every guard."""
    if not dataclasses.is_dataclass(spec.settings):
        raise TypeError(f"the settings of guard {spec.name} are no dataclass")
    hints = get_type_hints(spec.settings, include_extras=True)
    fields: dict[str, tuple[object, object]] = {}
    for one in dataclasses.fields(spec.settings):
        if one.name in base.model_fields:
            raise TypeError(f"guard {spec.name}: the setting {one.name} is every guard's already")
        fields[one.name] = (hints[one.name], _default(one))

    def settings_agree(section: _M) -> _M:
        # The settings may check in __post_init__ what one field alone cannot say.
        _settings(spec, section)
        return section

    return _model(f"{spec.name} guard", base, fields, settings_agree)


def _default(one: dataclasses.Field[object]) -> object:
    if one.default is not dataclasses.MISSING:
        return Field(default=one.default, alias=one.name)
    if one.default_factory is not dataclasses.MISSING:
        return Field(default_factory=one.default_factory, alias=one.name)
    return Field(alias=one.name)


def _settings(spec: GuardSpec, section: BaseModel) -> object:
    names = [one.name for one in dataclasses.fields(spec.settings)]  # type: ignore[arg-type]  # checked when the model was made
    return spec.settings(**{name: getattr(section, _PREFIX + name) for name in names})


def _model(
    title: str,
    base: type[BaseModel],
    fields: Mapping[str, tuple[object, object]],
    check: Callable[[BaseModel], BaseModel] | None = None,
) -> type[BaseModel]:
    prefixed = {_PREFIX + name: definition for name, definition in fields.items()}
    validators = {} if check is None else {"check": model_validator(mode="after")(check)}
    made: type[BaseModel] = create_model(  # type: ignore[call-overload]  # types that exist at run time only
        title, __base__=base, __validators__=validators, **prefixed
    )
    return made
