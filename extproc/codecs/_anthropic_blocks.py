"""Content of an Anthropic request: blocks of text, uploads, documents, calls, results, thoughts.

Every string of a block is text of its speaker, its unknown members too; a block of a kind that is not named
here is refused. What a tool or a document says keeps its origin wherever it stands. Left out on purpose:
``redacted_thinking``, which nobody can read, and the blocks of tools that the server itself runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.codecs import _anthropic_media as media
from extproc.codecs import _openai_fields as names
from extproc.codecs._openai_escapes import has_escapes
from extproc.codecs._openai_segments import Collector, Speaker, key_of, words_of
from extproc.domain.segment import Origin, Role, Unscanned
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Array, Object, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.codecs._openai_fields import Fields
    from extproc.wire.strict_json import Member, Value

_TEXT: Final = frozenset({"text"})
_PICTURED: Final = _TEXT | {"image"}
_RESULT: Final = _PICTURED | {"document", "search_result", "tool_reference"}
MESSAGE: Final = _PICTURED | {"document", "search_result", "thinking", "tool_result", "tool_use"}
SYSTEM: Final = _TEXT
"""Kinds of blocks that may stand in a message, and in the system prompt."""

_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"text"}),
    "image": frozenset({"source"}),
    "document": frozenset({"source"}),
    "search_result": frozenset({"content"}),
    "thinking": frozenset({"thinking"}),
    "tool_use": frozenset({"id", "name", "input"}),
    "tool_result": frozenset({"tool_use_id"}),
    "tool_reference": frozenset({"tool_name"}),
}
# What a server joins with the texts beside it.
_JOINED: Final = ("text", "text")
# Members that are prose by themselves, and what their segments' place ends in; members that are words.
_PROSE: Final[Mapping[tuple[str, str], str]] = {
    ("thinking", "thinking"): ".thinking",
    ("document", "title"): ".title",
    ("document", "context"): ".context",
    ("search_result", "title"): ".title",
}
_WORDS: Final = frozenset(
    {
        ("thinking", "signature"),
        ("tool_use", "id"),
        ("tool_use", "name"),
        ("tool_result", "tool_use_id"),
        ("tool_reference", "tool_name"),
        ("search_result", "source"),
    }
)
_CACHE_KEPT: Final = frozenset({"5m", "1h"})
_BLOCK: Final = "a content block"
# Members whose names a fault may repeat.
NAMED: Final = frozenset(
    {
        *("cache_control", "citations", "content", "context", "data", "enabled", "id", "input", "is_error"),
        *("media_type", "name", "signature", "source", "text", "thinking", "title", "tool_name"),
        *("tool_use_id", "ttl", "type"),
    }
)


class Blocks:
    """Reads the contents of one request. ``unscanned`` is what of it is no text."""

    def __init__(self, body: bytes, fields: Fields, found: Collector) -> None:
        self._body = body
        self._fields = fields
        self._found = found
        self.unscanned: set[Unscanned] = set()

    def content(self, value: Value, place: str, speaker: Speaker, kinds: frozenset[str]) -> None:
        """A string, or blocks of some kinds."""
        if isinstance(value, Text):
            self._prose(value, place, speaker)
            return
        if not isinstance(value, Array):
            raise self._fields.fault_at(value.start, place, "must be a string or an array of blocks")
        texts: list[tuple[Text, bool]] = []
        for item in value.items:
            texts += self._block(self._fields.object_at(item, _BLOCK), place, speaker, kinds)
        self._found.parts(texts, place, speaker)

    def cache_control(self, member: Member) -> None:
        """How long a prefix is kept: a fixed shape without any text."""
        members = self._fields.object(member).members
        if not {"type"} <= members.keys() <= {"type", "ttl"}:
            raise self._fields.fault(member, "must have a type and at most a ttl")
        self._fields.one_of(members["type"], {"ephemeral"})
        if "ttl" in members and not self._fields.absent(members["ttl"].value):
            self._fields.one_of(members["ttl"], _CACHE_KEPT)

    def unknown(self, member: Member) -> list[Text]:
        """The strings of a member that no rule here is for; never media, nor what is refused by name."""
        if member.name.startswith(names.MEDIA_PREFIXES) or member.name in names.REFUSED:
            reason = Reason.PARAMETER_NOT_ALLOWED
            raise self._fields.fault_at(
                member.start, "a member", "holds what is not allowed", reason=reason
            )
        return [key_of(member.name, member.start), *words_of(self._body, member.value)]

    def _block(
        self, block: Object, place: str, speaker: Speaker, kinds: frozenset[str]
    ) -> list[tuple[Text, bool]]:
        """What of a block joins its neighbours' text, with whether it is JSON; the rest is read here."""
        kind = media.kind_of(block)
        if kind is None or kind not in kinds:
            fault = f"may only be of type {', '.join(sorted(kinds))} here"
            raise self._fields.fault_at(block.start, _BLOCK, fault, reason=Reason.PARAMETER_NOT_ALLOWED)
        for name in sorted(_REQUIRED[kind]):
            if name not in block.members or self._fields.absent(block.members[name].value):
                raise self._fields.fault_at(block.start, _BLOCK, f"of type {kind} has no {name}")
        speaker = _speaker_of(kind, speaker)
        words: list[Text] = []
        texts: list[tuple[Text, bool]] = []
        for member in block.members.values():
            if member.name == "type" or self._fields.unsaid(member, NAMED):
                continue
            if member.name == "cache_control":
                self.cache_control(member)
            elif (kind, member.name) == _JOINED:
                text = self._fields.text(member)
                texts.append((text, self._is_json_result(text, speaker)))
            else:
                words += self._member(kind, member, place, speaker)
        self._found.words(words, f"{place}.*", speaker)
        return texts

    def _member(self, kind: str, member: Member, place: str, speaker: Speaker) -> list[Text]:
        """A member of a block: prose becomes a segment of its own, words are given back."""
        at = (kind, member.name)
        if at in _WORDS:
            return [self._fields.text(member)]
        if at in _PROSE:
            self._prose(self._fields.text(member), place + _PROSE[at], speaker)
            return []
        match at:
            case ("image" | "document", "source"):
                self._source(kind, self._fields.object(member), place, speaker)
            case ("document" | "search_result", "citations"):
                self._citations(member)
            case ("search_result", "content"):
                self.content(member.value, place, speaker, _TEXT)
            case ("tool_result", "content"):
                self.content(member.value, f"{place}.tool_result", speaker, _RESULT)
            case ("tool_result", "is_error"):
                self._fields.flag(member)
            case ("tool_use", "input"):
                words = words_of(self._body, self._fields.object(member))
                self._found.words(words, f"{place}.tool_use.input", speaker)
            case _:
                return self.unknown(member)
        return []

    def _source(self, kind: str, source: Object, place: str, speaker: Speaker) -> None:
        """An upload, a document's own text, or blocks of it."""
        members = source.members.keys()
        match kind, media.kind_of(source):
            case ("document", "text") if members == {"type", "media_type", "data"}:
                self._fields.one_of(source.members["media_type"], {"text/plain"})
                self._prose(self._fields.text(source.members["data"]), f"{place}.document", speaker)
            case ("document", "content") if members == {"type", "content"}:
                value = source.members["content"].value
                self.content(value, f"{place}.document", speaker, _PICTURED)
            case ("document", _):
                media.check_upload(self._fields, source, "a document", media.PDF)
                self.unscanned.add(Unscanned.FILE)
            case _:
                media.check_upload(self._fields, source, "an image", media.IMAGES)
                self.unscanned.add(Unscanned.IMAGE)

    def _citations(self, member: Member) -> None:
        """Whether the answer is to cite it."""
        members = self._fields.object(member).members
        if members.keys() - {"enabled"}:
            raise self._fields.fault(member, "may have nothing but enabled")
        for enabled in members.values():
            self._fields.flag(enabled)

    def _prose(self, text: Text, place: str, speaker: Speaker) -> None:
        self._found.prose(text, place, speaker, inner=self._is_json_result(text, speaker))

    def _is_json_result(self, text: Text, speaker: Speaker) -> bool:
        """Whether a tool's result is JSON, in which escapes could hide what the model will read."""
        return speaker.origin is Origin.TOOL_RESULT and has_escapes(text.value)


def _speaker_of(kind: str, speaker: Speaker) -> Speaker:
    """Who speaks in a block: what came from a tool stays a tool's, also where a document brings it."""
    if kind in {"tool_result", "tool_reference"}:
        return Speaker(Role.TOOL, Origin.TOOL_RESULT)
    if kind in {"document", "search_result"} and speaker.origin is Origin.DIRECT:
        return Speaker(speaker.role, Origin.DOCUMENT)
    return speaker
