"""The products of images and weights, over the lit part of a batch alone.

The pixels of an image are in the order of `Dataset.pixel_order`, most often lit first, so an image
is black from some column on, its extent. The images of a batch are sorted by extent, and what is
lit in them lies under a staircase:

        columns  0        k1     k2     k3
        images   ########.
                 ########.
                 ###############.
                 ######################.

Whatever lies above it is 0 times a weight and adds nothing to an output; a weight that only meets
such pixels has the gradient 0. So both products are taken step by step: exact for any images, and
on MNIST less than two thirds of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_study.nn.layers import WIDE, Array, Dense, DensePass, product

Extents = NDArray[np.integer[Any]]  # (batch,), ascending: from this column on, an image is black

# The shares of a batch at which a step of the stairs ends, found by measuring: more steps leave out
# more, but the more units, the more images BLAS wants in a product.
CUTS, WIDE_CUTS = (0.35, 0.7, 0.93), (0.75,)
ROUND = 16  # images, and columns: steps end at multiples, so that the same stairs come again
WORTH = 100_000  # multiply-adds; a step that saves less costs more than it saves


@dataclass(frozen=True, slots=True)
class Step:
    """Some images of a batch, all black from column `columns` on."""

    columns: int
    lit: Array  # (images, columns), where their grey values go as numbers
    to_y: Callable[[], Array]
    to_weight: Callable[[], Array]  # for the columns that the step before it did not have


class LitProducts:
    """``images @ weight`` into `y`, and ``images.T @ grad_y`` into `grad_weight`."""

    def __init__(self, weight: Array, y: Array, grad_y: Array, grad_weight: Array) -> None:
        """Take the arrays to work on; the one for the images is made here.

        Args:
            weight, grad_weight: (pixels, units).
            y, grad_y: (batch, units).
        """
        self.weight, self.y, self.grad_y, self.grad_weight = weight, y, grad_y, grad_weight
        (pixels, units), batch = weight.shape, len(y)
        self.images = np.empty((batch, pixels), weight.dtype)
        cuts = WIDE_CUTS if units >= WIDE else CUTS
        stops = {min(round(cut * batch / ROUND) * ROUND, batch) for cut in cuts}
        self._stops = sorted((stops | {batch}) - {0})
        self._lasts = np.array(self._stops) - 1
        self._rounded = [min(-(-k // ROUND) * ROUND or ROUND, pixels) for k in range(pixels + 1)]
        self._worth = WORTH / units
        self._known: dict[tuple[int, int, int, int], Step] = {}
        self._steps: list[Step] = []

    def load(self, images: NDArray[np.uint8], extents: Extents | None) -> None:
        """Copy what is lit of a batch; the products are over that from now on.

        Args:
            images: (batch, pixels).
            extents: of the images, which are sorted by it; None: all pixels of all images count.
        """
        ends = [-1] * len(self._stops) if extents is None else extents.take(self._lasts).tolist()
        stairs = [self._rounded[end] for end in ends]
        self._steps.clear()
        start = before = 0
        for stop, columns, following in zip(self._stops, stairs, [*stairs[1:], 10**9], strict=True):
            if (stop - start) * (following - columns) < self._worth:
                continue  # these images go with the next ones
            key = (start, stop, before, columns)
            step = self._known.get(key) or self._set_up(*key)
            np.copyto(step.lit, images[start:stop, :columns])
            self._steps.append(step)
            start, before = stop, columns

    def to_y(self) -> None:
        """The product forward."""
        for step in self._steps:
            step.to_y()

    def to_weight(self) -> None:
        """The product backward; an optimizer may have left something in the dark part."""
        for step in self._steps:
            step.to_weight()
        self.grad_weight[self._steps[-1].columns :] = 0

    def _set_up(self, start: int, stop: int, before: int, columns: int) -> Step:
        """The step of images `start` to `stop`; the step before it has `before` columns.

        The columns that it adds are lit in its own images and in those behind it alone.
        """
        lit, added = self.images[start:stop, :columns], slice(before, columns)
        to_y = product(lit, self.weight[:columns], self.y[start:stop])
        to_weight = product(
            self.images[start:, added].T, self.grad_y[start:], self.grad_weight[added]
        )
        step = self._known[start, stop, before, columns] = Step(columns, lit, to_y, to_weight)
        return step


class ImagePass(DensePass):
    """The first layer's passes, over what is lit; `load` gives it a batch."""

    def __init__(self, layer: Dense, y: Array, grad_y: Array) -> None:
        """Take the buffers that a `DensePass` takes, but for the images'."""
        lit = LitProducts(layer.weight, y, grad_y, layer.grad_weight)
        super().__init__(layer, lit.images, y, grad_y, None)
        self.load, self._to_y, self._to_weight = lit.load, lit.to_y, lit.to_weight
