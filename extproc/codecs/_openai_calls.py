"""The tool calls of an answer of OpenAI's chat completions: in what shape one may come, and its end.

Clients differ in what they take for a call, so whatever looks like one is told of: by the name that it has
at any of the places where one could stand, or by none, which no policy allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.domain.judging import ToolCall
from extproc.domain.segment import Channel
from extproc.wire.strict_json import Array, Constant, Object, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.codecs._openai_frame import FrameParts
    from extproc.codecs._openai_sites import Path
    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

_FUNCTION: Final = "function"
# Where a call of another type would have what belongs into its function.
_STRAY: Final = ("name", "arguments", "input")
# The known names of calls, wherever else they stand, and how other wires spell them.
_CALLS: Final = frozenset({"toolcall", "toolcalls", "functioncall", "functioncalls"})


@dataclass(slots=True)
class Call:
    """A call that goes on: what is known of its name, and whether it has said any arguments.

    ``field`` is what its channels' names begin with, ``channel`` that of its arguments.
    """

    field: str
    channel: Channel
    name: str = ""
    argued: bool = False


class Calls:
    """The calls of one answer that may go on."""

    def __init__(self, limits: Limits) -> None:
        self._open: dict[int, dict[Path, Call]] = {}
        self._room = limits.answer_texts_max

    def at(self, choice: int, base: Path, field: str) -> Call:
        """The call at a place; it begins here where there was none.

        Raises:
            PeerError: the answer has too many.
        """
        of_choice = self._open.setdefault(choice, {})
        call = of_choice.get(base)
        if call is None:
            self._room -= 1
            if self._room < 0:
                raise http.unreadable("it has too many calls")
            call = of_choice[base] = Call(field, Channel(choice, f"{field}.arguments"))
        return call

    def item(self, parts: FrameParts, call: Call, item: Object) -> None:
        """Tell of an item of ``tool_calls`` that is none of a function."""
        names = _odd_names(item)
        if names is None:
            return
        if not names and not call.name:
            names = [""]
        for name in names:
            call.name = name
            parts.calls.append(ToolCall(name))
        call.argued = True

    def member(self, parts: FrameParts, call: Call, function: Object, member: Member) -> None:
        """Tell of a name or of arguments that are no string."""
        if is_null(member.value):
            return
        if member.name == "name":
            parts.calls.append(ToolCall(""))
        elif member.name == "arguments":
            call.argued = True
            name = function.members.get("name")
            called = name.value.value if name is not None and isinstance(name.value, Text) else call.name
            said = parts.document[member.value.start : member.value.end].decode()
            parts.calls.append(ToolCall(called, call.channel, said))

    def end(self, parts: FrameParts, choice: int) -> None:
        """Tell of a choice's calls, which are over, that never said arguments."""
        for call in self._open.pop(choice, {}).values():
            if not call.argued:
                parts.calls.append(ToolCall(call.name, call.channel, ""))

    def end_all(self, parts: FrameParts) -> None:
        """The same of every choice."""
        for choice in tuple(self._open):
            self.end(parts, choice)


def tell_stray(parts: FrameParts, member: Member) -> None:
    """Tell of calls that stand where none do."""
    if member.name.replace("_", "").lower() in _CALLS and not _is_nothing(member.value):
        parts.calls.append(ToolCall(""))


def is_null(value: Value) -> bool:
    """Whether a value is null."""
    return isinstance(value, Constant) and value.value is None


def _is_nothing(value: Value) -> bool:
    return is_null(value) or (isinstance(value, Array) and not value.items)


def _odd_names(item: Object) -> list[str] | None:
    """The names that a call has outside of a function; None where it is one of a function alone."""
    members = {name: one.value for name, one in item.members.items() if not is_null(one.value)}
    kind, function = members.get("type"), members.get(_FUNCTION)
    odd = kind is not None and not (isinstance(kind, Text) and kind.value == _FUNCTION)
    odd |= function is not None and not isinstance(function, Object)
    odd |= any(name in members for name in _STRAY)
    names: list[str] = []
    for holder in _holders(item):
        name = holder.members.get("name")
        if name is not None and not is_null(name.value):
            names.append(name.value.value if isinstance(name.value, Text) else "")
    return names if odd or names else None


def _holders(item: Object) -> Iterator[Object]:
    """The item, and what stands in it beside its function."""
    yield item
    for member in item.members.values():
        value = member.value
        if isinstance(value, Object) and member.name != _FUNCTION:
            yield value
        elif isinstance(value, Array):
            yield from (one for one in value.items if isinstance(one, Object))
