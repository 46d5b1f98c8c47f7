import pytest
from exchanges import KEY, PRINCIPAL, guard_env, head
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.limits import LIMITS
from extproc.domain.ports import ExchangeView
from extproc.domain.verdict import Action, Reason
from extproc.guards import identity
from extproc.guards.identity import KeyHeader, Settings

BEARER = f"Bearer {KEY}"


def judge(settings=None, **headers):
    guard = identity.GUARD.build(settings or Settings(), guard_env(""))
    exchange = ExchangeView(exchange_id="e", head=head(**headers))
    assert guard.needs(exchange) == ()
    return guard.judge(exchange, ())


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": BEARER},
        {"authorization": f"bearer {KEY}"},
        {"authorization": f"BEARER   {KEY}"},
        {"x_api_key": KEY},
    ],
)
def test_a_known_key_gives_its_principal(headers):
    verdict = judge(**headers)
    assert (verdict.action, verdict.principal) == (Action.ALLOW, PRINCIPAL)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, Reason.API_KEY_MISSING),
        ({"cookie": KEY}, Reason.API_KEY_MISSING),
        ({"authorization": f"Bearer {KEY}0"}, Reason.API_KEY_UNKNOWN),
        ({"authorization": f"Bearer {KEY[:-1]}"}, Reason.API_KEY_UNKNOWN),
        ({"x_api_key": KEY.upper()}, Reason.API_KEY_UNKNOWN),
        ({"authorization": BEARER, "x_api_key": KEY}, Reason.HEADER_INVALID),
        ({"authorization": (BEARER, BEARER)}, Reason.HEADER_INVALID),
        ({"x_api_key": (KEY, KEY)}, Reason.HEADER_INVALID),
        ({"authorization": f"{BEARER}, {BEARER}"}, Reason.HEADER_INVALID),
        ({"authorization": KEY}, Reason.HEADER_INVALID),
        ({"authorization": f"Basic {KEY}"}, Reason.HEADER_INVALID),
        ({"authorization": f"Bearer\t{KEY}"}, Reason.HEADER_INVALID),
        ({"authorization": f"Bearer{KEY}"}, Reason.HEADER_INVALID),
        ({"authorization": "Bearer "}, Reason.HEADER_INVALID),
        ({"authorization": ""}, Reason.HEADER_INVALID),
        ({"x_api_key": BEARER}, Reason.HEADER_INVALID),
        ({"x_api_key": f"{KEY}\n"}, Reason.HEADER_INVALID),
        ({"x_api_key": f"{KEY}é"}, Reason.HEADER_INVALID),
    ],
)
def test_what_is_no_known_key_is_refused_and_the_record_says_why(headers, reason):
    verdict = judge(**headers)
    assert (verdict.action, verdict.reason) == (Action.BLOCK, reason)
    assert verdict.principal is None


def test_the_client_cannot_tell_a_missing_key_from_a_malformed_or_an_unknown_one():
    refusals = {
        (verdict.status, verdict.message, verdict.headers)
        for verdict in (
            judge(),
            judge(authorization="Bearer nobody"),
            judge(authorization="Basic nobody"),
            judge(authorization=BEARER, x_api_key=KEY),
        )
    }
    assert refusals == {(401, identity.MESSAGE, (("www-authenticate", "Bearer"),))}


def test_a_key_at_the_bound_is_looked_up_and_one_beyond_it_is_not():
    at_bound = "k" * LIMITS.api_key_chars_max
    assert judge(x_api_key=at_bound).reason is Reason.API_KEY_UNKNOWN
    assert judge(x_api_key=f"{at_bound}k").reason is Reason.HEADER_INVALID


def test_a_header_that_is_not_accepted_is_not_looked_at():
    only_x = Settings(accept=(KeyHeader.X_API_KEY,))
    assert judge(only_x, authorization=BEARER).reason is Reason.API_KEY_MISSING
    assert judge(only_x, authorization="Basic upstream", x_api_key=KEY).principal == PRINCIPAL


@given(st.text(max_size=80))
def test_nothing_but_the_key_is_the_key(value):
    expected = PRINCIPAL if value == KEY else None
    assert judge(x_api_key=value).principal == expected


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=20))
def test_nothing_after_the_key_is_ignored(tail):
    expected = None if tail else PRINCIPAL
    assert judge(authorization=BEARER + tail).principal == expected
