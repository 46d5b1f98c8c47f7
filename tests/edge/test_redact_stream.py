from __future__ import annotations

import io
import json
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redaction_texts import documents

from extproc.edge.redact_stream import InvalidUtf8Error, redact_stream
from extproc.redaction.engine import RuleScanner, redact
from extproc.redaction.packs import default_automaton

AUTOMATON = default_automaton()
ALL = AUTOMATON.mask()
SIZES = st.sampled_from([1, 2, 3, 7, 64, 10_000])


def run(source, chunk_bytes):
    """What came out, the findings' lines, and the summary or the error's offset."""
    sink, lines = io.BytesIO(), io.StringIO()
    scanner = RuleScanner(AUTOMATON, mask=ALL)
    try:
        summary = redact_stream(
            io.BytesIO(source), sink, scanner=scanner, chunk_bytes=chunk_bytes, findings=lines
        )
    except InvalidUtf8Error as error:
        return sink.getvalue(), lines.getvalue(), error.byte_offset
    return sink.getvalue(), lines.getvalue(), summary


def test_whoever_waits_hears_how_much_was_read():
    heard: list[int] = []
    scanner = RuleScanner(AUTOMATON, mask=ALL)
    redact_stream(io.BytesIO(b"abcde"), io.BytesIO(), scanner=scanner, chunk_bytes=2, told=heard.append)
    assert heard == [2, 4, 5, 5]


@given(documents, SIZES)
@settings(deadline=None)
def test_the_output_is_the_whole_text_redacted(text, chunk_bytes):
    out, lines, summary = run(text.encode(), chunk_bytes)
    whole = redact(text, AUTOMATON, mask=ALL)
    assert whole.released == out.decode()
    assert [
        (found.entity_type, found.start, found.end, found.score, found.detector) for found in whole.findings
    ] == [tuple(json.loads(line).values()) for line in lines.splitlines()]
    assert (summary.bytes_read, summary.bytes_written) == (len(text.encode()), len(out))
    assert summary.chars_read == len(text)
    assert sum(summary.found.values()) == len(whole.findings)


@given(
    st.binary(max_size=60)
    | st.tuples(documents, st.binary(min_size=1, max_size=3)).map(
        lambda parts: parts[0].encode() + parts[1]
    ),
    SIZES,
)
@settings(deadline=None)
def test_arbitrary_bytes_fare_alike_however_they_are_cut(source, chunk_bytes):
    whole, cut = run(source, 100_000), run(source, chunk_bytes)
    assert whole[:2] == cut[:2]
    # How much was held at most is the one thing that depends on the chunks.
    assert unheld(whole[2]) == unheld(cut[2])


def unheld(outcome):
    return outcome if isinstance(outcome, int) else replace(outcome, held_chars_max=0)


@pytest.mark.parametrize(
    ("source", "offset"),
    [
        (b"ok \xff", 3),
        ("é".encode()[:1], 0),
        ("abc😀".encode()[:-1], 3),
        (b"\xed\xa0\x80", 0),
        (b"x" * 100 + b"\xc0\xaf", 100),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 2, 1000])
def test_where_bytes_are_wrong(source, offset, chunk_bytes):
    assert run(source, chunk_bytes)[2] == offset


def test_what_is_held_when_bytes_are_wrong_does_not_come_out():
    out, lines, offset = run(b"write to ann@exam\xff", 4)
    assert (out, lines, offset) == (b"write to ", "", 17)


def test_findings_hold_no_text():
    _out, lines, _summary = run(b"to ann@example.com", 5)
    assert json.loads(lines).keys() == {"entity_type", "start", "end", "score", "detector"}
    assert "ann" not in lines


def test_chunks_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        run(b"", 0)


class Repeated(io.RawIOBase):
    """A source of many copies of some bytes that are never in memory at once."""

    def __init__(self, unit: bytes, copies: int) -> None:
        self.unit = unit
        self.copies = copies

    def read(self, size: int = -1) -> bytes:
        assert size >= len(self.unit)
        if not self.copies:
            return b""
        self.copies -= 1
        return self.unit


@pytest.mark.parametrize("unit", [b"plain words, ann@example.com ", b"Bearer " + b"a1b2c3d4" * 2, b"."])
def test_memory_does_not_grow_with_the_source(unit):
    def peak(copies):
        scanner = RuleScanner(AUTOMATON, mask=ALL)
        with open("/dev/null", "wb") as sink:  # noqa: PTH123  a sink that keeps nothing
            tracemalloc.start()
            redact_stream(Repeated(unit * 40, copies), sink, scanner=scanner, chunk_bytes=4096)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return most

    peak(20)
    assert peak(400) < peak(20) + 64_000
