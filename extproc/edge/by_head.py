"""Shares the effect Classify out between services with threads of their own, by the head that is asked.

A model on a server keeps its thread waiting: were that one of the injection model's, a server that hangs
would stand in the way of guards that need nothing of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.effects import Classify, Scores
    from extproc.edge.inference import InferenceService


class InferenceByHead:
    """Several services as one.

    ``local`` has the models of this process and whatever head is unknown, which it refuses; ``remote`` maps
    heads to the service that asks a server for them.
    """

    def __init__(self, local: InferenceService, remote: Mapping[str, InferenceService]) -> None:
        self._local = local
        self._remote = dict(remote)

    @property
    def healthy(self) -> bool:
        """Whether a call to a model of this process has a thread to hope for."""
        return self._local.healthy

    @property
    def waiting_texts(self) -> int:
        """Texts that no thread has taken yet."""
        return sum(one.waiting_texts for one in self._all())

    @property
    def busy_threads(self) -> int:
        """Threads that infer or wait for a server."""
        return sum(one.busy_threads for one in self._all())

    async def classify(self, effect: Classify, *, deadline_ms: int) -> Scores:
        """As the service of the effect's head; raises DependencyError as it does."""
        return await self._remote.get(effect.head, self._local).classify(effect, deadline_ms=deadline_ms)

    async def close(self, *, drain_ms: int) -> None:
        """Close all of them, together within that time."""
        await asyncio.gather(*(one.close(drain_ms=drain_ms) for one in self._all()))

    def _all(self) -> set[InferenceService]:
        return {self._local, *self._remote.values()}
