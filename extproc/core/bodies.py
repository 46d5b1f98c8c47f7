"""What is kept of an exchange where its policy keeps any: gathered while it runs, made when it has ended.

Where a policy keeps nothing there is no ``Capture``, and the hot path only finds that there is none.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from extproc.core.edits import apply_edits, merge_edits
from extproc.domain.bodies import AS_KEPT, Keep, KeptAnswer, KeptSegment, Sample
from extproc.domain.verdict import Action, Kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.core.exchange import Exchange
    from extproc.domain.bodies import BodyRule
    from extproc.domain.limits import Limits
    from extproc.domain.ports import RequestMessage
    from extproc.domain.segment import Channel, SegmentEdit
    from extproc.domain.verdict import Record


class Capture:
    """The answer's text of one exchange that is to be kept, within its bound."""

    __slots__ = ("_answer", "_answer_bytes", "_limits", "_over", "_rule")

    def __init__(self, rule: BodyRule, limits: Limits) -> None:
        self._rule = rule
        self._limits = limits
        self._answer: dict[Channel, list[str]] = {}
        self._answer_bytes = 0
        self._over = False

    @property
    def required(self) -> bool:
        """Whether the exchange may only go on if it can be kept."""
        return self._rule.required

    def fits(self, request: RequestMessage) -> bool:
        """Whether the request leaves room for the longest answer that is kept."""
        used = sum(size_bytes(segment.text) for segment in request.segments)
        return used <= self._limits.sample_bytes_max - self._limits.sample_answer_bytes_max

    def came(self, channel: Channel, text: str) -> None:
        """Take a piece of the answer as the upstream gave it."""
        if self._rule.keep is Keep.SEALED:
            self._take(channel, text)

    def released(self, channel: Channel, text: str) -> None:
        """Take a piece of the answer as it goes out."""
        if self._rule.keep is not Keep.SEALED:
            self._take(channel, text)

    def _take(self, channel: Channel, text: str) -> None:
        if self._over or not text:
            return
        self._answer_bytes += size_bytes(text)
        if self._answer_bytes > self._limits.sample_answer_bytes_max:
            self._over = True
            self._answer.clear()
            return
        self._answer.setdefault(channel, []).append(text)

    def close(self, exchange: Exchange, record: Record) -> tuple[Record, Sample | None]:
        """The exchange's sample, where its decision is one to keep, and its record that says so."""
        request = exchange.view.request
        if request is None or _gravest(exchange) not in self._rule.actions:
            return record, None
        sample = None if self._over else self._sample(request, exchange, record)
        if sample is None or sample.size_bytes > self._limits.sample_bytes_max:
            return replace(record, bodies=Kept.LOST), None
        return replace(record, bodies=AS_KEPT[sample.keep]), sample

    def _sample(self, request: RequestMessage, exchange: Exchange, record: Record) -> Sample:
        segments, answers = self._texts(request, exchange.edits)
        texts = [*(one.text for one in segments), *(one.text for one in answers)]
        return Sample(
            keep=self._rule.keep,
            reviewer_key=self._rule.reviewer_key,
            lifetime_days=self._rule.lifetime_days,
            request_id=record.request_id,
            exchange=record.exchange,
            policy_digest=record.policy_digest,
            at_unix_ms=record.at_unix_ms,
            request=segments,
            answer=answers,
            size_bytes=sum(size_bytes(text) for text in texts),
            redact=self._rule.redact,
        )

    def _texts(
        self, request: RequestMessage, edits: Sequence[SegmentEdit]
    ) -> tuple[tuple[KeptSegment, ...], tuple[KeptAnswer, ...]]:
        texts = [(segment.text, segment.seams) for segment in request.segments]
        answers = {channel: "".join(pieces) for channel, pieces in self._answer.items()}
        if self._rule.keep is not Keep.SEALED:
            by_segment = attrgetter("segment_index")
            for index, wanted in groupby(merge_edits(edits), key=by_segment):
                texts[index] = apply_edits(texts[index][0], wanted, texts[index][1])
        segments = tuple(
            KeptSegment(role=one.role, origin=one.origin, place=one.place, text=text, seams=seams)
            for one, (text, seams) in zip(request.segments, texts, strict=True)
        )
        kept = tuple(
            KeptAnswer(choice=channel.choice, field_name=channel.field, text=text)
            for channel, text in answers.items()
        )
        return segments, kept


def size_bytes(text: str) -> int:
    """A text's length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _gravest(exchange: Exchange) -> Action:
    """The gravest that was decided, or would have been by a guard in shadow."""
    found = Action.REDACT if exchange.entities else Action.ALLOW
    return max(exchange.action, found, *(verdict.action for verdict in exchange.verdicts), Action.ALLOW)
