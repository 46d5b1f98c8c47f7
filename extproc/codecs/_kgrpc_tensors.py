"""Tensors in the messages of KServe's gRPC service: their values typed in ``contents``, or raw beside them.

Of one message either all tensors are raw, in the order of the tensors, or all are typed, as Triton demands.
A raw string is its length in four bytes, the lowest first, and then its bytes. Everything must add up: the
strings to the shape, raw sizes to the shape, the field of ``contents`` to the datatype. A tensor's own
parameters are refused: they place it in shared memory, where nobody could look into it.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs._kserve_tensors import (
    BOOL,
    BYTES,
    FORMATS,
    ITEM_BYTES,
    LENGTH_BYTES,
    TENSOR_NAME,
)
from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.protobuf_fields import (
    Edit,
    WireType,
    fixed32,
    fixed64,
    replaced,
    signed,
    tagged_bytes,
    varint,
)
from extproc.wire.splice import Splice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.domain.limits import Limits
    from extproc.wire.protobuf_fields import Field, FieldReader, Message

_FLOATS: Final = {"FP32": 6, "FP64": 7}
# A varint's last byte is below this bit, and it has ten bytes at most.
_LAST_MAX: Final = 0x7F
_OVERLONG: Final = re.compile(rb"[\x80-\xff]{10}")


class Piece(NamedTuple):
    """One string of a BYTES tensor; ``text`` is None where its bytes are no UTF-8.

    ``path`` are the fields around it; the span includes its length, of which ``raw`` tells the form.
    """

    text: str | None
    path: tuple[Field, ...]
    start: int
    end: int
    raw: bool


class Tensor(NamedTuple):
    """One tensor: ``raw`` are its raw contents, ``contents`` its typed ones; one of them may be None."""

    name: str
    name_field: Field
    datatype: str
    shape: tuple[int, ...]
    values_count: int
    field: Field
    raw: Field | None
    contents: Field | None
    typed: Message | None
    pieces: tuple[Piece, ...]


def read_tensors(
    reader: FieldReader, listed: Sequence[Field], raws: Sequence[Field], *, limits: Limits
) -> tuple[Tensor, ...]:
    """The tensors of a message.

    Raises:
        PeerError: BODY_INVALID or BODY_TOO_COMPLEX, status 400, for whatever does not add up; names no
            tensor, as its name is the sender's own.
    """
    if raws and len(raws) != len(listed):
        raise PeerError(Reason.BODY_INVALID, "there is not one raw content for each tensor")
    reading = _Reading(reader, limits)
    return tuple(
        [reading.tensor(one, raws[at] if raws else None) for at, one in enumerate(listed)],
    )


def numbers_of(reader: FieldReader, tensor: Tensor) -> tuple[int | float | bool, ...]:
    """The values of a tensor that is not of strings.

    Raises:
        PeerError: a value is not of the tensor's type, or there are more or fewer than the shape says.
    """
    if tensor.raw is not None:
        return _unpacked(reader.document[tensor.raw.start : tensor.raw.end], tensor)
    found = tensor.typed.many(wire.CONTENTS_OF[tensor.datatype]) if tensor.typed is not None else ()
    values: list[int | float | bool]
    if tensor.datatype in _FLOATS:
        values = [*_floats(reader, found, tensor.datatype)]
    else:
        values = [_integer(one.value, tensor) for one in reader.numbers(found, WireType.VARINT)]
    if len(values) != tensor.values_count:
        raise _fault("has another number of values than its shape says", tensor.field)
    return tuple(values)


def put_text(piece: Piece, text: str) -> Edit:
    """Replace one string."""
    written = text.encode()
    length = len(written).to_bytes(LENGTH_BYTES, "little") if piece.raw else varint(len(written))
    return Edit(piece.path, Splice(piece.start, piece.end, length + written))


def put_number(tensor: Tensor, value: int | bool) -> Edit:  # noqa: FBT001 - a tensor's value.
    """Set every value of a tensor of integers or booleans."""
    if tensor.raw is not None:
        return Edit((), replaced(tensor.raw, raw_numbers(tensor.datatype, value, tensor.values_count)))
    if tensor.contents is None:
        raise AssertionError("a tensor without values has none to set")
    typed = typed_numbers(tensor.datatype, value, tensor.values_count)
    return Edit((tensor.field,), replaced(tensor.contents, typed))


def raw_numbers(datatype: str, value: int | bool, count: int) -> bytes:  # noqa: FBT001 - as above.
    """Raw contents that hold one number everywhere."""
    return struct.pack("<" + FORMATS[datatype], value) * count


def typed_numbers(datatype: str, value: int | bool, count: int) -> bytes:  # noqa: FBT001 - as above.
    """The same as an InferTensorContents; the number is not negative."""
    return tagged_bytes(wire.CONTENTS_OF[datatype], varint(int(value)) * count)


class _Reading:
    """The state of reading one message's tensors."""

    def __init__(self, reader: FieldReader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._names: set[str] = set()

    def tensor(self, listed: Field, raw: Field | None) -> Tensor:
        """The next one."""
        message = self._reader.within(wire.TENSOR, listed)
        name_field = message.one(wire.NAME)
        name = self._reader.text(name_field, "a tensor's name")
        if name_field is None or name in self._names or TENSOR_NAME.fullmatch(name) is None:
            raise _fault("has a name that no tensor has, or that of another", listed)
        self._names.add(name)
        datatype = self._reader.text(message.one(wire.DATATYPE), "a tensor's datatype")
        if datatype != BYTES and datatype not in ITEM_BYTES:
            raise _fault("has an unknown datatype", listed)
        if message.many(wire.TENSOR_PARAMETERS):
            raise _fault("has parameters, as those in shared memory have", listed)
        shape = self._shape(message, listed)
        count = math.prod(shape)
        contents = message.one(wire.CONTENTS)
        if (raw is None) == (contents is None) and (raw is not None or count):
            raise _fault("must have either typed or raw contents", listed)
        typed = None if contents is None else self._typed(contents, datatype)
        pieces: tuple[Piece, ...] = ()
        if datatype == BYTES:
            if raw is not None:
                self._reader.count(count, raw.at)
                pieces = self._raw_strings(raw, count)
            if typed is not None and contents is not None:
                pieces = self._typed_strings(typed, (listed, contents))
            if len(pieces) != count:
                raise _fault("has another number of strings than its shape says", listed)
        elif raw is not None and raw.end - raw.start != count * ITEM_BYTES[datatype]:
            raise _fault("has raw contents of another size than its shape says", listed)
        return Tensor(name, name_field, datatype, shape, count, listed, raw, contents, typed, pieces)

    def _typed(self, contents: Field, datatype: str) -> Message:
        typed = self._reader.within(wire.CONTENTS_MESSAGE, contents)
        if any(tag != wire.CONTENTS_OF.get(datatype) for tag in typed.repeated):
            raise _fault("has contents that are not of its datatype", contents)
        if datatype != BYTES:
            for one in (one for found in typed.repeated.values() for one in found):
                if one.wire_type is WireType.LENGTH and not self._is_whole(one, datatype):
                    raise _fault("has contents that are no whole numbers", one)
        return typed

    def _is_whole(self, packed: Field, datatype: str) -> bool:
        """Whether packed numbers end where their field does.

        Who reads no protobuf there takes no request behind it either: on a stream that is its neighbours.
        """
        if datatype in _FLOATS:
            return not (packed.end - packed.start) % ITEM_BYTES[datatype]
        document = self._reader.document
        ends = packed.start == packed.end or document[packed.end - 1] <= _LAST_MAX
        return ends and _OVERLONG.search(document, packed.start, packed.end) is None

    def _shape(self, message: Message, listed: Field) -> tuple[int, ...]:
        found = self._reader.numbers(message.many(wire.SHAPE), WireType.VARINT)
        if len(found) > self._limits.tensor_dimensions_max:
            raise _fault(f"has more than {self._limits.tensor_dimensions_max} dimensions", listed)
        if any(one.value > self._limits.body_bytes_max for one in found):
            raise _fault("has a shape that no tensor has", listed)
        return tuple([one.value for one in found])

    def _raw_strings(self, raw: Field, count: int) -> tuple[Piece, ...]:
        document = self._reader.document
        pieces = []
        at = raw.start
        for _ in range(count):
            start = at + LENGTH_BYTES
            following = start + int.from_bytes(document[at:start], "little")
            if following > raw.end:
                raise _fault("has a string that reaches beyond its end", raw)
            pieces.append(Piece(_decoded(document[start:following]), (raw,), at, following, raw=True))
            at = following
        if at != raw.end:
            raise _fault("has more strings than its shape says", raw)
        return tuple(pieces)

    def _typed_strings(self, typed: Message, path: tuple[Field, ...]) -> tuple[Piece, ...]:
        document = self._reader.document
        return tuple(
            [
                Piece(_decoded(document[one.start : one.end]), path, one.value_at, one.end, raw=False)
                for one in typed.many(wire.BYTES_CONTENTS)
            ]
        )


def _unpacked(raw: bytes, tensor: Tensor) -> tuple[int | float | bool, ...]:
    if tensor.datatype == BOOL and raw.strip(b"\x00\x01"):
        raise _fault("has a byte that is neither true nor false", tensor.field)
    if tensor.datatype == "BF16":
        raw = b"".join(b"\x00\x00" + raw[at : at + 2] for at in range(0, len(raw), 2))
        return struct.unpack(f"<{tensor.values_count}f", raw)
    return struct.unpack(f"<{tensor.values_count}{FORMATS[tensor.datatype]}", raw)


def _integer(value: int, tensor: Tensor) -> int | bool:
    if tensor.datatype == BOOL:
        if value > 1:
            raise _fault("has a value that is neither true nor false", tensor.field)
        return value == 1
    number = value if tensor.datatype.startswith("U") else signed(value)
    try:
        struct.pack(FORMATS[tensor.datatype], number)
    except struct.error:
        raise _fault("has a value that its datatype cannot hold", tensor.field) from None
    return number


def _floats(reader: FieldReader, found: Sequence[Field], datatype: str) -> list[float]:
    width = ITEM_BYTES[datatype]
    single = fixed32 if datatype == "FP32" else fixed64
    values: list[float] = []
    for one in found:
        if one.wire_type is not WireType.LENGTH:
            values.append(single(reader.document, one))
            continue
        packed = reader.document[one.start : one.end]
        values += struct.unpack(f"<{len(packed) // width}{FORMATS[datatype]}", packed)
    return values


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _fault(what: str, at: Field) -> PeerError:
    return PeerError(Reason.BODY_INVALID, f"a tensor {what}; at byte {at.at}")
