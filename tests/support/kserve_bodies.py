"""Bodies of KServe v2's infer over HTTP, built short: tensors in JSON or in the binary tail."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

_INTEGERS = {"INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q"}
_UNSIGNED = {f"U{name}": code.upper() for name, code in _INTEGERS.items()}
_FORMATS = {"BOOL": "?", "FP16": "e", "FP32": "f", "FP64": "d", **_INTEGERS, **_UNSIGNED}


def packed(values: Sequence[object], datatype: str = "BYTES") -> bytes:
    """Values as they stand in the tail; strings may be bytes already."""
    if datatype == "BYTES":
        raw = [one if isinstance(one, bytes) else str(one).encode() for one in values]
        return b"".join(len(one).to_bytes(4, "little") + one for one in raw)
    return struct.pack(f"<{len(values)}{_FORMATS[datatype]}", *values)


@dataclass(frozen=True)
class Made:
    """A tensor to write: in the tail where it is ``binary``. ``more`` are further members."""

    name: str
    values: Sequence[object]
    datatype: str = "BYTES"
    shape: Sequence[int] | None = None
    binary: bool = False
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def tail(self) -> bytes:
        return packed(self.values, self.datatype) if self.binary else b""

    @property
    def node(self) -> dict[str, object]:
        shape = [len(self.values)] if self.shape is None else list(self.shape)
        node = {"name": self.name, "shape": shape, "datatype": self.datatype}
        if self.binary:
            return {**node, "parameters": {"binary_data_size": len(self.tail)}, **self.more}
        return {**node, "data": list(self.values), **self.more}


binary = partial(Made, binary=True)


def body_of(
    *tensors: Made, under: str = "inputs", is_split: bool | None = None, **members: object
) -> tuple[bytes, int | None]:
    """A body, and the length of its document where a header has to tell it."""
    document = json.dumps({**members, under: [one.node for one in tensors]}, ensure_ascii=False).encode()
    split = any(one.binary for one in tensors) if is_split is None else is_split
    return document + b"".join(one.tail for one in tensors), len(document) if split else None
