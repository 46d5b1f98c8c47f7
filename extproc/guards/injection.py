"""Whether a prompt tries to take the model over (OWASP LLM01, prompt injection)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

from annotated_types import Interval

from extproc.domain.effects import Answer, Classify, Effect, Scores, TextScore
from extproc.domain.ports import ALLOWED, ExchangeView, GuardEnv, GuardSpec, Verdict
from extproc.domain.scanning import RuleWatch
from extproc.domain.segment import Origin, Role, Segment
from extproc.domain.verdict import Action, Finding, Lane, LocatedFinding, Reason, Stage
from extproc.guards._binding import bound_to
from extproc.redaction.transducer import undisguised

HEAD: Final = "injection"
ENTITY_TYPE: Final = "PROMPT_INJECTION"
REFUSED_STATUS = 403
# Of two readings that differ by a line end, so much on either side of it is asked about: a window's worth.
_SEAM_CHARS: Final = 400
_MESSAGE: Final = "the request was refused: its text looks like an attempt at prompt injection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which text is scored, and from which score on it is refused.

    ``threshold``: 0.52 is the calibrated one that the shipped model (minilm-multihead-v5 of
    stackone-defender 0.9.4, temperature 2.41) was published with; another model needs its own.
    ``roles`` and ``origins`` narrow what is judged; empty means all, as an attack can stand anywhere.
    """

    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.52
    roles: tuple[Role, ...] = ()
    origins: tuple[Origin, ...] = ()


class _Reading(NamedTuple):
    """A text that a segment may be to the model; ``apart_from``: where it begins in ``Segment.apart``.

    ``seen_of`` is the text as it came, where ``text`` is how it is seen.
    """

    segment: Segment
    text: str
    apart_from: int | None = None
    seen_of: str = ""

    def place_of(self, position: int) -> int:
        """Where in the segment's text a position of this text stands."""
        if self.apart_from is None:
            return position
        return self.segment.place_of(self.apart_from + position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """Asks the classifier about every segment and refuses at the threshold."""

    settings: Settings

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """One Classify for all segments together; nothing where there is no text."""
        texts = tuple(reading.text for reading in self._judged(exchange))
        tenant = "" if exchange.principal is None else exchange.principal.tenant
        return (Classify(head=HEAD, texts=texts, tenant=tenant),) if texts else ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Refuse where a segment scores at the threshold or above.

        Raises:
            ValueError: The answers are not those to ``needs``; a bug, and it must not pass.
        """
        readings = self._judged(exchange)
        if not readings:
            return ALLOWED
        scores = _scores(answers, len(readings))
        pairs = zip(readings, scores.scores, strict=True)
        over = [(reading, score) for reading, score in pairs if not self._passes(reading, score)]
        found = bool(over)
        return Verdict(
            action=Action.BLOCK if found else Action.ALLOW,
            reason=Reason.INJECTION_DETECTED if found else Reason.CLEAN,
            status=REFUSED_STATUS,
            message=_MESSAGE if found else "",
            score=max(one.score for one in scores.scores),
            threshold=self.settings.threshold,
            detector=scores.model,
            windows=sum(one.windows for one in scores.scores),
            findings=tuple(_located(reading, score, scores.model) for reading, score in over),
        )

    def scanner(self, exchange: ExchangeView) -> RuleWatch | None:
        """None: the answer is not this guard's."""
        del exchange
        return None

    def _judged(self, exchange: ExchangeView) -> tuple[_Reading, ...]:
        request = exchange.request
        if request is None:
            return ()
        roles, origins = self.settings.roles, self.settings.origins
        return tuple(
            reading
            for segment in request.segments
            if segment.text
            and (not roles or segment.role in roles)
            and (not origins or segment.origin in origins)
            for reading in _seen(_readings(segment))
        )

    def _passes(self, reading: _Reading, score: TextScore) -> bool:
        """Whether the text was seen, and is harmless. Written so that a score of NaN is refused.

        Text of which the model sees no token although it is not blank is made of invisible characters:
        what cannot be judged may still be read by the served model (tag characters spell ASCII).
        """
        unseen = score.tokens == 0 and not reading.text.isspace()
        return score.score < self.settings.threshold and not unseen


def _scores(answers: tuple[Answer, ...], count: int) -> Scores:
    match answers:
        case (Scores(head="injection") as scores,) if len(scores.scores) == count:
            return scores
        case _:
            raise ValueError("the injection guard was given answers to another question")


def _readings(segment: Segment) -> Iterator[_Reading]:
    """A segment's text; where parts of it meet, what is around their seams with a line end there too."""
    yield _Reading(segment, segment.text)
    if not segment.seams:
        return
    apart = segment.apart
    start = end = 0
    for line_ends_before, seam in enumerate(segment.seams):
        at = seam + line_ends_before
        if at - _SEAM_CHARS > end:
            if end:
                yield _Reading(segment, apart[start:end], start)
            start = at - _SEAM_CHARS
        end = at + 1 + _SEAM_CHARS
    yield _Reading(segment, apart[start:end], start)


def _seen(readings: Iterator[_Reading]) -> Iterator[_Reading]:
    """Readings, and after each how it is seen where letters are disguised in it."""
    for reading in readings:
        yield reading
        text = undisguised(reading.text)
        if text != reading.text:
            yield reading._replace(text=text, seen_of=reading.text)


def _located(reading: _Reading, score: TextScore, model: str) -> LocatedFinding:
    # Where in the text as it came the window of a text as it is seen stands is not kept: all of it is.
    span = (0, len(reading.seen_of)) if reading.seen_of else (score.start, score.end)
    start, end = map(reading.place_of, span)
    finding = Finding(entity_type=ENTITY_TYPE, start=start, end=end, score=score.score, detector=model)
    return LocatedFinding(lane=Lane.REQUEST, place=reading.segment.place, finding=finding)


def _build(settings: Settings, env: GuardEnv) -> Injection:
    del env
    return Injection(settings=settings)


GUARD = GuardSpec(
    name="injection",
    stage=Stage.INSPECT,
    owasp="LLM01",
    error_reason=Reason.CLASSIFIER_UNAVAILABLE,
    settings=Settings,
    build=bound_to(Settings, _build),
)
