from __future__ import annotations

import gzip
import struct
import zlib
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.grpc_frames import FrameReader, framed

ENCODE = {
    "identity": lambda payload: payload,
    "gzip": partial(gzip.compress, mtime=0),
    "deflate": zlib.compress,
}
payloads = st.lists(st.binary(max_size=200), max_size=5)
cuts = st.lists(st.integers(0, 1_200), max_size=8)


def reader(encoding: str = "identity", *, bytes_max: int = 1_000, ratio_max: int = 32) -> FrameReader:
    return FrameReader(
        encoding=encoding,
        bytes_max=bytes_max,
        ratio_max=ratio_max,
        reason=Reason.BODY_INVALID,
        status=400,
    )


def compressed(payload: bytes, encoding: str) -> bytes:
    body = ENCODE[encoding](payload)
    return struct.pack(">BI", 1, len(body)) + body


def read(frames: FrameReader, stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({*places, len(stream)})
    found = [
        one for start, end in zip([0, *ends], ends, strict=False) for one in frames.feed(stream[start:end])
    ]
    frames.end()
    return found


@given(payloads, cuts)
def test_messages_come_whole_however_the_stream_is_cut(bodies, places):
    stream = b"".join(map(framed, bodies))
    assert read(reader(), stream, places) == bodies
    assert read(reader(), stream, list(range(len(stream)))) == bodies


@given(payloads, cuts, st.sampled_from(["gzip", "deflate"]))
def test_compressed_messages_and_plain_ones_may_take_turns(bodies, places, encoding):
    stream = b"".join(
        compressed(body, encoding) if at % 2 else framed(body) for at, body in enumerate(bodies)
    )
    assert read(reader(encoding), stream, places) == bodies


def test_what_waits_for_more_is_counted():
    frames = reader()
    assert (frames.feed(framed(b"one") + framed(b"two")[:6]), frames.pending_bytes) == ([b"one"], 6)
    assert (frames.feed(framed(b"two")[6:]), frames.pending_bytes) == ([b"two"], 0)


@pytest.mark.parametrize(
    ("stream", "encoding", "message"),
    [
        (b"\x02\x00\x00\x00\x00", "gzip", "a message has an unknown flag"),
        (b"\xff\x00\x00\x00\x00", "gzip", "a message has an unknown flag"),
        (
            compressed(b"x", "gzip"),
            "identity",
            "a message is compressed, and grpc-encoding does not say how",
        ),
        (compressed(b"x", "gzip"), "deflate", "a message cannot be decompressed"),
        (compressed(b"x", "deflate"), "gzip", "a message cannot be decompressed"),
        (b"\x01\x00\x00\x00\x01x", "gzip", "a message is not exactly one compressed stream"),
        (b"\x01\x00\x00\x00\x00", "gzip", "a message is not exactly one compressed stream"),
    ],
)
def test_what_has_no_one_reading_is_refused(stream, encoding, message):
    with pytest.raises(PeerError) as caught:
        reader(encoding).feed(stream)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_INVALID, 400)
    assert caught.value.message == f"gRPC: {message}"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("change", [lambda one: one[:-1], lambda one: one + b"x", lambda one: one + one])
def test_a_message_is_exactly_one_compressed_stream(change, encoding):
    body = change(ENCODE[encoding](b"some text to be compressed"))
    with pytest.raises(PeerError):
        reader(encoding).feed(struct.pack(">BI", 1, len(body)) + body)


@pytest.mark.parametrize(
    "stream",
    [struct.pack(">BI", 0, 1_001), struct.pack(">BI", 0, 2**32 - 1), compressed(b"a" * 1_001, "gzip")],
)
def test_the_bound_holds_before_and_after_decompression(stream):
    with pytest.raises(PeerError) as caught:
        reader("gzip").feed(stream)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)


def test_a_bomb_is_refused_whatever_the_bound_of_a_message_is():
    bomb = compressed(b"\x00" * 1_000_000, "gzip")
    with pytest.raises(PeerError):
        reader("gzip", bytes_max=8_000_000).feed(bomb)
    assert len(reader("gzip", bytes_max=8_000_000, ratio_max=2_000).feed(bomb)[0]) == 1_000_000


def test_the_bound_itself_is_accepted():
    assert reader("gzip").feed(compressed(b"a" * 1_000, "gzip")) == [b"a" * 1_000]
    assert reader().feed(framed(b"a" * 1_000)) == [b"a" * 1_000]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_lane_must_not_end_within_a_message(cut):
    frames = reader()
    frames.feed(framed(b"abc")[:cut])
    with pytest.raises(PeerError) as caught:
        frames.end()
    assert caught.value.message == "gRPC: it ends within a message"


@given(st.binary(max_size=60), st.sampled_from(sorted(ENCODE)))
def test_arbitrary_bytes_raise_nothing_but_peer_error(stream, encoding):
    frames = reader(encoding)
    try:
        frames.feed(stream)
        frames.end()
    except PeerError as error:
        assert error.status in {400, 413}  # noqa: PT017 - it need not raise.


@given(
    st.one_of(
        st.binary(max_size=40).map(framed),
        st.builds(lambda body, more: framed(body) + more, st.binary(max_size=30), st.binary(max_size=8)),
        st.builds(
            lambda flag, size: struct.pack(">BI", flag, size) + b"abc", st.integers(0, 3), st.integers(0, 5)
        ),
        st.binary(max_size=12).map(lambda body: compressed(body, "gzip")),
    ),
    st.sampled_from([b"", b"\0", framed(b"abc")[:-1]]),
    st.integers(0, 40),
)
def test_one_message_alone_is_read_as_any_other(chunk, before, bytes_max):
    def told(*, by_feed: bool) -> object:
        frames = reader("gzip", bytes_max=bytes_max)
        try:
            begun = [*frames.messages(before)]
            found = frames.feed(chunk) if by_feed else [*frames.messages(chunk)]
        except PeerError as error:
            return error.message
        return begun, found, frames.pending_bytes

    assert told(by_feed=True) == told(by_feed=False)
