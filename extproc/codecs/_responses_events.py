"""The events of an answer of OpenAI's responses: which texts they begin, go on with and end.

What could hide a text in pieces is refused: unknown events, deltas of an item by two ids or after the end,
members that a delta does not have. Unknown members of all else, and output items of unknown types, are
scanned string by string.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.codecs._responses_calls import Calls
from extproc.codecs._responses_frame import Ending, Kind, Parts, Site
from extproc.codecs._responses_walk import ARGUED, NUMBER, Facts, Memory, Walk, is_null
from extproc.domain.segment import Channel, Usage
from extproc.wire.splice import Splice, encode_string
from extproc.wire.strict_json import Array, Number, Object, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

# Where a text is: its item's number, its kind's name, its own number within the item.
_At = tuple[int, str, int]

_TEXT: Final = Kind("output_text", "text", "content_index", "text")
_REFUSAL: Final = Kind("refusal", "refusal", "content_index", "refusal")
_REASONING: Final = Kind("reasoning_text", "text", "content_index", "reasoning")
_SUMMARY: Final = Kind("reasoning_summary_text", "text", "summary_index", "reasoning_summary")
_ARGUMENTS: Final = Kind("function_call_arguments", "arguments", "", "arguments", escaped=True)
_INPUT: Final = Kind("custom_tool_call_input", "input", "", "input")
_KINDS: Final = (_TEXT, _REFUSAL, _REASONING, _SUMMARY, _ARGUMENTS, _INPUT)
_DELTAS: Final[Mapping[str, Kind]] = MappingProxyType({f"response.{one.name}.delta": one for one in _KINDS})
_DONES: Final[Mapping[str, Kind]] = MappingProxyType({f"response.{one.name}.done": one for one in _KINDS})
_PARTS: Final[Mapping[str, Kind]] = MappingProxyType(
    {"output_text": _TEXT, "refusal": _REFUSAL, "reasoning_text": _REASONING, "summary_text": _SUMMARY}
)
"""Parts of items, by their types; those of items themselves:"""
_ITEMS: Final[Mapping[str, Kind]] = MappingProxyType(
    {"function_call": _ARGUMENTS, "custom_tool_call": _INPUT}
)

_CREATED: Final = "response.created"
_PHASES: Final = frozenset({_CREATED, "response.queued", "response.in_progress"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_FAILED: Final = "failed"
_ITEM_ADDED: Final = "response.output_item.added"
_ITEM_DONE: Final = "response.output_item.done"
_PART_ADDED: Final = frozenset(
    {
        *("response.content_part.added", "response.reasoning_summary_part.added"),
        "response.reasoning_part.added",
    }
)
_PART_DONE: Final = frozenset(
    {
        *("response.content_part.done", "response.reasoning_summary_part.done"),
        "response.reasoning_part.done",
    }
)
_ANNOTATION: Final = "response.output_text.annotation.added"
# Of a delta: everything else in it would be a text that goes on.
_DELTA_MEMBERS: Final = frozenset(
    {
        *("type", NUMBER, "item_id", "output_index", "content_index", "summary_index", "delta"),
        *("logprobs", "obfuscation"),
    }
)
# Why a response failed, by other causes than the server's own.
_CAUSES: Final = frozenset({"invalid_prompt", "rate_limit_exceeded"})


class Events:
    """Finds the texts of one answer's documents, and what ends with them."""

    def __init__(self, facts: Facts, limits: Limits) -> None:
        self._facts = facts
        self._limits = limits
        self._memory = Memory(limits)
        self._calls = Calls(limits)
        # Those that are over too; of these the ones that go on; and all by their channels.
        self._sites: dict[_At, Site] = {}
        self._open: dict[_At, Site] = {}
        self._by_channel: dict[Channel, Site] = {}
        self._items: dict[str, int] = {}
        self._room_chars = limits.frame_bytes_max
        self._begun = False
        self._number: int | None = None
        self.over = False

    # --- events ----------------------------------------------------------------------------------

    def read(self, kind: str, document: bytes, root: Object, parts: Parts) -> Ending:
        """Every text of an event.

        Raises:
            PeerError: the event is unknown, or none that can come now.
        """
        if self.over or self._begun == (kind == _CREATED):
            raise http.unreadable("its events are out of order")
        self._begun = True
        walk = self._walk(document, parts)
        self.check_number(walk.count_in(root))
        if kind in _ENDS:
            return self._end(walk, root)
        if kind in _DELTAS:
            self._delta(walk, _DELTAS[kind], root)
        elif kind in _DONES:
            self._done(walk, _DONES[kind], root)
        else:
            self._structure(walk, kind, root)
        return Ending()

    def _structure(self, walk: Walk, kind: str, root: Object) -> None:
        """An event that is about more than one text."""
        if kind in _PHASES:
            self._phase(walk, root)
        elif kind == _ITEM_ADDED:
            self._item_added(walk, root)
        elif kind == _ITEM_DONE:
            self._item_done(walk, walk.index_in(root, "output_index"), root)
            walk.members(root)
        elif kind in _PART_ADDED:
            self._part_added(walk, root)
        elif kind in _PART_DONE:
            self._done(walk, _PARTS.get(walk.kind_of(walk.object_in(root, "part"))), root)
        elif kind == _ANNOTATION:
            walk.members(root)
        else:
            raise http.unreadable("it has an unknown event")

    def check_number(self, number: int | None) -> None:
        """Events are numbered upwards, or none is."""
        if number is None:
            return
        if self._number is not None and number <= self._number:
            raise http.unreadable("its events are out of order")
        self._number = number

    def check_length(self, chars: int) -> None:
        """The last event says all texts again: more than it may hold could not be read there."""
        self._room_chars -= chars
        if self._room_chars < 0:
            raise http.unreadable("its texts are longer than an event may be")

    def site_of(self, output: int, name: str) -> Site:
        """The site of a channel that was told of."""
        return self._by_channel[Channel(output, name)]

    def open_sites(self) -> list[Site]:
        """Sites whose text has not ended."""
        return list(self._open.values())

    def _walk(self, document: bytes, parts: Parts) -> Walk:
        return Walk(document, parts, self._facts, self._memory, self._limits)

    # --- texts that stream -----------------------------------------------------------------------

    def _delta(self, walk: Walk, kind: Kind, root: Object) -> None:
        delta = root.members.get("delta")
        if delta is None or not isinstance(delta.value, Text):
            raise http.unreadable("a delta's text is no string")
        for name, member in root.members.items():
            if name not in _DELTA_MEMBERS and not is_null(member.value):
                raise http.unreadable("a delta has members that none has")
        walk.members(root, but=("delta",))
        self._piece(walk, self._site(walk, kind, root), delta.value)

    def _piece(self, walk: Walk, site: Site, text: Text) -> None:
        if not site.open:
            raise http.unreadable("a text goes on after its end")
        walk.parts.piece(site, text)
        self.check_length(len(text.value))

    def _site(self, walk: Walk, kind: Kind, event: Object) -> Site:
        output, index = walk.index_in(event, "output_index"), self._index(walk, kind, event)
        return self._site_at(walk, kind, output, index, event.members.get("item_id"))

    def _site_at(self, walk: Walk, kind: Kind, output: int, index: int, named: Member | None) -> Site:
        item = self._item(output, named)
        at = (output, kind.name, index)
        site = self._sites.get(at)
        if site is None:
            if len(self._open) >= self._limits.channels_max:
                raise http.unreadable(f"it has more than {self._limits.channels_max} texts at once")
            if len(self._sites) >= self._limits.answer_texts_max:
                raise http.unreadable(f"it has more than {self._limits.answer_texts_max} output texts")
            told = None if item is None else walk.told(item, "item_id")
            escaped = kind.escaped or (kind is _TEXT and self._facts.json_answer)
            replacements = self._facts.replacements if escaped else None
            site = Site.of(output, kind, index, told, replacements=replacements)
            self._sites[at] = self._open[at] = self._by_channel[site.channel] = site
        return site

    def _item(self, output: int, named: Member | None) -> Text | None:
        """An item's id, which some clients go by, where others go by its index."""
        if named is None or not isinstance(named.value, Text) or not named.value.value:
            return None
        if self._items.setdefault(named.value.value, output) != output:
            raise http.unreadable("two items have one id")
        if len(self._items) > self._limits.answer_texts_max:
            raise http.unreadable(f"it has more than {self._limits.answer_texts_max} items")
        return named.value

    def _index(self, walk: Walk, kind: Kind, event: Object) -> int:
        return walk.index_in(event, kind.position) if kind.position else 0

    def _done(self, walk: Walk, kind: Kind | None, root: Object) -> None:
        """The end of a text, which says all of it again."""
        if kind is not None:
            output = walk.index_in(root, "output_index")
            self._item(output, root.members.get("item_id"))
            self._end_site(walk, (output, kind.name, self._index(walk, kind, root)))
        walk.members(root)

    def _end_site(self, walk: Walk, at: _At) -> None:
        site = self._open.pop(at, None)
        if site is not None:
            field = site.kind.field if site.kind.field in ARGUED else ""
            self._memory.note("".join(site.came), site, inner=site.reader is not None, field=field)
            walk.parts.end(site)

    # --- parts and items -------------------------------------------------------------------------

    def _part_added(self, walk: Walk, root: Object) -> None:
        part = walk.object_in(root, "part")
        kind = _PARTS.get(walk.kind_of(part))
        if kind is None:
            raise http.unreadable("it has an unknown part")
        walk.members(root, but=("part",))
        self._begin(walk, kind, part, lambda: self._site(walk, kind, root))

    def _begin(self, walk: Walk, kind: Kind, holder: Object, site: Callable[[], Site]) -> None:
        """What holds a text that is to come; some of it may be there."""
        own = holder.members.get(kind.member)
        if own is None or not isinstance(own.value, Text) or not own.value.value:
            walk.members(holder)
            return
        walk.members(holder, but=(kind.member,))
        self._piece(walk, site(), own.value)

    def _item_added(self, walk: Walk, root: Object) -> None:
        item = walk.object_in(root, "item")
        output = walk.index_in(root, "output_index")
        named = item.members.get("id")
        walk.members(root, but=("item",))
        self._item(output, named)
        kind = _ITEMS.get(walk.kind_of(item))
        channel = None if kind is None else Channel(output, kind.field)
        self._calls.begin(walk.document, walk.parts, output, item, channel)
        if kind is not None:
            self._begin(walk, kind, item, lambda: self._site_at(walk, kind, output, 0, named))
            return
        walk.members(item, but=("content", "summary"))
        for name in ("content", "summary"):
            member = item.members.get(name)
            if member is None or is_null(member.value):
                continue
            if not isinstance(member.value, Array):
                raise http.unreadable("an item's content is no array")
            for index, part in enumerate(member.value.items):
                self._begun_part(walk, output, index, part, named)

    def _begun_part(self, walk: Walk, output: int, index: int, part: Value, named: Member | None) -> None:
        kind = _PARTS.get(walk.kind_of(part)) if isinstance(part, Object) else None
        if kind is None or not isinstance(part, Object):
            raise http.unreadable("it has an unknown part")
        self._begin(walk, kind, part, lambda: self._site_at(walk, kind, output, index, named))

    def _item_done(self, walk: Walk, output: int, root: Object) -> None:
        """The end of an item, and of its texts."""
        self._end_item(walk, output)
        item = root.members.get("item")
        if item is not None and isinstance(item.value, Object):
            # Not by a look at all texts: an answer may have a thousand.
            streamed = any((output, kind.name, 0) in self._sites for kind in _ITEMS.values())
            self._calls.done(walk.document, walk.parts, output, item.value, streamed=streamed)

    def _end_item(self, walk: Walk, output: int) -> None:
        for at in [at for at in self._open if at[0] == output]:
            self._end_site(walk, at)

    # --- the whole response ----------------------------------------------------------------------

    def _phase(self, walk: Walk, root: Object) -> None:
        """The response object before its end: nothing was said in it."""
        output = walk.object_in(root, "response").members.get("output")
        if output is not None and (not isinstance(output.value, Array) or output.value.items):
            raise http.unreadable("its response begins with output")
        walk.members(root)

    def _end(self, walk: Walk, root: Object) -> Ending:
        for at in [*self._open]:
            self._end_site(walk, at)
        walk.members(root, but=("response",))
        self.over = True
        response = walk.object_in(root, "response")
        self._calls.end(walk.document, walk.parts, _output(response))
        ending = self._response(walk, response)
        texts = {_TEXT.name, _REFUSAL.name}
        if not ending.error and not any(name in texts for _, name, _ in self._sites):
            walk.parts.nothing(_TEXT.field)
        return ending

    def cut(self, parts: Parts) -> None:
        """The answer ended before its last event."""
        kinds = {kind.name for kind in _ITEMS.values()}
        self._calls.cut(parts, {output for output, name, _ in self._sites if name in kinds})

    def read_whole(self, document: bytes, root: Object, parts: Parts) -> Ending:
        """Every text of an answer that came at once."""
        self.over = True
        walk = self._walk(document, parts)
        output = _output(root)
        for index, item in enumerate(() if output is None else output.items):
            if isinstance(item, Object):
                self._calls.done(document, parts, index, item, streamed=False)
        ending = self._response(walk, root)
        if not ending.error and not any(name in {_TEXT.field, _REFUSAL.field} for _, name in parts.places):
            parts.nothing(_TEXT.field)
        return ending

    def _response(self, walk: Walk, response: Object) -> Ending:
        """The response object at its end: how it ended, and its token counts."""
        walk.members(response, but=("error",))
        error = response.members.get("error")
        failed = error is not None and not is_null(error.value)
        if failed and error is not None:
            self._failure(walk, error.value)
        status = response.members.get("status")
        named = status.value.value if status is not None and isinstance(status.value, Text) else ""
        return Ending(self._usage(response), final=True, error=failed or named == _FAILED)

    def _failure(self, walk: Walk, error: Value) -> None:
        """Why it failed; what the server says of its own inside is withheld."""
        if not isinstance(error, Object):
            raise http.unreadable("its error is no object")
        code, message = error.members.get("code"), error.members.get("message")
        named = code.value.value if code is not None and isinstance(code.value, Text) else ""
        status = http.ERROR_STATUS_MIN if named in _CAUSES else http.SERVER_ERROR_STATUS_MIN
        if (
            message is not None
            and isinstance(message.value, Text)
            and not http.must_withhold(message.value.value, status)
        ):
            walk.members(error)
            return
        walk.members(error, but=("message",))
        if message is not None:
            withheld = encode_string(http.WITHHELD)
            walk.parts.edits.append(Splice(message.value.start, message.value.end, withheld))

    def _usage(self, response: Object) -> Usage | None:
        member = response.members.get("usage")
        if member is None or is_null(member.value):
            return None
        if not isinstance(member.value, Object):
            raise http.unreadable("its token counts are no object")
        counts = member.value.members
        tokens_max = self._limits.answer_tokens_max
        return Usage(*(_count(counts.get(name), tokens_max) for name in ("input_tokens", "output_tokens")))


def _output(response: Object) -> Array | None:
    """The items of a response."""
    output = response.members.get("output")
    return output.value if output is not None and isinstance(output.value, Array) else None


def _count(member: Member | None, tokens_max: int) -> int:
    if member is None or is_null(member.value):
        return 0
    number = member.value.value if isinstance(member.value, Number) else None
    if not isinstance(number, int) or not 0 <= number <= tokens_max:
        raise http.unreadable("a token count is no whole number, or too large")
    return number
