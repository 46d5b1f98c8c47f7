"""Items of the input of OpenAI's responses: messages and their parts, calls, results, reasoning.

Every string of an item is text of its speaker, its unknown members too; what a tool said keeps its origin.
An item or a part of a kind that is not named here is refused: what stands elsewhere (``item_reference``,
file ids, addresses), what nobody can read (encrypted reasoning, compactions), and the calls of tools that
the server itself would run. Images, sound and files must be here, and of their type; they are reported as
unscanned.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_fields as names
from extproc.codecs._media import is_data_address
from extproc.codecs._openai_escapes import has_escapes
from extproc.codecs._openai_media import read_medium
from extproc.codecs._openai_segments import Collector, Speaker, key_of, words_of
from extproc.domain.segment import Origin, Role, Unscanned
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Array, Object, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.codecs._openai_fields import Fields
    from extproc.wire.strict_json import Member, Value

_SPEAKERS: Final[Mapping[str, Speaker]] = MappingProxyType(
    {
        "assistant": Speaker(Role.ASSISTANT, Origin.DIRECT),
        "developer": Speaker(Role.DEVELOPER, Origin.DIRECT),
        "system": Speaker(Role.SYSTEM, Origin.DIRECT),
        "user": Speaker(Role.USER, Origin.DIRECT),
    }
)
_ROLES: Final = ", ".join(sorted(_SPEAKERS))
_MODEL: Final = _SPEAKERS["assistant"]
_RESULT: Final = Speaker(Role.TOOL, Origin.TOOL_RESULT)
_MESSAGE: Final = "message"
# Items that are no message: who speaks, and the member that has the text.
_TEXTS: Final[Mapping[str, tuple[Speaker, str]]] = MappingProxyType(
    {
        "function_call": (_MODEL, "arguments"),
        "function_call_output": (_RESULT, "output"),
        "custom_tool_call": (_MODEL, "input"),
        "custom_tool_call_output": (_RESULT, "output"),
        "reasoning": (_MODEL, "summary"),
    }
)
_STATES: Final = frozenset({"in_progress", "completed", "incomplete"})
_PHASES: Final = frozenset({"commentary", "final_answer"})
_DETAILS: Final = frozenset({"auto", "low", "high", "original"})
# Parts that are text, and the member that has it.
_TEXT_PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "input_text": "text",
        "output_text": "text",
        "refusal": "refusal",
        "reasoning_text": "text",
        "summary_text": "text",
    }
)
_MEDIA_PARTS: Final[Mapping[str, tuple[Unscanned, str]]] = MappingProxyType(
    {
        "input_image": (Unscanned.IMAGE, "image_url"),
        "input_file": (Unscanned.FILE, "file_data"),
        "input_audio": (Unscanned.AUDIO, "input_audio"),
    }
)
# What an answer has beside its text, and comes back with it.
_SAID_BESIDE: Final = frozenset({"annotations", "logprobs"})
_ITEM: Final = "an item of the input"
_PART: Final = "a part of an item"
_NOT_ALLOWED: Final = "is of a kind that is not allowed"
_ELSEWHERE: Final = (
    "must hold its bytes, in base64 and of the type that it says: what stands elsewhere is not fetched"
)
# Members whose names a fault may repeat.
NAMED: Final = frozenset(
    {
        *("annotations", "arguments", "call_id", "content", "detail", "encrypted_content", "file_data"),
        *("file_id", "file_url", "filename", "id", "image_url", "input_audio", "logprobs", "name"),
        *("namespace", "output", "phase", "refusal", "role", "status", "summary", "text", "type"),
    }
)


class Items:
    """Reads the input of one request. ``unscanned`` is what of it is no text."""

    def __init__(self, body: bytes, fields: Fields, found: Collector) -> None:
        self._body = body
        self._fields = fields
        self._found = found
        self.unscanned: set[Unscanned] = set()

    def item(self, value: Value) -> None:
        """One item: a message unless it says another kind."""
        item = self._fields.object_at(value, _ITEM)
        kind = self._kind_of(item)
        if kind == _MESSAGE or (kind is None and "role" in item.members):
            self._message(item)
        elif kind is None:
            raise self._fields.fault_at(item.start, _ITEM, "must have a type or a role")
        elif kind in _TEXTS:
            self._other(item, kind)
        else:
            reason = Reason.PARAMETER_NOT_ALLOWED
            raise self._fields.fault_at(item.start, _ITEM, _NOT_ALLOWED, reason=reason)

    def unknown(self, member: Member) -> list[Text]:
        """The strings of a member that no rule here is for; never media, nor what is refused by name."""
        if member.name.startswith(names.MEDIA_PREFIXES) or member.name in names.REFUSED:
            reason = Reason.PARAMETER_NOT_ALLOWED
            raise self._fields.fault_at(
                member.start, "a member", "holds what is not allowed", reason=reason
            )
        return [key_of(member.name, member.start), *words_of(self._body, member.value)]

    def _kind_of(self, holder: Object) -> str | None:
        kind = holder.members.get("type")
        if kind is None or self._fields.absent(kind.value):
            return None
        return self._fields.text(kind).value

    def _message(self, item: Object) -> None:
        role = item.members.get("role")
        speaker = None
        if role is not None and isinstance(role.value, Text):
            speaker = _SPEAKERS.get(role.value.value)
        if speaker is None:
            raise self._fields.fault_at(item.start, _ITEM, f"must have a role of {_ROLES}")
        words: list[Text] = []
        for member in item.members.values():
            if member.name in {"type", "role"} or self._fields.unsaid(member, NAMED):
                continue
            if member.name == "content":
                self._content(member.value, "input.content", speaker)
            else:
                words += self._member(member)
        self._found.words(words, "input.*", speaker)

    def _other(self, item: Object, kind: str) -> None:
        """A call, a result, or reasoning."""
        speaker, own = _TEXTS[kind]
        if own not in item.members:
            raise self._fields.fault_at(item.start, _ITEM, f"of type {kind} has no {own}")
        words: list[Text] = []
        for member in item.members.values():
            if member.name == "type" or self._fields.unsaid(member, NAMED):
                continue
            if member.name == "arguments" and kind == "function_call":
                self._found.prose(self._fields.text(member), "input.arguments", speaker, inner=True)
            elif member.name == own or (member.name, kind) == ("content", "reasoning"):
                self._content(member.value, f"input.{own}", speaker)
            elif member.name == "encrypted_content":
                reason = Reason.PARAMETER_NOT_ALLOWED
                raise self._fields.fault(member, "is not allowed: nobody can read it", reason=reason)
            else:
                words += self._member(member)
        self._found.words(words, "input.*", speaker)

    def _member(self, member: Member) -> list[Text]:
        """Any other member of an item, as words."""
        match member.name:
            case "status":
                self._fields.one_of(member, _STATES)
                return []
            case "phase":
                self._fields.one_of(member, _PHASES)
                return []
            case "id" | "call_id" | "name":
                return [self._fields.text(member)]
            case _:
                return self.unknown(member)

    # --- contents --------------------------------------------------------------------------------

    def _content(self, value: Value, place: str, speaker: Speaker) -> None:
        """A string, or parts of text and of media."""
        if isinstance(value, Text):
            self._found.prose(value, place, speaker, inner=_is_json_result(value, speaker))
            return
        if not isinstance(value, Array):
            raise self._fields.fault_at(value.start, place, "must be a string or an array of parts")
        texts: list[tuple[Text, bool]] = []
        for item in value.items:
            texts += self._part(self._fields.object_at(item, _PART), speaker)
        self._found.parts(texts, place, speaker)

    def _part(self, part: Object, speaker: Speaker) -> list[tuple[Text, bool]]:
        """A part's text, with whether it is JSON; all else of it is read here."""
        kind = self._kind_of(part) or ""
        own = _TEXT_PARTS.get(kind) or _MEDIA_PARTS.get(kind, (None, ""))[1]
        if not own:
            reason = Reason.PARAMETER_NOT_ALLOWED
            raise self._fields.fault_at(part.start, _PART, _NOT_ALLOWED, reason=reason)
        if own not in part.members:
            raise self._fields.fault_at(part.start, _PART, f"of type {kind} has no {own}")
        words: list[Text] = []
        texts: list[tuple[Text, bool]] = []
        for member in part.members.values():
            if member.name == own and kind in _TEXT_PARTS:
                text = self._fields.text(member)
                texts.append((text, _is_json_result(text, speaker)))
            elif member.name == own:
                words += self._medium(member, *_MEDIA_PARTS[kind])
            elif member.name != "type" and not self._fields.unsaid(member, NAMED | _SAID_BESIDE):
                words += self._beside(member, media=kind in _MEDIA_PARTS)
        self._found.words(words, "input.*", speaker)
        return texts

    def _medium(self, member: Member, kind: Unscanned, name: str) -> list[Text]:
        """What a part holds: its bytes, at a ``data:`` address or, of sound, with their format."""
        self.unscanned.add(kind)
        if name == "input_audio":
            return read_medium(self._fields, member).words
        if not is_data_address(self._fields.text(member).value, kind):
            raise self._fields.fault(member, _ELSEWHERE, reason=Reason.PARAMETER_NOT_ALLOWED)
        return []

    def _beside(self, member: Member, *, media: bool) -> list[Text]:
        """What stands beside a part's text or medium, as words."""
        if member.name in {"file_id", "file_url"}:
            raise self._fields.fault(member, _ELSEWHERE, reason=Reason.PARAMETER_NOT_ALLOWED)
        if media and member.name == "detail":
            self._fields.one_of(member, _DETAILS)
            return []
        if media and member.name == "filename":
            return [self._fields.text(member)]
        if not media and member.name in _SAID_BESIDE:
            return words_of(self._body, member.value)
        return self.unknown(member)


def _nothing_at(member: Member) -> list[Text]:
    """Of a member that is null its name, unless the schema has it."""
    return [] if member.name in NAMED else [key_of(member.name, member.start)]


def _is_json_result(text: Text, speaker: Speaker) -> bool:
    """Whether a tool's result is JSON, in which escapes could hide what the model will read."""
    return speaker.origin is Origin.TOOL_RESULT and has_escapes(text.value)
