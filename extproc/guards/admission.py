"""Whether a prompt can be read, is not empty and within its bounds (OWASP LLM10, unbounded consumption).

Bytes, depth and nodes of the body are bounded before this, where it is read.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from annotated_types import Interval

from extproc.domain.effects import Answer, Effect
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ALLOWED, ExchangeView, GuardEnv, GuardSpec, RequestMessage, Verdict
from extproc.domain.scanning import RuleWatch
from extproc.domain.segment import Segment, Unscanned
from extproc.domain.verdict import Action, Reason, Stage
from extproc.guards._binding import bound_to

BAD_REQUEST_STATUS = 400
TOO_LARGE_STATUS = 413

# Code points that show nothing: white space, controls, Default_Ignorable_Code_Point of Unicode 16
# (DerivedCoreProperties.txt) and the blank Braille cell. Tag characters, a known way to smuggle text
# past a reader, are among them.
_VISIBLE: Final = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much text a request may hold.

    ``prompt_chars_max`` counts code points over all segments. The default is about 25,000 tokens of
    English: what the injection classifier reads on one CPU core within its deadline (16 ms per window
    of 256 tokens, stride 192). With a GPU it can be raised. ``segments_max`` holds 500 turns.
    ``unscanned`` are the kinds of content that may pass though no guard can read them.
    """

    prompt_chars_max: Annotated[int, Interval(ge=1, le=LIMITS.body_bytes_max)] = 100_000
    segments_max: Annotated[int, Interval(ge=1, le=LIMITS.json_nodes_max)] = 1_024
    unscanned: tuple[Unscanned, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Refuses prompts without visible text, beyond their bounds, or with parts that nothing can read."""

    settings: Settings

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """Nothing."""
        del exchange
        return ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Allow, or refuse with the bound that was passed."""
        del answers
        request = exchange.request
        if request is None:
            return _refused(Reason.PROMPT_EMPTY, BAD_REQUEST_STATUS, _EMPTY)
        if not request.operation.asks_a_model:
            return ALLOWED
        return self._length_fault(request) or self._content_fault(request) or ALLOWED

    def scanner(self, exchange: ExchangeView) -> RuleWatch | None:
        """None: the answer is not this guard's."""
        del exchange
        return None

    def _length_fault(self, request: RequestMessage) -> Verdict | None:
        segments_max, chars_max = self.settings.segments_max, self.settings.prompt_chars_max
        if sum(1 + len(segment.seams) for segment in request.segments) > segments_max:
            message = f"the prompt has too many parts: at most {segments_max} are accepted"
            return _refused(Reason.PROMPT_TOO_LONG, TOO_LARGE_STATUS, message)
        # Numbers reach the model as text does, but a segment is made of none that is short.
        bare = 0 if Unscanned.TOKEN_IDS in request.unscanned else request.bare_bytes
        if max(sum(len(segment.text) for segment in request.segments), bare) > chars_max:
            message = f"the prompt is too long: at most {chars_max} characters are accepted"
            return _refused(Reason.PROMPT_TOO_LONG, TOO_LARGE_STATUS, message)
        return None

    def _content_fault(self, request: RequestMessage) -> Verdict | None:
        unread = sorted(request.unscanned.difference(self.settings.unscanned))
        if unread:
            message = f"content that cannot be inspected is not accepted: {', '.join(unread)}"
            return _refused(Reason.CONTENT_UNSCANNED, BAD_REQUEST_STATUS, message)
        if not request.unscanned and not _any_visible(request.segments):
            return _refused(Reason.PROMPT_EMPTY, BAD_REQUEST_STATUS, _EMPTY)
        return None


_EMPTY: Final = "the prompt is empty: it holds no visible character"


def _any_visible(segments: tuple[Segment, ...]) -> bool:
    return any(_VISIBLE.search(segment.text) for segment in segments)


def _refused(reason: Reason, status: int, message: str) -> Verdict:
    return Verdict(action=Action.BLOCK, reason=reason, status=status, message=message)


def _build(settings: Settings, env: GuardEnv) -> Admission:
    del env
    return Admission(settings=settings)


GUARD = GuardSpec(
    name="admission",
    stage=Stage.ADMISSION,
    owasp="LLM10",
    error_reason=Reason.INTERNAL,
    settings=Settings,
    build=bound_to(Settings, _build),
)
