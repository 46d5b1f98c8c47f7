"""The fixed requests of ``headgate demo --once``: real clients, and whether each got what it should."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import httpx

from extproc.demo.cases import CASES, Answer, Case, Seen, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from extproc.demo.credentials import Credentials
    from extproc.demo.stack import Stack

_TIMED_RUNS: Final = 5
_RECORD_WITHIN_S: Final = 10.0
_PAUSE_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one request.

    ``decision`` and ``reason`` are those of its verdict record. ``added_ms`` is the median time through the
    gateway less the median straight to Triton; None where Triton would answer something else. ``fault``
    says what was not as expected.
    """

    name: str
    sent: str
    got: str
    status: int
    decision: str
    reason: str
    added_ms: float | None
    fault: str

    @property
    def ok(self) -> bool:
        """Whether all was as expected."""
        return not self.fault

    def as_json(self) -> dict[str, object]:
        """The row as ``--json`` prints it."""
        return {
            "name": self.name,
            "ok": self.ok,
            "status": self.status,
            "decision": self.decision,
            "reason": self.reason,
            "added_ms": self.added_ms,
        }


class Player:
    """Plays the cases against a running stack."""

    def __init__(self, stack: Stack, credentials: Credentials) -> None:
        self._stack = stack
        self._keys = credentials.keys
        self._journal = stack.triton.journal
        self._clients: list[httpx.Client] = []
        self._direct = self._target(f"http://127.0.0.1:{stack.triton.port}", {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()

    def play(self, told: Callable[[str], None]) -> tuple[Row, ...]:
        """Every case in order; ``told`` hears its name before each."""
        rows = []
        for case in CASES:
            told(case.name)
            rows.append(self._row(case))
        return tuple(rows)

    def _target(self, url: str, headers: dict[str, str]) -> Target:
        client = httpx.Client(base_url=url, headers=headers, timeout=60)
        self._clients.append(client)
        return Target(client=client, address=url.removeprefix("http://"), headers=headers)

    def _row(self, case: Case) -> Row:
        key = self._keys.get(case.tenant or "")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        through = self._target(self._stack.envoy.url, headers)
        records_before = len(_lines(self._stack.headgate.verdict_log))
        received_before = len(self._received())
        answer = case.call(through)
        record = self._record(answer, records_before)
        decision, reason = str(record.get("action", "")), str(record.get("reason", ""))
        seen = Seen(answer=answer, received=tuple(self._received()[received_before:]))
        return Row(
            name=case.name,
            sent=case.sent,
            got=case.got(seen),
            status=answer.status,
            decision=decision or "no record",
            reason=reason,
            added_ms=self._added_ms(case, through),
            fault=_fault(case, seen, decision, reason),
        )

    def _record(self, answer: Answer, before: int) -> dict[str, object]:
        """The verdict record of the request; empty if none comes.

        A client that hides the answer's headers has no id to look for. Requests are played one after the
        other, so that the record is then the newest one.
        """
        end = time.monotonic() + _RECORD_WITHIN_S
        while True:
            for record in reversed(_lines(self._stack.headgate.verdict_log)[before:]):
                if answer.request_id in ("", record.get("request_id")):
                    return record
            if time.monotonic() > end:
                return {}
            time.sleep(_PAUSE_S)

    def _received(self) -> list[str]:
        """The prompts that the model has received so far."""
        if self._journal is None:
            return []
        return [str(one["prompt"]) for one in _lines(self._journal) if one["event"] == "received"]

    def _added_ms(self, case: Case, through: Target) -> float | None:
        if not case.timed:
            return None
        return round(_median_ms(case, through) - _median_ms(case, self._direct), 1)


def _median_ms(case: Case, target: Target) -> float:
    times = []
    for _ in range(_TIMED_RUNS):
        began = time.perf_counter()
        case.call(target)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _fault(case: Case, seen: Seen, decision: str, reason: str) -> str:
    """What is not as expected, in a few words; empty where all is."""
    pairs = (
        ("status", case.status, seen.answer.status),
        ("decision", case.action.name.lower(), decision),
        ("reason", case.reason, reason),
    )
    for what, expected, actual in pairs:
        if actual != expected:
            return f"{what} is {actual or 'missing'}, expected {expected}"
    return case.check(seen)


def _lines(path: Path) -> list[dict[str, object]]:
    """The whole lines of a JSONL file that another process writes."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
