"""Weights as images: one palette, one fixed scale, encoded as PNG and WebP.

An image is an array of indices into `PALETTE`. The scale (`WEIGHT_LIMIT`) is the same for every
layer, step and run, so that two images can be compared by eye.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indexed = NDArray[np.uint8]  # (..., height, width), indices into PALETTE

WEIGHT_LIMIT = 1.0  # a weight of this size or more has the darkest colour
IMAGE_SIDE = 224  # pixels of an enlarged weight image: 28 x 8
SHEET_SIDE = 640  # pixels, about the width of a sheet of weight images
SHEET_UNITS = 100  # a sheet shows at most so many units, the first ones
_TITLE, _SMALL = 26, 11  # pixels of a title's letters; a long one has smaller ones

# Blue to white to red: ColorBrewer's RdBu, safe for colour-blind eyes; the middle one is zero.
_ANCHORS = [(5, 48, 97), (67, 147, 195), (247, 247, 247), (214, 96, 77), (103, 0, 31)]
_SHADES = 119  # of red, and of blue: with the greys of letters under 256, so files are small
_POSITIONS = np.linspace(-1, 1, 2 * _SHADES + 1)  # row _SHADES is zero
_LEVELS = np.linspace(-1, 1, len(_ANCHORS))
_COLORS = [np.interp(_POSITIONS, _LEVELS, channel) for channel in zip(*_ANCHORS, strict=True)]
_GREYS = np.tile(np.arange(15, 256, 16), (3, 1))
PALETTE: NDArray[np.uint8] = np.hstack([_COLORS, _GREYS]).T.round().astype(np.uint8)
_BLACK, _WHITE = len(_POSITIONS), len(PALETTE) - 1  # the first and the last of 16 greys


def weight_colors(weights: NDArray[Any]) -> Indexed:
    """Colour each weight: white is 0, red positive, blue negative, darkest at `WEIGHT_LIMIT`.

    The depth of the colour is sqrt(|w| / WEIGHT_LIMIT): first weights (0.01) and trained ones
    (up to 1) are 100 times apart and still both visible, on one scale.

    Args: weights: any shape; NaN is drawn as 0.
    Returns: the same shape, indices into `PALETTE`.
    """
    clean = np.nan_to_num(weights)
    depth = np.sqrt(np.minimum(np.abs(clean) / WEIGHT_LIMIT, 1.0))
    indices: Indexed = np.rint(_SHADES + _SHADES * np.sign(clean) * depth).astype(np.uint8)
    return indices


def weight_images(
    weights: NDArray[Any], image_shape: tuple[int, int], side: int = IMAGE_SIDE
) -> Indexed:
    """Draw each unit's weights as the image that it looks for.

    Args:
        weights: (pixels, units), a first layer's.
        image_shape: (height, width) with height * width = pixels.
        side: about how many pixels the longer side is enlarged to, by whole factors (no blur).
    Returns: (units, height * k, width * k), indices into `PALETTE`.
    """
    factor = max(1, side // max(image_shape))
    images = weight_colors(weights.T.reshape(-1, *image_shape))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def weight_sheet(
    weights: NDArray[Any], image_shape: tuple[int, int], titles: Sequence[str] | None = None
) -> Indexed:
    """All units on one sheet, row by row, above a legend of the scale.

    Args:
        weights: (pixels, units), a first layer's; units past `SHEET_UNITS` are left out.
        image_shape: (height, width) of the input.
        titles: one a unit, such as the classes "0" to "9"; ten titled units are a 2 x 5 grid.
    Returns: (sheet height, sheet width), indices into `PALETTE`.
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
    words = []
    for unit, image in enumerate(images):
        y, x = gap + unit // columns * step_y, gap + unit % columns * step_x
        sheet[y + head : y + head + height, x : x + width] = image
        if titles:
            words.append((x + width // 2, y, *_fitted(titles[unit], width)))
    return _with_legend(sheet, words, "" if titles else f"{shown} of {weights.shape[1]} units")


def _fitted(title: str, width: int) -> tuple[str, int]:
    """A title and its size: smaller, then cut, where it is wider than `width` pixels."""
    from PIL import ImageFont

    if len(title) <= 2:  # always fits; a font takes 0.6 ms
        return title, _TITLE
    font = ImageFont.load_default(_TITLE)
    size = max(_SMALL, min(_TITLE, int(_TITLE * width / max(1, font.getlength(title)))))
    room = width * _TITLE / size  # in letters of full size
    while len(title) > 1 and font.getlength(title) > room:
        title = title.rstrip(".")[:-1] + "."
    return title, size


def _with_legend(sheet: Indexed, words: list[tuple[int, int, str, int]], count: str) -> Indexed:
    """Write centred (x, y, text, size) words, and the colour scale with its numbers at the foot."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = sheet.shape
    top, left, bar = height - 42, width // 4, width // 2
    shares = np.linspace(-1, 1, bar)
    scale = np.sign(shares) * shares**2 * WEIGHT_LIMIT
    sheet[top : top + 16, left : left + bar] = weight_colors(scale)
    for weight in (-1, -0.3, -0.1, 0, 0.1, 0.3, 1):
        position = math.copysign(math.sqrt(abs(weight)), weight)
        words.append((left + round((position + 1) / 2 * bar), top + 19, f"{weight:g}", 14))
    words += [(left // 2, top, "weight", 16), (width - left // 2, top, count, 16)]
    page = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(page)
    for x, y, text, size in words:
        draw.text((x, y), text, 51, ImageFont.load_default(size), anchor="mt")
    letters = _BLACK + (np.asarray(page, np.uint8) >> 4)  # in 16 greys
    np.copyto(sheet, letters, where=letters < _WHITE)
    return sheet


def encode(image: Indexed) -> dict[str, bytes]:
    """The image as lossless .png and .webp, with the fastest options by measurement."""
    from PIL import Image

    drawn = Image.fromarray(image)
    drawn.putpalette(PALETTE.tobytes())  # a third of the work and size of RGB
    png, webp = io.BytesIO(), io.BytesIO()
    drawn.save(png, "PNG", compress_level=1)
    drawn.save(webp, "WEBP", lossless=True, quality=10, method=0)
    return {".png": png.getvalue(), ".webp": webp.getvalue()}


def png_of(webp: bytes) -> bytes:
    """The same pixels as .png: of an image that `encode` has made, the .webp is enough to keep."""
    from PIL import Image

    png = io.BytesIO()
    Image.open(io.BytesIO(webp)).save(png, "PNG", compress_level=1)
    return png.getvalue()
