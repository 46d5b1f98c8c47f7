"""Every line of the verdict log is a VerdictRecord, field for field."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format
from hypothesis import given
from records import RECORD, records

from extproc.edge.verdict_line import fields_of, line_of
from extproc.pb.verdict_pb2 import EntityCount, GuardVerdict, VerdictRecord


def as_message(line: bytes) -> VerdictRecord:
    """Raises ParseError for a field that the schema does not know, or one of another type."""
    return json_format.Parse(line, VerdictRecord())


def test_a_full_record_keeps_its_values():
    message = as_message(line_of(RECORD))
    back = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    written = json.loads(line_of(RECORD))
    # Protobuf's own JSON writes a 64-bit integer as a string, and leaves out what is null.
    assert {name: str(value) for name, value in back.items() if not isinstance(value, list)} == {
        name: str(value)
        for name, value in written.items()
        if value is not None and not isinstance(value, list)
    }


@given(records())
def test_any_record_parses(record):
    assert as_message(line_of(record)).schema_version == 1


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (fields_of(RECORD), VerdictRecord),
        (json.loads(line_of(RECORD))["verdicts"][0], GuardVerdict),
        (json.loads(line_of(RECORD))["entities"][0], EntityCount),
    ],
    ids=["record", "verdict", "entities"],
)
def test_the_line_has_exactly_the_schemas_fields(written, message):
    assert list(written) == [field.name for field in message.DESCRIPTOR.fields]


def test_an_unknown_field_would_be_noticed():
    line = json.dumps({**json.loads(line_of(RECORD)), "text": "x"})
    with pytest.raises(json_format.ParseError):
        as_message(line.encode())
