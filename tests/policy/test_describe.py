from pathlib import Path

import pytest

from extproc.policy.describe import pipeline_text, summary_text

GOLDEN = Path(__file__).parent.parent / "golden/pipeline.txt"
DEFAULT = Path(__file__).parents[2] / "extproc/policy/default.yaml"
MIXED = """
version: 1
tenants: {acme: {policy: one}}
policies:
  one:
    guards: {injection: {mode: shadow}, pii: {mode: off}, budget: {on_error: allow}, schema: {models: [m]}}
  two: {guards: {schema: {models: [m]}}}
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
    loaded = policies.parse("version: 1\npolicies: {a: {guards: {schema: {models: ['*']}}}}")
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
policies: {one: &, two: &, three: &, four: &}
""".replace("&", "{guards: {schema: {models: [m]}}}")
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


def notes(policies, guards: str, *, more: str = "") -> list[str]:
    if "schema: " not in guards:
        guards = f"schema: {{models: [m]}}, {guards}"
    loaded = policies.parse(f"version: 1\n{more}policies: {{a: {{guards: {{{guards}}}}}}}\n")
    return [line.removeprefix("  note: ") for line in summary_text(loaded, policies.specs).split("\n")[1:]]


@pytest.mark.parametrize(
    ("setting", "note"),
    [
        ("roles: [user, tool]", "judges only text of user, tool"),
        (
            "roles: [assistant]",
            "judges only text of assistant; prompts of users pass it",
        ),
        ("origins: [direct]", "judges only text that came in as direct"),
        (
            "roles: [tool], origins: [tool_result]",
            "judges only text of tool that came in as tool_result; prompts of users pass it",
        ),
    ],
)
def test_a_summary_says_what_a_narrowed_guard_leaves_out(policies, setting, note):
    assert notes(policies, f"injection: {{{setting}}}") == [f"policy a: injection {note}"]


def test_a_guard_that_is_off_needs_no_second_note(policies):
    assert len(notes(policies, "injection: {mode: off, roles: [assistant]}")) == 1


def test_a_summary_says_what_passes_though_no_guard_can_read_it(policies):
    assert notes(policies, "admission: {unscanned: [image, file]}") == [
        "policy a: admission lets pass what no guard can read: image, file"
    ]


def test_an_operator_for_what_is_not_looked_for_is_named(policies):
    guards = "pii: {entity_types: [EMAIL_ADDRESS], operators: {EMAIL_ADDRESS: hash, PHONE_NUMBER: redact}}"
    assert notes(policies, guards) == [
        "policy a: pii has operators for what it does not look for: PHONE_NUMBER"
    ]
    assert notes(policies, "pii: {operators: {PHONE_NUMBER: hash}}") == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("models: []", ["names no model: whoever asks for one gets a 404"]),
        ("mode: shadow", ["is in shadow: it records and lets pass"]),
        ("models: ['*']", []),
    ],
)
def test_a_policy_by_which_no_model_may_be_asked_says_so(policies, settings, said):
    assert notes(policies, f"schema: {{{settings}}}") == [f"policy a: schema {one}" for one in said]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("mode: enforce", ["has no phrases and no head: it finds nothing"]),
        (
            "mode: enforce, topics: {weapons: []}",
            [
                "has topics without phrases, which are never found: weapons",
                "has no phrases and no head: it finds nothing",
            ],
        ),
        (
            "mode: enforce, topics: {weapons: [pipe bomb], rivals: []}",
            ["has topics without phrases, which are never found: rivals"],
        ),
        (
            "mode: shadow, head: toxic",
            [
                "is in shadow: it records and lets pass",
                "asks the head toxic, which needs serve --judge-model",
            ],
        ),
        ("mode: off, head: toxic", []),
    ],
)
def test_a_summary_says_what_moderation_needs_and_never_finds(policies, settings, said):
    found = notes(policies, f"moderation: {{{settings}, roles: []}}")
    assert found == [f"policy a: moderation {one}" for one in said]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("pii: {request: allow}", ["pii does not look at requests"]),
        ("pii: {answer: allow}", ["pii does not look at answers"]),
        ("secrets: {request: allow, answer: allow}", ["secrets does not look at requests and answers"]),
        ("secrets: {mode: off, answer: allow}", ["secrets is off: it judges nothing"]),
        ("secrets: {request: block}", []),
        ("links: {mode: enforce, answer: flag}", ["links records what it finds in answers, which pass"]),
        ("links: {mode: enforce}", []),
        (
            "moderation: {mode: enforce, topics: {a: [b]}, roles: [], request: allow, answer: flag}",
            ["moderation records what it finds in requests and answers, which pass"],
        ),
        (
            "output_schema: {mode: enforce, requested: false}",
            ["output_schema has no schema and heeds none of a request's: it judges nothing"],
        ),
        ("output_schema: {mode: enforce, requested: false, schema: '{}'}", []),
        ("output_schema: {mode: enforce}", []),
        (
            "tool_policy: {mode: enforce, offered_only: false}",
            ["tool_policy names no tool and heeds no request's: whatever calls one is refused"],
        ),
        ("tool_policy: {mode: enforce, arguments: false}", ["tool_policy judges no arguments of calls"]),
        ("tool_policy: {mode: enforce, offered_only: false, names: [a]}", []),
    ],
)
def test_a_summary_says_what_a_guards_own_settings_leave_unjudged(policies, section, said):
    found = notes(policies, f"schema: {{models: [m]}}, {section}")
    assert found == [f"policy a: {one}" for one in said]


def test_bodies_that_are_required_and_never_kept_are_named(policies):
    loaded = policies.parse("version: 1\npolicies: {a: {bodies: {required: true}}}\n")
    assert "bodies are required, and never kept: it has no effect" in summary_text(loaded, policies.specs)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("", []),
        ("models: {llama: {}}\n", []),
        ("models: {llama: {price: {input: 1, output: 2}}}\n", []),
        (
            "models: {lama: {price: {input: 1, output: 2}}}\n",
            ["llama has no price: its cost is not counted"],
        ),
        ("models: {'*': {price: {input: 1, output: 2}}}\n", []),
    ],
)
def test_a_model_without_a_price_among_priced_ones_is_named(policies, models, said):
    assert notes(policies, "schema: {models: [llama]}", more=models) == said
