"""Whether an answer that must be JSON is, and of its schema (OWASP LLM05, improper output handling).

What asks for it is the request (``response_format`` and its likes) or the policy. An answer without any
text is none, unless it calls a tool or says that the model refuses. A refusal is an error of the server's
kind, so that clients try again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from extproc.domain.effects import Answer, Effect
from extproc.domain.errors import SettingError
from extproc.domain.judging import (
    AnswerFormat,
    ChannelKind,
    Judged,
    JudgeScanner,
    JudgeWatch,
    OnAnswer,
    ToolCall,
    kind_of,
)
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ALLOWED, ExchangeView, GuardEnv, GuardSpec, Verdict
from extproc.domain.segment import Channel
from extproc.domain.verdict import Action, Finding, Mode, Reason, Stage
from extproc.guards._binding import bound_to
from extproc.guards._json_schema import Schema, SchemaError, Steps, patterns_room
from extproc.guards._json_syntax import JsonSyntax
from extproc.guards._json_values import NotJsonError, read_json
from extproc.guards._judged import WholeText, finding
from extproc.guards._schema_fault import schema_fault

_MESSAGE: Final = "the answer was withheld: it is not the JSON that it had to be; try again"
# What clients take for a failure of the server's, and try again.
_INVALID_STATUS: Final = 502
_BAD_REQUEST_STATUS: Final = 400
# Where calls stand in choices; those of other wires are items of the only one.
_OF_CHOICES: Final = ("tool_calls.", "function_call.")
_EVERY: Final = -1
_WRONG: Final = finding("OUTPUT_JSON", 0, 0, "output_schema/json")
_OF_ANOTHER_SHAPE: Final = finding("OUTPUT_SCHEMA", 0, 0, "output_schema/schema")


class OnInvalid(StrEnum):
    """What happens to an answer that is not what it must be."""

    CUT = "cut"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which answers must be JSON.

    ``requested``: those whose request says so. ``schema`` is a JSON schema, as JSON, that every answer must
    be of. With ``hold`` nothing of an answer goes out before all of it is judged; without, it streams, and
    ends with an error where it goes wrong.
    """

    answer: OnInvalid = OnInvalid.CUT
    requested: bool = True
    schema: str = ""
    hold: bool = True

    def __post_init__(self) -> None:
        """Refuse a schema by which nothing could be judged.

        Raises:
            SettingError: it is no JSON, no schema, or says what cannot be judged here.
        """
        if self.schema:
            try:
                Schema(self.schema)
            except SchemaError:
                raise SettingError(("schema",), *schema_fault(self.schema)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSchema:
    """Holds answers to their format."""

    settings: Settings

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """Nothing."""
        del exchange
        return ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Refuse a request for a format that nothing could be held to."""
        del answers
        wanted = self._requested(exchange)
        try:
            if wanted is not None and wanted.schema is not None:
                Schema(wanted.schema)
        except SchemaError:
            return Verdict(
                action=Action.BLOCK,
                reason=Reason.OUTPUT_INVALID,
                status=_BAD_REQUEST_STATUS,
                message="the schema of the answer's format is none that an answer could be judged by",
            )
        return ALLOWED

    def scanner(self, exchange: ExchangeView) -> JudgeWatch | None:
        """Watch answers that must be JSON."""
        request = exchange.request
        wanted = self._requested(exchange)
        asks = request is not None and request.operation.asks_a_model
        if not asks or (wanted is None and not self.settings.schema):
            return None
        return JudgeWatch(
            judge=_OutputJudge(self.settings, wanted),
            on_finding=OnAnswer(self.settings.answer),
            reason=Reason.OUTPUT_INVALID,
            message=_MESSAGE,
            status=_INVALID_STATUS,
        )

    def _requested(self, exchange: ExchangeView) -> AnswerFormat | None:
        request = exchange.request
        return request.answer_format if request is not None and self.settings.requested else None


@dataclass(frozen=True, slots=True)
class _OutputJudge:
    settings: Settings
    wanted: AnswerFormat | None

    def begin(self) -> "_OutputJudging":
        """The schemas of this exchange."""
        texts = [self.settings.schema, "" if self.wanted is None else self.wanted.schema or ""]
        try:
            room = patterns_room()
            schemas = [Schema(text, room) for text in texts if text]
        except SchemaError:
            # In shadow the request went on: nothing is of such a schema.
            schemas = [Schema("false")]
        return _OutputJudging(schemas, hold=self.settings.hold, any_value=bool(schemas))


class _OutputJudging:
    """Of a choice that calls a tool, or refuses, there may be no other text."""

    def __init__(self, schemas: list[Schema], *, hold: bool, any_value: bool) -> None:
        self._schemas = schemas
        self._hold = hold
        self._any_value = any_value
        self._steps = Steps()
        # Choices that may say nothing else.
        self._excused: set[int] = set()

    def call(self, call: ToolCall) -> Finding | None:
        """Note that the answer calls a tool."""
        self._excused.add(_EVERY if call.channel is None else _choice_of(call.channel))
        return None

    def open(self, channel: Channel) -> JudgeScanner | None:
        """The answer's own text: no thoughts, no refusal, no tool's arguments."""
        kind = kind_of(channel)
        if kind in {ChannelKind.ARGUMENTS, ChannelKind.NAME}:
            self._excused.add(_choice_of(channel))
        if kind is not ChannelKind.TEXT:
            return None
        match channel.field.rpartition(".")[2]:
            case "transcript":
                return None
            case "refusal":
                return _Passing(lambda: self._excused.add(channel.choice))
            case _:
                pass
        decide = partial(self._decide, channel.choice)
        return WholeText(decide, _WRONG) if self._hold else _Streaming(decide)

    def _decide(self, choice: int, text: str) -> Finding | None:
        if not text.strip() and not self._excused.isdisjoint((choice, _EVERY)):
            return None
        if JsonSyntax().feed(text) is not None:
            return _WRONG
        try:
            value = read_json(text)
        except NotJsonError:
            return _WRONG
        if not self._any_value and not isinstance(value, dict):
            return _WRONG
        sound = all(schema.holds_of(value, self._steps) for schema in self._schemas)
        return None if sound else _OF_ANOTHER_SHAPE


def _choice_of(channel: Channel) -> int:
    """The choice that a call stands in; every one on wires where its channel counts items of one answer."""
    return channel.choice if channel.field.startswith(_OF_CHOICES) else _EVERY


class _Passing:
    """Lets a text pass, and tells when it says something."""

    __slots__ = ("_said",)

    def __init__(self, said: Callable[[], None]) -> None:
        self._said = said

    @property
    def held_chars(self) -> int:
        """Nothing is held."""
        return 0

    def drop(self) -> None:
        """Nothing is held."""

    def feed(self, text: str, *, eof: bool = False) -> Judged:
        """Take more text."""
        del eof
        if text.strip():
            self._said()
        return Judged(text)


class _Streaming:
    """Lets JSON pass as it comes, up to where it is none."""

    __slots__ = ("_decide", "_over", "_pieces", "_room_chars", "_syntax")

    def __init__(self, decide: Callable[[str], Finding | None]) -> None:
        self._decide = decide
        self._syntax = JsonSyntax()
        self._pieces: list[str] = []
        self._room_chars = LIMITS.held_chars_max
        self._over = False

    @property
    def held_chars(self) -> int:
        """Nothing is held."""
        return 0

    def drop(self) -> None:
        """Forget what was read."""
        self._pieces.clear()

    def feed(self, text: str, *, eof: bool = False) -> Judged:
        """Take more text; with ``eof`` judge all of it."""
        if self._over:
            return Judged(text)
        wrong_at = self._syntax.feed(text)
        if len(text) > self._room_chars:
            wrong_at = min(self._room_chars, len(text) if wrong_at is None else wrong_at)
        wrong: Finding | None = None
        if wrong_at is not None:
            text, wrong = text[:wrong_at], _WRONG
        else:
            self._room_chars -= len(text)
            self._pieces.append(text)
            wrong = self._decide("".join(self._pieces)) if eof else None
        if wrong is None:
            return Judged(text)
        self._over = True
        self.drop()
        return Judged(text, (wrong,))


def _build(settings: Settings, env: GuardEnv) -> OutputSchema:
    del env
    return OutputSchema(settings=settings)


GUARD = GuardSpec(
    name="output_schema",
    stage=Stage.TOOLS,
    owasp="LLM05",
    error_reason=Reason.INTERNAL,
    settings=Settings,
    build=bound_to(Settings, _build),
    mode=Mode.OFF,
)
