"""Uploads in an Anthropic request: bytes that no guard reads, so they must at least be what they say.

Only what stands in the request itself. A URL would make the server fetch it, from wherever the caller
likes; a file's id names text that nobody judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.codecs._media import is_encoded_type
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Object, Text

if TYPE_CHECKING:
    from extproc.codecs._openai_fields import Fields

IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
PDF: Final = frozenset({"application/pdf"})
_UPLOAD: Final = "base64"


def kind_of(value: Object) -> str | None:
    """The ``type`` of a block or a source."""
    kind = value.members.get("type")
    return kind.value.value if kind is not None and isinstance(kind.value, Text) else None


def check_upload(fields: Fields, source: Object, what: str, media_types: frozenset[str]) -> None:
    """Refuse a source that is no upload of one of the types, or whose bytes are of another.

    Raises:
        PeerError: what is wrong with ``what``.
    """
    if kind_of(source) != _UPLOAD:
        fault = f"may only be of type {_UPLOAD}: nothing is fetched from elsewhere"
        raise fields.fault_at(source.start, what, fault, reason=Reason.PARAMETER_NOT_ALLOWED)
    if source.members.keys() != {"type", "media_type", "data"}:
        raise fields.fault_at(source.start, what, "must have a type, a media_type and data, and no more")
    media_type = fields.one_of(source.members["media_type"], media_types)
    if not is_encoded_type(fields.text(source.members["data"]).value, media_type):
        raise fields.fault_at(source.start, what, f"is not {media_type} in base64, as it says")
