"""The first layer's products over the non-zero part of a batch alone: packed (sparse) input.

Pixels are packed: first the one that is non-zero in most training images. An image is then 0 from
some column on, its prefix length. The images of a batch are sorted by it, and what is not 0 in them
lies under a staircase:

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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_study.data import Split
from mnist_study.data.cache import Block, cached
from mnist_study.nn.fast.tiles import WIDE, Product, TiledMatmul, product
from mnist_study.nn.feed import Batch, Feed, Images, Input
from mnist_study.nn.layers import Array

Lengths = NDArray[np.unsignedinteger[Any]]  # (n,): from this column on, an image is 0
Order = NDArray[np.intp]  # (pixels,): the pixel that each column holds

# The shares of a batch at which a step of the staircase ends, found by measuring: more steps leave
# out more, but the more units, the more images BLAS wants in a product.
CUTS, WIDE_CUTS = (0.35, 0.7, 0.93), (0.75,)
ROUND = 16  # images, and columns: steps end at multiples, so that the same spans come again
WORTH = 100_000  # multiply-adds; a step that saves less costs more than it saves
LAST = 10**9  # columns: no step follows


@dataclass(slots=True)
class Step:
    """Some images of a batch, all 0 from column `columns` on, and their part of the products."""

    start: int  # of its images
    stop: int
    before: int  # columns of the step before it
    columns: int
    values: Array  # (images, columns), where their grey values go as numbers
    forward: Product | None = None  # set up at first use
    weight_gradient: Product | None = None


@dataclass(frozen=True, slots=True)
class PackedBatch(Batch):
    """Images with their columns in packed order, sorted by prefix length."""

    lengths: Lengths  # ascending

    def part(self, start: int, stop: int) -> PackedBatch:
        part = slice(start, stop)
        return PackedBatch(self.images[part], self.labels[part], self.lengths[part])


class PackedFeed(Feed):
    """A split whose images are packed; the block lies in the split's cache, mapped by every run."""

    def __init__(self, split: Split, order: Order) -> None:
        n, pixels = split.images.shape
        # the smallest type: NumPy sorts numbers of 16 bits ten times as fast as those of 64
        kind = np.min_scalar_type(pixels)
        end = n * kind.itemsize  # of the lengths, which come first so that they are aligned

        def pack() -> Block:
            block = np.empty(end + n * pixels, np.uint8)
            images = block[end:].reshape(n, pixels)
            np.take(split.images, order, axis=1, out=images, mode="clip")
            block[:end].view(kind)[:] = prefix_lengths(images)
            return block

        folder = split.cache if split.key else None
        block = cached(folder, ("packed", split.key, order.tobytes()), pack)
        super().__init__(Split(block[end:].reshape(n, pixels), split.labels))
        self.lengths: Lengths = np.asarray(block[:end].view(kind))

    def batch(self, rows: NDArray[np.intp]) -> PackedBatch:
        """The images and labels of some rows, sorted by prefix length."""
        rows = rows[np.argsort(self.lengths.take(rows), kind="stable")]
        batch = super().batch(rows)
        assert isinstance(batch, PackedBatch)
        self.lengths.take(rows, out=batch.lengths, mode="clip")
        return batch

    def empty(self, size: int) -> PackedBatch:
        plain = super().empty(size)
        return PackedBatch(plain.images, plain.labels, np.empty(size, self.lengths.dtype))

    def chunks(self, size: int) -> Iterator[Batch]:
        """All images, `size` at a time and those of the shortest prefix first."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])


class PackedInput(TiledMatmul, Input):
    """What the first layer reads, and its products, packed.

    The first split that is fed decides the order of the columns, and the first layer's weights are
    put into it; until then it is that of the pixels. From then on plain pictures are packed as they
    are loaded.
    """

    def __init__(self, units: int) -> None:
        """Args: units: of the first layer."""
        super().__init__()
        self.units = units
        self.order: Order | None = None
        self._steps: list[Step] = []  # of the batch that was loaded last
        self._known: dict[tuple[int, ...], Step] = {}
        self._cuts: dict[int, tuple[list[int], NDArray[np.intp]]] = {}  # by batch size
        self._rounded: list[int] = []  # prefix length -> columns

    def feed(self, split: Split, weight: Array) -> Feed:
        if self.order is None:
            non_zero = np.count_nonzero(split.images, axis=0)
            self.order = np.argsort(-non_zero, kind="stable")  # equals keep their order
            weight[:] = weight[self.order]
        return PackedFeed(split, self.order)

    def load(self, batch: Batch, x: Array) -> None:
        """Write what is not 0 of `batch` into `x`; the products are over that from now on."""
        if isinstance(batch, PackedBatch):
            self._steps = self._steps_of(batch.lengths, x)
            for step in self._steps:
                np.copyto(step.values, batch.images[step.start : step.stop, : step.columns])
        else:
            np.copyto(x, batch.images if self.order is None else batch.images[:, self.order])
            self._steps = [self._step(x, 0, len(x), 0, x.shape[1])]

    def forward(self, x: Array, weight: Array, y: Array) -> None:
        """y = x @ weight, where `x` is what was loaded; each `x` has a `y` of its own."""
        for step in self._steps:
            if step.forward is None:
                step.forward = product(
                    step.values, weight[: step.columns], y[step.start : step.stop]
                )
            step.forward()

    def weight_gradient(self, x: Array, grad_y: Array, grad_weight: Array) -> None:
        """grad_weight = x.T @ grad_y; both are the same for each call with the same `x`.

        The columns that a step adds are not 0 in its own images and in those behind it alone.
        """
        for step in self._steps:
            if step.weight_gradient is None:
                added = slice(step.before, step.columns)
                step.weight_gradient = product(
                    x[step.start :, added].T, grad_y[step.start :], grad_weight[added]
                )
            step.weight_gradient()
        grad_weight[self._steps[-1].columns :] = 0  # an optimizer may have left something there

    def to_pixels(self, weight: Array) -> Array:
        return weight.copy() if self.order is None else weight[np.argsort(self.order)]

    def from_pixels(self, weight: Array) -> Array:
        return weight if self.order is None else weight[self.order]

    def _steps_of(self, lengths: Lengths, x: Array) -> list[Step]:
        """The staircase under which a batch is not 0, but for steps that save too little."""
        stops, lasts = self._cuts.get(len(x)) or self._cut(*x.shape)
        widths = [self._rounded[end] for end in lengths.take(lasts).tolist()]
        steps = []
        start = before = 0
        for stop, width, following in zip(stops, widths, [*widths[1:], LAST], strict=True):
            if (stop - start) * (following - width) * self.units < WORTH:
                continue  # these images go with the next ones
            key = (start, stop, before, width, id(x))
            steps.append(self._known.get(key) or self._step(x, start, stop, before, width))
            start, before = stop, width
        return steps

    def _cut(self, size: int, pixels: int) -> tuple[list[int], NDArray[np.intp]]:
        """Where the steps of a batch of that size may end, and the images before these ends."""
        shares = WIDE_CUTS if self.units >= WIDE else CUTS
        cuts = {min(round(share * size / ROUND) * ROUND, size) for share in shares}
        stops = sorted((cuts | {size}) - {0})
        self._rounded = [min(-(-k // ROUND) * ROUND or ROUND, pixels) for k in range(pixels + 1)]
        self._cuts[size] = stops, np.array(stops) - 1
        return self._cuts[size]

    def _step(self, x: Array, start: int, stop: int, before: int, columns: int) -> Step:
        """That step of batches in `x`, made once."""
        key = (start, stop, before, columns, id(x))
        if key not in self._known:
            self._known[key] = Step(start, stop, before, columns, x[start:stop, :columns])
        return self._known[key]


def prefix_lengths(images: Images) -> NDArray[np.intp]:
    """The column of each row, (n,), from which on it holds zeros alone."""
    from_behind = images[:, ::-1] != 0  # (n, pixels)
    lengths = images.shape[1] - from_behind.argmax(axis=1)
    return np.where(images.any(axis=1), lengths, 0)
