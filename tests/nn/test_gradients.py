"""Backward is the slope of forward: layers, activations, losses and whole networks, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_study.nn.layers import ACTIVATIONS, Dense, DensePass
from mnist_study.nn.losses import softmax_cross_entropy
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
    return rng.integers(0, 256, (n, pixels), dtype=np.uint8), rng.integers(0, classes, n)


def slope_along(net, images, labels, direction):
    start = net.parameters.copy()
    losses = []
    for sign in (1, -1):
        net.parameters[:] = start + sign * H * direction
        losses.append(softmax_cross_entropy(net.logits(images), labels, None)[0])
    net.parameters[:] = start
    return (losses[0] - losses[1]) / (2 * H)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_network_gradient_is_the_slope_of_its_loss(depth, activation):
    """Along random directions, at any depth, the exact gradient equals a central difference."""
    net, (images, labels) = network(depth, activation), batch()
    net.parameters += np.random.default_rng(5).normal(0, 0.1, net.parameters.size)  # biases too
    net.loss_and_gradient(images, labels)
    gradient = net.gradient.copy()
    for seed in range(5):
        direction = np.random.default_rng(seed).normal(size=gradient.size)
        slope = slope_along(net, images, labels, direction)
        assert gradient @ direction == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_each_layers_own_gradient_is_its_own_slope(layer, part):
    """No layer's error hides behind another's: each weight and bias is checked alone."""
    net, (images, labels) = network(3), batch()
    net.loss_and_gradient(images, labels)
    gradient = net.gradient.copy()
    mask = np.zeros_like(gradient)
    view = getattr(net.layers[layer], part)
    start = (view.ctypes.data - net.parameters.ctypes.data) // net.parameters.itemsize
    mask[start : start + view.size] = np.random.default_rng(3).normal(size=view.size)
    slope = slope_along(net, images, labels, mask)
    assert gradient @ mask == pytest.approx(slope, rel=1e-6)


def test_dense_passes_the_gradient_on_to_its_input():
    """grad_x is the slope of a weighted sum of the outputs along any change of the input."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(5, 3)), rng.normal(size=3)
    layer = Dense(weight, bias, np.empty_like(weight), np.empty_like(bias))
    x, direction = rng.normal(size=(2, 4, 5))
    grad_y, grad_x = rng.normal(size=(4, 3)), np.empty((4, 5))
    at_work = DensePass(layer, x, np.empty((4, 3)), grad_y, grad_x)
    at_work.backward()
    x += H * direction
    at_work.forward()
    up = at_work.y.copy()
    x -= 2 * H * direction
    at_work.forward()
    slope = ((up - at_work.y) * grad_y).sum() / (2 * H)
    assert (grad_x * direction).sum() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activations_slope_is_its_derivative(name):
    """From the output alone, `slope` gives the derivative at every input."""
    z = np.linspace(-4, 4, 42)  # no sample at 0, where relu has none
    ends = []
    for shift in (H, -H):
        ends.append(z + shift)
        ACTIVATIONS[name].apply(ends[-1])
    y = z.copy()
    ACTIVATIONS[name].apply(y)
    ACTIVATIONS[name].slope(y)
    assert y == pytest.approx((ends[0] - ends[1]) / (2 * H), rel=1e-6, abs=1e-9)


def test_the_exact_loss_gradient_is_the_slope_of_the_loss():
    """dJ/dz = (p - y) / n, each component against its own central difference."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (6, 4)), rng.integers(0, 4, 6)
    gradient = logits.copy()
    softmax_cross_entropy(gradient, labels)
    for index in np.ndindex(*logits.shape):
        ends = []
        for shift in (H, -H):
            moved = logits.copy()
            moved[index] += shift
            ends.append(softmax_cross_entropy(moved, labels, None)[0])
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * H), rel=1e-6, abs=1e-10)


def test_the_reports_gradient_is_not_the_slope_of_the_loss():
    """The report's derivation leaves out the wrong classes: it misses the numerical gradient."""
    net, (images, labels) = network(1), batch()
    net.loss_and_gradient(images, labels, "report")
    reports = net.gradient.copy()
    net.loss_and_gradient(images, labels, "exact")
    direction = np.random.default_rng(0).normal(size=reports.size)
    slope = slope_along(net, images, labels, direction)
    assert net.gradient @ direction == pytest.approx(slope, rel=1e-6)
    assert abs(reports @ direction - slope) > 0.1 * abs(slope)


def test_the_reports_gradient_is_y_times_p_minus_one():
    """By hand: p = (1/4, 3/4) with label 0 gives (1/4 - 1, 0); exact gives (-3/4, 3/4)."""
    logits = np.log(np.array([[1.0, 3.0]]))
    report, exact = logits.copy(), logits.copy()
    softmax_cross_entropy(report, np.array([0]), "report")
    softmax_cross_entropy(exact, np.array([0]), "exact")
    assert report[0] == pytest.approx([-0.75, 0.0])
    assert exact[0] == pytest.approx([-0.75, 0.75])
