"""Edits of tensors in a body of KServe v2 over HTTP, in both of its parts: see ``_kserve_tensors``."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from extproc.codecs._kserve_tensors import BOOL, FORMATS, LENGTH_BYTES, Body
from extproc.wire.splice import Splice, encode_string, splice

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from extproc.codecs._kserve_tensors import Tensor
    from extproc.wire.strict_json import Array


class TensorEdits:
    """Edits of a body's tensors: spliced into both parts, with the sizes in the document kept right."""

    def __init__(self, body: Body, tensors: Sequence[Tensor]) -> None:
        self._body = body
        self._tensors = tensors
        self.document: list[Splice] = []
        self._tail: list[Splice] = []
        self._grown: dict[int, int] = {}

    def put_text(self, at: int, element: int, text: str) -> None:
        """Replace one string of tensor ``at``."""
        piece = self._tensors[at].pieces[element]
        if not piece.binary:
            self.document.append(Splice(piece.start, piece.end, encode_string(text)))
            return
        written = text.encode()
        written = len(written).to_bytes(LENGTH_BYTES, "little") + written
        self._tail.append(Splice(piece.start, piece.end, written))
        self._grown[at] = self._grown.get(at, 0) + len(written) - (piece.end - piece.start)

    def put_number(self, at: int, value: int | bool) -> None:  # noqa: FBT001 - a tensor's value.
        """Set every value of tensor ``at``, which is of numbers or booleans."""
        tensor = self._tensors[at]
        if tensor.values is None:
            raw = struct.pack("<" + FORMATS[tensor.datatype], value)
            self._tail.append(Splice(*tensor.span, raw * tensor.values_count))
            return
        written = b"%d" % value if tensor.datatype != BOOL else (b"true" if value else b"false")
        self.document += [Splice(one.start, one.end, written) for one in tensor.values]

    def drop(self, listed: Array, indexes: frozenset[int]) -> None:
        """Take tensors out of the list that they stand in, and of the tail."""
        self.document += remove_items(listed, indexes)
        self._tail += [Splice(*self._tensors[at].span, b"") for at in indexes]

    def written(self) -> Body:
        """The body with all edits; itself where there are none."""
        document = [*self.document]
        for at, more in self._grown.items():
            size = self._tensors[at].size
            if more and size is not None:
                document.append(Splice(size.start, size.end, b"%d" % (size.value + more)))
        if not document and not self._tail:
            return self._body
        tail = splice(self._body.tail, self._tail) if self._tail else self._body.tail
        return Body(splice(self._body.document, document), tail, self._body.split)


def remove_items(listed: Array, indexes: Collection[int]) -> list[Splice]:
    """Remove items of an array, each with the comma that it no longer needs."""
    edits: list[Splice] = []
    kept_end: int | None = None
    leading: tuple[int, int] | None = None
    for at, item in enumerate(listed.items):
        if at not in indexes:
            if leading is not None:
                # Everything before the first that stays goes, its comma included.
                edits.append(Splice(leading[0], item.start, b""))
                leading = None
            kept_end = item.end
        elif kept_end is None:
            leading = (item.start if leading is None else leading[0], item.end)
        else:
            edits.append(Splice(kept_end, item.end, b""))
            kept_end = item.end
    if leading is not None:
        edits.append(Splice(*leading, b""))
    return edits
