from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.limits import LIMITS
from extproc.edge.room import Room

SMALL = replace(LIMITS, tenant_streams_open_max=2, tenant_bodies_bytes_max=10, bodies_bytes_max=15)


def test_a_tenant_fills_its_own_share_and_no_other():
    room = Room(SMALL)
    seats = [room.seat() for _ in range(4)]
    assert [seats[at].enter("acme") for at in range(3)] == [True, True, False]
    assert seats[3].enter("other")
    seats[0].leave()
    assert room.seat().enter("acme")


def test_bytes_are_shared_by_tenant_and_in_total():
    room = Room(SMALL)
    first, second = room.seat(), room.seat()
    first.enter("acme")
    second.enter("other")
    assert first.take(10)
    assert not first.take(1)
    assert second.take(5)
    assert not second.take(1)
    first.leave()
    assert second.take(5)
    assert room.held_bytes == 10


def test_what_came_before_the_caller_was_known_counts_for_its_tenant():
    room = Room(SMALL)
    seat = room.seat()
    assert seat.take(8)
    assert seat.enter("acme")
    other = room.seat()
    other.enter("acme")
    assert not other.take(3)


STEPS = ["enter", "take", "hold", "leave"]


def test_a_stream_that_holds_less_gives_room_back():
    room = Room(SMALL)
    seat = room.seat()
    seat.enter("acme")
    seat.take(8)
    assert seat.hold(3)
    assert (room.held_bytes, room.streams) == (3, 1)


def test_a_stream_that_holds_more_takes_room_where_there_is_any():
    room = Room(SMALL)
    seat = room.seat()
    seat.enter("acme")
    seat.take(3)
    assert seat.hold(SMALL.tenant_bodies_bytes_max)
    assert not seat.hold(SMALL.tenant_bodies_bytes_max + 1)
    assert room.held_bytes == SMALL.tenant_bodies_bytes_max


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(STEPS), st.integers(0, 9)),
        max_size=40,
    )
)
def test_nothing_is_lost_and_no_bound_is_passed(steps):
    room = Room(SMALL)
    seats = [room.seat() for _ in range(4)]
    for at, step, count in steps:
        match step:
            case "enter":
                seats[at].enter(f"tenant-{at % 2}")
            case "take":
                seats[at].take(count)
            case "hold":
                before = room.held_bytes
                assert seats[at].hold(count) or room.held_bytes == before
            case _:
                seats[at].leave()
        assert 0 <= room.held_bytes <= SMALL.bodies_bytes_max
        assert 0 <= room.streams <= 2 * SMALL.tenant_streams_open_max
    for seat in seats:
        seat.leave()
    assert (room.held_bytes, room.streams) == (0, 0)
