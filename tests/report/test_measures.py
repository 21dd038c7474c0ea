"""Each measure against signals whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_study.report.measures import (
    largest_relapse,
    noise,
    oscillation,
    rise,
    sharpness,
    waiting,
)

POINTS = np.arange(400)
PERIOD = 8  # points an epoch, as in the report's networks


def white(size, scale=1.0):
    return np.random.default_rng(0).normal(0, scale, size)


def test_a_checkerboard_is_all_high_frequency():
    """The finest pattern that pixels can show has no low frequency at all."""
    y, x = np.mgrid[:28, :28]
    assert sharpness(((x + y) % 2).reshape(-1, 1), (28, 28)) == pytest.approx(1)


def test_a_smooth_blob_has_no_high_frequency():
    """A Gaussian of five pixels is as blurry as an image gets."""
    y, x = np.mgrid[:28, :28]
    blob = np.exp(-((x - 14) ** 2 + (y - 14) ** 2) / 50)
    assert sharpness(blob.reshape(-1, 1), (28, 28)) < 1e-4


def test_the_sharpness_of_white_noise_is_the_area_of_its_frequencies():
    """Outside the circle of radius 1/4 lies 1 - pi/16 of the square of all frequencies."""
    images = white((784, 300))
    assert sharpness(images, (28, 28)) == pytest.approx(1 - np.pi / 16, abs=0.01)


def test_sharpness_does_not_see_grey_or_contrast():
    """A constant and a factor change the picture's look, not its share of high frequencies."""
    images = white((784, 3))
    expected = sharpness(images, (28, 28))
    assert sharpness(5 * images + 7, (28, 28)) == pytest.approx(expected)


def test_an_empty_image_is_not_sharp():
    """Weights that are all equal have no structure, and no division by zero."""
    assert sharpness(np.ones((784, 2)), (28, 28)) == 0


def test_a_straight_line_has_no_noise():
    """A running mean leaves a line alone."""
    assert noise(3.0 - 0.1 * POINTS) == pytest.approx(0, abs=1e-9)


def test_white_noise_around_a_line_is_found():
    """The measure is the noise's own standard deviation, less the part that the mean follows."""
    values = 3.0 - 1e-4 * np.arange(40_000) + white(40_000, 0.2)
    assert noise(values) == pytest.approx(0.2 * np.sqrt(1 - 1 / 41), rel=0.02)


def test_the_noise_of_too_short_a_curve_is_unknown():
    """Two points have no running mean."""
    assert np.isnan(noise(np.array([1.0, 2.0])))


def test_a_sine_of_the_epochs_period_is_all_oscillation():
    """All of its power is at that period, whatever line it rides on."""
    values = 5 - 0.01 * POINTS + 0.3 * np.sin(2 * np.pi * POINTS / PERIOD + 1)
    assert oscillation(values, PERIOD) == pytest.approx(1, abs=0.01)


def test_a_slow_change_is_no_oscillation_and_hides_none():
    """A step down in the middle leaves the sine's share nearly whole, for odd periods, too."""
    for period in (8, 9):
        step = np.where(np.arange(400) < 300, 2.3, 0.5)
        swing = np.sin(2 * np.pi * np.arange(400) / period)
        assert oscillation(step + 3 * swing, period) > 0.9
        assert oscillation(step + 0 * swing, period) < 0.1


def test_a_sine_of_another_period_is_no_oscillation():
    """Swings that have nothing to do with the epoch do not count."""
    values = np.sin(2 * np.pi * POINTS / 5)
    assert oscillation(values, PERIOD) < 0.01


def test_white_noise_has_its_share_at_every_period():
    """Power is spread over half as many frequencies as there are points."""
    rng = np.random.default_rng(1)
    shares = [oscillation(rng.normal(size=400), PERIOD) for _ in range(200)]
    assert np.mean(shares) == pytest.approx(2 / 200, rel=0.25)


def test_a_sawtooth_has_the_share_of_its_first_harmonic():
    """A sawtooth's harmonics have the powers 1/k², and 6/pi² of their sum is the first."""
    values = (np.arange(40_000) % 400) / 400
    assert oscillation(values, 400) == pytest.approx(6 / np.pi**2, abs=0.01)


def test_oscillation_needs_two_epochs():
    """One epoch cannot show what repeats."""
    assert np.isnan(oscillation(POINTS[:10].astype(float), PERIOD))


def test_a_falling_curve_does_not_rise():
    """Its last value is its smallest."""
    assert rise(np.array([3.0, 2.0, 1.0])) == 0


def test_a_rise_is_counted_from_the_minimum():
    """From 0.5 back to 0.8."""
    assert rise(np.array([2.0, 0.5, 0.7, 0.8])) == pytest.approx(0.3)


def test_a_relapse_is_counted_from_the_lowest_value_before_it():
    """The spike to 2 comes after a minimum of 0.5; the start at 3 is no relapse."""
    assert largest_relapse(np.array([3.0, 0.5, 2.0, 0.4])) == pytest.approx(1.5)


def test_waiting_is_a_share_of_the_run():
    """Above one half for the first time at the third of four points."""
    assert waiting(np.array([0.1, 0.1, 0.6, 0.4]), 0.5) == 0.5
    assert waiting(np.array([0.1, 0.1]), 0.5) == 1
