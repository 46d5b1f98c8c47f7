import json
from dataclasses import replace
from pathlib import Path

import pytest

from extproc import policies
from extproc.explain.model import Question, ShownText
from extproc.explain.run import explain
from extproc.explain.text import explanation_json, explanation_text

GOLDEN = Path(__file__).parents[1] / "golden/explain.txt"
POLICY = """
version: 1
tenants: {acme: {policy: a}}
policies:
  a:
    guards:
      schema: {models: [m], output_tokens_max: 10}
      pii: {mode: shadow, request: block, answer: block}
      secrets: {answer: block}
"""
REQUEST = b'{"text_input": "mail ann@example.com, bob@example.com or pay 4111 1111 1111 1111"}'


def told(tmp_path, **changes):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, encoding="utf-8")
    question = Question(body=REQUEST, tenant="acme", **changes)
    return explain(question, policies.load(path), None)


def test_the_table_changes_only_on_purpose(tmp_path):
    allowed = told(tmp_path, answer="call me at ann@example.com")
    refused = told(tmp_path, path="/v2/models/other/generate")
    digest = allowed.policy_digest[:12]
    text = explanation_text(allowed) + "\n" + explanation_text(refused)
    assert text.replace(digest, "DIGEST") == GOLDEN.read_text(encoding="utf-8")


def test_the_json_has_the_same_facts(tmp_path):
    facts = json.loads(explanation_json(told(tmp_path)))
    assert (facts["action"], facts["reason"], facts["status"]) == ("allow", "clean", None)
    pii = next(one for one in facts["steps"] if one["guard"] == "pii")
    assert (pii["mode"], pii["action"], len(pii["found"])) == ("shadow", "block", 3)
    assert facts["forwarded"]["changes"] == []
    assert facts["tokens_reserved"] > 10


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        ({"content": "", "tool_calls.0.arguments": "{}"}, "answer:    tool_calls.0.arguments\n  {}\n"),
        ({"content": ""}, "answer:    nothing of its text\n"),
        ({}, "answer:    nothing of its text\n"),
    ],
)
def test_of_an_answer_only_places_with_text_are_shown(tmp_path, texts, shown):
    answer = tuple(ShownText(choice=0, place=place, text=text) for place, text in texts.items())
    printed = explanation_text(replace(told(tmp_path), answer=answer, notes=()))
    assert printed.partition("answer:")[1:] == ("answer:", shown.removeprefix("answer:"))
