"""Tensors in a body of KServe v2 over HTTP: a JSON document and, behind it, the binary tail.

A tensor's values stand in the document as ``data``, nested or flat, or in the tail, where tensors follow
one another in the order of the document, each ``binary_data_size`` bytes long. A string in the tail is its
length in four bytes, the lowest first, and then its bytes. Everything must add up: the values to the shape,
the sizes to the tail. Shared memory is refused, as nobody could look into it. Requests and answers are
written alike. Source: KServe's Open Inference Protocol with Triton's binary tensor data extension.
"""

from __future__ import annotations

import math
import re
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Array, Constant, Number, Object, Text, locate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Value

BYTES: Final = "BYTES"
BOOL: Final = "BOOL"
PARAMETERS: Final = "parameters"
BINARY_SIZE: Final = "binary_data_size"
SHARED_MEMORY: Final = "shared_memory_"

ITEM_BYTES: Final[Mapping[str, int]] = MappingProxyType(
    {
        BOOL: 1,
        "UINT8": 1,
        "UINT16": 2,
        "UINT32": 4,
        "UINT64": 8,
        "INT8": 1,
        "INT16": 2,
        "INT32": 4,
        "INT64": 8,
        "FP16": 2,
        "BF16": 2,
        "FP32": 4,
        "FP64": 8,
    }
)
"""The size of one value; a string has none of its own."""
INTEGERS: Final = frozenset(name for name in ITEM_BYTES if "INT" in name)
LONG: Final = frozenset({"INT64", "UINT64"})
"""Whole numbers of fewer bits have at most as many digits as quantities have."""

FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        BOOL: "?",
        "UINT8": "B",
        "UINT16": "H",
        "UINT32": "I",
        "UINT64": "Q",
        "INT8": "b",
        "INT16": "h",
        "INT32": "i",
        "INT64": "q",
        "FP16": "e",
        "BF16": "H",
        "FP32": "f",
        "FP64": "d",
    }
)
"""Formats of the standard library's struct. BF16 is the upper half of an FP32."""
LENGTH_BYTES: Final = 4
# Triton's names are those of a model's configuration, which frameworks make of slashes, dots and colons.
TENSOR_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")
_MEMBERS: Final = frozenset({"name", "datatype", "shape", PARAMETERS, "data"})


class Body(NamedTuple):
    """A body in its two parts. ``split`` says whether a header tells where the document ends."""

    document: bytes
    tail: bytes
    split: bool

    @property
    def whole(self) -> bytes:
        """As it stands on the wire."""
        return self.document + self.tail if self.tail else self.document


class Piece(NamedTuple):
    """One string of a BYTES tensor; ``text`` is None where its bytes are no UTF-8.

    The span lies in the document or, with ``binary``, in the tail, its length included.
    """

    text: str | None
    start: int
    end: int
    binary: bool


class Tensor(NamedTuple):
    """One tensor. ``values`` are its values in the document, flat; None where it stands in the tail.

    ``span`` is where it lies in the tail, and ``size`` the number that tells its length. ``pieces`` are
    the strings of a BYTES tensor.
    """

    name: Text
    datatype: str
    shape: tuple[int, ...]
    values_count: int
    values: tuple[Value, ...] | None
    size: Number | None
    span: tuple[int, int]
    pieces: tuple[Piece, ...]


def split_body(body: bytes, header_bytes: int | None) -> Body:
    """A body in its parts; ``header_bytes`` is what the header says of the document's length.

    Raises:
        PeerError: the header says more than there is, or nothing at all, which makes it a raw tensor.
    """
    if header_bytes is None:
        return Body(body, b"", split=False)
    if not 0 < header_bytes <= len(body):
        raise PeerError(
            Reason.BODY_INVALID, "inference-header-content-length is no length of this body's JSON"
        )
    return Body(body[:header_bytes], body[header_bytes:], split=True)


def read_tensors(body: Body, listed: Sequence[Value], *, limits: Limits) -> tuple[Tensor, ...]:
    """The tensors of ``inputs`` or ``outputs``.

    Raises:
        PeerError: BODY_INVALID or BODY_TOO_COMPLEX, status 400, for whatever does not add up; names no
            tensor, as its name is the sender's own.
    """
    reading = _Reading(body, limits)
    tensors = tuple([reading.tensor(item) for item in listed])
    reading.end()
    return tensors


def numbers_of(body: Body, tensor: Tensor) -> tuple[int | float | bool, ...]:
    """The values of a tensor that is not of strings.

    Raises:
        PeerError: a byte of a BOOL is neither 0 nor 1.
    """
    if tensor.values is not None:
        return tuple(
            [
                one.value
                for one in tensor.values
                if isinstance(one, Number | Constant) and one.value is not None
            ]
        )
    raw = body.tail[slice(*tensor.span)]
    if tensor.datatype == BOOL and raw.strip(b"\x00\x01"):
        raise PeerError(Reason.BODY_INVALID, "a boolean tensor has a byte that is neither 0 nor 1")
    values = struct.unpack(f"<{tensor.values_count}{FORMATS[tensor.datatype]}", raw)
    if tensor.datatype == "BF16":
        values = struct.unpack(
            f"<{tensor.values_count}f",
            b"".join(b"\x00\x00" + raw[at : at + 2] for at in range(0, len(raw), 2)),
        )
    return values


class _Reading:
    """The state of reading one list of tensors: how far the tail is read."""

    def __init__(self, body: Body, limits: Limits) -> None:
        self._body = body
        self._limits = limits
        self._at = 0
        self._names: set[str] = set()
        self._strings = 0

    def tensor(self, item: Value) -> Tensor:
        """The next one."""
        node = self._node(item)
        name = self._text(node, "name")
        if TENSOR_NAME.fullmatch(name.value) is None:
            raise self._fault(node, "has a name that no tensor has")
        if name.value in self._names:
            raise self._fault(node, "has the name of another")
        self._names.add(name.value)
        datatype = self._text(node, "datatype").value
        if datatype != BYTES and datatype not in ITEM_BYTES:
            raise self._fault(node, "has an unknown datatype")
        shape = self._shape(node)
        count = math.prod(shape)
        size = self._size(node)
        data = node.members.get("data")
        if (size is None) == (data is None):
            raise self._fault(node, "must have either data or a binary_data_size")
        values: tuple[Value, ...] | None = None
        pieces: tuple[Piece, ...] = ()
        begin = self._at
        if data is not None:
            values = self._values(node, data.value, datatype, count)
            if datatype == BYTES:
                pieces = tuple(
                    [
                        Piece(one.value, one.start, one.end, binary=False)
                        for one in values
                        if isinstance(one, Text)
                    ]
                )
        elif size is not None:
            pieces = self._binary(node, int(size.value), datatype, count)
        return Tensor(name, datatype, shape, count, values, size, (begin, self._at), pieces)

    def end(self) -> None:
        """No byte of the tail belongs to no tensor."""
        if self._at != len(self._body.tail):
            raise PeerError(Reason.BODY_INVALID, "there are bytes behind the last tensor")

    # --- what the document says ------------------------------------------------------------------

    def _node(self, item: Value) -> Object:
        if not isinstance(item, Object):
            raise self._fault(item, "must be an object")
        if not _MEMBERS.issuperset(item.members):
            raise self._fault(item, "has a member that no tensor has")
        return item

    def _text(self, node: Object, name: str) -> Text:
        member = node.members.get(name)
        if member is None or not isinstance(member.value, Text):
            raise self._fault(node, f"must have a {name} that is a string")
        return member.value

    def _shape(self, node: Object) -> tuple[int, ...]:
        member = node.members.get("shape")
        if member is None or not isinstance(member.value, Array):
            raise self._fault(node, "must have a shape that is an array")
        items = member.value.items
        if len(items) > self._limits.tensor_dimensions_max:
            raise self._fault(node, f"has more than {self._limits.tensor_dimensions_max} dimensions")
        shape = [item.value for item in items if isinstance(item, Number) and isinstance(item.value, int)]
        if len(shape) != len(items) or any(not 0 <= one <= self._limits.body_bytes_max for one in shape):
            raise self._fault(node, "has a shape that no tensor has")
        return tuple([int(one) for one in shape])

    def _size(self, node: Object) -> Number | None:
        member = node.members.get(PARAMETERS)
        if member is None:
            return None
        if not isinstance(member.value, Object):
            raise self._fault(node, "has parameters that are no object")
        named = member.value.members
        if any(name.startswith(SHARED_MEMORY) for name in named):
            raise self._fault(node, "stands in shared memory, which cannot be inspected")
        size = named.get(BINARY_SIZE)
        if any(name != BINARY_SIZE for name in named):
            raise self._fault(node, "has a parameter that no tensor has")
        if size is None:
            return None
        if (
            not isinstance(size.value, Number)
            or not isinstance(size.value.value, int)
            or size.value.value < 0
        ):
            raise self._fault(node, "has a binary_data_size that is no length")
        if not self._body.split:
            raise self._fault(
                node, "has a binary_data_size, but no inference-header-content-length is given"
            )
        return size.value

    def _values(self, node: Object, data: Value, datatype: str, count: int) -> tuple[Value, ...]:
        if not isinstance(data, Array):
            raise self._fault(node, "must have data that is an array")
        values = _flat(data)
        if len(values) != count:
            raise self._fault(node, "has another number of values than its shape says")
        if not all(_is_value(one, datatype) for one in values):
            raise self._fault(node, "has a value that is not of its datatype")
        return values

    # --- what the tail says ----------------------------------------------------------------------

    def _binary(self, node: Object, size: int, datatype: str, count: int) -> tuple[Piece, ...]:
        begin = self._at
        if size > len(self._body.tail) - begin:
            raise self._fault(node, "has a binary_data_size beyond the end of the body")
        self._at = begin + size
        if datatype != BYTES:
            if size != count * ITEM_BYTES[datatype]:
                raise self._fault(node, "has another binary_data_size than its shape says")
            return ()
        if count * LENGTH_BYTES > size:
            raise self._fault(node, "has fewer strings than its shape says")
        self._strings += count
        if self._strings > self._limits.json_nodes_max:
            raise PeerError(
                Reason.BODY_TOO_COMPLEX,
                f"there are more than {self._limits.json_nodes_max} strings in tensors",
            )
        return self._strings_in(node, begin, self._at, count)

    def _strings_in(self, node: Object, begin: int, end: int, count: int) -> tuple[Piece, ...]:
        tail = self._body.tail
        pieces = []
        at = begin
        for _ in range(count):
            start = at + LENGTH_BYTES
            following = start + int.from_bytes(tail[at:start], "little")
            if start > end or following > end:
                raise self._fault(node, "has a string that reaches beyond its end")
            pieces.append(Piece(_decoded(tail[start:following]), at, following, binary=True))
            at = following
        if at != end:
            raise self._fault(node, "has more strings than its shape says")
        return tuple(pieces)

    def _fault(self, at: Value, what: str) -> PeerError:
        return PeerError(
            Reason.BODY_INVALID, f"a tensor {what}; at {locate(self._body.document, at.start)}"
        )


def _flat(data: Array) -> tuple[Value, ...]:
    """The values of nested arrays, in order, as Triton flattens them."""
    if not any(isinstance(item, Array) for item in data.items):
        return data.items
    values: list[Value] = []
    pending: list[Value] = [data]
    while pending:
        one = pending.pop()
        if isinstance(one, Array):
            pending.extend(reversed(one.items))
        else:
            values.append(one)
    return tuple(values)


def _is_value(value: Value, datatype: str) -> bool:
    if datatype == BYTES:
        return isinstance(value, Text)
    if datatype == BOOL:
        return isinstance(value, Constant) and value.value is not None
    return isinstance(value, Number) and (datatype not in INTEGERS or isinstance(value.value, int))


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
