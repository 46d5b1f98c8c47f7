from __future__ import annotations

import stat

import pytest
import yaml

from extproc.demo.assets import asset
from extproc.demo.command import TENANTS
from extproc.demo.credentials import issue
from extproc.policy.keys import hash_key

TEMPLATE = 'acme: "${ACME_HASH}"\ntiny: "${TINY_HASH}"\n'


def test_the_policy_knows_the_keys_by_their_hashes_only(tmp_path):
    issued = issue(tmp_path, template=TEMPLATE, tenants=("acme", "tiny"))
    pepper = issued.pepper_file.read_bytes()
    policy = issued.policy_file.read_text()
    assert yaml.safe_load(policy) == {name: hash_key(pepper, key) for name, key in issued.keys.items()}
    assert not any(key in policy for key in issued.keys.values())


def test_every_run_has_keys_and_a_pepper_of_its_own(tmp_path):
    one = issue(tmp_path / "1", template=TEMPLATE, tenants=("acme", "tiny"))
    two = issue(tmp_path / "2", template=TEMPLATE, tenants=("acme", "tiny"))
    secrets = [
        *one.keys.values(),
        *two.keys.values(),
        one.pepper_file.read_text(),
        two.pepper_file.read_text(),
    ]
    assert len(set(secrets)) == 6


def test_only_the_owner_reads_the_pepper(tmp_path):
    (tmp_path / "pepper").touch(mode=0o644)
    issued = issue(tmp_path, template=TEMPLATE, tenants=("acme", "tiny"))
    assert stat.S_IMODE(issued.pepper_file.stat().st_mode) == 0o600


def test_a_tenant_without_a_key_is_an_error(tmp_path):
    with pytest.raises(KeyError):
        issue(tmp_path, template=TEMPLATE, tenants=("acme",))


def test_the_demos_policy_has_a_key_for_every_tenant(tmp_path):
    template = asset("extproc/demo/policy.yaml").read_text()
    issued = issue(tmp_path, template=template, tenants=TENANTS)
    assert set(yaml.safe_load(issued.policy_file.read_text())["tenants"]) == set(TENANTS)
