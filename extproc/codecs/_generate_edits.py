"""Writes a generate request with edits spliced in: redacted segments, the cap, the wish for counts."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from extproc.codecs._sampling_document import lowered, write_sampling
from extproc.codecs._triton_fields import FIELDS_OF, LIMITS_OF_OUTPUT, PARAMETERS, REQUEST_ID
from extproc.wire.splice import Splice, encode_string, insert_members, splice
from extproc.wire.strict_json import Constant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extproc.codecs._generate_request import GenerateRequest
    from extproc.codecs._triton_fields import BackendFields
    from extproc.domain.ports import RequestEdits
    from extproc.domain.segment import SegmentEdit


def write_generate(request: GenerateRequest, edits: RequestEdits) -> tuple[bytes, frozenset[str]]:
    """The body to forward, and the members of the answer that the client had not asked for."""
    known = FIELDS_OF[edits.backend]
    outer, inner = _segment_splices(request, edits.segments)
    inserted: list[tuple[str, bytes]] = []
    hidden = _ask_usage(request, known.usage_flags, outer, inserted) if edits.ask_usage else frozenset()
    cap = _lowest(edits.cap_output_tokens, request.params.max_output_tokens)
    if cap is not None:
        _cap(request, cap, known, outer, inserted)
    if request.inner is not None:
        document = write_sampling(request.inner.read, inner, cap=cap, inject=known.sampling_document)
        if document is not None:
            holder = request.inner.holder
            outer.append(Splice(holder.start, holder.end, encode_string(document)))
    if inserted:
        outer.append(insert_members(request.root, inserted))
    return splice(request.body, outer) if outer else request.body, hidden


def sent_id(request: GenerateRequest, edits: RequestEdits) -> str:
    """What the forwarded request is called, of which Triton may tell: the client's word with its edits."""
    own = [segment.index for segment in request.segments if segment.place == REQUEST_ID]
    return _edited(request.client_id, [edit for edit in edits.segments if edit.segment_index in own])


def _segment_splices(
    request: GenerateRequest, edits: Iterable[SegmentEdit]
) -> tuple[list[Splice], list[Splice]]:
    """The edited segments as splices of the body, and of the document within it."""
    outer: list[Splice] = []
    inner: list[Splice] = []
    by_segment = attrgetter("segment_index")
    for index, of_segment in groupby(sorted(edits, key=by_segment), key=by_segment):
        place = request.places[index]
        text = _edited(place.text.value, of_segment)
        if text != place.text.value:
            target = inner if place.inner else outer
            target.append(Splice(place.text.start, place.text.end, encode_string(text)))
    return outer, inner


def _edited(text: str, edits: Iterable[SegmentEdit]) -> str:
    """A text with its edits applied.

    Two guards may find the same place: edits that overlap are one edit over all that they cover, with the
    replacement of the first, so that nothing which any of them meant to replace stays.
    """
    pieces: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda one: (one.start, -one.end)):
        start, end = max(edit.start, 0), min(edit.end, len(text))
        if start >= position:
            pieces += (text[position:start], edit.replacement)
        position = max(position, end)
    pieces.append(text[position:])
    return "".join(pieces)


def _ask_usage(
    request: GenerateRequest,
    flags: Iterable[str],
    outer: list[Splice],
    inserted: list[tuple[str, bytes]],
) -> frozenset[str]:
    hidden = set()
    for flag in flags:
        member = request.fields.get(flag)
        if member is not None and isinstance(member.value, Constant) and member.value.value:
            continue
        hidden.add(flag.removeprefix("return_"))
        if member is None:
            inserted.append((flag, b"true"))
        else:
            outer.append(Splice(member.value.start, member.value.end, b"true"))
    return frozenset(hidden)


def _lowest(cap: int | None, asked: int | None) -> int | None:
    """What every limit is held to: the client's own too, wherever the backend looks. None without a cap."""
    return cap if cap is None or asked is None else min(cap, asked)


def _cap(
    request: GenerateRequest,
    cap: int,
    known: BackendFields,
    outer: list[Splice],
    inserted: list[tuple[str, bytes]],
) -> None:
    """Lower every limit that stands above the cap, and inject the one that the backend honours.

    Within ``sampling_parameters`` that is done where the document is written.
    """
    for name in LIMITS_OF_OUTPUT & request.fields.keys():
        outer += lowered(request.fields[name].value, cap)
    within = known.sampling_document and request.inner is not None
    if known.limit is None or known.limit in request.fields or within:
        return
    limit = b"%d" % cap
    if request.parameters is not None:
        outer.append(insert_members(request.parameters, [(known.limit, limit)]))
    else:
        inserted.append((PARAMETERS, b"{" + encode_string(known.limit) + b":" + limit + b"}"))
