"""The guard with the shipped rules; what it shares with others is tested in test_rules."""

from dataclasses import replace

import pytest
from exchanges import exchange, guard_env

from extproc.domain.verdict import Action, Reason
from extproc.guards import secrets
from extproc.guards._rules import OnFinding
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import Redactor

KEY_ID = "AK" + "IA" + "ABCDEFGH23456789"


@pytest.fixture(scope="module")
def env():
    return replace(guard_env(), find=Redactor(default_automaton(), hash_key=b"k" * 32).find)


def judge(env, *texts, **settings):
    return secrets.GUARD.build(secrets.Settings(**settings), env).judge(exchange(*texts), ())


def test_a_key_in_a_prompt_is_taken_out_so_that_the_question_can_be_answered(env):
    verdict = judge(env, f"why does {KEY_ID} fail")
    (edit,) = verdict.edits
    assert (verdict.action, edit.replacement) == (Action.REDACT, "[AWS_ACCESS_KEY]")


def test_a_block_has_its_own_reason_and_does_not_repeat_the_key(env):
    verdict = judge(env, KEY_ID, request=OnFinding.BLOCK)
    assert (verdict.action, verdict.reason) == (Action.BLOCK, Reason.SECRET_FOUND)
    assert KEY_ID not in repr(verdict)


def test_personal_data_is_not_this_guards(env):
    assert judge(env, "jane.doe@example.com").action is Action.ALLOW
