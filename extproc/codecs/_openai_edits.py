"""Writes an OpenAI request with edits spliced in: redacted segments, the cap, the wish for token counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.codecs._openai_fields import (
    INCLUDE_USAGE,
    MAX_COMPLETION_TOKENS,
    MAX_TOKENS,
    STREAM_OPTIONS,
)
from extproc.codecs._openai_segments import segment_splices, spliced
from extproc.wire.splice import Splice, insert_members
from extproc.wire.strict_json import Number, Object

if TYPE_CHECKING:
    from extproc.codecs._openai_request import OpenAIRequest
    from extproc.domain.limits import Limits
    from extproc.domain.ports import RequestEdits
    from extproc.wire.strict_json import Member

_ASKED: Final = b'{"include_usage":true}'


def write_request(request: OpenAIRequest, edits: RequestEdits, *, limits: Limits) -> tuple[bytes, bool]:
    """The body to forward, and whether token counts must be hidden from the client again.

    Raises:
        PeerError: an edit of a key makes it another one's twin.
    """
    splices, key_edited = segment_splices(request.body, request.places, edits.segments)
    inserted: list[tuple[str, bytes]] = []
    # Whole answers always bring their counts.
    hidden = edits.ask_usage and request.params.stream and not request.usage_asked
    if hidden:
        _ask_usage(request.root, splices, inserted)
    if edits.cap_output_tokens is not None:
        _cap(request.root, edits.cap_output_tokens, splices, inserted)
    if inserted:
        splices.append(insert_members(request.root, inserted))
    return spliced(request.body, splices, key_edited=key_edited, limits=limits), hidden


def _ask_usage(root: Object, splices: list[Splice], inserted: list[tuple[str, bytes]]) -> None:
    options = root.members.get(STREAM_OPTIONS)
    if options is None:
        inserted.append((STREAM_OPTIONS, _ASKED))
    elif not isinstance(options.value, Object):
        splices.append(Splice(options.value.start, options.value.end, _ASKED))
    elif (asked := options.value.members.get(INCLUDE_USAGE)) is None:
        splices.append(insert_members(options.value, [(INCLUDE_USAGE, b"true")]))
    else:
        splices.append(Splice(asked.value.start, asked.value.end, b"true"))


def _cap(root: Object, cap: int, splices: list[Splice], inserted: list[tuple[str, bytes]]) -> None:
    """Lower every limit that stands above the cap, and set one where none stands.

    Servers differ in which of the two names wins, so that both must hold.
    """
    limit = b"%d" % cap
    standing = [root.members[name] for name in (MAX_COMPLETION_TOKENS, MAX_TOKENS) if name in root.members]
    numbers = [member for member in standing if isinstance(member.value, Number)]
    splices += [
        Splice(member.value.start, member.value.end, limit) for member in numbers if _is_above(member, cap)
    ]
    if numbers:
        return
    # A null stands for no limit; the newer name wins where both are null.
    if standing:
        splices.append(Splice(standing[0].value.start, standing[0].value.end, limit))
    else:
        inserted.append((MAX_TOKENS, limit))


def _is_above(member: Member, cap: int) -> bool:
    return isinstance(member.value, Number) and member.value.value > cap
