"""The request of chat completions: its messages, its tools, its limits, and where each text stands.

Every string is either of a closed vocabulary, or a segment, or refused. Unknown members of messages, parts
and tools are segments; unknown members of the request are segments too, and parameters that the schema
guard judges by name; media and references to text that stands elsewhere are refused. Sources: OpenAI's API
reference; vLLM's and Triton's servers of it, which take ``max_completion_tokens`` before ``max_tokens``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_fields as names
from extproc.codecs._openai_fields import Fields, is_off
from extproc.codecs._openai_segments import Collector, Piece, Speaker, key_of, words_of
from extproc.domain.errors import PeerError
from extproc.domain.segment import Origin, Params, Role, Segment
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Array, Object, Text, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

_SPEAKERS: Final[Mapping[str, Speaker]] = MappingProxyType(
    {
        "system": Speaker(Role.SYSTEM, Origin.DIRECT),
        "developer": Speaker(Role.DEVELOPER, Origin.DIRECT),
        "user": Speaker(Role.USER, Origin.DIRECT),
        "assistant": Speaker(Role.ASSISTANT, Origin.DIRECT),
        "tool": Speaker(Role.TOOL, Origin.TOOL_RESULT),
        # The older name of a tool's result.
        "function": Speaker(Role.TOOL, Origin.TOOL_RESULT),
    }
)
_CALLER: Final = _SPEAKERS["user"]
_MODEL: Final = _SPEAKERS["assistant"]
_TOOL: Final = Speaker(Role.TOOL, Origin.TOOL_DESCRIPTION)
_DOCUMENT: Final = Speaker(Role.USER, Origin.DOCUMENT)

_FORMATS: Final = frozenset({"text", "json_object", "json_schema"})
_EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh"})
_TEMPLATE_FLAGS: Final = frozenset({"enable_thinking", "thinking"})
_JSON_ASKED: Final = frozenset({"guided_json", "structured_outputs"})
_THINKING: Final = frozenset({"reasoning", "reasoning_content", "refusal"})
_MEDIA: Final = "holds what cannot be inspected: only text is allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A request as it was read.

    ``places`` say of each segment where it stands. ``tools`` are the names of the functions that the
    caller declared. ``json_answer`` says that the answer's content will itself be JSON.
    """

    body: bytes
    root: Object
    segments: tuple[Segment, ...]
    places: tuple[tuple[Piece, ...], ...]
    params: Params
    usage_asked: bool
    tools: frozenset[str]
    json_answer: bool


def read_chat(body: bytes, *, limits: Limits) -> ChatRequest:
    """Read a request's body.

    Raises:
        PeerError: it is no JSON object of this schema, is ambiguous, or holds what cannot be inspected.
    """
    root = parse(body, limits=limits)
    if not isinstance(root, Object):
        raise PeerError(Reason.BODY_INVALID, "the body must be a JSON object")
    return _Reading(body, root, limits).result()


class _Reading:
    """The state of reading one request."""

    def __init__(self, body: bytes, root: Object, limits: Limits) -> None:
        self._body = body
        self._root = root
        self._limits = limits
        self._fields = Fields(body, _NAMED)
        self._found = Collector()
        self._model: str | None = None
        self._stream = False
        self._usage_asked = False
        self._max_tokens: dict[str, int] = {}
        self._sampling: dict[str, str | int | float | bool] = {}
        self._tools: set[str] = set()
        self._json_answer = False

    def result(self) -> ChatRequest:
        """What was read."""
        for name in (names.MODEL, "messages"):
            if name not in self._root.members:
                raise PeerError(Reason.BODY_INVALID, f"{name} is missing")
        for member in self._root.members.values():
            self._member(member)
        choices_count = 1
        for name in names.MULTIPLIERS & self._sampling.keys():
            choices_count *= int(self._sampling[name])
        limit = self._max_tokens.get(names.MAX_COMPLETION_TOKENS, self._max_tokens.get(names.MAX_TOKENS))
        params = Params(
            model=self._model or "",
            stream=self._stream,
            max_output_tokens=limit,
            choices_count=choices_count,
            sampling=MappingProxyType(self._sampling),
        )
        return ChatRequest(
            body=self._body,
            root=self._root,
            segments=tuple(self._found.segments),
            places=tuple(self._found.places),
            params=params,
            usage_asked=self._usage_asked,
            tools=frozenset(self._tools),
            json_answer=self._json_answer,
        )

    def _member(self, member: Member) -> None:
        required = member.name in {names.MODEL, "messages"}
        read = _READERS.get(member.name)
        if read is not None:
            if required or not self._fields.absent(member.value):
                read(self, member)
        elif not self._fields.says_nothing(member):
            self._parameter(member)

    # --- the conversation ------------------------------------------------------------------------

    def messages(self, member: Member) -> None:
        """Every message, whoever speaks, and every part of it."""
        items = self._fields.items(member)
        if not items:
            raise self._fields.fault(member, "must not be empty")
        for item in items:
            self._message(self._fields.object_at(item, "a message"))

    def _message(self, message: Object) -> None:
        role = message.members.get("role")
        name = role.value.value if role is not None and isinstance(role.value, Text) else None
        speaker = _SPEAKERS.get(name) if isinstance(name, str) else None
        if role is None or speaker is None:
            raise self._fields.fault_at(message.start, "a message", f"must have a role of {_ROLES}")
        words: list[Text] = []
        for member in message.members.values():
            if member is role or self._fields.absent(member.value):
                continue
            match member.name:
                case "content":
                    self._content(member.value, "messages.content", speaker)
                case "tool_calls":
                    for call in self._fields.items(member):
                        words += self._call(self._fields.object_at(call, "a tool call"), speaker)
                case "function_call":
                    words += self._function(self._fields.object(member), speaker)
                case name if name in _THINKING:
                    self._found.prose(self._fields.text(member), f"messages.{name}", speaker)
                case "name" | "tool_call_id":
                    words.append(self._fields.text(member))
                case _:
                    words += self._unknown(member)
        self._found.words(words, "messages.*", speaker)

    def _content(self, value: Value, place: str, speaker: Speaker) -> None:
        """A string, or parts of text; a part of any other kind is refused."""
        if isinstance(value, Text):
            self._found.prose(value, place, speaker, inner=self._is_json_result(value, speaker))
            return
        if not isinstance(value, Array):
            raise self._fields.fault_at(value.start, place, "must be a string or an array of parts")
        for item in value.items:
            part = self._fields.object_at(item, "a part of a message")
            kind = part.members.get("type")
            kind_name = kind.value.value if kind is not None and isinstance(kind.value, Text) else None
            if kind_name not in {"text", "refusal"}:
                reason = Reason.PARAMETER_NOT_ALLOWED
                raise self._fields.fault_at(part.start, "a part of a message", _MEDIA, reason=reason)
            if kind_name not in part.members:
                raise self._fields.fault_at(part.start, "a part of a message", "has no text")
            words: list[Text] = []
            for member in part.members.values():
                if member.name == kind_name:
                    text = self._fields.text(member)
                    self._found.prose(text, place, speaker, inner=self._is_json_result(text, speaker))
                elif member is not kind and not self._fields.absent(member.value):
                    words += self._unknown(member)
            self._found.words(words, "messages.*", speaker)

    def _is_json_result(self, text: Text, speaker: Speaker) -> bool:
        """Whether a tool's result is JSON, in which escapes could hide what the model will read."""
        if speaker.origin is not Origin.TOOL_RESULT or "\\" not in text.value:
            return False
        try:
            return isinstance(parse(text.value.encode(), limits=self._limits), (Object, Array))
        except PeerError:
            return False

    def _call(self, call: Object, speaker: Speaker) -> list[Text]:
        """A call that the model made earlier: arguments are text, the rest are words."""
        words: list[Text] = []
        for member in call.members.values():
            match member.name:
                case "function":
                    words += self._function(self._fields.object(member), speaker)
                case "type" if isinstance(member.value, Text) and member.value.value == "function":
                    pass
                case "id" | "type":
                    words += words_of(self._body, member.value)
                case _:
                    words += self._unknown(member)
        return words

    def _function(self, function: Object, speaker: Speaker) -> list[Text]:
        words: list[Text] = []
        for member in function.members.values():
            if member.name == "arguments" and isinstance(member.value, Text):
                self._found.prose(member.value, "messages.tool_calls.arguments", speaker, inner=True)
            elif member.name in {"name", "arguments"}:
                words += words_of(self._body, member.value)
            else:
                words += self._unknown(member)
        return words

    def _unknown(self, member: Member) -> list[Text]:
        """The strings of a member of a message or a tool that no rule here is for; never media."""
        if member.name.startswith(names.MEDIA_PREFIXES) or member.name in names.REFUSED:
            reason = Reason.PARAMETER_NOT_ALLOWED
            raise self._fields.fault_at(member.start, "a member of a message", _MEDIA, reason=reason)
        return [key_of(member.name, member.start), *words_of(self._body, member.value)]

    # --- tools -----------------------------------------------------------------------------------

    def tools(self, member: Member) -> None:
        """Declared tools: a template writes all of it into the prompt."""
        for item in self._fields.items(member):
            tool = self._fields.object_at(item, "a tool")
            declared = tool.members.get("function")
            # The older ``functions`` are what ``function`` is within a tool.
            function = tool if declared is None else self._fields.object_at(declared.value, "a tool")
            name = function.members.get("name")
            if name is not None and isinstance(name.value, Text):
                self._tools.add(name.value.value)
            words: list[Text] = []
            for part in tool.members.values():
                # Known keys say nothing; any other is a word too.
                known = part.name in {"type", "function", "name", "description", "parameters", "strict"}
                words += words_of(self._body, part.value) if known else self._unknown(part)
            self._found.words(words, "tools.*", _TOOL)

    def tool_choice(self, member: Member) -> None:
        """Which tool must be called, by name or by a word of a closed vocabulary."""
        if isinstance(member.value, Text) and member.value.value in {"none", "auto", "required"}:
            return
        self._found.words(words_of(self._body, member.value), "tool_choice", _CALLER)

    def response_format(self, member: Member) -> None:
        """The answer's format; of a JSON schema every string may reach the model."""
        kind = self._fields.object(member).members.get("type")
        if kind is None:
            raise self._fields.fault(member, "has no type")
        name = kind.value.value if isinstance(kind.value, Text) else None
        if name not in _FORMATS:
            raise self._fields.fault(member, f"must be of type {', '.join(sorted(_FORMATS))}")
        self._json_answer |= name != "text"
        words = [word for word in words_of(self._body, member.value) if word is not kind.value]
        self._found.words(words, "response_format", _CALLER)

    # --- other members that are known ------------------------------------------------------------

    def model(self, member: Member) -> None:
        """The model's name, which the schema guard judges."""
        self._model = self._fields.model(member)

    def stream(self, member: Member) -> None:
        """Whether the answer comes as events."""
        self._stream = self._fields.flag(member)

    def stream_options(self, member: Member) -> None:
        """Whether the client wants token counts."""
        self._usage_asked = self._fields.usage_asked(member)

    def limit(self, member: Member) -> None:
        """The answer's length at most."""
        self._max_tokens[member.name] = self._fields.count(member)

    def label(self, member: Member) -> None:
        """Who asks, in the caller's own words."""
        self._found.words([self._fields.text(member)], "user", _CALLER)

    def labels(self, member: Member) -> None:
        """Labels of the caller's own."""
        self._found.words(words_of(self._body, self._fields.object(member)), "metadata", _CALLER)

    def documents(self, member: Member) -> None:
        """Documents that the answer is to be grounded on."""
        for item in self._fields.items(member):
            self._found.words(words_of(self._body, item), "documents", _DOCUMENT)

    def stop(self, member: Member) -> None:
        """Where the answer ends; a parameter that policies may bound, and text."""
        self._named_parameter(member, "stop")

    def prediction(self, member: Member) -> None:
        """What the answer will largely be."""
        members = self._fields.object(member).members
        kind, content = members.get("type"), members.get("content")
        if len(members) != len({"type", "content"}) or kind is None or content is None:
            raise self._fields.fault(member, "must have a type and a content, and no more")
        self._fields.one_of(kind, {"content"})
        self._content(content.value, "prediction", _MODEL)

    def template_flags(self, member: Member) -> None:
        """Variables of the chat template: only switches that are known to be harmless."""
        for flag in self._fields.object(member).members.values():
            if flag.name not in _TEMPLATE_FLAGS:
                reason = Reason.PARAMETER_NOT_ALLOWED
                raise self._fields.fault(member, "has a member that is not allowed", reason=reason)
            self._fields.flag(flag)

    def modalities(self, member: Member) -> None:
        """What kinds of answer: text only."""
        for item in self._fields.items(member):
            if not isinstance(item, Text) or item.value != "text":
                raise self._fields.fault(member, "may be text only", reason=Reason.PARAMETER_NOT_ALLOWED)

    def flag(self, member: Member) -> None:
        """A switch without any text."""
        self._fields.flag(member)

    def effort(self, member: Member) -> None:
        """How much to think or say, by a word of a closed vocabulary."""
        self._fields.one_of(member, _EFFORTS)

    def tier(self, member: Member) -> None:
        """Which queue to wait in: no other than everybody's."""
        self._fields.one_of(member, {"auto", "default"})

    # --- parameters ------------------------------------------------------------------------------

    def _parameter(self, member: Member) -> None:
        """A parameter that the schema guard judges by name, and whose strings are scanned."""
        if member.name in names.OFF_BY_DEFAULT and is_off(member.value):
            return
        self._json_answer |= member.name in _JSON_ASKED
        self._named_parameter(member, "parameters.*")

    def _named_parameter(self, member: Member, place: str) -> None:
        if member.name in names.MULTIPLIERS:
            self._fields.count(member)
        value = self._fields.plain(member)
        if value is not None:
            self._sampling[member.name] = value
        self._found.words(words_of(self._body, member.value), place, _CALLER)


_ROLES: Final = ", ".join(sorted(_SPEAKERS))
_READERS: Final[Mapping[str, Callable[[_Reading, Member], None]]] = MappingProxyType(
    {
        names.MODEL: _Reading.model,
        "messages": _Reading.messages,
        names.STREAM: _Reading.stream,
        names.STREAM_OPTIONS: _Reading.stream_options,
        names.MAX_TOKENS: _Reading.limit,
        names.MAX_COMPLETION_TOKENS: _Reading.limit,
        "tools": _Reading.tools,
        "functions": _Reading.tools,
        "tool_choice": _Reading.tool_choice,
        "function_call": _Reading.tool_choice,
        "response_format": _Reading.response_format,
        "documents": _Reading.documents,
        "prediction": _Reading.prediction,
        "metadata": _Reading.labels,
        "user": _Reading.label,
        "safety_identifier": _Reading.label,
        "prompt_cache_key": _Reading.label,
        "stop": _Reading.stop,
        "chat_template_kwargs": _Reading.template_flags,
        "modalities": _Reading.modalities,
        "parallel_tool_calls": _Reading.flag,
        "include_reasoning": _Reading.flag,
        "reasoning_effort": _Reading.effort,
        "verbosity": _Reading.effort,
        "service_tier": _Reading.tier,
    }
)
_NAMED: Final = frozenset(_READERS) | names.REFUSED | names.MULTIPLIERS | names.OFF_BY_DEFAULT | {"content"}
