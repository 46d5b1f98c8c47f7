"""The request of chat completions: its messages and its tools, and where each text stands.

Every string is either of a closed vocabulary, or a segment, or refused. Unknown members of messages, parts
and tools are segments; unknown members of the request are segments too, and parameters that the schema
guard judges by name. Images, sound, video and files are reported as unscanned; references to what stands
elsewhere are refused. Sources: OpenAI's API reference; vLLM's and Triton's servers of it, which take
``max_completion_tokens`` before ``max_tokens``.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_fields as names
from extproc.codecs._openai_escapes import has_escapes
from extproc.codecs._openai_media import KINDS, read_medium
from extproc.codecs._openai_request import CALLER, OpenAIRequest, Reading
from extproc.codecs._openai_segments import Speaker, key_of, words_of
from extproc.domain.segment import Origin, Role
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Array, Object, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

_SPEAKERS: Final[Mapping[str, Speaker]] = MappingProxyType(
    {
        "system": Speaker(Role.SYSTEM, Origin.DIRECT),
        "developer": Speaker(Role.DEVELOPER, Origin.DIRECT),
        "user": CALLER,
        "assistant": Speaker(Role.ASSISTANT, Origin.DIRECT),
        "tool": Speaker(Role.TOOL, Origin.TOOL_RESULT),
        # The older name of a tool's result.
        "function": Speaker(Role.TOOL, Origin.TOOL_RESULT),
    }
)
_MODEL: Final = _SPEAKERS["assistant"]
_TOOL: Final = Speaker(Role.TOOL, Origin.TOOL_DESCRIPTION)
_DOCUMENT: Final = Speaker(Role.USER, Origin.DOCUMENT)

_EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh"})
_TEMPLATE_FLAGS: Final = frozenset({"enable_thinking", "thinking"})
_THINKING: Final = frozenset({"reasoning", "reasoning_content", "refusal"})
# What SDKs write into every message, null where there is none.
_MESSAGE_KEYS: Final = _THINKING | {
    *("annotations", "audio", "content", "function_call", "image_url", "name", "text", "tool_call_id"),
    "tool_calls",
}
_MEDIA: Final = "is of a kind that is not allowed"


def read_chat(body: bytes, *, limits: Limits) -> OpenAIRequest:
    """Read a request's body.

    Raises:
        PeerError: it is no JSON object of this schema, is ambiguous, or holds what cannot be inspected.
    """
    return _ChatReading(body, named=_NAMED, limits=limits).result()


class _ChatReading(Reading):
    """The state of reading one chat completion's request."""

    required = (names.MODEL, "messages")

    def reader_of(self, name: str) -> Callable[[Member], None] | None:
        """What reads a member."""
        read = _READERS.get(name)
        return None if read is None else partial(read, self)

    # --- the conversation ------------------------------------------------------------------------

    def messages(self, member: Member) -> None:
        """Every message, whoever speaks, and every part of it."""
        items = self.fields.items(member)
        if not items:
            raise self.fields.fault(member, "must not be empty")
        for item in items:
            self._message(self.fields.object_at(item, "a message"))

    def _message(self, message: Object) -> None:
        role = message.members.get("role")
        name = role.value.value if role is not None and isinstance(role.value, Text) else None
        speaker = _SPEAKERS.get(name) if isinstance(name, str) else None
        if role is None or speaker is None:
            raise self.fields.fault_at(message.start, "a message", f"must have a role of {_ROLES}")
        words: list[Text] = []
        for member in message.members.values():
            if member is role or self.fields.unsaid(member, _MESSAGE_KEYS):
                continue
            match member.name:
                case "content":
                    self._content(member.value, "messages.content", speaker)
                case "tool_calls":
                    for call in self.fields.items(member):
                        words += self._call(self.fields.object_at(call, "a tool call"), speaker)
                case "function_call":
                    words += self._function(self.fields.object(member), speaker)
                case name if name in _THINKING:
                    self.found.prose(self.fields.text(member), f"messages.{name}", speaker)
                case "name" | "tool_call_id":
                    words.append(self.fields.text(member))
                case _:
                    words += self._unknown(member)
        self.found.words(words, "messages.*", speaker)

    def _content(self, value: Value, place: str, speaker: Speaker) -> None:
        """A string, or parts of text and of media; a part of any other kind is refused."""
        if isinstance(value, Text):
            self.found.prose(value, place, speaker, inner=self._is_json_result(value, speaker))
            return
        if not isinstance(value, Array):
            raise self.fields.fault_at(value.start, place, "must be a string or an array of parts")
        texts: list[tuple[Text, bool]] = []
        for item in value.items:
            texts += self._part(self.fields.object_at(item, "a part of a message"), speaker)
        self.found.parts(texts, place, speaker)

    def _part(self, part: Object, speaker: Speaker) -> list[tuple[Text, bool]]:
        """A part's text, with whether it is JSON; all else of it is read here."""
        kind = part.members.get("type")
        kind_name = kind.value.value if kind is not None and isinstance(kind.value, Text) else None
        if kind_name not in {"text", "refusal", *KINDS}:
            reason = Reason.PARAMETER_NOT_ALLOWED
            raise self.fields.fault_at(part.start, "a part of a message", _MEDIA, reason=reason)
        if kind_name not in part.members:
            raise self.fields.fault_at(part.start, "a part of a message", "has no content")
        words: list[Text] = []
        texts: list[tuple[Text, bool]] = []
        for member in part.members.values():
            if member is kind:
                continue
            if member.name == kind_name and member.name in KINDS:
                medium = read_medium(self.fields, member)
                self.unscanned.add(medium.unscanned)
                words += medium.words
            elif member.name == kind_name:
                text = self.fields.text(member)
                texts.append((text, self._is_json_result(text, speaker)))
            elif not self.fields.unsaid(member, _MESSAGE_KEYS):
                words += self._unknown(member)
        self.found.words(words, "messages.*", speaker)
        return texts

    def _is_json_result(self, text: Text, speaker: Speaker) -> bool:
        """Whether a tool's result is JSON, in which escapes could hide what the model will read."""
        return speaker.origin is Origin.TOOL_RESULT and has_escapes(text.value)

    def _call(self, call: Object, speaker: Speaker) -> list[Text]:
        """A call that the model made earlier: arguments are text, the rest are words."""
        words: list[Text] = []
        for member in call.members.values():
            match member.name:
                case "function":
                    words += self._function(self.fields.object(member), speaker)
                case "type" if isinstance(member.value, Text) and member.value.value == "function":
                    pass
                case "id" | "type":
                    words += words_of(self.body, member.value)
                case _:
                    words += self._unknown(member)
        return words

    def _function(self, function: Object, speaker: Speaker) -> list[Text]:
        words: list[Text] = []
        for member in function.members.values():
            if member.name == "arguments" and isinstance(member.value, Text):
                self.found.prose(member.value, "messages.tool_calls.arguments", speaker, inner=True)
            elif member.name in {"name", "arguments"}:
                words += words_of(self.body, member.value)
            else:
                words += self._unknown(member)
        return words

    def _unknown(self, member: Member) -> list[Text]:
        """The strings of a member of a message or a tool that no rule here is for; never media."""
        if member.name.startswith(names.MEDIA_PREFIXES) or member.name in names.REFUSED:
            reason = Reason.PARAMETER_NOT_ALLOWED
            raise self.fields.fault_at(member.start, "a member of a message", _MEDIA, reason=reason)
        return [key_of(member.name, member.start), *words_of(self.body, member.value)]

    # --- tools -----------------------------------------------------------------------------------

    def tools(self, member: Member) -> None:
        """Declared tools: a template writes all of it into the prompt."""
        for item in self.fields.items(member):
            tool = self.fields.object_at(item, "a tool")
            declared = tool.members.get("function")
            # The older ``functions`` are what ``function`` is within a tool.
            function = tool if declared is None else self.fields.object_at(declared.value, "a tool")
            self.offer(function)
            words: list[Text] = []
            for part in tool.members.values():
                # Known keys say nothing; any other is a word too.
                known = part.name in {"type", "function", "name", "description", "parameters", "strict"}
                words += words_of(self.body, part.value) if known else self._unknown(part)
            self.found.words(words, "tools.*", _TOOL)

    def tool_choice(self, member: Member) -> None:
        """Which tool must be called, by name or by a word of a closed vocabulary."""
        if isinstance(member.value, Text) and member.value.value in {"none", "auto", "required"}:
            return
        self.found.words(words_of(self.body, member.value), "tool_choice", CALLER)

    # --- other members that are known ------------------------------------------------------------

    def documents(self, member: Member) -> None:
        """Documents that the answer is to be grounded on."""
        for item in self.fields.items(member):
            self.found.words(words_of(self.body, item), "documents", _DOCUMENT)

    def prediction(self, member: Member) -> None:
        """What the answer will largely be."""
        members = self.fields.object(member).members
        kind, content = members.get("type"), members.get("content")
        if len(members) != len({"type", "content"}) or kind is None or content is None:
            raise self.fields.fault(member, "must have a type and a content, and no more")
        self.fields.one_of(kind, {"content"})
        self._content(content.value, "prediction", _MODEL)

    def template_flags(self, member: Member) -> None:
        """Variables of the chat template: only switches that are known to be harmless."""
        for flag in self.fields.object(member).members.values():
            if flag.name not in _TEMPLATE_FLAGS:
                reason = Reason.PARAMETER_NOT_ALLOWED
                raise self.fields.fault(member, "has a member that is not allowed", reason=reason)
            self.fields.flag(flag)

    def modalities(self, member: Member) -> None:
        """What kinds of answer: text only."""
        for item in self.fields.items(member):
            if not isinstance(item, Text) or item.value != "text":
                raise self.fields.fault(member, "may be text only", reason=Reason.PARAMETER_NOT_ALLOWED)

    def effort(self, member: Member) -> None:
        """How much to think or say, by a word of a closed vocabulary."""
        self.fields.one_of(member, _EFFORTS)

    def tier(self, member: Member) -> None:
        """Which queue to wait in: no other than everybody's."""
        self.fields.one_of(member, {"auto", "default"})


_ROLES: Final = ", ".join(sorted(_SPEAKERS))
_READERS: Final[Mapping[str, Callable[[_ChatReading, Member], None]]] = MappingProxyType(
    {
        names.MODEL: _ChatReading.model,
        "messages": _ChatReading.messages,
        names.STREAM: _ChatReading.stream,
        names.STREAM_OPTIONS: _ChatReading.stream_options,
        names.MAX_TOKENS: _ChatReading.limit,
        names.MAX_COMPLETION_TOKENS: _ChatReading.limit,
        "tools": _ChatReading.tools,
        "functions": _ChatReading.tools,
        "tool_choice": _ChatReading.tool_choice,
        "function_call": _ChatReading.tool_choice,
        "response_format": _ChatReading.response_format,
        "documents": _ChatReading.documents,
        "prediction": _ChatReading.prediction,
        "metadata": _ChatReading.labels,
        "user": _ChatReading.label,
        "safety_identifier": _ChatReading.label,
        "prompt_cache_key": _ChatReading.label,
        "stop": _ChatReading.stop,
        "chat_template_kwargs": _ChatReading.template_flags,
        "modalities": _ChatReading.modalities,
        "parallel_tool_calls": _ChatReading.flag,
        "include_reasoning": _ChatReading.flag,
        "reasoning_effort": _ChatReading.effort,
        "verbosity": _ChatReading.effort,
        "service_tier": _ChatReading.tier,
    }
)
_NAMED: Final = frozenset(_READERS) | names.NAMED | KINDS.keys() | {"content"}
