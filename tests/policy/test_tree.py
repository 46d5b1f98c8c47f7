import json

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from extproc.domain.limits import LIMITS
from extproc.policy import tree
from extproc.policy.tree import TreeError, read_tree

LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if hasattr(yaml, "CSafeLoader") else [])]


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__)
def loader(request, monkeypatch):
    """Each test holds with libyaml and without it."""
    monkeypatch.setattr(tree, "LOADER", request.param)


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1", {"a": 1}),
        ("a: off\nb: no\nc: yes\nd: on\ne: y", {"a": "off", "b": "no", "c": "yes", "d": "on", "e": "y"}),
        ("[true, False, TRUE, null, ~, ]", [True, False, True, None, None]),
        ("a:\nb:", {"a": None, "b": None}),
        ("[0, -1, +2, 007]", [0, -1, 2, 7]),
        ("[1.5, .5, 1., 1e3, -2E-2]", [1.5, 0.5, 1.0, 1000.0, -0.02]),
        ("[0x10, 0o7, 1_000, 12:30, .inf, .nan, 2020-01-01]", None),
        ("['1', \"true\", '']", ["1", "true", ""]),
        ("1: a\ntrue: b\n'': c", {"1": "a", "true": "b", "": "c"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: [b, {c: d}]\n", {"a": ["b", {"c": "d"}]}),
        (f"a: {'1' * 64}", {"a": "1" * 64}),
        (f"a: 12e{'3' * 61}", {"a": f"12e{'3' * 61}"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
    ],
)
def test_values(text, value):
    expected = text.strip("[]").split(", ") if text.startswith("[0x10") else value
    assert read_tree(text).tree == expected


@pytest.mark.usefixtures("loader")
def test_every_value_has_the_spot_at_which_it_begins():
    document = read_tree("a:\n  b: 1\n  c:\n    - x\n    - {y: 1,\n       z: 2}\nd: |\n  text\n")
    assert document.spots == {
        ("a",): (1, 1),
        ("a", "b"): (2, 3),
        ("a", "c"): (3, 3),
        ("a", "c", 0): (4, 7),
        ("a", "c", 1): (5, 7),
        ("a", "c", 1, "y"): (5, 8),
        ("a", "c", 1, "z"): (6, 8),
        ("d",): (7, 1),
    }


@pytest.mark.usefixtures("loader")
def test_columns_are_counted_in_characters():
    assert read_tree("{äöü: 1, é𝄞: 2}").spots[("é𝄞",)] == (1, 10)


def test_a_place_that_is_not_there_has_the_spot_of_the_nearest_one_around_it():
    document = read_tree("a: 1\nb:\n  c: 1\n")
    assert document.spot_of(("b", "c", "x", "y")) == (3, 3)
    assert document.spot_of(("x",)) == (1, 1)


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\nb: 2\na: 3", 3, "stands on line 1 already"),
        ("x:\n  a: 1\n  'a': 3", 3, "stands on line 2 already"),
        ("x: {a: 1, a: 2}", 1, "stands on line 1 already"),
        ("a: 1\nb: &x 2", 2, "an anchor (&name) stands here"),
        ("a: &x [1]", 1, "an anchor (&name) stands here"),
        ("a: *x", 1, "an alias (*name) stands here"),
        ("a: !!str 1", 1, "a tag (!name) stands here"),
        ("a: !!python/object/apply:os.system [ls]", 1, "a tag (!name) stands here"),
        ("a: !thing {}", 1, "a tag (!name) stands here"),
        ("a: 1\n---\nb: 2", 2, "a second document begins here"),
        ("? [a]\n: 1", 1, "a list or a mapping stands where a key belongs"),
        ("? {a: 1}\n: 1", 1, "a list or a mapping stands where a key belongs"),
        ("a: 1e999", 1, "a number stands here that is too large"),
        ("a: [", 1, "this is not YAML"),
        ("a: 1\n\tb: 2", 2, "a tab indents this line"),
        ("a:\n\tb: 2", 2, "a tab indents this line"),
        ("a:\n  b: 1\n \tc: 2", 3, "a tab indents this line"),
        ("a:\n  - b\n\t- c\n", 3, "a tab indents this line"),
        ("a: b: c", 1, "this is not YAML"),
        ("a: '", 1, "this is not YAML"),
        ("a: \x07", 1, "this is not YAML"),
        ('a: "\\U00120000"', 1, "this is not YAML"),
        ('a:\n  "A-\\d": 1', 2, "a backslash in double quotes begins what YAML does not know"),
        ('a:\n  "\\ud800": 1', 2, "this is not YAML"),
        ("[" * (LIMITS.policy_depth_max + 1), 1, "nested too deep"),
        ("[" * 100_000, 1, "nested too deep"),
        ("{a: " * 100_000, 1, "nested too deep"),
    ],
)
def test_what_is_refused(text, line, what):
    with pytest.raises(TreeError) as caught:
        read_tree(text)
    assert (caught.value.what, caught.value.spot.line) == (what, line)
    assert caught.value.instead


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "spot"),
    [
        ("a: 1\n  \tb: 2", (2, 3)),
        ("a: 1\nb: &x 2", (2, 4)),
        ("a: {b: 1, b: 2}", (1, 11)),
        ("a: [1,\n", (2, 1)),
    ],
)
def test_what_is_refused_has_a_column(text, spot):
    with pytest.raises(TreeError) as caught:
        read_tree(text)
    assert caught.value.spot == spot


@pytest.mark.usefixtures("loader")
def test_the_deepest_that_is_read_and_one_level_more():
    depth = LIMITS.policy_depth_max
    value = read_tree("[" * depth + "]" * depth).tree
    assert json.dumps(value) == "[" * depth + "]" * depth
    with pytest.raises(TreeError, match="nested too deep"):
        read_tree("[" * (depth + 1) + "]" * (depth + 1))


def test_the_largest_that_is_read_and_one_byte_more():
    text = "a: é".ljust(LIMITS.policy_bytes_max - 1)
    assert read_tree(text).tree == {"a": "é"}
    with pytest.raises(TreeError, match="the file is too large"):
        read_tree(f"{text} ")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet="abc -:#'\"{}", max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_json_is_read_as_json(value):
    assert read_tree(json.dumps(value)).tree == value


SYNTAX = st.text(alphabet="ab1 :-[]{},'\"\n#&*!|>?%\\\t~.é\ud800\x00", max_size=40)


@given(SYNTAX)
@example('"\\ud800"')
@example("%YAML 9.9\n---\na")
@example("\ufeffa: 1")
@example("a: !<")
def test_any_text_is_a_value_or_a_tree_error(text):
    for chosen in LOADERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tree, "LOADER", chosen)
            try:
                spot = read_tree(text).spot_of(())
            except TreeError as error:
                spot = error.spot
            assert 1 <= spot.line <= text.count("\n") + 1
            assert spot.column >= 1
