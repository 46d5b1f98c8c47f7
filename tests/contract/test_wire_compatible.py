"""Our subset of ext_proc is Envoy's on the wire, held against two foreign builds of Envoy's own files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as xds
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from extproc.edge.translate import METHOD
from extproc.pb import extproc_wire_pb2 as wire

if TYPE_CHECKING:
    import betterproto2

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It is built on a spelling that pydantic deprecates.
    from envoy_data_plane.envoy.service.ext_proc import v3 as edp

PAIRS = [(wire.ProcessingRequest, xds.ProcessingRequest), (wire.ProcessingResponse, xds.ProcessingResponse)]
# Held in a map, or of a type that the other build turns into Python's own.
NOT_IN_EDP = {"attributes", "dynamic_metadata"}
DEPTH_MAX = 7
STRUCT_DEPTH_MAX = 2

Shape = Mapping[str, object]


# --- messages by their descriptor ------------------------------------------------------------

SCALARS: Mapping[int, st.SearchStrategy[object]] = {
    FieldDescriptor.TYPE_STRING: st.text(max_size=8),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
}


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = DEPTH_MAX) -> Message:
    """An arbitrary message of a type, down to a depth."""
    message = GetMessageClass(descriptor)()
    if depth == 0 or not len(descriptor.fields):
        return message
    fields = draw(
        st.lists(st.sampled_from(list(descriptor.fields)), unique_by=lambda one: one.number, max_size=4)
    )
    for field in fields:
        fill(draw, message, field, depth)
    return message


def fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    place = getattr(message, field.name)
    if is_map(field):
        value_type = field.message_type.fields_by_name["value"].message_type
        if value_type is not None:
            place["key"].CopyFrom(draw(messages(value_type, min(depth - 1, STRUCT_DEPTH_MAX))))
    elif field.message_type is not None:
        inner = messages(field.message_type, depth - 1)
        if field.is_repeated:
            place.extend(draw(st.lists(inner, max_size=2)))
        else:
            place.CopyFrom(draw(inner))
    else:
        value = scalar(field)
        if field.is_repeated:
            place.extend(draw(st.lists(value, max_size=2)))
        else:
            setattr(message, field.name, draw(value))


def scalar(field: FieldDescriptor) -> st.SearchStrategy[object]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return SCALARS[field.type]


def shape(message: Message, descriptor: Descriptor) -> Shape:
    """The values of a message, ours or a foreign one, in the fields of ``descriptor``, ours."""
    return {field.name: value_of(message, field) for field in descriptor.fields if present(message, field)}


def present(message: Message, field: FieldDescriptor) -> bool:
    if field.is_repeated:
        return bool(len(getattr(message, field.name)))
    return message.HasField(field.name) if field.has_presence else bool(getattr(message, field.name))


def value_of(message: Message, field: FieldDescriptor) -> object:
    value = getattr(message, field.name)
    if is_map(field):
        return {key: one.SerializeToString(deterministic=True) for key, one in value.items()}
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.is_repeated:
        return [shape(one, field.message_type) for one in value]
    return shape(value, field.message_type)


def subset_of(descriptor: Descriptor, seen: set[str]) -> list[Descriptor]:
    """All our own message types below one."""
    if descriptor.full_name in seen or not descriptor.full_name.startswith("headgate."):
        return []
    seen.add(descriptor.full_name)
    below = (one.message_type for one in descriptor.fields if one.message_type is not None)
    return [descriptor, *(found for one in below for found in subset_of(one, seen))]


# --- field by field --------------------------------------------------------------------------


def same_fields(own: Descriptor, foreign: Descriptor, seen: set[str]) -> list[str]:
    """Differences between our fields and the foreign ones of the same name."""
    if own.full_name in seen or not own.full_name.startswith("headgate."):
        return []
    seen.add(own.full_name)
    found: list[str] = []
    for field in own.fields:
        other = foreign.fields_by_name.get(field.name)
        if other is None or other.number != field.number or other.is_repeated != field.is_repeated:
            found.append(f"{field.full_name}: name, number or label")
        elif field.type != other.type and {field.type, other.type} != {
            FieldDescriptor.TYPE_UINT32,  # A status code; an enum is a varint too.
            FieldDescriptor.TYPE_ENUM,
        }:
            found.append(f"{field.full_name}: type")
        elif field.enum_type is not None and other.enum_type is not None:
            known = {(value.name, value.number) for value in other.enum_type.values}
            found += [v.name for v in field.enum_type.values if (v.name, v.number) not in known]
        elif field.message_type is not None:
            found += same_fields(field.message_type, other.message_type, seen)
    return found


@pytest.mark.parametrize(("own", "foreign"), PAIRS)
def test_our_fields_have_envoys_names_numbers_and_types(own, foreign):
    assert same_fields(own.DESCRIPTOR, foreign.DESCRIPTOR, set()) == []


def test_every_message_of_ours_is_part_of_one_of_the_two():
    reached = {one.name for own, _ in PAIRS for one in subset_of(own.DESCRIPTOR, set())}
    reached.discard("AttributesEntry")  # Protobuf's own name for the entry of a map.
    assert reached == set(wire.DESCRIPTOR.message_types_by_name)


def test_the_method_is_envoys():
    service = xds.DESCRIPTOR.services_by_name["ExternalProcessor"]
    assert f"/{service.full_name}/{service.methods[0].name}" == METHOD


# --- byte by byte ----------------------------------------------------------------------------


def round_trip(own: type[Message], foreign: type[Message]) -> Callable[[Message], None]:
    def check(message: Message) -> None:
        there = foreign.FromString(message.SerializeToString())
        assert shape(there, own.DESCRIPTOR) == shape(message, own.DESCRIPTOR)
        assert own.FromString(there.SerializeToString()) == message

    return check


@given(messages(wire.ProcessingRequest.DESCRIPTOR))
def test_a_request_of_ours_is_the_same_to_xds(message):
    round_trip(wire.ProcessingRequest, xds.ProcessingRequest)(message)


@given(messages(wire.ProcessingResponse.DESCRIPTOR))
def test_a_reply_of_ours_is_the_same_to_xds(message):
    round_trip(wire.ProcessingResponse, xds.ProcessingResponse)(message)


@given(messages(xds.ProcessingRequest.DESCRIPTOR))
def test_a_request_of_xds_is_the_same_to_us_and_what_we_do_not_know_is_no_harm(message):
    here = wire.ProcessingRequest.FromString(message.SerializeToString())
    assert shape(here, here.DESCRIPTOR) == shape(message, here.DESCRIPTOR)


@given(messages(xds.ProcessingResponse.DESCRIPTOR))
def test_a_reply_of_xds_is_the_same_to_us_and_what_we_do_not_know_is_no_harm(message):
    here = wire.ProcessingResponse.FromString(message.SerializeToString())
    assert shape(here, here.DESCRIPTOR) == shape(message, here.DESCRIPTOR)


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_the_same_message_or_none_to_both(data):
    def read(kind: type[Message]) -> Shape | None:
        try:
            return shape(kind.FromString(data), wire.ProcessingRequest.DESCRIPTOR)
        except DecodeError:
            return None

    ours, theirs = read(wire.ProcessingRequest), read(xds.ProcessingRequest)
    # The foreign build also looks into fields that ours skips, and may find them broken.
    assert theirs is None or ours == theirs


# --- the second build ------------------------------------------------------------------------


def edp_shape(message: betterproto2.Message, descriptor: Descriptor) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in descriptor.fields:
        if field.name in NOT_IN_EDP:
            continue
        value = getattr(message, field.name)
        if field.message_type is None:
            found |= {field.name: value} if value is not None and (field.has_presence or value) else {}
        elif field.is_repeated:
            found |= {field.name: [edp_shape(one, field.message_type) for one in value]} if value else {}
        elif value is not None:
            found[field.name] = edp_shape(value, field.message_type)
    return found


def without_structs(message: Message) -> Message:
    for name in NOT_IN_EDP & set(message.DESCRIPTOR.fields_by_name):
        message.ClearField(name)
    return message


def edp_round_trip(message: Message, foreign: type[betterproto2.Message]) -> None:
    there = foreign.parse(message.SerializeToString())
    assert edp_shape(there, message.DESCRIPTOR) == shape(message, message.DESCRIPTOR)
    assert type(message).FromString(bytes(there)) == message


@given(messages(wire.ProcessingRequest.DESCRIPTOR).map(without_structs))
def test_a_request_of_ours_is_the_same_to_the_second_build(message):
    edp_round_trip(message, edp.ProcessingRequest)


@given(messages(wire.ProcessingResponse.DESCRIPTOR).map(without_structs))
def test_a_reply_of_ours_is_the_same_to_the_second_build(message):
    edp_round_trip(message, edp.ProcessingResponse)
