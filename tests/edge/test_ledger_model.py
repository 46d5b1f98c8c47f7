"""The ledger against an oracle that counts in another way, over random histories."""

from __future__ import annotations

import pytest
from clocked_ledger import LEASE_MS, LIMITS_OF_TENANT, MINUTE, START, Clocked, reservation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from ledger_oracle import Books

from extproc.domain.errors import DependencyError

amounts = st.integers(1, 1_000)


@settings(deadline=None, max_examples=150)
@given(
    before=st.lists(st.tuples(st.integers(0, 59_999), amounts), max_size=4),
    used=st.lists(st.tuples(st.integers(0, 59_999), amounts), max_size=4),
    held=st.integers(0, 300),
    ask=amounts,
    at=st.integers(0, 59_999),
)
def test_retry_after_is_the_first_moment_at_which_it_fits(shared_valkey, *, before, used, held, ask, at):
    books = Clocked(shared_valkey.url)
    try:
        limits = (MINUTE,)
        charges = [(offset, tokens) for offset, tokens in before]
        charges += [(60_000 + min(offset, at), tokens) for offset, tokens in used]
        for index, (offset, tokens) in enumerate(sorted(charges)):
            books.at(START + offset)
            books.settle(reservation(f"s{index}", limits=limits), tokens)
        books.at(START + 60_000 + at)
        holds = held > 0 and books.reserve(reservation("held", held, limits=limits)).granted
        asked = books.reserve(reservation("asks", ask, limits=limits))
        if asked.granted:
            return
        if holds:
            books.settle(reservation("held", held, limits=limits), 0)
        if asked.retry_after_ms > 1:
            books.at(START + 60_000 + at + asked.retry_after_ms - 1)
            assert not books.reserve(reservation("asks", ask, limits=limits)).granted
        books.at(START + 60_000 + at + asked.retry_after_ms)
        assert books.reserve(reservation("asks", ask, limits=limits)).granted
    finally:
        books.close()


class LedgerMachine(RuleBasedStateMachine):
    """Reserves, retries, settles, crashes and lets time pass; the oracle counts along."""

    url = ""

    @initialize()
    def begin(self):
        self.books = Clocked(self.url)
        self.oracles = {"acme": Books(), "a}b": Books()}
        self.made = []
        self.overrun = set()

    @rule(
        tokens=st.one_of(st.integers(1, 300), st.integers(900, 1_200)),
        lease_ms=st.sampled_from([1_000, LEASE_MS, 1_000_000]),
        tenant=st.sampled_from(["acme", "a}b"]),
    )
    def reserve(self, tokens, lease_ms, tenant):
        one = reservation(f"r{len(self.made)}", tokens, lease_ms=lease_ms, tenant=tenant)
        self.made.append(one)
        self._reserve(one)

    @rule(chance=st.randoms(use_true_random=False))
    def reserve_again(self, chance):
        if self.made:
            self._reserve(chance.choice(self.made))

    def _reserve(self, one):
        oracle = self.oracles[one.tenant]
        expected = oracle.reserve(self.books.now, one)
        if expected is None:
            with pytest.raises(DependencyError, match="HGCLOSED"):
                self.books.reserve(one)
            return
        answer = self.books.reserve(one)
        least = min(limit.tokens - oracle.counted(self.books.now, limit) for limit in one.limits)
        assert answer.granted == expected[0]
        if answer.granted:
            assert answer.remaining == expected[1]
        left = answer.limit.tokens - oracle.counted(self.books.now, answer.limit)
        assert answer.remaining == max(left, 0) >= max(least, 0)

    @rule(chance=st.randoms(use_true_random=False), share=st.integers(0, 100))
    def settle(self, chance, share):
        if self.made:
            one = chance.choice(self.made)
            self._settle(one, one.tokens * share // 100)

    @rule(chance=st.randoms(use_true_random=False), tokens=st.integers(1, 2_000))
    def settle_more_than_was_reserved(self, chance, tokens):
        if self.made:
            one = chance.choice(self.made)
            self._settle(one, one.tokens + tokens)

    def _settle(self, one, tokens):
        oracle = self.oracles[one.tenant]
        expected = oracle.settle(self.books.now, one.reservation_id, tokens)
        answer = self.books.settle(one, tokens)
        assert (answer.charged, answer.refunded) == expected
        # 0 for an orphan: unknown, or forgotten since.
        reserved = oracle.entries[one.reservation_id].tokens
        if answer.charged <= reserved:
            assert answer.charged + answer.refunded == reserved
        else:
            # It was spent already, and so is charged beyond what is reserved, and possibly beyond a limit.
            assert answer.refunded == 0
            self.overrun.add(one.tenant)

    @rule(chance=st.randoms(use_true_random=False))
    def renew(self, chance):
        if self.made:
            one = chance.choice(self.made)
            assert self.books.renew(one).held == self.oracles[one.tenant].renew(self.books.now, one)

    @rule(tenant=st.sampled_from(["acme", "a}b"]))
    def look_at_every_limit(self, tenant):
        for limit in LIMITS_OF_TENANT:
            # More than can ever fit: refused, with what is left.
            look = reservation("look", limit.tokens + 1, tenant=tenant, limits=(limit,))
            expected = self.oracles[tenant].reserve(self.books.now, look)
            answer = self.books.reserve(look)
            assert (answer.granted, answer.remaining) == expected

    @rule(
        passed=st.one_of(
            st.integers(0, 5_000),
            st.integers(0, 90_000),
            st.sampled_from([60_000, LEASE_MS, 300_000, 3_600_000, 86_400_000]),
        )
    )
    def time_passes(self, passed):
        self.books.at(self.books.now + passed)

    @rule()
    def the_service_crashes(self):
        self.books.reconnect()

    @rule()
    def scripts_are_flushed(self):
        self.books.raw.script_flush()

    @invariant()
    def what_is_held_is_what_is_open(self):
        if hasattr(self, "books"):
            for tenant, oracle in self.oracles.items():
                assert self.books.held(tenant) == oracle.held

    @invariant()
    def no_limit_is_ever_passed(self):
        if hasattr(self, "books"):
            for tenant in self.oracles.keys() - self.overrun:
                for limit in LIMITS_OF_TENANT:
                    assert self.oracles[tenant].counted(self.books.now, limit) <= limit.tokens

    def teardown(self):
        if not hasattr(self, "books"):
            return
        # In the end every lease has run out, nothing is held, and the books still agree.
        self.books.at(self.books.now + 1_000_000)
        for tenant, oracle in self.oracles.items():
            last = reservation("last", 1, tenant=tenant)
            assert self.books.renew(last).held == oracle.renew(self.books.now, last)
            assert (self.books.held(tenant), oracle.held) == (0, 0)
            self._reserve(last)
        self.books.close()


def test_whatever_happens_the_books_agree_with_the_oracle(shared_valkey):
    class Machine(LedgerMachine):
        url = shared_valkey.url

    run_state_machine_as_test(
        Machine, settings=settings(deadline=None, max_examples=60, stateful_step_count=40)
    )
