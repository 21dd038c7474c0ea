"""Weights as images and curves as figures. Nothing is read or written here.

Weight images are arrays of places in one `PALETTE`, on one fixed scale (`WEIGHT_LIMIT`), the same
for every layer, step and run, so that two images can be compared by eye. Figures are matplotlib's,
without pyplot.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Places = NDArray[np.uint8]  # (..., height, width), rows of PALETTE
Rgb = NDArray[np.uint8]  # (..., 3)

WEIGHT_LIMIT = 1.0  # a weight of this size or more has the darkest colour
IMAGE_SIDE = 224  # pixels of an enlarged weight image: 28 x 8
SHEET_SIDE = 640  # pixels, about the width of a sheet of weight images
SHEET_UNITS = 100  # a sheet shows at most so many units, the first ones
CURVE_POINTS = 2000  # a curve with more points is thinned, its peaks kept

# Blue to white to red: ColorBrewer's RdBu, safe for colour-blind eyes; the middle one is zero.
_ANCHORS = [(5, 48, 97), (67, 147, 195), (247, 247, 247), (214, 96, 77), (103, 0, 31)]
_SHADES = 119  # of red, and of blue: with the greys of letters under 256, so files are small
_LEVELS = np.linspace(-1, 1, len(_ANCHORS))
_COLORS: Rgb = (
    np.stack(
        [
            np.interp(np.linspace(-1, 1, 2 * _SHADES + 1), _LEVELS, channel)
            for channel in zip(*_ANCHORS, strict=True)
        ],
        axis=1,
    )
    .round()
    .astype(np.uint8)
)  # (2 * _SHADES + 1, 3); row _SHADES is zero
_BLACK, _WHITE = len(_COLORS), len(_COLORS) + 15  # the first and the last of 16 greys
_GREYS = np.arange(15, 256, 16).astype(np.uint8)
PALETTE: Rgb = np.concatenate([_COLORS, np.stack([_GREYS] * 3, axis=1)])

# Okabe & Ito's colours, and a dash for each: the splits differ without colour, too.
_STYLES = {"train": ("#0072B2", "-"), "validation": ("#D55E00", "--"), "test": ("#009E73", "-.")}


def preload() -> None:
    """Import matplotlib now: the courier does while the training goes on, so its end is quick."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401 - for later


def weight_colors(weights: NDArray[Any]) -> Places:
    """Colour each weight: white is 0, red positive, blue negative, darkest at `WEIGHT_LIMIT`.

    The depth of the colour is sqrt(|w| / WEIGHT_LIMIT): first weights (0.01) and trained ones
    (up to 1) are 100 times apart and still both visible, on one scale.

    Args: weights: any shape; NaN is drawn as 0.
    Returns: the same shape, places in `PALETTE`.
    """
    clean = np.nan_to_num(weights)
    depth = np.sqrt(np.minimum(np.abs(clean) / WEIGHT_LIMIT, 1.0))
    places: Places = np.rint(_SHADES + _SHADES * np.sign(clean) * depth).astype(np.uint8)
    return places


def weight_images(
    weights: NDArray[Any], image_shape: tuple[int, int], side: int = IMAGE_SIDE
) -> Places:
    """Draw each unit's weights as the image that it looks for.

    Args:
        weights: (pixels, units), a first layer's.
        image_shape: (height, width) with height * width = pixels.
        side: about how many pixels the longer side is enlarged to, by whole factors (no blur).
    Returns: (units, height * k, width * k), places in `PALETTE`.
    """
    factor = max(1, side // max(image_shape))
    images = weight_colors(weights.T.reshape(-1, *image_shape))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def weight_sheet(
    weights: NDArray[Any], image_shape: tuple[int, int], titles: Sequence[str] | None = None
) -> Places:
    """All units on one sheet, row by row, above a legend of the scale.

    Args:
        weights: (pixels, units), a first layer's; units past `SHEET_UNITS` are left out.
        image_shape: (height, width) of the input.
        titles: one a unit, such as the classes "0" to "9"; ten titled units are a 2 x 5 grid.
    Returns: (sheet height, sheet width), places in `PALETTE`.
    """
    shown = min(weights.shape[1], SHEET_UNITS)
    columns = 5 if titles and shown == 10 else math.ceil(math.sqrt(shown))
    columns = max(columns, 4)  # room for the legend
    images = weight_images(weights[:, :shown], image_shape, SHEET_SIDE // columns - 8)
    height, width = images.shape[1:3]
    gap, head = 8, 30 if titles else 0
    rows = math.ceil(shown / columns)
    step_y, step_x = height + head + gap, width + gap
    sheet = np.full((rows * step_y + gap + 46, columns * step_x + gap), _WHITE, np.uint8)
    for unit, image in enumerate(images):
        y, x = gap + unit // columns * step_y + head, gap + unit % columns * step_x
        sheet[y : y + height, x : x + width] = image
    words = [
        (gap + unit % columns * step_x + width // 2, unit // columns * step_y + gap, title, 26)
        for unit, title in enumerate(titles or [])
    ]
    return _with_legend(sheet, words, "" if titles else f"{shown} of {weights.shape[1]} units")


def _with_legend(sheet: Places, words: list[tuple[int, int, str, int]], count: str) -> Places:
    """Write centred (x, y, text, size) words, and the colour scale with its numbers at the foot."""
    from PIL import Image, ImageDraw

    height, width = sheet.shape
    top, left, bar = height - 42, width // 4, width // 2
    shares = np.linspace(-1, 1, bar)
    sheet[top : top + 16, left : left + bar] = weight_colors(
        np.sign(shares) * shares**2 * WEIGHT_LIMIT
    )
    for weight in (-1, -0.3, -0.1, 0, 0.1, 0.3, 1):
        position = math.copysign(math.sqrt(abs(weight)), weight)
        words.append((left + round((position + 1) / 2 * bar), top + 19, f"{weight:g}", 14))
    words += [(left // 2, top, "weight", 16), (width - left // 2, top, count, 16)]
    page = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(page)
    fonts = {size: _font(size) for *_, size in words}
    for x, y, text, size in words:
        draw.text((x, y), text, 51, fonts[size], anchor="mt")
    letters = _BLACK + (np.asarray(page, np.uint8) >> 4)  # in 16 greys
    np.copyto(sheet, letters, where=letters < _WHITE)
    return sheet


@functools.cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


@dataclass(slots=True)
class Curve:
    """One quantity of one split along the run."""

    steps: list[int] = field(default_factory=list)  # iterations
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """Append a point."""
        self.steps.append(step)
        self.values.append(value)


def thinned(curve: Curve, points: int = CURVE_POINTS) -> tuple[NDArray[Any], NDArray[Any]]:
    """Steps and values of at most about `points` points: of each stretch its lowest and highest.

    A spike of a single iteration stays where it was, which taking every k-th point would lose.
    """
    steps, values = np.asarray(curve.steps), np.asarray(curve.values, float)
    if len(steps) <= points:
        return steps, values
    stretches = np.array_split(np.nan_to_num(values), points // 2)
    starts = np.cumsum([0, *(len(stretch) for stretch in stretches[:-1])])
    extremes = [
        (s.argmin() + start, s.argmax() + start) for s, start in zip(stretches, starts, strict=True)
    ]
    kept = np.unique([0, *np.ravel(extremes), len(steps) - 1])
    return steps[kept], values[kept]


def curve_figure(
    quantity: str,
    points: Mapping[str, Curve],
    epochs: Mapping[str, Curve],
    final: Mapping[str, float],
) -> Figure:
    """Loss or accuracy of all splits against iterations, the final values written in.

    Args:
        quantity: "loss" (nats per image, log scale) or "accuracy" (fraction).
        points: split name -> its curve, per epoch or per k-th iteration.
        epochs: split name -> its mean per epoch, where `points` are finer; drawn over them.
        final: split name -> the value over the whole split at the end; may be empty.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=100)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.115, right=0.98, bottom=0.12, top=0.9)
    end = max((curve.steps[-1] for curve in points.values() if curve.steps), default=0)
    for split, (color, dash) in _STYLES.items():
        label = f"{split} {final[split]:.4f}" if split in final else split
        fine, coarse = points.get(split), epochs.get(split)
        if fine and coarse:
            axes.plot(*thinned(fine), color=color, linewidth=0.8, alpha=0.35)
        if line := coarse or fine:
            marker = "o" if len(line.steps) <= 30 else None
            axes.plot(*thinned(line), dash, color=color, marker=marker, markersize=3.5, label=label)
        elif split in final:  # looked at once, at the end
            axes.plot([end], [final[split]], "D", color=color, markersize=6, label=label)
    _dress(axes, quantity, bool(final))
    return figure


def _dress(axes: Axes, quantity: str, finished: bool) -> None:
    from matplotlib.ticker import LogLocator

    # Words at fixed places: to find room for one, matplotlib lays all ticks out once more.
    axes.set_title(quantity.capitalize(), loc="left", fontweight="bold", y=1.0)
    axes.set_xlabel("iteration")
    axes.xaxis.set_label_coords(0.5, -0.08)
    axes.set_ylabel({"loss": "nats per image", "accuracy": "fraction correct"}[quantity])
    axes.yaxis.set_label_coords(-0.103, 0.5)  # left of 0.9875
    values = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]
    if quantity == "loss" and values and all((v > 0).all() for v in values):
        axes.set_yscale("log", subs=())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(loc="upper right" if quantity == "loss" else "lower right")
        legend.set_title("final value" if finished else "")
