"""Which tools an answer may call, how often and with what arguments (OWASP LLM06, excessive agency).

A call's arguments are held to its end and judged by the schema that the request gave for the tool; a call
without any is one with ``{}``, and so is all that a tool without a schema takes. Where a wire tells of no
tools (KServe, completions) there are no calls that could be told from text.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from annotated_types import Interval, Len

from extproc.domain.effects import Answer, Effect
from extproc.domain.errors import SettingError
from extproc.domain.judging import (
    ChannelKind,
    JudgeScanner,
    JudgeWatch,
    OnAnswer,
    ToolCall,
    ToolSpec,
    kind_of,
)
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ALLOWED, ExchangeView, GuardEnv, GuardSpec, Verdict
from extproc.domain.segment import Channel, Origin
from extproc.domain.verdict import Action, Finding, Mode, Reason, Stage
from extproc.guards._binding import bound_to
from extproc.guards._json_schema import Schema, SchemaError, Steps, patterns_room
from extproc.guards._json_values import NotJsonError, read_json
from extproc.guards._judged import WholeText, finding

# What OpenAI and Anthropic take, and what gateways and MCP put between a server's name and a tool's.
_TOOL_NAME: Final = re.compile(rf"[A-Za-z0-9_.:/-]{{1,{LIMITS.tool_name_chars_max}}}")
_WRITE_A_NAME: Final = (
    f"write 1 to {LIMITS.tool_name_chars_max} letters (A-Z, a-z), digits or signs of _-.:/ and no other"
)
_MESSAGE: Final = "the answer was withheld: it calls a tool in a way that is not allowed"
_NAME: Final = "TOOL_NAME"
_ARGUMENTS: Final = "TOOL_ARGUMENTS"
_COUNT: Final = "TOOL_CALLS"
_BAD_REQUEST_STATUS: Final = 400
_REFUSED_STATUS: Final = 403
_DETECTORS: Final = {
    _NAME: "tool_policy/name",
    _ARGUMENTS: "tool_policy/schema",
    _COUNT: "tool_policy/count",
}


class OnCall(StrEnum):
    """What happens to an answer with a call that is not allowed."""

    CUT = "cut"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which calls are allowed.

    ``names`` are the tools that may be called; empty means whichever the request offers. With
    ``offered_only`` a tool must be among those that the request offers. ``arguments``: they must be of the
    tool's own schema, or none where it has none. ``calls_max`` bounds the calls of one answer,
    ``results_max`` the results of tools in one request, and so how long an agent may go on.
    """

    answer: OnCall = OnCall.CUT
    names: Annotated[tuple[str, ...], Len(0, LIMITS.tool_names_max)] = ()
    offered_only: bool = True
    arguments: bool = True
    calls_max: Annotated[int, Interval(ge=0, le=LIMITS.channels_max)] = 16
    results_max: Annotated[int, Interval(ge=0, le=LIMITS.json_nodes_max)] = 64

    def __post_init__(self) -> None:
        """Refuse names that no tool has.

        Raises:
            SettingError: a name is empty, too long, or has white space or signs of a sentence.
        """
        for index, name in enumerate(self.names):
            if _TOOL_NAME.fullmatch(name) is None:
                what = "is no name of a tool"
                raise SettingError(("names", index), what, _WRITE_A_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """Refuses conversations that went on too long, and judges the calls of answers."""

    settings: Settings

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """Nothing."""
        del exchange
        return ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Refuse too many results of tools, and schemas by which no call could be judged."""
        del answers
        request = exchange.request
        if request is None:
            return ALLOWED
        # Words of a result (ids, names) are told beside its text.
        results = [
            one
            for one in request.segments
            if one.origin is Origin.TOOL_RESULT and not one.place.endswith("*")
        ]
        if len(results) > self.settings.results_max:
            message = f"the conversation has too many results of tools: at most {self.settings.results_max}"
            return _refused(_REFUSED_STATUS, message)
        try:
            _schemas_of(self.settings, request.tools)
        except SchemaError:
            message = "the parameters of a tool are no JSON schema by which calls of it could be judged"
            return _refused(_BAD_REQUEST_STATUS, message)
        return ALLOWED

    def scanner(self, exchange: ExchangeView) -> JudgeWatch | None:
        """Watch for calls, wherever a model is asked."""
        request = exchange.request
        if request is None or not request.operation.asks_a_model:
            return None
        return JudgeWatch(
            judge=_CallJudge(self.settings, request.tools),
            on_finding=OnAnswer(self.settings.answer),
            reason=Reason.TOOL_NOT_ALLOWED,
            message=_MESSAGE,
        )


@dataclass(frozen=True, slots=True)
class _CallJudge:
    settings: Settings
    tools: tuple[ToolSpec, ...]

    def begin(self) -> "_CallJudging":
        """One answer's calls."""
        return _CallJudging(self.settings, self.tools)


class _CallJudging:
    """Counts calls, and knows which tool each channel of arguments belongs to."""

    def __init__(self, settings: Settings, tools: tuple[ToolSpec, ...]) -> None:
        self._settings = settings
        self._offered = frozenset(tool.name for tool in tools)
        # In shadow a request may have passed whose schemas cannot be judged by.
        self._schemas = _schemas_or_none(settings, tools)
        self._takes_text = frozenset(tool.name for tool in tools if tool.takes_text)
        self._steps = Steps()
        self._names: dict[Channel, str] = {}
        # Arguments that were judged with their call: some wires say them in a channel of their own, too.
        self._judged: set[int] = set()
        # Which were found sound, for which tool: most wires say them more than once.
        self._sound: set[tuple[str, int]] = set()
        self._calls = 0

    def call(self, call: ToolCall) -> Finding | None:
        """Judge a call by its name and number, and by arguments that came with it."""
        known = None if call.channel is None else self._names.get(call.channel)
        if known is None:
            if call.channel is not None:
                self._names[call.channel] = call.name
            wrong = self._counted() or self._named(call.name)
        else:
            # Some servers repeat it, and its end may say the arguments.
            wrong = None if known == call.name else _found(_NAME)
        if wrong is None and call.arguments is not None:
            wrong = self._argued(call.name, call.arguments)
        return wrong

    def open(self, channel: Channel) -> JudgeScanner | None:
        """Arguments are held to their end, and so are names that the request does not offer."""
        match kind_of(channel):
            case ChannelKind.ARGUMENTS:
                return WholeText(lambda text: self._ended(channel, text), _found(_ARGUMENTS))
            case ChannelKind.NAME:
                return WholeText(lambda name: self._spelled(channel, name), _found(_NAME))
            case _:
                return None

    def _counted(self) -> Finding | None:
        self._calls += 1
        return _found(_COUNT) if self._calls > self._settings.calls_max else None

    def _named(self, name: str) -> Finding | None:
        settings = self._settings
        listed = not settings.names or name in settings.names
        offered = not settings.offered_only or name in self._offered
        # Nobody's list at all is no permission.
        sound = listed and offered and (settings.offered_only or settings.names != ())
        return None if sound else _found(_NAME)

    def _spelled(self, channel: Channel, name: str) -> Finding | None:
        """A name that streamed; its arguments stand beside it."""
        beside = Channel(channel.choice, channel.field.removesuffix("name") + "arguments")
        told = self._names.get(beside)
        self._names[beside] = name
        return (self._counted() if told is None else None) or self._named(name)

    def _ended(self, channel: Channel, text: str) -> Finding | None:
        name = self._names.get(channel)
        if name is not None:
            return self._argued(name, text)
        return None if _digest(text) in self._judged else _found(_NAME)

    def _argued(self, name: str, text: str) -> Finding | None:
        # Models say nothing at all for a tool without parameters.
        text = text if text.strip() else "{}"
        digest = _digest(text)
        if (name, digest) in self._sound:
            return None
        self._judged.add(digest)
        if self._settings.arguments and name not in self._takes_text and not self._is_sound(name, text):
            return _found(_ARGUMENTS)
        self._sound.add((name, digest))
        return None

    def _is_sound(self, name: str, text: str) -> bool:
        """Whether arguments are of a tool's schema; without one only a tool that nobody offered has any."""
        try:
            value = read_json(text)
        except NotJsonError:
            return False
        if self._schemas is None or not isinstance(value, dict):
            return False
        schema = self._schemas.get(name)
        if schema is None:
            return not value or name not in self._offered
        return schema.holds_of(value, self._steps)


def _schemas_of(settings: Settings, tools: tuple[ToolSpec, ...]) -> Mapping[str, Schema]:
    """The schema of each tool that has one; of two tools with one name no schema is the tool's own."""
    if not settings.arguments:
        return {}
    found: dict[str, Schema] = {}
    room = patterns_room()
    for tool in tools:
        if tool.parameters is not None:
            if tool.name in found:
                raise SchemaError
            found[tool.name] = Schema(tool.parameters, room)
    return found


def _schemas_or_none(settings: Settings, tools: tuple[ToolSpec, ...]) -> Mapping[str, Schema] | None:
    try:
        return _schemas_of(settings, tools)
    except SchemaError:
        return None


def _digest(text: str) -> int:
    """The same for arguments that say the same, however they are spelled."""
    try:
        return hash(json.dumps(read_json(text), sort_keys=True))
    except NotJsonError:
        return hash(text)


def _found(entity_type: str) -> Finding:
    return finding(entity_type, 0, 0, _DETECTORS[entity_type])


def _refused(status: int, message: str) -> Verdict:
    return Verdict(action=Action.BLOCK, reason=Reason.TOOL_NOT_ALLOWED, status=status, message=message)


def _build(settings: Settings, env: GuardEnv) -> ToolPolicy:
    del env
    return ToolPolicy(settings=settings)


GUARD = GuardSpec(
    name="tool_policy",
    stage=Stage.TOOLS,
    owasp="LLM06",
    error_reason=Reason.INTERNAL,
    settings=Settings,
    build=bound_to(Settings, _build),
    mode=Mode.OFF,
)
