from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.errors import ModelError
from classifiers.model import Activation
from classifiers.triton_address import (
    TIMEOUT_MS,
    WINDOW_BYTES,
    TritonAddress,
    is_address,
    parse_address,
)
from extproc.domain.limits import LIMITS
from extproc.edge.verdict_line import _WORD


def test_a_short_one_leaves_the_rest_to_its_defaults():
    assert parse_address("triton://models.svc:8001/toxicity") == TritonAddress(
        place="models.svc:8001",
        tls=False,
        model="toxicity",
        version="",
        labels=(),
        activation=None,
        window_bytes=WINDOW_BYTES,
        timeout_ms=TIMEOUT_MS,
    )


def test_a_long_one_says_everything():
    text = "tritons://[::1]:443/tox.v2/3?labels=toxic,%20spam&activation=softmax&window_bytes=2000&timeout_ms=90"
    assert parse_address(text) == TritonAddress(
        place="[::1]:443",
        tls=True,
        model="tox.v2",
        version="3",
        labels=("toxic", "spam"),
        activation=Activation.SOFTMAX,
        window_bytes=2000,
        timeout_ms=90,
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("triton://", "HOST:PORT"),
        ("triton://host/model", "HOST:PORT"),
        ("triton://host:0/model", "HOST:PORT"),
        ("triton://host:70000/model", "HOST:PORT"),
        ("triton://user:secret@host:1/model", "HOST:PORT"),
        ("triton://[::1/model", "no URL"),
        ("triton://host:1", "the model's name"),
        ("triton://host:1/../x", "the model's name"),
        ("triton://host:1/model/latest", "the model's name"),
        ("triton://host:1/model/", "the model's name"),
        ("triton://host:1/model/1/2", "the model's name"),
        ("triton://host:1/model#1", "the model's name"),
        ("triton://host:1/model?labels", "cannot be read"),
        ("triton://host:1/model?labels=a&labels=b", "an option twice"),
        ("triton://host:1/model?label=a", "one that is unknown; known are labels, activation"),
        ("triton://host:1/model?labels=a,,b", "labels of no use"),
        ("triton://host:1/model?labels=", "labels of no use"),
        ("triton://host:1/model?activation=relu", "write one of sigmoid, softmax, none"),
        ("triton://host:1/model?window_bytes=3", "window_bytes that is no integer from 64"),
        ("triton://host:1/model?timeout_ms=60000", "timeout_ms that is no integer from 1 to 1900"),
    ],
)
def test_what_is_wrong_is_named_and_a_password_is_not_repeated(text, what):
    with pytest.raises(ModelError, match=what) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)


def test_its_id_may_stand_in_a_record():
    longest = parse_address(f"triton://h:1/{'m' * 96}/{'9' * 18}")
    assert _WORD.fullmatch(longest.id)
    assert parse_address("triton://h:1/m").id == "triton/m"
    assert parse_address("triton://h:1/m/2").id == "triton/m/2"


@pytest.mark.parametrize(
    ("place", "local"),
    [
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("127.0.0.2:1", True),
        ("127.evil.test:1", False),
        ("10.0.0.1:1", False),
        ("triton.svc:1", False),
    ],
)
def test_it_knows_whether_a_network_is_between(place, local):
    assert parse_address(f"triton://{place}/m").is_local is local


def test_a_call_ends_before_its_thread_counts_as_hung():
    with pytest.raises(ModelError):
        parse_address(f"triton://h:1/m?timeout_ms={LIMITS.classify_stall_ms}")


@given(st.text(max_size=40))
def test_whatever_is_written_is_read_or_refused(rest):
    text = f"triton://{rest}"
    assert is_address(text)
    try:
        parse_address(text)
    except ModelError:
        return
