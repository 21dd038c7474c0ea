"""What is lit of a batch is all that counts: exact products, sorted images, pictures put back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_study import data
from mnist_study.data.cache import Table, extents
from mnist_study.nn.fast import packed as stairs
from mnist_study.nn.fast.packed import LitProducts
from mnist_study.nn.network import initial_weights
from mnist_study.nn.training import chunks_of
from mnist_study.run import compose_run
from tests.test_experiments import composed


def sparse(rng, batch, pixels):
    """Images sorted by extent, black behind it, and their extents."""
    ends = np.sort(rng.integers(0, pixels + 1, batch))
    images = rng.integers(0, 256, (batch, pixels), dtype=np.uint8)
    images[np.arange(pixels) >= ends[:, np.newaxis]] = 0
    return images, ends


@given(
    seed=st.integers(0, 2**32),
    batch=st.integers(1, 40),
    pixels=st.integers(1, 60),
    units=st.integers(1, 12),
    steps=st.sampled_from([{}, {"ROUND": 1, "WORTH": 1}, {"ROUND": 4, "WORTH": 30, "WIDE": 1}]),
)
def test_both_products_are_those_of_whole_images(seed, batch, pixels, units, steps):
    """Whatever the extents, also those of the batch before; what is dark gets the gradient 0."""
    rng = np.random.default_rng(seed)
    weight, grad_y = rng.normal(size=(pixels, units)), rng.normal(size=(batch, units))
    y, grad_weight = np.empty((batch, units)), np.empty((pixels, units))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in steps.items():
            patch.setattr(stairs, name, value)
        lit = LitProducts(weight, y, grad_y, grad_weight)
        for known in (True, True, False, True):
            images, ends = sparse(rng, batch, pixels)
            y[:] = grad_weight[:] = np.nan
            lit.load(images, ends if known else None)
            lit.to_y()
            lit.to_weight()
            np.testing.assert_allclose(y, images @ weight, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(grad_weight, images.T @ grad_y, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def mnist():
    return data.mnist(validation=10_000, split_seed=0, cache=None)


@pytest.mark.parametrize(("batch", "share"), [(32, 0.72), (150, 0.67), (1500, 0.64)])
def test_on_mnist_a_third_of_the_work_is_left_out(mnist, batch, share):
    """Of a hidden layer's 784 columns an image, so large a share is multiplied, and no more."""
    rng = np.random.default_rng(0)
    weight, y = np.zeros((784, 100), np.float32), np.zeros((batch, 100), np.float32)
    lit = LitProducts(weight, y, y, np.empty_like(weight))
    shares = []
    for _ in range(20):
        rows = rng.integers(0, 50_000, batch)
        images, ends = mnist.train.images[rows], mnist.train.extents[rows]
        order = np.argsort(ends)
        lit.load(images[order], ends[order])
        shares.append(sum(step.lit.size for step in lit._steps) / images.size)
    assert np.mean(shares) < share


def test_an_extent_is_the_column_after_the_last_lit_one():
    """By hand, a black image included."""
    images = np.array([[0, 0, 0], [9, 0, 0], [0, 1, 0], [1, 0, 255]], np.uint8)
    assert extents(images).tolist() == [0, 1, 2, 3]


def test_pixels_are_sorted_by_how_many_training_images_light_them():
    """Pixel 2 is lit in both, 1 and 3 in one, 0 in the test image alone; pictures come back."""
    table = Table.blank((3, 2, 2), training=2, validation=0)
    table.images[:] = natural = np.array([[0, 5, 1, 0], [0, 0, 255, 7], [8, 8, 8, 8]], np.uint8)
    table.labels[:] = [0, 1, 0]
    by_light = table.most_lit_first()
    assert by_light.order.tolist() == [2, 1, 3, 0]
    assert by_light.images.tolist() == [[1, 5, 0, 0], [255, 0, 7, 0], [8, 8, 8, 8]]
    assert by_light.extents.tolist() == [2, 3, 4]
    assert by_light.digest == table.sealed().digest  # the same pictures
    dataset = data._views("toy", by_light)
    assert dataset.pictures(dataset.train.images).tolist() == natural[:2].reshape(2, 2, 2).tolist()


def test_chunks_hold_every_image_once_and_least_extents_first(mnist):
    """The validation set in chunks of 3,000, with its labels."""
    chunks = [[array.copy() for array in chunk] for chunk in chunks_of(mnist.validation, 3000)]
    assert [len(labels) for _, labels, _ in chunks] == [3000, 3000, 3000, 1000]
    images, labels, ends = map(np.concatenate, zip(*chunks, strict=True))
    assert (np.diff(ends.astype(int)) >= 0).all()
    order = np.argsort(mnist.validation.extents, kind="stable")
    np.testing.assert_array_equal(images, mnist.validation.images[order])
    np.testing.assert_array_equal(labels, mnist.validation.labels[order])
    np.testing.assert_array_equal(ends, extents(images))


def test_first_weights_are_drawn_for_a_pictures_pixels():
    """A seed means the same network whatever the order in which images keep their pixels."""
    run = compose_run(composed("training.seed=5", "model.init=he"))
    init_rng, _ = map(np.random.default_rng, np.random.SeedSequence(5).spawn(2))
    drawn = initial_weights(784, 100, "he", 0, init_rng).astype(np.float32)
    np.testing.assert_array_equal(run.dataset.by_pixel(run.network.weights[0]), drawn)
