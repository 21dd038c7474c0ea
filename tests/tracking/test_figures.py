"""Weight images on one honest scale, and curves that show every spike."""

from __future__ import annotations

import io

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import ImageFont

from mnist_study.tracking import figures
from mnist_study.tracking.describe import unit_keys
from mnist_study.tracking.figures import curve_figure, decimate
from mnist_study.tracking.images import (
    PALETTE,
    WEIGHT_LIMIT,
    _fitted,
    encode,
    weight_colors,
    weight_images,
    weight_sheet,
)


def test_the_scale_is_symmetric_with_zero_in_its_middle():
    """Zero is the lightest grey, +w is as deep a red as -w is a blue, and nothing is rescaled."""
    indices = weight_colors(np.array([-WEIGHT_LIMIT, 0, 0.1, -0.1]))
    limit, zero, positive, negative = PALETTE[indices].astype(int)
    assert zero.tolist() == [247, 247, 247]
    assert limit.tolist() == [5, 48, 97]
    assert positive[0] > positive[2]
    assert negative[0] < negative[2]
    assert weight_colors(np.array([0.1, 50.0]))[0] == indices[2]


def test_weights_past_the_limit_have_the_darkest_colour():
    """A large weight is clipped, and a broken one does not break the image."""
    broken = PALETTE[weight_colors(np.array([WEIGHT_LIMIT, 7, np.inf, np.nan]))]
    assert (broken[:3] == broken[0]).all()
    assert broken[3].tolist() == [247, 247, 247]


def test_first_and_trained_weights_are_both_visible():
    """A weight of 0.01 differs from zero by more than an eye needs, and 0.3 from 1."""
    small, zero, medium, large = PALETTE[weight_colors(np.array([0.01, 0, 0.3, 1]))].astype(int)
    assert np.abs(small - zero).max() > 10
    assert np.abs(medium - large).max() > 60


def test_an_image_is_enlarged_without_blur():
    """A 28 x 28 image becomes 224 x 224 by repeating its pixels, one image a unit."""
    weights = np.random.default_rng(0).normal(size=(784, 3)).astype(np.float32)
    images = weight_images(weights, (28, 28))
    assert images.shape == (3, 224, 224)
    assert images.dtype == np.uint8
    assert (images[:, ::8, ::8] == images[:, 7::8, 7::8]).all()
    assert (images[1, ::8, ::8] == weight_colors(weights[:, 1].reshape(28, 28))).all()


def test_an_image_has_the_inputs_own_shape():
    """Height and width come from the data, not from MNIST."""
    assert weight_images(np.zeros((12, 2)), (3, 4), side=8).shape == (2, 6, 8)


@pytest.mark.parametrize(("units", "columns", "rows"), [(10, 5, 2), (26, 6, 5)])
def test_a_titled_sheet_is_in_the_classes_order(units, columns, rows):
    """Ten classes are a 2 x 5 grid under their titles, read like text."""
    weights = np.zeros((784, units))
    weights[:, 1] = WEIGHT_LIMIT
    sheet = weight_sheet(weights, (28, 28), [str(unit) for unit in range(units)])
    dark = np.argwhere(sheet == weight_colors(np.array(WEIGHT_LIMIT)))
    dark = dark[dark[:, 0] < sheet.shape[0] - 46]  # without the legend
    width = sheet.shape[1] / columns
    assert width <= dark[:, 1].min() < dark[:, 1].max() <= 2 * width
    assert dark[:, 0].max() < (sheet.shape[0] - 46) / rows + 8


def test_a_sheet_shows_at_most_a_hundred_units():
    """A wide layer's sheet stays as large as a hundred units make it."""
    some = [weight_sheet(np.zeros((784, units)), (28, 28)).shape for units in (100, 512)]
    assert some[0] == some[1]
    assert max(some[0]) < 800


def test_a_sheet_is_the_same_in_both_files():
    """A reader of PNG and of WebP sees the palette's colours, pixel by pixel; letters are grey."""
    weights = np.random.default_rng(0).normal(0, 0.2, size=(784, 10))
    sheet = weight_sheet(weights, (28, 28), list("0123456789"))
    files = encode(sheet)
    for extension, content in files.items():
        assert (iio.imread(content, extension=extension) == PALETTE[sheet]).all()
    title = PALETTE[sheet][8:36, :120].reshape(-1, 3)
    assert (title == title[:, :1]).all()
    assert title.min() < 64
    assert len(files[".png"]) < 120_000


def test_a_decimated_curve_keeps_its_spike():
    """One bad iteration in 30,000 is still drawn where it was."""
    values = [1.0] * 30_000
    values[12_345] = 9.0
    steps, kept = decimate(list(enumerate(values)))
    assert len(steps) <= figures.CURVE_POINTS + 2
    assert steps[kept.argmax()] == 12_345
    assert (steps[0], steps[-1]) == (0, 29_999)


def test_a_short_curve_is_drawn_whole():
    """Nothing is left out below the limit."""
    assert decimate([(1, 3.0), (2, 2.0), (3, 1.0)])[0].tolist() == [1, 2, 3]


def drawn(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize("quantity", ["loss", "accuracy"])
def test_final_values_are_written_into_the_figure(quantity):
    """All splits are in one plot; each says its final value, the test set's too."""
    points = [(1, 0.9), (2, 0.5), (3, 0.4)]
    curves = {f"{split}/{quantity}": points for split in ("train", "validation")}
    values = {"train": 0.4, "validation": 0.41, "test": 0.4321}
    final = {f"final/{split}_{quantity}": value for split, value in values.items()}
    figure = curve_figure(quantity, curves, final)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["train 0.4000", "validation 0.4100", "test 0.4321"]
    assert axes.get_yscale() == ("log" if quantity == "loss" else "linear")
    assert drawn(figure).startswith(b"\x89PNG")


def test_epoch_means_are_drawn_over_finer_points():
    """Points every k iterations and their mean an epoch are two lines, named once."""
    curves = {"train/loss": [(1, 2.0), (2, 1.0)], "train/loss_epoch": [(2, 1.5)]}
    figure = curve_figure("loss", curves, {})
    (axes,) = figure.axes
    assert len(axes.get_lines()) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train"]


@pytest.mark.parametrize("points", [{}, {"train/loss": [(1, 0.0)]}, {"train/loss": []}])
def test_a_run_that_ended_at_once_still_has_a_figure(points):
    """No points, one point or a loss of zero draw without complaint."""
    assert drawn(curve_figure("loss", points, {}))


@pytest.mark.parametrize(
    ("titles", "keys"),
    [
        (None, ["unit_0", "unit_1"]),
        (["0", "1", "2"], ["class_0", "class_1"]),
        (["cat", "T-shirt 1.5"], ["class_cat", "class_T-shirt 1.5"]),
        (["a/b", "cat"], ["class_0", "class_1"]),  # also not "a/b" beside a class "0"
        (["x" * 61, "cat"], ["class_0", "class_1"]),
    ],
)
def test_units_have_keys_that_a_store_takes(titles, keys):
    """Classes by name where every name is fit for a key, else all by number."""
    assert unit_keys(2, titles) == keys


def test_a_long_title_stays_above_its_image():
    """Long class names get smaller letters, then an end; short ones are as large as digits."""
    assert _fitted("7", 56) == ("7", 26)
    assert _fitted("Ankle boot", 120) == ("Ankle boot", 24)
    title, size = _fitted("a class of a very long name", 56)
    assert (title[:7], title[-1], size) == ("a class", ".", 11)
    assert ImageFont.load_default(size).getlength(title) <= 57
