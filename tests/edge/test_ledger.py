"""The books themselves, on a real Valkey. See also test_ledger_model.py and test_ledger_faults.py."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor

import pytest
import redis
from clocked_ledger import DAY, LEASE_MS, MINUTE, PATIENT, START, Clocked, reservation
from ledger_oracle import CLOCK_KEY, TEST_CLOCK
from ledger_worker import count_granted

from extproc.domain.effects import Renewed, Reserved, Settled
from extproc.domain.errors import DependencyError, FailureKind
from extproc.domain.identity import TokenLimit, Window
from extproc.domain.limits import LIMITS
from extproc.edge.ledger import Ledger, Scripts, keys_of


@pytest.fixture
def books(valkey):
    clocked = Clocked(valkey.url)
    yield clocked
    clocked.close()


# --- reserve ---------------------------------------------------------------------------------


def test_a_reservation_holds_against_every_limit_and_names_the_tightest(books):
    assert books.reserve(reservation(tokens=400)) == Reserved(
        granted=True, limit=MINUTE, remaining=600, retry_after_ms=0, reset_ms=120_000
    )
    assert books.held() == 400


def test_the_last_token_can_be_had_and_no_more(books):
    assert books.reserve(reservation("a", 1_000)).granted
    assert books.reserve(reservation("b", 1)) == Reserved(
        granted=False, limit=MINUTE, remaining=0, retry_after_ms=1, reset_ms=120_000
    )


def test_the_same_reservation_twice_holds_once(books):
    first = books.reserve(reservation(tokens=600))
    assert books.reserve(reservation(tokens=600)) == first
    assert books.held() == 600


def test_the_same_reservation_with_another_amount_fails(books):
    books.reserve(reservation(tokens=600))
    with pytest.raises(DependencyError, match="HGCLOSED"):
        books.reserve(reservation(tokens=601))
    assert books.held() == 600


def test_a_reservation_that_arrives_after_its_settlement_holds_nothing(books):
    assert books.settle(reservation(), 0) == Settled(charged=0, refunded=0)
    with pytest.raises(DependencyError) as raised:
        books.reserve(reservation())
    assert raised.value.kind is FailureKind.UNAVAILABLE
    assert books.held() == 0
    assert books.ledger.available


def test_nothing_is_held_where_one_of_the_limits_refuses(books):
    narrow = TokenLimit(window=Window.DAY, tokens=99)
    denied = books.reserve(reservation(limits=(MINUTE, narrow)))
    assert (denied.granted, denied.limit) == (False, narrow)
    assert books.raw.keys("headgate:*") == []


def test_more_than_a_limit_can_never_fit_and_no_time_is_named(books):
    books.settle(reservation("spent"), 10)
    denied = books.reserve(reservation(tokens=1_001))
    assert (denied.granted, denied.limit, denied.retry_after_ms) == (False, MINUTE, 0)


def test_of_several_limits_the_one_that_takes_longest_is_named(books):
    hour = TokenLimit(window=Window.HOUR, tokens=1_000)
    limits = (MINUTE, hour)
    books.reserve(reservation("a", 1_000, limits=limits))
    books.settle(reservation("a", 1_000, limits=limits), 1_000)
    denied = books.reserve(reservation("b", 1_000, limits=limits))
    assert denied == Reserved(
        granted=False, limit=hour, remaining=0, retry_after_ms=2 * 3_600_000, reset_ms=2 * 3_600_000
    )


def test_a_reservation_without_a_limit_is_a_bug(books):
    with pytest.raises(ValueError, match="limit"):
        books.reserve(reservation(limits=()))


def test_tenants_do_not_see_each_other(books):
    assert books.reserve(reservation("a", 1_000)).granted
    assert books.reserve(reservation("a", 1_000, tenant="other")).granted


@pytest.mark.parametrize("tenant", ["acme", "a}b", "{a", "a b", "ü", "a:b", "%7D"])
def test_a_tenants_keys_share_one_hash_slot_whatever_its_name(tenant):
    tags = {re.fullmatch(r"headgate:\{([^{}]+)\}:[a-z]+", key).group(1) for key in keys_of(tenant)}
    assert len(tags) == 1


def test_no_two_tenants_share_a_key():
    tenants = ["a", "a}", "a%7D", "a:b", "a%3Ab", "{a}"]
    assert len({keys_of(tenant) for tenant in tenants}) == len(tenants)


# --- settle ----------------------------------------------------------------------------------


def test_settling_charges_what_was_used_and_gives_back_the_rest(books):
    books.reserve(reservation(tokens=400))
    assert books.settle(reservation(tokens=400), 150) == Settled(charged=150, refunded=250)
    assert books.held() == 0
    assert books.reserve(reservation("next", 1)).remaining == 849


def test_a_second_settlement_gives_the_first_answer_and_charges_nothing(books):
    books.reserve(reservation(tokens=400))
    books.settle(reservation(tokens=400), 150)
    assert books.settle(reservation(tokens=400), 390) == Settled(charged=150, refunded=250)
    assert books.reserve(reservation("next", 1)).remaining == 849


def test_more_than_was_reserved_is_charged_too(books):
    books.reserve(reservation(tokens=400))
    assert books.settle(reservation(tokens=400), 450) == Settled(charged=450, refunded=0)
    assert books.reserve(reservation("next", 1)).remaining == 549


def test_a_settlement_without_a_reservation_is_charged_once(books):
    assert books.settle(reservation("orphan"), 70) == Settled(charged=70, refunded=0)
    assert books.settle(reservation("orphan"), 70) == Settled(charged=70, refunded=0)
    assert books.reserve(reservation("next", 1)).remaining == 929


def test_a_settlement_is_charged_to_the_window_in_which_it_lands(books):
    minute = Window.MINUTE.duration_ms
    books.at(START + minute - 1)
    books.reserve(reservation(tokens=400, limits=(MINUTE,)))
    books.at(START + minute)
    books.settle(reservation(tokens=400, limits=(MINUTE,)), 400)
    books.at(START + 2 * minute - 1)
    assert books.reserve(reservation("late", 1, limits=(MINUTE,))).remaining == 599


def test_what_was_charged_leaves_the_window_evenly(books):
    minute = Window.MINUTE.duration_ms
    limits = (MINUTE,)
    books.settle(reservation("a", 1_000, limits=limits), 1_000)
    remaining = []
    for part in (0, 1, 2, 3):
        books.at(START + minute + part * minute // 4)
        remaining.append(books.reserve(reservation("b", 1_000, limits=limits)).remaining)
    assert remaining == [0, 250, 500, 750]
    assert books.reserve(reservation("b", 1_000, limits=limits)).reset_ms == minute // 4
    books.at(START + 2 * minute)
    assert books.reserve(reservation("b", 1_000, limits=limits)).granted


def test_an_untouched_window_is_whole(books):
    answer = books.reserve(reservation(tokens=1_001, limits=(MINUTE,)))
    assert (answer.remaining, answer.reset_ms) == (1_000, 0)


# --- leases ----------------------------------------------------------------------------------


def test_a_lease_that_runs_out_is_charged_in_full(books):
    books.reserve(reservation(tokens=400))
    books.at(START + LEASE_MS)
    assert books.reserve(reservation("next", 1, limits=(DAY,))).remaining == 4_599
    assert books.held() == 1


def test_it_is_charged_when_it_ran_out_and_not_when_that_is_seen(books):
    books.reserve(reservation(tokens=400, limits=(MINUTE,)))
    books.at(START + 3_600_000)
    assert books.reserve(reservation("next", 1, limits=(MINUTE,))).remaining == 999


def test_what_ran_out_in_the_bucket_before_is_charged_there(books):
    minute = Window.MINUTE.duration_ms
    books.reserve(reservation(tokens=400, limits=(MINUTE,), lease_ms=minute // 2))
    books.at(START + minute + minute // 4)
    assert books.reserve(reservation("next", 1, limits=(MINUTE,))).remaining == 1_000 - 300 - 1
    assert books.settle(reservation(tokens=400, limits=(MINUTE,)), 40).refunded == 360
    assert books.reserve(reservation("more", 1, limits=(MINUTE,))).remaining == 1_000 - 30 - 1 - 1


def test_a_late_settlement_corrects_what_was_charged(books):
    books.reserve(reservation(tokens=400))
    books.at(START + LEASE_MS)
    books.reserve(reservation("next", 1))
    assert books.settle(reservation(tokens=400), 30) == Settled(charged=30, refunded=370)
    assert books.settle(reservation(tokens=400), 30) == Settled(charged=30, refunded=370)
    assert books.reserve(reservation("more", 1, limits=(DAY,))).remaining == 5_000 - 30 - 1 - 1


def test_a_late_settlement_of_more_charges_the_excess_now(books):
    books.reserve(reservation(tokens=400))
    books.at(START + LEASE_MS)
    assert books.settle(reservation(tokens=400), 450) == Settled(charged=450, refunded=0)
    assert books.reserve(reservation("more", 1, limits=(DAY,))).remaining == 5_000 - 450 - 1


def test_that_excess_is_charged_in_the_window_of_its_settlement(books):
    minute = Window.MINUTE.duration_ms
    books.reserve(reservation(tokens=400, limits=(MINUTE,), lease_ms=minute // 2))
    books.at(START + minute + minute // 4)
    books.settle(reservation(tokens=400, limits=(MINUTE,)), 450)
    assert books.reserve(reservation("more", 1, limits=(MINUTE,))).remaining == 1_000 - 300 - 50 - 1


def test_renewing_lets_the_lease_begin_anew(books):
    books.reserve(reservation(tokens=400))
    books.at(START + LEASE_MS - 1)
    assert books.renew(reservation(tokens=400)) == Renewed(held=True)
    books.at(START + 2 * LEASE_MS - 2)
    assert books.renew(reservation(tokens=400)) == Renewed(held=True)
    books.at(books.now + LEASE_MS)
    assert books.renew(reservation(tokens=400)) == Renewed(held=False)
    assert books.held() == 0


def test_what_was_settled_or_never_reserved_cannot_be_renewed(books):
    assert books.renew(reservation("unknown")) == Renewed(held=False)
    books.reserve(reservation())
    books.settle(reservation(), 1)
    assert books.renew(reservation()) == Renewed(held=False)


def test_many_leases_that_ran_out_are_closed_64_at_a_time_and_none_is_forgotten(books):
    limits = (TokenLimit(window=Window.DAY, tokens=1_000),)
    for index in range(150):
        books.reserve(reservation(f"r{index}", 2, limits=limits))
    books.at(START + LEASE_MS)
    seen = []
    for _ in range(4):
        remaining = books.reserve(reservation("asks", 1_000, limits=limits)).remaining
        seen.append((books.held(), remaining))
    assert seen == [(172, 700), (44, 700), (0, 700), (0, 700)]


# --- clock, keys -----------------------------------------------------------------------------


def test_a_clock_that_goes_back_frees_nothing(books):
    books.at(START + 10 * Window.DAY.duration_ms)
    books.settle(reservation("a", 1_000, limits=(MINUTE,)), 600)
    books.at(START)
    assert books.reserve(reservation("b", 1, limits=(MINUTE,))).remaining == 399
    books.settle(reservation("b", 1, limits=(MINUTE,)), 300)
    assert books.reserve(reservation("c", 1, limits=(MINUTE,))).remaining == 99


def test_every_key_runs_out_after_two_windows_and_what_is_remembered(books):
    books.reserve(reservation())
    books.settle(reservation("b"), 1)
    books.renew(reservation())
    longest = LIMITS.expired_remembered_ms + LIMITS.settled_remembered_ms + 2 * DAY.window.duration_ms
    lives = {key: books.raw.pttl(key) for key in books.raw.keys("headgate:*")}
    assert set(lives) == set(keys_of("acme"))
    assert all(2 * DAY.window.duration_ms < life <= longest for life in lives.values())


def test_closed_reservations_are_forgotten(books):
    books.reserve(reservation("a"))
    books.settle(reservation("a"), 1)
    books.reserve(reservation("b"))
    books.at(START + LIMITS.settled_remembered_ms)
    books.renew(reservation("none"))
    assert books.raw.hkeys(keys_of("acme")[2]) == ["b"]
    books.at(START + LEASE_MS + LIMITS.expired_remembered_ms)
    books.renew(reservation("none"))
    assert (books.raw.hkeys(keys_of("acme")[2]), books.raw.zcard(keys_of("acme")[1])) == ([], 0)


def test_redis_holds_names_of_reservations_and_numbers_and_nothing_else(books):
    names = ["3f2a-77:0", "3f2a-77:1", "3f2a-77:2", "3f2a-77:3"]
    for name in names:
        books.reserve(reservation(name))
    books.settle(reservation(names[0]), 5)
    books.at(START + LEASE_MS)
    books.renew(reservation(names[1]))
    books.raw.delete(CLOCK_KEY)
    account, due, reservations = keys_of("acme")
    assert sorted(books.raw.keys("*")) == sorted([account, due, reservations])
    shape = r"\d+|\d+ \d+ \d+"
    fields = books.raw.hgetall(account)
    assert set(fields) == {"held", "60000", "3600000", "86400000"}
    assert all(re.fullmatch(shape, value) for value in fields.values())
    assert set(books.raw.zrange(due, 0, -1)) == set(names)
    states = books.raw.hgetall(reservations)
    assert set(states) == set(names)
    assert all(re.fullmatch(r"(open|expired|settled) \d+( \d+)?", state) for state in states.values())


def test_a_window_that_only_another_policy_has_is_charged_too(books):
    books.reserve(reservation("a", 10, limits=(MINUTE, DAY)))
    books.reserve(reservation("b", 10, limits=(MINUTE,)))
    books.settle(reservation("b", 10, limits=(MINUTE,)), 10)
    assert books.reserve(reservation("c", 1, limits=(DAY,))).remaining == 5_000 - 10 - 10 - 1


def test_the_shipped_clock_is_redis_own_and_no_caller_can_shift_it():
    shipped, tested = Scripts.load(), Scripts.load(clock=TEST_CLOCK)
    for duty in ("reserve", "settle", "renew"):
        text = getattr(shipped, duty).text
        assert CLOCK_KEY not in text
        assert text.count("redis.call('TIME')") == 1
        assert getattr(tested, duty).text.count("redis.call('TIME')") == 0


def test_the_shipped_clock_is_in_milliseconds_of_the_unix_epoch(valkey):
    async def reserve():
        ledger = Ledger(valkey.url, limits=PATIENT)
        await ledger.reserve(reservation())
        await ledger.close()

    def milliseconds(raw):
        seconds, microseconds = raw.time()
        return seconds * 1_000 + microseconds // 1_000

    with redis.Redis.from_url(valkey.url) as raw:
        before = milliseconds(raw)
        asyncio.run(reserve())
        at = raw.zscore(keys_of("acme")[1], "r") - LEASE_MS
        assert before <= at <= milliseconds(raw)


def test_the_shipped_scripts_count_by_redis_own_clock(valkey):
    async def spend():
        ledger = Ledger(valkey.url, limits=PATIENT)
        try:
            granted = await ledger.reserve(reservation())
            return granted, await ledger.renew(reservation()), await ledger.settle(reservation(), 7)
        finally:
            await ledger.close()

    granted, renewed, settled = asyncio.run(spend())
    assert (granted.granted, granted.remaining) == (True, 900)
    assert 60_000 < granted.reset_ms <= 120_000
    assert (renewed, settled) == (Renewed(held=True), Settled(charged=7, refunded=93))


# --- many at once ----------------------------------------------------------------------------


def test_of_a_hundred_at_once_from_two_processes_exactly_those_that_fit_are_granted(valkey):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=2, mp_context=spawn) as pool:
        counts = [pool.submit(count_granted, valkey.url, f"p{index}", 50) for index in range(2)]
        assert sum(count.result(timeout=60) for count in counts) == 10
