"""The published JSON Schema: it is the one of the code, and agrees with the loader."""

import json
import re
from importlib.resources import files
from string import Template

import pytest
from json_schema import faults_of

from extproc.domain.errors import PolicyError
from extproc.policies import load, policy_schema
from extproc.policy.tree import read_tree

PUBLISHED = (files("extproc.policy") / "policy.schema.json").read_text(encoding="utf-8")
SCHEMA = json.loads(PUBLISHED)
HASH = "0a" * 32
SHIPPED = {
    "default": (files("extproc.policy") / "default.yaml").read_text(encoding="utf-8"),
    "demo": Template((files("extproc.demo") / "policy.yaml").read_text(encoding="utf-8")).substitute(
        ACME_HASH=HASH, TINY_HASH=HASH[::-1]
    ),
}
BEGIN = f"version: 1\ntenants: {{acme: {{policy: a, keys: [{{id: k, hash: '{HASH}'}}]}}}}\n"
GOOD = {
    "routes": "routes: {r: {policy: a, tenants: {acme: a}}, s: {}}\npolicies: {a: {}}",
    "rules": "policies: {a: {guards: {pii: {entity_types: [US_SSN], operators: {US_SSN: 'mask:4'}}}}}",
    "sampling": "policies: {a: {guards: {schema: {sampling: {temperature: {max: 1}, seed: {}}}}}}",
    "modes": "policies: {a: {guards: {injection: {mode: off, on_error: allow, threshold: 1}}}}",
    "bodies": f"policies: {{a: {{bodies: {{keep: sealed, reviewer_key: hgpub_{HASH}}}}}}}",
    "prices": "models: {m: {price: {input: 0.15, output: 1}}, '*': {}}\npolicies: {a: {}}",
    "own rules": (
        "rules: [{name: b, entity_type: ACME_BADGE, pattern: 'AC-[0-9]{6}', "
        "matches: [AC-123456], rejects: [AC]}]\n"
        "policies: {a: {guards: {pii: {entity_types: [ACME_BADGE], operators: {ACME_BADGE: 'mask:2'}}}}}"
    ),
    "judges": "policies: {a: {guards: {links: {mode: shadow, hosts: [example.com]}}}}",
    "limits": "policies: {a: {guards: {budget: {limits: [{window: day, tokens: 5}], lease_ms: 200000}}}}",
}
BAD = {
    "no policies": "",
    "an unknown field": "nothing: 1\npolicies: {a: {}}",
    "an unknown guard": "policies: {a: {guards: {piii: {}}}}",
    "an unknown setting": "policies: {a: {guards: {pii: {nothing: 1}}}}",
    "an unknown mode": "policies: {a: {guards: {pii: {mode: enforced}}}}",
    "a truth value for a mode": "policies: {a: {guards: {pii: {mode: true}}}}",
    "a guard that is off without a mode": "policies: {a: {guards: {links: {hosts: [example.com]}}}}",
    "what is no entity type": "policies: {a: {guards: {pii: {entity_types: [email]}}}}",
    "an operator for nothing": "policies: {a: {guards: {pii: {operators: {E-MAIL: redact}}}}}",
    "an unknown operator": "policies: {a: {guards: {pii: {operators: {EMAIL_ADDRESS: hide}}}}}",
    "a number as text": "policies: {a: {guards: {injection: {threshold: '0.5'}}}}",
    "a number out of bounds": "policies: {a: {guards: {injection: {threshold: 1.1}}}}",
    "no list": "policies: {a: {guards: {schema: {models: llama}}}}",
    "an empty list": "policies: {a: {guards: {budget: {limits: []}}}}",
    "too many": "policies: {a: {guards: {budget: {limits: [" + "{window: day, tokens: 1}, " * 4 + "]}}}}",
    "a status that is none": "policies: {a: {guards: {budget: {over_limit_status: 500}}}}",
    "routes that are none": "routes: {}\npolicies: {a: {}}",
    "a route with an empty policy": "routes: {r: {policy: ''}}\npolicies: {a: {}}",
    "a route that is a word": "routes: {r: a}\npolicies: {a: {}}",
    "a way to keep that is none": "policies: {a: {bodies: {keep: always}}}",
    "a reviewer's key that is none": "policies: {a: {bodies: {keep: sealed, reviewer_key: hgpub_12}}}",
    "a truth value as text": "policies: {a: {bodies: {required: 'yes'}}}",
    "half a price": "models: {m: {price: {input: 1}}}\npolicies: {a: {}}",
    "a price below nothing": "models: {m: {price: {input: -1, output: 0}}}\npolicies: {a: {}}",
    "a price of one token": "models: {m: {price: {input: 1, output: 60000}}}\npolicies: {a: {}}",
    "a name that is none": "policies: {A Policy: {}}",
}


def test_the_published_schema_is_the_codes():
    # Where it differs: headgate policy schema > extproc/policy/policy.schema.json
    assert policy_schema() == PUBLISHED


def test_it_is_the_same_every_time():
    assert policy_schema() == policy_schema()


@pytest.mark.parametrize("text", SHIPPED.values(), ids=SHIPPED)
def test_the_shipped_policies_keep_it(text):
    assert faults_of(read_tree(text).tree, SCHEMA) == []


@pytest.mark.parametrize("rest", GOOD.values(), ids=GOOD)
def test_what_the_loader_takes_an_editor_takes(rest, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(BEGIN + rest, encoding="utf-8")
    load(path)
    assert faults_of(read_tree(BEGIN + rest).tree, SCHEMA) == []


@pytest.mark.parametrize("rest", BAD.values(), ids=BAD)
def test_what_an_editor_marks_the_loader_refuses_too(rest, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(BEGIN + rest, encoding="utf-8")
    with pytest.raises(PolicyError):
        load(path)
    assert faults_of(read_tree(BEGIN + rest).tree, SCHEMA)


def test_an_editor_is_told_what_a_field_means():
    guard = SCHEMA["$defs"]["injection_guard"]["properties"]
    assert guard["threshold"]["description"].startswith("From this score on a prompt is refused.")
    assert SCHEMA["properties"]["tenants"]["description"].endswith("everyone gets a 401.")
    assert SCHEMA["properties"]["routes"]["description"]


def test_it_speaks_the_files_names_alone():
    assert not re.search(r'"f_|"title": "[A-Z][a-z]+ [A-Z]', PUBLISHED)
