import pytest

from extproc.edge.breaker import Breaker


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(failures_max=3, open_ms=1_000, clock=clock)


def fail(breaker, times):
    for _ in range(times):
        assert breaker.admit()
        breaker.failed()


def test_it_admits_until_so_many_failures_in_a_row(breaker):
    fail(breaker, 2)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
    assert not breaker.admit()


def test_an_answer_between_failures_starts_the_count_anew(breaker):
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert not breaker.is_open


def test_after_its_time_exactly_one_call_may_try(breaker, clock):
    fail(breaker, 3)
    clock.now += 0.999
    assert not breaker.admit()
    clock.now += 0.001
    assert [breaker.admit() for _ in range(5)] == [True, False, False, False, False]


def test_a_try_that_succeeds_closes_it(breaker, clock):
    fail(breaker, 3)
    clock.now += 1
    assert breaker.admit()
    breaker.succeeded()
    assert not breaker.is_open
    assert [breaker.admit() for _ in range(3)] == [True, True, True]


def test_a_try_that_fails_keeps_it_open_for_its_time_again(breaker, clock):
    fail(breaker, 3)
    clock.now += 5
    fail(breaker, 1)
    assert not breaker.admit()
    clock.now += 1
    assert breaker.admit()


def test_a_try_that_is_abandoned_lets_the_next_one_try(breaker, clock):
    fail(breaker, 3)
    clock.now += 1
    assert breaker.admit()
    breaker.abandoned()
    assert breaker.is_open
    assert breaker.admit()


def test_a_try_that_never_ends_blocks_no_later_one(breaker, clock):
    fail(breaker, 3)
    clock.now += 1
    assert breaker.admit()
    clock.now += 1
    assert breaker.admit()


def test_an_abandoned_call_neither_opens_nor_closes(breaker):
    fail(breaker, 2)
    assert breaker.admit()
    breaker.abandoned()
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
