"""Measures of curves and weight images, each one number with a unit; the report's page quotes them.

A curve is an array of values at equally spaced iterations. Where a measure is about the end of the
training it looks at the curve's second half, because the fall at the start would drown the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]

NOISE_WINDOW = 41  # points of the running mean; odd, so that it is centred and leaves a line alone
HIGH_FREQUENCY = 0.25  # cycles a pixel: structures of at most 4 pixels, half of Nyquist's limit


DEFINITIONS = {
    "sharpness": "Share of the weight images' power above 0.25 cycles a pixel, mean over units, in "
    "[0, 1]. The blurrier an image, the smaller the share; white noise has 0.8, because most of an "
    "image's frequencies are high in one direction or the other. The mean grey does not count.",
    "noise": "Standard deviation of the curve's second half around its running mean of 41 points. "
    "In the curve's unit. A straight line has none, white noise its own (less 1 %).",
    "oscillation": "Share of the power of the curve's second half at the epoch's period, in "
    "[0, 1]. The running mean over one epoch is taken out first: it follows any slow change, and "
    "leaves alone what repeats every epoch. A sine of that period has 1, white noise about "
    "2 / points, a sawtooth 0.6: the rest of its power is in overtones, which do not count.",
    "rise": "The curve's last value less its smallest: 0 if it still falls; in the curve's unit.",
    "largest_relapse": "How far the curve ever climbs above the lowest value that it had before; "
    "in its unit.",
    "waiting": "Share of the run until the curve is above `level` for the first time; 1 if it "
    "never is.",
}


def sharpness(weights: Values, image_shape: tuple[int, int]) -> float:
    """Share of the images' power at high frequencies, mean over units, in [0, 1].

    Args: weights: (pixels, units), a first layer's; image_shape: (height, width).
    """
    images = weights.T.reshape(-1, *image_shape).astype(np.float64)  # (units, height, width)
    power = np.abs(np.fft.fft2(images - images.mean(axis=(1, 2), keepdims=True))) ** 2
    down, across = (np.fft.fftfreq(side) for side in image_shape)
    high = np.hypot(down[:, None], across) > HIGH_FREQUENCY
    total = power.sum(axis=(1, 2))
    shares = power[:, high].sum(axis=1) / np.where(total > 0, total, 1.0)
    return float(shares.mean())


def noise(values: Values) -> float:
    """Standard deviation around the running mean; NaN where two points have none."""
    half = _second_half(values)
    window = min(NOISE_WINDOW, len(half) // 2 * 2 - 1)
    if window < 3:
        return float("nan")
    mean = np.convolve(half, np.full(window, 1 / window), mode="valid")
    margin = window // 2
    return float(np.std(half[margin : len(half) - margin] - mean))


def oscillation(values: Values, period: float) -> float:
    """Share of the power at the epoch's period, in [0, 1].

    Args: period: points an epoch; NaN is returned where two epochs and the running mean's margins
        do not fit into the second half.
    """
    half, epoch = _second_half(values), round(period)
    margin = epoch // 2
    window = np.full(2 * margin + 1, 1 / epoch)
    if epoch % 2 == 0:  # centred on a point, so the two at the ends count half
        window[[0, -1]] /= 2
    cycles = int((len(half) - 2 * margin) / period)
    if period <= 2 or cycles < 2:
        return float("nan")
    rest = half[margin : len(half) - margin] - np.convolve(half, window, mode="valid")
    rest = rest[len(rest) - round(cycles * period) :]
    total = float(rest @ rest)
    # One of the two mirrored lines of the spectrum; both together hold 2 |X|^2 / n of the power.
    line = np.exp(-2j * np.pi * np.arange(len(rest)) / period) @ rest
    return float(2 * abs(line) ** 2 / len(rest) / total) if total > 0 else 0.0


def rise(values: Values) -> float:
    """The last value less the smallest."""
    return float(values[-1] - values.min())


def largest_relapse(values: Values) -> float:
    """The largest climb above the lowest value so far."""
    return float((values - np.minimum.accumulate(values)).max())


def waiting(values: Values, level: float) -> float:
    """Share of the run before the curve first exceeds `level`; 1 if it never does."""
    above = np.flatnonzero(values > level)
    return float(above[0] / len(values)) if len(above) else 1.0


def _second_half(values: Values) -> Values:
    return np.asarray(values, np.float64)[len(values) // 2 :]
