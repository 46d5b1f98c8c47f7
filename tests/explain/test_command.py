import io
from pathlib import Path

import pytest

from extproc.domain.errors import PolicyError
from extproc.domain.limits import LIMITS
from extproc.explain.command import BLOCKED, PASSES, CheckOptions, run_check
from extproc.explain.model import ExplainError

ONE = "version: 1\ntenants: {acme: {policy: a}}\npolicies: {a: {guards: {schema: {models: [m]}}}}\n"
TWO = ONE.replace("acme: {policy: a}", "acme: {policy: a}, other: {policy: a}")
REQUEST = b'{"text_input": "hello"}'


@pytest.fixture
def check(tmp_path):
    def checked(text=ONE, *, request=REQUEST, answer=None, answer_body=None, **words):
        path = Path(tmp_path / "policy.yaml")
        path.write_text(text, encoding="utf-8")
        options = CheckOptions(policy=path, model=False, **words)
        files = (None if one is None else io.BytesIO(one) for one in (request, answer, answer_body))
        asked, said, sent = files
        return run_check(asked, options, answer=said, answer_body=sent)

    return checked


def test_the_only_tenant_needs_no_word(check):
    text, code = check()
    assert code == PASSES
    assert "tenant acme" in text


def test_the_code_says_what_becomes_of_the_request(check):
    assert check(request=b'{"text_input": "mail ann@example.com"}')[1] == PASSES
    assert check(request=b"{")[1] == BLOCKED


def test_without_a_body_it_is_read(check):
    text, code = check(request=None, path="/v1/models")
    assert code == PASSES
    assert "\nGET /v1/models, read as openai_models (read_only)\n" in text


def test_a_header_can_be_given(check):
    assert check(headers=("Content-Encoding: gzip",))[1] == BLOCKED
    assert check(headers=("accept: application/json",))[1] == PASSES


def test_an_answer_that_is_shown_commands_no_terminal(check):
    said = "mail ann@example.com\x1b[2J\nand \u202eback\u00e9"
    text, code = check(answer=said.encode(), shows_answer=True)
    assert code == PASSES
    assert (
        "\nanswer:    text_output\n  mail [EMAIL_ADDRESS]\\x1b[2J\n  and \\u202eback\u00e9\nnote: " in text
    )


def test_json_is_json(check):
    assert check(as_json=True)[0].startswith("{\n")


@pytest.mark.parametrize(
    ("policy", "words", "says"),
    [
        (TWO, {}, "with --tenant write one of: acme, other"),
        (ONE, {"tenant": "acne"}, "did you mean acme"),
        ("version: 1\npolicies: {a: {}}", {}, "holds no tenant"),
        (ONE, {"path": "v2/models/m/generate"}, "--path is no path"),
        (ONE, {"path": "/v2/models/m m/generate"}, "--path is no path"),
        (ONE, {"path": "/v2/models/\x1b/generate"}, "--path is no path"),
        (ONE, {"method": "get it"}, "--method is no method"),
        (ONE, {"headers": ("nothing",)}, "--header is no header"),
        (ONE, {"headers": ("Two Words: x",)}, "--header is no header"),
        (ONE, {"headers": ("a: b\r\nc: d",)}, "--header is no header"),
        (ONE, {"headers": ("Authorization: Bearer x",)}, "--header holds a credential"),
        (ONE, {"request": None}, "which request"),
        (ONE, {"answer": b"x", "answer_body": b"{}"}, "two answers"),
        (ONE, {"shows_answer": True}, "--show-answer shows what becomes"),
        (ONE, {"answer_body": b"a" * (LIMITS.answer_bytes_max + 1)}, "too long"),
        (ONE, {"answer": b"\xff"}, "not UTF-8"),
        (ONE, {"answer": b"a" * (LIMITS.answer_bytes_max + 1)}, "too long"),
    ],
)
def test_what_cannot_be_asked_is_said(check, policy, words, says):
    with pytest.raises(ExplainError, match=says):
        check(policy, **words)


def test_a_policy_that_does_not_check_explains_nothing(check):
    with pytest.raises(PolicyError, match=r"policy\.yaml:1"):
        check("version: 2")
