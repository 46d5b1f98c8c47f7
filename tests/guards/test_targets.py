import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.guards._targets import IN_DOUBLE, IN_SINGLE, IN_TAG, Hosts, Markup, Place, first_target

HOSTS = Hosts(("example.com", "*.docs.example.com"))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.com", True),
        ("EXAMPLE.com", True),
        ("www.example.com", False),
        ("a.docs.example.com", True),
        ("docs.example.com", False),
        ("notexample.com", False),
    ],
)
def test_which_hosts_are_allowed(host, allowed):
    assert HOSTS.allow(host) is allowed
    assert Hosts(()).allow(host) is False


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("", 0),
        ("a < b and c = 'd", 0),
        ("<a", IN_TAG),
        ('<a href="', IN_TAG | IN_DOUBLE),
        ("<a href =\n '", IN_TAG | IN_SINGLE),
        ('<a href="x"', IN_TAG),
        ('<a href="x">', 0),
        # A sign within quotes ends no tag, and where they began in a comment it may.
        ("<a title='>", IN_SINGLE),
        ("<!-- <a title=' --> <img src=\"x'", IN_TAG | IN_DOUBLE),
    ],
)
def test_where_in_markup_a_text_may_end(text, within):
    assert Markup().after(text).within == within


@given(st.lists(st.sampled_from(["<a ", "b=", "'", '"', ">", " ", "x"]), max_size=12), st.integers(0, 12))
def test_markup_is_the_same_whichever_words_it_came_by(parts, place):
    cut = Markup().after("".join(parts[:place])).after("".join(parts[place:]))
    assert cut.within == Markup().after("".join(parts)).within


@pytest.mark.parametrize(
    ("text", "opening"),
    [("[x](", "x]("), ("[x](\n <", "](<"), ('src = "\x01\u00a0', 'c="'), ("word", ""), ("", "")],
)
def test_what_stands_before_a_word_is_what_shows(text, opening):
    assert Place().after(text).opening == opening


@pytest.mark.parametrize(
    ("word", "ended", "at"),
    [
        ("see:https://evil.test/", True, 4),
        ("https://example.com/", True, None),
        # It may go on.
        ("https://example.com", False, None),
        ("https://evil.test", False, None),
        ("https://evil.test", True, 0),
        ("x&#104;ttps://evil.test/", True, 1),
        ("a\\:\\https\\://evil.test/", True, 4),
    ],
)
def test_where_the_first_target_begins(word, ended, at):
    assert first_target(word, HOSTS, Place(), ended=ended) == at
