"""The trainer's steps are the textbook's: same numbers to rounding, and nothing allocated."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest

from mnist_study.data import Split
from mnist_study.nn import network as network_module
from mnist_study.nn import optimizers as optimizers_module
from mnist_study.nn import textbook
from mnist_study.nn.feed import Feed
from mnist_study.nn.losses import CrossEntropy
from mnist_study.nn.network import Network
from mnist_study.nn.optimizers import Adam, AdamW, Momentum, Nesterov, Sgd

RATE, DECAY = 0.1, 0.1
ADAM = {"lr": RATE, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
OPTIMIZERS = {
    "sgd": (lambda p: Sgd(p, lr=RATE), textbook.sgd),
    "momentum": (lambda p: Momentum(p, lr=RATE, momentum=0.9), textbook.momentum),
    "nesterov": (lambda p: Nesterov(p, lr=RATE, momentum=0.9), textbook.nesterov),
    "adam": (lambda p: Adam(p, **ADAM), textbook.adam),
    "adamw": (
        lambda p: AdamW(p, **ADAM, weight_decay=DECAY),
        partial(textbook.adamw, decay=DECAY),
    ),
}
FORMS = {  # at sizes that a test can afford
    "plain": (None, {}),
    "chunks": (network_module, {"SMALL_CHUNK": 3}),  # of large batches
    "blocks": (optimizers_module, {"BLOCK": 16}),  # of large parameter vectors
}


def make(depth, activation="relu", dtype=np.float64, pixels=20, width=9):
    return Network(
        pixels, 4, depth=depth, width=width, activation=activation, init="glorot", init_std=0.1,
        rng=np.random.default_rng(depth), dtype=dtype,
    )  # fmt: skip


def images_and_labels(n=30, pixels=20):
    """Some pixels are rarely non-zero, as in MNIST."""
    rng = np.random.default_rng(1)
    images = rng.integers(1, 256, (n, pixels), dtype=np.uint8)
    images[rng.random((n, pixels)) < rng.random(pixels)] = 0
    return Split(images, rng.integers(0, 4, n))


def assert_close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gradient", ["exact", "report"])
@pytest.mark.parametrize("activation", textbook.ACTIVATIONS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_step_is_the_textbooks(monkeypatch, name, depth, activation, gradient, form):
    """Six steps with batches of two sizes: losses, hits, weights and biases agree to rounding."""
    room, constants = FORMS[form]
    for constant, value in constants.items():
        monkeypatch.setattr(room, constant, value)
    make_optimizer, rule = OPTIMIZERS[name]
    split, net, loss = images_and_labels(), make(depth, activation), CrossEntropy(gradient=gradient)
    weights, biases = [w.copy() for w in net.weights], [b.copy() for b in net.biases]
    params = [p for pair in zip(weights, biases, strict=True) for p in pair]
    memories = [{} for _ in params]
    feed, optimizer = net.prepare(split), make_optimizer(net.parameters)
    order = np.random.default_rng(0).permutation(30)
    for t, rows in enumerate([order[:8], order[8:16], order[16:21]] * 2, 1):
        inputs, sums = textbook.forward(weights, biases, split.images[rows] / 255, activation)
        labels = split.labels[rows]
        expected = textbook.cross_entropy(sums[-1], labels)
        hits = np.count_nonzero(sums[-1].argmax(axis=1) == labels)
        grads = textbook.backward(weights, inputs, sums, labels, activation, gradient)
        value = net.loss_and_gradient(feed.batch(rows), loss)
        assert value == (pytest.approx(expected, rel=1e-9), hits)
        optimizer.step(net.gradient, RATE)
        for p, g, memory in zip(params, grads, memories, strict=True):
            np.add(p, rule(p, g, memory, t, RATE), out=p)
        assert_close([*net.weights, *net.biases], [*weights, *biases])


def test_the_textbooks_gradient_is_the_slope_of_its_loss():
    """The textbook itself is held to a central difference, weight by weight."""
    rng = np.random.default_rng(0)
    weights, biases = textbook.initialise([6, 5, 4, 3], rng)
    images, labels = rng.random((7, 6)), rng.integers(0, 3, 7)
    inputs, sums = textbook.forward(weights, biases, images, "tanh")
    grads = textbook.backward(weights, inputs, sums, labels, "tanh")
    params = [p for pair in zip(weights, biases, strict=True) for p in pair]
    for p, g in zip(params, grads, strict=True):
        for index in np.ndindex(*p.shape):
            ends = []
            for shift in (1e-6, -2e-6):
                p[index] += shift
                _, moved = textbook.forward(weights, biases, images, "tanh")
                ends.append(textbook.cross_entropy(moved[-1], labels))
            p[index] += 1e-6
            assert g[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_the_textbook_runs_by_itself(capsys):
    """Two epochs of 784-100-10 on MNIST: above 96 % on the test set, printed."""
    textbook.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["epoch 1", "epoch 2"]
    accuracy = float(lines[2].removeprefix("test accuracy ").rstrip("%"))
    assert 96 < accuracy < 98


@pytest.mark.parametrize("activation", textbook.ACTIVATIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_allocates_nothing(name, activation):
    """After the first, a step of 4,000 images peaks as low as one of 1,000, under 40 kB.

    What remains are NumPy's own buffers for broadcasting, at most 8,192 numbers; one temporary
    array with a number for each image would add 12,000 bytes.
    """
    peaks = []
    for size in (1000, 4000):
        net, loss = make(3, activation, np.float32, pixels=50, width=16), CrossEntropy()
        optimizer = OPTIMIZERS[name][0](net.parameters)
        batch = net.prepare(images_and_labels(size, pixels=50)).batch(np.arange(size))
        for _ in range(2):
            tracemalloc.start()
            net.loss_and_gradient(batch, loss)
            optimizer.step(net.gradient, RATE)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        peaks.append(peak)
    assert max(peaks) < 40_000
    assert peaks[1] < peaks[0] + 1000


def test_a_plain_feed_gives_the_rows_that_are_asked_for():
    """Images and labels belong together, whatever the order of the rows."""
    split = images_and_labels()
    batch = Feed(split).batch(np.array([7, 2, 2]))
    np.testing.assert_array_equal(batch.images, split.images[[7, 2, 2]])
    np.testing.assert_array_equal(batch.labels, split.labels[[7, 2, 2]])
