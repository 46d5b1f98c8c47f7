"""A model that is asked about texts: every byte of them is seen, and what is no score is no pass."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve_server import Model, serving

from classifiers.errors import (
    AbandonedError,
    LogitsError,
    ModelError,
    ServerError,
    TooManyWindowsError,
)
from classifiers.huggingface import heads_of
from classifiers.model import Activation
from classifiers.texts import TextClassifier, cut
from classifiers.triton import ServedModel
from classifiers.triton_address import parse_address

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(TEXTS, st.integers(4, 80))
def test_pieces_cover_a_text_and_are_as_short_as_was_said(text, window_bytes):
    pieces = cut(text, window_bytes).windows
    assert [piece.start for piece in pieces] == sorted({piece.start for piece in pieces})
    assert all(piece.start < piece.end for piece in pieces)
    assert all(len(text[piece.start : piece.end].encode()) <= window_bytes for piece in pieces)
    seen = {at for piece in pieces for at in range(piece.start, piece.end)}
    assert seen == set(range(len(text)))


@given(TEXTS, st.integers(64, 200), st.data())
def test_what_is_shorter_than_an_overlap_stands_whole_in_a_piece(text, window_bytes, data):
    start = data.draw(st.integers(0, len(text)))
    end = start
    # A code point may stand across a border: it begins the overlap or ends it.
    while end < len(text) and len(text[start : end + 1].encode()) <= window_bytes // 4 - 8:
        end += 1
    assert end == start or any(
        piece.start <= start and end <= piece.end for piece in cut(text, window_bytes).windows
    )


def scores_of(read):
    return [[0.9 if "rubbish" in text else 0.1, 0.5] for text in read["text"]]


@pytest.fixture
def model():
    return Model(inputs=[("text", "BYTES", (-1, 1))], scores=scores_of, max_batch_size=3)


@pytest.fixture
def classifier(model):
    """Its first head, looked at."""
    with serving({"m": model}) as port:
        served = ServedModel(parse_address(f"triton://127.0.0.1:{port}/m?window_bytes=64"))
        served.look()
        heads = heads_of(("toxic", "spam"), Activation.NONE, where="here")
        yield TextClassifier(served, heads["toxic"], columns=2)
        served.close()


LONG = "garden " * 30 + "rubbish " + "garden " * 30


def test_each_text_gets_the_highest_score_of_its_pieces(classifier, model):
    plain, long, empty = classifier.score(["a garden", LONG, ""])
    assert (plain.score, plain.window_count, plain.token_count) == (pytest.approx(0.1), 1, 8)
    assert (empty.score, empty.window_count, empty.token_count) == (0.0, 0, 0)
    assert long.score == pytest.approx(0.9)
    assert "rubbish" in LONG[long.start : long.end]
    asked = [text for read in model.asked for text in read["text"]]
    assert len(asked) == 1 + long.window_count
    assert max(len(read["text"]) for read in model.asked) == 3
    assert classifier.model_id == "triton/m"


def test_nothing_to_score_asks_nobody(classifier, model):
    assert classifier.score([]) == []
    assert model.asked == []


def test_too_many_windows_are_found_before_anything_is_asked(classifier, model):
    with pytest.raises(TooManyWindowsError):
        classifier.score([LONG], windows_max=3)
    assert model.asked == []


def test_whoever_leaves_is_not_worked_for(classifier, model):
    answers = iter([True, False])
    with pytest.raises(AbandonedError):
        classifier.score([LONG], proceed=lambda: next(answers))
    assert len(model.asked) == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.01, 1.01])
def test_what_is_no_probability_is_an_error_and_never_a_pass(classifier, model, wrong):
    model.scores = lambda _: [[wrong, 0.5]]
    with pytest.raises(LogitsError, match="no number between 0 and 1"):
        classifier.score(["a"])


@pytest.mark.parametrize("row", [[0.1], [0.1, 0.1, 0.1], []])
def test_scores_of_other_labels_are_an_error(classifier, model, row):
    model.scores = lambda _: [row]
    with pytest.raises(LogitsError):
        classifier.score(["a"])


def test_a_failed_call_fails_all_of_it(classifier, model):
    model.fails = grpc.StatusCode.INTERNAL
    with pytest.raises(ServerError):
        classifier.score(["a"])


def test_it_is_tried_before_it_is_needed(classifier, model):
    classifier.warm_up()
    model.scores = lambda _: [[4.0, -4.0]]
    with pytest.raises(ModelError, match=r"\?activation=sigmoid or softmax must be written"):
        classifier.warm_up()
    model.fails = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(ServerError):
        classifier.warm_up()
