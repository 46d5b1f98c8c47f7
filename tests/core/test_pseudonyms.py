"""Values that stand as tokens before the model, through whole streams: turned back for their owner."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from doubles import PRINCIPAL, LineCodec, Playbook, bound, policy
from exchanges import guard_env
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import commands as cmd
from extproc.core.stream import Stream
from extproc.domain.bodies import BodyRule, Keep
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Action, EntityCount, Lane, Mode
from extproc.guards import pii
from extproc.guards._rules import OnFinding
from extproc.policies import new_redactor

REDACTOR = new_redactor(b"0" * 32)
ENV = replace(guard_env(), find=REDACTOR.find)
MAIL, OTHER = "ann@example.com", "bob@example.com"
TOKEN = re.compile(r"\[EMAIL_ADDRESS_[a-z]{10}\]")
OPERATORS = {"EMAIL_ADDRESS": "pseudonym"}


def snapshot(mode=Mode.ENFORCE, **settings):
    guard = pii.GUARD.build(pii.Settings(**{"operators": OPERATORS} | settings), ENV)
    return replace(policy(bound(guard, name="pii", mode=mode)), scanner=REDACTOR)


class Talk:
    """One stream: what is asked, what the model gets, what it says and what the client gets."""

    def __init__(self, held=None, *, stream_id="", **options):
        self.play = Playbook(held or snapshot(), **options)
        if stream_id:
            self.play.stream = Stream(
                stream_id=stream_id,
                at_us=1_000,
                at_unix_ms=0,
                policy=held or snapshot(),
                codecs=[LineCodec(alone=True)],
                limits=LIMITS,
            )
        self.play.head()

    def ask(self, text, *, end=True):
        before = len(self.play.sent(Lane.REQUEST))
        self.play.body(text.encode() + b"\n", end=end)
        return self.play.sent(Lane.REQUEST)[before:].decode().removesuffix("\n")

    def say(self, *pieces, key=0):
        before = len(self.play.sent(Lane.RESPONSE))
        for piece in pieces:
            self.play.answer(f"{key} {piece}\n".encode())
        sent = self.play.sent(Lane.RESPONSE)[before:].decode()
        return "".join(line.partition(" ")[2] for line in sent.splitlines())


def test_the_model_gets_a_token_and_the_client_his_value():
    talk = Talk()
    asked = talk.ask(f"write to {MAIL} and {OTHER}, then {MAIL} again")
    first, second, third = TOKEN.findall(asked)
    assert asked == f"write to {first} and {second}, then {first} again"
    assert (first == third, first == second) == (True, False)
    talk.play.answer_head()
    assert talk.say(f"wrote to {second} and {first}.", ".") == f"wrote to {OTHER} and {MAIL}.."


@given(st.lists(st.integers(0, 80), max_size=12))
def test_also_where_it_comes_in_pieces(cuts):
    talk = Talk()
    (token,) = TOKEN.findall(talk.ask(f"write to {MAIL}"))
    talk.play.answer_head()
    text = f"[wrote] to {token}, [EMAIL_ADDRESS] and {token[:9]}"
    ends = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    pieces = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    said = talk.say(*[piece for piece in pieces if piece not in {"", ".", ";"}])
    said += talk.say(".")
    assert said == f"[wrote] to {MAIL}, [EMAIL_ADDRESS] and {token[:9]}."


def test_what_the_model_invents_is_redacted():
    talk = Talk()
    (token,) = TOKEN.findall(talk.ask(f"write to {MAIL}"))
    talk.play.answer_head()
    assert talk.say(f"{OTHER} {MAIL} {token} x, ") == f"[EMAIL_ADDRESS] [EMAIL_ADDRESS] {MAIL} x, "


def test_another_streams_token_stays_what_it_is():
    one, two = Talk(), Talk(stream_id="5f6a1f0e-0000-4000-8000-000000000002")
    (mine,) = TOKEN.findall(one.ask(f"write to {MAIL}"))
    (its,) = TOKEN.findall(two.ask(f"write to {MAIL} not {mine}").replace(mine, ""))
    assert mine != its
    two.play.answer_head()
    assert two.say(f"{mine} {its} x, ") == f"{mine} {MAIL} x, "


def test_a_token_like_text_of_the_client_goes_on_and_comes_back_as_it_is():
    talk = Talk()
    own = "[EMAIL_ADDRESS_bcdfghjklm]"
    asked = talk.ask(f"is {own} you, {MAIL}")
    assert asked.startswith(f"is {own} you, [EMAIL_ADDRESS_")
    talk.play.answer_head()
    assert talk.say(f"no, {own} is not, ") == f"no, {own} is not, "


def test_exchanges_of_one_stream_share_their_tokens():
    talk = Talk(alone=False)
    (first,) = TOKEN.findall(talk.ask(f"write to {MAIL}", end=False))
    asked = talk.ask(f"and to {OTHER}, {MAIL}")
    second, again = TOKEN.findall(asked)
    assert again == first
    talk.play.answer_head()
    assert talk.say(f"to {second[:5]}", key=0) == "to "
    assert talk.say(f"to {first} ", key=1) == f"to {MAIL} "
    assert talk.say(f"{second[5:]} ", key=0) == f"{OTHER} "


def test_shadow_changes_no_byte():
    talk = Talk(snapshot(Mode.SHADOW))
    text = f"write to {MAIL} [EMAIL_ADDRESS"
    assert talk.ask(text) == text
    talk.play.answer_head()
    assert talk.say(text) == text


def test_an_answer_that_is_let_pass_is_turned_back_too():
    talk = Talk(snapshot(answer=OnFinding.ALLOW))
    (token,) = TOKEN.findall(talk.ask(f"write to {MAIL}"))
    talk.play.answer_head()
    assert talk.say(f"{token} and {OTHER}") == f"{MAIL} and {OTHER}"


def test_the_record_counts_and_what_is_kept_has_tokens_only():
    rule = BodyRule(keep=Keep.REDACTED, lifetime_days=1, actions=frozenset(Action), redact=str)
    talk = Talk(replace(snapshot(), bodies={PRINCIPAL.tenant: rule}))
    (token,) = TOKEN.findall(talk.ask(f"write to {MAIL}"))
    talk.play.answer_head()
    talk.say(token[:9], f"{token[9:]}, {token}", ".")
    talk.play.answer(b"", end=True)
    (emitted,) = [one for one in talk.play.commands if isinstance(one, cmd.Emit)]
    assert emitted.record.entities[-1:] == (
        EntityCount(
            lane=Lane.RESPONSE,
            guard="pii",
            mode=Mode.ENFORCE,
            entity_type="EMAIL_ADDRESS",
            detector="pseudonym",
            place="text",
            count=2,
        ),
    )
    assert [one.text for one in emitted.sample.request] == [f"write to {token}"]
    assert [one.text for one in emitted.sample.answer] == [f"{token}, {token}"]


@pytest.mark.parametrize("how", ["ended", "closed", "cut"])
def test_nothing_of_it_outlives_the_stream(how):
    talk = Talk()
    (token,) = TOKEN.findall(talk.ask(f"write to {MAIL}"))
    talk.play.answer_head()
    talk.say(f"to {token[:4]}")
    match how:
        case "ended":
            talk.play.answer(b"0 .\n", end=True)
        case "closed":
            talk.play.close()
        case _:
            talk.play.answer(b"nonsense\n")
    lane = talk.play.stream._request
    assert not lane.pseudonyms
    assert [one.pseudonyms for one in lane.exchanges.values()] == [[]]
    assert [one.restorers for one in lane.exchanges.values()] == [{}]


def test_an_upstream_that_breaks_off_drops_a_begun_token():
    talk = Talk()
    (token,) = TOKEN.findall(talk.ask(f"write to {MAIL}"))
    talk.play.answer_head()
    assert talk.say(f"to {token[:-1]}") == "to "
    before = talk.play.sent(Lane.RESPONSE)
    talk.play.answer(b"nonsense\n")
    assert token[:9].encode() not in talk.play.sent(Lane.RESPONSE)[len(before) :]


def test_a_request_that_is_refused_leaves_no_token():
    talk = Talk(snapshot(request=OnFinding.BLOCK))
    talk.ask(f"write to {MAIL}")
    assert not talk.play.stream._request.pseudonyms


def test_of_too_many_values_the_newest_are_turned_back():
    talk = Talk(limits=replace(LIMITS, pseudonyms_max=1))
    first, second = TOKEN.findall(talk.ask(f"write to {MAIL}, {OTHER}"))
    talk.play.answer_head()
    assert talk.say(f"{first} {second} x, ") == f"{first} {OTHER} x, "
