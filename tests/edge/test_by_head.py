"""Services with threads of their own, as one."""

from __future__ import annotations

import asyncio
import threading

import pytest

from classifiers.classifier import TextScore
from extproc.domain.effects import Classify
from extproc.domain.errors import DependencyError, FailureKind
from extproc.edge.by_head import InferenceByHead
from extproc.edge.inference import InferenceBounds, InferenceService

LONG_MS = 30_000


class Waiting:
    """Scores once it may."""

    def __init__(self, name):
        self.model_id = name
        self.go = threading.Event()
        self.started = threading.Event()

    def score(self, texts, *, windows_max, proceed):
        self.started.set()
        self.go.wait(LONG_MS / 1000)
        return [TextScore(score=0.5, window_count=1, token_count=1, start=0, end=1) for _ in texts]


def service(heads):
    bounds = InferenceBounds(
        workers=1, queue_texts_max=8, tenant_texts_max=8, windows_max=16, stall_ms=LONG_MS
    )
    return InferenceService(heads, bounds)


def test_a_server_that_hangs_is_in_nobody_elses_way():
    async def scenario():
        local, remote = Waiting("local"), Waiting("remote")
        local.go.set()
        judges = service({"toxic": remote, "spam": remote})
        both = InferenceByHead(service({"injection": local}), {"toxic": judges, "spam": judges})
        hanging = [
            asyncio.create_task(both.classify(Classify(head=head, texts=("a",)), deadline_ms=LONG_MS))
            for head in ("toxic", "spam")
        ]
        await asyncio.to_thread(remote.started.wait)
        scores = await both.classify(Classify(head="injection", texts=("a",)), deadline_ms=LONG_MS)
        assert (scores.model, scores.head) == ("local", "injection")
        assert (both.healthy, both.busy_threads, both.waiting_texts) == (True, 1, 1)
        remote.go.set()
        assert [(one.head, one.model) for one in await asyncio.gather(*hanging)] == [
            ("toxic", "remote"),
            ("spam", "remote"),
        ]
        await both.close(drain_ms=LONG_MS)
        assert both.healthy is False
        for head in ("injection", "toxic"):
            with pytest.raises(DependencyError):
                await both.classify(Classify(head=head, texts=("a",)), deadline_ms=LONG_MS)

    asyncio.run(scenario())


def test_a_head_that_nobody_has_is_refused():
    async def scenario():
        both = InferenceByHead(service({"injection": Waiting("local")}), {})
        with pytest.raises(DependencyError) as caught:
            await both.classify(Classify(head="other", texts=("a",)), deadline_ms=LONG_MS)
        assert caught.value.kind is FailureKind.UNAVAILABLE
        await both.close(drain_ms=LONG_MS)

    asyncio.run(scenario())
