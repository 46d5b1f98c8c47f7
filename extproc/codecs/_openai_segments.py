"""Where the text of an OpenAI request stands: segments, the pieces they are made of, and edits of them.

Prose is a segment of its own; that of several parts of one message is one segment too, as a server joins
them and a value could be cut over them. Single words (names, identifiers, keys, values of enumerations) of
one message or tool are joined, a line each: alone they say nothing to a classifier, and it would have to be
asked about each; joined, an attack that was spread over them shows.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs._openai_escapes import read_escapes, unusual, write_escapes
from extproc.domain.segment import Segment
from extproc.wire.json_leaves import number_text
from extproc.wire.splice import Splice, encode_string, splice
from extproc.wire.strict_json import Array, Number, Object, Text, Value, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from extproc.domain.limits import Limits
    from extproc.domain.segment import Origin, Role, SegmentEdit

# Longer words than names are: scanned and classified by themselves.
_WORD_CHARS_MAX: Final = 64
_WORD_END: Final = "\n"
_SPACE: Final = re.compile(r"\s")
# What every tool and JSON schema is made of. Said by everybody, it says nothing.
_SCHEMA_WORDS: Final = frozenset(
    {
        *("function", "name", "description", "parameters", "arguments", "strict", "schema", "json_schema"),
        *("type", "properties", "required", "items", "enum", "title", "default", "anyOf", "allOf", "oneOf"),
        *("object", "string", "number", "integer", "boolean", "array", "null", "additionalProperties"),
        *("format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern"),
        *("$ref", "$defs", "const"),
    }
)
# A key as it stands in a document that was parsed: up to its closing quote.
_KEY: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class Piece(NamedTuple):
    """A string of the document within a segment's text.

    ``at`` is where it begins there, in code points, and ``text`` what stands there. ``start`` and ``end``
    are its span in the document, quotes included; ``end`` is 0 for a key, whose end is sought only when it
    is edited. ``inner`` marks JSON within the string, whose escapes were read.
    """

    at: int
    text: str
    start: int
    end: int
    inner: bool = False


class Change(NamedTuple):
    """An edit within a segment."""

    start: int
    end: int
    replacement: str


class Speaker(NamedTuple):
    """Who the text of a part of the request comes from."""

    role: Role
    origin: Origin


class Collector:
    """Gathers the segments of one request, in the order of its document."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.places: list[tuple[Piece, ...]] = []

    def prose(self, text: Text, place: str, speaker: Speaker, *, inner: bool = False) -> None:
        """A text of its own; ``inner`` where it is JSON that the model or a tool wrote."""
        value = read_escapes(text.value) if inner else text.value
        if value:
            self._add([Piece(0, value, text.start, text.end, inner)], place, speaker)

    def parts(self, texts: Iterable[tuple[Text, bool]], place: str, speaker: Speaker) -> None:
        """Texts that are one to the model, each with whether it is JSON; their order is its own."""
        pieces: list[Piece] = []
        at = 0
        for text, inner in texts:
            value = read_escapes(text.value) if inner else text.value
            if value:
                pieces.append(Piece(at, value, text.start, text.end, inner))
                at += len(value)
        if pieces:
            self._add(pieces, place, speaker, seams=tuple([piece.at for piece in pieces[1:]]))

    def words(self, words: Iterable[Text], place: str, speaker: Speaker) -> None:
        """Words, joined, but for those of a closed vocabulary; what is no single word by itself."""
        joined: list[Piece] = []
        at = 0
        for word in words:
            value = word.value
            if not value or value in _SCHEMA_WORDS:
                continue
            if len(value) > _WORD_CHARS_MAX or _SPACE.search(value) is not None:
                self._add([Piece(0, value, word.start, word.end)], place, speaker)
                continue
            joined.append(Piece(at, value, word.start, word.end))
            at += len(value) + len(_WORD_END)
        if joined:
            self._add(joined, place, speaker)

    def _add(
        self, pieces: Sequence[Piece], place: str, speaker: Speaker, *, seams: tuple[int, ...] = ()
    ) -> None:
        self.places.append(tuple(pieces))
        self.segments.append(
            Segment(
                index=len(self.segments),
                text=("" if seams else _WORD_END).join([piece.text for piece in pieces]),
                role=speaker.role,
                origin=speaker.origin,
                place=place,
                seams=seams,
            )
        )


def key_of(name: str, start: int) -> Text:
    """A key, as a word."""
    return Text(name, start, 0)


def words_of(document: bytes, value: Value) -> list[Text]:
    """Every string below a value, keys and long numbers too, in wire order."""
    found: list[Text] = []
    pending: list[Value] = [value]
    while pending:
        match pending.pop():
            case Text() as text:
                found.append(text)
            case Number() as number:
                written = number_text(document, number)
                found += () if written is None else (written,)
            case Array(items=items):
                pending.extend(reversed(items))
            case Object(members=members):
                for member in reversed([*members.values()]):
                    pending += (member.value, key_of(member.name, member.start))
            case _:
                pass
    return found


def segment_splices(
    document: bytes, places: Sequence[tuple[Piece, ...]], edits: Iterable[SegmentEdit]
) -> tuple[list[Splice], bool]:
    """The edited segments as splices of the document, and whether a key is among them."""
    splices: list[Splice] = []
    key_edited = False
    by_segment = attrgetter("segment_index")
    ordered = sorted(edits, key=by_segment)
    replacements = unusual([edit.replacement for edit in ordered])
    for index, of_segment in groupby(ordered, key=by_segment):
        for piece, text in edited_pieces(places[index], _disjoint(of_segment)):
            end = piece.end
            if not end:
                key_edited = True
                found = _KEY.match(document, piece.start)
                end = piece.start if found is None else found.end()
            value = write_escapes(text, replacements) if piece.inner else text
            splices.append(Splice(piece.start, end, encode_string(value)))
    return splices, key_edited


def spliced(document: bytes, splices: list[Splice], *, key_edited: bool, limits: Limits) -> bytes:
    """The document with its edits.

    Raises:
        PeerError: an edited key is now another one's twin, which no two parsers read alike.
    """
    written = splice(document, splices) if splices else document
    if key_edited:
        parse(written, limits=limits)
    return written


def _disjoint(edits: Iterable[SegmentEdit]) -> list[Change]:
    """The edits of one segment in order.

    Those that overlap are one over all that they cover, with the replacement of the first.
    """
    changes: list[Change] = []
    for edit in sorted(edits, key=lambda one: (one.start, -one.end)):
        if changes and edit.start < changes[-1].end:
            last = changes.pop()
            changes.append(Change(last.start, max(last.end, edit.end), last.replacement))
        else:
            changes.append(Change(edit.start, edit.end, edit.replacement))
    return changes


def edited_pieces(pieces: Iterable[Piece], changes: list[Change]) -> Iterator[tuple[Piece, str]]:
    """The pieces of one segment that change, with their new text; one walk over both, in order.

    Where a change covers several pieces, its replacement stands in the first.
    """
    first = 0
    for piece in pieces:
        end = piece.at + len(piece.text)
        while first < len(changes) and changes[first].end <= piece.at:
            first += 1
        kept: list[str] = []
        position, at = piece.at, first
        while at < len(changes) and changes[at].start < end:
            change = changes[at]
            kept.append(piece.text[position - piece.at : max(change.start - piece.at, 0)])
            if change.start >= piece.at:
                kept.append(change.replacement)
            position = min(change.end, end)
            at += 1
        if not kept:
            continue
        kept.append(piece.text[position - piece.at :])
        text = "".join(kept)
        if text != piece.text:
            yield piece, text
