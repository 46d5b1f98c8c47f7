"""Words and topics that a policy does not want, in requests and in answers (OWASP LLM05).

Topics are lists of phrases, found as whole words whatever their case, white space and punctuation. Beside
them a classifier that the operator supplies may judge: requests whole, as the injection guard's does, and
answers sentence by sentence as they stream. What of an answer it has not judged is held.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Annotated, Final, Self

from annotated_types import Interval

from extproc.domain.effects import Answer, Classify, Effect, Scores
from extproc.domain.errors import SettingError
from extproc.domain.judging import ChannelKind, JudgeWatch, OnAnswer, kind_of
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ExchangeView, GuardEnv, GuardSpec, Verdict
from extproc.domain.reading import ScoreModel
from extproc.domain.segment import Channel, Origin, Role, Segment
from extproc.domain.verdict import Action, Finding, Lane, LocatedFinding, Mode, Reason, Stage
from extproc.guards._binding import bound_to
from extproc.guards._judged import CANNED, Canned, NoCalls, finding
from extproc.guards._words import Word, WordScanner, words_in

_REFUSED_STATUS: Final = 403
_REQUEST_MESSAGE: Final = "the request was refused: it is about a topic that is not allowed here"
_ANSWER_MESSAGE: Final = "the answer was withheld: it is about a topic that is not allowed here"
_BY_MODEL: Final = "TOPIC"
_PHRASES: Final = "moderation/phrases"


class OnRequest(StrEnum):
    """What happens to a request in which something was found."""

    BLOCK = "block"
    ALLOW = "allow"


class HeadReads(StrEnum):
    """What a classifier's head judges."""

    REQUEST = auto()
    ANSWER = auto()
    BOTH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is not wanted, and what happens to it.

    ``topics`` maps a topic's name to its phrases. ``head`` is the classifier's, empty for none; it judges
    what ``head_reads`` says, and its score counts from ``threshold`` on. An answer's text waits for it no
    longer than ``head_deadline_ms``; then ``on_error`` says what happens. ``roles`` and ``origins`` narrow
    what of a request is judged: by default what users and tools say, since a system prompt may name what it
    forbids.
    """

    request: OnRequest = OnRequest.BLOCK
    answer: OnAnswer = OnAnswer.CUT
    canned: Canned = CANNED
    topics: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    head: str = ""
    head_reads: HeadReads = HeadReads.REQUEST
    head_deadline_ms: Annotated[int, Interval(ge=1, le=LIMITS.classify_deadline_ms)] = 1_000
    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    roles: tuple[Role, ...] = (Role.USER, Role.TOOL)
    origins: tuple[Origin, ...] = ()

    def __post_init__(self) -> None:
        """Refuse topics that could not be told of, and phrases that could not be found.

        Raises:
            SettingError: a name is no small word, or a phrase has no word, too many, or too long ones; or
                what a head reads is said, and no head.
        """
        if self.head_reads is not HeadReads.REQUEST and not self.head:
            what = "needs the head of a classifier that reads answers"
            raise SettingError(("head_reads",), what, "write `head: NAME`, or take this out")
        if sum(map(len, self.topics.values())) > LIMITS.phrases_max:
            what = "has too many phrases"
            raise SettingError(("topics",), what, f"write at most {LIMITS.phrases_max} in all topics")
        for name, phrases in self.topics.items():
            if not (name.isascii() and name.isidentifier() and name.islower()):
                what = "is no name of a topic"
                raise SettingError(("topics", name), what, "write a word of small letters, digits and _")
            for index, phrase in enumerate(phrases):
                if not 1 <= len([*words_in(phrase)]) <= LIMITS.phrase_words_max:
                    what = "is no phrase that could be found"
                    instead = f"write 1 to {LIMITS.phrase_words_max} words"
                    raise SettingError(("topics", name, index), what, instead)


class _Phrases:
    """The words that may come next in a phrase, and the topic of one that ends here."""

    __slots__ = ("next", "topic")

    def __init__(self) -> None:
        self.next: dict[str, Self] = {}
        self.topic = ""

    def add(self, phrase: str, topic: str) -> None:
        """Take a phrase."""
        node = self
        for word in words_in(phrase):
            node = node.next.setdefault(word.text, type(self)())
        node.topic = node.topic or topic


class _PhraseReader:
    """Follows every phrase that has begun, word by word."""

    __slots__ = ("_begun", "_phrases")

    def __init__(self, phrases: _Phrases) -> None:
        self._phrases = phrases
        self._begun: list[tuple[_Phrases, int]] = []

    @property
    def begins_at(self) -> int | None:
        """Where the first of them begins."""
        return self._begun[0][1] if self._begun else None

    def read(self, word: Word) -> Finding | None:
        """The phrase that ends with a word: of several the one that began first."""
        begun = [*self._begun, (self._phrases, word.start)]
        self._begun = [
            (following, start)
            for node, start in begun
            if (following := node.next.get(word.text)) is not None
        ]
        for node, start in self._begun:
            if node.topic:
                return finding(f"TOPIC_{node.topic.upper()}", start, word.end, _PHRASES)
        return None


class _PhraseScanner(WordScanner):
    __slots__ = ("_reader",)

    def __init__(self, phrases: _Phrases) -> None:
        super().__init__()
        self._reader = _PhraseReader(phrases)

    def take(self, word: Word) -> Finding | None:
        """Follow the phrases by one more word."""
        return self._reader.read(word)

    def holds_from(self) -> int | None:
        """Where the first phrase begins that may go on."""
        return self._reader.begins_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Moderation:
    """Finds phrases in both directions, and asks a classifier about requests."""

    settings: Settings
    phrases: _Phrases = field(compare=False)

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """One Classify for all that is judged, where the policy names a head."""
        judged = self._judged(exchange) if self._asks else ()
        tenant = "" if exchange.principal is None else exchange.principal.tenant
        texts = tuple(one.apart for one in judged)
        return (Classify(head=self.settings.head, texts=texts, tenant=tenant),) if texts else ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Refuse what has a phrase of a topic, or scores at the threshold or above.

        Raises:
            ValueError: The answers are not those to ``needs``; a bug, and it must not pass.
        """
        judged = self._judged(exchange)
        findings = [found for segment in judged for found in self._found_in(segment)]
        score: float | None = None
        if self._asks and judged:
            scores = self._scores(answers, len(judged))
            score = max(one.score for one in scores.scores)
            findings += [
                _located(segment, finding(_BY_MODEL, 0, len(segment.text), scores.model, score=one.score))
                for segment, one in zip(judged, scores.scores, strict=True)
                # Written so that a score that is no number is refused.
                if not one.score < self.settings.threshold
            ]
        if not findings:
            return Verdict(action=Action.ALLOW, reason=Reason.CLEAN, score=score, threshold=self._threshold)
        blocks = self.settings.request is OnRequest.BLOCK
        return Verdict(
            action=Action.BLOCK if blocks else Action.ALLOW,
            reason=Reason.TOPIC_BLOCKED,
            status=_REFUSED_STATUS,
            message=_REQUEST_MESSAGE if blocks else "",
            score=score,
            threshold=self._threshold,
            findings=tuple(findings),
        )

    def scanner(self, exchange: ExchangeView) -> JudgeWatch | None:
        """Watch for the phrases of topics, and have the head judge the rest."""
        asks = exchange.request is not None and exchange.request.operation.asks_a_model
        model = self._model
        if not asks or not (self.phrases.next or model):
            return None
        return JudgeWatch(
            judge=_PhraseJudge(self.phrases),
            on_finding=self.settings.answer,
            reason=Reason.TOPIC_BLOCKED,
            message=_ANSWER_MESSAGE,
            canned=self.settings.canned,
            model=model,
        )

    @property
    def _asks(self) -> bool:
        """Whether the head judges requests."""
        return bool(self.settings.head) and self.settings.head_reads is not HeadReads.ANSWER

    @property
    def _model(self) -> ScoreModel | None:
        if not self.settings.head or self.settings.head_reads is HeadReads.REQUEST:
            return None
        return ScoreModel(
            head=self.settings.head,
            threshold=self.settings.threshold,
            entity_type=_BY_MODEL,
            detector=f"moderation/{self.settings.head}",
            deadline_ms=self.settings.head_deadline_ms,
        )

    @property
    def _threshold(self) -> float | None:
        return self.settings.threshold if self._asks else None

    def _judged(self, exchange: ExchangeView) -> tuple[Segment, ...]:
        request = exchange.request
        roles, origins = self.settings.roles, self.settings.origins
        return tuple(
            segment
            for segment in (() if request is None else request.segments)
            if segment.text
            and (not roles or segment.role in roles)
            and (not origins or segment.origin in origins)
        )

    def _scores(self, answers: tuple[Answer, ...], count: int) -> Scores:
        match answers:
            case (Scores() as scores,) if scores.head == self.settings.head and len(scores.scores) == count:
                return scores
            case _:
                raise ValueError("the moderation guard was given answers to another question")

    def _found_in(self, segment: Segment) -> Iterator[LocatedFinding]:
        """The phrases of a segment, whichever way a server joins its parts."""
        if not self.phrases.next:
            return
        readings = [segment.text, segment.apart] if segment.seams else [segment.text]
        for text in readings:
            reader = _PhraseReader(self.phrases)
            for word in words_in(text):
                found = reader.read(word)
                if found is not None:
                    # One tells enough.
                    yield _located(segment, found)
                    return


@dataclass(frozen=True, slots=True)
class _PhraseJudge:
    phrases: _Phrases

    def begin(self) -> "_PhraseJudging":
        """Nothing of it is the exchange's own."""
        return _PhraseJudging(self.phrases)


class _PhraseJudging(NoCalls):
    def __init__(self, phrases: _Phrases) -> None:
        self._phrases = phrases

    def open(self, channel: Channel) -> _PhraseScanner | None:
        """Every text but the names of tools, where there are phrases."""
        reads = self._phrases.next and kind_of(channel) is not ChannelKind.NAME
        return _PhraseScanner(self._phrases) if reads else None


def _located(segment: Segment, found: Finding) -> LocatedFinding:
    return LocatedFinding(lane=Lane.REQUEST, place=segment.place, finding=found)


def _build(settings: Settings, env: GuardEnv) -> Moderation:
    del env
    phrases = _Phrases()
    for topic, listed in settings.topics.items():
        for phrase in listed:
            phrases.add(phrase, topic)
    return Moderation(settings=settings, phrases=phrases)


GUARD = GuardSpec(
    name="moderation",
    stage=Stage.INSPECT,
    owasp="LLM05",
    error_reason=Reason.CLASSIFIER_UNAVAILABLE,
    settings=Settings,
    build=bound_to(Settings, _build),
    mode=Mode.OFF,
)
