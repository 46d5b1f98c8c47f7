"""The classifiers of the service in this process: the same models, windows and bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from extproc.app import open_classifier
from extproc.domain.errors import DependencyError
from extproc.domain.limits import LIMITS
from extproc.edge.inference import InferenceBounds, InferenceService
from extproc.explain.model import ExplainError
from extproc.judges import INJECTION, NONE, JudgePlace, open_judges
from extproc.policy.faults import nearest

if TYPE_CHECKING:
    from extproc.domain.effects import Classify, Scores
    from extproc.domain.errors import FailureKind
    from extproc.explain.run import Scoring

_GIVE_ONE: Final = "give --judge-model as to `headgate serve`"


def model_scoring(judge: JudgePlace | None = None) -> Scoring:
    """Load the model, and the operator's own.

    Raises:
        HeadgateError: one cannot be loaded.
    """
    own = NONE if judge is None else open_judges(judge, threads=1)
    heads = {INJECTION: open_classifier(threads=1), **own.heads}
    service = InferenceService(
        heads,
        InferenceBounds(
            workers=1,
            queue_texts_max=LIMITS.classify_queue_max,
            tenant_texts_max=LIMITS.classify_tenant_queue_max,
            windows_max=LIMITS.classify_windows_max,
            stall_ms=LIMITS.classify_stall_ms,
        ),
    )

    def score(effect: Classify) -> Scores | FailureKind:
        if effect.head not in heads:
            instead = nearest(effect.head, sorted(own.heads)) if own.heads else _GIVE_ONE
            raise ExplainError(
                f"the policy asks for the head {effect.head}, which no model here has; {instead} (or leave "
                "classifiers out with --no-model)"
            )
        deadline_ms = LIMITS.explain_classify_deadline_ms
        try:
            return asyncio.run(service.classify(effect, deadline_ms=deadline_ms))
        except DependencyError as error:
            return error.kind

    return score
