"""Packed input: exact products, sorted images, and pictures wherever a person looks."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_study import data
from mnist_study.data import Split
from mnist_study.nn.fast import packed
from mnist_study.nn.fast.packed import PackedBatch, PackedInput, prefix_lengths
from mnist_study.nn.layers import initial_weights
from mnist_study.nn.losses import CrossEntropy
from mnist_study.nn.network import Network
from mnist_study.run import compose_run
from tests.composing import composed


def sparse(rng, batch, pixels):
    """Images sorted by prefix length, 0 behind it."""
    ends = np.sort(rng.integers(0, pixels + 1, batch))
    images = rng.integers(0, 256, (batch, pixels), dtype=np.uint8)
    images[np.arange(pixels) >= ends[:, np.newaxis]] = 0
    return PackedBatch(images, np.zeros(batch, np.int64), ends)


@given(
    seed=st.integers(0, 2**32),
    batch=st.integers(1, 40),
    pixels=st.integers(1, 60),
    units=st.integers(1, 12),
    steps=st.sampled_from([{}, {"ROUND": 1, "WORTH": 1}, {"ROUND": 4, "WORTH": 30, "WIDE": 1}]),
)
def test_both_products_are_those_of_whole_images(seed, batch, pixels, units, steps):
    """Whatever the prefixes, also those of the batch before; behind them the gradient is 0."""
    rng = np.random.default_rng(seed)
    weight, grad_y = rng.normal(size=(pixels, units)), rng.normal(size=(batch, units))
    x, y, grad_weight = np.empty((batch, pixels)), np.empty((batch, units)), np.empty(weight.shape)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in steps.items():
            patch.setattr(packed, name, value)
        first = PackedInput(units)
        for _ in range(4):
            images = sparse(rng, batch, pixels)
            y[:] = grad_weight[:] = np.nan
            first.load(images, x)
            first.forward(x, weight, y)
            first.weight_gradient(x, grad_y, grad_weight)
            np.testing.assert_allclose(y, images.images @ weight, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(grad_weight, images.images.T @ grad_y, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def mnist():
    return data.mnist(validation=10_000, split_seed=0, cache=None)


def network(pixels=784, **keys):
    settings = {"depth": 2, "width": 100, "activation": "relu", "init": "he", "init_std": 0.1}
    return Network(pixels, 10, rng=np.random.default_rng(0), **settings | keys)


@pytest.mark.parametrize(("batch", "share"), [(32, 0.72), (150, 0.67), (1500, 0.64)])
def test_on_mnist_a_third_of_the_work_is_left_out(mnist, batch, share):
    """Of a hidden layer's 784 columns an image, so large a share is multiplied, and no more."""
    rng, net = np.random.default_rng(0), network()
    feed, x = net.prepare(mnist.train), np.empty((batch, 784), np.float32)
    shares = []
    for _ in range(20):
        net.input.load(feed.batch(rng.integers(0, 50_000, batch)), x)
        steps = net.input._steps
        shares.append(sum(step.values.size for step in steps) / x.size)
    assert np.mean(shares) < share


def test_a_prefix_ends_behind_the_last_pixel_that_is_not_0():
    """By hand, an image of zeros included."""
    images = np.array([[0, 0, 0], [9, 0, 0], [0, 1, 0], [1, 0, 255]], np.uint8)
    assert prefix_lengths(images).tolist() == [0, 1, 2, 3]


def test_pixels_are_packed_by_how_many_training_images_need_them():
    """Pixel 2 is non-zero in both, 1 and 3 in one, 0 in the test image alone."""
    training = Split(np.array([[0, 5, 1, 0], [0, 0, 255, 7]], np.uint8), np.array([0, 1]))
    test = Split(np.array([[8, 8, 8, 8]], np.uint8), np.array([0]))
    net = network(4)
    feeds = [net.prepare(split) for split in (training, test)]
    assert net.input.order.tolist() == [2, 1, 3, 0]
    assert feeds[0].images.tolist() == [[1, 5, 0, 0], [255, 0, 7, 0]]
    assert feeds[0].lengths.tolist() == [2, 3]
    assert feeds[1].lengths.tolist() == [4]


def test_chunks_hold_every_image_once_and_the_shortest_prefixes_first(mnist):
    """The validation set in chunks of 3,000, with its labels."""
    net = network()
    net.prepare(mnist.train)
    chunks = [
        [array.copy() for array in (chunk.images, chunk.labels, chunk.lengths)]
        for chunk in net.prepare(mnist.validation).chunks(3000)
    ]
    assert [len(labels) for _, labels, _ in chunks] == [3000, 3000, 3000, 1000]
    images, labels, lengths = map(np.concatenate, zip(*chunks, strict=True))
    assert (np.diff(lengths.astype(int)) >= 0).all()
    columns = mnist.validation.images[:, net.input.order]
    order = np.argsort(prefix_lengths(columns), kind="stable")
    np.testing.assert_array_equal(images, columns[order])
    np.testing.assert_array_equal(labels, mnist.validation.labels[order])


def test_first_weights_are_drawn_for_a_pictures_pixels():
    """A seed means the same network whatever the order in which pixels are packed."""
    run = compose_run(composed("training.seed=5", "model.init=he"))
    init_rng, _ = map(np.random.default_rng, np.random.SeedSequence(5).spawn(2))
    drawn = initial_weights(784, 100, "he", 0, init_rng).astype(np.float32)
    assert run.network.input.order is not None
    np.testing.assert_array_equal(run.network.weights[0], drawn)


def test_logits_of_pictures_do_not_depend_on_packing(mnist):
    """The same before and after a set was prepared, and as plain NumPy computes them."""
    net, images = network(), mnist.test.images[:50]
    before = net.logits(images).copy()
    net.prepare(mnist.train)
    weights, biases = net.weights, net.biases
    hidden = np.maximum(images / 255 @ weights[0] + biases[0], 0)
    np.testing.assert_allclose(net.logits(images), before, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(before, hidden @ weights[1] + biases[1], rtol=1e-4, atol=1e-5)


def test_weights_are_set_as_pictures_and_read_back_so(mnist):
    """Whatever is assigned comes back; a copy cannot be written into by mistake."""
    net = network()
    net.prepare(mnist.train)
    weights = [np.random.default_rng(1).random(w.shape).astype(np.float32) for w in net.weights]
    net.weights = weights
    net.biases = [bias + 1 for bias in net.biases]
    for got, asked in zip(net.weights, weights, strict=True):
        np.testing.assert_array_equal(got, asked)
    assert (net.biases[0] == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        net.weights[0][:] = 0
    with pytest.raises(ValueError, match="read-only"):
        net.biases[0][:] = 0


def test_packed_images_are_mapped_from_the_data_cache(tmp_path):
    """Two networks read the same file; neither copies the images."""
    dataset = data.mnist(validation=10_000, split_seed=0, cache=str(tmp_path))
    feeds = [network().prepare(dataset.train) for _ in range(2)]
    files = list(tmp_path.glob("data-*.bin"))
    assert len(files) == 3  # all images, the split, the packed training images
    for feed in feeds:
        assert not feed.images.flags.writeable
        base = feed.images
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(base, mmap.mmap)


def test_a_packed_step_is_that_of_whole_pictures(mnist):
    """Loss and gradient of a packed batch equal those of the same pictures given plainly."""
    net, loss = network(dtype=np.float64), CrossEntropy()
    feed = net.prepare(mnist.train)
    rows = np.arange(64)
    value = net.loss_and_gradient(feed.batch(rows), loss)
    gradient = net.gradient.copy()
    plain = packed.Feed(mnist.train).batch(rows)
    assert net.loss_and_gradient(plain, loss) == (pytest.approx(value[0], rel=1e-12), value[1])
    np.testing.assert_allclose(net.gradient, gradient, rtol=1e-9, atol=1e-14)
