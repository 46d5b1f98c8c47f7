"""Whether an upload is what its type says: by the bytes with which files of that type begin.

No guard reads images or sound, so that what passes as one must at least be one. An address may only be a
``data:`` one: any other the model server would fetch, from places that the caller cannot reach.
"""

from __future__ import annotations

import binascii
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.domain.segment import Unscanned

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 2397 as clients write it: one media type without parameters, base64.
_DATA: Final = re.compile(r"data:(?P<type>[a-z]+/[a-z0-9.+-]{1,32});base64,", re.ASCII)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
# As much as every signature needs, in whole groups of base64.
_HEAD_CHARS: Final = 32

_SIGNATURES: Final[Mapping[str, re.Pattern[bytes]]] = MappingProxyType(
    {
        "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
        "image/jpeg": re.compile(rb"\xff\xd8\xff"),
        "image/gif": re.compile(rb"GIF8[79]a"),
        "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
        "audio/wav": re.compile(rb"RIFF....WAVE", re.DOTALL),
        "audio/flac": re.compile(rb"fLaC"),
        "audio/ogg": re.compile(rb"OggS"),
        # A tag, or a frame of MPEG audio of layer III.
        "audio/mpeg": re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"),
        "audio/mp4": re.compile(rb"....ftyp", re.DOTALL),
        "video/mp4": re.compile(rb"....ftyp", re.DOTALL),
        "video/webm": re.compile(rb"\x1aE\xdf\xa3"),
        "application/pdf": re.compile(rb"%PDF-"),
    }
)
# Other names of the same types.
_ALIASES: Final = MappingProxyType(
    {
        "image/jpg": "image/jpeg",
        "audio/mp3": "audio/mpeg",
        "audio/wave": "audio/wav",
        "audio/x-wav": "audio/wav",
        "audio/m4a": "audio/mp4",
    }
)
_FAMILY: Final[Mapping[Unscanned, str]] = MappingProxyType(
    {
        Unscanned.IMAGE: "image/",
        Unscanned.AUDIO: "audio/",
        Unscanned.VIDEO: "video/",
        Unscanned.FILE: "application/",
    }
)


def is_type(content: bytes, media_type: str) -> bool:
    """Whether content begins as files of a media type do; False for a type that is not known."""
    signature = _SIGNATURES.get(_ALIASES.get(media_type, media_type))
    return signature is not None and signature.match(content) is not None


def is_kind(content: bytes, kind: Unscanned) -> bool:
    """Whether content begins as some known file of a kind does."""
    family = _FAMILY.get(kind)
    return family is not None and any(
        signature.match(content) is not None
        for media_type, signature in _SIGNATURES.items()
        if media_type.startswith(family)
    )


def is_encoded_kind(text: str, kind: Unscanned) -> bool:
    """Whether a text is the base64 of a file of a kind."""
    head = _decoded_head(text)
    return head is not None and is_kind(head, kind)


def is_encoded_type(text: str, media_type: str) -> bool:
    """Whether a text is the base64 of a file of a media type."""
    head = _decoded_head(text)
    return head is not None and is_type(head, media_type)


def is_data_address(address: str, kind: Unscanned) -> bool:
    """Whether an address is a ``data:`` one of a kind, and its bytes are what it says."""
    found = _DATA.match(address)
    family = _FAMILY.get(kind)
    if found is None or family is None or not found["type"].startswith(family):
        return False
    return is_encoded_type(address[found.end() :], found["type"])


def _decoded_head(text: str) -> bytes | None:
    """The first bytes of a base64 text; None where it is none."""
    if len(text) % 4 or _BASE64.fullmatch(text) is None:
        return None
    try:
        return binascii.a2b_base64(text[:_HEAD_CHARS])
    except binascii.Error:
        return None
