"""Softmax and its cross-entropy: stable, normalised, right by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnist_study.nn.layers import Sigmoid
from mnist_study.nn.losses import CrossEntropy
from mnist_study.nn.textbook import softmax

logits_of_any_scale = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-1e4, 1e4, width=32),
)


@given(logits_of_any_scale)
def test_softmax_rows_sum_to_one(logits):
    """For any finite logits up to 1e4, probabilities are in [0, 1] and each row sums to 1."""
    probabilities = softmax(logits)
    assert probabilities.min() >= 0
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


@given(logits_of_any_scale, st.data())
def test_loss_and_gradient_are_finite_and_consistent(logits, data):
    """The loss is finite and not negative, hits are argmax's, a gradient's row sums to 0."""
    n, classes = logits.shape
    labels = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    hits = np.count_nonzero(logits.argmax(axis=1) == labels)
    loss, correct = CrossEntropy()(logits, labels, 1 / n)
    assert loss >= -1e-6
    assert math.isfinite(loss)
    assert correct == hits
    assert logits.sum(axis=1) == pytest.approx(0, abs=1e-5)


def test_loss_by_hand():
    """Probabilities 1/4 and 3/4 with label 0, and a sure hit: the mean of log 4 and 0."""
    logits = np.array([[0.0, math.log(3)], [0.0, 1000.0]])
    loss, correct = CrossEntropy()(logits, np.array([0, 1]))
    assert loss == pytest.approx(math.log(4) / 2)
    assert correct == 1


def test_equal_logits_do_not_count_as_correct():
    """A network that says the same of every class scores chance: the first of equals counts."""
    labels = np.arange(10)
    loss, correct = CrossEntropy()(np.zeros((10, 10)), labels)
    assert loss == pytest.approx(math.log(10))
    assert correct == 1


def test_a_nan_logit_makes_the_loss_nan():
    """A broken network is seen in its loss; it is never repaired on the way."""
    with np.errstate(invalid="ignore"):
        loss, _ = CrossEntropy()(np.array([[np.nan, 0.0]]), np.array([0]))
    assert math.isnan(loss)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_never_overflows(dtype):
    """From -1e4 to 1e4 it is monotone, 0.5 at 0, and equal to its formula where that is safe."""
    z = np.linspace(-1e4, 1e4, 2001, dtype=dtype)
    y = np.empty_like(z)
    Sigmoid().forward(z, y, training=False)
    assert y[1000] == 0.5
    assert (np.diff(y) >= 0).all()
    assert (y[0], y[-1]) == (0, 1)
    small = np.linspace(-5, 5, 11, dtype=dtype)
    expected = 1 / (1 + np.exp(-small))
    Sigmoid().forward(small, small, training=False)  # in place
    assert small == pytest.approx(expected, rel=1e-5)
