"""The shipped policy files: what a new operator begins with, and the demo's."""

import dataclasses
import json
import re
from importlib.resources import files
from pathlib import Path
from string import Template

import pytest
import yaml

from extproc.domain.bodies import Keep
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Mode, OnError
from extproc.guards import guard_specs
from extproc.own_rules import rule_faults
from extproc.policy.loading import _canonical
from extproc.policy.model import BodiesEntry, RuleEntry

DEFAULT = (files("extproc.policy") / "default.yaml").read_text(encoding="utf-8")
DEMO = (files("extproc.demo") / "policy.yaml").read_text(encoding="utf-8")
README = Path(__file__).parents[2] / "README.md"
WRITTEN = yaml.safe_load(DEFAULT)
SPECS = guard_specs()
HASHES = {"ACME_HASH": "0a" * 32, "TINY_HASH": "0b" * 32}


def written(name):
    guards = WRITTEN["policies"]["default"]["guards"]
    return guards[name] if name in guards else {**WRITTEN[name], "mode": "enforce", "on_error": "block"}


@pytest.mark.parametrize("name", SPECS)
def test_every_setting_is_written_out_with_its_default(name):
    fields = {one.name for one in dataclasses.fields(SPECS[name].settings)}
    assert set(written(name)) == fields | {"mode", "on_error"}


def test_what_is_written_out_is_what_runs_when_it_is_left_out(policies):
    sections = policies.parse(DEFAULT).file.policies["default"]
    assert list(sections) == list(WRITTEN["policies"]["default"]["guards"])
    for name, section in sections.items():
        assert (section.mode, section.on_error) == (SPECS[name].mode, OnError.BLOCK)
        assert _canonical(section.settings) == _canonical(SPECS[name].settings())


def test_nothing_is_kept_until_an_operator_says_so(policies):
    bodies = policies.parse(DEFAULT).file.bodies["default"]
    assert bodies == BodiesEntry()
    assert bodies.keep is Keep.NEVER
    assert set(WRITTEN["policies"]["default"]["bodies"]) == set(BodiesEntry.model_fields) - {"reviewer_key"}


JUDGES = {"links", "moderation", "output_schema", "prompt_leak", "tool_policy"}


def test_only_judges_that_nobody_wants_unasked_are_off_until_an_operator_says_so():
    assert {name: spec.mode for name, spec in SPECS.items()} == {
        name: Mode.OFF if name in JUDGES else Mode.ENFORCE for name in SPECS
    }


def test_nobody_may_call_and_nothing_may_be_asked_until_an_operator_says_so(policies):
    file = policies.parse(DEFAULT).file
    assert file.tenants == {}
    assert file.policies["default"]["schema"].settings.models == ()


def test_the_rule_that_is_shown_says_every_field_with_its_default_and_checks():
    shown = re.search(r"(?m)^# rules:\n(?:#.*\n)+", DEFAULT)[0].replace("# ", "", 1).replace("\n# ", "\n")
    (rule,) = yaml.safe_load(shown)["rules"]
    assert set(rule) == set(RuleEntry.model_fields)
    defaults = {
        name: field.default for name, field in RuleEntry.model_fields.items() if not field.is_required()
    }
    assert {name: rule[name] for name in defaults} == defaults
    assert rule_faults((RuleEntry.model_validate_json(json.dumps(rule)),)) == []


def test_the_words_of_a_phrase_are_as_many_as_it_says():
    assert f"up to {LIMITS.phrase_words_max} words each" in DEFAULT


def test_editors_find_the_schema_beside_it():
    first = DEFAULT.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (files("extproc.policy") / first.partition("$schema=")[2]).is_file()


def test_the_demos_policy_checks_once_its_keys_are_filled_in(policies):
    loaded = policies.parse(Template(DEMO).substitute(HASHES))
    assert {tenant.keys[0].hash for tenant in loaded.file.tenants.values()} == set(HASHES.values())
    assert all(
        section.mode is SPECS[name].mode
        for policy in loaded.file.policies.values()
        for name, section in policy.items()
    )


def test_the_demos_policy_without_keys_does_not_check_and_says_where(policies):
    assert "tenants.acme.keys[0].hash: is not a key's hash" in policies.faults(DEMO)


def test_the_readme_s_policy_checks_as_it_stands(policies):
    (text,) = re.findall(r"```yaml\n(version: 1\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert set(policies.parse(text).file.tenants) == {"acme"}
