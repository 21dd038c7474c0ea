"""The fast step is the textbook's step: same numbers to rounding, and nothing allocated."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mnist_study.nn import network as network_module
from mnist_study.nn import optimizers as optimizers_module
from mnist_study.nn.fast import packed as stairs_module
from mnist_study.nn.layers import product
from mnist_study.nn.network import Network
from mnist_study.nn.optimizers import Adam, AdamW, Momentum, Nesterov, Sgd

RATE, MOMENTUM, BETA1, BETA2, EPS, DECAY = 0.1, 0.9, 0.9, 0.999, 1e-8, 0.1
ADAM = {"lr": RATE, "beta1": BETA1, "beta2": BETA2, "eps": EPS}
OPTIMIZERS = {
    "sgd": lambda p: Sgd(p, lr=RATE),
    "momentum": lambda p: Momentum(p, lr=RATE, momentum=MOMENTUM),
    "nesterov": lambda p: Nesterov(p, lr=RATE, momentum=MOMENTUM),
    "adam": lambda p: Adam(p, **ADAM),
    "adamw": lambda p: AdamW(p, **ADAM, weight_decay=DECAY),
}
SLOPES = {
    "relu": (lambda z: np.where(z > 0, z, 0), lambda z: np.where(z > 0, 1, 0)),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
}


def make(depth, activation="relu", dtype=np.float64, pixels=20, width=9):
    return Network(
        pixels, 4, depth=depth, width=width, activation=activation, init="glorot", init_std=0.1,
        rng=np.random.default_rng(depth), dtype=dtype,
    )  # fmt: skip


def batches(sizes=(8, 8, 5), pixels=20):
    rng = np.random.default_rng(1)
    shapes = [(rng.integers(0, 256, (n, pixels), dtype=np.uint8), n) for n in sizes]
    return [(images, rng.integers(0, 4, n)) for images, n in shapes]


def textbook_gradients(weights, biases, images, labels, activation, kind):
    """Forward and backward as on the blackboard; weights and biases alternate in the result."""
    apply, slope = SLOPES[activation]
    a, inputs, sums = images / 255, [], []
    for weight, bias in zip(weights, biases, strict=True):
        inputs.append(a)
        sums.append(a @ weight + bias)
        a = apply(sums[-1])
    p = np.exp(sums[-1]) / np.exp(sums[-1]).sum(axis=1, keepdims=True)
    y = np.eye(p.shape[1])[labels]
    loss = -np.log((p * y).sum(axis=1)).mean()
    correct = (p.argmax(axis=1) == labels).sum()
    delta = (p - y if kind == "exact" else y * (p - 1)) / len(labels)
    grads = []
    for layer in reversed(range(len(weights))):
        grads = [inputs[layer].T @ delta, delta.sum(axis=0), *grads]
        if layer > 0:
            delta = (delta @ weights[layer].T) * slope(sums[layer - 1])
    return loss, correct, grads


class Textbook:
    """Each rule as its paper writes it, one array at a time."""

    def __init__(self, name, params):
        self.name, self.params, self.t = name, params, 0
        self.m = [np.zeros_like(p) for p in params]
        self.v = [np.zeros_like(p) for p in params]

    def step(self, grads):
        self.t += 1
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            np.subtract(p, self.move(i, p, g), out=p)

    def move(self, i, p, g):
        if self.name == "sgd":
            return RATE * g
        if self.name in ("momentum", "nesterov"):
            self.m[i] = MOMENTUM * self.m[i] + g
            return RATE * (self.m[i] if self.name == "momentum" else g + MOMENTUM * self.m[i])
        self.m[i] = BETA1 * self.m[i] + (1 - BETA1) * g
        self.v[i] = BETA2 * self.v[i] + (1 - BETA2) * g**2
        mean, square = self.m[i] / (1 - BETA1**self.t), self.v[i] / (1 - BETA2**self.t)
        decay = RATE * DECAY * p if self.name == "adamw" else 0
        return RATE * mean / (np.sqrt(square) + EPS) + decay


def dark_behind(images, rng):
    """Each image black from a column of its own on; these columns, ascending."""
    extents = np.sort(rng.integers(0, images.shape[1] + 1, len(images)))
    images[np.arange(images.shape[1]) >= extents[:, None]] = 0
    return extents


@pytest.mark.parametrize("form", ["plain-order", "wide-order", "chunks", "stairs", "blocks"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_fast_step_is_the_textbooks(monkeypatch, name, depth, form):
    """Two epochs with an odd last batch: losses, hits and weights agree to rounding."""
    # memory order of wide layers and chunks of large batches, at sizes that a test can afford
    sizes = {
        "wide-order": (network_module, {"NARROW": 5, "WIDE": 6}),
        "chunks": (network_module, {"SMALL_CHUNK": 3}),
        "stairs": (stairs_module, {"ROUND": 2, "WORTH": 1}),
        "blocks": (optimizers_module, {"BLOCK": 16}),  # of large parameter vectors
    }
    room, constants = sizes.get(form, (None, {}))
    for constant, value in constants.items():
        monkeypatch.setattr(room, constant, value)
    rng = np.random.default_rng(2)
    net = make(depth)
    optimizer = OPTIMIZERS[name](net.parameters)
    weights, biases = [w.copy() for w in net.weights], [b.copy() for b in net.biases]
    params = [p for pair in zip(weights, biases, strict=True) for p in pair]
    textbook = Textbook(name, params)
    for images, labels in batches() * 2:
        extents = dark_behind(images, rng) if form in ("stairs", "chunks") else None
        loss, correct, grads = textbook_gradients(weights, biases, images, labels, "relu", "exact")
        value = net.loss_and_gradient(images, labels, extents=extents)
        assert value == (pytest.approx(loss, rel=1e-9), correct)
        optimizer.step(net.gradient, RATE)
        textbook.step(grads)
    for fast, plain in zip([*net.weights, *net.biases], [*weights, *biases], strict=True):
        assert fast == pytest.approx(plain, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("kind", ["exact", "report"])
def test_the_gradient_of_a_scaled_loss_is_the_scaled_gradient(kind):
    """By which SGD saves a pass; a rate of 0 is a rate, too."""
    net, (images, labels) = make(3), batches()[0]
    value = net.loss_and_gradient(images, labels, kind)
    gradient = net.gradient.copy()
    for scale in (0.3, 0.0):
        assert net.loss_and_gradient(images, labels, kind, scale) == value
        assert net.gradient == pytest.approx(scale * gradient, rel=1e-12, abs=1e-15)


ORDERS = [(a, b, out) for a in "CF" for b in "CF" for out in "CF"]


@pytest.mark.parametrize(
    ("rows", "inner", "columns", "tile"),
    [
        (150, 784, 10, 75),  # few columns: as many rows as BLAS multiplies in place
        (784, 150, 10, 112),  # the same layer's gradient
        (500, 784, 32, 25),
        (1500, 100, 100, 100),
        (32, 784, 100, 8),  # a small batch
        (150, 784, 100, None),  # 15 tiles of 10 rows take longer than one product
        (1500, 784, 100, None),
        (151, 784, 10, None),  # a prime
        (8, 5, 3, None),
    ],
)
def test_a_product_in_tiles_is_the_product(rows, inner, columns, tile):
    """In any memory order, written into `out` itself; float64 shows a wrong tile at once."""
    rng = np.random.default_rng(0)
    for order in ORDERS:
        a, b = rng.normal(size=(rows, inner)), rng.normal(size=(inner, columns))
        a, b = np.asarray(a, order=order[0]), np.asarray(b, order=order[1])
        out = np.full((rows, columns), np.nan, order=order[2])
        multiply = product(a, b, out)
        multiply()
        np.testing.assert_allclose(out, np.einsum("ri,ic->rc", a, b), rtol=1e-9, atol=1e-9)
        if order == ("C", "C", "C"):
            assert multiply.args[0].shape[-2] == (tile or rows)
        b += 1.0  # what is set up sees new contents
        multiply()
        np.testing.assert_allclose(out, np.einsum("ri,ic->rc", a, b), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["exact", "report"])
@pytest.mark.parametrize("activation", SLOPES)
def test_every_activation_and_gradient_is_the_textbooks(activation, kind):
    """One gradient of a network with two hidden layers, array by array."""
    net, (images, labels) = make(3, activation), batches()[0]
    _, _, grads = textbook_gradients(net.weights, net.biases, images, labels, activation, kind)
    net.loss_and_gradient(images, labels, kind)
    for layer, weight, bias in zip(net.layers, grads[::2], grads[1::2], strict=True):
        assert layer.grad_weight == pytest.approx(weight, rel=1e-9, abs=1e-12)
        assert layer.grad_bias == pytest.approx(bias, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_allocates_nothing(name, activation):
    """After the first, a step of 4,000 images peaks as low as one of 1,000, under 40 kB.

    What remains are NumPy's own buffers for broadcasting, at most 8,192 numbers; one temporary
    array with a number for each image would add 12,000 bytes.
    """
    peaks = []
    for size in (1000, 4000):
        net = make(3, activation, np.float32, pixels=50, width=16)
        optimizer = OPTIMIZERS[name](net.parameters)
        ((images, labels),) = batches([size], pixels=50)
        extents = dark_behind(images, np.random.default_rng(2))
        for _ in range(2):
            tracemalloc.start()
            net.loss_and_gradient(images, labels, extents=extents)
            optimizer.step(net.gradient, RATE)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        peaks.append(peak)
    assert max(peaks) < 40_000
    assert peaks[1] < peaks[0] + 1000
