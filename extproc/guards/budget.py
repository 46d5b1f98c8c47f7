"""Whether the tenant has tokens left for a request (OWASP LLM10, unbounded consumption).

Tokens are held before the model runs: the prompt's estimate and, for every answer asked for, the most
that it may have. So requests that run at once cannot spend the same tokens. What was really used is
settled when the exchange ends.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from annotated_types import Interval, Len

from extproc.domain.effects import Answer, Effect, Reserve, Reserved
from extproc.domain.identity import Reservation, TokenLimit, Window
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ALLOWED, ExchangeView, GuardEnv, GuardSpec, RequestMessage, Verdict
from extproc.domain.scanning import RuleWatch
from extproc.domain.segment import Operation
from extproc.domain.verdict import Action, Reason, Stage
from extproc.guards._binding import bound_to
from extproc.guards._tokens import prompt_tokens

BAD_REQUEST_STATUS: Final = 400
TOO_LARGE_STATUS: Final = 413
UNAVAILABLE_STATUS: Final = 503

LIMITS_COUNT_MAX: Final = 3
"""One for each window that there is."""

DEFAULT_LIMITS: Final = (
    TokenLimit(window=Window.MINUTE, tokens=100_000),
    TokenLimit(window=Window.DAY, tokens=5_000_000),
)
"""A small service's chats, and one prompt in English of the length that admission lets in by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a tenant may spend.

    ``limits`` hold all at once, at most one for each window; each counts prompts and answers together.
    ``over_limit_status`` is what a refused client sees: 429, or 403 for clients that would otherwise try
    again by themselves. ``output_tokens_default_max`` is written into requests that set no limit of their
    own, where the schema guard has not done so. ``lease_ms`` is how long tokens stay held after this
    service has died; it cannot be shorter than the time in which running exchanges renew it.
    """

    limits: Annotated[tuple[TokenLimit, ...], Len(1, LIMITS_COUNT_MAX)] = DEFAULT_LIMITS
    over_limit_status: Literal[429, 403] = 429
    output_tokens_default_max: Annotated[int, Interval(ge=1, le=10_000_000)] = 1_024
    lease_ms: Annotated[int, Interval(ge=LIMITS.lease_ms, le=LIMITS.lease_ms_max)] = LIMITS.lease_ms

    def __post_init__(self) -> None:
        if len({limit.window for limit in self.limits}) != len(self.limits):
            raise ValueError("two limits have the same window")
        if not all(1 <= limit.tokens <= LIMITS.limit_tokens_max for limit in self.limits):
            raise ValueError(f"a limit's tokens must be from 1 to {LIMITS.limit_tokens_max}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Reserves tokens of one tenant, and refuses where they are not there."""

    settings: Settings
    tenant: str

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """A Reserve, except where the request is free, faulty or larger than any window."""
        plan = self._plan(exchange)
        return (Reserve(reservation=plan),) if isinstance(plan, Reservation) else ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Allow with the reservation and the cap that it counts on, or refuse."""
        plan = self._plan(exchange)
        if isinstance(plan, Verdict):
            return plan
        match answers:
            case (Reserved(granted=True),) if exchange.request is not None:
                return Verdict(
                    action=Action.ALLOW,
                    reason=Reason.CLEAN,
                    cap_output_tokens=self._output_tokens_max(exchange.request) or None,
                    reservation=plan,
                )
            case (Reserved(granted=False) as denied,):
                return self._over_limit(denied)
            case _:
                return _NOT_RESERVED

    def scanner(self, exchange: ExchangeView) -> RuleWatch | None:
        """None: the answer is not this guard's."""
        del exchange
        return None

    def _output_tokens_max(self, request: RequestMessage) -> int:
        """The most tokens of one answer: the caller's limit, or the policy's; an embedding has none."""
        if request.operation is Operation.EMBEDDINGS:
            return 0
        asked = request.params.max_output_tokens
        return self.settings.output_tokens_default_max if asked is None else asked

    def _plan(self, exchange: ExchangeView) -> Reservation | Verdict:
        """What to reserve; a verdict where that needs no asking."""
        request = exchange.request
        if request is None:
            return _NOT_RESERVED
        if not request.operation.asks_a_model:
            return ALLOWED
        fault = _counts_fault(request)
        if fault is not None:
            return _refused(Reason.PARAMETER_NOT_ALLOWED, BAD_REQUEST_STATUS, fault)
        tokens = prompt_tokens(request) + request.params.choices_count * self._output_tokens_max(request)
        smallest = min(self.settings.limits, key=lambda limit: limit.tokens)
        if tokens > smallest.tokens:
            return _never_fits(tokens, smallest)
        return Reservation(
            reservation_id=exchange.exchange_id,
            tenant=self.tenant,
            tokens=tokens,
            limits=self.settings.limits,
            lease_ms=self.settings.lease_ms,
        )

    def _over_limit(self, denied: Reserved) -> Verdict:
        limit = denied.limit
        message = (
            f"the token budget of {limit.tokens} a {limit.window} has {denied.remaining} tokens left, "
            "too few for this request and its longest answer; try again later"
        )
        headers = (
            ("retry-after", str(max(_whole_seconds(denied.retry_after_ms), 1))),
            *_limit_headers(limit),
            ("x-ratelimit-remaining-tokens", str(denied.remaining)),
            ("x-ratelimit-reset-tokens", str(_whole_seconds(denied.reset_ms))),
        )
        status = self.settings.over_limit_status
        return _refused(Reason.BUDGET_EXCEEDED, status, message, limit=limit, headers=headers)


def _counts_fault(request: RequestMessage) -> str | None:
    """What would make the sum meaningless. The schema guard says the same, but may be off."""
    asked = request.params.max_output_tokens
    if asked is not None and asked < 1:
        return "the limit of output tokens must be at least 1"
    if request.params.choices_count < 1:
        return "the number of answers asked for must be at least 1"
    return None


def _never_fits(tokens: int, limit: TokenLimit) -> Verdict:
    """Not 429 and no Retry-After: the same request fails at any time, and clients should not repeat it."""
    wanted = min(tokens, LIMITS.limit_tokens_max)
    message = (
        f"this request may use {wanted} tokens, more than the whole token budget of {limit.tokens} a "
        f"{limit.window}; shorten it or lower its limit of output tokens"
    )
    headers = _limit_headers(limit)
    return _refused(Reason.BUDGET_EXCEEDED, TOO_LARGE_STATUS, message, limit=limit, headers=headers)


def _limit_headers(limit: TokenLimit) -> tuple[tuple[str, str], ...]:
    return (("x-ratelimit-limit-tokens", str(limit.tokens)),)


def _whole_seconds(duration_ms: int) -> int:
    return -(-duration_ms // 1_000)


def _refused(
    reason: Reason,
    status: int,
    message: str,
    *,
    limit: TokenLimit | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Verdict:
    return Verdict(
        action=Action.BLOCK,
        reason=reason,
        status=status,
        message=message,
        headers=headers,
        detector=None if limit is None else f"tokens_per_{limit.window}",
    )


_NOT_RESERVED: Final = _refused(
    Reason.BUDGET_UNAVAILABLE, UNAVAILABLE_STATUS, "the token budget could not be asked; try again later"
)


def _build(settings: Settings, env: GuardEnv) -> Budget:
    return Budget(settings=settings, tenant=env.tenant)


GUARD = GuardSpec(
    name="budget",
    stage=Stage.BUDGET,
    owasp="LLM10",
    error_reason=Reason.BUDGET_UNAVAILABLE,
    settings=Settings,
    build=bound_to(Settings, _build),
)
