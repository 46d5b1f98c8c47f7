"""A strict protobuf reader that locates: every field keeps its byte span, so that edits can be spliced in.

Whatever two parsers could read differently is refused, and so is what nobody here has a name for: unknown
fields, another wire type than the schema's, groups, a singular field that stands twice (of scalars the last
one would win, submessages would merge), two members of a oneof, a map's key twice, tags and lengths that
are not in their shortest form, strings that are no UTF-8, bytes beyond the end. Repeated numbers may come
packed or not, as parsers must take both. Source: the protobuf encoding specification.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.verdict import Reason
from extproc.wire.splice import Splice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class WireType(IntEnum):
    """How a value is written. Groups (3 and 4) are not among them."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5


class Rule(StrEnum):
    """How often a field may stand. ``ONE_OF`` are members of a message's one oneof."""

    ONE = auto()
    ONE_OF = auto()
    MANY = auto()


class Field(NamedTuple):
    """One field as it stands.

    ``at`` is where its tag begins and ``value_at`` what follows it: of LENGTH the length. ``start`` and
    ``end`` are the value's bytes; ``number`` is a varint's value, unsigned.
    """

    tag: int
    wire_type: WireType
    at: int
    value_at: int
    start: int
    end: int
    number: int


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of a message: by number their wire type and how often they may stand.

    A field with ``MANY`` numbers may be packed. ``name`` is said in messages.
    """

    name: str
    fields: Mapping[int, tuple[WireType, Rule]]


@dataclass(slots=True)
class Message:
    """A message as it was read; ``start`` and ``end`` are its bytes in the document."""

    start: int
    end: int
    singular: dict[int, Field] = field(default_factory=dict)
    repeated: dict[int, list[Field]] = field(default_factory=dict)

    def one(self, tag: int) -> Field | None:
        """A singular field; None where it is not set."""
        return self.singular.get(tag)

    def many(self, tag: int) -> Sequence[Field]:
        """A repeated field, in wire order."""
        return self.repeated.get(tag, ())


class Edit(NamedTuple):
    """A splice within submessages: ``path`` are the LENGTH fields around it, outermost first.

    The lengths of all of them are mended.
    """

    path: tuple[Field, ...]
    splice: Splice


_WIRE_TYPES: Final = {one.value: one for one in WireType}
_FIXED_BYTES: Final = {WireType.FIXED32: 4, WireType.FIXED64: 8}
_VARINT_BYTES_MAX: Final = 10
_VARINT_VALUE_MAX: Final = 2**64
_INT64_MAX: Final = 2**63
# A tag is a field's number, of at most 29 bits, beside its wire type.
_TAG_MAX: Final = 2**32
_MORE: Final = 0x80


@dataclass(slots=True)
class FieldBudget:
    """Fields that may yet be read, where several documents share one bound."""

    left: int


class FieldReader:
    """Reads messages of one document, and counts their fields against the bound, or one that is shared."""

    __slots__ = ("_budget", "document")

    def __init__(
        self, document: bytes, *, limits: Limits = LIMITS, budget: FieldBudget | None = None
    ) -> None:
        self.document = document
        self._budget = FieldBudget(limits.protobuf_fields_max) if budget is None else budget

    def read(self, schema: Schema, start: int = 0, end: int | None = None) -> Message:
        """The message in these bytes.

        Raises:
            PeerError: BODY_INVALID or BODY_TOO_COMPLEX, status 400; says what and where, quotes nothing.
        """
        end = len(self.document) if end is None else end
        message = Message(start, end)
        chosen = False
        at = start
        while at < end:
            found = self._field(schema, at, end)
            at = found.end
            rule = schema.fields[found.tag][1]
            if rule is Rule.MANY:
                message.repeated.setdefault(found.tag, []).append(found)
                continue
            if found.tag in message.singular or (rule is Rule.ONE_OF and chosen):
                raise self.fault(schema.name, "has a field twice", found.at)
            chosen |= rule is Rule.ONE_OF
            message.singular[found.tag] = found
        return message

    def within(self, schema: Schema, holder: Field) -> Message:
        """The submessage that a LENGTH field holds."""
        return self.read(schema, holder.start, holder.end)

    def text(self, found: Field | None, what: str) -> str:
        """A string field's text; empty where it is not set."""
        if found is None:
            return ""
        try:
            return self.document[found.start : found.end].decode()
        except UnicodeDecodeError:
            raise self.fault(what, "is not valid UTF-8", found.at) from None

    def boolean(self, found: Field, what: str) -> bool:
        """A bool: 0 or 1, though parsers take any other number for true."""
        if found.number > 1:
            raise self.fault(what, "is neither true nor false", found.at)
        return found.number == 1

    def numbers(self, found: Iterable[Field], wire_type: WireType) -> list[Located]:
        """Repeated varints, packed or not, each with its place."""
        values: list[Located] = []
        for one in found:
            if one.wire_type is wire_type:
                values.append(Located(one.number, one.start, one.end, None))
                continue
            at = one.start
            while at < one.end:
                value, after = self._varint(at, one.end)
                values.append(Located(value, at, after, one))
                at = after
                self.count(1, at)
        return values

    def loose(self, start: int, end: int) -> list[Field] | None:
        """The LENGTH fields of what could be a message of any schema; None where it can be none."""
        found: list[Field] = []
        at = start
        while at < end:
            self.count(1, at)
            try:
                one = self._value(at, end)
            except PeerError:
                return None
            at = one.end
            if one.wire_type is WireType.LENGTH:
                found.append(one)
        return found

    def count(self, values: int, at: int) -> None:
        """Count what costs as much as so many fields.

        Raises:
            PeerError: BODY_TOO_COMPLEX, status 400: there are too many.
        """
        if values > self._budget.left:
            raise PeerError(Reason.BODY_TOO_COMPLEX, f"the message has too many fields; at byte {at}")
        self._budget.left -= values

    def fault(self, what: str, fault: str, at: int) -> PeerError:
        """What is wrong, and at which byte."""
        return PeerError(Reason.BODY_INVALID, f"{what} {fault}; at byte {at}")

    def _field(self, schema: Schema, at: int, end: int) -> Field:
        self.count(1, at)
        found = self._value(at, end)
        known = schema.fields.get(found.tag)
        if known is None:
            raise self.fault(schema.name, "has an unknown field", at)
        wire_type, rule = known
        packed = found.wire_type is WireType.LENGTH and rule is Rule.MANY
        if found.wire_type is not wire_type and not packed:
            raise self.fault(schema.name, "has a field of another type", at)
        return found

    def _value(self, at: int, end: int) -> Field:
        """The field that begins here, whatever it is."""
        tag, value_at = self._varint(at, end)
        number, kind = tag >> 3, _WIRE_TYPES.get(tag & 7)
        if kind is None or number == 0 or tag >= _TAG_MAX:
            raise self.fault("the message", "has a tag that no field has", at)
        value = 0
        start = value_at
        if kind is WireType.VARINT:
            value, after = self._varint(value_at, end)
        elif kind is WireType.LENGTH:
            size, start = self._varint(value_at, end)
            after = start + size
        else:
            after = value_at + _FIXED_BYTES[kind]
        if after > end:
            raise self.fault("the message", "has a field beyond its end", at)
        return Field(number, kind, at, value_at, start, after, value)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A varint and where it ends."""
        value = shift = 0
        for place in range(at, min(end, at + _VARINT_BYTES_MAX)):
            byte = self.document[place]
            value |= (byte & (_MORE - 1)) << shift
            if byte < _MORE:
                if (byte == 0 and place > at) or value >= _VARINT_VALUE_MAX:
                    raise self.fault("the message", "has a number that is not in its shortest form", at)
                return value, place + 1
            shift += 7
        raise self.fault("the message", "has a number without an end", at)


def texts_of(document: bytes, *, limits: Limits = LIMITS) -> list[str]:
    """Everything in a message of any schema that could be text, for whoever only looks at it.

    A LENGTH field may be a string or a submessage, which its bytes alone do not tell: each is given as the
    text that it would be, and looked into if it could be a message.

    Raises:
        PeerError: BODY_INVALID or BODY_TOO_COMPLEX, status 400: it is no message, or too large a one.
    """
    texts: list[str] = []
    pending = [(0, len(document), 0)]
    reader = FieldReader(document, limits=limits)
    while pending:
        start, end, depth = pending.pop()
        if depth > limits.json_depth_max:
            raise PeerError(Reason.BODY_TOO_COMPLEX, "the message has too many levels")
        found = reader.loose(start, end)
        if found is None and depth == 0:
            raise PeerError(Reason.BODY_INVALID, "it is no protobuf message")
        for one in found or ():
            text = document[one.start : one.end].decode("utf-8", "replace")
            texts.append(text)
            pending.append((one.start, one.end, depth + 1))
    return texts


class Located(NamedTuple):
    """A number with its place; ``packed`` is the field that it stands in with others."""

    value: int
    start: int
    end: int
    packed: Field | None


def signed(value: int) -> int:
    """A varint's value as an int64 or int32, which are written as if they had 64 bits."""
    return value - _VARINT_VALUE_MAX if value >= _INT64_MAX else value


def fixed32(document: bytes, found: Field) -> float:
    """The float of a FIXED32 field."""
    (value,) = struct.unpack_from("<f", document, found.start)
    return float(value)


def fixed64(document: bytes, found: Field) -> float:
    """The double of a FIXED64 field."""
    (value,) = struct.unpack_from("<d", document, found.start)
    return float(value)


# --- writing ---------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """An unsigned number in its shortest form."""
    if value < _MORE:
        return bytes((value,))
    out = bytearray()
    while value >= _MORE:
        out.append(value & (_MORE - 1) | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def tagged_varint(tag: int, value: int) -> bytes:
    """A VARINT field."""
    return varint(tag << 3 | WireType.VARINT) + varint(value)


def tagged_bytes(tag: int, value: bytes) -> bytes:
    """A LENGTH field: a string, bytes, a submessage or packed numbers."""
    return varint(tag << 3 | WireType.LENGTH) + varint(len(value)) + value


def replaced(found: Field, value: bytes) -> Splice:
    """Another value for a LENGTH field."""
    return Splice(found.value_at, found.end, varint(len(value)) + value)


def removed(found: Field) -> Splice:
    """A field taken out."""
    return Splice(found.at, found.end, b"")


def spliced(document: bytes, edits: Sequence[Edit], start: int = 0, end: int | None = None) -> bytes:
    """The bytes ``[start, end)`` of a document with all edits applied and every length around them mended.

    Insertions at one place stand in the order in which they are given.

    Raises:
        ValueError: edits overlap or lie outside; a bug of the caller.
    """
    return _within(document, edits, start, len(document) if end is None else end, 0)


def _within(document: bytes, edits: Sequence[Edit], start: int, end: int, depth: int) -> bytes:
    here = [one.splice for one in edits if len(one.path) == depth]
    below: dict[Field, list[Edit]] = {}
    for one in edits:
        if len(one.path) > depth:
            below.setdefault(one.path[depth], []).append(one)
    for holder, inner in below.items():
        payload = _within(document, inner, holder.start, holder.end, depth + 1)
        here.append(replaced(holder, payload))
    pieces: list[bytes] = []
    position = start
    # By place alone, and stable: insertions keep their order.
    for edit in sorted(here, key=lambda one: (one.start, one.end)):
        if not position <= edit.start <= edit.end <= end:
            raise ValueError("edits overlap or lie outside the message")
        pieces += (document[position : edit.start], edit.replacement)
        position = edit.end
    pieces.append(document[position:end])
    return b"".join(pieces)
