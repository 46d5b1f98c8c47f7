"""Walks one document of an answer of OpenAI's responses: every string of it, whole.

Each is either of a closed vocabulary (types, roles, states, the model's own name, ids as servers make
them), or a text to be scanned, or one that was before in this answer: the response object says the request
and all of the answer again. Every key that is not the schema's own is such a text too, and so is a number
of more digits than a quantity has. Log probabilities and encrypted reasoning say the answer where nobody
can read it: they are taken out wherever a guard may change the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.codecs._responses_frame import Count, Parts, Repeat, Site, Told
from extproc.wire.json_leaves import key_text, number_text
from extproc.wire.splice import Splice
from extproc.wire.strict_json import Array, Constant, Number, Object, Text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

NUMBER: Final = "sequence_number"
_COUNT_MAX: Final = 2**31 - 1
_EVENTS: Final = frozenset(
    {
        *("response.created", "response.queued", "response.in_progress", "response.completed"),
        *("response.incomplete", "response.failed", "response.output_item.added"),
        *("response.output_item.done", "response.content_part.added", "response.content_part.done"),
        *("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
        *("response.reasoning_part.added", "response.reasoning_part.done"),
        *("response.output_text.annotation.added", "response.output_text.delta"),
        *("response.output_text.done", "response.refusal.delta", "response.refusal.done"),
        *("response.reasoning_text.delta", "response.reasoning_text.done"),
        *("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done"),
        *("response.function_call_arguments.delta", "response.function_call_arguments.done"),
        *("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"),
    }
)
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "type": _EVENTS
    | {
        *("message", "reasoning", "function_call", "custom_tool_call", "output_text", "refusal"),
        *("reasoning_text", "summary_text", "function", "custom", "text", "json_object", "json_schema"),
        *("object", "string", "number", "integer", "boolean", "array", "null", "direct", "grammar"),
        *("url_citation", "file_citation", "file_path", "container_file_citation"),
    },
    "object": frozenset({"response"}),
    "role": frozenset({"assistant", "system", "developer", "user"}),
    "status": frozenset({"queued", "in_progress", "completed", "incomplete", "failed", "cancelled"}),
    "phase": frozenset({"commentary", "final_answer"}),
    "reason": frozenset({"max_output_tokens", "content_filter", "max_messages"}),
    "truncation": frozenset({"auto", "disabled"}),
    "service_tier": frozenset({"auto", "default", "flex", "priority", "scale"}),
    "tool_choice": frozenset({"none", "auto", "required"}),
    "mode": frozenset({"none", "auto", "required"}),
    "effort": frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"}),
    "summary": frozenset({"auto", "concise", "detailed"}),
    "verbosity": frozenset({"low", "medium", "high"}),
    "prompt_cache_retention": frozenset({"in_memory", "in-memory", "24h"}),
}
# Made of letters and digits by servers, never by a model.
_ID: Final = re.compile(
    r"(?:[a-z]{2,9}_)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"
    r"|(?:resp|msg|rs|fc|ctc|call)_(?![A-Za-z0-9]*[0-9]{10})[A-Za-z0-9]{16,64}"
)
_IDS: Final = frozenset({"id", "item_id"})
# Seconds of the epoch: as a float they have more digits than a quantity.
_TIME: Final = re.compile(rb"1[0-9]{9}(?:\.[0-9]{1,6})?")
_TIMES: Final = frozenset({"created_at", "completed_at"})
# What answers are made of. Any other key is text too.
_KNOWN_KEYS: Final = frozenset(
    {
        *("type", NUMBER, "response", "item", "part", "item_id", "output_index", "content_index"),
        *("summary_index", "annotation_index", "annotation", "delta", "text", "refusal", "arguments"),
        *("input", "logprobs", "obfuscation", "id", "object", "created_at", "completed_at", "status"),
        *("background", "error", "incomplete_details", "instructions", "max_output_tokens"),
        *("max_tool_calls", "metadata", "model", "output", "parallel_tool_calls", "temperature"),
        *("tool_choice", "tools", "top_p", "previous_response_id", "prompt", "prompt_cache_key"),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store"),
        *("top_logprobs", "truncation", "usage", "user", "conversation", "content", "summary", "role"),
        *("phase", "annotations", "encrypted_content", "call_id", "name", "namespace", "caller"),
        *("effort", "generate_summary", "format", "verbosity", "schema", "strict", "description"),
        *("parameters", "code", "message", "param", "reason", "mode", "input_tokens", "output_tokens"),
        *("total_tokens", "input_tokens_details", "output_tokens_details", "cached_tokens"),
        *("reasoning_tokens", "tool_output_tokens", "input_tokens_per_turn", "output_tokens_per_turn"),
        *("cached_tokens_per_turn", "tool_output_tokens_per_turn", "url", "title", "start_index"),
        *("end_index", "file_id", "filename", "container_id", "index", "properties", "required", "items"),
        *("enum", "default", "additionalProperties", "anyOf", "$ref", "$defs", "const", "syntax"),
        *("definition", "presence_penalty", "frequency_penalty", "top_k", "input_messages"),
        *("output_messages", "kv_transfer_params"),
    }
)
# The answer's text again, where no scanner could follow.
_HIDDEN: Final = frozenset({"logprobs", "encrypted_content", "kv_transfer_params"})
# The text of a part that is JSON where the caller asked for that.
_JSON_PARTS: Final = frozenset({"output_text", "response.output_text.done"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an answer beforehand: the model and the tools that the caller named.

    ``json_answer`` says that the text is JSON itself; ``watched`` that a guard may change the answer;
    ``replacements`` are the policy's texts that then stand in values' places.
    """

    model: str
    tools: frozenset[str]
    json_answer: bool
    watched: bool
    replacements: frozenset[str] = frozenset()


class Memory:
    """The whole texts of one answer so far, and where each stood first.

    Guards read some kinds of places and not others: what stood in another kind is new there. ``field`` is
    that of a kind's channel; empty for a place of none, where a text is known from any kind but a call's.
    """

    def __init__(self, limits: Limits) -> None:
        self._told: dict[tuple[str, bool, str], Told | Site] = {}
        self._room_chars = limits.frame_bytes_max

    def of(self, text: str, *, inner: bool, field: str = "") -> Told | Site | None:
        """Where a text stood first; None where it is new."""
        return self._told.get((text, inner, field))

    def note(self, text: str, source: Told | Site, *, inner: bool, field: str = "") -> None:
        """Keep a text. More than one event may hold is not kept, and scanned again."""
        self._room_chars -= len(text)
        if self._room_chars >= 0:
            self._told[text, inner, field] = source
            if field not in ARGUED:
                self._told.setdefault((text, inner, ""), source)


class Walk:
    """One document."""

    def __init__(self, document: bytes, parts: Parts, facts: Facts, memory: Memory, limits: Limits) -> None:
        self.document = document
        self.parts = parts
        self._facts = facts
        self._memory = memory
        self._limits = limits

    # --- what a document must have ---------------------------------------------------------------

    def kind_of(self, value: Object) -> str:
        """The ``type`` of an object; empty where it has none."""
        member = value.members.get("type")
        return member.value.value if member is not None and isinstance(member.value, Text) else ""

    def object_in(self, value: Object, name: str) -> Object:
        """A member that must be an object."""
        member = value.members.get(name)
        if member is None or not isinstance(member.value, Object):
            raise http.unreadable(f"an event has no {name}")
        return member.value

    def index_in(self, value: Object, name: str) -> int:
        """Which item or part an event is about."""
        member = value.members.get(name)
        number = member.value.value if member is not None and isinstance(member.value, Number) else None
        if not isinstance(number, int) or not 0 <= number < self._limits.json_nodes_max:
            raise http.unreadable("an index is out of bounds")
        return number

    def count_in(self, event: Object) -> int | None:
        """The event's number."""
        member = event.members.get(NUMBER)
        if member is None or is_null(member.value):
            return None
        number = member.value.value if isinstance(member.value, Number) else None
        if not isinstance(number, int) or not 0 <= number <= _COUNT_MAX:
            raise http.unreadable("an event's number is out of bounds")
        self.parts.count = Count(number, member.value.start, member.value.end)
        return number

    # --- every string ----------------------------------------------------------------------------

    def members(self, value: Object, *, but: Collection[str] = ()) -> None:
        """Every member of an object, except some."""
        kind = self.kind_of(value)
        for member in value.members.values():
            if member.name not in but:
                self._key(member)
                self.leaves(member.value, member.name, kind)

    def leaves(self, value: Value, name: str = "", kind: str = "") -> None:
        """Every string below a value, in wire order; ``kind`` is the type of the object that has it."""
        pending: list[tuple[Member | None, str, str, Value]] = [(None, name, kind, value)]
        while pending:
            member, name, kind, value = pending.pop()
            if member is not None:
                self._key(member)
            if name in _HIDDEN:
                self._hide(value)
                continue
            match value:
                case Text():
                    self._text(name, kind, value)
                case Array(items=items):
                    pending += [(None, name, kind, item) for item in reversed(items)]
                case Object(members=members):
                    inside = self.kind_of(value)
                    below = reversed([*members.values()])
                    pending += [(one, one.name, inside, one.value) for one in below]
                case Number():
                    self._number(name, value)
                case _:
                    pass

    def whole(self, text: Text, name: str = "", *, inner: bool = False) -> None:
        """A text that is whole where it stands, or a repeat of one."""
        if not text.value:
            return
        # In a stream all texts but those of calls are read in channels of their own, or all alike.
        field = name if self.parts.named or name in ARGUED else ""
        known = self._memory.of(text.value, inner=inner, field=field)
        if known is not None:
            self.parts.repeats.append(Repeat(text, known))
            return
        told = Told()
        self._memory.note(text.value, told, inner=inner, field=field)
        self.parts.whole(text, told, name=name, inner=inner)

    def told(self, text: Text, name: str) -> Told | Site | None:
        """A name that was or is being told, or that of a technical id; for events of this service's own."""
        if self.is_technical(name, text.value):
            return Told(text.value)
        return self._memory.of(text.value, inner=False)

    def _text(self, name: str, kind: str, text: Text) -> None:
        if self.is_technical(name, text.value):
            return
        inner = name == "arguments" or (name == "text" and kind in _JSON_PARTS and self._facts.json_answer)
        self.whole(text, _FIELDS.get(name, "") if name != "text" else _PARTS.get(kind, ""), inner=inner)

    def _number(self, name: str, number: Number) -> None:
        if name in _TIMES and _TIME.fullmatch(self.document, number.start, number.end) is not None:
            return
        written = number_text(self.document, number, limits=self._limits)
        if written is not None:
            # A number among strings: never one that was told as a string, which has quotes.
            self.parts.whole(written, None)

    def _key(self, member: Member) -> None:
        if member.name and member.name not in _KNOWN_KEYS:
            self.whole(key_text(self.document, member))

    def _hide(self, value: Value) -> None:
        if not self._facts.watched or is_null(value):
            return
        if isinstance(value, Array):
            if value.items:
                self.parts.edits.append(Splice(value.start, value.end, b"[]"))
        else:
            self.parts.edits.append(Splice(value.start, value.end, b"null"))

    def is_technical(self, name: str, text: str) -> bool:
        """Whether a member holds what only a server says, and needs no scanning."""
        if name == "model":
            return text == self._facts.model
        if name in _IDS:
            return _ID.fullmatch(text) is not None
        if name == "name":
            return text in self._facts.tools
        return text in _WORDS.get(name, ())


# The fields of what a call says.
ARGUED: Final = frozenset({"arguments", "input"})
# What the channel of a whole text is named by: its member, and of a part its type.
_FIELDS: Final = {name: name for name in ("arguments", "input", "instructions", "refusal")}
_PARTS: Final = {"output_text": "text", "reasoning_text": "reasoning", "summary_text": "reasoning_summary"}


def is_null(value: Value) -> bool:
    """Whether a value says nothing."""
    return isinstance(value, Constant) and value.value is None
