import pytest
from exchanges import exchange, guard_env, read_only
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.effects import Renewed, Reserve, Reserved
from extproc.domain.identity import Reservation, TokenLimit, Window
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ALLOWED, ExchangeView
from extproc.domain.segment import Operation
from extproc.domain.verdict import Action, Reason
from extproc.guards import budget
from extproc.guards._tokens import prompt_tokens
from extproc.guards.budget import Settings

MINUTE = TokenLimit(window=Window.MINUTE, tokens=1_000)
DAY = TokenLimit(window=Window.DAY, tokens=2_000)


def guard(tenant="acme", **settings):
    settings.setdefault("limits", (MINUTE, DAY))
    return budget.GUARD.build(Settings(**settings), guard_env(tenant))


def granted(limit=MINUTE):
    return Reserved(granted=True, limit=limit, remaining=7, retry_after_ms=0, reset_ms=1)


def denied(limit=MINUTE, *, remaining=0, retry_after_ms=1_500, reset_ms=61_001):
    return Reserved(
        granted=False, limit=limit, remaining=remaining, retry_after_ms=retry_after_ms, reset_ms=reset_ms
    )


def reserved_by(one, view):
    (effect,) = one.needs(view)
    assert isinstance(effect, Reserve)
    return effect.reservation


# --- what is reserved ------------------------------------------------------------------------


def test_prompt_and_longest_answer_are_reserved_against_every_limit():
    view = exchange("hello there", max_output_tokens=100)
    assert reserved_by(guard(), view) == Reservation(
        reservation_id="e:0",
        tenant="acme",
        tokens=prompt_tokens(view.request) + 100,
        limits=(MINUTE, DAY),
        lease_ms=LIMITS.lease_ms,
    )


def test_every_answer_asked_for_is_counted_and_the_prompt_once():
    one = reserved_by(guard(), exchange("hi", max_output_tokens=100, choices_count=1)).tokens
    three = reserved_by(guard(), exchange("hi", max_output_tokens=100, choices_count=3)).tokens
    assert three - one == 200


def test_without_a_limit_of_the_callers_the_policys_is_reserved_and_written():
    one, view = guard(output_tokens_default_max=77), exchange("hi")
    assert reserved_by(one, view).tokens == prompt_tokens(view.request) + 77
    assert one.judge(view, (granted(),)).cap_output_tokens == 77


def test_a_limit_of_the_callers_stays():
    verdict = guard(output_tokens_default_max=77).judge(exchange("hi", max_output_tokens=300), (granted(),))
    assert verdict.cap_output_tokens == 300


def test_an_embedding_reserves_its_prompt_and_writes_no_limit():
    one, view = guard(), exchange("hi", operation=Operation.EMBEDDINGS)
    assert reserved_by(one, view).tokens == prompt_tokens(view.request)
    assert one.judge(view, (granted(),)).cap_output_tokens is None


def test_the_tenant_is_the_one_whose_pipeline_it_is():
    assert reserved_by(guard("other"), exchange("hi", max_output_tokens=1)).tenant == "other"


def test_the_lease_is_the_policys():
    assert reserved_by(guard(lease_ms=200_000), exchange("hi", max_output_tokens=1)).lease_ms == 200_000


# --- what is decided -------------------------------------------------------------------------


def test_granted_passes_with_what_was_asked():
    one, view = guard(), exchange("hello", max_output_tokens=10)
    verdict = one.judge(view, (granted(),))
    assert (verdict.action, verdict.reason) == (Action.ALLOW, Reason.CLEAN)
    assert verdict.reservation == reserved_by(one, view)


def test_denied_is_a_429_that_says_when_to_come_back():
    verdict = guard().judge(exchange("hi", max_output_tokens=1), (denied(remaining=12),))
    assert (verdict.action, verdict.reason, verdict.status) == (Action.BLOCK, Reason.BUDGET_EXCEEDED, 429)
    assert verdict.headers == (
        ("retry-after", "2"),
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "12"),
        ("x-ratelimit-reset-tokens", "62"),
    )
    assert verdict.message == (
        "the token budget of 1000 a minute has 12 tokens left, too few for this request and its longest "
        "answer; try again later"
    )
    assert verdict.detector == "tokens_per_minute"
    assert (verdict.reservation, verdict.cap_output_tokens) == (None, None)


def test_denied_can_be_a_403():
    verdict = guard(over_limit_status=403).judge(exchange("hi", max_output_tokens=1), (denied(),))
    assert (verdict.status, dict(verdict.headers)["retry-after"]) == (403, "2")


@pytest.mark.parametrize(
    ("retry_after_ms", "seconds"), [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (86_400_000, "86400")]
)
def test_retry_after_is_in_whole_seconds_upwards_and_at_least_one(retry_after_ms, seconds):
    verdict = guard().judge(exchange("hi", max_output_tokens=1), (denied(retry_after_ms=retry_after_ms),))
    assert dict(verdict.headers)["retry-after"] == seconds


def test_a_request_larger_than_a_window_is_told_that_no_waiting_helps():
    one, view = guard(), exchange("hi", max_output_tokens=1_000)
    assert one.needs(view) == ()
    verdict = one.judge(view, ())
    assert (verdict.action, verdict.reason, verdict.status) == (Action.BLOCK, Reason.BUDGET_EXCEEDED, 413)
    assert verdict.headers == (("x-ratelimit-limit-tokens", "1000"),)
    asked = prompt_tokens(view.request) + 1_000
    assert verdict.message == (
        f"this request may use {asked} tokens, more than the whole token budget of 1000 a minute; "
        "shorten it or lower its limit of output tokens"
    )


def test_the_largest_request_that_can_fit_is_asked_about():
    view = exchange("hi", max_output_tokens=1)
    room = MINUTE.tokens - prompt_tokens(view.request)
    assert reserved_by(guard(), exchange("hi", max_output_tokens=room)).tokens == MINUTE.tokens
    assert guard().needs(exchange("hi", max_output_tokens=room + 1)) == ()


def test_the_smallest_limit_decides_what_can_never_fit():
    hour = TokenLimit(window=Window.HOUR, tokens=50)
    verdict = guard(limits=(MINUTE, hour)).judge(exchange("hi", max_output_tokens=60), ())
    assert (verdict.status, verdict.detector) == (413, "tokens_per_hour")


def test_a_number_without_end_stays_out_of_the_message():
    verdict = guard().judge(exchange("hi", max_output_tokens=10**60), ())
    assert (verdict.status, len(verdict.message) < 200) == (413, True)


@pytest.mark.parametrize(
    "counts", [{"max_output_tokens": 0}, {"max_output_tokens": -5}, {"choices_count": 0}]
)
def test_counts_that_would_reserve_nothing_are_refused(counts):
    one, view = guard(), exchange("hi", **counts)
    assert one.needs(view) == ()
    verdict = one.judge(view, ())
    assert (verdict.action, verdict.reason, verdict.status) == (
        Action.BLOCK,
        Reason.PARAMETER_NOT_ALLOWED,
        400,
    )


def test_reading_is_free():
    assert (guard().needs(read_only("m")), guard().judge(read_only("m"), ())) == ((), ALLOWED)


@pytest.mark.parametrize("answers", [(), (Renewed(held=True),), (granted(), granted())])
def test_without_the_answer_it_asked_for_it_refuses(answers):
    verdict = guard().judge(exchange("hi", max_output_tokens=1), answers)
    assert (verdict.action, verdict.reason, verdict.status) == (
        Action.BLOCK,
        Reason.BUDGET_UNAVAILABLE,
        503,
    )


def test_without_a_request_it_refuses():
    view = ExchangeView(exchange_id="e", head=exchange("hi").head)
    assert guard().needs(view) == ()
    assert guard().judge(view, ()).reason is Reason.BUDGET_UNAVAILABLE


def test_it_watches_no_answer():
    assert guard().scanner(exchange("hi")) is None


@given(
    texts=st.lists(st.text(max_size=50), max_size=3),
    asked=st.none() | st.integers(-2, 3_000),
    choices=st.integers(-1, 5),
    operation=st.sampled_from([Operation.CHAT, Operation.TEXT_COMPLETION]),
)
def test_nothing_passes_but_what_was_reserved_in_full(texts, asked, choices, operation):
    one = guard()
    view = exchange(*texts, operation=operation, max_output_tokens=asked, choices_count=choices)
    effects = one.needs(view)
    verdict = one.judge(view, (granted(),) * len(effects))
    if verdict.action is not Action.ALLOW:
        assert (effects, verdict.reservation) == ((), None)
        return
    assert effects == (Reserve(reservation=verdict.reservation),)
    # What the codec writes, times the answers, and the prompt: all of it is held, and fits every limit.
    assert verdict.reservation.tokens == prompt_tokens(view.request) + choices * verdict.cap_output_tokens
    assert verdict.reservation.tokens <= min(MINUTE.tokens, DAY.tokens)
    assert verdict.cap_output_tokens > 0


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        (MINUTE, TokenLimit(window=Window.MINUTE, tokens=5)),
        (TokenLimit(window=Window.DAY, tokens=0),),
        (TokenLimit(window=Window.DAY, tokens=-1),),
        (TokenLimit(window=Window.DAY, tokens=LIMITS.limit_tokens_max + 1),),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits):
    with pytest.raises(ValueError, match=r"window|tokens"):
        Settings(limits=limits)


def test_the_default_lets_a_prompt_of_admissions_length_in():
    words = "The quick brown fox jumps over the lazy dog. " * 2_223
    assert len(words) > 100_000
    one = budget.GUARD.build(Settings(), guard_env())
    assert len(one.needs(exchange(words[:100_000], max_output_tokens=2_048))) == 1


def test_a_lease_outlives_the_pause_between_renewals():
    assert Settings().lease_ms >= LIMITS.lease_ms


def test_its_place_in_the_order():
    spec = budget.GUARD
    assert (spec.name, spec.stage.name, spec.owasp, spec.error_reason) == (
        "budget",
        "BUDGET",
        "LLM10",
        Reason.BUDGET_UNAVAILABLE,
    )
