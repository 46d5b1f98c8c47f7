"""What is asked of models about the answers of one stream: so much at once, the rest in its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from extproc.domain.verdict import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.core.asking import AskingScan
    from extproc.core.channels import Judge, Watch
    from extproc.core.closing import Books
    from extproc.core.exchange import Exchange
    from extproc.core.stages import AskingStage
    from extproc.domain.effects import Classify, FindSpans
    from extproc.domain.limits import Limits
    from extproc.domain.reading import Window
    from extproc.domain.segment import Channel


class Place(NamedTuple):
    """A stage of a channel's scan that has windows to ask about."""

    exchange: Exchange
    channel: Channel
    scan: AskingScan
    stage: AskingStage


class Question(NamedTuple):
    """What is asked, and who wants to know."""

    place: Place
    windows: tuple[Window, ...]
    effect: Classify | FindSpans

    @property
    def deadline_ms(self) -> int:
        """How long its answer may take."""
        return self.place.stage.deadline_ms

    @property
    def owed(self) -> bool:
        """Whether a record waits for it, and no byte does: it is asked to its end."""
        return self.place.stage.beside


class Questions:
    """The questions of one stream, by the ids of their effects."""

    def __init__(self, limits: Limits, books: Books) -> None:
        self._limits = limits
        self._books = books
        # What waits for its turn; what holds text comes before what only tells.
        self._waiting: dict[bool, dict[AskingStage, Place]] = {False: {}, True: {}}
        self._open: dict[int, Question] = {}
        self._scans: dict[AskingScan, tuple[Exchange, Channel]] = {}
        self._unread: list[tuple[Exchange, Watch | Judge, int]] = []
        # Whether text went out that a model had not read, which is said once.
        self._has_let_go = False
        # Whether the next deadline will be told of.
        self._minds = False

    def watch(self, exchange: Exchange, channel: Channel, scan: AskingScan) -> None:
        """Mind the deadlines of a channel."""
        self._scans[scan] = (exchange, channel)

    def want(self, place: Place) -> None:
        """A stage has windows to ask about."""
        stage = place.stage
        waiting = self._waiting[stage.beside]
        if stage in waiting:
            return
        if stage.beside and len(waiting) >= self._limits.answer_told_texts_max:
            # Nothing holds the upstream up behind it.
            place.scan.give_up(stage)
            return
        waiting[stage] = place

    def note_unread(self, exchange: Exchange, watch: Watch | Judge, chars: int) -> None:
        """Code points that a model has not read and will not."""
        self._unread.append((exchange, watch, chars))

    def go_on(self, at_us: int) -> None:
        """Ask what is to be asked now, tell what was not read, and mind the next deadline."""
        for question in self._due():
            effect_id = self._books.question(
                question.place.exchange, question.effect, question.deadline_ms, owed=question.owed
            )
            self._open[effect_id] = question
        for exchange, watch, chars in self._unread:
            exchange.unread_in_answer(watch.guard, chars)
            if watch.mode is Mode.ENFORCE and not self._has_let_go:
                self._has_let_go = True
                self._books.let_go()
        self._unread.clear()
        if not self._minds and (due_us := self._due_us()) is not None:
            self._minds = True
            self._books.mind_answer(due_us - at_us)

    def _due(self) -> Iterator[Question]:
        """What to ask now; each is noted as open before the next is taken."""
        for waiting in self._waiting.values():
            while waiting and self._room(beside=(stage := next(iter(waiting))).beside):
                place = waiting.pop(stage)
                windows = stage.take(self._limits.model_windows_max)
                if stage.pending:
                    waiting[stage] = place
                if windows:
                    principal = place.exchange.view.principal
                    tenant = "" if principal is None else principal.tenant
                    texts = tuple(window.text for window in windows)
                    yield Question(place, windows, place.stage.question(texts, tenant))

    def _room(self, *, beside: bool) -> bool:
        running = sum(one.owed is beside for one in self._open.values())
        return running < self._limits.answer_questions_max

    def answered(self, effect_id: int) -> Question | None:
        """The question that an answer is to; None where nobody wants it any more."""
        return self._open.pop(effect_id, None)

    def told(self, exchange: Exchange) -> bool:
        """Whether every stage of an exchange that only tells has its answers."""
        places = [one.place for one in self._open.values() if one.owed]
        # What was given up, or needs no more answers, waits in vain.
        places += [one for one in self._waiting[True].values() if one.stage.pending]
        return not any(one.exchange is exchange for one in places)

    def _due_us(self) -> int | None:
        """The first deadline of text that waits for a model."""
        for scan in [one for one in self._scans if one.done]:
            del self._scans[scan]
        return min((at for scan in self._scans if (at := scan.due_us) is not None), default=None)

    def overdue(self, at_us: int) -> Iterator[tuple[Exchange, Channel, AskingScan]]:
        """The channels whose deadline has passed, once that has come; less what is dropped meanwhile."""
        self._minds = False
        for scan in tuple(self._scans):
            due_us = scan.due_us
            if due_us is not None and due_us <= at_us and scan in self._scans:
                yield (*self._scans[scan], scan)

    def drop(self, exchange: Exchange) -> None:
        """Nobody wants to know any more of an exchange's answer."""
        for beside, waiting in self._waiting.items():
            self._waiting[beside] = {
                stage: one for stage, one in waiting.items() if one.exchange is not exchange
            }
        self._open = {key: one for key, one in self._open.items() if one.place.exchange is not exchange}
        self._scans = {scan: place for scan, place in self._scans.items() if place[0] is not exchange}
