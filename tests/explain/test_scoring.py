"""The models of this process, the operator's own among them."""

from __future__ import annotations

import io

import pytest
from tiny_classifier import write_directory

from extproc.explain.command import BLOCKED, PASSES, CheckOptions, run_check
from extproc.explain.model import ExplainError

POLICY = """
version: 1
tenants: {acme: {policy: a}}
policies: {a: {guards: {schema: {models: [m]}, moderation: {mode: enforce, head: toxic}}}}
"""


@pytest.fixture
def check(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, encoding="utf-8")

    def checked(text, **words):
        body = b'{"text_input": "%s"}' % text.encode()
        return run_check(io.BytesIO(body), CheckOptions(policy=path, **words))

    return checked


def test_a_judge_model_is_asked_as_the_service_asks_it(check, tmp_path):
    folder = str(write_directory(tmp_path / "house"))
    assert check("a garden", judge=(folder, None, None))[1] == PASSES
    text, code = check("what rubbish", judge=(folder, None, None))
    assert code == BLOCKED
    assert "moderation" in text


def test_a_head_that_no_model_has_is_no_answer(check):
    with pytest.raises(ExplainError, match="the head toxic, which no model here has; give --judge-model"):
        check("a garden")
    assert check("a garden", model=False)[1] == PASSES


def test_a_head_that_the_given_model_has_not_is_told_with_those_that_it_has(check, tmp_path):
    folder = str(write_directory(tmp_path / "house", labels=("rude", "spam")))
    with pytest.raises(ExplainError, match="head toxic, which no model here has; write one of: rude, spam"):
        check("a garden", judge=(folder, None, None))


def test_what_belongs_to_a_judge_model_needs_one(check, tmp_path):
    with pytest.raises(ExplainError, match="belong to a --judge-model"):
        check("a garden", judge=(None, tmp_path, None))
