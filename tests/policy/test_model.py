from dataclasses import dataclass, replace

import pytest

from extproc.domain.ports import GuardSpec
from extproc.domain.verdict import Reason, Stage
from extproc.guards import guard_specs
from extproc.policy.model import policy_model


def spec(settings, name="new", stage=Stage.INSPECT):
    return GuardSpec(
        name=name,
        stage=stage,
        owasp="LLM01",
        error_reason=Reason.INTERNAL,
        settings=settings,
        build=lambda _settings, _env: None,
    )


@dataclass(frozen=True, kw_only=True)
class Ordinary:
    json: str = "a name that pydantic uses itself"
    copy: int = 1


@dataclass(frozen=True, kw_only=True)
class WithMode:
    mode: str = ""


def test_a_guard_and_its_settings_may_have_any_name():
    model = policy_model({"schema": spec(Ordinary, "schema")})
    file = model.validate_json('{"version":1,"policies":{"a":{"guards":{"schema":{"json":"x","copy":2}}}}}')
    assert file.policies["a"]["schema"].settings == Ordinary(json="x", copy=2)


def test_a_setting_that_every_guard_has_is_a_mistake_of_the_build():
    with pytest.raises(TypeError, match="the setting mode is every guard's already"):
        policy_model({"new": spec(WithMode)})


def test_settings_that_are_no_dataclass_are_a_mistake_of_the_build():
    with pytest.raises(TypeError, match="the settings of guard new are no dataclass"):
        policy_model({"new": spec(int)})


def test_names_that_may_stand_in_a_mapping():
    model = policy_model(guard_specs())
    assert {"version", "tenants", "routes", "models", "rules", "policies", "identity"} == set(
        model.allowed_names(())
    )
    assert model.allowed_names(("tenants", "any", "keys", 0)) == ("id", "hash", "admin")
    assert {"mode", "on_error", "threshold"} < set(
        model.allowed_names(("policies", "any", "guards", "injection"))
    )
    assert model.allowed_names(("policies", "any", "guards", "schema", "sampling", "any")) == ("min", "max")
    assert model.allowed_names(("tenants",)) == ()
    assert model.allowed_names(("nothing", "here")) == ()


def test_a_hash_is_not_in_the_repr_of_its_key():
    model = policy_model(guard_specs())
    hexadecimal = "0a" * 32
    file = model.validate_json(
        f'{{"version":1,"policies":{{"a":{{}}}},"tenants":{{"t":{{"policy":"a",'
        f'"keys":[{{"id":"k","hash":"{hexadecimal}"}}]}}}}}}'
    )
    assert file.tenants["t"].keys[0].hash == hexadecimal
    assert hexadecimal not in repr(file)


def test_a_guard_of_stage_identity_is_configured_for_all_policies():
    specs = {"first": spec(Ordinary, "first", Stage.IDENTITY), "second": spec(Ordinary, "second")}
    file = policy_model(specs).validate_json('{"version":1,"first":{"copy":3},"policies":{"a":{}}}')
    assert file.identity == {"first": Ordinary(copy=3)}
    assert set(file.policies["a"]) == {"second"}
    assert replace(file.policies["a"]["second"].settings, copy=1) == Ordinary()
