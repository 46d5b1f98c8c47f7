"""Edits at byte spans of a document: what is not edited keeps its bytes."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from extproc.wire.strict_json import Object


class Splice(NamedTuple):
    """Replace the bytes ``[start, end)``; an empty span inserts."""

    start: int
    end: int
    replacement: bytes


def splice(document: bytes, edits: Iterable[Splice]) -> bytes:
    """The document with all edits applied; their order does not matter.

    Raises:
        ValueError: edits overlap or lie outside the document; a bug of the caller.
    """
    pieces: list[bytes] = []
    position = 0
    for edit in sorted(edits):
        if not position <= edit.start <= edit.end <= len(document):
            raise ValueError("edits overlap or lie outside the document")
        pieces += (document[position : edit.start], edit.replacement)
        position = edit.end
    pieces.append(document[position:])
    return b"".join(pieces)


def encode_string(text: str) -> bytes:
    """A JSON string in UTF-8: only quotes, backslashes and control characters are escaped."""
    # What json.dumps(text, ensure_ascii=False) comes to, without an encoder made for each.
    return encode_basestring(text).encode()


def insert_members(target: Object, members: Sequence[tuple[str, bytes]]) -> Splice:
    """Insert members, in order, at the beginning of an object; the values are encoded JSON."""
    inserted = b",".join(encode_string(key) + b":" + value for key, value in members)
    if inserted and target.members:
        inserted += b","
    return Splice(target.start + 1, target.start + 1, inserted)


def remove_members(target: Object, names: Collection[str]) -> list[Splice]:
    """Remove members, each with the comma that it no longer needs."""
    edits: list[Splice] = []
    kept_end: int | None = None
    leading: tuple[int, int] | None = None
    for name, member in target.members.items():
        start, end = member.start, member.value.end
        if name not in names:
            if leading is not None:
                # Everything before the first kept member goes, its comma included.
                edits.append(Splice(leading[0], start, b""))
                leading = None
            kept_end = end
        elif kept_end is None:
            leading = (start if leading is None else leading[0], end)
        else:
            edits.append(Splice(kept_end, end, b""))
            kept_end = end
    if leading is not None:
        edits.append(Splice(*leading, b""))
    return edits
