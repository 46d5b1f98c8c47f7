"""Row H1 of the evasion catalogue: encoded requests, and what only looks like one."""

from __future__ import annotations

import gzip
import itertools
import os
import zlib
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._kserve_encoding import ContentDecoder
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Reason

ENCODE = {"gzip": partial(gzip.compress, mtime=0), "deflate": zlib.compress}
PATH = "/v2/models/m/infer"


def decoder(*encodings: str, **limits: int) -> ContentDecoder:
    headers = {"content-encoding": encodings} if encodings else {}
    return ContentDecoder(
        RequestHead(method="POST", path=PATH, headers=headers), limits=replace(LIMITS, **limits)
    )


def decoded(encoding: str, body: bytes, **limits: int) -> bytes:
    return decoder(encoding, **limits).feed(body, eof=True)


@pytest.mark.parametrize("encodings", [(), ("identity",)])
def test_a_plain_body_passes_as_it_is(encodings):
    plain = decoder(*encodings)
    assert (plain.decodes, plain.feed(b"\x1f\x8bx", eof=True)) == (False, b"\x1f\x8bx")


@pytest.mark.parametrize("encoding", ENCODE)
@given(body=st.binary(max_size=4_000), cuts=st.lists(st.integers(0, 4_000), max_size=6))
def test_what_was_encoded_comes_back_however_it_is_cut(encoding, body, cuts):
    encoded = ENCODE[encoding](body)
    ends = sorted({*(cut for cut in cuts if cut < len(encoded)), len(encoded)})
    one = decoder(encoding)
    pieces = [
        one.feed(encoded[start:end], eof=end == len(encoded))
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    assert b"".join(pieces) == body


@pytest.mark.parametrize(
    "encodings",
    [
        ("br",),
        ("zstd",),
        ("x-gzip",),
        ("GZIP",),
        ("gzip, gzip",),
        ("gzip,identity",),
        ("identity, gzip",),
        ("gzip", "gzip"),
        ("identity", "identity"),
        ("",),
        (" gzip",),
        ("compress",),
    ],
)
def test_an_encoding_that_is_not_one_of_the_two_is_refused(encodings):
    with pytest.raises(PeerError) as caught:
        decoder(*encodings)
    assert (caught.value.reason, caught.value.status) == (Reason.ENCODING_UNSUPPORTED, 415)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", zlib.compress(b"{}")),
        ("gzip", zlib.compress(b"{}", wbits=-15)),
        ("deflate", gzip.compress(b"{}", mtime=0)),
        ("deflate", zlib.compress(b"{}", wbits=-15)),
        ("gzip", b"{}"),
        ("deflate", b"{}"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-8] + b"\0" * 8),
    ],
    ids=[
        "zlib",
        "raw as gzip",
        "gzip",
        "raw as deflate",
        "plain as gzip",
        "plain as deflate",
        "a wrong sum",
    ],
)
def test_a_body_under_the_wrong_label_is_refused(encoding, body):
    with pytest.raises(PeerError) as caught:
        decoded(encoding, body)
    assert (caught.value.reason, caught.value.status) == (Reason.ENCODING_UNSUPPORTED, 415)


@pytest.mark.parametrize("encoding", ENCODE)
@pytest.mark.parametrize("behind", [b"x", gzip.compress(b"{}", mtime=0), b"\0"])
def test_bytes_behind_the_end_are_refused(encoding, behind):
    with pytest.raises(PeerError) as caught:
        decoded(encoding, ENCODE[encoding](b"{}") + behind)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_INVALID, 400)


@pytest.mark.parametrize("encoding", ENCODE)
def test_bytes_behind_the_end_are_refused_in_a_chunk_of_their_own(encoding):
    one = decoder(encoding)
    one.feed(ENCODE[encoding](b"{}"), eof=False)
    with pytest.raises(PeerError, match="behind the end"):
        one.feed(b"x", eof=True)


@pytest.mark.parametrize("encoding", ENCODE)
@pytest.mark.parametrize("kept", [0, 1, 5, 9])
def test_a_body_that_is_cut_short_is_refused(encoding, kept):
    with pytest.raises(PeerError, match="ends too early"):
        decoded(encoding, ENCODE[encoding](b"some text")[:kept])


@pytest.mark.parametrize("encoding", ENCODE)
@pytest.mark.parametrize("size", [40_000, 2_000_000, 20_000_000])
def test_a_bomb_is_refused_and_not_inflated(encoding, size):
    one = decoder(encoding)
    bomb = ENCODE[encoding](bytes(size))
    with pytest.raises(PeerError) as caught:
        one.feed(bomb, eof=True)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)
    assert one._given <= LIMITS.decoded_ratio_max * (len(bomb) + 1024) + 1


def test_the_bound_of_a_body_holds_for_what_it_decodes_to():
    noise = os.urandom(3_000)
    assert decoded("gzip", gzip.compress(noise), body_bytes_max=3_000) == noise
    with pytest.raises(PeerError) as caught:
        decoded("gzip", gzip.compress(noise), body_bytes_max=2_999)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)


@given(st.lists(st.integers(1, 4_000), max_size=5))
def test_the_bound_of_the_ratio_does_not_depend_on_the_cuts(sizes):
    encoded = gzip.compress(os.urandom(1_500) + bytes(200_000))
    one = decoder("gzip")
    ends = [*itertools.accumulate([0, *sizes]), len(encoded)]
    with pytest.raises(PeerError, match="too many bytes"):
        [one.feed(encoded[start:end], eof=False) for start, end in itertools.pairwise(ends)]


@given(st.sampled_from(["gzip", "deflate"]), st.binary(max_size=200))
def test_whatever_comes_raises_nothing_but_peer_error(encoding, body):
    try:
        decoded(encoding, body)
    except PeerError as error:
        assert error.status in {400, 413, 415}  # noqa: PT017 - it need not raise.
