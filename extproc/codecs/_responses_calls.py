"""The tool calls of an answer of OpenAI's responses: which items are calls, and what is told of each.

An item is said up to three times: where it begins, where it is done, and in the response at its end.
Clients go by any of these, so all are told of.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_http as http
from extproc.domain.judging import ToolCall
from extproc.wire.strict_json import Array, Constant, Object, Text

if TYPE_CHECKING:
    from collections.abc import Collection

    from extproc.codecs._responses_frame import Parts
    from extproc.domain.limits import Limits
    from extproc.domain.segment import Channel
    from extproc.wire.strict_json import Value

_NO_CALLS: Final = frozenset({"message", "reasoning"})
# Types of calls, of whatever tool, and of the server's wish to make one.
_CALL_ENDS: Final = ("_call", "_request")
_ARGUED: Final = ("arguments", "input")


@dataclass(frozen=True, slots=True)
class _Said:
    """What an item says of a call; ``arguments`` is None where it says none."""

    name: str
    arguments: str | None

    @property
    def whole(self) -> str:
        return self.arguments or ""


class Calls:
    """The calls of one answer."""

    def __init__(self, limits: Limits) -> None:
        self._calls_max = limits.answer_texts_max
        # Calls that begun and are not done, by their item's number.
        self._open: dict[int, ToolCall] = {}
        self._done: Counter[int] = Counter()

    def begin(
        self, document: bytes, parts: Parts, output: int, item: Object, channel: Channel | None
    ) -> None:
        """Tell of a call that begins; its arguments stream in ``channel``, where it has one."""
        said = _said(document, item)
        if said is None:
            return
        streams = channel is not None and isinstance(_argued(item), Text | None)
        call = ToolCall(said.name, channel, None if streams else said.arguments)
        self._open[output] = call
        self._check_count()
        parts.calls.append(call)

    def done(self, document: bytes, parts: Parts, output: int, item: Object, *, streamed: bool) -> None:
        """Tell of a call that is done; ``streamed``: its arguments came before."""
        said = _said(document, item)
        begun = self._open.pop(output, None)
        if said is None:
            # Where it began it was one.
            self._over(parts, begun, streamed=streamed)
            return
        self._done[hash(said)] += 1
        self._check_count()
        channel = None if begun is None else begun.channel
        if (
            channel is None
            and begun is not None
            and begun.name == said.name
            and said.arguments in {None, begun.arguments}
        ):
            # Told of where it began, with the same arguments.
            return
        arguments = said.arguments if streamed else said.whole
        parts.calls.append(ToolCall(said.name, channel, arguments))

    def end(self, document: bytes, parts: Parts, items: Array | None) -> None:
        """Tell of calls that only the response at the end says."""
        for item in () if items is None else items.items:
            said = _said(document, item) if isinstance(item, Object) else None
            if said is None:
                continue
            if self._done[hash(said)]:
                self._done[hash(said)] -= 1
            else:
                parts.calls.append(ToolCall(said.name, None, said.whole))

    def _check_count(self) -> None:
        if len(self._open) + len(self._done) > self._calls_max:
            raise http.unreadable(f"it has more than {self._calls_max} calls")

    def cut(self, parts: Parts, streamed: Collection[int]) -> None:
        """The answer ended without its last event; ``streamed`` are items whose arguments came."""
        for output, begun in self._open.items():
            self._over(parts, begun, streamed=output in streamed)
        self._open.clear()

    def _over(self, parts: Parts, begun: ToolCall | None, *, streamed: bool) -> None:
        if begun is not None and begun.channel is not None and begun.arguments is None and not streamed:
            parts.calls.append(begun._replace(arguments=""))


def _argued(item: Object) -> Value | None:
    """The value of an item's arguments; None where it has none."""
    for name in _ARGUED:
        member = item.members.get(name)
        if member is not None and not (isinstance(member.value, Constant) and member.value.value is None):
            return member.value
    return None


def _said(document: bytes, item: Object) -> _Said | None:
    """What an item says of a call; None where it is none."""
    kind = _text(item, "type")
    if kind in _NO_CALLS:
        return None
    looks = kind.endswith(_CALL_ENDS) or "name" in item.members
    if not looks and not any(name in item.members for name in _ARGUED):
        return None
    return _Said(_text(item, "name") or kind, _arguments(document, item))


def _arguments(document: bytes, item: Object) -> str | None:
    """Arguments as they stand: a string's text, of anything else its source."""
    value = _argued(item)
    if isinstance(value, Text):
        return value.value
    if value is not None:
        return document[value.start : value.end].decode()
    return None


def _text(item: Object, name: str) -> str:
    member = item.members.get(name)
    return member.value.value if member is not None and isinstance(member.value, Text) else ""
