from pathlib import Path

from extproc.policy.describe import pipeline_text, summary_text

GOLDEN = Path(__file__).parent.parent / "golden/pipeline.txt"
DEFAULT = Path(__file__).parents[2] / "extproc/policy/default.yaml"
MIXED = """
version: 1
tenants: {acme: {policy: one}}
policies:
  one: {guards: {injection: {mode: shadow}, pii: {mode: off}, budget: {on_error: allow}}}
  two: {}
"""


def test_the_order_of_guards_changes_only_on_purpose(policies):
    loaded = policies.parse(DEFAULT.read_text(encoding="utf-8"))
    assert pipeline_text(loaded, policies.specs) == GOLDEN.read_text(encoding="utf-8")


def test_policies_that_differ_are_named_with_their_modes(policies):
    lines = pipeline_text(policies.parse(MIXED), policies.specs).splitlines()
    modes = {line.split()[1]: " ".join(line.split()[3:]) for line in lines}
    assert modes["identity"] == "enforce"
    assert modes["injection"] == "shadow: one; enforce: two"
    assert modes["pii"] == "off: one; enforce: two"
    assert modes["secrets"] == "enforce"


def test_a_summary_says_what_passes_unjudged(policies):
    loaded = policies.parse(MIXED)
    assert summary_text(loaded, policies.specs) == (
        f"policy.yaml: good; 2 policies, 1 tenant, 0 keys; digest {loaded.digest[:12]}\n"
        "  note: policy one: budget lets pass what it could not judge\n"
        "  note: policy one: injection is in shadow: it records and lets pass\n"
        "  note: policy one: pii is off: it judges nothing\n"
        "  note: tenant acme has no keys: nobody can call as it\n"
        "  note: policy two holds for nobody"
    )


def test_a_summary_of_a_policy_that_judges_everything_is_one_line(policies):
    loaded = policies.parse("version: 1\npolicies: {a: {}}")
    assert summary_text(loaded, policies.specs) == (
        f"policy.yaml: good; 1 policy, 0 tenants, 0 keys; digest {loaded.digest[:12]}"
    )


def test_a_summary_names_routes_and_what_holds_for_nobody(policies):
    loaded = policies.parse(
        """
version: 1
tenants: {acme: {policy: one}, other: {policy: one}}
routes:
  generate: {policy: two, tenants: {acme: three}}
  read_only: {}
policies: {one: {}, two: {}, three: {}, four: {}}
"""
    )
    assert summary_text(loaded, policies.specs) == (
        f"policy.yaml: good; 4 policies, 2 tenants, 0 keys, 2 routes; digest {loaded.digest[:12]}\n"
        "  route generate: two; acme: three\n"
        "  route read_only: each tenant's own policy\n"
        "  note: a route that Envoy names and this file does not is refused\n"
        "  note: tenant acme has no keys: nobody can call as it\n"
        "  note: tenant other has no keys: nobody can call as it\n"
        "  note: policy four holds for nobody"
    )
