import pytest
from exchanges import fake_hash, find_digits

from extproc.domain.identity import Principal
from extproc.domain.prices import Price
from extproc.domain.segment import Backend
from extproc.domain.verdict import Mode, OnError, Reason, Stage
from extproc.policy.snapshot import build_policy

KEYS = {name: f"hg_{name}" for name in ("one", "two", "other")}
TEXT = f"""
version: 1
tenants:
  acme:
    policy: strict
    keys: [{{id: one, hash: {fake_hash(KEYS["one"])}}}, {{id: two, hash: {fake_hash(KEYS["two"])}}}]
  other:
    policy: loose
    keys: [{{id: one, hash: {fake_hash(KEYS["other"])}}}]
policies:
  strict: {{guards: {{schema: {{models: [llama, "*"]}}}}}}
  loose:
    guards: {{injection: {{mode: shadow, on_error: allow}}, pii: {{mode: off}}, schema: {{models: [qwen]}}}}
  unused: {{guards: {{schema: {{models: [gemma]}}}}}}
"""


def scanner(watches):
    # Binding a policy must not make a scanner.
    raise NotImplementedError(watches)


@pytest.fixture(scope="module")
def build(policies):
    """A text as streams use it."""

    def built(text):
        return build_policy(
            policies.parse(text), policies.specs, key_hash=fake_hash, find=find_digits, scanner=scanner
        )

    return built


@pytest.fixture
def snapshot(build):
    return build(TEXT).unrouted


def test_identity_runs_before_any_tenant_is_known(snapshot):
    (identity,) = snapshot.identity
    assert (identity.name, identity.stage, identity.mode) == ("identity", Stage.IDENTITY, Mode.ENFORCE)


def test_keys_lead_to_their_principals(snapshot):
    keyring = snapshot.identity[0].guard.keyring
    assert {name: keyring[fake_hash(key)] for name, key in KEYS.items()} == {
        "one": Principal(tenant="acme", key_id="one"),
        "two": Principal(tenant="acme", key_id="two"),
        "other": Principal(tenant="other", key_id="one"),
    }


def test_every_tenant_has_every_guard_in_order(policies, snapshot):
    expected = [name for name in policies.specs if name != "identity"]
    assert set(snapshot.pipelines) == {"acme", "other"}
    for pipeline in snapshot.pipelines.values():
        assert [bound.name for bound in pipeline] == expected
        order = [(bound.stage, bound.name) for bound in pipeline]
        assert order == sorted(order)


def test_a_tenant_has_its_own_policys_modes(policies, snapshot):
    strict = {bound.name: bound for bound in snapshot.pipelines["acme"]}
    loose = {bound.name: bound for bound in snapshot.pipelines["other"]}
    assert [bound.mode for bound in strict.values()] == [policies.specs[name].mode for name in strict]
    assert (loose["injection"].mode, loose["injection"].on_error) == (Mode.SHADOW, OnError.ALLOW)
    assert loose["pii"].mode is Mode.OFF
    assert loose["injection"].error_reason is Reason.CLASSIFIER_UNAVAILABLE


def test_the_names_of_models_are_those_of_all_policies(snapshot):
    assert snapshot.known_models == frozenset({"llama", "qwen", "gemma"})


def test_the_digest_is_the_files(policies, snapshot):
    assert snapshot.digest == policies.parse(TEXT).digest


def test_a_guard_without_a_section_is_an_error_and_not_a_gap(policies):
    loaded = policies.parse(TEXT)
    del loaded.file.policies["strict"]["injection"]
    with pytest.raises(KeyError):
        build_policy(loaded, policies.specs, key_hash=fake_hash, find=find_digits, scanner=scanner)


ROUTED = (
    TEXT
    + """
routes:
  generate: {policy: loose, tenants: {other: strict}}
  listed: {}
  unused: {tenants: {acme: unused}}
"""
)


@pytest.fixture(scope="module")
def routed(build):
    return build(ROUTED)


class TestRoutes:
    @pytest.mark.parametrize(
        ("names", "models"),
        [
            ((), {"acme": "llama", "other": "qwen"}),
            # The route's word for the tenant, before its word for all.
            (("generate",), {"acme": "qwen", "other": "llama"}),
            # A route that says nothing, or nothing for this tenant.
            (("listed",), {"acme": "llama", "other": "qwen"}),
            (("unused",), {"acme": "gemma", "other": "qwen"}),
        ],
    )
    def test_the_nearest_word_counts(self, routed, names, models):
        pipelines = routed.on(names).pipelines
        found = {
            tenant: next(bound.guard.settings.models[0] for bound in pipeline if bound.name == "schema")
            for tenant, pipeline in pipelines.items()
        }
        assert found == models

    @pytest.mark.parametrize(
        "names", [("other",), ("",), ("generate", "generate"), ("generate", "listed"), ("GENERATE",)]
    )
    def test_a_route_that_the_file_does_not_name_or_that_has_two_names_is_closed(self, routed, names):
        snapshot = routed.on(names)
        assert snapshot is routed.refusing
        assert snapshot.pipelines == {}
        assert [bound.name for bound in snapshot.identity] == ["identity"]

    def test_without_routes_all_are_alike_but_two_names_are_none(self, build):
        plain = build(TEXT)
        assert plain.on(()) is plain.on(("any",)) is plain.unrouted
        assert plain.on(("any", "any")) is plain.refusing

    def test_all_snapshots_have_the_files_digest(self, routed):
        every = (routed.unrouted, routed.refusing, *routed.routes.values())
        assert {snapshot.digest for snapshot in every} == {routed.digest}

    def test_a_tenant_has_one_pipeline_for_each_policy(self, routed):
        assert routed.on(("listed",)).pipelines["acme"] is routed.unrouted.pipelines["acme"]
        assert routed.on(("generate",)).pipelines["other"] is not routed.unrouted.pipelines["acme"]


def test_what_is_true_of_models_reaches_every_route(build):
    routed = build(
        TEXT + "models: {llama-trt: {backend: tensorrtllm}, plain: {}}\nroutes: {generate: {}}\n"
    )
    backends = {"llama-trt": Backend.TENSORRTLLM, "plain": Backend.VLLM}
    assert dict(routed.unrouted.backends) == backends
    assert dict(routed.routes["generate"].backends) == backends


def test_prices_and_the_routes_name_reach_a_stream(build):
    models = (
        "models: {llama: {price: {input: 0.15, output: 1}}, '*': {price: {input: 2, output: 3}}, e: {}}\n"
    )
    routed = build(TEXT + models + "routes: {generate: {}}\n")
    prices = {"llama": Price(input=0.15, output=1), "*": Price(input=2, output=3), "e": None}
    assert dict(routed.on(("generate",)).prices) == prices
    assert [routed.on(names).route for names in ((), ("generate",), ("other",))] == ["", "generate", ""]
    assert {"llama", "e"} <= routed.unrouted.known_models
    assert "*" not in routed.unrouted.known_models
