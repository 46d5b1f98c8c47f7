"""The joint between policy files, guards and rules."""

import pytest

from extproc import policies
from extproc.domain.errors import PolicyError
from extproc.redaction.packs import default_automaton

PEPPER = b"p" * 32
TEXT = b"version: 1\ntenants: {a: {policy: p}}\nroutes: {r: {}}\npolicies: {p: {}}\n"


def test_a_loader_makes_the_policy_that_streams_use():
    load = policies.loader("policy.yaml", policies.new_redactor(PEPPER), PEPPER)
    policy = load(TEXT)
    assert set(policy.on(("r",)).pipelines) == {"a"}
    assert policy.on(("other",)) is policy.refusing
    with pytest.raises(PolicyError, match=r"^policy\.yaml:1: version: "):
        load(TEXT.replace(b"version: 1", b"version: 9"))


def test_what_checks_a_policy_shares_no_automaton_with_what_scans():
    """An automaton belongs to one thread; a policy is loaded beside the streams."""
    checking = policies._vocabulary().check.__self__
    assert checking._automaton is not default_automaton()
    assert policies.new_redactor(PEPPER)._automaton is default_automaton()


def test_the_hash_operators_key_is_not_the_peppers_own():
    redactor = policies.new_redactor(PEPPER)
    assert redactor._hash_key not in {PEPPER, b""}
    assert redactor._hash_key == policies.new_redactor(PEPPER)._hash_key
    assert redactor._hash_key != policies.new_redactor(b"q" * 32)._hash_key
