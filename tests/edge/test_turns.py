"""Whose turn it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from extproc.edge.turns import Turns


@dataclass(frozen=True, eq=False)
class Call:
    tenant: str
    chars: int = 100
    places: int = 1


def queue(*calls, places_max=100, tenant_places_max=100):
    turns = Turns(places_max, tenant_places_max)
    for call in calls:
        assert turns.add(call) == []
    return turns


def taken(turns, count):
    return "".join(turns.take().tenant for _ in range(count))


def test_equal_calls_alternate_and_a_tenants_own_stay_in_order():
    calls = [Call("a") for _ in range(3)] + [Call("b") for _ in range(3)]
    turns = queue(*calls)
    order = [turns.take() for _ in calls]
    assert "".join(call.tenant for call in order) == "ababab"
    assert [call for call in order if call.tenant == "a"] == calls[:3]
    assert turns.take() is None


def test_work_counts_and_not_calls():
    turns = queue(*[Call("a", chars=1_000) for _ in range(9)], *[Call("b", chars=100) for _ in range(90)])
    counts = Counter(taken(turns, 40))
    assert 5 <= counts["b"] / counts["a"] <= 7  # (1000 + 64) / (100 + 64) = 6.5


def test_who_was_idle_neither_owes_nor_banks():
    turns = queue(*[Call("a") for _ in range(20)])
    taken(turns, 10)
    for _ in range(4):
        turns.add(Call("b"))
    # One at once, since the last call taken began there; then by turns.
    assert taken(turns, 6) in {"bababa", "bbabab"}


def test_a_queue_of_long_calls_does_not_stand_before_a_newcomer():
    turns = queue(*[Call("a", chars=90_000) for _ in range(50)])
    turns.take()
    turns.add(Call("v"))
    assert turns.take().tenant == "v"


def test_only_what_is_half_as_long_and_of_a_tenant_that_used_less_passes():
    long = Call("a", chars=10_000)
    turns = queue(long)
    assert turns.take() is long
    turns.add(Call("a", chars=1))
    turns.add(Call("b", chars=6_000))
    assert turns.take_before(long) is None
    short = Call("c", chars=4_000)
    turns.add(short)
    assert turns.take_before(long) is short
    # What passes may be passed in turn.
    turns.add(Call("d", chars=100))
    assert turns.take_before(short).tenant == "d"
    assert turns.take_before(long) is None


def test_short_calls_pass_until_their_tenant_has_used_as_much():
    long = Call("a", chars=10_000)
    turns = queue(long)
    turns.take()
    for _ in range(30):
        turns.add(Call("b", chars=1_000))
    passed = 0
    while turns.take_before(long) is not None:
        passed += 1
    assert passed == 10  # 10 x 1,064 are the first to exceed 10,064


def test_a_share_is_bounded_except_for_a_single_call():
    turns = queue(Call("a", places=2), tenant_places_max=3, places_max=8)
    assert turns.add(Call("a", places=2)) is None
    assert turns.add(Call("a")) == []
    assert turns.add(Call("b", places=5)) == []
    assert turns.places == 8


def test_the_newest_of_the_greediest_leaves_for_one_with_less():
    calls = [Call("a") for _ in range(4)]
    turns = queue(*calls, Call("b"), Call("b"), places_max=6)
    first, second = Call("c"), Call("c")
    assert turns.add(first) == [calls[3]]
    assert turns.add(second) == [calls[2]]
    # Now each has two: nobody has more than a third of c's would be.
    assert turns.add(Call("c")) is None
    assert turns.places == 6


def test_a_call_that_cannot_come_in_makes_nobody_leave():
    turns = queue(*[Call("a") for _ in range(4)], places_max=4)
    assert turns.add(Call("b", places=4)) is None
    assert turns.places == 4


def test_who_left_is_not_taken():
    gone, stays = Call("a"), Call("a")
    turns = queue(gone, stays)
    assert turns.remove(gone)
    assert not turns.remove(gone)
    assert turns.take() is stays
    assert not turns


def test_idle_tenants_are_forgotten():
    turns = queue()
    for number in range(1_000):
        turns.add(Call(f"t{number}"))
        turns.take()
        turns.done()
    assert turns._tenants == {}


def test_who_used_no_more_than_others_is_forgotten_while_work_goes_on():
    turns = queue(*[Call("a") for _ in range(1_001)], places_max=2_001, tenant_places_max=2_001)
    for number in range(1_000):
        turns.take()
        turns.add(Call(f"t{number}"))
    assert len(turns._tenants) <= 1_001
    while turns.take() is not None:
        pass
    turns.add(Call("z"))
    assert len(turns._tenants) <= 2


def test_clear():
    calls = [Call("a"), Call("b"), Call("a")]
    turns = queue(*calls)
    assert set(turns.clear()) == set(calls)
    assert (turns.places, turns.take()) == (0, None)
