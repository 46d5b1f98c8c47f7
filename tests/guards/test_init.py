from types import ModuleType

import pytest

from extproc.domain.ports import GuardSpec
from extproc.domain.verdict import Reason, Stage
from extproc.guards import GuardModuleError, collect, guard_specs
from extproc.guards import pii as pii_module


def module(name: str, spec: object = None) -> ModuleType:
    made = ModuleType(name)
    if spec is not None:
        made.GUARD = spec
    return made


def spec(name: str, stage: Stage) -> GuardSpec:
    return GuardSpec(
        name=name,
        stage=stage,
        owasp="LLM01",
        error_reason=Reason.INTERNAL,
        settings=pii_module.Settings,
        build=pii_module.GUARD.build,
    )


def test_every_guard_of_the_package_is_found_in_the_order_of_stages():
    specs = guard_specs()
    assert {"identity", "admission", "schema", "injection", "pii", "secrets"} <= specs.keys()
    order = [(one.stage, one.name) for one in specs.values()]
    assert order == sorted(order)
    assert all(name == one.name for name, one in specs.items())


def test_guards_are_ordered_by_stage_then_name_whatever_the_modules_are_called():
    modules = [
        module("a", spec("zeta", Stage.INSPECT)),
        module("b", spec("beta", Stage.INSPECT)),
        module("c", spec("omega", Stage.IDENTITY)),
    ]
    assert list(collect(modules)) == ["omega", "beta", "zeta"]


def test_a_module_without_a_guard_is_an_error():
    with pytest.raises(GuardModuleError, match="somewhere exports no GUARD"):
        collect([module("somewhere")])


def test_a_guard_that_is_no_spec_is_an_error():
    with pytest.raises(GuardModuleError, match="somewhere exports no GUARD"):
        collect([module("somewhere", object())])


def test_two_guards_of_one_name_are_an_error():
    with pytest.raises(GuardModuleError, match="b: a guard named twin exists already"):
        collect([module("a", spec("twin", Stage.BUDGET)), module("b", spec("twin", Stage.SCHEMA))])
