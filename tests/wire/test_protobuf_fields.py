"""The strict reader against protobuf's own: what it accepts has one reading, and it is protobuf's."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from extproc.codecs import _kgrpc_schema as kserve
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Reason
from extproc.wire.protobuf_fields import (
    Edit,
    FieldReader,
    Rule,
    Schema,
    WireType,
    fixed32,
    fixed64,
    removed,
    replaced,
    signed,
    spliced,
    tagged_bytes,
    tagged_varint,
    texts_of,
    varint,
)
from extproc.wire.splice import Splice

ONE, MANY = Rule.ONE, Rule.MANY
SCHEMA = Schema(
    "it",
    {
        1: (WireType.LENGTH, ONE),
        2: (WireType.VARINT, ONE),
        3: (WireType.LENGTH, MANY),
        4: (WireType.VARINT, MANY),
        5: (WireType.FIXED32, ONE),
        6: (WireType.FIXED64, ONE),
        7: (WireType.LENGTH, Rule.ONE_OF),
        8: (WireType.VARINT, Rule.ONE_OF),
    },
)
numbers = st.integers(0, 2**64 - 1)


def fault_of(document: bytes, schema: Schema = SCHEMA) -> str:
    with pytest.raises(PeerError) as caught:
        FieldReader(document).read(schema)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_INVALID, 400)
    return caught.value.message


# --- reading ---------------------------------------------------------------------------------


def test_fields_keep_their_places():
    document = (
        tagged_bytes(1, b"abc") + tagged_varint(2, 300) + tagged_bytes(3, b"") + tagged_bytes(3, b"x")
    )
    reader = FieldReader(document)
    message = reader.read(SCHEMA)
    assert reader.text(message.one(1), "a name") == "abc"
    assert message.one(2).number == 300
    assert [document[one.start : one.end] for one in message.many(3)] == [b"", b"x"]
    assert message.one(5) is None
    assert reader.text(message.one(7), "absent") == ""
    assert (
        b"".join(document[one.at : one.end] for one in (message.one(1), message.one(2), *message.many(3)))
        == document
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"\x4a\x00", "it has an unknown field; at byte 0"),
        (tagged_varint(1, 5), "it has a field of another type; at byte 0"),
        (tagged_bytes(2, b"\x05"), "it has a field of another type; at byte 0"),
        (b"\x0d\x00\x00\x00\x00", "it has a field of another type; at byte 0"),
        (tagged_bytes(1, b"a") + tagged_bytes(1, b"b"), "it has a field twice; at byte 3"),
        (tagged_bytes(7, b"") + tagged_varint(8, 0), "it has a field twice; at byte 2"),
        (tagged_varint(8, 0) + tagged_varint(8, 0), "it has a field twice; at byte 2"),
        (b"\x00\x00", "the message has a tag that no field has; at byte 0"),
        (b"\x0b", "the message has a tag that no field has; at byte 0"),
        (b"\x0c", "the message has a tag that no field has; at byte 0"),
        (b"\x0e", "the message has a tag that no field has; at byte 0"),
        (b"\x8a\x80\x80\x80\x80\x01\x00", "the message has a tag that no field has; at byte 0"),
        (b"\x8a\x00\x00", "the message has a number that is not in its shortest form; at byte 0"),
        (b"\x0a\x80\x00", "the message has a number that is not in its shortest form; at byte 1"),
        (b"\x10\x80\x80\x00", "the message has a number that is not in its shortest form; at byte 1"),
        (
            b"\x10" + b"\xff" * 9 + b"\x02",
            "the message has a number that is not in its shortest form; at byte 1",
        ),
        (b"\x10" + b"\x80" * 10 + b"\x01", "the message has a number without an end; at byte 1"),
        (b"\x10\x80", "the message has a number without an end; at byte 1"),
        (b"\x0a", "the message has a number without an end; at byte 1"),
        (b"\x0a\x02a", "the message has a field beyond its end; at byte 0"),
        (b"\x2d\x00\x00\x00", "the message has a field beyond its end; at byte 0"),
        (b"\x0a\xff\xff\xff\xff\x0f", "the message has a field beyond its end; at byte 0"),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(document, message):
    assert fault_of(document) == message


def test_a_submessage_ends_where_its_holder_ends():
    inner = tagged_bytes(3, b"abc")
    document = tagged_bytes(1, inner[:-1]) + inner[-1:]
    reader = FieldReader(document[:-1])
    holder = reader.read(SCHEMA).one(1)
    with pytest.raises(PeerError, match="beyond its end"):
        reader.within(SCHEMA, holder)


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_a_string_is_utf_8(text):
    reader = FieldReader(tagged_bytes(1, text))
    with pytest.raises(PeerError) as caught:
        reader.text(reader.read(SCHEMA).one(1), "a name")
    assert caught.value.message == "a name is not valid UTF-8; at byte 0"


def test_a_boolean_is_0_or_1():
    reader = FieldReader(tagged_varint(2, 1))
    assert reader.boolean(reader.read(SCHEMA).one(2), "a flag") is True
    reader = FieldReader(tagged_varint(2, 2))
    with pytest.raises(PeerError) as caught:
        reader.boolean(reader.read(SCHEMA).one(2), "a flag")
    assert caught.value.message == "a flag is neither true nor false; at byte 0"


@given(st.lists(st.lists(numbers, max_size=4), max_size=4))
def test_numbers_may_come_packed_or_not(groups):
    """Groups of one come as they are, others packed: their order is that of the wire."""
    document = b"".join(
        tagged_varint(4, group[0]) if len(group) == 1 else tagged_bytes(4, b"".join(map(varint, group)))
        for group in groups
    )
    reader = FieldReader(document)
    found = reader.numbers(reader.read(SCHEMA).many(4), WireType.VARINT)
    assert [one.value for one in found] == [number for group in groups for number in group]
    assert all(document[one.start : one.end] == varint(one.value) for one in found)


def test_packed_numbers_end_where_their_field_ends():
    reader = FieldReader(tagged_bytes(4, b"\x01\x80"))
    with pytest.raises(PeerError, match="without an end"):
        reader.numbers(reader.read(SCHEMA).many(4), WireType.VARINT)


@pytest.mark.parametrize("document", [tagged_bytes(3, b"") * 6, tagged_bytes(4, b"\x01" * 6)])
def test_the_number_of_fields_is_bounded(document):
    reader = FieldReader(document, limits=replace(LIMITS, protobuf_fields_max=5))
    with pytest.raises(PeerError) as caught:
        reader.numbers(reader.read(SCHEMA).many(4), WireType.VARINT)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_COMPLEX, 400)


def test_numbers_of_fixed_size():
    document = b"\x2d" + struct.pack("<f", 1.5) + b"\x31" + struct.pack("<d", -2.25)
    message = FieldReader(document).read(SCHEMA)
    assert (fixed32(document, message.one(5)), fixed64(document, message.one(6))) == (1.5, -2.25)


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers(value):
    entry = pb.InferParameter(int64_param=value).SerializeToString()
    found = FieldReader(entry).read(kserve.PARAMETER).one(2)
    assert signed(found.number) == value


@given(numbers)
def test_a_varint_is_protobufs(value):
    assert pb.InferParameter(uint64_param=value).SerializeToString() == tagged_varint(5, value)


# --- against protobuf's own parser -----------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(tagged_bytes(tag, b"abc") for tag in (1, 2, 3, 4, 5, 6, 7)),
        *(tagged_varint(tag, 1) for tag in (1, 3, 8)),
        tagged_bytes(
            5, tagged_bytes(1, b"text_input") + tagged_bytes(2, b"BYTES") + tagged_bytes(3, b"\x01")
        ),
        tagged_bytes(5, tagged_bytes(1, b"x") + tagged_bytes(5, tagged_bytes(8, b"value"))),
        tagged_bytes(4, tagged_bytes(1, b"key") + tagged_bytes(2, tagged_varint(2, 7))),
        tagged_bytes(9, b"unknown"),
        *(b"\x0a", b"\x80", b"\x00", b"\xff", b"\x08", b"\x1a\x05ab"),
    ]
)
messages = st.lists(PIECES | st.binary(max_size=4), max_size=8).map(b"".join)


@given(messages)
def test_what_is_accepted_is_what_protobuf_reads(document):
    reader = FieldReader(document)
    try:
        message = reader.read(kserve.REQUEST)
        name = reader.text(message.one(kserve.MODEL_NAME), "model_name")
        own_id = reader.text(message.one(kserve.ID), "id")
        tensors = [reader.within(kserve.TENSOR, one) for one in message.many(kserve.INPUTS)]
        names = [reader.text(one.one(kserve.NAME), "name") for one in tensors]
        shapes = [
            [found.value for found in reader.numbers(one.many(kserve.SHAPE), WireType.VARINT)]
            for one in tensors
        ]
        raws = [document[one.start : one.end] for one in message.many(kserve.RAW_INPUTS)]
    except PeerError:
        return
    try:
        expected = pb.ModelInferRequest.FromString(document)
    except DecodeError:
        # Of submessages that were not looked into it may know more faults.
        return
    assert (name, own_id, raws) == (expected.model_name, expected.id, list(expected.raw_input_contents))
    assert names == [one.name for one in expected.inputs]
    assert shapes == [list(one.shape) for one in expected.inputs]


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_peer_error(document):
    for schema in (SCHEMA, kserve.REQUEST, kserve.RESPONSE, kserve.PARAMETER, kserve.CONTENTS_MESSAGE):
        try:
            FieldReader(document).read(schema)
        except PeerError as error:
            assert error.status == 400  # noqa: PT017 - it need not raise.


# --- writing ---------------------------------------------------------------------------------

parameter_names = st.text(max_size=12)
requests = st.builds(
    lambda model, parameters: pb.ModelInferRequest(
        model_name=model,
        parameters={name: pb.InferParameter(string_param=text) for name, text in parameters.items()},
    ),
    st.text(max_size=200),
    st.dictionaries(parameter_names, st.text(max_size=200), max_size=3),
)


@given(requests, st.text(max_size=300), st.text(max_size=300))
def test_edits_within_submessages_mend_every_length_around_them(request_made, model, value):
    """Whatever the lengths were and become: protobuf reads what was written, and nothing else changed."""
    document = request_made.SerializeToString(deterministic=True)
    reader = FieldReader(document)
    message = reader.read(kserve.REQUEST)
    edits = []
    expected = pb.ModelInferRequest.FromString(document)
    if message.one(1) is not None:
        edits.append(Edit((), replaced(message.one(1), model.encode())))
        expected.model_name = model
    for entry in message.many(4):
        inner = reader.within(kserve.MAP_ENTRY, entry)
        holder = inner.one(2)
        text = reader.within(kserve.PARAMETER, holder).one(3)
        edits.append(Edit((entry, holder), replaced(text, value.encode())))
        expected.parameters[reader.text(inner.one(1), "key")].string_param = value
    assert pb.ModelInferRequest.FromString(spliced(document, edits)) == expected


def test_insertions_at_one_place_keep_their_order():
    document = tagged_bytes(1, b"abc")
    edits = [Edit((), Splice(5, 5, b"z")), Edit((), Splice(5, 5, b"a")), Edit((), Splice(0, 0, b"-"))]
    assert spliced(document, edits) == b"-" + document + b"za"


def test_without_edits_the_bytes_are_the_same():
    document = tagged_bytes(1, b"abc") + b"\x10\x01"
    assert spliced(document, []) == document


def test_a_field_is_taken_out_with_its_tag():
    document = tagged_bytes(1, b"abc") + tagged_bytes(3, b"x") + tagged_varint(2, 9)
    found = FieldReader(document).read(SCHEMA)
    assert spliced(document, [Edit((), removed(found.many(3)[0]))]) == tagged_bytes(1, b"abc") + b"\x10\x09"


@pytest.mark.parametrize("edits", [[(0, 3), (2, 4)], [(3, 9)], [(4, 3)]])
def test_edits_that_overlap_or_lie_outside_are_a_bug(edits):
    with pytest.raises(ValueError, match="overlap"):
        spliced(b"abcdef", [Edit((), Splice(start, end, b"")) for start, end in edits])


# --- without a schema ------------------------------------------------------------------------


def test_everything_that_could_be_text_is_found():
    inner = tagged_bytes(1, b"a name") + tagged_varint(2, 7)
    document = (
        tagged_bytes(1, b"a server") + tagged_bytes(2, tagged_bytes(3, inner)) + b"\x29" + b"\x00" * 8
    )
    found = texts_of(document)
    assert {"a server", "a name"} <= set(found)


@given(st.lists(st.text(min_size=1), max_size=4), st.integers(0, 5))
def test_a_text_is_found_at_any_depth(texts, depth):
    document = b"".join(tagged_bytes(2, text.encode()) for text in texts)
    for _ in range(depth):
        document = tagged_bytes(1, document)
    assert set(texts) <= set(texts_of(document))


def test_what_is_no_message_is_refused():
    with pytest.raises(PeerError):
        texts_of(b"\xff\xff")


def test_depth_and_fields_are_bounded():
    document = b"x"
    for _ in range(LIMITS.json_depth_max + 2):
        document = tagged_bytes(1, document)
    with pytest.raises(PeerError) as caught:
        texts_of(document)
    assert caught.value.reason is Reason.BODY_TOO_COMPLEX
    with pytest.raises(PeerError):
        texts_of(tagged_varint(1, 1) * 20, limits=replace(LIMITS, protobuf_fields_max=10))
