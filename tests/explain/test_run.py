"""The explanation is the service's own decision; what it tells holds no text."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc import policies
from extproc.domain.errors import FailureKind
from extproc.domain.limits import LIMITS
from extproc.domain.ports import Scores, TextScore
from extproc.domain.verdict import Action, Mode, Reason
from extproc.explain.model import ExplainError, Question
from extproc.explain.run import explain
from extproc.explain.text import explanation_json, explanation_text
from extproc.guards import guard_specs

POLICY = """
version: 1
tenants:
  acme: {policy: plain}
  other: {policy: strict}
routes:
  generate: {policy: strict}
  plain: {}
policies:
  plain: {guards: {schema: {models: [m1, m2]}}}
  strict:
    guards:
      schema: {models: [m1], output_tokens_max: 100}
      injection: {on_error: allow}
      pii: {request: block, answer: block}
      secrets: {mode: shadow}
"""
EMAIL = "ann@example.com"
CARD = "4111 1111 1111 1111"


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")

    def loaded(text=POLICY):
        path = folder / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        return policies.load(path)

    return loaded


@pytest.fixture(scope="module")
def loaded(load):
    return load()


def scored(score=0.1, tokens=3):
    """A classifier that gives every text one score."""

    def scoring(effect):
        one = TextScore(score=score, windows=1, tokens=tokens, start=0, end=4)
        return Scores(head=effect.head, model="a-model", scores=(one,) * len(effect.texts))

    return scoring


def question(text="hello", **changes):
    return replace(Question(body=json.dumps({"text_input": text}).encode(), tenant="acme"), **changes)


def step(told, guard, stage=None):
    (found,) = (
        one
        for one in told.steps
        if one.guard == guard and (one.stage == stage if stage else one.stage != "ANSWER")
    )
    return found


def spans(told, guard, stage=None):
    return [(one.entity_type, one.place, one.start, one.end) for one in step(told, guard, stage).found]


def test_every_guard_stands_in_order(loaded):
    told = explain(question(), loaded, scored())
    assert [one.guard for one in told.steps] == list(guard_specs())
    assert {one.action for one in told.steps} == {"allow"}
    assert (told.action, told.reason, told.guard, told.status, told.message) == (
        Action.ALLOW,
        Reason.CLEAN,
        "",
        None,
        "",
    )
    assert (told.policy, told.policy_digest, told.codec) == ("plain", loaded.digest, "triton_generate")


def test_what_is_redacted_is_told_by_place_and_offset(loaded):
    told = explain(question(f"mail {EMAIL} now"), loaded, scored())
    assert (told.action, told.guard) == (Action.REDACT, "pii")
    assert spans(told, "pii") == [("EMAIL_ADDRESS", "text_input", 5, 20)]
    (change,) = told.forwarded.changes
    assert (change.place, change.start, change.end) == ("text_input", 5, 20)
    assert change.replacement_chars == len("[EMAIL_ADDRESS]")
    assert told.forwarded.output_tokens_max == 2_048
    assert told.forwarded.asks_for_usage
    assert "authorization" in told.forwarded.headers_removed
    assert step(told, "budget").action == "allow"
    assert told.tokens_reserved > 2_048


def test_a_prompt_over_the_threshold_is_refused(loaded):
    told = explain(question(), loaded, scored(0.9))
    assert (told.action, told.reason, told.guard) == (
        Action.BLOCK,
        Reason.INJECTION_DETECTED,
        "injection",
    )
    assert (told.status, told.forwarded) == (403, None)
    assert "prompt injection" in told.message
    injection = step(told, "injection")
    assert (injection.score, injection.threshold, injection.detector) == (0.9, 0.52, "a-model")


def test_guards_behind_a_refusal_are_not_reached(loaded):
    told = explain(question(path="/v2/models/m9/generate"), loaded, scored())
    assert (told.reason, told.status) == (Reason.MODEL_NOT_ALLOWED, 404)
    assert {one.guard: one.action for one in told.steps if one.action != "allow"} == {
        "schema": "block",
        "budget": "not reached",
        "injection": "not reached",
        "pii": "not reached",
        "secrets": "not reached",
    }


@pytest.mark.parametrize(
    ("failure", "tenant", "action", "status"),
    [
        (FailureKind.UNAVAILABLE, "acme", Action.BLOCK, 503),
        (FailureKind.UNAVAILABLE, "other", Action.ALLOW, None),
        (FailureKind.TOO_LONG, "acme", Action.BLOCK, 413),
        (FailureKind.TOO_LONG, "other", Action.BLOCK, 413),
    ],
)
def test_a_classifier_that_fails_is_what_the_policy_says(loaded, failure, tenant, action, status):
    told = explain(question(tenant=tenant), loaded, lambda _effect: failure)
    assert (told.action, told.status) == (action, status)


def test_without_a_classifier_its_guard_is_skipped_and_the_others_are_not(loaded):
    told = explain(question(f"mail {EMAIL}"), loaded, None)
    assert (step(told, "injection").action, step(told, "injection").score) == ("skipped", None)
    assert step(told, "pii").action == "redact"
    assert any(note.startswith("injection was skipped") for note in told.notes)


def test_a_guard_in_shadow_says_what_it_would_do(load):
    text = "version: 1\ntenants: {a: {policy: p}}\npolicies:\n  p: {guards: {schema: {models: [m]}, "
    text += "pii: {mode: shadow, request: block}, secrets: {mode: off}}}\n"
    told = explain(question(f"mail {EMAIL}", tenant="a"), load(text), None)
    assert (told.action, told.forwarded.changes) == (Action.ALLOW, ())
    pii = step(told, "pii")
    assert (pii.mode, pii.action, pii.reason) == (Mode.SHADOW, "block", Reason.PII_FOUND)
    assert step(told, "secrets").action == "off"


@pytest.mark.parametrize(("route", "policy"), [(None, "plain"), ("plain", "plain"), ("generate", "strict")])
def test_the_route_chooses_the_policy(loaded, route, policy):
    told = explain(question(f"mail {EMAIL}", route=route), loaded, None)
    assert told.policy == policy
    assert told.action is (Action.BLOCK if policy == "strict" else Action.REDACT)


def test_a_route_that_the_policy_does_not_name_is_closed(loaded):
    told = explain(question(route="generat"), loaded, None)
    assert (told.action, told.reason, told.status) == (Action.BLOCK, Reason.PATH_NOT_ALLOWED, 403)
    assert "route generat is not in the policy: it is closed; did you mean generate?" in told.notes


def test_an_unknown_tenant_cannot_be_asked_for(loaded):
    with pytest.raises(ExplainError, match="did you mean other"):
        explain(question(tenant="othr"), loaded, None)


@pytest.mark.parametrize("accept", ["authorization", "x-api-key", "x-api-key, authorization"])
def test_the_caller_is_known_however_keys_are_presented(load, accept):
    text = POLICY.replace("version: 1", f"version: 1\nidentity: {{accept: [{accept}]}}")
    assert step(explain(question(), load(text), None), "identity").action == "allow"


@pytest.mark.parametrize(
    ("body", "reason", "status"),
    [
        (b"", Reason.BODY_INVALID, 400),
        (b"{", Reason.BODY_INVALID, 400),
        (b'{"text_input": "a", "text_input": "b"}', Reason.BODY_INVALID, 400),
        (b'{"text_input": " "}', Reason.PROMPT_EMPTY, 400),
        (b" " * (LIMITS.body_bytes_max + 1), Reason.BODY_TOO_LARGE, 413),
    ],
)
def test_what_cannot_be_read_is_refused_as_the_service_refuses_it(loaded, body, reason, status):
    told = explain(question(body=body), loaded, None)
    assert (told.action, told.reason, told.status) == (Action.BLOCK, reason, status)
    assert told.message


def test_a_path_that_is_not_served_is_refused(loaded):
    told = explain(question(path="/v2/repository/index"), loaded, None)
    assert (told.codec, told.status) == ("", 403)
    assert told.message.startswith("this endpoint is not exposed")


def test_a_request_that_no_budget_holds_is_refused_without_a_reservation(load):
    text = POLICY.replace(
        "models: [m1, m2]}", "models: [m1]}, budget: {limits: [{window: minute, tokens: 10}]}"
    )
    told = explain(question(), load(text), None)
    assert (told.reason, told.status, told.tokens_reserved) == (Reason.BUDGET_EXCEEDED, 413, None)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"text_input":"x"}', "/v2/models/m1/generate"),
        (b'{"model":"m1","messages":[{"role":"user","content":"x"}]}', "/v1/chat/completions"),
        (b"not even JSON", "/v2/models/m1/generate"),
    ],
)
def test_a_path_is_assumed_by_the_requests_shape(loaded, body, path):
    told = explain(question(body=body), loaded, None)
    assert told.path == path
    assert "no --path was given: this one was assumed" in told.notes


class TestAnswer:
    ANSWER = f"write to {EMAIL} or pay with {CARD}"

    @pytest.mark.parametrize(
        "changes",
        [
            {"path": "/v2/models/m1/generate"},
            {"path": "/v2/models/m1/generate_stream"},
            {"body": b'{"model":"m1","messages":[{"role":"user","content":"x"}]}'},
            {"body": b'{"model":"m1","stream":true,"messages":[{"role":"user","content":"x"}]}'},
        ],
        ids=["generate", "generate_stream", "chat", "chat stream"],
    )
    def test_it_is_redacted_in_every_protocol(self, loaded, changes):
        told = explain(question(answer=self.ANSWER, **changes), loaded, None)
        assert (told.action, told.reason, told.status) == (Action.REDACT, Reason.REDACTED, 200)
        pii = step(told, "pii", "ANSWER")
        assert (pii.action, pii.reason) == ("redact", Reason.REDACTED)
        found = sorted((one.start, one.end, one.entity_type) for one in pii.found)
        assert found == [(9, 24, "EMAIL_ADDRESS"), (37, 56, "CREDIT_CARD")]
        assert all(one.place for one in pii.found)
        assert step(told, "secrets", "ANSWER").action == "allow"

    @pytest.mark.parametrize(("path", "status"), [("generate", 403), ("generate_stream", 200)])
    def test_it_is_withheld_before_or_after_its_head_went_out(self, loaded, path, status):
        told = explain(
            question(tenant="other", answer=self.ANSWER, path=f"/v2/models/m1/{path}"), loaded, None
        )
        assert (told.action, told.guard) == (Action.BLOCK, "pii")
        assert told.status == status
        assert told.message.startswith("the answer was withheld by policy")
        assert step(told, "pii", "ANSWER").action == "block"

    def test_an_answer_to_a_refused_request_is_not_played(self, loaded):
        told = explain(question(answer=self.ANSWER), loaded, scored(0.99))
        assert (told.reason, told.status) == (Reason.INJECTION_DETECTED, 403)


@given(
    text=st.text(st.characters(codec="utf-8"), max_size=60),
    answer=st.none() | st.text(st.characters(codec="utf-8"), max_size=60),
    tenant=st.sampled_from(["acme", "other"]),
    route=st.sampled_from([None, "generate", "plain", "nothing"]),
    score=st.none() | st.floats(0, 1),
    chat=st.booleans(),
    stream=st.booleans(),
)
@settings(max_examples=60)
def test_any_request_has_an_explanation_without_its_text(
    loaded, *, text, answer, tenant, route, score, chat, stream
):
    canary = "Zugvogel"
    said = f"{canary} {text} {canary}@example.com"
    body = {"text_input": said}
    if chat:
        body = {"model": "m1", "messages": [{"role": "user", "content": said}], "stream": stream}
    asked = Question(
        body=json.dumps(body).encode(),
        tenant=tenant,
        route=route,
        answer=None if answer is None else f"{answer} {canary}@example.org",
    )
    told = explain(asked, loaded, None if score is None else scored(score))
    assert canary not in explanation_text(told)
    assert canary not in explanation_json(told)
    assert canary not in repr(told)


def test_any_body_has_an_explanation(loaded):
    @given(st.binary(max_size=80))
    @settings(max_examples=60)
    def check(body):
        told = explain(question(body=body), loaded, None)
        assert told.action in set(Action)

    check()
