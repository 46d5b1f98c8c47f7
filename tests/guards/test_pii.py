"""The guard with the shipped rules; what it shares with others is tested in test_rules."""

from dataclasses import replace

import pytest
from exchanges import exchange, guard_env, read_only

from extproc.domain.reading import OnDeadline, SpanModel
from extproc.domain.verdict import Action, Reason
from extproc.guards import pii
from extproc.guards._rules import OnFinding
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import Redactor

MAIL = "jane.doe@example.com"


@pytest.fixture(scope="module")
def env():
    return replace(guard_env(), find=Redactor(default_automaton(), hash_key=b"k" * 32).find)


def judge(env, *texts, **settings):
    return pii.GUARD.build(pii.Settings(**settings), env).judge(exchange(*texts), ())


def test_a_mail_address_is_replaced_by_its_type(env):
    verdict = judge(env, f"write to {MAIL} today")
    (edit,) = verdict.edits
    assert (verdict.action, edit.replacement) == (Action.REDACT, "[EMAIL_ADDRESS]")
    assert (edit.start, edit.end) == (9, 9 + len(MAIL))


def test_an_operator_of_the_policy_takes_its_place(env):
    (edit,) = judge(env, MAIL, operators={"EMAIL_ADDRESS": "replace:someone"}).edits
    assert edit.replacement == "someone"


def test_only_the_types_asked_for_are_found(env):
    assert judge(env, MAIL, entity_types=("IBAN_CODE",)).action is Action.ALLOW
    assert judge(env, MAIL, entity_types=("EMAIL_ADDRESS",)).action is Action.REDACT


def test_a_block_has_its_own_reason(env):
    assert judge(env, MAIL, request=OnFinding.BLOCK).reason is Reason.PII_FOUND


def test_a_credential_is_not_this_guards(env):
    assert judge(env, "AK" + "IA" + "ABCDEFGH23456789").action is Action.ALLOW


MODEL = pii.ModelSettings(name="names-v1", entity_types=("PERSON",), on_deadline=OnDeadline.RELEASE_RULES)


def test_a_model_reads_answers_that_a_model_has_written(env):
    made = pii.GUARD.build(pii.Settings(model=MODEL), env)
    assert made.scanner(exchange("hi")).model == SpanModel(
        name="names-v1",
        entity_types=frozenset({"PERSON"}),
        deadline_ms=2_000,
        on_deadline=OnDeadline.RELEASE_RULES,
    )
    assert made.scanner(read_only()).model is None
    assert made.watch.model is None
    assert pii.GUARD.build(pii.Settings(), env).scanner(exchange("hi")).model is None
    assert (
        pii.GUARD.build(pii.Settings(model=MODEL, answer=OnFinding.ALLOW), env).scanner(exchange("hi"))
        is None
    )


@pytest.mark.parametrize(
    "model",
    [
        pii.ModelSettings(name="names-v1"),
        pii.ModelSettings(entity_types=("PERSON",)),
        pii.ModelSettings(name="Names v1", entity_types=("PERSON",)),
        pii.ModelSettings(name="names-v1", entity_types=("person",)),
    ],
)
def test_a_model_that_cannot_be_is_refused(model):
    with pytest.raises(ValueError, match=r"model|entity types"):
        pii.Settings(model=model)
