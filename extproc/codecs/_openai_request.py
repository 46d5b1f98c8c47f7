"""What requests of OpenAI's wires have in common, and the result of reading one.

Every string is either of a closed vocabulary, or a segment, or refused. A member of the request that a wire
does not know is a parameter that the schema guard judges by name, and its strings are segments all the
same. What is no text (media, token ids) is checked for its form and reported as unscanned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from extproc.codecs import _openai_fields as names
from extproc.codecs._openai_fields import Fields, is_off
from extproc.codecs._openai_segments import Collector, Piece, Speaker, key_of, words_of
from extproc.domain.errors import PeerError
from extproc.domain.judging import AnswerFormat, ToolSpec
from extproc.domain.segment import Origin, Params, Role, Segment, Unscanned
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Array, Number, Object, Text, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

CALLER: Final = Speaker(Role.USER, Origin.DIRECT)
_FORMATS: Final = frozenset({"text", "json_object", "json_schema"})
_JSON_ASKED: Final = frozenset({"guided_json", "structured_outputs"})
_TOKEN_ID_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIRequest:
    """A request as it was read.

    ``places`` say of each segment where it stands. ``tools`` are the names of the functions that the
    caller declared, ``offered`` these with their parameters. ``json_answer`` says that the answer's text
    will itself be JSON, ``answer_format`` by which schema.
    """

    body: bytes
    root: Object
    segments: tuple[Segment, ...]
    places: tuple[tuple[Piece, ...], ...]
    params: Params
    unscanned: frozenset[Unscanned]
    usage_asked: bool
    tools: frozenset[str]
    json_answer: bool
    offered: tuple[ToolSpec, ...] = ()
    answer_format: AnswerFormat | None = None


class Reading(ABC):
    """The state of reading one request; a subclass knows the members of its wire.

    ``required`` are members that must be there. ``foreign`` are those of another wire, which some servers
    read all the same: they are refused, since nothing here reads them as those servers would.
    """

    required: ClassVar[tuple[str, ...]]
    foreign: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, body: bytes, *, named: Collection[str], limits: Limits) -> None:
        root = parse(body, limits=limits)
        if not isinstance(root, Object):
            raise PeerError(Reason.BODY_INVALID, "the body must be a JSON object")
        self.body = body
        self.root = root
        self.limits = limits
        self.fields = Fields(body, named)
        self.found = Collector()
        self.unscanned: set[Unscanned] = set()
        self.tool_names: set[str] = set()
        self.offered: list[ToolSpec] = []
        self.json_answer = False
        self.answer_schema: str | None = None
        # By how much the answer's cost multiplies beside the sampling parameters that say so.
        self.prompts_count = 1
        self._model = ""
        self._stream = False
        self._usage_asked = False
        self._max_tokens: dict[str, int] = {}
        self._sampling: dict[str, str | int | float | bool] = {}

    @abstractmethod
    def reader_of(self, name: str) -> Callable[[Member], None] | None:
        """What reads a member of this wire; None for any other."""

    def output_tokens_default(self) -> int | None:
        """The limit that servers set where the request has none; None where they set none."""
        return None

    def result(self) -> OpenAIRequest:
        """What was read.

        Raises:
            PeerError: it is not of this schema, is ambiguous, or holds what cannot be inspected.
        """
        for name in self.required:
            if name not in self.root.members:
                raise PeerError(Reason.BODY_INVALID, f"{name} is missing")
        for member in self.root.members.values():
            self._member(member)
        choices_count = self.prompts_count
        for name in names.MULTIPLIERS & self._sampling.keys():
            choices_count *= int(self._sampling[name])
        limit = self._max_tokens.get(names.MAX_COMPLETION_TOKENS, self._max_tokens.get(names.MAX_TOKENS))
        params = Params(
            model=self._model,
            stream=self._stream,
            max_output_tokens=self.output_tokens_default() if limit is None else limit,
            choices_count=choices_count,
            sampling=MappingProxyType(self._sampling),
        )
        return OpenAIRequest(
            body=self.body,
            root=self.root,
            segments=tuple(self.found.segments),
            places=tuple(self.found.places),
            params=params,
            unscanned=frozenset(self.unscanned),
            usage_asked=self._usage_asked,
            tools=frozenset(self.tool_names),
            json_answer=self.json_answer,
            offered=tuple(self.offered),
            answer_format=AnswerFormat(self.answer_schema) if self.json_answer else None,
        )

    def _member(self, member: Member) -> None:
        read = self.reader_of(member.name)
        if read is not None:
            if member.name in self.required or not self.fields.absent(member.value):
                read(member)
        elif self.fields.says_nothing(member):
            if member.name not in names.NAMED | names.SAMPLING | self.foreign:
                self.found.words([key_of(member.name, member.start)], "parameters.*", CALLER)
        else:
            if member.name in self.foreign:
                raise self.fields.fault(
                    member, "is not allowed on this path", reason=Reason.PARAMETER_NOT_ALLOWED
                )
            self._parameter(member)

    # --- members of several wires ----------------------------------------------------------------

    def model(self, member: Member) -> None:
        """The model's name, which the schema guard judges."""
        self._model = self.fields.model(member)

    def stream(self, member: Member) -> None:
        """Whether the answer comes as events."""
        self._stream = self.fields.flag(member)

    def stream_options(self, member: Member) -> None:
        """Whether the client wants token counts."""
        self._usage_asked = self.fields.usage_asked(member)

    def limit(self, member: Member) -> None:
        """The answer's length at most."""
        self._max_tokens[member.name] = self.fields.count(member)

    def label(self, member: Member) -> None:
        """Who asks, in the caller's own words."""
        self.found.words([self.fields.text(member)], "user", CALLER)

    def labels(self, member: Member) -> None:
        """Labels of the caller's own."""
        self.found.words(words_of(self.body, self.fields.object(member)), "metadata", CALLER)

    def stop(self, member: Member) -> None:
        """Where the answer ends; a parameter that policies may bound, and text."""
        self.named_parameter(member, "stop")

    def flag(self, member: Member) -> None:
        """A switch without any text."""
        self.fields.flag(member)

    def response_format(self, member: Member) -> None:
        """The answer's format; of a JSON schema every string may reach the model."""
        kind = self.fields.object(member).members.get("type")
        if kind is None:
            raise self.fields.fault(member, "has no type")
        name = kind.value.value if isinstance(kind.value, Text) else None
        if name not in _FORMATS:
            raise self.fields.fault(member, f"must be of type {', '.join(sorted(_FORMATS))}")
        self.json_answer |= name != "text"
        if name == "json_schema":
            self._take_schema(self.fields.object(member))
        words = [word for word in words_of(self.body, member.value) if word is not kind.value]
        self.found.words(words, "response_format", CALLER)

    def _take_schema(self, form: Object) -> None:
        """The schema of a format: within ``json_schema`` in chats, beside the type in responses."""
        holder = form.members.get("json_schema")
        inner = form if holder is None or not isinstance(holder.value, Object) else holder.value
        schema = inner.members.get("schema")
        if schema is not None and isinstance(schema.value, Object):
            self.answer_schema = self.source_of(schema.value)

    def offer(self, tool: Object) -> None:
        """Note a function that the model may call."""
        name, parameters = tool.members.get("name"), tool.members.get("parameters")
        if name is None or not isinstance(name.value, Text):
            return
        self.tool_names.add(name.value.value)
        has_schema = parameters is not None and isinstance(parameters.value, Object)
        schema = self.source_of(parameters.value) if has_schema and parameters is not None else None
        kind = tool.members.get("type")
        takes_text = kind is not None and isinstance(kind.value, Text) and kind.value.value == "custom"
        self.offered.append(ToolSpec(name.value.value, schema, takes_text))

    def source_of(self, value: Value) -> str:
        """A value as it stands in the body."""
        return self.body[value.start : value.end].decode()

    def texts(self, member: Member) -> None:
        """A prompt in any of its four shapes: a text, texts, token ids, arrays of token ids."""
        value = member.value
        if isinstance(value, Text):
            self.found.prose(value, member.name, CALLER)
            return
        items = value.items if isinstance(value, Array) else ()
        self._check_count(member, items)
        match items[0] if items else None:
            case Text():
                for item in items:
                    if not isinstance(item, Text):
                        raise self._shape_fault(member)
                    self.found.prose(item, member.name, CALLER)
            case Number():
                self._token_ids(member, items)
                return
            case Array():
                for item in items:
                    if not isinstance(item, Array) or not item.items:
                        raise self._shape_fault(member)
                    self._token_ids(member, item.items)
            case _:
                raise self._shape_fault(member)
        self.prompts_count = len(items)

    def _check_count(self, member: Member, items: tuple[Value, ...]) -> None:
        prompts_max = self.limits.prompts_max
        if len(items) > prompts_max and not isinstance(items[0], Number):
            raise self.fields.fault(
                member, f"has more than {prompts_max} items", reason=Reason.BODY_TOO_COMPLEX
            )

    def _token_ids(self, member: Member, items: tuple[Value, ...]) -> None:
        """Numbers of a vocabulary that only the model has."""
        for item in items:
            number = item.value if isinstance(item, Number) else None
            if not isinstance(number, int) or not 0 <= number <= _TOKEN_ID_MAX:
                raise self._shape_fault(member)
        self.unscanned.add(Unscanned.TOKEN_IDS)

    def _shape_fault(self, member: Member) -> PeerError:
        return self.fields.fault(member, "must be a string, token ids, or an array of one kind of these")

    # --- parameters ------------------------------------------------------------------------------

    def _parameter(self, member: Member) -> None:
        """A parameter that the schema guard judges by name, and whose strings are scanned."""
        if member.name in names.OFF_BY_DEFAULT and is_off(member.value):
            return
        self.json_answer |= member.name in _JSON_ASKED
        if member.name == "guided_json" and isinstance(member.value, Object):
            self.answer_schema = self.source_of(member.value)
        self.named_parameter(member, "parameters.*")

    def named_parameter(self, member: Member, place: str) -> None:
        """The same for a parameter that is known; ``place`` is where its strings stand."""
        if member.name in names.MULTIPLIERS:
            self.fields.count(member)
        value = self.fields.plain(member)
        if value is not None:
            self._sampling[member.name] = value
        self.found.words(words_of(self.body, member.value), place, CALLER)
