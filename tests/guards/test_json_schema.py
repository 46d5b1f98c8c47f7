"""The validator against a known one, on what both judge."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.limits import LIMITS
from extproc.guards import _json_values
from extproc.guards._json_schema import Schema, SchemaError, Steps
from extproc.guards._json_values import NotJsonError, read_json

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, -2.0, 1e3])
    | st.text("ab", max_size=3)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
small = st.integers(0, 3)
names = st.lists(st.sampled_from("abc"), max_size=2, unique=True)
types = st.sampled_from(["string", "number", "integer", "boolean", "array", "object", "null"])


def members(inner):
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, min_size=1, max_size=2, unique=True),
            "enum": st.lists(scalars, min_size=1, max_size=3),
            "const": values,
            "minimum": small,
            "maximum": small,
            "exclusiveMinimum": small,
            "exclusiveMaximum": small,
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": small,
            "maxLength": small,
            "minItems": small,
            "maxItems": small,
            "uniqueItems": st.booleans(),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "minContains": small,
            "maxContains": small,
            "minProperties": small,
            "maxProperties": small,
            "required": names,
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "dependentRequired": st.dictionaries(st.sampled_from("abc"), names, max_size=1),
            "dependentSchemas": st.dictionaries(st.sampled_from("abc"), inner, max_size=1),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    )


schemas = st.recursive(st.booleans() | st.builds(lambda one: {"type": one}, types), members, max_leaves=5)


@given(schemas, values)
def test_it_judges_as_a_known_validator_does(schema, value):
    known = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert Schema(json.dumps(schema)).holds_of(value) is known


TREE = {
    "type": "object",
    "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#/$defs/leaf~1end"}},
    "additionalProperties": False,
    "$defs": {"leaf/end": {"type": "integer"}},
}


@pytest.mark.parametrize(
    ("schema", "value", "holds"),
    [
        (TREE, {"left": {"left": {"right": 3}}}, True),
        (TREE, {"left": {"left": {"right": "3"}}}, False),
        ({"definitions": {"a": {"const": 1}}, "$ref": "#/definitions/a"}, 1, True),
        ({"definitions": {"a": {"const": 1}}, "$ref": "#/definitions/a"}, True, False),
        ({"type": "string", "nullable": True}, None, True),
        ({"minimum": 1, "exclusiveMinimum": True}, 1, False),
        ({"maximum": 1, "exclusiveMaximum": True}, 0, True),
        ({"items": [{"const": 1}], "additionalItems": False}, [1], True),
        ({"items": [{"const": 1}], "additionalItems": False}, [1, 2], False),
        ({"enum": [[1, {"a": 1.0}]]}, [1.0, {"a": 1}], True),
        ({"pattern": "(a+)+$"}, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", False),
        ({"pattern": "^[A-Z]"}, "Oslo", True),
        ({"pattern": "^[A-Z]"}, 3, True),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"y": 1}, False),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"x1": 1}, True),
        ({"patternProperties": {"x": {"const": 1}, "y": True}}, {"xy": 2}, False),
        ({"patternProperties": {"x": {"const": 1}}, "properties": {"x": {"const": 2}}}, {"x": 2}, False),
        ({"dependencies": {"a": ["b"]}}, {"a": 1}, False),
        ({"dependencies": {"a": ["b"]}}, {"a": 1, "b": 2}, True),
        ({"dependencies": {"a": {"required": ["b"]}}}, {"a": 1}, False),
        ({"dependencies": {"a": False}}, {"b": 1}, True),
        # What is told by no schema word is a schema once it is referred to.
        ({"mine": {"const": 1}, "$ref": "#/mine"}, 2, False),
        # What is not judged holds.
        ({"format": "date"}, "a", True),
        ({"x-mine": 7, "description": "a"}, 1, True),
    ],
)
def test_what_is_known_of_single_words(schema, value, holds):
    assert Schema(json.dumps(schema)).holds_of(value) is holds


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "3",
        "[]",
        '"string"',
        '{"a": 1, "a": 2}',
        '{"type": "text"}',
        '{"type": 3}',
        '{"minLength": "3"}',
        '{"minLength": true}',
        '{"multipleOf": 0}',
        '{"required": "a"}',
        '{"required": [1]}',
        '{"properties": []}',
        '{"properties": {"a": 3}}',
        '{"anyOf": {}}',
        '{"items": {"type": "text"}}',
        '{"items": [{"type": "text"}]}',
        '{"enum": 3}',
        '{"dependentRequired": {"a": 1}}',
        '{"$ref": "https://example.com/schema"}',
        '{"$ref": "other.json"}',
        '{"$ref": "#anchor"}',
        '{"$ref": "#/$defs/missing"}',
        '{"$ref": 3}',
        '{"$dynamicRef": "#a"}',
        '{"unevaluatedProperties": false}',
        '{"pattern": "(?=a)"}',
        '{"pattern": 3}',
        '{"dependencies": {"a": 3}}',
        '{"dependencies": []}',
        '{"mine": {"type": "text"}, "$ref": "#/mine"}',
        '{"type": ["string", "string", "string", "string", "string", "string", "string", "string"]}',
    ],
)
def test_what_cannot_be_judged_by_is_no_schema(schema):
    with pytest.raises(SchemaError):
        Schema(schema)


def test_a_schema_of_too_many_nodes_is_none():
    assert Schema(json.dumps({"allOf": [True] * (LIMITS.schema_nodes_max - 1)}))
    with pytest.raises(SchemaError):
        Schema(json.dumps({"allOf": [True] * LIMITS.schema_nodes_max}))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
    ],
)
def test_what_leads_nowhere_holds_of_nothing(schema):
    assert Schema(json.dumps(schema)).holds_of(1) is False


def test_what_takes_too_many_steps_holds_of_nothing():
    doubled = {str(at): {"allOf": [{"$ref": f"#/$defs/{at + 1}"}] * 2} for at in range(30)}
    schema = {"$defs": {**doubled, "30": True}, "$ref": "#/$defs/0"}
    assert Schema(json.dumps(schema)).holds_of(1) is False


WIDE = 300
LONG = "é" * 20_000


def spent(schema, value):
    """What judging costs where it may cost anything."""
    steps = Steps(10**9)
    Schema(json.dumps(schema)).holds_of(value, steps)
    return 10**9 - steps._left


@pytest.mark.parametrize(
    ("schema", "value", "least"),
    [
        ({"allOf": [{"const": [1]}] * WIDE}, [LONG], WIDE * 1_000),
        ({"allOf": [{"const": 1}] * WIDE}, {"a": LONG}, WIDE * 1_000),
        ({"allOf": [{"enum": ["a"]}] * WIDE}, LONG, WIDE * 1_000),
        ({"items": {"required": ["a"] * 1_000}}, [{"a": 1}] * WIDE, WIDE * 1_000),
        ({"items": {"dependentRequired": {"a": ["a"] * 1_000}}}, [{"a": 1}] * WIDE, WIDE * 1_000),
        ({"items": {"dependencies": dict.fromkeys("abcdefgh", True)}}, [{}] * WIDE, WIDE * 9),
        ({"allOf": [{"uniqueItems": True}] * WIDE}, [*range(1_000)], WIDE * 1_000),
        ({"allOf": [{"pattern": "^a*$"}] * WIDE}, "a" * 1_000, WIDE * 1_000),
        ({"patternProperties": {f"x{at}": True for at in range(WIDE)}}, {"a" * 1_000: 1}, WIDE * 1_000),
        ({"items": {"multipleOf": 0.1}}, [1] * WIDE, WIDE * 10),
    ],
)
def test_every_step_is_charged_what_it_costs(schema, value, least):
    assert spent(schema, value) > least


def test_a_value_is_written_out_once_however_often_it_is_compared(monkeypatch):
    made = []
    real = _json_values.json.dumps
    schema = Schema(json.dumps({"allOf": [{"const": 1}] * 50}))

    def counted(*args, **settings):
        made.append(real(*args, **settings))
        return made[-1]

    monkeypatch.setattr(_json_values.json, "dumps", counted)
    assert schema.holds_of({"a": [LONG]}, Steps(10**9)) is False
    assert len(made) == 1


def test_one_room_bounds_all_that_is_judged_in_it():
    schema = Schema('{"items": {"type": "integer"}}')
    steps = Steps(250)
    assert [schema.holds_of([1] * 100, steps) for _ in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), ("1", 1), (None, "null"), ([1], "[1]")])
def test_values_of_different_types_are_different(one, other):
    assert Schema(json.dumps({"enum": [one]})).holds_of(other) is False
    assert Schema(json.dumps({"const": one})).holds_of(one) is True


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a":1,"a":2}',
        "NaN",
        "-Infinity",
        "1e999",
        "[1,]",
        "{} {}",
        "[" * 100_000,
        "1" * 65,
        "1." + "0" * 63,
    ],
)
def test_what_parsers_read_differently_is_no_json(text):
    with pytest.raises(NotJsonError):
        read_json(text)


def test_control_characters_may_stand_in_strings():
    assert read_json('{"a": "one\ntwo"}') == {"a": "one\ntwo"}


@given(values)
def test_json_is_read(value):
    assert read_json(json.dumps(value)) == value
