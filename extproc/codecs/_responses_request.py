"""The request of OpenAI's responses: its members, and where each text stands.

Every string is either of a closed vocabulary, or a segment, or refused. Unknown members of items, parts and
tools are segments; unknown members of the request are segments too, and parameters that the schema guard
judges by name. Refused are the tools that the server itself would run (it would fetch or act where nobody
judges), whatever names text that stands elsewhere (``previous_response_id``, ``conversation``, ``prompt``
templates, ``item_reference``), ``background``, and what is read on other paths only. Sources: OpenAI's API
reference; vLLM's server of it.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_fields as names
from extproc.codecs import _responses_items as items
from extproc.codecs._openai_request import CALLER, OpenAIRequest, Reading
from extproc.codecs._openai_segments import Speaker, segment_splices, spliced, words_of
from extproc.codecs._responses_items import Items
from extproc.domain.segment import Origin, Role
from extproc.domain.verdict import Reason
from extproc.wire.splice import Splice, insert_members
from extproc.wire.strict_json import Constant, Number, Object, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from extproc.domain.errors import PeerError
    from extproc.domain.limits import Limits
    from extproc.domain.ports import RequestEdits
    from extproc.wire.strict_json import Member

INPUT: Final = "input"
MAX_OUTPUT_TOKENS: Final = "max_output_tokens"
_STORE: Final = "store"
_SYSTEM: Final = Speaker(Role.SYSTEM, Origin.DIRECT)
_TOOL: Final = Speaker(Role.TOOL, Origin.TOOL_DESCRIPTION)
_TOOLS: Final = frozenset({"function", "custom"})
_CHOICES: Final = frozenset({"none", "auto", "required"})
_CHOICE_KINDS: Final = _TOOLS | {"allowed_tools"}
_TOOL_MEMBERS: Final = frozenset({"type", "name", "description", "parameters", "strict", "format"})
_EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_SUMMARIES: Final = frozenset({"auto", "concise", "detailed"})
_THINKING: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"effort": _EFFORTS, "summary": _SUMMARIES, "generate_summary": _SUMMARIES}
)
_VERBOSITIES: Final = frozenset({"low", "medium", "high"})
_LOGPROBS: Final = "message.output_text.logprobs"
# Members of chats and completions, limits by other names, and what would run, keep or fetch something.
_FOREIGN: Final = frozenset(
    {
        *("messages", "prompt", "functions", "function_call", "response_format", "suffix", "n", "best_of"),
        *("max_tokens", "max_completion_tokens", "max_new_tokens", "chat_template_kwargs", "documents"),
        *("background_options", "context_management", "moderation", "access_programs", "betas"),
        *("previous_input_messages", "previous_response_messages", "enable_response_messages"),
        *("mcp_servers", "reasoning_effort", "verbosity", "prompt_cache_options", "prediction"),
    }
)


def read_responses(body: bytes, *, limits: Limits) -> OpenAIRequest:
    """Read a request's body.

    Raises:
        PeerError: it is no JSON object of this schema, is ambiguous, or holds what cannot be inspected.
    """
    return _ResponsesReading(body, named=_NAMED, limits=limits).result()


def write_responses(request: OpenAIRequest, edits: RequestEdits, *, limits: Limits) -> bytes:
    """The body to forward. Counts are in every answer, so that none have to be asked for.

    Where it does not say whether the server keeps the exchange, it now says that it does not: OpenAI's
    default is to keep it, and nothing that is kept could be read through this service.

    Raises:
        PeerError: an edit of a key makes it another one's twin.
    """
    splices, key_edited = segment_splices(request.body, request.places, edits.segments)
    inserted: list[tuple[str, bytes]] = []
    for name, value in _written(request.root, edits.cap_output_tokens):
        standing = request.root.members.get(name)
        if standing is None:
            inserted.append((name, value))
        else:
            splices.append(Splice(standing.value.start, standing.value.end, value))
    if inserted:
        splices.append(insert_members(request.root, inserted))
    return spliced(request.body, splices, key_edited=key_edited, limits=limits)


def _written(root: Object, cap: int | None) -> Iterator[tuple[str, bytes]]:
    """Members that this service writes; null stands for nothing said."""
    limit, store = root.members.get(MAX_OUTPUT_TOKENS), root.members.get(_STORE)
    if cap is not None:
        number = limit.value.value if limit is not None and isinstance(limit.value, Number) else None
        if number is None or number > cap:
            yield MAX_OUTPUT_TOKENS, b"%d" % cap
    if store is None or (isinstance(store.value, Constant) and store.value.value is None):
        yield _STORE, b"false"


class _ResponsesReading(Reading):
    """The state of reading one request."""

    required = (names.MODEL, INPUT)
    foreign = _FOREIGN

    def __init__(self, body: bytes, *, named: Collection[str], limits: Limits) -> None:
        super().__init__(body, named=named, limits=limits)
        self._items = Items(self.body, self.fields, self.found)

    def reader_of(self, name: str) -> Callable[[Member], None] | None:
        """What reads a member."""
        read = _READERS.get(name)
        return None if read is None else partial(read, self)

    def input(self, member: Member) -> None:
        """A text, or items."""
        if isinstance(member.value, Text):
            self.found.prose(member.value, INPUT, CALLER)
            return
        values = self.fields.items(member)
        if not values:
            raise self.fields.fault(member, "must not be empty")
        for value in values:
            self._items.item(value)
        self.unscanned |= self._items.unscanned

    def instructions(self, member: Member) -> None:
        """The system prompt."""
        self.found.prose(self.fields.text(member), "instructions", _SYSTEM)

    def output_limit(self, member: Member) -> None:
        """The answer's length at most, under the name that all wires share."""
        self._max_tokens[names.MAX_TOKENS] = self.fields.count(member)

    def count(self, member: Member) -> None:
        """A number without any text."""
        self.fields.count(member)

    # --- tools -----------------------------------------------------------------------------------

    def tools(self, member: Member) -> None:
        """Declared tools: functions that the client runs; a template writes all of it into the prompt."""
        for value in self.fields.items(member):
            tool = self.fields.object_at(value, "a tool")
            kind = tool.members.get("type")
            if kind is None or not isinstance(kind.value, Text) or kind.value.value not in _TOOLS:
                raise self.fields.fault_at(
                    tool.start,
                    "a tool",
                    f"may only be of type {', '.join(sorted(_TOOLS))}: no other runs at the client",
                    reason=Reason.PARAMETER_NOT_ALLOWED,
                )
            self.offer(tool)
            words: list[Text] = []
            for part in tool.members.values():
                if part is not kind:
                    known = part.name in _TOOL_MEMBERS
                    words += words_of(self.body, part.value) if known else self._items.unknown(part)
            self.found.words(words, "tools.*", _TOOL)

    def tool_choice(self, member: Member) -> None:
        """Which tool must be called, by name or by a word of a closed vocabulary."""
        if isinstance(member.value, Text):
            self.fields.one_of(member, _CHOICES)
            return
        kind = self.fields.object(member).members.get("type")
        if kind is None:
            raise self.fields.fault(member, "has no type")
        if not isinstance(kind.value, Text) or kind.value.value not in _CHOICE_KINDS:
            what = "is of a kind that is not allowed"
            raise self.fields.fault(member, what, reason=Reason.PARAMETER_NOT_ALLOWED)
        words = [word for word in words_of(self.body, member.value) if word is not kind.value]
        self.found.words(words, "tool_choice", CALLER)

    # --- other members ---------------------------------------------------------------------------

    def text(self, member: Member) -> None:
        """The answer's format; of a JSON schema every string may reach the model."""
        for option in self.fields.object(member).members.values():
            match option.name:
                case "format" | "verbosity" if self.fields.absent(option.value):
                    pass
                case "format":
                    self.response_format(option)
                case "verbosity":
                    self.fields.one_of(option, _VERBOSITIES)
                case _:
                    raise self._not_allowed(member)

    def reasoning(self, member: Member) -> None:
        """How much to think, and whether to tell of it, by words of a closed vocabulary."""
        for option in self.fields.object(member).members.values():
            if option.name not in _THINKING:
                raise self._not_allowed(member)
            if not self.fields.absent(option.value):
                self.fields.one_of(option, _THINKING[option.name])

    def include(self, member: Member) -> None:
        """What the answer is to have beside its texts: log probabilities, which policies allow."""
        values = self.fields.items(member)
        for value in values:
            if not isinstance(value, Text) or value.value != _LOGPROBS:
                what = f"may be {_LOGPROBS} only"
                raise self.fields.fault(member, what, reason=Reason.PARAMETER_NOT_ALLOWED)
        if values:
            self.named_parameter(member, "include")

    def background(self, member: Member) -> None:
        """Whether the answer is left with the server, where nobody judges it: never."""
        if self.fields.flag(member):
            raise self.fields.fault(member, "is not allowed", reason=Reason.PARAMETER_NOT_ALLOWED)

    def tier(self, member: Member) -> None:
        """Which queue to wait in: no other than everybody's."""
        self.fields.one_of(member, {"auto", "default"})

    def truncation(self, member: Member) -> None:
        """What becomes of an input that is too long."""
        self.fields.one_of(member, {"auto", "disabled"})

    def retention(self, member: Member) -> None:
        """How long a prefix is kept."""
        self.fields.one_of(member, {"in_memory", "in-memory", "24h"})

    def _not_allowed(self, member: Member) -> PeerError:
        reason = Reason.PARAMETER_NOT_ALLOWED
        return self.fields.fault(member, "has a member that is not allowed", reason=reason)


_READERS: Final[Mapping[str, Callable[[_ResponsesReading, Member], None]]] = MappingProxyType(
    {
        names.MODEL: _ResponsesReading.model,
        INPUT: _ResponsesReading.input,
        "instructions": _ResponsesReading.instructions,
        names.STREAM: _ResponsesReading.stream,
        names.STREAM_OPTIONS: _ResponsesReading.stream_options,
        MAX_OUTPUT_TOKENS: _ResponsesReading.output_limit,
        "max_tool_calls": _ResponsesReading.count,
        "tools": _ResponsesReading.tools,
        "tool_choice": _ResponsesReading.tool_choice,
        "text": _ResponsesReading.text,
        "reasoning": _ResponsesReading.reasoning,
        "include": _ResponsesReading.include,
        "metadata": _ResponsesReading.labels,
        "user": _ResponsesReading.label,
        "safety_identifier": _ResponsesReading.label,
        "prompt_cache_key": _ResponsesReading.label,
        "prompt_cache_retention": _ResponsesReading.retention,
        "parallel_tool_calls": _ResponsesReading.flag,
        "background": _ResponsesReading.background,
        "service_tier": _ResponsesReading.tier,
        "truncation": _ResponsesReading.truncation,
    }
)
_NAMED: Final = frozenset(_READERS) | _FOREIGN | _THINKING.keys() | names.NAMED | items.NAMED | {"format"}
