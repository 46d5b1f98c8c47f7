"""Walks one document of an answer: choices, their texts or messages, tool calls, and anything else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.codecs._openai_calls import Calls, is_null, tell_stray
from extproc.domain.judging import ToolCall
from extproc.domain.segment import Channel
from extproc.wire.json_leaves import key_text, number_text
from extproc.wire.strict_json import Array, Constant, Number, Object, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.codecs._openai_calls import Call
    from extproc.codecs._openai_frame import FrameParts
    from extproc.codecs._openai_sites import Path, Sites
    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

# The answer's text again, as tokens with their bytes, or as their numbers.
_REPEATS: Final = frozenset(
    {"logprobs", "prompt_logprobs", "prompt_token_ids", "token_ids", "prompt_text", "kv_transfer_params"}
)
_STREAMING: Final = frozenset({"content", "refusal", "reasoning", "reasoning_content"})
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"chat.completion", "chat.completion.chunk", "text_completion"}),
    "service_tier": frozenset({"auto", "default", "flex", "priority", "scale"}),
    "role": frozenset({"assistant"}),
    "type": frozenset({"function"}),
    "finish_reason": frozenset(
        {"stop", "length", "tool_calls", "content_filter", "function_call", "abort", "error"}
    ),
}
# Made of letters and digits by servers, never by a model.
_MADE: Final[Mapping[str, re.Pattern[str]]] = {
    "id": re.compile(
        r"(?:chatcmpl-|cmpl-)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"
        r"|(?:chat)?cmpl-(?![A-Za-z0-9]*[0-9]{10})[A-Za-z0-9]{16,40}"
    ),
    "system_fingerprint": re.compile(r"fp_(?![0-9a-f]*[0-9]{10})[0-9a-f]{6,16}"),
}
# Members whose text is streamed or shown: a number there would be digits that nobody scans together.
_TEXTS: Final = _STREAMING | {"arguments", "name", "text", "transcript"}
# What answers are made of. Any other key is text too, and must look like one.
_KNOWN_KEYS: Final = frozenset(
    {
        *("id", "object", "created", "model", "system_fingerprint", "service_tier", "choices", "usage"),
        *("index", "delta", "message", "finish_reason", "stop_reason", "role", "tool_calls"),
        *("function_call", "function", "type", "audio", "data", "expires_at", "annotations", "metadata"),
        *("url_citation", "start_index", "end_index", "url", "title", "obfuscation", "matched_stop"),
        *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens"),
        *("completion_tokens_details", "reasoning_tokens", "audio_tokens", "text_tokens", "image_tokens"),
        *("accepted_prediction_tokens", "rejected_prediction_tokens"),
        *(_REPEATS | _TEXTS),
    }
)
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CHOICE_MAX: Final = 1 << 16


class MessageReader:
    """Finds the texts of documents; the state of one answer."""

    def __init__(
        self, *, sites: Sites, model: str, tools: frozenset[str], json_answer: bool, limits: Limits
    ) -> None:
        self._sites = sites
        self._model = model
        self._tools = tools
        self._json_answer = json_answer
        self._limits = limits
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        # Choices that say a text of their own.
        self._texted: set[int] = set()
        self._calls = Calls(limits)
        # Calls whose arguments have begun: a site each.
        self._called: set[tuple[int, Path]] = set()

    def is_technical(self, name: str, value: str) -> bool:
        """Whether a member of the answer holds what only a server says, and needs no scanning."""
        if name == "model":
            return value == self._model
        words = _WORDS.get(name)
        if words is not None:
            return value in words
        made = _MADE.get(name)
        return made is not None and made.fullmatch(value) is not None

    def read_root(self, parts: FrameParts, root: Object) -> None:
        """Every text of a document."""
        for member in root.members.values():
            if member.name == "choices":
                for position, item in enumerate(_items(member)):
                    self._choice(parts, _object(item), position)
            else:
                self._member(parts, None, (), member)
        if parts.final:
            self.close(parts)

    def close(self, parts: FrameParts) -> None:
        """No more follows: choices that have not finished have, and where there is none, the only one."""
        for choice in sorted(self._begun - self._finished) if self._begun else (0,):
            self._finish(parts, choice)
        self._calls.end_all(parts)

    def _finish(self, parts: FrameParts, choice: int) -> None:
        """The end of a choice, and of all that goes on in it."""
        if choice not in self._finished:
            self._finished.add(choice)
            self._calls.end(parts, choice)
            if choice not in self._texted:
                parts.nothing(Channel(choice, "content"))
        for site in self._sites.open_ones(choice):
            parts.end(site)

    def _choice(self, parts: FrameParts, choice: Object, position: int) -> None:
        index = self._index(choice, position, _CHOICE_MAX)
        self._begun.add(index)
        finish = choice.members.get("finish_reason")
        finished = finish is not None and isinstance(finish.value, Text)
        for member in choice.members.values():
            if member.name in {"delta", "message"} and isinstance(member.value, Object):
                self._message(parts, index, member.value, last=finished)
            elif member.name == "text" and isinstance(member.value, Text):
                # All that a choice of a completion has.
                escaped = self._json_answer
                self._texted.add(index)
                self._text(parts, index, ("text",), "text", member.value, last=finished, escaped=escaped)
            else:
                self._member(parts, index, (), member)
        if finished:
            self._finish(parts, index)

    def _message(self, parts: FrameParts, choice: int, message: Object, *, last: bool) -> None:
        for member in message.members.values():
            name, value = member.name, member.value
            if is_null(value):
                continue
            if name == "content" and isinstance(value, Text):
                self._texted.add(choice)
            if name in _STREAMING and isinstance(value, Text):
                escaped = name == "content" and self._json_answer
                self._text(parts, choice, ("delta", name), name, value, last=last, escaped=escaped)
            elif name == "tool_calls":
                for position, item in enumerate(_items(member)):
                    self._call(parts, choice, _object(item), position, last=last)
            elif name == "function_call":
                base: Path = ("delta", name)
                call = self._calls.at(choice, base, name)
                self._function(parts, base, _object(value), call, last=last)
            elif name == "audio":
                self._audio(parts, choice, _object(value), last=last)
            elif name == "annotations":
                self._leaves(parts, choice, ("delta", name), value, whole=True)
            else:
                self._member(parts, choice, ("delta",), member)

    def _call(self, parts: FrameParts, choice: int, call: Object, position: int, *, last: bool) -> None:
        index = self._index(call, position, self._limits.answer_texts_max)
        base: Path = ("delta", "tool_calls", index)
        begun = self._calls.at(choice, base, f"tool_calls.{index}")
        self._calls.item(parts, begun, call)
        for member in call.members.values():
            if member.name == "function" and isinstance(member.value, Object):
                path = (*base, "function")
                self._function(parts, path, member.value, begun, last=last)
            elif member.name == "id" and isinstance(member.value, Text):
                parts.whole(member.value)
            elif member.name != "index":
                self._member(parts, choice, base, member)

    def _function(
        self,
        parts: FrameParts,
        base: Path,
        function: Object,
        call: Call,
        *,
        last: bool,
    ) -> None:
        choice, field = call.channel.choice, call.field
        named = (choice, base) not in self._called
        for member in function.members.values():
            if not isinstance(member.value, Text):
                self._calls.member(parts, call, function, member)
                self._member(parts, choice, base, member)
            elif member.name == "name":
                path = (*base, "name")
                if member.value.value in self._tools:
                    call.name = member.value.value
                    parts.calls.append(ToolCall(call.name, call.channel))
                else:
                    call.name += member.value.value
                # A name that the caller declared tells nothing. Any other may come in pieces.
                if member.value.value not in self._tools or self._sites.standing(choice, path) is not None:
                    if member.value.value and not named:
                        raise http.unreadable("a name goes on after its arguments began")
                    self._text(parts, choice, path, f"{field}.name", member.value, last=last)
            elif member.name == "arguments":
                path = (*base, "arguments")
                call.argued = True
                self._text(parts, choice, path, f"{field}.arguments", member.value, last=last, escaped=True)
                if member.value.value:
                    self._called.add((choice, base))
                    name = self._sites.standing(choice, (*base, "name"))
                    if name is not None:
                        parts.end(name)
            else:
                self._member(parts, choice, base, member)

    def _audio(self, parts: FrameParts, choice: int, audio: Object, *, last: bool) -> None:
        for member in audio.members.values():
            if member.name == "data":
                if not _is_empty(member.value):
                    raise http.unreadable("it holds sound")
            elif member.name == "transcript" and isinstance(member.value, Text):
                path: Path = ("delta", "audio", "transcript")
                self._text(parts, choice, path, "audio.transcript", member.value, last=last)
            else:
                self._key(parts, member)
                self._leaves(parts, choice, ("delta", "audio", member.name), member.value, whole=True)

    # --- any member ------------------------------------------------------------------------------

    def _member(self, parts: FrameParts, choice: int | None, base: Path, member: Member) -> None:
        """A member that has no rule of its own."""
        name, value = member.name, member.value
        self._key(parts, member)
        tell_stray(parts, member)
        if name in _REPEATS:
            parts.repeat(value)
        elif isinstance(value, Text) and self.is_technical(name, value.value):
            return
        elif isinstance(value, Text) and (name in _WORDS or name in _MADE or name in _NAMES):
            parts.whole(value)
        else:
            self._leaves(parts, choice, (*base, name), value)

    def _leaves(
        self, parts: FrameParts, choice: int | None, path: Path, value: Value, *, whole: bool = False
    ) -> None:
        """Every string below a value; what stands at one path in several events is one text."""
        pending: list[tuple[Path, Value]] = [(path, value)]
        while pending:
            path, value = pending.pop()
            match value:
                case Text() if whole:
                    parts.whole(value)
                case Text():
                    self._text(parts, choice, path, None, value, last=False)
                case Array(items=items):
                    pending += [((*path, at), item) for at, item in reversed([*enumerate(items)])]
                case Object(members=members):
                    for member in reversed([*members.values()]):
                        self._key(parts, member)
                        pending.append(((*path, member.name), member.value))
                case Number():
                    written = number_text(parts.document, value, limits=self._limits)
                    if written is not None:
                        parts.whole(written)
                case _:
                    pass

    def _key(self, parts: FrameParts, member: Member) -> None:
        if member.name not in _KNOWN_KEYS:
            if _KEY.fullmatch(member.name) is None:
                raise http.unreadable("a key in it is no name")
            parts.whole(key_text(parts.document, member))
        elif member.name in _TEXTS and isinstance(member.value, Number):
            raise http.unreadable("a text of it is a number")

    def _text(  # noqa: PLR0913 - where it stands, and how.
        self,
        parts: FrameParts,
        choice: int | None,
        path: Path,
        field: str | None,
        text: Text,
        *,
        last: bool,
        escaped: bool = False,
    ) -> None:
        if choice in self._finished and text.value:
            raise http.unreadable("a choice goes on after its end")
        if field is None:
            site = self._sites.at(choice, path)
        else:
            site = self._sites.at(choice, path, field, escaped=escaped)
        parts.streaming(site, text, last=last)

    def _index(self, value: Object, position: int, bound: int) -> int:
        member = value.members.get("index")
        if member is None:
            return position
        number = member.value.value if isinstance(member.value, Number) else None
        if not isinstance(number, int) or not 0 <= number < bound:
            raise http.unreadable("an index is out of bounds")
        return number


# Texts that are whole where they stand, and of no closed vocabulary.
_NAMES: Final = frozenset({"model", "stop_reason", "stop"})


def _items(member: Member) -> tuple[Value, ...]:
    if isinstance(member.value, Array):
        return member.value.items
    if isinstance(member.value, Constant) and member.value.value is None:
        return ()
    raise http.unreadable(f"{member.name} is no array")


def _object(value: Value) -> Object:
    if not isinstance(value, Object):
        raise http.unreadable("an item is no object")
    return value


def _is_empty(value: Value) -> bool:
    return (isinstance(value, Constant) and value.value is None) or (
        isinstance(value, Text) and not value.value
    )
