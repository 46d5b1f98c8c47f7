"""Where texts stand, and how much is looked at to find out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._openai_sites import Path, Sites
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS


class Counted(str):
    """A key that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str(self) == other

    __hash__ = str.__hash__


def test_keys_that_are_renamed_cost_no_look_at_texts_without_them():
    """An upstream may send 50,000 keys in one event, each of which is redacted, and 1,024 texts before."""
    sites = Sites(LIMITS)
    for number in range(LIMITS.answer_texts_max):
        sites.at(number % 2, ("delta", Counted(f"text {number}")))
    Counted.compared = 0
    for number in range(1_000):
        sites.rename(f"key {number}", "[EMAIL_ADDRESS]")
    assert Counted.compared == 0
    sites.rename("text 7", "written")
    assert Counted.compared <= len(("delta", "text 7")) + 1
    assert sites.at(1, ("delta", "text 7")).path == ("delta", "written")


keys = st.sampled_from(["a", "b", "c", "[X]"])
paths = st.lists(st.one_of(keys, st.integers(0, 2)), min_size=1, max_size=3).map(tuple)
choices = st.one_of(st.none(), st.integers(0, 2))


@given(st.lists(st.one_of(st.tuples(choices, paths), st.tuples(keys, keys)), max_size=20))
def test_paths_are_those_that_a_look_at_every_text_would_give(steps):
    sites = Sites(LIMITS)
    expected: dict[tuple[int | None, Path], Path] = {}
    for first, second in steps:
        if isinstance(second, tuple):
            sites.at(first, second).open = len(second) != 1
            expected.setdefault((first, second), second)
        else:
            sites.rename(first, second)
            for place, path in expected.items():
                expected[place] = tuple([second if step == first else step for step in path])
    assert {place: sites.at(*place).path for place in expected} == expected
    opened = [path for (_, came), path in expected.items() if len(came) != 1]
    assert [site.path for site in sites.open_ones()] == opened
    for choice in range(3):
        of_choice = [path for (at, came), path in expected.items() if at == choice and len(came) != 1]
        assert [site.path for site in sites.open_ones(choice)] == of_choice


def test_an_answer_has_no_more_texts_than_can_be_remembered():
    sites = Sites(LIMITS)
    for number in range(LIMITS.answer_texts_max):
        sites.at(0, (str(number),))
    sites.at(0, ("0",))
    with pytest.raises(PeerError):
        sites.at(0, ("one more",))
