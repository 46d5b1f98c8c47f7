from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from extproc.redaction import charset as cs

points = st.integers(0, cs.CODE_POINT_MAX)
ranges = st.lists(st.tuples(points, points).map(lambda pair: (min(pair), max(pair))), max_size=6)


@given(ranges, points)
def test_a_set_holds_what_its_ranges_hold(pairs, point):
    assert any(low <= point <= high for low, high in pairs) == cs.contains(cs.charset(pairs), point)


@given(ranges, points)
def test_the_complement_holds_the_rest(pairs, point):
    chars = cs.charset(pairs)
    assert cs.contains(chars, point) != cs.contains(cs.complement(chars), point)


@given(ranges)
def test_complementing_twice_changes_nothing(pairs):
    assert cs.charset(pairs) == cs.complement(cs.complement(cs.charset(pairs)))


@given(ranges, ranges)
def test_disjoint_sets_share_no_end_of_a_range(left, right):
    a, b = cs.charset(left), cs.charset(right)
    shared = any(cs.contains(b, low) for low, _ in a) or any(cs.contains(a, low) for low, _ in b)
    assert shared != cs.disjoint(a, b)


@given(ranges.filter(bool), points)
def test_class_source_is_the_same_set_for_re(pairs, point):
    chars = cs.charset(pairs)
    matched = re.fullmatch(cs.class_source(chars), chr(point)) is not None
    assert matched == cs.contains(chars, point)


def test_ignore_case_adds_the_other_case_of_ascii_letters_only():
    assert cs.ignore_case(cs.of_chars("aZ1é")) == cs.of_chars("aAzZ1é")
