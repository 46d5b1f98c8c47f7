"""What a policy file may say of bodies, and what streams get of it."""

import pytest

from extproc.domain.bodies import Keep, withhold
from extproc.domain.verdict import Action
from extproc.policy.describe import summary_text
from extproc.policy.snapshot import build_policy

KEY = "hgpub_" + "9" * 64
NEW_KEY = "`headgate bodies new-key`"
BEGIN = "version: 1\ntenants: {acme: {policy: p}, open: {policy: q}}\n"


def text(bodies):
    return f"{BEGIN}policies:\n  q: {{}}\n  p:\n    bodies: {bodies}\n"


def rules(loaded, specs, route=None):
    routed = build_policy(
        loaded,
        specs,
        key_hash=lambda key: key,
        find=lambda _t, _w: (),
        scanner=lambda _w: None,
        redact=str.upper,
    )
    return (routed.routes[route] if route else routed.unrouted).bodies


@pytest.mark.parametrize(
    "bodies", ["{}", "{keep: never}", "{keep: never, lifetime_days: 3, required: true}"]
)
def test_nothing_is_kept_by_default(policies, bodies):
    assert rules(policies.parse(text(bodies)), policies.specs) == {}


def test_a_tenants_policy_says_what_is_kept(policies):
    kept = rules(policies.parse(text("{keep: redacted, lifetime_days: 2}")), policies.specs)
    assert set(kept) == {"acme"}
    rule = kept["acme"]
    assert (rule.keep, rule.lifetime_days, rule.required) == (Keep.REDACTED, 2, False)
    assert rule.actions == {Action.REDACT, Action.BLOCK}
    assert rule.redact("a") == "A"


def test_a_route_may_say_otherwise(policies):
    routes = "routes: {plain: {policy: q}, kept: {}}\n"
    loaded = policies.parse(text(f"{{keep: sealed, reviewer_key: {KEY}, actions: [allow]}}") + routes)
    assert rules(loaded, policies.specs, "plain") == {}
    rule = rules(loaded, policies.specs, "kept")["acme"]
    assert (rule.keep, rule.reviewer_key, rule.actions) == (Keep.SEALED, KEY, {Action.ALLOW})


@pytest.mark.parametrize(
    ("bodies", "what", "instead"),
    [
        (
            "{keep: sealed}",
            "keep: is sealed, but there is no key to seal to",
            "add `reviewer_key: …` with what `headgate bodies new-key` prints",
        ),
        (
            f"{{keep: redacted, reviewer_key: {KEY}}}",
            "reviewer_key: is a key to seal to, but nothing is sealed",
            "write `keep: sealed`, or take the key out",
        ),
        (
            f"{{keep: sealed, reviewer_key: {KEY.replace('pub', 'prv')}}}",
            "reviewer_key: is not a reviewer's public key",
            f"write what {NEW_KEY} prints, which begins with hgpub_, never what is in its file",
        ),
        (
            "{keep: sealde}",
            "keep: is not one of the values that it can have",
            "write never, redacted or sealed",
        ),
        ("{keeps: never}", "keeps: is not a field that exists here", "did you mean keep?"),
        (
            "{lifetime_days: 0}",
            "lifetime_days: is out of bounds",
            "write a number that is at least 1",
        ),
        (
            "{actions: []}",
            "actions: is empty, so that nothing would be kept",
            "write `keep: never` for that",
        ),
        (
            "{actions: [blocked]}",
            "actions[0]: is not one of the values that it can have",
            "write allow, redact or block",
        ),
    ],
)
def test_a_fault_says_where_and_what_to_write(policies, bodies, what, instead):
    assert policies.faults(text(bodies)) == f"policy.yaml:6: policies.p.bodies.{what}; {instead}"


def test_what_is_kept_is_part_of_the_policys_digest(policies):
    digests = {policies.parse(text(one)).digest for one in ("{}", "{keep: redacted}", "{lifetime_days: 8}")}
    assert len(digests) == 3
    assert policies.parse(text("{keep: never}")).digest in digests


def test_a_summary_says_what_is_kept(policies):
    loaded = policies.parse(text("{keep: redacted, actions: [block]}"))
    assert (
        "  note: policy p: bodies of block are kept redacted for 7 days, which needs serve --bodies"
        in summary_text(loaded, policies.specs).splitlines()
    )
    assert "bodies" not in summary_text(policies.parse(text("{}")), policies.specs)


def test_nobody_knows_how_to_redact_keeps_nothing():
    assert withhold("a text") == ""
