import json

import pytest

from extproc.policy.sound_part import sound_part

TREE = {
    "version": 1,
    "tenants": {"acme": {"policy": "a"}},
    "routes": {"generate": {"policy": "b"}},
    "policies": {"a": {"guards": {"pii": 1, "budget": 2}, "bodies": 3}, "b": {}},
}


def left(*faults):
    part = sound_part(TREE, faults)
    return None if part is None else json.loads(part)


def test_a_guards_section_goes_alone():
    policies = {"a": {"guards": {"budget": 2}, "bodies": 3}, "b": {}}
    assert left(("policies", "a", "guards", "pii", "entity_types", 0)) == {**TREE, "policies": policies}


def test_a_policy_goes_with_what_may_name_it():
    assert left(("policies", "b")) == {"version": 1, "policies": {"a": TREE["policies"]["a"]}}


@pytest.mark.parametrize("place", [("tenants", "acme", "keys", 0, "id"), ("tenants",)])
def test_a_tenant_goes_with_the_routes_that_may_name_it(place):
    assert left(place) == {"version": 1, "policies": TREE["policies"]}


def test_two_faults_in_one_section_take_it_out_once():
    place = ("policies", "a", "bodies")
    policies = {"a": {"guards": {"pii": 1, "budget": 2}}, "b": {}}
    assert left((*place, "keep"), (*place, "actions")) == {**TREE, "policies": policies}


def test_where_no_policies_are_left_there_is_nothing_to_check():
    assert left(("policies",)) is None
    assert left(()) is None
    assert sound_part({**TREE, "policies": 5}, [("policies",)]) is None


def test_the_tree_stays_as_it_is():
    before = json.dumps(TREE)
    left(("policies", "a"))
    assert json.dumps(TREE) == before
