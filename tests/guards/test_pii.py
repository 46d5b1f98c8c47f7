"""The guard with the shipped rules; what it shares with others is tested in test_rules."""

from dataclasses import replace

import pytest
from exchanges import exchange, guard_env

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
