"""The seam of guards that judge an answer as it streams, by other means than rules.

A judge delays text or ends it, and runs before the rules of its channel: what goes out is what every judge
and every rule has released. What it decides depends on the text alone, never on how the text was cut:
neither the place of a finding nor what was released before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from extproc.domain.reading import ScoreModel
    from extproc.domain.scanning import Scan
    from extproc.domain.segment import Channel
    from extproc.domain.verdict import Finding, Reason

BLOCKED_STATUS: Final = 403


class ToolSpec(NamedTuple):
    """A tool that a request offers: its name, and the JSON schema of its arguments as it stands there.

    ``parameters`` is None where the tool has none. ``takes_text``: it takes any text, and no JSON.
    """

    name: str
    parameters: str | None = None
    takes_text: bool = False


class ToolCall(NamedTuple):
    """A tool call of an answer, told of with the frame in which it begins.

    ``channel`` is where its arguments stream; ``arguments`` is the JSON of those that came whole.
    """

    name: str
    channel: Channel | None = None
    arguments: str | None = None


class AnswerFormat(NamedTuple):
    """JSON that a request wants for an answer; ``schema`` is a JSON schema as it stands there, or None."""

    schema: str | None = None


class ChannelKind(StrEnum):
    """What a channel's text is to the client."""

    TEXT = auto()
    THOUGHT = auto()
    ARGUMENTS = auto()
    NAME = auto()
    ONCE = auto()
    OTHER = auto()


_KINDS: Final = {
    **dict.fromkeys(
        ("content", "text", "text_output", "refusal", "audio.transcript", "transcript"), ChannelKind.TEXT
    ),
    **dict.fromkeys(
        ("reasoning", "reasoning_content", "reasoning_summary", "thinking"), ChannelKind.THOUGHT
    ),
    **dict.fromkeys(("arguments", "input"), ChannelKind.ARGUMENTS),
    "name": ChannelKind.NAME,
    # Strings that stand for themselves beside the texts: ids, and members that no codec knows.
    "output.once": ChannelKind.ONCE,
}


def kind_of(channel: Channel) -> ChannelKind:
    """What the codecs' names of fields say; of ``tool_calls.0.arguments`` the last word."""
    known = _KINDS.get(channel.field)
    return known or _KINDS.get(channel.field.rpartition(".")[2], ChannelKind.OTHER)


class OnAnswer(StrEnum):
    """What happens to an answer in which a judge found something.

    ``cut`` refuses it, or ends it with an error once it has begun. ``replace`` says the policy's own words
    instead of the rest of the text; where these can stand in no text, it is cut. ``flag`` only records it.
    """

    CUT = auto()
    REPLACE = auto()
    FLAG = auto()


class Judged(NamedTuple):
    """What a judge decided of one more piece of text: what may go out now, and what was newly found."""

    released: str
    findings: tuple[Finding, ...] = ()


class JudgeScanner(Protocol):
    """Reads one channel of the answer as it streams.

    The text that it released before a finding is the same however the text was cut; with its first finding
    it is over.
    """

    def feed(self, text: str, *, eof: bool = False) -> Scan:
        """Take more text; with ``eof`` everything is decided."""

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text."""

    def drop(self) -> None:
        """Forget what is held."""


class Judging(Protocol):
    """One answer as it is judged; made when its first text or call comes."""

    def open(self, channel: Channel) -> JudgeScanner | None:
        """What reads a channel; None where its text is not this judge's."""

    def call(self, call: ToolCall) -> Finding | None:
        """What is wrong with a tool call that begins."""


class AnswerJudge(Protocol):
    """What a guard knows of an exchange, to judge its answer by."""

    def begin(self) -> Judging:
        """A judging of one answer; everything dear is made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeWatch:
    """A guard's wish to judge the answer itself.

    With ``edits`` its scanners change text: they run behind the rules, on what these released. ``status``
    and ``message`` make the refusal, ``canned`` is what ``replace`` says. ``model`` judges, behind the
    judge, every text but the names of tools.
    """

    judge: AnswerJudge
    on_finding: OnAnswer
    reason: Reason
    message: str
    status: int = BLOCKED_STATUS
    canned: str = ""
    edits: bool = False
    model: ScoreModel | None = None

    @property
    def block(self) -> bool:
        """Whether a finding ends the answer."""
        return self.on_finding is OnAnswer.CUT

    @property
    def touches(self) -> bool:
        """Whether it may change a byte or delay one."""
        return self.edits or self.on_finding is not OnAnswer.FLAG
