"""The classifier of the service in this process: the same model, windows and bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from extproc.app import open_classifier
from extproc.domain.errors import DependencyError
from extproc.domain.limits import LIMITS
from extproc.edge.inference import InferenceBounds, InferenceService

if TYPE_CHECKING:
    from extproc.domain.effects import Classify, Scores
    from extproc.domain.errors import FailureKind
    from extproc.explain.run import Scoring


def model_scoring() -> Scoring:
    """Load the model.

    Raises:
        StartError: it cannot be loaded.
    """
    service = InferenceService(
        {"injection": open_classifier(threads=1)},
        InferenceBounds(
            workers=1,
            queue_texts_max=LIMITS.classify_queue_max,
            tenant_texts_max=LIMITS.classify_tenant_queue_max,
            windows_max=LIMITS.classify_windows_max,
            stall_ms=LIMITS.classify_stall_ms,
        ),
    )

    def score(effect: Classify) -> Scores | FailureKind:
        deadline_ms = LIMITS.explain_classify_deadline_ms
        try:
            return asyncio.run(service.classify(effect, deadline_ms=deadline_ms))
        except DependencyError as error:
            return error.kind

    return score
