"""The explanation is the service's own decision; what it tells holds no text."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc import codecs, policies
from extproc.domain.effects import Scores, TextScore
from extproc.domain.errors import FailureKind
from extproc.domain.head import RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Action, Kept, Mode, Reason
from extproc.edge.sealing import new_keys, public_key
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
ANTHROPIC = b'{"model":"m1","max_tokens":9,"messages":[{"role":"user","content":"x"}]}'
GRPC = "/inference.GRPCInferenceService"
# model_name m1 and one input, text_input, that says x.
INFER = bytes.fromhex("0a026d312a160a0a746578745f696e707574120542595445531a01013a050100000078")
GOLDEN = Path(__file__).parents[1] / "golden" / "codecs"
SAMPLES = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text()) for path in GOLDEN.glob("*/*.json")
}
EMAIL = "ann@example.com"
PUBLIC = public_key(new_keys()[0])
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
    off = {name for name, spec in guard_specs().items() if spec.mode is Mode.OFF}
    assert all(one.action == ("off" if one.guard in off else "allow") for one in told.steps)
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
    assert {one.guard: one.action for one in told.steps if one.action not in {"allow", "off"}} == {
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
    told = explain(question(path="/v2/nothing/of/the/kind"), loaded, None)
    assert (told.codec, told.status) == ("", 403)
    assert told.message.startswith("this endpoint is not exposed")


def test_a_request_that_no_budget_holds_is_refused_without_a_reservation(load):
    text = POLICY.replace(
        "models: [m1, m2]}", "models: [m1]}, budget: {limits: [{window: minute, tokens: 10}]}"
    )
    told = explain(question(), load(text), None)
    assert (told.reason, told.status, told.tokens_reserved) == (Reason.BUDGET_EXCEEDED, 413, None)


@pytest.mark.parametrize(
    ("path", "stream", "asked"),
    [
        ("/v1/messages", True, False),
        ("/v1/chat/completions", False, False),
        ("/v1/chat/completions", True, True),
    ],
)
def test_token_counts_are_asked_for_where_they_do_not_come_by_themselves(loaded, path, stream, asked):
    body = {
        "model": "m1",
        "max_tokens": 5,
        "stream": stream,
        "messages": [{"role": "user", "content": "x"}],
    }
    told = explain(question(body=json.dumps(body).encode(), path=path), loaded, scored())
    assert told.forwarded.asks_for_usage is asked


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"text_input":"x"}', "/v2/models/m1/generate"),
        (b'{"model":"m1","messages":[{"role":"user","content":"x"}]}', "/v1/chat/completions"),
        (b'{"model":"m1","system":"s","messages":[{"role":"user","content":"x"}]}', "/v1/messages"),
        (b'{"model":"m1","prompt":"x"}', "/v1/completions"),
        (
            b'{"inputs":[{"name":"text_input","shape":[1],"datatype":"BYTES","data":["x"]}]}',
            "/v2/models/m1/infer",
        ),
        (b'{"note":"messages","text_input":"x"}', "/v2/models/m1/generate"),
        (b"not even JSON", "/v2/models/m1/generate"),
        (b"[" * 100_000, "/v2/models/m1/generate"),
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
            {"body": b'{"model":"m1","prompt":"x"}'},
            {"body": b'{"model":"m1","prompt":"x","stream":true}'},
            {"body": b'{"inputs":[{"name":"text_input","shape":[1],"datatype":"BYTES","data":["x"]}]}'},
            {"body": INFER, "path": f"{GRPC}/ModelInfer"},
            {"body": INFER, "path": f"{GRPC}/ModelStreamInfer"},
            {"body": ANTHROPIC, "path": "/v1/messages"},
            {"body": ANTHROPIC.replace(b"{", b'{"stream":true,', 1), "path": "/v1/messages"},
        ],
        ids=[
            "generate",
            "generate_stream",
            "chat",
            "chat stream",
            "completion",
            "completion stream",
            "infer",
            "gRPC",
            "gRPC stream",
            "messages",
            "messages stream",
        ],
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

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"path": "/v2/models/m1/generate_stream"},
            {"body": b'{"model":"m1","stream":true,"messages":[{"role":"user","content":"x"}]}'},
            {"body": ANTHROPIC},
            {"body": INFER, "path": f"{GRPC}/ModelStreamInfer"},
        ],
        ids=["generate", "generate_stream", "chat stream", "messages", "gRPC stream"],
    )
    def test_what_the_client_gets_of_it_is_shown_where_that_is_asked_for(self, loaded, changes):
        asked = question(answer=self.ANSWER, shows_answer=True, **changes)
        shown = explain(asked, loaded, None).answer
        clean = self.ANSWER.replace(EMAIL, "[EMAIL_ADDRESS]").replace(CARD, "[CREDIT_CARD]")
        assert [one.text for one in shown] == [clean]
        assert explain(replace(asked, shows_answer=False), loaded, None).answer is None

    def test_of_one_that_is_withheld_nothing_is_shown(self, loaded):
        path = "/v2/models/m1/generate"
        asked = question(tenant="other", answer=self.ANSWER, path=path, shows_answer=True)
        told = explain(asked, loaded, None)
        assert told.answer == ()
        assert "\nanswer:    nothing of its text\n" in explanation_text(told)

    def test_of_one_that_is_cut_the_text_before_is_shown(self, loaded):
        path = "/v2/models/m1/generate_stream"
        asked = question(tenant="other", answer=self.ANSWER, path=path, shows_answer=True)
        (shown,) = explain(asked, loaded, None).answer
        assert shown.text.startswith("write to ")
        assert "ann" not in shown.text
        assert "or pay" not in shown.text

    @pytest.mark.parametrize(("path", "status"), [("generate", 403), ("generate_stream", 200)])
    def test_it_is_withheld_before_or_after_its_head_went_out(self, loaded, path, status):
        told = explain(
            question(tenant="other", answer=self.ANSWER, path=f"/v2/models/m1/{path}"), loaded, None
        )
        assert (told.action, told.guard) == (Action.BLOCK, "pii")
        assert told.status == status
        assert told.message.startswith("the answer was withheld by policy")
        assert step(told, "pii", "ANSWER").action == "block"

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_head_judges_it_too(self, load, stream):
        head = "moderation: {mode: enforce, head: toxic, head_reads: answer}"
        judged = load(POLICY.replace("{models: [m1, m2]}}", "{models: [m1, m2]}, " + head + "}"))
        path = "/v2/models/m1/generate_stream" if stream else "/v2/models/m1/generate"

        def scoring(effect):
            return scored(0.9 if effect.head == "toxic" else 0.1)(effect)

        told = explain(question(answer=self.ANSWER, path=path), judged, scoring)
        assert (told.action, told.reason, told.guard) == (
            Action.BLOCK,
            Reason.TOPIC_BLOCKED,
            "moderation",
        )
        assert step(told, "moderation", "ANSWER").action == "block"
        harmless = explain(question(answer=self.ANSWER, path=path), judged, scored(0.1))
        assert step(harmless, "moderation", "ANSWER").action == "allow"
        assert harmless.action is Action.REDACT
        left_out = explain(question(answer=self.ANSWER, path=path), judged, None)
        assert step(left_out, "moderation", "ANSWER").action == "skipped"

    def test_an_answer_to_a_refused_request_is_not_played(self, loaded):
        told = explain(question(answer=self.ANSWER), loaded, scored(0.99))
        assert (told.reason, told.status) == (Reason.INJECTION_DETECTED, 403)

    @pytest.mark.parametrize(
        ("path", "sent"),
        [
            ("generate", json.dumps({"text_output": f"write to {EMAIL}"}).encode()),
            (
                "generate_stream",
                b"data: " + json.dumps({"text_output": f"write to {EMAIL}"}).encode() + b"\n\n",
            ),
        ],
    )
    def test_it_may_be_what_the_server_sends(self, loaded, path, sent):
        told = explain(question(answer_body=sent, path=f"/v2/models/m1/{path}"), loaded, None)
        assert (told.action, told.reason, told.status) == (Action.REDACT, Reason.REDACTED, 200)
        assert spans(told, "pii", "ANSWER") == [("EMAIL_ADDRESS", "text_output", 9, 24)]

    def test_where_none_can_be_made_up_the_servers_own_is_asked_for(self, loaded):
        asked = question(method="GET", body=None, path="/v1/models", answer="x")
        with pytest.raises(ExplainError, match="--answer-body"):
            explain(asked, loaded, None)


# --- every codec -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SAMPLES))
@pytest.mark.parametrize("answered", [False, True])
def test_a_recorded_request_of_any_codec_is_explained(load, name, *, answered):
    sample = SAMPLES[name]
    encoding = sample.get("encoding", "utf-8")
    policy = "version: 1\ntenants: {a: {policy: p}}\npolicies: {p: {guards: {schema: {models: ['*']}}}}\n"
    told = explain(
        Question(
            body=sample["request"].encode(encoding) if sample["request"] else None,
            tenant="a",
            method=sample["method"],
            path=sample["path"],
            headers=tuple(sample.get("request_headers", {}).items()),
            answer_body=sample["response"].encode(encoding) if answered else None,
        ),
        load(policy),
        None,
    )
    assert told.codec == name.partition("/")[0]
    assert told.operation
    assert not any("bug" in note for note in told.notes)
    assert told.forwarded is not None or told.message


def test_reading_needs_no_body(loaded):
    told = explain(question(method="GET", body=None, path="/v1/models"), loaded, None)
    assert (told.codec, told.operation, told.action) == ("openai_models", "read_only", Action.ALLOW)
    assert told.forwarded.models_shown == ("m1", "m2")
    assert (told.forwarded.request_bytes, told.forwarded.forwarded_bytes) == (0, 0)
    assert "of models its answer may name only m1, m2" in explanation_text(told)


def test_a_model_that_the_tenant_may_not_use_cannot_be_read_of(loaded):
    told = explain(question(method="GET", body=None, path="/v2/models/m9/config"), loaded, None)
    assert (told.codec, told.reason, told.status) == ("triton_read_only", Reason.MODEL_NOT_ALLOWED, 404)


def test_a_method_that_a_path_does_not_have_is_refused(loaded):
    told = explain(question(method="GET", body=None, path="/v1/chat/completions"), loaded, None)
    assert (told.codec, told.action) == ("", Action.BLOCK)


def test_a_request_that_fits_several_paths_asks_for_one(loaded):
    candidates = ("/v1/embeddings", "/v1/responses")
    served = [
        path
        for path in candidates
        if codecs.codec_for(codecs.discover(), RequestHead(method="POST", path=path))
    ]
    asked = question(body=b'{"model":"m1","input":"x"}')
    if len(served) > 1:
        with pytest.raises(ExplainError, match="with --path write one of: /v1/embeddings, /v1/responses"):
            explain(asked, loaded, None)
    else:
        assert explain(asked, loaded, None).path == served[0]


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_refusal_to_a_client_of_grpc_has_its_status(load, method):
    policy = "version: 1\ntenants: {a: {policy: p}}\npolicies: {p: {guards: {schema: {models: [other]}}}}\n"
    asked = Question(body=INFER, tenant="a", path=f"{GRPC}/{method}")
    told = explain(asked, load(policy), None)
    assert (told.codec, told.reason, told.forwarded) == ("kserve_grpc", Reason.MODEL_NOT_ALLOWED, None)
    assert told.message.startswith("request for unknown model")
    if method == "ModelInfer":
        assert f"client:    gRPC status {told.grpc_status}: request for unknown model" in explanation_text(
            told
        )
        assert told.grpc_status == 5


def test_without_a_body_a_path_is_needed(loaded):
    with pytest.raises(ExplainError, match="--path"):
        explain(question(method="GET", body=None), loaded, None)


# --- what is kept ----------------------------------------------------------------------------


def keeping(bodies):
    begin = "version: 1\ntenants: {a: {policy: p}}\npolicies:\n  p:\n"
    return f"{begin}    bodies: {bodies}\n    guards: {{schema: {{models: [m]}}}}\n"


@pytest.mark.parametrize(
    ("bodies", "text", "kept", "texts", "line"),
    [
        ("{keep: redacted}", "hello", Kept.NO, 0, "not kept: only those of redact, block are"),
        (
            "{keep: redacted}",
            f"at {EMAIL}",
            Kept.REDACTED,
            2,
            "kept redacted for 7 days: 2 texts, 22 bytes",
        ),
        (
            "{keep: redacted, actions: [allow], lifetime_days: 1}",
            "hello",
            Kept.REDACTED,
            2,
            "kept redacted for 1 day",
        ),
        (
            f"{{keep: sealed, reviewer_key: {PUBLIC}}}",
            f"at {EMAIL}",
            Kept.SEALED,
            2,
            "kept sealed for 7 days",
        ),
        ("{keep: redacted}", f"at {EMAIL} " + "x" * 2**20, Kept.LOST, 0, "lost: too long to be kept"),
    ],
    ids=["harmless", "redacted", "allowed", "sealed", "too long"],
)
def test_what_would_be_kept_is_told(*, load, bodies, text, kept, texts, line):
    long = " admission: {prompt_chars_max: 2000000}," if kept is Kept.LOST else ""
    policy = keeping(bodies).replace("{schema", "{" + long + "schema")
    told = explain(
        question(text, tenant="a", answer="fine", path="/v2/models/m/generate"), load(policy), None
    )
    assert (told.bodies.kept, told.bodies.texts) == (kept, texts)
    assert f"bodies:    {line}" in explanation_text(told)
    assert "what is kept, and whether, may depend on the answer" not in told.notes


def test_without_an_answer_what_is_kept_may_change(load):
    told = explain(question(f"at {EMAIL}", tenant="a"), load(keeping("{keep: redacted}")), None)
    assert (told.bodies.kept, told.bodies.texts) == (Kept.REDACTED, 1)
    assert "what is kept, and whether, may depend on the answer" in told.notes


def test_a_policy_that_keeps_nothing_says_so(loaded):
    told = explain(question(), loaded, None)
    assert told.bodies is None
    assert "bodies:    none are kept" in explanation_text(told)


def test_content_that_no_guard_reads_is_told(load):
    text = keeping("{}").replace("{schema", "{admission: {unscanned: [image]}, schema")
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [part, {"type": "text", "text": "what?"}]}],
    }
    told = explain(question(body=json.dumps(body).encode(), tenant="a"), load(text), None)
    assert told.forwarded.unscanned == ("image",)
    assert "with content that no guard can read: image" in explanation_text(told)


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
