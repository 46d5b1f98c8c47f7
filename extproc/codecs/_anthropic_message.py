"""Walks a message of an Anthropic answer: its envelope, its content blocks, the events that build them.

Every string and every unknown key is either of a closed vocabulary (types, roles, reasons to stop, the
model's own name), or a text of its block, or a text by itself. What could hide a text in pieces is refused:
unknown events, unknown blocks, unknown deltas, and members that a delta does not have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.codecs._anthropic_counts import INPUTS, OUTPUT, Counts
from extproc.codecs._anthropic_frame import Parts, Site
from extproc.domain.judging import ToolCall
from extproc.wire.json_leaves import key_text, number_text
from extproc.wire.strict_json import Array, Constant, Number, Object, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.limits import Limits
    from extproc.domain.segment import Usage
    from extproc.wire.strict_json import Member, Value

_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "type": frozenset(
        {
            *("message", "message_start", "message_delta", "message_stop", "ping", "direct"),
            *("content_block_start", "content_block_delta", "content_block_stop"),
            *("text", "thinking", "tool_use", "text_delta", "thinking_delta", "input_json_delta"),
            *("signature_delta", "citations_delta", "char_location", "page_location"),
            *("content_block_location", "search_result_location"),
        }
    ),
    "role": frozenset({"assistant"}),
    "stop_reason": frozenset(
        {
            *("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"),
            "model_context_window_exceeded",
        }
    ),
    "service_tier": frozenset({"standard", "priority", "batch"}),
}
# Made of letters and digits by servers, never by a model.
_ID: Final = re.compile(
    r"(?:chatcmpl-|cmpl-|msg_)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"
    r"|msg_(?![A-Za-z0-9]*[0-9]{10})[A-Za-z0-9]{16,40}"
)
# What answers are made of. Any other key is text too.
_KNOWN_KEYS: Final = frozenset(
    {
        *("type", "id", "role", "model", "content", "stop_reason", "stop_sequence", "usage", "message"),
        *("container", "stop_details", "index", "content_block", "delta", "text", "thinking", "signature"),
        *("name", "input", "citations", "citation", "caller", "partial_json", "kv_transfer_params"),
        *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
        *("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "service_tier"),
        *("server_tool_use", "web_search_requests", "output_tokens_details", "thinking_tokens"),
        *("cited_text", "document_index", "document_title", "file_id", "start_char_index"),
        *("end_char_index", "start_page_number", "end_page_number", "start_block_index"),
        *("end_block_index", "search_result_index", "source", "title", "diagnostics", "inference_geo"),
    }
)
_INDEX_MAX: Final = 1 << 16
# What a delta brings: the kind of block, the member with its text, and the field of its channel.
_DELTAS: Final[Mapping[str, tuple[str, str, str]]] = {
    "text_delta": ("text", "text", "text"),
    "thinking_delta": ("thinking", "thinking", "thinking"),
    "input_json_delta": ("tool_use", "partial_json", "input"),
}
_WHOLE_DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "signature_delta": ("thinking", "signature"),
    "citations_delta": ("text", "citation"),
}
_DELTA_OF: Final = {kind: delta for delta, (kind, _, _) in _DELTAS.items()}


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


@dataclass(slots=True)
class _Block:
    """A block that goes on. ``call`` is what was told of it."""

    kind: str
    site: Site
    call: ToolCall | None = None


class MessageReader:
    """Finds the texts of one answer's documents."""

    def __init__(self, facts: Facts, limits: Limits) -> None:
        self._facts = facts
        self._limits = limits
        self._blocks: dict[int, _Block] = {}
        self._sites: dict[tuple[int, str], Site] = {}
        self._next_index = 0
        self._started = False
        self._texted = False
        self._counts = Counts()
        self.over = False

    # --- events ----------------------------------------------------------------------------------

    def read_event(self, kind: str, document: bytes, root: Object, parts: Parts) -> Usage | None:
        """Every text of an event; the token counts that its message ends with.

        Raises:
            PeerError: the event is unknown, or none that can come now.
        """
        if self.over or (kind != "ping" and self._started == (kind == "message_start")):
            raise http.unreadable("its events are out of order")
        walk = _Walk(document, parts, self._facts, self._limits)
        match kind:
            case "ping":
                walk.members(root)
            case "message_start":
                self._started = True
                self._start_message(walk, root)
            case "content_block_start":
                self._start_block(walk, root)
            case "content_block_delta":
                self._delta(walk, root)
            case "content_block_stop":
                self._stop_block(walk, root)
            case "message_delta":
                walk.members(root)
                if self._count(root):
                    return self._counts.rest()
            case "message_stop":
                self._stop_message(walk, root)
            case _:
                raise http.unreadable("it has an unknown event")
        return None

    def site_of(self, index: int, name: str) -> Site:
        """The site of a channel that was told of."""
        return self._sites[index, name]

    def forget_ended(self) -> None:
        """Forget the sites of blocks that have ended."""
        if len(self._sites) > len(self._blocks):
            self._sites = {at: one for at, one in self._sites.items() if at[0] in self._blocks}

    def open_sites(self) -> list[Site]:
        """Sites whose block has not ended."""
        return [block.site for block in self._blocks.values() if block.site.open]

    def _start_message(self, walk: _Walk, root: Object) -> None:
        message = walk.object_in(root, "message")
        content = message.members.get("content")
        if content is not None and (not isinstance(content.value, Array) or content.value.items):
            raise http.unreadable("its message begins with content")
        walk.members(root, but="message")
        walk.members(message)
        # They are told on with the last ones: a stream that is cut has not counted its answer.
        self._count(message)

    def _start_block(self, walk: _Walk, root: Object) -> None:
        block = walk.object_in(root, "content_block")
        index = walk.index_in(root)
        if index < self._next_index:
            raise http.unreadable("a content block begins twice")
        self._next_index = index + 1
        site = self._site(walk, index, block)
        if len(self._blocks) >= self._limits.channels_max:
            raise http.unreadable(f"it has more than {self._limits.channels_max} content blocks at once")
        begun = self._blocks[index] = _Block(walk.kind_of(block), site)
        self._sites[index, site.channel.field] = site
        walk.members(root, but="content_block")
        walk.block(block, site, whole=False)
        begun.call = walk.parts.calls[-1] if walk.parts.calls else None

    def _site(self, walk: _Walk, index: int, block: Object) -> Site:
        kind = walk.kind_of(block)
        delta = _DELTA_OF.get(kind)
        if delta is None:
            raise http.unreadable("it has an unknown content block")
        _, member, name = _DELTAS[delta]
        escaped = kind == "tool_use" or (kind == "text" and self._facts.json_answer)
        replacements = self._facts.replacements if escaped else None
        return Site.of(index, delta, member, name, replacements=replacements)

    def _delta(self, walk: _Walk, root: Object) -> None:
        delta = walk.object_in(root, "delta")
        block = self._blocks.get(walk.index_in(root))
        kind = walk.kind_of(delta)
        of_kind, member = _DELTAS[kind][:2] if kind in _DELTAS else _WHOLE_DELTAS.get(kind, ("", ""))
        if block is None or block.kind != of_kind or member not in delta.members:
            raise http.unreadable("a delta is not one of its content block")
        if any(name not in {"type", member} and not _is_null(one) for name, one in delta.members.items()):
            raise http.unreadable("a delta has members that none has")
        walk.members(root, but="delta")
        value = delta.members[member].value
        if kind in _WHOLE_DELTAS:
            walk.leaves(value)
        elif isinstance(value, Text):
            walk.parts.piece(block.site, value)
        else:
            raise http.unreadable("a delta's text is no string")

    def _stop_block(self, walk: _Walk, root: Object) -> None:
        block = self._blocks.pop(walk.index_in(root), None)
        if block is None:
            raise http.unreadable("a content block ends that has not begun")
        walk.members(root)
        self._end_block(walk.parts, block)
        if block.site.open:
            block.site.open = False
            walk.parts.ended.append(block.site)

    def _end_block(self, parts: Parts, block: _Block) -> None:
        """Note a text; a call that said no arguments has none."""
        self._texted |= block.kind == "text" and block.site.open
        if block.call is not None and block.call.arguments is None and not block.site.open:
            parts.calls.append(block.call._replace(arguments=""))

    def _stop_message(self, walk: _Walk, root: Object) -> None:
        self.over = True
        walk.members(root)
        self.end_blocks(walk.parts)
        if not self._texted:
            walk.parts.nothing()

    def end_blocks(self, parts: Parts) -> None:
        """No more follows, of blocks either that have not ended."""
        for block in self._blocks.values():
            self._end_block(parts, block)

    # --- a whole message -------------------------------------------------------------------------

    def read_whole(self, document: bytes, root: Object, parts: Parts) -> Usage | None:
        """Every text of a message that came at once, and its token counts.

        Raises:
            PeerError: it is no message, or has a content block of an unknown kind.
        """
        walk = _Walk(document, parts, self._facts, self._limits)
        content = root.members.get("content")
        if walk.kind_of(root) != "message" or content is None or not isinstance(content.value, Array):
            raise http.unreadable("it is no message")
        walk.members(root, but="content")
        for index, item in enumerate(content.value.items):
            if not isinstance(item, Object):
                raise http.unreadable("a content block is no object")
            walk.block(item, self._site(walk, index, item), whole=True)
        if not any(place.site is not None and place.site.delta == "text_delta" for place in parts.places):
            parts.nothing()
        return self._counts.rest() if self._count(root) else None

    def _count(self, told: Object) -> bool:
        """Take the token counts of a message, or of its last delta."""
        member = told.members.get("usage")
        if member is None or _is_null(member):
            return False
        if not isinstance(member.value, Object):
            raise http.unreadable("its token counts are no object")
        for name in (*INPUTS, OUTPUT):
            counted = member.value.members.get(name)
            if counted is not None and not _is_null(counted):
                self._counts.note(name, _count_of(counted.value, self._limits.answer_tokens_max))
        return True


class _Walk:
    """One document."""

    def __init__(self, document: bytes, parts: Parts, facts: Facts, limits: Limits) -> None:
        self._document = document
        self.parts = parts
        self._facts = facts
        self._limits = limits

    def kind_of(self, value: Object) -> str:
        """The ``type`` of an object."""
        member = value.members.get("type")
        if member is None or not isinstance(member.value, Text):
            raise http.unreadable("a type is missing")
        return member.value.value

    def object_in(self, value: Object, name: str) -> Object:
        """A member that must be an object."""
        member = value.members.get(name)
        if member is None or not isinstance(member.value, Object):
            raise http.unreadable(f"an event has no {name}")
        return member.value

    def index_in(self, value: Object) -> int:
        """Which content block an event is about."""
        member = value.members.get("index")
        number = member.value.value if member is not None and isinstance(member.value, Number) else None
        if not isinstance(number, int) or not 0 <= number < _INDEX_MAX:
            raise http.unreadable("an index is out of bounds")
        return number

    def block(self, block: Object, site: Site, *, whole: bool) -> None:
        """A content block; its own text may go on unless it is ``whole``."""
        own = "" if site.delta == "input_json_delta" else site.member
        if not own:
            self._call(block, site, whole=whole)
        for name, member in block.members.items():
            value = member.value
            if name == own and isinstance(value, Text):
                if value.value:
                    self.parts.piece(site, value, whole=whole)
            elif name == "input":
                # Its keys are the model's own words.
                self.leaves(value, known=False)
            elif name == "name" and isinstance(value, Text) and value.value in self._facts.tools:
                continue
            elif name == "id" and isinstance(value, Text):
                # Of a call it may be the model's own.
                if value.value:
                    self.parts.whole(value)
            else:
                self._member(member)

    def _call(self, block: Object, site: Site, *, whole: bool) -> None:
        """Tell of a call that begins; of arguments that are there already, too, or never come."""
        name, said = block.members.get("name"), block.members.get("input")
        called = name.value.value if name is not None and isinstance(name.value, Text) else ""
        written = "" if whole else None
        if said is not None and not (isinstance(said.value, Object) and not said.value.members):
            written = self._document[said.value.start : said.value.end].decode()
        self.parts.calls.append(ToolCall(called, site.channel, written))

    def members(self, value: Object, *, but: str = "") -> None:
        """Every member of an object, except one."""
        for member in value.members.values():
            if member.name != but:
                self._member(member)

    def _member(self, member: Member) -> None:
        self._key(member)
        self.leaves(member.value, member.name)

    def leaves(self, value: Value, name: str = "", *, known: bool = True) -> None:
        """Every string below a value, and its keys but those that are ``known``."""
        pending: list[tuple[str, Value]] = [(name, value)]
        while pending:
            name, value = pending.pop()
            match value:
                case Text(value=text):
                    if text and not (known and self._is_technical(name, text)):
                        self.parts.whole(value)
                case Array(items=items):
                    pending += [("", item) for item in reversed(items)]
                case Object(members=members):
                    for member in members.values():
                        self._key(member, known=known)
                    pending += [(member.name, member.value) for member in reversed([*members.values()])]
                case Number():
                    written = number_text(self._document, value, limits=self._limits)
                    if written is not None:
                        self.parts.whole(written)
                case _:
                    pass

    def _key(self, member: Member, *, known: bool = True) -> None:
        if member.name and not (known and member.name in _KNOWN_KEYS):
            self.parts.whole(key_text(self._document, member))

    def _is_technical(self, name: str, text: str) -> bool:
        """Whether a member holds what only a server says, and needs no scanning."""
        if name == "model":
            return text == self._facts.model
        if name == "id":
            return _ID.fullmatch(text) is not None
        return text in _WORDS.get(name, ())


def _is_null(member: Member) -> bool:
    return isinstance(member.value, Constant) and member.value.value is None


def _count_of(value: Value, tokens_max: int) -> int:
    number = value.value if isinstance(value, Number) else None
    if not isinstance(number, int) or not 0 <= number <= tokens_max:
        raise http.unreadable("a token count is no whole number, or too large")
    return number
