import json

import pytest

from extproc.domain.errors import PolicyError
from extproc.guards._json_schema import Schema, SchemaError
from extproc.guards._schema_fault import schema_fault
from extproc.guards.output_schema import GUARD, Settings
from extproc.policy.loading import RuleVocabulary, parse_policy

JUDGED = "is no JSON schema that answers can be judged by"


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ("{", "is no JSON from its line 1, column 2 on"),
        ('{"type": "object",\n "a" 1}', "is no JSON from its line 2, column 6 on"),
        ('{"type": "object", "type": "array"}', "is no JSON that has one reading"),
        ('{"minimum": NaN}', "is no JSON that has one reading"),
        ("[" * 100_000, "is no JSON that could be read"),
        ("[]", "is no JSON schema: at # stands no schema"),
        ('{"type": "objct"}', f"{JUDGED}: type at #"),
        ('{"properties": {"a": {"items": {"type": "text"}}}}', f"{JUDGED}: type at #/properties/a/items"),
        ('{"properties": {"a b": {"type": 1}}}', f"{JUDGED}: type at #/properties/(unprintable name)"),
        ('{"anyOf": [{}, {"minLength": "1"}]}', f"{JUDGED}: minLength at #/anyOf/1"),
        ('{"anyOf": {}}', f"{JUDGED}: anyOf at #"),
        ('{"items": "text"}', "is no JSON schema: at #/items stands no schema"),
        ('{"not": {"$ref": "https://example.com/a"}}', f"{JUDGED}: $ref at #/not"),
        ('{"$ref": "#/$defs/a"}', f"{JUDGED}: $ref at #"),
        ('{"pattern": "(?=a)"}', f"{JUDGED}: pattern at #"),
        ('{"unevaluatedItems": false}', f"{JUDGED}: unevaluatedItems at #"),
        ('{"$ref": "#/a", "a": {"type": "text"}}', f"{JUDGED}: it is too large, or refers to what is none"),
        (json.dumps({"allOf": [{}] * 5_000}), f"{JUDGED}: it is too large, or refers to what is none"),
    ],
)
def test_it_says_what_is_wrong_and_where(schema, what):
    with pytest.raises(SchemaError):
        Schema(schema)
    said, instead = schema_fault(schema)
    assert said.startswith(what)
    assert instead


def test_a_policy_says_it_at_the_line_of_the_schema():
    text = """
version: 1
policies: {a: {guards: {output_schema: {mode: shadow,
  schema: '{"type": "objct"}'}}}}
"""
    with pytest.raises(PolicyError) as refused:
        parse_policy(text, {"output_schema": GUARD}, RuleVocabulary(packs={}, check=print))
    place = "policy:4:3: policies.a.guards.output_schema.schema"
    assert str(refused.value).startswith(f"{place}: {JUDGED}: type at #; write one or several of: string, ")
    assert Settings(schema='{"type": "object"}').schema
