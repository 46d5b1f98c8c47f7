"""Whether a prompt tries to take the model over (OWASP LLM01, prompt injection)."""

from dataclasses import dataclass
from typing import Annotated, Final

from annotated_types import Interval

from extproc.domain.ports import (
    ALLOWED,
    Answer,
    Classify,
    Effect,
    ExchangeView,
    GuardEnv,
    GuardSpec,
    RuleWatch,
    Scores,
    TextScore,
    Verdict,
)
from extproc.domain.segment import Origin, Role, Segment
from extproc.domain.verdict import Action, Finding, Lane, LocatedFinding, Reason, Stage
from extproc.guards._binding import bound_to

HEAD: Final = "injection"
ENTITY_TYPE: Final = "PROMPT_INJECTION"
REFUSED_STATUS = 403
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """Asks the classifier about every segment and refuses at the threshold."""

    settings: Settings

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """One Classify for all segments together; nothing where there is no text."""
        texts = tuple(segment.text for segment in self._judged(exchange))
        tenant = "" if exchange.principal is None else exchange.principal.tenant
        return (Classify(head=HEAD, texts=texts, tenant=tenant),) if texts else ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Refuse where a segment scores at the threshold or above.

        Raises:
            ValueError: The answers are not those to ``needs``; a bug, and it must not pass.
        """
        segments = self._judged(exchange)
        if not segments:
            return ALLOWED
        scores = _scores(answers, len(segments))
        pairs = zip(segments, scores.scores, strict=True)
        over = [(segment, score) for segment, score in pairs if not self._passes(segment, score)]
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
            findings=tuple(_located(segment, score, scores.model) for segment, score in over),
        )

    def scanner(self, exchange: ExchangeView) -> RuleWatch | None:
        """None: the answer is not this guard's."""
        del exchange
        return None

    def _judged(self, exchange: ExchangeView) -> tuple[Segment, ...]:
        request = exchange.request
        if request is None:
            return ()
        roles, origins = self.settings.roles, self.settings.origins
        return tuple(
            segment
            for segment in request.segments
            if segment.text
            and (not roles or segment.role in roles)
            and (not origins or segment.origin in origins)
        )

    def _passes(self, segment: Segment, score: TextScore) -> bool:
        """Whether the text was seen, and is harmless. Written so that a score of NaN is refused.

        Text of which the model sees no token although it is not blank is made of invisible characters:
        what cannot be judged may still be read by the served model (tag characters spell ASCII).
        """
        unseen = score.tokens == 0 and not segment.text.isspace()
        return score.score < self.settings.threshold and not unseen


def _scores(answers: tuple[Answer, ...], count: int) -> Scores:
    match answers:
        case (Scores(head="injection") as scores,) if len(scores.scores) == count:
            return scores
        case _:
            raise ValueError("the injection guard was given answers to another question")


def _located(segment: Segment, score: TextScore, model: str) -> LocatedFinding:
    finding = Finding(
        entity_type=ENTITY_TYPE, start=score.start, end=score.end, score=score.score, detector=model
    )
    return LocatedFinding(lane=Lane.REQUEST, place=segment.place, finding=finding)


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
