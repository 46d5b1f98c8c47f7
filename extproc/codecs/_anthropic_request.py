"""The request of Anthropic's messages: its conversation, its tools, its limits, and where each text stands.

Every string is either of a closed vocabulary, or a segment, or refused. Unknown members of messages,
blocks and tools are segments; unknown members of the request are segments too, and parameters that the
schema guard judges by name. Refused are uploads by reference, tools and containers that the server itself
would run, and a limit of output tokens under another name. Sources: Anthropic's API reference; vLLM's
server of it, which lets a message have the role ``system`` and takes ``chat_template_kwargs``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _anthropic_blocks as blocks
from extproc.codecs import _openai_fields as names
from extproc.codecs._anthropic_blocks import Blocks
from extproc.codecs._openai_fields import Fields, is_off
from extproc.codecs._openai_segments import (
    Collector,
    Piece,
    Speaker,
    key_of,
    words_of,
)
from extproc.domain.errors import PeerError
from extproc.domain.judging import AnswerFormat, ToolSpec
from extproc.domain.segment import Origin, Params, Role, Segment, Unscanned
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Number, Object, Text, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member

MESSAGES: Final = "messages"
SYSTEM: Final = "system"
_REQUIRED: Final = (names.MODEL, MESSAGES, names.MAX_TOKENS)
_SPEAKERS: Final[Mapping[str, Speaker]] = MappingProxyType(
    {
        "assistant": Speaker(Role.ASSISTANT, Origin.DIRECT),
        "system": Speaker(Role.SYSTEM, Origin.DIRECT),
        "user": Speaker(Role.USER, Origin.DIRECT),
    }
)
_CALLER: Final = _SPEAKERS["user"]
_TOOL: Final = Speaker(Role.TOOL, Origin.TOOL_DESCRIPTION)
_TOOL_MEMBERS: Final = frozenset(
    {
        *("name", "description", "input_schema", "input_examples", "strict", "defer_loading"),
        *("allowed_callers", "eager_input_streaming"),
    }
)
_EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})
_THINKING: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "enabled": frozenset({"type", "budget_tokens", "display"}),
        "adaptive": frozenset({"type", "display"}),
        "between_tools": frozenset({"type"}),
        "disabled": frozenset({"type"}),
    }
)
_TEMPLATE_FLAGS: Final = frozenset({"enable_thinking", "thinking"})
# What would run, remember or fetch something outside the request, or say a limit a second time.
_REFUSED: Final = frozenset(
    {
        *("container", "context_management", "diagnostics", "fallbacks", "inference_geo", "mcp_servers"),
        *("prefill", "speed", "user_profile_id", "workspace_id", "betas"),
        *("max_completion_tokens", "max_new_tokens", "max_output_tokens", "max_tokens_to_sample"),
    }
)
_NOT_ALLOWED: Final = "is not allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesRequest:
    """A request as it was read.

    ``places`` say of each segment where it stands. ``tools`` are the names of the tools that the caller
    declared, ``offered`` these with their parameters. ``json_answer`` says that the answer's text will
    itself be JSON, ``answer_format`` by which schema. ``budget`` is how many of the output tokens may be
    thoughts, where the caller says so.
    """

    body: bytes
    segments: tuple[Segment, ...]
    places: tuple[tuple[Piece, ...], ...]
    unscanned: frozenset[Unscanned]
    params: Params
    limit: Number
    budget: Number | None
    tools: frozenset[str]
    json_answer: bool
    offered: tuple[ToolSpec, ...]
    answer_format: AnswerFormat | None


def read_messages(body: bytes, *, limits: Limits) -> MessagesRequest:
    """Read a request's body.

    Raises:
        PeerError: it is no JSON object of this schema, is ambiguous, or holds what is not allowed.
    """
    root = parse(body, limits=limits)
    if not isinstance(root, Object):
        raise PeerError(Reason.BODY_INVALID, "the body must be a JSON object")
    return _Reading(body, root).result()


class _Reading:
    """The state of reading one request."""

    def __init__(self, body: bytes, root: Object) -> None:
        self._body = body
        self._root = root
        self._fields = Fields(body, _NAMED)
        self._found = Collector()
        self._blocks = Blocks(body, self._fields, self._found)
        self._model = ""
        self._stream = False
        self._limit: Number | None = None
        self._budget: Number | None = None
        self._sampling: dict[str, str | int | float | bool] = {}
        self._offered: list[ToolSpec] = []
        self._json_answer = False
        self._answer_schema: str | None = None

    def result(self) -> MessagesRequest:
        """What was read."""
        for name in _REQUIRED:
            if name not in self._root.members:
                raise PeerError(Reason.BODY_INVALID, f"{name} is missing")
        for member in self._root.members.values():
            self._member(member)
        if self._limit is None:
            raise AssertionError("a required member was not read")
        choices_count = 1
        for name in names.MULTIPLIERS & self._sampling.keys():
            choices_count *= int(self._sampling[name])
        return MessagesRequest(
            body=self._body,
            segments=tuple(self._found.segments),
            places=tuple(self._found.places),
            unscanned=frozenset(self._blocks.unscanned),
            params=Params(
                model=self._model,
                stream=self._stream,
                max_output_tokens=int(self._limit.value),
                choices_count=choices_count,
                sampling=MappingProxyType(self._sampling),
            ),
            limit=self._limit,
            budget=self._budget,
            tools=frozenset(tool.name for tool in self._offered),
            json_answer=self._json_answer,
            offered=tuple(self._offered),
            answer_format=AnswerFormat(self._answer_schema) if self._json_answer else None,
        )

    def _member(self, member: Member) -> None:
        read = _READERS.get(member.name)
        if read is not None:
            if member.name in _REQUIRED or not self._fields.absent(member.value):
                read(self, member)
        elif not self._fields.says_nothing(member):
            self._parameter(member)
        elif member.name not in _NAMED | names.SAMPLING:
            self._found.words([key_of(member.name, member.start)], "parameters.*", _CALLER)

    # --- the conversation ------------------------------------------------------------------------

    def system(self, member: Member) -> None:
        """The system prompt."""
        self._blocks.content(member.value, SYSTEM, _SPEAKERS["system"], blocks.SYSTEM)

    def messages(self, member: Member) -> None:
        """Every message, whoever speaks, and every block of it."""
        items = self._fields.items(member)
        if not items:
            raise self._fields.fault(member, "must not be empty")
        for item in items:
            self._message(self._fields.object_at(item, "a message"))

    def _message(self, message: Object) -> None:
        role, content = message.members.get("role"), message.members.get("content")
        name = role.value.value if role is not None and isinstance(role.value, Text) else None
        speaker = _SPEAKERS.get(name) if isinstance(name, str) else None
        if speaker is None:
            raise self._fields.fault_at(message.start, "a message", f"must have a role of {_ROLES}")
        if content is None:
            raise self._fields.fault_at(message.start, "a message", "has no content")
        kinds = blocks.SYSTEM if name == SYSTEM else blocks.MESSAGE
        self._blocks.content(content.value, MESSAGES, speaker, kinds)
        words: list[Text] = []
        for member in message.members.values():
            if member is not role and member is not content:
                words += self._blocks.unknown(member)
        self._found.words(words, f"{MESSAGES}.*", speaker)

    # --- tools -----------------------------------------------------------------------------------

    def tools(self, member: Member) -> None:
        """Declared tools: a template writes all of it into the prompt. The server's own are refused."""
        for item in self._fields.items(member):
            tool = self._fields.object_at(item, "a tool")
            name, kind = tool.members.get("name"), tool.members.get("type")
            if not self._is_custom(kind):
                reason = Reason.PARAMETER_NOT_ALLOWED
                raise self._fields.fault_at(tool.start, "a tool", "may only be custom", reason=reason)
            if name is None or not isinstance(name.value, Text):
                raise self._fields.fault_at(tool.start, "a tool", "has no name")
            schema = tool.members.get("input_schema")
            self._offered.append(ToolSpec(name.value.value, self._source_of(schema)))
            words: list[Text] = []
            for part in tool.members.values():
                if part is kind or self._fields.unsaid(part, blocks.NAMED):
                    continue
                if part.name == "cache_control":
                    self._blocks.cache_control(part)
                elif part.name in _TOOL_MEMBERS:
                    words += words_of(self._body, part.value)
                else:
                    words += self._blocks.unknown(part)
            self._found.words(words, "tools.*", _TOOL)

    def _is_custom(self, kind: Member | None) -> bool:
        """Whether a tool is the caller's own to run."""
        if kind is None or self._fields.absent(kind.value):
            return True
        return isinstance(kind.value, Text) and kind.value.value == "custom"

    def tool_choice(self, member: Member) -> None:
        """Which tool must be called."""
        words: list[Text] = []
        members = self._fields.object(member).members
        if "type" not in members:
            raise self._fields.fault(member, "has no type")
        for part in members.values():
            if part.name == "type":
                self._fields.one_of(part, {"auto", "any", "tool", "none"})
            elif part.name == "disable_parallel_tool_use":
                self._fields.flag(part)
            elif part.name == "name":
                words.append(self._fields.text(part))
            else:
                words += self._blocks.unknown(part)
        self._found.words(words, "tool_choice", _CALLER)

    def output_config(self, member: Member) -> None:
        """How much to say, and in which format; of a JSON schema every string may reach the model."""
        for part in self._fields.object(member).members.values():
            if self._fields.unsaid(part, {"effort", "format"}):
                continue
            if part.name == "effort":
                self._fields.one_of(part, _EFFORTS)
            elif part.name == "format":
                self._format(part)
            else:
                self._found.words(self._blocks.unknown(part), "output_config", _CALLER)

    def _format(self, member: Member) -> None:
        kind = self._fields.object(member).members.get("type")
        if kind is None:
            raise self._fields.fault(member, "has no type")
        self._fields.one_of(kind, {"json_schema"})
        self._json_answer = True
        self._answer_schema = self._source_of(self._fields.object(member).members.get("schema"))
        words = [word for word in words_of(self._body, member.value) if word is not kind.value]
        self._found.words(words, "output_config", _CALLER)

    def _source_of(self, member: Member | None) -> str | None:
        """A schema as it stands in the body."""
        if member is None or not isinstance(member.value, Object):
            return None
        return self._body[member.value.start : member.value.end].decode()

    # --- other members that are known ------------------------------------------------------------

    def model(self, member: Member) -> None:
        """The model's name, which the schema guard judges."""
        self._model = self._fields.model(member)

    def stream(self, member: Member) -> None:
        """Whether the answer comes as events."""
        self._stream = self._fields.flag(member)

    def limit(self, member: Member) -> None:
        """The answer's length at most; this API wants it said."""
        self._fields.count(member)
        if isinstance(member.value, Number):
            self._limit = member.value

    def thinking(self, member: Member) -> None:
        """Whether to think, how much, and whether thoughts are shown: a fixed shape without any text."""
        members = self._fields.object(member).members
        if "type" not in members:
            raise self._fields.fault(member, "has no type")
        if members.keys() - _THINKING[self._fields.one_of(members["type"], _THINKING)]:
            raise self._fields.fault(member, "has a member that is not allowed")
        display, budget = members.get("display"), members.get("budget_tokens")
        if display is not None and not self._fields.absent(display.value):
            self._fields.one_of(display, {"summarized", "omitted"})
        if budget is not None:
            self._fields.count(budget)
            self._budget = budget.value if isinstance(budget.value, Number) else None

    def metadata(self, member: Member) -> None:
        """Who asks, in the caller's own words."""
        self._found.words(words_of(self._body, self._fields.object(member)), "metadata", _CALLER)

    def stop_sequences(self, member: Member) -> None:
        """Where the answer ends; a parameter that policies may bound, and text."""
        self._fields.items(member)
        self._named_parameter(member, "stop_sequences")

    def cache_control(self, member: Member) -> None:
        """How long the prompt's prefix is kept."""
        self._blocks.cache_control(member)

    def template_flags(self, member: Member) -> None:
        """Variables of the chat template: only switches that are known to be harmless."""
        for flag in self._fields.object(member).members.values():
            if flag.name not in _TEMPLATE_FLAGS:
                reason = Reason.PARAMETER_NOT_ALLOWED
                raise self._fields.fault(member, "has a member that is not allowed", reason=reason)
            self._fields.flag(flag)

    def tier(self, member: Member) -> None:
        """Which queue to wait in: no other than everybody's."""
        self._fields.one_of(member, {"auto", "standard_only"})

    def refused(self, member: Member) -> None:
        """A member that is not allowed, whatever it says."""
        raise self._fields.fault(member, _NOT_ALLOWED, reason=Reason.PARAMETER_NOT_ALLOWED)

    # --- parameters ------------------------------------------------------------------------------

    def _parameter(self, member: Member) -> None:
        """A parameter that the schema guard judges by name, and whose strings are scanned."""
        if not (member.name in names.OFF_BY_DEFAULT and is_off(member.value)):
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
        MESSAGES: _Reading.messages,
        SYSTEM: _Reading.system,
        names.STREAM: _Reading.stream,
        names.MAX_TOKENS: _Reading.limit,
        "thinking": _Reading.thinking,
        "tools": _Reading.tools,
        "tool_choice": _Reading.tool_choice,
        "output_config": _Reading.output_config,
        "metadata": _Reading.metadata,
        "stop_sequences": _Reading.stop_sequences,
        "cache_control": _Reading.cache_control,
        "chat_template_kwargs": _Reading.template_flags,
        "service_tier": _Reading.tier,
        **dict.fromkeys(_REFUSED, _Reading.refused),
    }
)
_NAMED: Final = (
    frozenset(_READERS)
    | blocks.NAMED
    | names.REFUSED
    | names.MULTIPLIERS
    | names.OFF_BY_DEFAULT
    | {"budget_tokens", "disable_parallel_tool_use", "display", "effort", "format"}
)
