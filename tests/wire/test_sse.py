from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Reason
from extproc.wire import sse
from extproc.wire.sse import SseFrame, SseReader

PIECES = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"x",
        b"\xc3\xa9",
        b"event: e",
        b"event: e\ndata: ",
        b": c",
        b"id:1",
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
    ]
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 200), max_size=8)


def read(stream: bytes, cuts: list[int] | None = None, *, limits=LIMITS) -> list[SseFrame]:
    """All frames of a stream that arrives cut at the given places, byte by byte without any."""
    reader = SseReader(limits=limits)
    places = range(len(stream) + 1) if cuts is None else sorted({0, *cuts, len(stream)})
    frames: list[SseFrame] = []
    for start, end in zip(places, list(places)[1:], strict=False):
        frames += reader.feed(stream[start:end])
    return frames + reader.feed(b"", eof=True)


def oracle(stream: bytes) -> list[tuple[bytes | None, list[tuple[bytes, bytes]], bool]]:
    """The frames' data, other fields and completeness, by lines instead of by search."""
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    frames = []
    data: list[bytes] = []
    fields: list[tuple[bytes, bytes]] = []
    for number, line in enumerate(lines):
        last = number == len(lines) - 1
        if line:
            name, colon, value = line.partition(b":")
            value = value.removeprefix(b" ") if colon else b""
            if name == b"data":
                data.append(value)
            else:
                fields.append((name, value))
        if (not line or last) and (data or fields):
            frames.append((b"\n".join(data) if data else None, fields, not line and not last))
            data, fields = [], []
    return frames


@given(STREAMS, CUTS)
def test_chunk_boundaries_mean_nothing(stream, cuts):
    assert read(stream, cuts) == read(stream) == read(stream, [])


@given(STREAMS, st.booleans())
def test_frames_are_those_that_lines_give(stream, with_bom):
    stream = b"\xef\xbb\xbf" + stream if with_bom else stream
    frames = read(stream, [])
    assert [(f.data, list(f.fields), f.complete) for f in frames] == oracle(stream)


@given(st.lists(st.tuples(st.binary(max_size=9), st.sampled_from([b"\n", b"\r\n"])), max_size=6))
def test_the_frames_bytes_are_the_streams(payloads):
    events = [
        b"data: " + payload.translate(None, b"\r\n") + ending + ending for payload, ending in payloads
    ]
    assert [frame.raw for frame in read(b"".join(events))] == events


@given(STREAMS)
def test_the_span_is_where_the_data_stands(stream):
    for frame in read(stream, []):
        if frame.data_span is not None:
            start, end = frame.data_span
            assert frame.raw[start:end] == frame.data


# Row H8 of the evasion catalogue.
@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"data: a\r\rdata: b\r\r", [(b"a", True), (b"b", True)]),
        (b"data:a\n\n", [(b"a", True)]),
        (b"data:  a\n\n", [(b" a", True)]),
        (b"data\n\n", [(b"", True)]),
        (b"data: a\ndata: b\n\n", [(b"a\nb", True)]),
        (b"data: a\r\n\ndata: b\n\r\n", [(b"a", True), (b"b", True)]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"a", True)]),
        (b"data: a", [(b"a", False)]),
        (b"data: a\n", [(b"a", False)]),
        (b"data: a\n\n\n\n", [(b"a", True)]),
        (b": hello\n\n", [(None, True)]),
        (b"\n\n\r\n", []),
    ],
    ids=range(12),
)
def test_odd_streams(stream, frames):
    assert [(frame.data, frame.complete) for frame in read(stream)] == frames


def test_other_fields_and_comments_are_kept_apart():
    (frame,) = read(b": note\nevent: e\nid: 7\nretry:5\ndata: x\nwhat\n\n")
    assert frame.fields == (
        (b"", b"note"),
        (b"event", b"e"),
        (b"id", b"7"),
        (b"retry", b"5"),
        (b"what", b""),
    )


def test_a_frame_comes_as_soon_as_it_is_complete():
    reader = SseReader()
    assert reader.feed(b"data: a\n") == []
    assert [frame.data for frame in reader.feed(b"\ndata: b\r\n\r\nda")] == [b"a", b"b"]
    assert [frame.data for frame in reader.feed(b"ta: c\r\r")] == []
    assert [frame.data for frame in reader.feed(b"d")] == [b"c"]


@pytest.mark.parametrize("cuts", [None, []])
@pytest.mark.parametrize(("size", "fits"), [(24, True), (25, False), (2_000, False)])
def test_a_frame_is_bounded_whether_it_ends_or_not(cuts, size, fits):
    limits = replace(LIMITS, frame_bytes_max=32)
    for stream in (b"data: " + b"a" * size + b"\n\n", b"data: " + b"a" * (size + 2)):
        if fits:
            assert len(read(stream, cuts, limits=limits)) == 1
            continue
        with pytest.raises(PeerError, match="exceeds 32 bytes") as caught:
            read(stream, cuts, limits=limits)
        assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


def test_the_bound_holds_for_a_chunk_that_is_exactly_one_event():
    reader = SseReader(limits=replace(LIMITS, frame_bytes_max=32))
    assert len(reader.feed(b"data: a\n\n")) == 1
    with pytest.raises(PeerError, match="exceeds 32 bytes"):
        reader.feed(b"data: " + b"a" * 25 + b"\n\n")


def test_a_long_event_in_single_bytes_is_read_whole():
    stream = b"data: " + b"a" * 200_000 + b"\n\n"
    assert [len(frame.data or b"") for frame in read(stream)] == [200_000]


def test_endless_blank_lines_are_not_kept():
    reader = SseReader(limits=replace(LIMITS, frame_bytes_max=64))
    for _ in range(100):
        assert reader.feed(b"\n" * 1_000) == []
    assert reader.feed(b"", eof=True) == []


class Counted(bytearray):
    """A buffer that counts the bytes which its operations look at or move."""

    work = 0

    def _count(self, amount: int) -> None:
        Counted.work += amount

    def __delitem__(self, place):
        super().__delitem__(place)
        self._count(len(self))

    def __getitem__(self, place):
        found = super().__getitem__(place)
        self._count(len(found) if isinstance(place, slice) else 1)
        return found

    def lstrip(self, *what):
        self._count(2 * len(self))
        return super().lstrip(*what)


class CountedPattern:
    """A pattern that counts the bytes which it searches in a buffer."""

    def __init__(self, pattern):
        self._pattern = pattern

    def __getattr__(self, name):
        def searched(text, start=0):
            found = getattr(self._pattern, name)(text, start)
            Counted.work += (len(text) if found is None else found.end()) - start
            return found

        return searched


@pytest.mark.parametrize(
    "unit",
    [
        b":\n\n\n",
        b":\n\n",
        b"\n",
        b"\r\n",
        b":\r\r",
        b":\r\n\r\n\r\n",
        b"data: a\n\n\n\n\n",
        b"data: a\n",
        b"data: a\r",
        b"data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"a:",
    ],
)
@pytest.mark.parametrize("chunk", [64, 4_096, 1 << 20])
def test_the_work_grows_with_the_streams_length_and_no_faster(monkeypatch, unit, chunk):
    monkeypatch.setattr(sse, "bytearray", Counted, raising=False)
    for name in ("_FRAME_END", "_LINE_END", "_BLANK"):
        monkeypatch.setattr(sse, name, CountedPattern(getattr(sse, name)))
    for length in (4_096, 65_536):
        stream = b"data: first\n\n" + unit * (length // len(unit))
        Counted.work = 0
        read(stream, list(range(0, len(stream), chunk)))
        assert Counted.work <= 6 * len(stream)


def test_a_long_stream_of_tiny_events_is_read_whole():
    assert len(read(b":\n\n\n" * 50_000, [])) == 50_000
