"""Backward is the slope of forward: layers, activations, losses and whole networks, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_study.nn.feed import Batch
from mnist_study.nn.layers import ACTIVATIONS, Dense
from mnist_study.nn.losses import CrossEntropy
from mnist_study.nn.network import Network

H = 1e-6  # half the width of a central difference


def network(depth, activation="tanh", seed=0, pixels=12, classes=4, **keys):
    settings = {"width": 7, "init": "glorot", "init_std": 0.1} | keys
    return Network(
        pixels,
        classes,
        depth=depth,
        activation=activation,
        rng=np.random.default_rng(seed),
        dtype=np.float64,
        **settings,
    )


def batch(seed=1, n=9, pixels=12, classes=4):
    rng = np.random.default_rng(seed)
    return Batch(rng.integers(0, 256, (n, pixels), dtype=np.uint8), rng.integers(0, classes, n))


def slope_along(net, images, direction):
    start = net.parameters.copy()
    losses = []
    for sign in (1, -1):
        net.parameters[:] = start + sign * H * direction
        losses.append(net.loss(images, CrossEntropy())[0])
    net.parameters[:] = start
    return (losses[0] - losses[1]) / (2 * H)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_network_gradient_is_the_slope_of_its_loss(depth, activation):
    """Along random directions, at any depth, the exact gradient equals a central difference."""
    net, images = network(depth, activation), batch()
    net.parameters += np.random.default_rng(5).normal(0, 0.1, net.parameters.size)  # biases too
    net.loss_and_gradient(images, CrossEntropy())
    gradient = net.gradient.copy()
    for seed in range(5):
        direction = np.random.default_rng(seed).normal(size=gradient.size)
        slope = slope_along(net, images, direction)
        assert gradient @ direction == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("part", [0, 1], ids=["weight", "bias"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_each_layers_own_gradient_is_its_own_slope(layer, part):
    """No layer's error hides behind another's: each weight and bias is checked alone."""
    net, images = network(3), batch()
    net.loss_and_gradient(images, CrossEntropy())
    gradient = net.gradient.copy()
    mask = np.zeros_like(gradient)
    view = net.dense[layer].parameters[part]
    start = (view.ctypes.data - net.parameters.ctypes.data) // net.parameters.itemsize
    mask[start : start + view.size] = np.random.default_rng(3).normal(size=view.size)
    slope = slope_along(net, images, mask)
    assert gradient @ mask == pytest.approx(slope, rel=1e-6)


def test_dense_passes_the_gradient_on_to_its_input():
    """grad_x is the slope of a weighted sum of the outputs along any change of the input."""
    rng = np.random.default_rng(0)
    layer = Dense(3)
    layer.bind(rng.normal(size=18), np.empty(18), 5)
    x, direction = rng.normal(size=(2, 4, 5))
    grad_y, grad_x = rng.normal(size=(4, 3)), np.empty((4, 5))
    layer.backward(x, np.empty((4, 3)), grad_y, grad_x)
    ends = np.empty((2, 4, 3))
    for y, moved in zip(ends, (x + H * direction, x - H * direction), strict=True):
        layer.forward(moved, y, training=False)
    slope = ((ends[0] - ends[1]) * grad_y).sum() / (2 * H)
    assert (grad_x * direction).sum() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activations_derivative_is_its_slope(name):
    """Backward gives the slope at every input, in place or into memory of its own."""
    layer, z = ACTIVATIONS[name](), np.linspace(-4, 4, 42)  # no sample at 0, where relu has none
    ends = [z + H, z - H]
    for end in ends:
        layer.forward(end, end, training=False)
    slope = (ends[0] - ends[1]) / (2 * H)
    for grad_x in (np.empty_like(z), grad_y := np.full_like(z, 3.0)):
        y, grad_y[:] = np.empty_like(z), 3.0
        layer.forward(z, y, training=True)
        layer.backward(z, y, grad_y, grad_x)
        assert grad_x == pytest.approx(3 * slope, rel=1e-6, abs=1e-9)


def test_the_exact_loss_gradient_is_the_slope_of_the_loss():
    """dJ/dz = (p - y) / n, each component against its own central difference."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (6, 4)), rng.integers(0, 4, 6)
    gradient = logits.copy()
    CrossEntropy()(gradient, labels, 1 / 6)
    for index in np.ndindex(*logits.shape):
        ends = []
        for shift in (H, -H):
            moved = logits.copy()
            moved[index] += shift
            ends.append(CrossEntropy()(moved, labels)[0])
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * H), rel=1e-6, abs=1e-10)


def test_the_reports_gradient_is_not_the_slope_of_the_loss():
    """The report's derivation leaves out the wrong classes: it misses the numerical gradient."""
    net, images = network(1), batch()
    net.loss_and_gradient(images, CrossEntropy(gradient="report"))
    reports = net.gradient.copy()
    net.loss_and_gradient(images, CrossEntropy(gradient="exact"))
    direction = np.random.default_rng(0).normal(size=reports.size)
    slope = slope_along(net, images, direction)
    assert net.gradient @ direction == pytest.approx(slope, rel=1e-6)
    assert abs(reports @ direction - slope) > 0.1 * abs(slope)


def test_the_reports_gradient_is_y_times_p_minus_one():
    """By hand: p = (1/4, 3/4) with label 0 gives (1/4 - 1, 0); exact gives (-3/4, 3/4)."""
    logits = np.log(np.array([[1.0, 3.0]]))
    report, exact = logits.copy(), logits.copy()
    CrossEntropy(gradient="report")(report, np.array([0]), 1.0)
    CrossEntropy()(exact, np.array([0]), 1.0)
    assert report[0] == pytest.approx([-0.75, 0.0])
    assert exact[0] == pytest.approx([-0.75, 0.75])
