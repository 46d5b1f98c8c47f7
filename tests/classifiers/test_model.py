from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.model import Activation, Head

LOGITS = st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=2)


def head(activation):
    return Head(name="injection", column=1, activation=activation, temperature=2.0, threshold=0.5)


def test_sigmoid_reads_one_column_at_its_temperature():
    logits = np.array([[9.0, 0.0], [9.0, 2.0], [9.0, -2.0]], dtype=np.float32)
    expected = [0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]
    assert head(Activation.SIGMOID).scores(logits).tolist() == pytest.approx(expected)


def test_softmax_weighs_a_column_against_the_others():
    logits = np.array([[2.0, 2.0], [0.0, 2.0]], dtype=np.float32)
    assert head(Activation.SOFTMAX).scores(logits).tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-1))])


def test_a_model_of_probabilities_is_taken_at_its_word():
    # What is none is for the caller to refuse: see scores_of.
    logits = np.array([[0.25, 3.0], [1.0, 0.5]], dtype=np.float32)
    assert head(Activation.NONE).scores(logits).tolist() == [1.5, 0.25]


@pytest.mark.parametrize("activation", [Activation.SIGMOID, Activation.SOFTMAX])
@given(rows=st.lists(LOGITS, min_size=1, max_size=4))
def test_any_finite_logits_give_a_score_between_0_and_1(activation, rows):
    scores = head(activation).scores(np.array(rows, dtype=np.float32))
    assert scores.shape == (len(rows),)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("activation", list(Activation))
def test_a_logit_that_is_no_number_gives_no_number(activation):
    assert np.isnan(head(activation).scores(np.array([[0.0, np.nan]], dtype=np.float32))).all()
