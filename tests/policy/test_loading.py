import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.domain.errors import PolicyError
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Backend
from extproc.domain.verdict import Mode, OnError
from extproc.guards import schema
from extproc.policy.loading import load_policy

GOLDEN = yaml.safe_load(
    (Path(__file__).parent.parent / "golden/policy/faults.yaml").read_text(encoding="utf-8")
)
HASH = "9f" * 32
FAULT = re.compile(r"policy\.yaml:[1-9][0-9]*: ([^;]+: )?[^;]+; .+")

GOOD = f"""
version: 1
tenants:
  acme:
    policy: strict
    keys:
      - {{id: one, hash: "{HASH}"}}
routes:
  generate: {{policy: strict}}
  read_only: {{tenants: {{acme: lax}}}}
policies:
  lax: {{}}
  strict:
    guards:
      injection: {{mode: shadow, on_error: allow, threshold: 0.7, roles: [user, tool]}}
      schema: {{models: [llama], sampling: {{temperature: {{max: 1}}, seed: {{}}}}}}
      pii: {{mode: off}}
"""


def test_a_good_file_becomes_settings(policies):
    file = policies.parse(GOOD).file
    assert file.tenants["acme"].policy == "strict"
    assert [(key.id, key.hash) for key in file.tenants["acme"].keys] == [("one", HASH)]
    injection = file.policies["strict"]["injection"]
    assert (injection.mode, injection.on_error) == (Mode.SHADOW, OnError.ALLOW)
    assert injection.settings.threshold == 0.7
    assert file.policies["strict"]["schema"].settings == schema.Settings(
        models=("llama",), sampling={"temperature": schema.Range(max=1), "seed": schema.Range()}
    )
    assert file.policies["strict"]["pii"].mode is Mode.OFF
    assert file.policy_of("acme", None) == file.policy_of("acme", "generate") == "strict"
    assert file.policy_of("acme", "read_only") == "lax"


def test_a_guard_that_is_left_out_runs_with_its_defaults_and_its_own_mode(policies):
    sections = policies.parse("version: 1\npolicies: {a: {}}").file.policies["a"]
    assert set(sections) == set(policies.specs) - {"identity"}
    for name, section in sections.items():
        assert (section.mode, section.on_error) == (policies.specs[name].mode, OnError.BLOCK)
        assert section.settings == policies.specs[name].settings()


def test_settings_are_the_guards_own_types(policies):
    loaded = policies.parse(GOOD)
    for name, section in loaded.file.policies["strict"].items():
        assert type(section.settings) is policies.specs[name].settings
    assert type(loaded.file.identity["identity"]) is policies.specs["identity"].settings


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_faults_are_said_as_they_always_were(policies, case):
    text = case["policy"].replace("KEYHASH", HASH)
    said = policies.faults(text)
    if "says" in case:
        assert said == case["says"].strip()
    else:
        assert said.startswith(case["says_begins"].strip())


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_every_fault_has_file_line_and_a_suggestion_and_no_hash(policies, case):
    said = policies.faults(case["policy"].replace("KEYHASH", HASH))
    for line in said.splitlines():
        assert FAULT.fullmatch(line)
    assert HASH not in said


def test_a_pasted_key_is_never_repeated(policies):
    key = "hg_" + "0123456789abcdef" * 3
    for text in (
        f"version: 1\npolicies: {{}}\n{key}: 1",
        f"version: 1\npolicies: {{}}\ntenants: {{{key}: {{}}}}",
        f"version: 1\npolicies: {{}}\ntenants: {{a: {{policy: a, keys: [{{id: {key}, hash: {key}}}]}}}}",
        f"version: 1\npolicies: {{}}\ntenants: {{a: {{policy: {key}}}}}",
        f"version: 1\npolicies: {{}}\ntenants: {{a: {key}}}",
        f"version: 1\npolicies: {{a: {{guards: {{pii: {{entity_types: [{key}]}}}}}}}}",
        f"{key}: [",
        key,
    ):
        assert key not in policies.faults(text)


def test_no_more_faults_are_listed_than_help(policies):
    guards = "".join(f"      nothing_{number}: {{}}\n" for number in range(30))
    said = policies.faults(f"version: 1\npolicies:\n  a:\n    guards:\n{guards}").splitlines()
    assert len(said) == LIMITS.policy_faults_max + 1
    assert said[-1] == "policy.yaml: and 10 more"


def test_faults_come_in_the_order_of_the_file(policies):
    said = policies.faults("version: 1\npolicies:\n  a: {x: 1}\n  b: {x: 1}\nnothing: 1\n")
    assert [line.split(":")[1] for line in said.splitlines()] == ["3", "4", "5"]


def test_a_fault_stands_at_its_line_and_column(policies):
    text = "version: 1\npolicies: {a: {guards: {pii: {mode: odd}, nothing: 1}}}\n"
    with pytest.raises(PolicyError) as caught:
        policies.parse(text)
    places = [line.partition(" ")[0] for line in str(caught.value).splitlines()]
    assert places == ["policy.yaml:2:31:", "policy.yaml:2:43:"]


class TestDigest:
    def test_comments_order_and_defaults_written_out_do_not_change_it(self, policies):
        one = policies.parse("version: 1\npolicies: {a: {}, b: {guards: {pii: {mode: off}}}}")
        other = policies.parse(
            "# a comment\npolicies:\n  b: {guards: {pii: {mode: 'off'}}}\n"
            "  a: {guards: {injection: {mode: enforce, threshold: 0.52}}}\nversion: 1\n"
        )
        assert one.digest == other.digest
        assert re.fullmatch("[0-9a-f]{64}", one.digest)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("0.7", "0.71"),
            ("mode: off", "mode: shadow"),
            ("[llama]", "[llama, other]"),
            (HASH, "9e" * 32),
            ("acme", "acne"),
            ("policy: strict}", "policy: lax}"),
            ("acme: lax", "acme: strict"),
            ("read_only", "reading"),
            ("id: one", "id: two"),
            ("[user, tool]", "[user]"),
        ],
    )
    def test_every_change_of_meaning_changes_it(self, policies, old, new):
        assert policies.parse(GOOD).digest != policies.parse(GOOD.replace(old, new)).digest


class TestFile:
    def test_a_file_is_read_and_named_by_its_last_part(self, policies, tmp_path):
        path = tmp_path / "policy.yaml"
        path.write_text(GOOD, encoding="utf-8")
        loaded = load_policy(path, policies.specs, policies.rules)
        assert loaded == policies.parse(GOOD)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"version: 1\na: \xff\n", "policy.yaml:2:4: this is not UTF-8; save the file as UTF-8"),
            (
                b"#" * (LIMITS.policy_bytes_max + 1),
                f"policy.yaml:1:1: the file is too large; write at most {LIMITS.policy_bytes_max} bytes",
            ),
        ],
        ids=["latin-1", "too large"],
    )
    def test_what_cannot_be_read_is_named(self, policies, tmp_path, content, says):
        path = tmp_path / "policy.yaml"
        path.write_bytes(content)
        with pytest.raises(PolicyError) as caught:
            load_policy(path, policies.specs, policies.rules)
        assert str(caught.value) == says

    def test_a_missing_file_is_named(self, policies, tmp_path):
        with pytest.raises(PolicyError) as caught:
            load_policy(tmp_path / "policy.yaml", policies.specs, policies.rules)
        assert str(caught.value) == (
            "policy.yaml:1:1: No such file or directory; check the path and its permissions"
        )

    def test_a_file_may_be_named_as_its_reader_knows_it(self, policies, tmp_path):
        with pytest.raises(PolicyError, match=r"^conf/p\.yaml:1:1: No such file"):
            load_policy(tmp_path / "p.yaml", policies.specs, policies.rules, source="conf/p.yaml")

    def test_a_folder_is_no_file(self, policies, tmp_path):
        with pytest.raises(PolicyError, match="Is a directory"):
            load_policy(tmp_path, policies.specs, policies.rules)


LINES = st.sampled_from([line for line in GOOD.splitlines() if line] + ["", "#", "  x:", "- a", "\ud800"])
MANGLED = st.one_of(
    st.text(max_size=60),
    st.lists(LINES, max_size=12).map("\n".join),
    st.tuples(st.integers(0, len(GOOD)), st.text(max_size=4), st.integers(0, 5)).map(
        lambda cut: GOOD[: cut[0]] + cut[1] + GOOD[cut[0] + cut[2] :]
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(text=MANGLED)
def test_any_text_is_a_policy_or_a_policy_error_whose_lines_say_where(policies, text):
    said = ""
    try:
        policies.parse(text)
    except PolicyError as error:
        said = str(error)
    assert all(line.startswith("policy.yaml:") for line in said.splitlines())


def test_what_is_true_of_models_changes_the_digest(policies):
    plain = policies.parse(GOOD)
    other = policies.parse(GOOD + "models: {llama: {backend: llmapi}}\n")
    assert other.file.models["llama"].backend is Backend.LLMAPI
    assert other.digest != plain.digest
