"""Parts of a message that are no text: images, sound, video and files, as base64 within the request.

None of them can be inspected: which kinds a message has is reported, and the policy admits them by kind.
Here only their form is judged. The bytes must begin as their type says. What stands elsewhere is refused
(http and https URLs, file ids): the model server would fetch it from wherever it can reach, and nobody
would have judged what it gets. Sources: OpenAI's API reference; vLLM's ``audio_url`` and ``video_url``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs._media import is_data_address, is_encoded_type
from extproc.domain.segment import Unscanned
from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.codecs._openai_fields import Fields
    from extproc.wire.strict_json import Member, Object, Text


class _Kind(NamedTuple):
    """One kind of part: what it is reported as, where its bytes stand, and what else it may have."""

    unscanned: Unscanned
    content: str
    other: str | None


KINDS: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        "image_url": _Kind(Unscanned.IMAGE, "url", "detail"),
        "audio_url": _Kind(Unscanned.AUDIO, "url", None),
        "video_url": _Kind(Unscanned.VIDEO, "url", None),
        "input_audio": _Kind(Unscanned.AUDIO, "data", "format"),
        "file": _Kind(Unscanned.FILE, "file_data", "filename"),
    }
)
"""The kinds of parts that are no text, by their ``type``, which is also the member that holds them."""

_DETAILS: Final = frozenset({"auto", "low", "high", "original"})
_FORMATS: Final = frozenset({"wav", "mp3"})
_ELSEWHERE: Final = (
    "must hold its bytes, in base64 and of the type that it says: what stands elsewhere is not fetched"
)


class Medium(NamedTuple):
    """What a part holds; ``words`` are its strings that a guard can read."""

    unscanned: Unscanned
    words: list[Text]


def read_medium(fields: Fields, member: Member) -> Medium:
    """The member of a part that holds its medium; its name is one of ``KINDS``.

    Raises:
        PeerError: it is not here, not of a known type, or not what its type says.
    """
    kind = KINDS[member.name]
    medium = fields.object(member)
    words: list[Text] = []
    for one in medium.members.values():
        if one.name not in {kind.content, kind.other}:
            raise fields.fault(member, _ELSEWHERE, reason=Reason.PARAMETER_NOT_ALLOWED)
        if one.name == "filename":
            words.append(fields.text(one))
        elif one.name == "detail":
            fields.one_of(one, _DETAILS)
    content = medium.members.get(kind.content)
    if content is None:
        raise fields.fault(member, "holds nothing")
    text = fields.text(content).value
    if member.name == "input_audio":
        is_sound = is_encoded_type(text, f"audio/{_format_of(fields, member, medium)}")
    else:
        is_sound = is_data_address(text, kind.unscanned)
    if not is_sound:
        raise fields.fault(member, _ELSEWHERE, reason=Reason.PARAMETER_NOT_ALLOWED)
    return Medium(kind.unscanned, words)


def _format_of(fields: Fields, member: Member, medium: Object) -> str:
    named = medium.members.get("format")
    if named is None:
        raise fields.fault(member, "has no format")
    return fields.one_of(named, _FORMATS)
