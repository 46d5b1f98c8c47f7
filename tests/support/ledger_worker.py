"""What a second process does in the ledger's tests. Importable, as a spawned process needs it."""

from __future__ import annotations

import asyncio

from clocked_ledger import PATIENT

from extproc.domain.identity import Reservation, TokenLimit, Window
from extproc.edge.ledger import Ledger


def count_granted(url: str, prefix: str, count: int) -> int:
    """Ask for 10 of 100 tokens ``count`` times at once; gives how often they were granted."""
    limits = (TokenLimit(window=Window.DAY, tokens=100),)

    async def ask() -> int:
        ledger = Ledger(url, limits=PATIENT)
        try:
            answers = await asyncio.gather(
                *(
                    ledger.reserve(
                        Reservation(
                            reservation_id=f"{prefix}-{index}",
                            tenant="acme",
                            tokens=10,
                            limits=limits,
                            lease_ms=120_000,
                        )
                    )
                    for index in range(count)
                )
            )
        finally:
            await ledger.close()
        return sum(answer.granted for answer in answers)

    return asyncio.run(ask())
