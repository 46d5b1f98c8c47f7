"""Where a runner brings what a policy wants kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from records import RECORD
from samples import REDACTED

from extproc.core import commands as cmd
from extproc.domain.verdict import Kept
from extproc.edge.phases import PhaseTable
from extproc.edge.runner import Background, Services, StreamRunner


class Sink:
    """Takes records and samples."""

    healthy = True

    def __init__(self) -> None:
        self.records = []
        self.kept = []

    def emit(self, record) -> None:
        self.records.append(record)

    def keep(self, sample, record) -> None:
        self.kept.append((sample, record))


def services(sink, samples):
    return Services(ledger=None, inference=None, records=sink, background=Background(), samples=samples)


def emit(sink, samples, *emitted):
    runner = StreamRunner(
        stream=None,
        phases=PhaseTable(),
        services=services(sink, samples),
        write=pytest.fail,
        abort_later=pytest.fail,
    )
    assert runner._start(list(emitted)) == []


def test_a_record_without_a_sample_is_written():
    sink = Sink()
    emit(sink, sink, cmd.Emit(RECORD))
    assert (sink.records, sink.kept) == ([RECORD], [])


def test_a_sample_takes_its_record_along():
    sink = Sink()
    emit(sink, sink, cmd.Emit(RECORD, REDACTED))
    assert (sink.records, sink.kept) == ([], [(REDACTED, RECORD)])


def test_a_sample_that_nobody_takes_is_lost_in_its_record():
    sink = Sink()
    emit(sink, None, cmd.Emit(RECORD, REDACTED))
    assert sink.records == [replace(RECORD, bodies=Kept.LOST)]


@pytest.mark.parametrize("healthy", [True, False])
def test_bodies_are_kept_where_somebody_does(healthy):
    sink = Sink()
    sink.healthy = healthy
    assert services(sink, sink).bodies_kept is healthy
    assert not services(sink, None).bodies_kept
